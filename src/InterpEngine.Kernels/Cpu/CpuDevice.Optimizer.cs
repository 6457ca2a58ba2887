namespace InterpEngine.Kernels.Cpu;

public sealed unsafe partial class CpuDevice
{
    /// <inheritdoc/>
    protected override void Execute(in ColumnStatistics op)
    {
        var args = new ColumnStatisticsArgs
        {
            X = new NativeMatrix(op.X),
            Sums = HostMemory.Address(op.Sums),
            Deviations = HostMemory.AddressOrZero(op.Deviations),
            Rows = op.X.Rows,
            Columns = op.X.Columns,
        };
        Finish(NativeMethods.ik_column_statistics(_context, &args), nameof(ColumnStatistics), in op);
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

    /// <inheritdoc/>
    protected override void Execute(in SignStep op)
    {
        var args = new SignStepArgs
        {
            Parameter = new NativeMatrix(op.Parameter),
            Gradient = new NativeMatrix(op.Gradient),
            Fast = new NativeMatrix(op.Fast),
            Rows = op.Parameter.Rows,
            Columns = op.Parameter.Columns,
            Rate = op.Rate,
            Momentum = op.Momentum,
            Share = op.Share,
        };
        Finish(NativeMethods.ik_sign_step(_context, &args), nameof(SignStep), in op);
    }
}
