using System.Runtime.InteropServices;
using ILGPU.Runtime.Cuda;
using InterpEngine.Kernels.Gpu.Graphs;

namespace InterpEngine.Kernels.Tests.Gpu;

/// <summary>Our side of CUDA graphs, against a driver of the tests' own that writes down how it is called.</summary>
public sealed unsafe class StreamGraphTests
{
    private static readonly Lock s_turn = new();

    [Fact]
    public void A_body_is_recorded_once_and_launched_often()
    {
        Driver.Use(() =>
        {
            int recorded = 0;
            using (StreamGraph graph = Driver.Graph(() => recorded++))
            {
                graph.Launch(9);
                graph.Launch(9);
            }

            Assert.Equal(1, recorded);
            Assert.Equal("begin end instantiate free launch launch drop", Driver.Log);
        });
    }

    [Fact]
    public void What_throws_leaves_nothing()
    {
        Driver.Use(() =>
        {
            Assert.Throws<OperationCanceledException>(() => Driver.Graph(() => throw new OperationCanceledException()));
            Assert.Equal("begin end free", Driver.Log);
        });
    }

    [Fact]
    public void An_error_of_the_driver_is_thrown_and_leaves_nothing()
    {
        Driver.Use(() =>
        {
            Driver.Instantiates = CudaError.CUDA_ERROR_OUT_OF_MEMORY;
            var error = Assert.Throws<InvalidOperationException>(() => Driver.Graph(() => { }));
            Assert.Equal(nameof(CudaError.CUDA_ERROR_OUT_OF_MEMORY), error.Message);
            Assert.Equal("begin end instantiate free", Driver.Log);
        });
    }

    private static class Driver
    {
        private static readonly List<string> s_log = [];

        public static CudaError Instantiates { get; set; }

        public static string Log => string.Join(' ', s_log);

        public static void Use(Action body)
        {
            lock (s_turn)
            {
                s_log.Clear();
                Instantiates = CudaError.CUDA_SUCCESS;
                body();
            }
        }

        public static StreamGraph Graph(Action body) => new(
            new GraphApi(Export),
            7,
            error =>
            {
                if (error != CudaError.CUDA_SUCCESS)
                {
                    throw new InvalidOperationException(error.ToString());
                }
            },
            body);

        private static nint Export(string function) => function switch
        {
            "cuStreamBeginCapture_v2" => (nint)(delegate* unmanaged<nint, int, CudaError>)&Begin,
            "cuStreamEndCapture" => (nint)(delegate* unmanaged<nint, nint*, CudaError>)&End,
            "cuGraphInstantiateWithFlags" => (nint)(delegate* unmanaged<nint*, nint, ulong, CudaError>)&Instantiate,
            "cuGraphLaunch" => (nint)(delegate* unmanaged<nint, nint, CudaError>)&Launch,
            "cuGraphExecDestroy" => (nint)(delegate* unmanaged<nint, CudaError>)&Drop,
            "cuGraphDestroy" => (nint)(delegate* unmanaged<nint, CudaError>)&Free,
            _ => throw new EntryPointNotFoundException(function),
        };

        private static CudaError Note(string call, bool asExpected, CudaError result = CudaError.CUDA_SUCCESS)
        {
            s_log.Add(call);
            return asExpected ? result : CudaError.CUDA_ERROR_INVALID_VALUE;
        }

        [UnmanagedCallersOnly]
        private static CudaError Begin(nint stream, int mode) => Note("begin", stream == 7 && mode == 2);

        [UnmanagedCallersOnly]
        private static CudaError End(nint stream, nint* graph)
        {
            *graph = 11;
            return Note("end", stream == 7);
        }

        [UnmanagedCallersOnly]
        private static CudaError Instantiate(nint* executable, nint graph, ulong flags)
        {
            *executable = 13;
            return Note("instantiate", graph == 11 && flags == 0, Instantiates);
        }

        [UnmanagedCallersOnly]
        private static CudaError Launch(nint executable, nint stream) => Note("launch", executable == 13 && stream == 9);

        [UnmanagedCallersOnly]
        private static CudaError Drop(nint executable) => Note("drop", executable == 13);

        [UnmanagedCallersOnly]
        private static CudaError Free(nint graph) => Note("free", graph == 11);
    }
}
