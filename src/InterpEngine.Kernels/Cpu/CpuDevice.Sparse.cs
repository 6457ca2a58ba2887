namespace InterpEngine.Kernels.Cpu;

public sealed unsafe partial class CpuDevice
{
    /// <inheritdoc/>
    protected override void Execute(in SparseEncode op)
    {
        var args = new SparseEncodeArgs
        {
            X = new NativeMatrix(op.X),
            W = new NativeWeight(op.W),
            Bias = HostMemory.AddressOrZero(op.Bias),
            Scale = HostMemory.AddressOrZero(op.Scale),
            Threshold = HostMemory.AddressOrZero(op.Threshold),
            Pre = NativeMatrix.Of(op.Pre),
            RowPointers = HostMemory.Address(op.Out.RowPointers),
            Indices = HostMemory.Address(op.Out.Indices),
            Values = HostMemory.Address(op.Out.Values),
            Rows = op.X.Rows,
            Columns = op.W.Columns,
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
            Bias = HostMemory.AddressOrZero(op.Bias),
            Out = new NativeMatrix(op.Out),
            Columns = op.Out.Columns,
            Accumulate = op.Accumulate ? 1 : 0,
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

    /// <inheritdoc/>
    protected override void Execute(in ProjectGradient op)
    {
        var args = new ProjectGradientArgs
        {
            Parameter = new NativeMatrix(op.Parameter),
            Gradient = new NativeMatrix(op.Gradient),
            Squares = HostMemory.Address(op.Squares),
            Rows = op.Gradient.Rows,
            Columns = op.Gradient.Columns,
            Project = op.Project ? 1 : 0,
            DivideEpsilon = op.DivideEpsilon,
        };
        Finish(NativeMethods.ik_project_gradient(_context, &args), nameof(ProjectGradient), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in AdamStep op)
    {
        var args = new AdamStepArgs
        {
            Parameter = new NativeMatrix(op.Parameter),
            Gradient = new NativeMatrix(op.Gradient),
            M = new NativeMatrix(op.M),
            V = new NativeMatrix(op.V),
            Rows = op.Parameter.Rows,
            Columns = op.Parameter.Columns,
            GradientScale = op.GradientScale,
            StepSize = op.StepSize,
            Beta1 = op.Beta1,
            Beta2 = op.Beta2,
            InverseRootCorrection = op.InverseRootCorrection,
            Epsilon = op.Epsilon,
            NormalizeEpsilon = op.NormalizeEpsilon,
        };
        Finish(NativeMethods.ik_adam_step(_context, &args), nameof(AdamStep), in op);
    }
}
