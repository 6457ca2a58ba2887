namespace InterpEngine.Kernels.Cpu;

public sealed unsafe partial class CpuDevice
{
    /// <inheritdoc/>
    protected override void Execute(in Route op)
    {
        var args = new RouteArgs
        {
            Logits = new NativeMatrix(op.Logits),
            ChoiceBias = HostMemory.AddressOrZero(op.ChoiceBias),
            Indices = HostMemory.Address(op.Indices),
            Weights = HostMemory.Address(op.Weights),
            Rows = op.Logits.Rows,
            Experts = op.Logits.Columns,
            K = op.Weights.Shape[1],
            Groups = op.Groups,
            ChosenGroups = op.ChosenGroups,
            Sigmoid = op.Score == RouterScore.Sigmoid ? 1 : 0,
            Renormalize = op.Renormalize ? 1 : 0,
            Factor = op.Factor,
        };
        Finish(NativeMethods.ik_route(_context, &args), nameof(Route), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in GatherRows op)
    {
        var args = new GatherRowsArgs
        {
            From = new NativeMatrix(op.From),
            Out = new NativeMatrix(op.Out),
            Indices = HostMemory.Address(op.Indices),
            FromRows = op.From.Rows,
            Rows = op.Out.Rows,
            Columns = op.Out.Columns,
        };
        Finish(NativeMethods.ik_gather_rows(_context, &args), nameof(GatherRows), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in CombineRows op)
    {
        var args = new CombineRowsArgs
        {
            X = new NativeMatrix(op.X),
            Residual = NativeMatrix.Of(op.Residual),
            Delta = NativeMatrix.Of(op.Delta),
            Out = new NativeMatrix(op.Out),
            Indices = HostMemory.Address(op.Indices),
            Weights = HostMemory.Address(op.Weights),
            FromRows = op.X.Rows,
            Rows = op.Out.Rows,
            Columns = op.Out.Columns,
            K = op.Weights.Shape[1],
        };
        Finish(NativeMethods.ik_combine_rows(_context, &args), nameof(CombineRows), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in ClampedSwiglu op)
    {
        var args = new ClampedSwigluArgs
        {
            Gate = new NativeMatrix(op.Gate),
            Up = new NativeMatrix(op.Up),
            Out = new NativeMatrix(op.Out),
            Rows = op.Out.Rows,
            Columns = op.Out.Columns,
            Alpha = op.Alpha,
            Limit = op.Limit,
        };
        Finish(NativeMethods.ik_clamped_swiglu(_context, &args), nameof(ClampedSwiglu), in op);
    }
}
