namespace InterpEngine.Kernels.Cpu;

public sealed unsafe partial class CpuDevice
{
    /// <inheritdoc/>
    protected override void Execute(in Norm op)
    {
        var args = new NormArgs
        {
            X = new NativeMatrix(op.X),
            Gain = HostMemory.AddressOrZero(op.Gain),
            Bias = HostMemory.AddressOrZero(op.Bias),
            GivenScale = HostMemory.AddressOrZero(op.GivenScale),
            GivenNormalized = NativeMatrix.Of(op.GivenNormalized),
            Residual = NativeMatrix.Of(op.Residual),
            Scale = HostMemory.AddressOrZero(op.Scale),
            Normalized = NativeMatrix.Of(op.Normalized),
            Delta = NativeMatrix.Of(op.Delta),
            Out = NativeMatrix.Of(op.Out),
            Rows = op.X.Rows,
            Columns = op.X.Columns,
            Rms = op.Kind == NormKind.Rms ? 1 : 0,
            Epsilon = op.Epsilon,
        };
        Finish(NativeMethods.ik_norm(_context, &args), nameof(Norm), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Rotary op)
    {
        var args = new RotaryArgs
        {
            X = HostMemory.Address(op.X),
            Out = HostMemory.Address(op.Out),
            Rotation = RotationArgs.Of(op),
            Tokens = op.Tokens,
            Heads = op.X.Shape[^2],
        };
        Finish(NativeMethods.ik_rotary(_context, &args), nameof(Rotary), in op);
    }

    /// <inheritdoc/>
    protected override void Execute(in Attention op)
    {
        var args = new AttentionArgs
        {
            Q = HostMemory.Address(op.Q),
            K = HostMemory.Address(op.K),
            V = HostMemory.Address(op.V),
            Spans = HostMemory.Address(op.Spans),
            GivenScores = HostMemory.AddressOrZero(op.GivenScores),
            GivenPattern = HostMemory.AddressOrZero(op.GivenPattern),
            Slopes = HostMemory.AddressOrZero(op.Slopes),
            Sinks = HostMemory.AddressOrZero(op.Sinks),
            Scores = HostMemory.AddressOrZero(op.Scores),
            Pattern = HostMemory.AddressOrZero(op.Pattern),
            Z = HostMemory.AddressOrZero(op.Z),
            Batch = op.Q.Shape[0],
            Queries = op.Q.Shape[1],
            Heads = op.Q.Shape[2],
            KvHeads = op.K.Shape[2],
            HeadSize = op.Q.Shape[3],
            ValueSize = op.V.Shape[3],
            Capacity = op.K.Shape[1],
            Keys = op.Keys,
            Window = op.Window,
            Scale = op.Scale,
            SoftCap = op.SoftCap,
            Causal = op.Causal ? 1 : 0,
        };
        Finish(NativeMethods.ik_attention(_context, &args), nameof(Attention), in op);
    }
}
