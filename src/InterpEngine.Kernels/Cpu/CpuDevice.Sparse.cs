namespace InterpEngine.Kernels.Cpu;

public sealed unsafe partial class CpuDevice
{
    /// <inheritdoc/>
    protected override void Execute(in SparseEncode op)
    {
        var args = new SparseEncodeArgs
        {
            X = new NativeMatrix(op.X),
            Offset = HostMemory.AddressOrZero(op.Offset),
            W = op.W is { } weight ? new NativeWeight(weight) : new NativeWeight(op.X.Columns, op.Candidates, op.DirectionsType),
            Directions = NativeMatrix.Of(op.Directions),
            Chosen = HostMemory.AddressOrZero(op.Chosen),
            Bias = HostMemory.AddressOrZero(op.Bias),
            Scale = HostMemory.AddressOrZero(op.Scale),
            Threshold = HostMemory.AddressOrZero(op.Threshold),
            Pre = NativeMatrix.Of(op.Pre),
            RowPointers = HostMemory.Address(op.Out.RowPointers),
            Indices = HostMemory.Address(op.Out.Indices),
            Values = HostMemory.Address(op.Out.Values),
            Rows = op.X.Rows,
            Columns = op.Candidates,
            DirectionRows = op.Features,
            Capacity = op.Out.Capacity,
            K = op.K,
            Selection = (int)op.Selection,
        };
        Finish(NativeMethods.ik_sparse_encode(_context, &args), nameof(SparseEncode), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in SparseProduct op)
    {
        var args = new SparseProductArgs
        {
            S = new NativeSparseRows(op.S),
            Order = HostMemory.AddressOrZero(op.Order),
            M = new NativeMatrix(op.M),
            Offset = HostMemory.AddressOrZero(op.Offset),
            Bias = HostMemory.AddressOrZero(op.Bias),
            Target = NativeMatrix.Of(op.Target),
            Out = new NativeMatrix(op.Out),
            Dots = HostMemory.AddressOrZero(op.Dots),
            Columns = op.Out.Columns,
            Accumulate = op.Accumulate ? 1 : 0,
            Scale = op.Scale,
        };
        Finish(NativeMethods.ik_sparse_product(_context, &args), nameof(SparseProduct), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in SparseDots op)
    {
        var args = new SparseDotsArgs
        {
            X = new NativeMatrix(op.X),
            S = new NativeSparseRows(op.S),
            M = new NativeMatrix(op.M),
            Out = HostMemory.Address(op.Out),
            Columns = op.X.Columns,
        };
        Finish(NativeMethods.ik_sparse_dots(_context, &args), nameof(SparseDots), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in SparseTranspose op)
    {
        var args = new SparseTransposeArgs
        {
            S = new NativeSparseRows(op.S),
            RowPointers = HostMemory.Address(op.RowPointers),
            Indices = HostMemory.Address(op.Indices),
            Order = HostMemory.Address(op.Order),
        };
        Finish(NativeMethods.ik_sparse_transpose(_context, &args), nameof(SparseTranspose), in op);
    }
}
