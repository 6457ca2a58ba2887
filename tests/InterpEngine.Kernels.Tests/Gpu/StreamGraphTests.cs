using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ILGPU.Runtime.Cuda;
using InterpEngine.Kernels.Gpu.Graphs;

namespace InterpEngine.Kernels.Tests.Gpu;

/// <summary>Our side of CUDA graphs, against a driver of the tests' own that writes down how it is called.</summary>
public sealed unsafe class StreamGraphTests
{
    private static readonly Lock s_turn = new();

    [Fact]
    public void The_second_recording_updates_the_first()
    {
        Driver.Use(() =>
        {
            using (StreamGraph graph = Driver.Graph())
            {
                graph.Run(() => Assert.True(graph.IsRecording));
                Assert.False(graph.IsRecording);
                graph.Run(() => { });
            }

            Assert.Equal("begin end instantiate free launch begin end update free launch drop", Driver.Log);
        });
    }

    [Fact]
    public void Other_work_makes_another_graph()
    {
        Driver.Use(() =>
        {
            using (StreamGraph graph = Driver.Graph())
            {
                graph.Run(() => { });
                Driver.Updates = CudaError.CUDA_ERROR_INVALID_VALUE;
                graph.Run(() => { });
            }

            Assert.Equal("begin end instantiate free launch begin end update drop instantiate free launch drop", Driver.Log);
        });
    }

    [Fact]
    public void What_throws_is_not_run_and_the_next_recording_is()
    {
        Driver.Use(() =>
        {
            using (StreamGraph graph = Driver.Graph())
            {
                Assert.Throws<OperationCanceledException>(() => graph.Run(() => throw new OperationCanceledException()));
                Assert.False(graph.IsRecording);
                graph.Run(() => { });
            }

            Assert.Equal("begin end free begin end instantiate free launch drop", Driver.Log);
        });
    }

    [Fact]
    public void An_error_of_the_driver_is_thrown_and_leaves_nothing()
    {
        Driver.Use(() =>
        {
            using (StreamGraph graph = Driver.Graph())
            {
                Driver.Instantiates = CudaError.CUDA_ERROR_OUT_OF_MEMORY;
                var error = Assert.Throws<InvalidOperationException>(() => graph.Run(() => { }));
                Assert.Equal(nameof(CudaError.CUDA_ERROR_OUT_OF_MEMORY), error.Message);
            }

            Assert.Equal("begin end instantiate free", Driver.Log);
        });
    }

    [Fact]
    public void The_result_of_an_update_has_the_drivers_layout() => Assert.Equal(24, Unsafe.SizeOf<UpdateResult>());

    private static class Driver
    {
        private static readonly List<string> s_log = [];

        public static CudaError Updates { get; set; }

        public static CudaError Instantiates { get; set; }

        public static string Log => string.Join(' ', s_log);

        public static void Use(Action body)
        {
            lock (s_turn)
            {
                s_log.Clear();
                (Updates, Instantiates) = (CudaError.CUDA_SUCCESS, CudaError.CUDA_SUCCESS);
                body();
            }
        }

        public static StreamGraph Graph() => new(new GraphApi(Export), 7, error =>
        {
            if (error != CudaError.CUDA_SUCCESS)
            {
                throw new InvalidOperationException(error.ToString());
            }
        });

        private static nint Export(string function) => function switch
        {
            "cuStreamBeginCapture_v2" => (nint)(delegate* unmanaged<nint, int, CudaError>)&Begin,
            "cuStreamEndCapture" => (nint)(delegate* unmanaged<nint, nint*, CudaError>)&End,
            "cuGraphInstantiateWithFlags" => (nint)(delegate* unmanaged<nint*, nint, ulong, CudaError>)&Instantiate,
            "cuGraphExecUpdate_v2" => (nint)(delegate* unmanaged<nint, nint, UpdateResult*, CudaError>)&Update,
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
        private static CudaError Update(nint executable, nint graph, UpdateResult* result) =>
            Note("update", executable == 13 && graph == 11 && result != null, Updates);

        [UnmanagedCallersOnly]
        private static CudaError Launch(nint executable, nint stream) => Note("launch", executable == 13 && stream == 7);

        [UnmanagedCallersOnly]
        private static CudaError Drop(nint executable) => Note("drop", executable == 13);

        [UnmanagedCallersOnly]
        private static CudaError Free(nint graph) => Note("free", graph == 11);
    }
}
