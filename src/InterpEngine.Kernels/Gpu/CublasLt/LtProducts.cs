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
/// Out [rows, columns] = X·Wᵀ (+ bias or + Added) with X [rows, inner] and W [columns, inner], all by rows. Addresses and strides are
/// multiples of <see cref="LtProducts.Alignment"/> bytes.
/// </summary>
/// <param name="Family">What the algorithm is chosen for. Neither the number of rows nor what follows the sum is in it: they must not
/// choose the order of a sum.</param>
/// <param name="X">Address of X.</param>
/// <param name="XStride">Elements from one row of X to the next.</param>
/// <param name="W">Address of W.</param>
/// <param name="Out">Address of the fp32 result.</param>
/// <param name="OutStride">Elements from one row of the result to the next.</param>
/// <param name="Rows">Rows of X.</param>
/// <param name="Columns">Rows of W: all of the family's, or as many as it takes.</param>
/// <param name="Bias">Address of fp32 [columns], or 0.</param>
/// <param name="Added">Address of fp32 rows that are added, or 0; not with a bias, which would be added in another order.</param>
/// <param name="AddedStride">Elements from one of them to the next.</param>
internal readonly record struct LtProduct(
    LtFamily Family, nint X, long XStride, nint W, nint Out, long OutStride, int Rows, int Columns,
    nint Bias = 0, nint Added = 0, long AddedStride = 0)
{
    public LtEpilogue Epilogue => Bias == 0 ? LtEpilogue.None : LtEpilogue.Bias;
}

/// <summary>Products that share an algorithm.</summary>
internal readonly record struct LtFamily(ProductType Type, int Inner, int Columns, long WStride);

/// <summary>
/// Products through cuBLASLt. Each family has one algorithm for all numbers of rows and everything that follows the sum, without
/// split-K, so that a row's bits depend neither on the rows beside it nor on their number nor on what is observed. Used by one
/// thread at a time.
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
    private const int MostOperands = 1024;

    private readonly CublasLtApi _api;
    private readonly nint _workspace;
    private readonly LtObject _context, _preference;
    private readonly Dictionary<LtFamily, Algorithm?> _algorithms = [];
    private readonly Dictionary<LtProduct, Operands> _operands = [];
    private readonly Dictionary<(LtFamily Family, LtEpilogue Epilogue), bool> _fused = [];
    private readonly Dictionary<(LtFamily Family, int Columns), bool> _taken = [];

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

    /// <summary>Whether one algorithm serves all numbers of rows.</summary>
    /// <exception cref="CublasLtException">The library fails.</exception>
    public bool Serves(LtFamily family)
    {
        if (!_algorithms.TryGetValue(family, out Algorithm? chosen))
        {
            _algorithms[family] = chosen = Choose(family);
        }

        return chosen is not null;
    }

    /// <summary>Whether the family's own algorithm can also finish the sums so.</summary>
    /// <exception cref="CublasLtException">The library fails.</exception>
    public bool Fuses(LtFamily family, LtEpilogue epilogue)
    {
        if (!_fused.TryGetValue((family, epilogue), out bool fuses))
        {
            _fused[(family, epilogue)] = fuses = Serves(family) && Supports(family, epilogue, _algorithms[family]!.Value);
        }

        return fuses;
    }

    /// <summary>Whether the family's own algorithm makes so many columns too; none are no work.</summary>
    /// <exception cref="CublasLtException">The library fails.</exception>
    public bool Takes(LtFamily family, int columns)
    {
        if (columns == 0)
        {
            return true;
        }

        if (!_taken.TryGetValue((family, columns), out bool takes))
        {
            takes = Supports(family with { Columns = columns }, LtEpilogue.None, _algorithms[family]!.Value);
            _taken[(family, columns)] = takes;
        }

        return takes;
    }

    /// <summary>Computes, on a stream, what it serves and fuses.</summary>
    /// <exception cref="CublasLtException">The library fails.</exception>
    public void Run(in LtProduct product, nint stream)
    {
        Algorithm algorithm = _algorithms[product.Family]!.Value;
        Operands operands = OperandsOf(in product);
        float one = 1, beta = product.Added != 0 ? 1 : 0;
        nint added = product.Added != 0 ? product.Added : product.Out;
        CublasStatus status = _api.Multiply(
            _context.Pointer, operands.Descriptor.Pointer, &one, product.W, operands.W.Pointer, product.X, operands.X.Pointer,
            &beta, added, operands.Added.Pointer, product.Out, operands.Out.Pointer, &algorithm, _workspace, (nuint)WorkspaceBytes, stream);
        CublasLtApi.Check(status,
            $"the product of [{product.Rows}, {product.Family.Inner}] and [{product.Family.Inner}, {product.Columns}] in {product.Family.Type}");
    }

    public void Dispose()
    {
        Forget();
        _preference.Dispose();
        _context.Dispose();
    }

    /// <summary>A product's description for the library, which costs more to make than a short product takes: the last ones are
    /// kept.</summary>
    private Operands OperandsOf(in LtProduct product)
    {
        LtProduct shape = product with { X = 0, W = 0, Out = 0, Added = 0 };
        if (!_operands.TryGetValue(shape, out Operands? operands))
        {
            if (_operands.Count == MostOperands)
            {
                Forget();
            }

            _operands[shape] = operands = new Operands(
                _api, product.Family with { Columns = product.Columns }, product.Epilogue, product.Rows, product.XStride, product.OutStride,
                product.Bias, product.AddedStride);
        }

        return operands;
    }

    private void Forget()
    {
        foreach (Operands operands in _operands.Values)
        {
            operands.Dispose();
        }

        _operands.Clear();
    }

    /// <summary>The fastest algorithm by the library's own estimate that serves one row and many without splitting K.</summary>
    private Algorithm? Choose(LtFamily family)
    {
        using Operands typical = Sample(family, LtEpilogue.None, TypicalRows);
        Heuristic* found = stackalloc Heuristic[Candidates];
        int count = 0;
        CublasStatus status = _api.GetHeuristic(
            _context.Pointer, typical.Descriptor.Pointer, typical.W.Pointer, typical.X.Pointer, typical.Out.Pointer,
            typical.Out.Pointer, _preference.Pointer, Candidates, found, &count);
        if (status == CublasStatus.NotSupported)
        {
            return null;
        }

        CublasLtApi.Check(status, "cublasLtMatmulAlgoGetHeuristic");
        for (int i = 0; i < count; i++)
        {
            Algorithm algorithm = found[i].Algorithm;
            if (found[i].Status == CublasStatus.Success && DoNotSplit(&algorithm) && Supports(family, LtEpilogue.None, algorithm))
            {
                return algorithm;
            }
        }

        return null;
    }

    private bool Supports(LtFamily family, LtEpilogue epilogue, Algorithm algorithm)
    {
        foreach (int rows in (ReadOnlySpan<int>)[1, 63, TypicalRows])
        {
            using Operands operands = Sample(family, epilogue, rows);
            Heuristic result;
            CublasStatus status = _api.AlgorithmCheck(
                _context.Pointer, operands.Descriptor.Pointer, operands.W.Pointer, operands.X.Pointer, operands.Out.Pointer,
                operands.Out.Pointer, &algorithm, &result);
            if (status != CublasStatus.Success || result.WorkspaceBytes > (nuint)WorkspaceBytes)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Operands whose addresses and strides stand for all that are multiples of the alignment.</summary>
    private Operands Sample(LtFamily family, LtEpilogue epilogue, int rows) =>
        new(_api, family, epilogue, rows, (family.Inner + 7L) / 8 * 8, (family.Columns + 3L) / 4 * 4, _workspace);

    private bool DoNotSplit(Algorithm* algorithm)
    {
        int splits = 1;
        uint scheme = 0;
        return _api.AlgorithmSet(algorithm, AlgorithmAttribute.SplitK, &splits, sizeof(int)) == CublasStatus.Success
            && _api.AlgorithmSet(algorithm, AlgorithmAttribute.ReductionScheme, &scheme, sizeof(uint)) == CublasStatus.Success;
    }

    /// <summary>A product as the library sees it: by columns, Outᵀ [columns, rows] = W·Xᵀ, where W by rows is its transpose by
    /// columns.</summary>
    private sealed class Operands : IDisposable
    {
        public Operands(
            CublasLtApi api, LtFamily family, LtEpilogue epilogue, int rows, long xStride, long outStride, nint bias, long addedStride = 0)
        {
            DataType type = family.Type == ProductType.BFloat16 ? DataType.BFloat16 : DataType.Float32;
            ComputeType compute = family.Type == ProductType.Tf32 ? ComputeType.FastTf32 : ComputeType.Float32;
            Descriptor = LtObject.Descriptor(api, compute, epilogue, bias);
            W = LtObject.Layout(api, type, family.Inner, family.Columns, family.WStride);
            X = LtObject.Layout(api, type, family.Inner, rows, xStride);
            Out = LtObject.Layout(api, DataType.Float32, family.Columns, rows, outStride);
            Added = LtObject.Layout(api, DataType.Float32, family.Columns, rows, addedStride != 0 ? addedStride : outStride);
        }

        public LtObject Descriptor { get; }

        public LtObject W { get; }

        public LtObject X { get; }

        public LtObject Out { get; }

        /// <summary>What is added; as Out where nothing is.</summary>
        public LtObject Added { get; }

        public void Dispose()
        {
            Descriptor.Dispose();
            W.Dispose();
            X.Dispose();
            Out.Dispose();
            Added.Dispose();
        }
    }
}
