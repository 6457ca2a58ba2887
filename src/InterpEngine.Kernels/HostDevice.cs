using System.Runtime.InteropServices;
using InterpEngine.Kernels.Reference;

namespace InterpEngine.Kernels;

/// <summary>A device whose tensors lie in host memory, aligned to a cache line.</summary>
public abstract unsafe class HostDevice : Device
{
    /// <summary>Alignment of every buffer in bytes: one cache line, one AVX-512 register.</summary>
    public const int Alignment = 64;

    internal override nint AllocateMemory(long bytes)
    {
        try
        {
            return (nint)NativeMemory.AlignedAlloc(checked((nuint)bytes), Alignment);
        }
        catch (OutOfMemoryException e)
        {
            throw OutOfMemory(bytes, e);
        }
    }

    private protected DeviceException OutOfMemory(long bytes, OutOfMemoryException? cause = null) => new(
        $"{Name} has no memory for a buffer of {bytes:N0} bytes; {Arena.ReservedBytes:N0} bytes are held already.",
        "Use a smaller batch or shorter sequences, capture less, or dispose tensors earlier.",
        cause);

    internal override void FreeMemory(nint address, long bytes) => NativeMemory.AlignedFree((void*)address);

    internal override void Upload(ReadOnlySpan<byte> source, Tensor destination)
    {
        fixed (byte* from = source)
        {
            Buffer.MemoryCopy(from, (void*)destination.Address, destination.Bytes, source.Length);
        }

        GC.KeepAlive(destination);
    }

    internal override void Download(Tensor source, Span<byte> destination)
    {
        fixed (byte* to = destination)
        {
            Buffer.MemoryCopy((void*)source.Address, to, destination.Length, source.Bytes);
        }

        GC.KeepAlive(source);
    }

    /// <inheritdoc/>
    protected override void Execute(in Append op)
    {
        int at = *(int*)op.At.Address;
        if (at < 0 || at > op.Capacity - op.Tokens)
        {
            throw new ArgumentException($"Append: {op.Tokens} tokens do not fit at {at} of {op.Capacity}.");
        }

        Append(op.Keys, op.KeyCache, at);
        Append(op.Values, op.ValueCache, at);
    }

    private void Append(Tensor from, Tensor to, int at)
    {
        int width = Kernels.Append.Width(from), tokens = from.Shape[1] * width;
        Run(new Copy
        {
            From = new Matrix(from, 0, from.Shape[0], tokens, tokens),
            To = new Matrix(to, (long)at * width, to.Shape[0], tokens, (long)to.Shape[1] * width),
        });
    }

    private protected override Attention Counted(in Attention op) =>
        op.KeyCount is null ? op : op with { Keys = *(int*)op.KeyCount.Address, KeyCount = null };

    private protected override void Convert(in Copy op)
    {
        bool fromNarrow = op.From.Tensor.Type == ElementType.BF16, toNarrow = op.To.Tensor.Type == ElementType.BF16;
        for (int row = 0; row < op.To.Rows; row++)
        {
            nint from = op.From.Address + (nint)(row * op.From.Stride * op.From.Tensor.Type.Size());
            nint to = op.To.Address + (nint)(row * op.To.Stride * op.To.Tensor.Type.Size());
            for (int i = 0; i < op.To.Columns; i++)
            {
                uint bits = fromNarrow
                    ? (uint)((ushort*)from)[i] << 16
                    : BitConverter.SingleToUInt32Bits(LowPrecision.RoundToBFloat16(((float*)from)[i]));
                if (toNarrow)
                {
                    ((ushort*)to)[i] = (ushort)(bits >> 16);
                }
                else
                {
                    ((float*)to)[i] = BitConverter.UInt32BitsToSingle(bits);
                }
            }
        }

        GC.KeepAlive(op.From.Tensor);
        GC.KeepAlive(op.To.Tensor);
    }
}
