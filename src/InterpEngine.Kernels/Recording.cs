using System.Runtime.InteropServices;

namespace InterpEngine.Kernels;

/// <summary>
/// Ops that are done again and again with another input: the steps of a generation. A GPU records them once and launches them together.
/// </summary>
/// <remarks>Made by <see cref="Device.Record"/>. Not for several threads at a time.</remarks>
public abstract class Recording : IDisposable
{
    /// <summary>Fills the input, does what was recorded and waits for it.</summary>
    /// <param name="input">As many numbers as the input has.</param>
    /// <exception cref="ArgumentException">There are more or fewer; or an index that an op read lies past the end of its table.</exception>
    /// <exception cref="DeviceException">The device failed.</exception>
    public abstract void Run(ReadOnlySpan<int> input);

    /// <summary>A copy of what the last run left in an output.</summary>
    /// <typeparam name="T">The .NET counterpart of the output's type.</typeparam>
    /// <param name="index">Which of the body's results.</param>
    /// <exception cref="InvalidOperationException">Nothing was run.</exception>
    public abstract T[] Output<T>(int index) where T : unmanaged;

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees what it holds.</summary>
    protected abstract void Dispose(bool disposing);
}

/// <summary>A recording on a device that computes at once: the body itself, run anew.</summary>
internal sealed class BodyRecording(Tensor input, Func<Tensor[]> body) : Recording
{
    private byte[][]? _outputs;

    public override void Run(ReadOnlySpan<int> values)
    {
        input.CopyFrom(values);
        Tensor[] outputs = body();
        try
        {
            _outputs = [.. outputs.Select(Read)];
        }
        finally
        {
            foreach (Tensor output in outputs)
            {
                output.Dispose();
            }
        }

        static byte[] Read(Tensor output)
        {
            var bytes = new byte[output.Bytes];
            output.Device.Download(output, bytes);
            return bytes;
        }
    }

    public override T[] Output<T>(int index) => _outputs is null
        ? throw new InvalidOperationException("A recording has outputs after its first run.")
        : MemoryMarshal.Cast<byte, T>(_outputs[index]).ToArray();

    protected override void Dispose(bool disposing)
    {
    }
}
