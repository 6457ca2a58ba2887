using System.Buffers.Binary;
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
        int size = entry.ElementType.Size(), rows = inputsFirst ? inputs : count;
        long first = Stored(start), span = Stored(start + count - 1) + 1 - first;
        var bytes = new byte[(inputsFirst ? span : inputs) * size];
        for (int row = 0; row < rows; row++)
        {
            entry.File.Read(entry.Offset + (inputsFirst ? row * outputs + first : Stored(start + row) * inputs) * size, bytes);
            if (inputsFirst)
            {
                for (int output = 0; output < count; output++)
                {
                    values[output * inputs + row] = Element(bytes, entry.ElementType, (int)(Stored(start + output) - first));
                }
            }
            else
            {
                for (int input = 0; input < inputs; input++)
                {
                    values[row * inputs + input] = Element(bytes, entry.ElementType, input);
                }
            }
        }

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

    private static double Element(ReadOnlySpan<byte> bytes, ElementType type, int index) => type switch
    {
        ElementType.F64 => BinaryPrimitives.ReadDoubleLittleEndian(bytes[(index * 8)..]),
        ElementType.F32 => BinaryPrimitives.ReadSingleLittleEndian(bytes[(index * 4)..]),
        ElementType.F16 => (double)BinaryPrimitives.ReadHalfLittleEndian(bytes[(index * 2)..]),
        _ => BitConverter.Int32BitsToSingle(BinaryPrimitives.ReadInt16LittleEndian(bytes[(index * 2)..]) << 16),
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
