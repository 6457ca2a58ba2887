namespace InterpEngine.Kernels.Gpu.CublasLt;

/// <summary>How operands are kept and multiplied.</summary>
internal enum ProductType
{
    /// <summary>fp32 operands, fp32 products.</summary>
    Float32,

    /// <summary>fp32 operands that are rounded to TF32.</summary>
    Tf32,

    /// <summary>BF16 operands, exact products, fp32 sums.</summary>
    BFloat16,
}

/// <summary>
/// Out [rows, columns] = X·Wᵀ (+ bias, + Out) with X [rows, inner] and W [columns, inner], all by rows. Addresses and strides are
/// multiples of <see cref="LtProducts.Alignment"/> bytes.
/// </summary>
/// <param name="Type">How operands are kept and multiplied.</param>
/// <param name="X">Address of X.</param>
/// <param name="XStride">Elements from one row of X to the next.</param>
/// <param name="W">Address of W.</param>
/// <param name="WStride">Elements from one row of W to the next.</param>
/// <param name="Out">Address of the fp32 result.</param>
/// <param name="OutStride">Elements from one row of the result to the next.</param>
/// <param name="Rows">Rows of X.</param>
/// <param name="Inner">Inner length.</param>
/// <param name="Columns">Rows of W.</param>
/// <param name="Bias">Address of fp32 [columns], or 0.</param>
/// <param name="Relu">Whether max(·, 0) follows.</param>
/// <param name="Accumulate">Whether Out is added; not with a bias or Relu, which would be rounded in another order.</param>
internal readonly record struct LtProduct(
    ProductType Type, nint X, long XStride, nint W, long WStride, nint Out, long OutStride, int Rows, int Inner, int Columns,
    nint Bias = 0, bool Relu = false, bool Accumulate = false)
{
    /// <summary>What the algorithm is chosen for. The number of rows is not in it: it must not choose the order of a sum.</summary>
    public LtFamily Family => new(Type, Inner, Columns, WStride, Epilogue, Accumulate);

    public LtEpilogue Epilogue => (Bias, Relu) switch
    {
        (0, false) => LtEpilogue.None,
        (0, true) => LtEpilogue.Relu,
        (_, false) => LtEpilogue.Bias,
        _ => LtEpilogue.ReluBias,
    };
}

/// <summary>Products that share an algorithm.</summary>
internal readonly record struct LtFamily(
    ProductType Type, int Inner, int Columns, long WStride, LtEpilogue Epilogue, bool Accumulate);

/// <summary>
/// Products through cuBLASLt. Each family has one algorithm for all numbers of rows, without split-K, so that a row's bits depend neither
/// on the rows beside it nor on their number. Used by one thread at a time.
/// </summary>
internal sealed unsafe class LtProducts : IDisposable
{
    /// <summary>Of every address and row, in bytes.</summary>
    public const int Alignment = 16;

    /// <summary>What NVIDIA recommends for Hopper.</summary>
    public const long WorkspaceBytes = 32 << 20;

    /// <summary>Rows for which the library is asked what is fastest: enough to fill a GPU.</summary>
    private const int TypicalRows = 2048;
    private const int Candidates = 32;

    private readonly CublasLtApi _api;
    private readonly nint _workspace;
    private readonly LtObject _context, _preference;
    private readonly Dictionary<LtFamily, Algorithm?> _algorithms = [];

    /// <summary>Opens the library on the GPU whose context is current.</summary>
    /// <param name="api">The library.</param>
    /// <param name="workspace"><see cref="WorkspaceBytes"/> of the GPU's memory, which outlives this.</param>
    /// <exception cref="CublasLtException">The library fails.</exception>
    public LtProducts(CublasLtApi api, nint workspace)
    {
        (_api, _workspace) = (api, workspace);
        _context = LtObject.Context(api);
        _preference = LtObject.Preference(api, WorkspaceBytes);
    }

    /// <summary>Computes on a stream, unless no algorithm serves all numbers of rows: then nothing is done, and the same will hold for
    /// every product of the family.</summary>
    /// <exception cref="CublasLtException">The library fails.</exception>
    public bool TryRun(in LtProduct product, nint stream)
    {
        LtFamily family = product.Family;
        if (!_algorithms.TryGetValue(family, out Algorithm? chosen))
        {
            _algorithms[family] = chosen = Choose(family, product.Bias);
        }

        if (chosen is not { } algorithm)
        {
            return false;
        }

        using var operands = new Operands(_api, family, product.Rows, product.XStride, product.OutStride, product.Bias);
        float one = 1, beta = product.Accumulate ? 1 : 0;
        CublasStatus status = _api.Multiply(
            _context.Pointer, operands.Descriptor.Pointer, &one, product.W, operands.W.Pointer, product.X, operands.X.Pointer, &beta,
            product.Out, operands.Out.Pointer, product.Out, operands.Out.Pointer, &algorithm, _workspace, (nuint)WorkspaceBytes, stream);
        CublasLtApi.Check(status, $"the product of [{product.Rows}, {product.Inner}] and [{product.Inner}, {product.Columns}] in {product.Type}");
        return true;
    }

    public void Dispose()
    {
        _preference.Dispose();
        _context.Dispose();
    }

    /// <summary>The fastest algorithm by the library's own estimate that serves one row and many without splitting K.</summary>
    private Algorithm? Choose(LtFamily family, nint bias)
    {
        using Operands typical = Make(TypicalRows), one = Make(1), few = Make(63);
        Heuristic* found = stackalloc Heuristic[Candidates];
        int count = 0;
        CublasStatus status = _api.GetHeuristic(
            _context.Pointer, typical.Descriptor.Pointer, typical.W.Pointer, typical.X.Pointer, typical.Out.Pointer, typical.Out.Pointer,
            _preference.Pointer, Candidates, found, &count);
        if (status == CublasStatus.NotSupported)
        {
            return null;
        }

        CublasLtApi.Check(status, "cublasLtMatmulAlgoGetHeuristic");
        for (int i = 0; i < count; i++)
        {
            Algorithm algorithm = found[i].Algorithm;
            if (found[i].Status == CublasStatus.Success && DoNotSplit(&algorithm)
                && Serves(typical, &algorithm) && Serves(one, &algorithm) && Serves(few, &algorithm))
            {
                return algorithm;
            }
        }

        return null;

        // The strides stand for all that are multiples of the alignment.
        Operands Make(int rows) => new(_api, family, rows, (family.Inner + 7L) / 8 * 8, (family.Columns + 3L) / 4 * 4, bias);
    }

    private bool DoNotSplit(Algorithm* algorithm)
    {
        int splits = 1;
        uint scheme = 0;
        return _api.AlgorithmSet(algorithm, AlgorithmAttribute.SplitK, &splits, sizeof(int)) == CublasStatus.Success
            && _api.AlgorithmSet(algorithm, AlgorithmAttribute.ReductionScheme, &scheme, sizeof(uint)) == CublasStatus.Success;
    }

    private bool Serves(Operands operands, Algorithm* algorithm)
    {
        Heuristic result;
        CublasStatus status = _api.AlgorithmCheck(
            _context.Pointer, operands.Descriptor.Pointer, operands.W.Pointer, operands.X.Pointer, operands.Out.Pointer, operands.Out.Pointer,
            algorithm, &result);
        return status == CublasStatus.Success && result.WorkspaceBytes <= (nuint)WorkspaceBytes;
    }

    /// <summary>A product as the library sees it: by columns, Outᵀ [columns, rows] = W·Xᵀ, where W by rows is its transpose by columns.</summary>
    private sealed class Operands : IDisposable
    {
        public Operands(CublasLtApi api, LtFamily family, int rows, long xStride, long outStride, nint bias)
        {
            DataType type = family.Type == ProductType.BFloat16 ? DataType.BFloat16 : DataType.Float32;
            ComputeType compute = family.Type == ProductType.Tf32 ? ComputeType.FastTf32 : ComputeType.Float32;
            Descriptor = LtObject.Descriptor(api, compute, family.Epilogue, bias);
            W = LtObject.Layout(api, type, family.Inner, family.Columns, family.WStride);
            X = LtObject.Layout(api, type, family.Inner, rows, xStride);
            Out = LtObject.Layout(api, DataType.Float32, family.Columns, rows, outStride);
        }

        public LtObject Descriptor { get; }

        public LtObject W { get; }

        public LtObject X { get; }

        public LtObject Out { get; }

        public void Dispose()
        {
            Descriptor.Dispose();
            W.Dispose();
            X.Dispose();
            Out.Dispose();
        }
    }
}
