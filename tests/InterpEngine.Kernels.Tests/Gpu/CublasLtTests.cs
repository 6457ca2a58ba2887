using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using InterpEngine.Kernels.Gpu.CublasLt;

namespace InterpEngine.Kernels.Tests.Gpu;

/// <summary>Our side of cuBLASLt, against a library of the tests' own that writes down how it is called.</summary>
public sealed unsafe class CublasLtTests
{
    private static readonly Lock Turn = new();

    [Fact]
    public void Types_are_laid_out_as_the_header_says()
    {
        Assert.Equal(64, Unsafe.SizeOf<Algorithm>());
        Assert.Equal(96, Unsafe.SizeOf<Heuristic>());
        Assert.Equal(64, Marshal.OffsetOf<Heuristic>(nameof(Heuristic.WorkspaceBytes)));
        Assert.Equal(72, Marshal.OffsetOf<Heuristic>(nameof(Heuristic.Status)));
        Assert.Equal(76, Marshal.OffsetOf<Heuristic>(nameof(Heuristic.Waves)));
        Assert.Equal((68, 77), ((int)ComputeType.Float32, (int)ComputeType.FastTf32));
        Assert.Equal((0, 14), ((int)DataType.Float32, (int)DataType.BFloat16));
        Assert.Equal((3, 4, 7, 8), ((int)DescriptorAttribute.TransposeA, (int)DescriptorAttribute.TransposeB,
            (int)DescriptorAttribute.Epilogue, (int)DescriptorAttribute.BiasPointer));
        Assert.Equal((1, 4), ((int)LtEpilogue.None, (int)LtEpilogue.Bias));
        Assert.Equal((1, 3, 5, 8), ((int)PreferenceAttribute.MaximumWorkspaceBytes, (int)PreferenceAttribute.ReductionSchemes,
            (int)PreferenceAttribute.MinimumAlignmentA, (int)PreferenceAttribute.MinimumAlignmentD));
        Assert.Equal((2, 3), ((int)AlgorithmAttribute.SplitK, (int)AlgorithmAttribute.ReductionScheme));
    }

    [Fact]
    public void The_newest_library_is_tried_first()
    {
        Assert.Equal(["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"], CublasLtApi.Names(windows: false));
        Assert.Equal(["cublasLt64_13.dll", "cublasLt64_12.dll", "cublasLt64_11.dll"], CublasLtApi.Names(windows: true));
    }

    [Fact]
    public void An_absent_library_is_a_reason_not_an_error()
    {
        (CublasLtApi? api, string? defect) = CublasLtApi.Load(["libno_such_cublas.so.99", "libno_such_cublas.so.98"]);
        Assert.Null(api);
        Assert.Equal("none of libno_such_cublas.so.99, libno_such_cublas.so.98 can be loaded", defect);
        Assert.Equal(CublasLtApi.Loaded is null, CublasLtApi.Defect is not null);
    }

    [Fact]
    public void A_library_that_lacks_functions_is_a_reason_too()
    {
        string other = OperatingSystem.IsWindows() ? "kernel32.dll" : OperatingSystem.IsMacOS() ? "libSystem.dylib" : "libc.so.6";
        (CublasLtApi? api, string? defect) = CublasLtApi.Load([other]);
        Assert.Null(api);
        Assert.Contains("lacks a function", defect, StringComparison.Ordinal);
        Assert.Contains("cublasLtCreate", defect, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_status_has_a_name_and_a_hint()
    {
        CublasLtApi.Check(CublasStatus.Success, "nothing");
        foreach (CublasStatus status in Enum.GetValues<CublasStatus>().Where(s => s != CublasStatus.Success).Append((CublasStatus)99))
        {
            var error = Assert.Throws<CublasLtException>(() => CublasLtApi.Check(status, "the call"));
            Assert.Equal(status, error.Status);
            Assert.Contains($"{(int)status}", error.Message, StringComparison.Ordinal);
            Assert.Contains("the call", error.Message, StringComparison.Ordinal);
            Assert.False(string.IsNullOrWhiteSpace(error.Hint));
        }
    }

    [Fact]
    public void The_number_of_rows_does_not_choose_the_algorithm()
    {
        lock (Turn)
        {
            Library.Reset(algorithms: 3, refuses: 0);
            using (var products = new LtProducts(Library.Api(), workspace: 4096))
            {
                var product = new LtProduct(new LtFamily(ProductType.BFloat16, 64, 128, 64), 16, 64, 32, 48, 128, Rows: 1, Columns: 128);
                Run(products, product);
                Run(products, product with { Rows = 1000 });
                Assert.True(products.Takes(product.Family, 64));
                Run(products, product with { Columns = 64 });
                Assert.Equal(1, Library.Heuristics);
                Run(products, product with { Family = product.Family with { Type = ProductType.Tf32 } });
                Assert.Equal(2, Library.Heuristics);
            }

            Assert.Equal([101ul, 101, 101, 101], Library.Used); // the first, without split-K
            Assert.Equal(0, Library.Live);
        }
    }

    [Fact]
    public void An_algorithm_that_cannot_serve_one_row_is_passed_over()
    {
        lock (Turn)
        {
            Library.Reset(algorithms: 3, refuses: 101);
            using (var products = new LtProducts(Library.Api(), workspace: 4096))
            {
                var product = new LtProduct(new LtFamily(ProductType.Float32, 64, 128, 64), 16, 64, 32, 48, 128, 7, 128, Bias: 64);
                Run(products, product);
                Library.Refuses = 0;
                Run(products, product with { Rows = 8 });
            }

            Assert.Equal([102ul, 102], Library.Used);
            Assert.Equal(0, Library.Live);
        }
    }

    [Fact]
    public void Without_an_algorithm_nothing_is_done()
    {
        lock (Turn)
        {
            Library.Reset(algorithms: 0, refuses: 0);
            using (var products = new LtProducts(Library.Api(), workspace: 4096))
            {
                var product = new LtProduct(new LtFamily(ProductType.Float32, 3, 5, 3), 16, 3, 32, 48, 5, 7, 5);
                Assert.False(products.Serves(product.Family));
                Assert.False(products.Serves(product.Family));
                Assert.False(products.Fuses(product.Family, LtEpilogue.Bias));
                Assert.Equal(1, Library.Heuristics);
            }

            Assert.Empty(Library.Used);
            Assert.Equal(0, Library.Live);
        }
    }

    [Fact]
    public void A_failure_is_thrown_and_leaks_nothing()
    {
        lock (Turn)
        {
            Library.Reset(algorithms: 1, refuses: 0);
            using (var products = new LtProducts(Library.Api(), workspace: 4096))
            {
                Library.Fails = CublasStatus.ExecutionFailed;
                var product = new LtProduct(new LtFamily(ProductType.Float32, 4, 8, 4), 16, 4, 32, 48, 8, 7, 8);
                var error = Assert.Throws<CublasLtException>(() => Run(products, product));
                Assert.Equal(CublasStatus.ExecutionFailed, error.Status);
                Assert.Contains("[7, 4] and [4, 8]", error.Message, StringComparison.Ordinal);
            }

            Assert.Equal(0, Library.Live);
        }
    }

    private static void Run(LtProducts products, LtProduct product)
    {
        Assert.True(products.Serves(product.Family));
        Assert.True(products.Fuses(product.Family, product.Epilogue));
        products.Run(product, stream: 5);
    }

    /// <summary>A library whose algorithms are numbers from 1; without split-K they are 100 more.</summary>
    private static class Library
    {
        private static int s_algorithms;

        public static ulong Refuses { get; set; }

        public static CublasStatus Fails { get; set; }

        public static int Heuristics { get; private set; }

        public static int Live { get; private set; }

        public static List<ulong> Used { get; } = [];

        public static void Reset(int algorithms, ulong refuses)
        {
            (s_algorithms, Refuses, Fails, Heuristics, Live) = (algorithms, refuses, CublasStatus.Success, 0, 0);
            Used.Clear();
        }

        public static CublasLtApi Api() => new("the tests' own", function => function switch
        {
            "cublasLtCreate" or "cublasLtMatmulPreferenceCreate" => (nint)(delegate* unmanaged<nint*, CublasStatus>)&Create,
            "cublasLtMatmulDescCreate" => (nint)(delegate* unmanaged<nint*, int, int, CublasStatus>)&CreateDescriptor,
            "cublasLtMatrixLayoutCreate" => (nint)(delegate* unmanaged<nint*, int, ulong, ulong, long, CublasStatus>)&CreateLayout,
            "cublasLtDestroy" or "cublasLtMatmulPreferenceDestroy" or "cublasLtMatmulDescDestroy" or "cublasLtMatrixLayoutDestroy" =>
                (nint)(delegate* unmanaged<nint, CublasStatus>)&Destroy,
            "cublasLtGetVersion" => (nint)(delegate* unmanaged<nuint>)&Version,
            "cublasLtMatmulDescSetAttribute" or "cublasLtMatmulPreferenceSetAttribute" =>
                (nint)(delegate* unmanaged<nint, int, void*, nuint, CublasStatus>)&Set,
            "cublasLtMatmulAlgoGetHeuristic" =>
                (nint)(delegate* unmanaged<nint, nint, nint, nint, nint, nint, nint, int, Heuristic*, int*, CublasStatus>)&GetHeuristic,
            "cublasLtMatmulAlgoConfigSetAttribute" =>
                (nint)(delegate* unmanaged<Algorithm*, int, void*, nuint, CublasStatus>)&Configure,
            "cublasLtMatmulAlgoCheck" =>
                (nint)(delegate* unmanaged<nint, nint, nint, nint, nint, nint, Algorithm*, Heuristic*, CublasStatus>)&Check,
            "cublasLtMatmul" => (nint)(delegate* unmanaged<nint, nint, void*, nint, nint, nint, nint, void*, nint, nint, nint, nint,
                Algorithm*, nint, nuint, nint, CublasStatus>)&Multiply,
            _ => throw new EntryPointNotFoundException(function),
        });

        [UnmanagedCallersOnly]
        private static CublasStatus Create(nint* handle) => New(handle, 1);

        [UnmanagedCallersOnly]
        private static CublasStatus CreateDescriptor(nint* handle, int compute, int scale) =>
            compute is 68 or 77 && scale == 0 ? New(handle, 2) : CublasStatus.InvalidValue;

        /// <summary>A layout's handle is its number of columns and 1,000.</summary>
        [UnmanagedCallersOnly]
        private static CublasStatus CreateLayout(nint* handle, int type, ulong rows, ulong columns, long stride) =>
            type is 0 or 14 && (ulong)stride >= rows ? New(handle, 1000 + (nint)columns) : CublasStatus.InvalidValue;

        [UnmanagedCallersOnly]
        private static CublasStatus Destroy(nint handle)
        {
            Live--;
            return CublasStatus.Success;
        }

        [UnmanagedCallersOnly]
        private static nuint Version() => 130000;

        [UnmanagedCallersOnly]
        private static CublasStatus Set(nint handle, int attribute, void* value, nuint bytes) =>
            bytes is 4 or 8 ? CublasStatus.Success : CublasStatus.InvalidValue;

        [UnmanagedCallersOnly]
        private static CublasStatus GetHeuristic(
            nint context, nint descriptor, nint a, nint b, nint c, nint d, nint preference, int wanted, Heuristic* results, int* found)
        {
            Heuristics++;
            *found = Math.Min(wanted, s_algorithms);
            for (int i = 0; i < *found; i++)
            {
                results[i] = new() { Algorithm = new() { First = (ulong)(i + 1) }, Status = CublasStatus.Success };
            }

            return *found == 0 ? CublasStatus.NotSupported : CublasStatus.Success;
        }

        [UnmanagedCallersOnly]
        private static CublasStatus Configure(Algorithm* algorithm, int attribute, void* value, nuint bytes)
        {
            if (attribute == 2 && *(int*)value == 1)
            {
                algorithm->First += 100;
            }

            return CublasStatus.Success;
        }

        /// <summary>The refused algorithm serves many rows only.</summary>
        [UnmanagedCallersOnly]
        private static CublasStatus Check(
            nint context, nint descriptor, nint a, nint b, nint c, nint d, Algorithm* algorithm, Heuristic* result)
        {
            *result = new() { Algorithm = *algorithm, Status = CublasStatus.Success };
            return algorithm->First == Refuses && b == 1001 ? CublasStatus.NotSupported : CublasStatus.Success;
        }

        [UnmanagedCallersOnly]
        private static CublasStatus Multiply(
            nint context, nint descriptor, void* alpha, nint a, nint aLayout, nint b, nint bLayout, void* beta, nint c, nint cLayout,
            nint d, nint dLayout, Algorithm* algorithm, nint workspace, nuint bytes, nint stream)
        {
            bool asExpected = *(float*)alpha == 1 && *(float*)beta == 0 && a == 32 && b == 16 && c == 48 && d == 48
                && bLayout == dLayout && workspace == 4096 && bytes == 32 << 20 && stream == 5;
            if (asExpected && Fails == CublasStatus.Success)
            {
                Used.Add(algorithm->First);
            }

            return asExpected ? Fails : CublasStatus.InvalidValue;
        }

        private static CublasStatus New(nint* handle, nint value)
        {
            *handle = value;
            Live++;
            return CublasStatus.Success;
        }
    }
}
