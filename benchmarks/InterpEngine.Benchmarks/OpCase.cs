namespace InterpEngine.Benchmarks;

/// <summary>An op at one shape.</summary>
public sealed class OpCase(string name, double flops, double bytes, Func<Action> prepare)
{
    private Action? _run;

    /// <summary>Seconds that the machine's peaks allow at least: arithmetic and memory overlap.</summary>
    public double Bound => Math.Max(flops / Machine.Gigaflops, bytes / Machine.Bandwidth) / 1e9;

    /// <summary>What bounds it.</summary>
    public string BoundBy => flops / Machine.Gigaflops > bytes / Machine.Bandwidth ? "FMA" : "memory";

    /// <summary>Makes the tensors, when the case is first run.</summary>
    public void Prepare() => _run = prepare();

    public void Run() => _run!();

    public void Release() => _run = null;

    public override string ToString() => name;
}
