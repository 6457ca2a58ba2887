using System.Text.Json.Nodes;
using InterpEngine.Kernels;

namespace InterpEngine.Benchmarks.Gpu;

/// <summary>The ops at the shapes of the bars.</summary>
internal static class OpMeasurements
{
    /// <summary>The copy that bandwidth is measured by.</summary>
    public const string CopyName = "copy 512 MiB";

    public static IEnumerable<Measurement> Bandwidth(Device device)
    {
        const int rows = 16384, width = 4096;
        const double bytes = 4.0 * rows * width;
        (string, int)[] sizes = [("rows", rows), ("width", width)];
        var copy = new JsonObject { ["kind"] = "copy", ["elements"] = 1L << 27 };
        yield return new Measurement(CopyName, copy, 0, 2.0 * (4L << 27), owner =>
        {
            Tensor from = owner.Own(Random(device, 32768, 4096)), to = owner.Own(device.Allocate(ElementType.F32, 32768, 4096));
            return () => device.Run(new Copy { From = from, To = to });
        });
        yield return new Measurement($"rms norm {rows}x{width}", Sizes("rms_norm", sizes), 0, 2 * bytes, owner =>
        {
            Tensor x = owner.Own(Random(device, rows, width)), to = owner.Own(device.Allocate(ElementType.F32, rows, width));
            Tensor gain = owner.Own(Random(device, width));
            return () => device.Run(new Norm { Kind = NormKind.Rms, X = x, Epsilon = 1e-6f, Gain = gain, Out = to });
        });
        yield return new Measurement($"layer norm {rows}x{width}", Sizes("layer_norm", sizes), 0, 2 * bytes, owner =>
        {
            Tensor x = owner.Own(Random(device, rows, width)), to = owner.Own(device.Allocate(ElementType.F32, rows, width));
            Tensor gain = owner.Own(Random(device, width));
            var norm = new Norm { Kind = NormKind.Layer, X = x, Epsilon = 1e-5f, Gain = gain, Bias = gain, Out = to };
            return () => device.Run(norm);
        });
        yield return new Measurement($"gelu {rows}x{width}", Sizes("gelu", sizes), 0, 2 * bytes, owner =>
        {
            Tensor x = owner.Own(Random(device, rows, width)), to = owner.Own(device.Allocate(ElementType.F32, rows, width));
            return () => device.Run(new Activate { X = x, Activation = Activation.GeluTanh, Out = to });
        });
        yield return new Measurement($"add {rows}x{width}", Sizes("add", sizes), 0, 3 * bytes, owner =>
        {
            Tensor x = owner.Own(Random(device, rows, width)), y = owner.Own(Random(device, rows, width));
            Tensor to = owner.Own(device.Allocate(ElementType.F32, rows, width));
            return () => device.Run(new Add { A = x, B = y, Out = to });
        });
    }

    public static IEnumerable<Measurement> Products(Device device, ElementType type)
    {
        (int, int)[] shapes = [(768, 3072), (2048, 2048), (2048, 8192), (8192, 2048), (4096, 14336)];
        foreach ((int inner, int columns) in shapes)
        {
            foreach (int rows in (int[])[1, 16, 512, 4096])
            {
                string kind = type == ElementType.BF16 ? "linear_bf16" : "linear_fp32";
                yield return new Measurement(
                    $"product {type} {rows}x{inner}x{columns}".ToLowerInvariant(),
                    Sizes(kind, ("rows", rows), ("inner", inner), ("columns", columns)),
                    2.0 * rows * inner * columns, (double)type.Size() * inner * columns + (4.0 * columns + type.Size() * inner) * rows,
                    owner => Product(owner, device, type, rows, inner, columns));
            }
        }
    }

    public static IEnumerable<Measurement> Attention(Device device, ElementType type)
    {
        foreach (int size in (int[])[64, 128])
        {
            foreach (int length in (int[])[512, 2048, 4096, 8192])
            {
                int heads = 2048 / size, kvHeads = heads / 4;
                yield return new Measurement(
                    $"attention {type.ToString().ToLowerInvariant()} {length} tokens, {heads} heads of {size}, {kvHeads} shared",
                    Sizes(type == ElementType.BF16 ? "sdpa_bf16" : "sdpa_fp32", ("length", length), ("heads", heads), ("kv_heads", kvHeads), ("size", size)),
                    2.0 * length * length * heads * size, 0, owner => // half of all pairs are seen
                    {
                        Tensor q = owner.Own(Random(device, 1, length, heads, size));
                        Tensor k = owner.Own(Random(device, 1, length, kvHeads, size));
                        Tensor v = owner.Own(Random(device, 1, length, kvHeads, size));
                        Tensor z = owner.Own(device.Allocate(ElementType.F32, q.Shape));
                        Tensor spans = owner.Own(device.Upload<int>([0, length], 1, 2));
                        return () => device.Run(new Attention
                        {
                            Q = q,
                            K = k,
                            V = v,
                            Keys = length,
                            Spans = spans,
                            Scale = 1 / MathF.Sqrt(size),
                            Z = z,
                        });
                    });
            }
        }
    }

    private static Action Product(Owner owner, Device device, ElementType type, int rows, int inner, int columns)
    {
        Tensor x = owner.Own(Random(device, rows, inner)), result = owner.Own(device.Allocate(ElementType.F32, rows, columns));
        if (type == ElementType.BF16)
        {
            // As the forward pass hands it over, and as torch has it.
            Tensor narrow = owner.Own(device.Allocate(ElementType.BF16, rows, inner));
            device.Run(new Copy { From = x, To = narrow });
            x = narrow;
        }

        // One and few rows are bound by memory: no weight may be in a cache when its turn comes.
        long bytes = (long)type.Size() * inner * columns;
        int count = rows <= 16 ? (int)Math.Max(2, (512L << 20) / bytes) : 1;
        float[] values = RandomData.Array((long)inner * columns, MathF.Sqrt(inner));
        Weight Make() => owner.Own(RandomData.Weight(device, inner, columns, values, type));
        Weight[] weights = [.. Enumerable.Range(0, count).Select(_ => Make())];
        int turn = 0;
        return () => device.Run(new MatMul { X = x, W = weights[turn++ % count], Out = result });
    }

    private static Tensor Random(Device device, params ReadOnlySpan<int> axes) => RandomData.Tensor(device, axes);

    private static JsonObject Sizes(string kind, params (string Name, int Value)[] sizes)
    {
        var json = new JsonObject { ["kind"] = kind };
        foreach ((string name, int value) in sizes)
        {
            json[name] = value;
        }

        return json;
    }
}
