namespace InterpEngine.Kernels.Cpu;

public sealed unsafe partial class CpuDevice
{
    /// <inheritdoc/>
    protected override void Execute(in LogProbability op)
    {
        var args = new LogProbabilityArgs
        {
            X = new NativeMatrix(op.X),
            Targets = HostMemory.Address(op.Targets),
            Out = HostMemory.Address(op.Out),
            Rows = op.X.Rows,
            Columns = op.X.Columns,
            Count = op.Count,
        };
        Finish(NativeMethods.ik_log_probability(_context, &args), nameof(LogProbability), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in LogSoftmax op)
    {
        var args = new LogSoftmaxArgs
        {
            X = new NativeMatrix(op.X),
            Out = new NativeMatrix(op.Out),
            Rows = op.Out.Rows,
            Columns = op.Out.Columns,
        };
        Finish(NativeMethods.ik_log_softmax(_context, &args), nameof(LogSoftmax), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in TopK op)
    {
        var args = new TopKArgs
        {
            X = new NativeMatrix(op.X),
            Values = HostMemory.Address(op.Values),
            Indices = HostMemory.Address(op.Indices),
            Rows = op.X.Rows,
            Columns = op.X.Columns,
            K = op.Values.Shape[1],
        };
        Finish(NativeMethods.ik_top_k(_context, &args), nameof(TopK), in op);
    }
}
