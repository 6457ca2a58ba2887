using InterpEngine.Formats;
using InterpEngine.Kernels;
using InterpEngine.Models.Processing;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models;

/// <summary>
/// Packs a checkpoint's tensors into a device's weights, straight from the mapped file and giving its pages back as they are read, so
/// that the peak of memory is the weights. Every tensor must be expected, and every expected one there with the right shape.
/// </summary>
internal sealed unsafe partial class WeightLoader
{
    /// <summary>Pages of the file that may be resident at a time.</summary>
    private const long ChunkBytes = 8 << 20;

    private readonly ModelDescription _model;
    private readonly Checkpoint _checkpoint;
    private readonly Device _device;
    private readonly LoadOptions _options;
    private readonly string _prefix;
    private readonly List<IDisposable> _made = [];
    private readonly CancellationToken _cancellation;

    private WeightLoader(
        ModelDescription model, Checkpoint checkpoint, Device device, LoadOptions options, CancellationToken cancellation)
    {
        _processor = options.Processing == WeightProcessing.None ? null : new WeightProcessor(model, options.Processing, this);
        (_model, _checkpoint, _device, _options, _cancellation) = (model, checkpoint, device, options, cancellation);
        string embedding = model.Layout.Parameters[TokenEmbedding].Name;
        _prefix = model.Layout.Prefixes.FirstOrDefault(prefix => checkpoint.Tensors.ContainsKey(prefix + embedding))
            ?? model.Layout.Prefixes[0];
    }

    /// <summary>Loads all weights.</summary>
    /// <exception cref="ModelException">A tensor is missing, superfluous, of the wrong shape or of a type that is not floating point.</exception>
    public static ModelWeights Load(
        ModelDescription model,
        Checkpoint checkpoint,
        Device device,
        LoadOptions options,
        IProgress<double>? progress,
        CancellationToken cancellation)
    {
        var loader = new WeightLoader(model, checkpoint, device, options, cancellation);
        try
        {
            loader.CheckTensors();
            return loader.LoadAll(progress);
        }
        catch
        {
            loader._made.ForEach(part => part.Dispose());
            throw;
        }
    }

    private ModelWeights LoadAll(IProgress<double>? progress)
    {
        Weight embedding = Matrix(TokenEmbedding);
        Weight? positions = _model.Layout.Parameters.ContainsKey(PositionEmbedding) ? Matrix(PositionEmbedding) : null;
        var blocks = new BlockWeights[_model.Layers];
        for (int layer = 0; layer < blocks.Length; layer++)
        {
            blocks[layer] = new BlockWeights(
                Norm(Ln1Gain, Ln1Bias, layer),
                Linear(QWeight, QBias, layer), Linear(KWeight, KBias, layer), Linear(VWeight, VBias, layer), Linear(OWeight, OBias, layer),
                Norm(Ln2Gain, Ln2Bias, layer),
                Linear(MlpInWeight, MlpInBias, layer),
                _model.GatedMlp ? Linear(MlpUpWeight, MlpUpBias, layer) : null,
                Linear(MlpOutWeight, MlpOutBias, layer));
            progress?.Report((layer + 1.0) / (blocks.Length + 1));
        }

        NormWeights final = Norm(LnFinalGain, LnFinalBias, 0);
        Linear unembed = IsTied ? new Linear(embedding, Vector(UnembedBias, 0)) : Linear(UnembedWeight, UnembedBias, 0);
        progress?.Report(1);
        return new ModelWeights(embedding, positions, blocks, final, unembed);
    }

    private Linear Linear(Parameter weight, Parameter bias, int layer) => new(Matrix(weight, layer), Vector(bias, layer));

    private NormWeights Norm(Parameter gain, Parameter bias, int layer) => new(Vector(gain, layer), Vector(bias, layer));

    private Weight Matrix(Parameter parameter, int layer = 0)
    {
        if (_processor is not null && _processor.Changes(parameter))
        {
            return ProcessedMatrix(_processor, parameter, layer);
        }

        (int inputs, int outputs) = CheckpointSchema.Size(_model, parameter);
        ParameterSource source = _model.Layout.Parameters[parameter];
        FusedPart part = CheckpointSchema.Part(_model, parameter);
        SafetensorsEntry entry = Find(parameter, layer);
        Weight weight = Keep(_device.CreateWeight(inputs, outputs, _options.TypeOf(parameter)));
        int size = entry.ElementType.Size();
        long rowElements = source.InputsFirst ? (long)part.Groups * part.GroupSize : inputs;
        int chunk = (int)Math.Clamp(ChunkBytes / Math.Max(1, rowElements * size), 1, int.MaxValue);
        chunk = source.InputsFirst ? Math.Max(Weight.GroupSize, chunk / Weight.GroupSize * Weight.GroupSize) : chunk;
        for (int group = 0; group < part.Groups; group++)
        {
            int start = group * part.GroupSize + part.Start;
            int rows = source.InputsFirst ? inputs : part.Size;
            for (int row = 0; row < rows; row += chunk)
            {
                _cancellation.ThrowIfCancellationRequested();
                int count = Math.Min(chunk, rows - row);
                long first = source.InputsFirst ? row * rowElements + start : (start + row) * rowElements;
                nint address = (nint)(entry.Pointer + first * size);
                _device.Pack(weight, source.InputsFirst
                    ? new WeightBlock(address, entry.ElementType, count, part.Size, rowElements, 1, row, group * part.Size)
                    : new WeightBlock(address, entry.ElementType, inputs, count, 1, rowElements, 0, group * part.Size + row));
                entry.File.Release(entry.Offset + first * size, count * rowElements * size);
            }
        }

        return weight;
    }

    private Tensor? Vector(Parameter parameter, int layer)
    {
        float[]? values = _processor is null ? StoredVector(parameter, layer) : _processor.Vector(parameter, layer);
        return values is null ? null : Keep(_device.Upload<float>(values, values.Length));
    }

    private float[]? StoredVector(Parameter parameter, int layer)
    {
        if (!_model.Layout.Parameters.ContainsKey(parameter))
        {
            return null;
        }

        FusedPart part = CheckpointSchema.Part(_model, parameter);
        float[] stored = Find(parameter, layer).ToSingles();
        var values = new float[part.Groups * part.Size];
        for (int group = 0; group < part.Groups; group++)
        {
            stored.AsSpan(group * part.GroupSize + part.Start, part.Size).CopyTo(values.AsSpan(group * part.Size));
        }

        return values;
    }

    private SafetensorsEntry Find(Parameter parameter, int layer) =>
        _checkpoint.Tensors[CheckpointSchema.Name(_model, parameter, layer, _prefix)];

    /// <summary>Settings and checkpoint must belong together, tensor by tensor. Said before anything is packed.</summary>
    private void CheckTensors()
    {
        IReadOnlyDictionary<string, long[]> required = CheckpointSchema.Required(_model, _prefix);
        foreach ((string name, long[] shape) in required)
        {
            string expected = $"[{string.Join(", ", shape)}]";
            if (!_checkpoint.Tensors.TryGetValue(name, out SafetensorsEntry? entry))
            {
                throw Mismatch($"tensor '{name}' is missing; expected {expected}");
            }

            if (!entry.Shape.AsSpan().SequenceEqual(shape))
            {
                throw Mismatch($"tensor '{name}' is [{string.Join(", ", entry.Shape)}]; expected {expected}");
            }

            if (entry.Type is not (SafetensorsType.F32 or SafetensorsType.F16 or SafetensorsType.BF16 or SafetensorsType.F64))
            {
                throw new ModelException(
                    $"{_checkpoint.Path}: tensor '{name}' has type {entry.Type}; expected F32, F16, BF16 or F64.",
                    "Quantised checkpoints are not supported; use the original weights.");
            }
        }

        IReadOnlySet<string> allowed = CheckpointSchema.Allowed(_model, _prefix);
        foreach (string name in _checkpoint.Tensors.Keys)
        {
            if (!required.ContainsKey(name) && !allowed.Contains(name))
            {
                throw Mismatch(
                    $"tensor '{name}' is no part of a {_model.Family} model with {_model.Layers} blocks as config.json describes it");
            }
        }
    }

    private ModelException Mismatch(string defect) =>
        new($"{_checkpoint.Path}: {defect}.", "Does config.json belong to this checkpoint?");

    private T Keep<T>(T part) where T : IDisposable
    {
        _made.Add(part);
        return part;
    }
}
