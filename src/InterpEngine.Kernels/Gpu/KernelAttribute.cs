namespace InterpEngine.Kernels.Gpu;

/// <summary>
/// Marks a method that runs on a GPU: explicitly grouped, with flat parameters. A generic one has one attribute for each
/// specialisation that is used. The tests compile every one of them.
/// </summary>
/// <param name="threads">Threads of a group on a real GPU, a power of two; the simulator has fewer.</param>
/// <param name="specialisation">The type arguments.</param>
[AttributeUsage(AttributeTargets.Method, AllowMultiple = true)]
internal sealed class KernelAttribute(int threads, params Type[] specialisation) : Attribute
{
    public int Threads => threads;

    public Type[] Specialisation => specialisation;

    /// <summary>Groups that should fit on a multiprocessor at a time: what the registers are shared out for; 0 for any.</summary>
    public int Groups { get; init; }

    /// <summary>The largest dynamic shared memory that a launch asks for, in bytes.</summary>
    public int DynamicBytes { get; init; }
}
