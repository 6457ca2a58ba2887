namespace InterpEngine.Kernels.Cpu;

public sealed unsafe partial class CpuDevice
{
    /// <inheritdoc/>
    protected override void Execute(in Add op)
    {
        var args = new AddArgs
        {
            A = new NativeMatrix(op.A),
            B = new NativeMatrix(op.B),
            Out = new NativeMatrix(op.Out),
            Rows = op.Out.Rows,
            Columns = op.Out.Columns,
        };
        Finish(NativeMethods.ik_add(_context, &args), nameof(Add), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Activate op)
    {
        var args = new ActivateArgs
        {
            X = new NativeMatrix(op.X),
            Multiply = NativeMatrix.Of(op.Multiply),
            Out = new NativeMatrix(op.Out),
            Rows = op.Out.Rows,
            Columns = op.Out.Columns,
            Activation = (int)op.Activation,
        };
        Finish(NativeMethods.ik_activate(_context, &args), nameof(Activate), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Map op)
    {
        var args = new MapArgs
        {
            X = new NativeMatrix(op.X),
            Out = new NativeMatrix(op.Out),
            Rows = op.Out.Rows,
            Columns = op.Out.Columns,
            Kind = (int)op.Kind,
            Parameter = op.Parameter,
        };
        Finish(NativeMethods.ik_map(_context, &args), nameof(Map), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Copy op)
    {
        var args = new CopyArgs
        {
            From = new NativeMatrix(op.From),
            To = new NativeMatrix(op.To),
            Rows = op.To.Rows,
            Columns = op.To.Columns,
        };
        Finish(NativeMethods.ik_copy(_context, &args), nameof(Copy), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Fill op)
    {
        var args = new FillArgs
        {
            Out = new NativeMatrix(op.Out),
            Rows = op.Out.Rows,
            Columns = op.Out.Columns,
            Value = op.Value,
        };
        Finish(NativeMethods.ik_fill(_context, &args), nameof(Fill), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in RepeatHeads op)
    {
        var args = new RepeatHeadsArgs
        {
            X = new NativeMatrix(op.X),
            Out = HostMemory.Address(op.Out),
            Tokens = op.X.Rows,
            Heads = op.Out.Shape[^2],
            Columns = op.X.Columns,
        };
        Finish(NativeMethods.ik_repeat_heads(_context, &args), nameof(RepeatHeads), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in SumHeads op)
    {
        var args = new SumHeadsArgs
        {
            X = HostMemory.Address(op.X),
            Bias = HostMemory.AddressOrZero(op.Bias),
            Out = new NativeMatrix(op.Out),
            Tokens = op.Out.Rows,
            Heads = op.X.Shape[^2],
            Columns = op.Out.Columns,
        };
        Finish(NativeMethods.ik_sum_heads(_context, &args), nameof(SumHeads), in op);
    }
}
