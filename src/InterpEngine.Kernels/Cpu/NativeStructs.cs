namespace InterpEngine.Kernels.Cpu;

// The argument structs of native/include/interp_kernels.h, field by field. Their sizes are compared when the library is loaded.
/// <summary>Rows as the library sees them; no data where the argument is not given.</summary>
internal readonly struct NativeMatrix
{
    private readonly nint _data;
    private readonly long _stride;

    public NativeMatrix(in Matrix matrix)
    {
        HostMemory.Check(matrix.Tensor);
        _data = matrix.Address;
        _stride = matrix.Stride;
    }

    public static NativeMatrix Of(in Matrix? matrix) => matrix is { } given ? new NativeMatrix(in given) : default;
}

/// <summary>A packed weight: address and shape.</summary>
internal readonly struct NativeWeight
{
    private readonly nint _data;
    private readonly long _inner;
    private readonly long _columns;
    private readonly int _type, _reserved;

    /// <summary>A weight that is still to be packed.</summary>
    public NativeWeight(int inner, int columns, ElementType type) => (_inner, _columns, _type) = (inner, columns, (int)type);

    public NativeWeight(Weight weight)
    {
        if (weight is not PackedWeight packed)
        {
            throw new ArgumentException($"A weight of type {weight.GetType().Name} was not made by a CPU device.", nameof(weight));
        }

        _data = packed.Address;
        _inner = weight.Inner;
        _columns = weight.Columns;
        _type = (int)weight.Type;
        _reserved = 0;
    }
}

internal struct RotationArgs
{
    public nint Positions, Cos, Sin;
    public long HeadSize, Pairs, TableRows;
    public int Pairing, Start;

    /// <summary>As far as the rotation itself says; positions for the tokens of X.</summary>
    public static RotationArgs Of(in Rotary op) => new()
    {
        Positions = HostMemory.Address(op.Positions),
        Cos = HostMemory.Address(op.Cos),
        Sin = HostMemory.Address(op.Sin),
        HeadSize = op.X.Shape[^1],
        Pairs = op.Cos.Shape[1],
        TableRows = op.Cos.Shape[0],
        Pairing = (int)op.Pairs,
        Start = op.Start,
    };
}

internal struct MatMulArgs
{
    public NativeMatrix X;
    public NativeWeight W;
    public nint Bias;
    public NativeMatrix Multiply, Residual, Pre, Delta, Out;
    public long Rows, Inner, Columns, InnerStart, ColumnStart;
    public RotationArgs Rotation;
    public nint Next;
    public int Activation;
    public float Scale, SoftCap;
    public int Reserved;
}

internal struct MatMulTransposedArgs
{
    public NativeMatrix X;
    public NativeWeight W;
    public NativeMatrix Out;
    public long Rows;
}

internal struct NormArgs
{
    public NativeMatrix X;
    public nint Gain, Bias, GivenScale;
    public NativeMatrix GivenNormalized, Residual;
    public nint Scale;
    public NativeMatrix Normalized, Delta, Out;
    public long Rows, Columns;
    public int Rms;
    public float Epsilon;
}

internal struct AttentionArgs
{
    public nint Q, K, V, Spans, GivenScores, GivenPattern, Slopes, Sinks, Scores, Pattern, Z;
    public long Batch, Queries, Heads, KvHeads, HeadSize, ValueSize, Capacity, Keys, Window;
    public float Scale, SoftCap;
    public int Causal, Reserved;
}

internal struct RotaryArgs
{
    public nint X, Out;
    public RotationArgs Rotation;
    public long Tokens, Heads;
}

internal struct EmbedArgs
{
    public nint Ids;
    public NativeWeight Table;
    public NativeMatrix Out;
    public long Tokens;
}

internal struct AddArgs
{
    public NativeMatrix A, B, Out;
    public long Rows, Columns;
}

internal struct ActivateArgs
{
    public NativeMatrix X, Multiply, Out;
    public long Rows, Columns;
    public int Activation, Reserved;
}

internal struct MapArgs
{
    public NativeMatrix X, Out;
    public long Rows, Columns;
    public int Kind;
    public float Parameter;
}

internal struct CopyArgs
{
    public NativeMatrix From, To;
    public long Rows, Columns;
}

internal struct FillArgs
{
    public NativeMatrix Out;
    public long Rows, Columns;
    public float Value;
    public int Reserved;
}

internal struct RepeatHeadsArgs
{
    public NativeMatrix X;
    public nint Out;
    public long Tokens, Heads, Columns;
}

internal struct SumHeadsArgs
{
    public nint X, Bias;
    public NativeMatrix Out;
    public long Tokens, Heads, Columns;
}

internal struct LogProbabilityArgs
{
    public NativeMatrix X;
    public nint Targets, Out;
    public long Rows, Columns, Count;
}

internal struct LogSoftmaxArgs
{
    public NativeMatrix X, Out;
    public long Rows, Columns;
}

internal struct TopKArgs
{
    public NativeMatrix X;
    public nint Values, Indices;
    public long Rows, Columns, K;
}

internal struct RouteArgs
{
    public NativeMatrix Logits;
    public nint ChoiceBias, Indices, Weights;
    public long Rows, Experts, K, Groups, ChosenGroups;
    public int Sigmoid, Renormalize;
    public float Factor;
    public int Reserved;
}

internal struct GatherRowsArgs
{
    public NativeMatrix From, Out;
    public nint Indices;
    public long FromRows, Rows, Columns;
}

internal struct CombineRowsArgs
{
    public NativeMatrix X, Residual, Delta, Out;
    public nint Indices, Weights;
    public long FromRows, Rows, Columns, K;
}

internal struct ClampedSwigluArgs
{
    public NativeMatrix Gate, Up, Out;
    public long Rows, Columns;
    public float Alpha, Limit;
}

internal struct PackArgs
{
    public nint Source;
    public NativeWeight Weight;
    public long Inner, Columns, InnerStride, ColumnStride, InnerStart, ColumnStart;
    public int Type, Alone;
}

internal struct EvaluateArgs
{
    public nint X, Out;
    public long Count;
    public int Function, Reserved;
}

internal struct SparseEncodeArgs
{
    public NativeMatrix X;
    public nint Offset;
    public NativeWeight W;
    public NativeMatrix Directions;
    public nint Chosen, Bias, Scale, Threshold;
    public NativeMatrix Pre;
    public nint RowPointers, Indices, Values;
    public long Rows, Columns, DirectionRows, Capacity, K;
    public int Selection, Reserved;
}

/// <summary>A sparse matrix: addresses and sizes.</summary>
internal readonly struct NativeSparseRows(SparseRows s)
{
    private readonly nint _rowPointers = HostMemory.Address(s.RowPointers);
    private readonly nint _indices = HostMemory.Address(s.Indices);
    private readonly nint _values = HostMemory.Address(s.Values);
    private readonly long _rows = s.Rows;
    private readonly long _columns = s.Columns;
    private readonly long _capacity = s.Capacity;
}

internal struct SparseProductArgs
{
    public NativeSparseRows S;
    public nint Order;
    public NativeMatrix M;
    public nint Offset, Bias;
    public NativeMatrix Target, Out;
    public nint Dots;
    public long Columns;
    public int Accumulate;
    public float Scale;
}

internal struct SparseDotsArgs
{
    public NativeMatrix X;
    public NativeSparseRows S;
    public NativeMatrix M;
    public nint Out;
    public long Columns;
}

internal struct SparseTransposeArgs
{
    public NativeSparseRows S;
    public nint RowPointers, Indices, Order;
}

internal struct ColumnStatisticsArgs
{
    public NativeMatrix X;
    public nint Sums, Deviations;
    public long Rows, Columns;
}

internal struct ProjectGradientArgs
{
    public NativeMatrix Parameter, Gradient;
    public nint Squares;
    public long Rows, Columns;
    public int Project;
    public float DivideEpsilon;
}

internal struct AdamStepArgs
{
    public NativeMatrix Parameter, Gradient, M, V;
    public long Rows, Columns;
    public float GradientScale, StepSize, Beta1, Beta2, InverseRootCorrection, Epsilon, NormalizeEpsilon;
    public int Reserved;
}

internal struct SignStepArgs
{
    public NativeMatrix Parameter, Gradient, Fast;
    public long Rows, Columns;
    public float Rate, Momentum, Share;
    public int Reserved;
}
