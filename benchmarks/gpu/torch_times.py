#!/usr/bin/env python3
"""Times in PyTorch what interp-gpu times in InterpEngine, on the same GPU.

Reads {name: {"kind": ..., sizes}} from stdin; writes {"version", "gpu", "times": {name: {key: seconds}}} to stdout, or
{"absent": reason} where there is no torch or no GPU. Models need `transformers` too, and are left out without it.
"""
import json
import statistics
import sys
import time


def main():
    wanted = json.load(sys.stdin)
    try:
        import torch
    except ImportError as error:
        return {"absent": str(error)}
    if not torch.cuda.is_available():
        return {"absent": "torch sees no GPU"}

    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    times, failures = {}, {}
    for name, sizes in wanted.items():
        try:
            with torch.no_grad():
                times[name] = {}
                for key, run in KINDS[sizes["kind"]](torch, sizes):
                    times[name][key] = seconds(torch, run)
                    if sizes["kind"] not in NOT_RECORDED and times[name][key] < 0.001:
                        times[name]["recorded_" + key] = recorded_seconds(torch, run)
        except Exception as error:  # one that torch cannot do must not lose the others
            failures[name] = f"{type(error).__name__}: {error}"
        torch.cuda.empty_cache()
    return {
        "version": torch.__version__, "gpu": torch.cuda.get_device_name(), "times": times, "failures": failures,
    }


def seconds(torch, run, repeats=7, least=0.03):
    """The median of several times of about 30 ms each."""
    def elapsed(count):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            run()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / count

    elapsed(3)
    count = max(1, min(10_000, int(least / elapsed(2))))
    return statistics.median(elapsed(count) for _ in range(repeats))


def recorded_seconds(torch, run, count=20):
    """The same as part of a CUDA graph: without the time that launching takes."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(count):
            run()
    return seconds(torch, graph.replay) / count


def random(torch, *shape, dtype=None):
    return torch.rand(shape, device="cuda", dtype=dtype or torch.float32) * 2 - 1


def copy(torch, sizes):
    x = random(torch, sizes["elements"])
    to = torch.empty_like(x)
    yield "seconds", lambda: to.copy_(x)


def layer_norm(torch, sizes):
    x, gain = random(torch, sizes["rows"], sizes["width"]), random(torch, sizes["width"])
    yield "seconds", lambda: torch.nn.functional.layer_norm(x, (sizes["width"],), gain, gain)


def rms_norm(torch, sizes):
    x, gain = random(torch, sizes["rows"], sizes["width"]), random(torch, sizes["width"])
    yield "seconds", lambda: torch.nn.functional.rms_norm(x, (sizes["width"],), gain)


def gelu(torch, sizes):
    x = random(torch, sizes["rows"], sizes["width"])
    yield "seconds", lambda: torch.nn.functional.gelu(x, approximate="tanh")


def add(torch, sizes):
    x, y = random(torch, sizes["rows"], sizes["width"]), random(torch, sizes["rows"], sizes["width"])
    to = torch.empty_like(x)
    yield "seconds", lambda: torch.add(x, y, out=to)


def linear(torch, sizes, dtype):
    x = random(torch, sizes["rows"], sizes["inner"], dtype=dtype)
    size = torch.finfo(dtype).bits // 8 * sizes["inner"] * sizes["columns"]
    count = max(2, (512 << 20) // size) if sizes["rows"] <= 16 else 1
    weights = [random(torch, sizes["columns"], sizes["inner"], dtype=dtype) for _ in range(count)]
    turn = 0

    def run():
        nonlocal turn
        turn += 1
        return torch.nn.functional.linear(x, weights[turn % count])

    yield "seconds", run


def linear_bf16(torch, sizes):
    return linear(torch, sizes, torch.bfloat16)


def linear_fp32(torch, sizes):
    return linear(torch, sizes, torch.float32)


def sdpa(torch, sizes, dtype):
    def heads(count):
        return random(torch, 1, count, sizes["length"], sizes["size"], dtype=dtype)

    share = sizes["heads"] // sizes["kv_heads"]
    q = heads(sizes["heads"])
    k, v = (heads(sizes["kv_heads"]).repeat_interleave(share, 1) for _ in range(2))
    yield "seconds", lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def sdpa_bf16(torch, sizes):
    return sdpa(torch, sizes, torch.bfloat16)


def sdpa_fp32(torch, sizes):
    return sdpa(torch, sizes, torch.float32)


def topk_encode(torch, sizes):
    dtype = getattr(torch, sizes["type"])
    x, weight = random(torch, sizes["rows"], sizes["width"], dtype=dtype), random(torch, sizes["features"], sizes["width"], dtype=dtype)
    yield "seconds", lambda: torch.topk(torch.nn.functional.linear(x, weight), sizes["k"], sorted=False)


def topk_step(torch, sizes):
    """A TopK step as SAELens and sparsify take it: the dense activations, autograd, clipping, Adam."""
    dtype, rows, d, features = getattr(torch, sizes["type"]), sizes["rows"], sizes["width"], sizes["features"]
    x = random(torch, rows, d)
    encoder, decoder = (torch.nn.Parameter(random(torch, features, d) / d ** 0.5) for _ in range(2))
    bias, centre = torch.nn.Parameter(torch.zeros(features, device="cuda")), torch.nn.Parameter(torch.zeros(d, device="cuda"))
    parameters = [encoder, decoder, bias, centre]
    adam = torch.optim.Adam(parameters, lr=1e-4)

    def run():
        with torch.enable_grad(), torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
            hidden = torch.nn.functional.linear(x - centre, encoder, bias)
            top = torch.topk(hidden, sizes["k"], sorted=False)
            active = torch.zeros_like(hidden).scatter(-1, top.indices, torch.relu(top.values))
            loss = ((active @ decoder + centre - x) ** 2).sum(-1).mean()
            adam.zero_grad(set_to_none=True)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()

    yield "seconds", run


def model(torch, sizes, attention):
    import transformers

    config = dict(sizes["config"])
    config = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    return transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation=attention, torch_dtype=getattr(torch, sizes["type"])).cuda().eval()


def forward(torch, sizes):
    for key, attention, compiled in (("eager_seconds", "eager", False), ("seconds", "sdpa", True)):
        net = model(torch, sizes, attention)
        ids = torch.randint(net.config.vocab_size, (sizes["batch"], sizes["length"]), device="cuda")
        run = torch.compile(net) if compiled else net
        yield key, lambda run=run, ids=ids: run(ids, use_cache=False, logits_to_keep=1)


def generate(torch, sizes):
    net = model(torch, sizes, "sdpa")
    ids = torch.randint(net.config.vocab_size, (1, 16), device="cuda")
    count = sizes["new_tokens"]
    yield "seconds", lambda: net.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, min_new_tokens=count, do_sample=False, pad_token_id=0)


KINDS = {
    "copy": copy, "layer_norm": layer_norm, "rms_norm": rms_norm, "gelu": gelu, "add": add,
    "linear_bf16": linear_bf16, "linear_fp32": linear_fp32, "sdpa_bf16": sdpa_bf16, "sdpa_fp32": sdpa_fp32, "forward": forward, "generate": generate,
    "topk_encode": topk_encode, "topk_step": topk_step,
}

NOT_RECORDED = ("forward", "generate", "topk_step")

if __name__ == "__main__":
    json.dump(main(), sys.stdout)
