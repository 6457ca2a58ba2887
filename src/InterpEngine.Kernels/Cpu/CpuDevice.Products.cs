namespace InterpEngine.Kernels.Cpu;

public sealed unsafe partial class CpuDevice
{
    /// <inheritdoc/>
    protected override void Execute(in MatMul op)
    {
        var args = new MatMulArgs
        {
            X = new NativeMatrix(op.X),
            W = new NativeWeight(op.W),
            Bias = HostMemory.AddressOrZero(op.Bias),
            Multiply = NativeMatrix.Of(op.Multiply),
            Residual = NativeMatrix.Of(op.Residual),
            Pre = NativeMatrix.Of(op.Pre),
            Delta = NativeMatrix.Of(op.Delta),
            Out = new NativeMatrix(op.Out),
            Rows = op.Out.Rows,
            Inner = op.X.Columns,
            Columns = op.Out.Columns,
            InnerStart = op.InnerStart,
            ColumnStart = op.ColumnStart,
            Activation = (int)op.Activation,
        };
        Finish(NativeMethods.ik_matmul(_context, &args), nameof(MatMul), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in MatMulTransposed op)
    {
        var args = new MatMulTransposedArgs
        {
            X = new NativeMatrix(op.X),
            W = new NativeWeight(op.W),
            Out = new NativeMatrix(op.Out),
            Rows = op.Out.Rows,
        };
        Finish(NativeMethods.ik_matmul_transposed(_context, &args), nameof(MatMulTransposed), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Embed op)
    {
        var args = new EmbedArgs
        {
            Ids = HostMemory.Address(op.Ids),
            Table = new NativeWeight(op.Table),
            Out = new NativeMatrix(op.Out),
            Tokens = op.Out.Rows,
        };
        Finish(NativeMethods.ik_embed(_context, &args), nameof(Embed), in op);
    }
}
