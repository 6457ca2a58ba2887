using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using InterpEngine.Models.Processing;

namespace InterpEngine.Models;

/// <summary>Loading through <see cref="WeightProcessor"/>.</summary>
internal sealed unsafe partial class WeightLoader : IStoredParameters
{
    private readonly WeightProcessor? _processor;
    private readonly Dictionary<int, Stack<double[]>> _recycled = [];

    /// <summary>Whether the unembedding is the embedding's own memory; processing makes them differ.</summary>
    private bool IsTied => _model.TiedEmbedding && _processor?.Changes(Parameter.UnembedWeight) != true;

    /// <inheritdoc/>
    float[]? IStoredParameters.Vector(Parameter parameter, int layer) => StoredVector(parameter, layer);

    /// <inheritdoc/>
    double[] IStoredParameters.Columns(Parameter parameter, int layer, int start, int count)
    {
        Parameter kept = parameter == Parameter.UnembedWeight && _model.TiedEmbedding ? Parameter.TokenEmbedding : parameter;
        int inputs = CheckpointSchema.Size(_model, kept).Inputs;
        bool inputsFirst = _model.Layout.Parameters[kept].InputsFirst;
        FusedPart part = CheckpointSchema.Part(_model, kept);
        SafetensorsEntry entry = Find(kept, new Place(layer));
        double[] values = Recycled(inputs * count).TryPop(out double[]? used) ? used : new double[inputs * count];
        long outputs = (long)part.Groups * part.GroupSize;
        (int rows, int columns) = inputsFirst ? (inputs, count) : (count, inputs);
        for (int row = 0; row < rows; row++)
        {
            for (int column = 0; column < columns; column++)
            {
                (int input, int output) = inputsFirst ? (row, column) : (column, row);
                long at = Stored(start + output);
                values[output * inputs + input] = Element(entry, inputsFirst ? input * outputs + at : at * inputs + input);
            }
        }

        int size = entry.ElementType.Size();
        long first = inputsFirst ? 0 : Stored(start) * inputs, end = inputsFirst ? entry.Count : (Stored(start + count - 1) + 1) * inputs;
        entry.File.Release(entry.Offset + first * size, (end - first) * size);
        return values;

        // The stored tensor's output that is one of this part.
        long Stored(int output) => (long)(output / part.Size) * part.GroupSize + part.Start + output % part.Size;
    }

    /// <inheritdoc/>
    void IStoredParameters.Recycle(double[] columns) => Recycled(columns.Length).Push(columns);

    /// <summary>Buffers of a length. There are few lengths: a chunk and a last, shorter chunk of each matrix.</summary>
    private Stack<double[]> Recycled(int length)
    {
        ref Stack<double[]>? buffers = ref CollectionsMarshal.GetValueRefOrAddDefault(_recycled, length, out _);
        return buffers ??= new Stack<double[]>();
    }

    private static double Element(SafetensorsEntry entry, long index) => entry.ElementType switch
    {
        ElementType.F64 => Unsafe.ReadUnaligned<double>(entry.Pointer + index * 8),
        ElementType.F32 => Unsafe.ReadUnaligned<float>(entry.Pointer + index * 4),
        ElementType.F16 => (double)Unsafe.ReadUnaligned<Half>(entry.Pointer + index * 2),
        _ => BitConverter.Int32BitsToSingle(
            Unsafe.ReadUnaligned<short>(entry.Pointer + index * 2) << 16),
    };

    private Weight ProcessedMatrix(WeightProcessor processor, Parameter parameter, int layer)
    {
        (int inputs, int outputs) = CheckpointSchema.Size(_model, parameter);
        Weight weight = Keep(_device.CreateWeight(inputs, outputs, _options.TypeOf(parameter)));
        _bytes += weight.Bytes;
        int chunk = WeightProcessor.ChunkOf(inputs);
        for (int start = 0; start < outputs; start += chunk)
        {
            _cancellation.ThrowIfCancellationRequested();
            int count = Math.Min(chunk, outputs - start);
            double[] columns = processor.Columns(parameter, layer, start, count);
            fixed (double* values = columns)
            {
                _device.Pack(weight, new WeightBlock((nint)values, ElementType.F64, inputs, count, 1, inputs, 0, start));
            }

            Recycled(columns.Length).Push(columns);
        }

        return weight;
    }
}
