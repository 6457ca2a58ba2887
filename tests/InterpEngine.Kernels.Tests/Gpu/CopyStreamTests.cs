using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ILGPU.Runtime.Cuda;
using InterpEngine.Kernels.Gpu.Copies;

namespace InterpEngine.Kernels.Tests.Gpu;

/// <summary>
/// Our side of copies beside kernels, against a driver of the tests' own that does nothing before it is waited for: what is read too early
/// is missing, and what is overwritten too early is wrong.
/// </summary>
public sealed unsafe class CopyStreamTests
{
    private static readonly Lock s_turn = new();

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(CopyStream.PieceBytes - 1)]
    [InlineData(CopyStream.PieceBytes)]
    [InlineData(CopyStream.PieceBytes + 1)]
    [InlineData(5 * CopyStream.PieceBytes - 3)]
    public void Everything_arrives(int bytes)
    {
        lock (s_turn)
        {
            byte[] source = new byte[bytes], destination = new byte[bytes];
            new Random(bytes).NextBytes(source);
            Driver.Reset();
            fixed (byte* address = source)
            {
                using var copies = new CopyStream(Driver.Api(), Driver.Check);
                nint mark = copies.Mark(77);
                copies.Read(mark, (nint)address, destination);
                copies.Release(mark);
                Assert.Equal((mark, 77), Driver.Marked);
                Assert.Equal(mark, Driver.WaitedFor);
            }

            Assert.True(source.AsSpan().SequenceEqual(destination));
            Assert.Equal((0, 0, 0), (Driver.Streams, Driver.Events, Driver.Locked));
        }
    }

    [Fact]
    public void A_driver_that_fails_leaves_nothing()
    {
        lock (s_turn)
        {
            for (int allowed = 0; allowed < 5; allowed++)
            {
                Driver.Reset();
                Driver.CallsBeforeError = allowed;
                Assert.Throws<InvalidOperationException>(() => new CopyStream(Driver.Api(), Driver.Check));
                Assert.Equal((0, 0, 0), (Driver.Streams, Driver.Events, Driver.Locked));
            }
        }
    }

    private static class Driver
    {
        private static readonly List<(nint Event, nint To, nint From, int Bytes)> s_queue = [];
        private static nint s_next;

        public static int Streams { get; private set; }

        public static int Events { get; private set; }

        public static int Locked { get; private set; }

        public static int CallsBeforeError { get; set; }

        public static nint WaitedFor { get; private set; }

        public static (nint Event, nint Stream) Marked { get; private set; }

        public static void Reset()
        {
            s_queue.Clear();
            (Streams, Events, Locked, CallsBeforeError, WaitedFor, Marked) = (0, 0, 0, int.MaxValue, 0, default);
        }

        public static CopyApi Api() => new(name => name switch
        {
            "cuStreamCreate" => (nint)(delegate* unmanaged<nint*, uint, CudaError>)&CreateStream,
            "cuStreamDestroy_v2" => (nint)(delegate* unmanaged<nint, CudaError>)&DestroyStream,
            "cuStreamWaitEvent" => (nint)(delegate* unmanaged<nint, nint, uint, CudaError>)&WaitFor,
            "cuEventCreate" => (nint)(delegate* unmanaged<nint*, uint, CudaError>)&CreateEvent,
            "cuEventDestroy_v2" => (nint)(delegate* unmanaged<nint, CudaError>)&DestroyEvent,
            "cuEventRecord" => (nint)(delegate* unmanaged<nint, nint, CudaError>)&Record,
            "cuEventSynchronize" => (nint)(delegate* unmanaged<nint, CudaError>)&Synchronize,
            "cuMemcpyDtoHAsync_v2" => (nint)(delegate* unmanaged<void*, nint, nuint, nint, CudaError>)&Copy,
            "cuMemAllocHost_v2" => (nint)(delegate* unmanaged<nint*, nuint, CudaError>)&Allocate,
            "cuMemFreeHost" => (nint)(delegate* unmanaged<nint, CudaError>)&Free,
            _ => throw new EntryPointNotFoundException(name),
        });

        public static void Check(CudaError error)
        {
            if (error != CudaError.CUDA_SUCCESS)
            {
                throw new InvalidOperationException(error.ToString());
            }
        }

        [UnmanagedCallersOnly]
        private static CudaError CreateStream(nint* stream, uint flags) => Make(stream, () => Streams++);

        [UnmanagedCallersOnly]
        private static CudaError CreateEvent(nint* created, uint flags) => Make(created, () => Events++);

        [UnmanagedCallersOnly]
        private static CudaError DestroyStream(nint stream)
        {
            Streams--;
            return CudaError.CUDA_SUCCESS;
        }

        [UnmanagedCallersOnly]
        private static CudaError DestroyEvent(nint mark)
        {
            Events--;
            return CudaError.CUDA_SUCCESS;
        }

        [UnmanagedCallersOnly]
        private static CudaError WaitFor(nint stream, nint mark, uint flags)
        {
            WaitedFor = mark;
            return CudaError.CUDA_SUCCESS;
        }

        [UnmanagedCallersOnly]
        private static CudaError Record(nint mark, nint stream)
        {
            Marked = Marked == default ? (mark, stream) : Marked;
            s_queue.Add((mark, 0, 0, 0));
            return CudaError.CUDA_SUCCESS;
        }

        [UnmanagedCallersOnly]
        private static CudaError Copy(void* to, nint from, nuint bytes, nint stream)
        {
            s_queue.Add((0, (nint)to, from, (int)bytes));
            return CudaError.CUDA_SUCCESS;
        }

        /// <summary>Does what was queued up to the event.</summary>
        [UnmanagedCallersOnly]
        private static CudaError Synchronize(nint mark)
        {
            int end = s_queue.FindLastIndex(task => task.Event == mark);
            foreach ((_, nint to, nint from, int bytes) in s_queue.Take(end + 1))
            {
                Unsafe.CopyBlock((void*)to, (void*)from, (uint)bytes);
            }

            s_queue.RemoveRange(0, end + 1);
            return CudaError.CUDA_SUCCESS;
        }

        [UnmanagedCallersOnly]
        private static CudaError Allocate(nint* address, nuint bytes)
        {
            if (CallsBeforeError-- <= 0)
            {
                return CudaError.CUDA_ERROR_OUT_OF_MEMORY;
            }

            *address = (nint)NativeMemory.AllocZeroed(bytes);
            Locked++;
            return CudaError.CUDA_SUCCESS;
        }

        [UnmanagedCallersOnly]
        private static CudaError Free(nint address)
        {
            NativeMemory.Free((void*)address);
            Locked--;
            return CudaError.CUDA_SUCCESS;
        }

        private static CudaError Make(nint* handle, Action count)
        {
            if (CallsBeforeError-- <= 0)
            {
                return CudaError.CUDA_ERROR_OUT_OF_MEMORY;
            }

            *handle = ++s_next;
            count();
            return CudaError.CUDA_SUCCESS;
        }
    }
}
