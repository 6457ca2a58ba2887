namespace InterpEngine.Kernels.Cpu;

public sealed unsafe partial class CpuDevice
{
    /// <inheritdoc/>
    protected override void Execute(in MatMul op)
    {
        MatMulArgs args = ArgsOf(in op);
        Finish(NativeMethods.ik_matmul(_context, &args), nameof(MatMul), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(ReadOnlySpan<MatMul> products)
    {
        MatMulArgs* chain = stackalloc MatMulArgs[products.Length];
        for (int i = 0; i < products.Length; i++)
        {
            chain[i] = ArgsOf(in products[i]);
            chain[i].Next = i + 1 < products.Length ? (nint)(chain + i + 1) : 0;
        }

        if (products.Length > 0)
        {
            Finish(NativeMethods.ik_matmul(_context, chain), nameof(MatMul), in products[0]);
        }

        foreach (ref readonly MatMul op in products)
        {
            Finish(Status.Ok, nameof(MatMul), in op);
        }
    }

    private static MatMulArgs ArgsOf(in MatMul op)
    {
        return new MatMulArgs
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
            Scale = op.Scale,
            SoftCap = op.SoftCap,
            Rotation = op.Rotation is null ? default : RotationArgs.Of(op.Rotary),
        };
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
