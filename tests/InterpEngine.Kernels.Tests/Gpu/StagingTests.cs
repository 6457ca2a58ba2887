using System.Runtime.InteropServices;
using InterpEngine.Kernels.Gpu.Graphs;

namespace InterpEngine.Kernels.Tests.Gpu;

public sealed unsafe class StagingTests
{
    [Fact]
    public void Copies_stay_where_they_are()
    {
        int live = 0;
        nint Allocate(long bytes)
        {
            live++;
            return (nint)NativeMemory.AllocZeroed((nuint)bytes);
        }

        void Free(nint address)
        {
            live--;
            NativeMemory.Free((void*)address);
        }

        using (var staging = new Staging(Allocate, Free))
        {
            var copies = new List<(nint Address, byte[] Bytes)>();
            foreach (int length in (int[])[1, 15, 17, 60_000, 8_000, 200_000, 3])
            {
                byte[] bytes = [.. Enumerable.Range(0, length).Select(i => (byte)(i * 7 + length))];
                copies.Add((staging.Copy(bytes), bytes));
                Assert.Equal(0, copies[^1].Address % 16);
            }

            Assert.All(copies, copy => Assert.Equal(copy.Bytes, new Span<byte>((void*)copy.Address, copy.Bytes.Length).ToArray()));
            Assert.Equal(4, live);
        }

        Assert.Equal(0, live);
    }
}
