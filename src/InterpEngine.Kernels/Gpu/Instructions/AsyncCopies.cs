using System.Runtime.CompilerServices;

namespace InterpEngine.Kernels.Gpu.Instructions;

/// <summary>
/// cp.async on the CPU accelerator. A copy is made as late as is legal, when its group is waited for, so that a kernel that
/// forgets to wait fails there too.
/// </summary>
internal static unsafe class AsyncCopies
{
    [ThreadStatic]
    private static Queue<List<Copy>>? s_groups;

    [ThreadStatic]
    private static List<Copy>? s_open;

    private readonly record struct Copy(nint To, nint From, int Bytes);

    public static void Begin(ref uint destination, ref uint source, int bytes)
    {
        var copy = new Copy((nint)Unsafe.AsPointer(ref destination), (nint)Unsafe.AsPointer(ref source), bytes);
        if ((copy.To & 15) != 0 || (copy.From & 15) != 0 || bytes is < 0 or > 16)
        {
            throw new InvalidOperationException(
                $"cp.async: {bytes} bytes from {copy.From:x} to {copy.To:x}; expected at most 16, aligned.");
        }

        (s_open ??= []).Add(copy);
    }

    public static void Commit()
    {
        (s_groups ??= []).Enqueue(s_open ?? []);
        s_open = null;
    }

    /// <summary>Completes all groups but the last few.</summary>
    public static void Wait(int pending)
    {
        while (s_groups is { } groups && groups.Count > pending)
        {
            foreach (Copy copy in groups.Dequeue())
            {
                var to = new Span<byte>((void*)copy.To, 16);
                to[copy.Bytes..].Clear();
                new ReadOnlySpan<byte>((void*)copy.From, copy.Bytes).CopyTo(to);
            }
        }
    }
}
