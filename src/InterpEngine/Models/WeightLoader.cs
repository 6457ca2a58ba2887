using InterpEngine.Formats;
using InterpEngine.Kernels;
using InterpEngine.Models.Processing;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models;

/// <summary>
/// Packs a checkpoint's tensors into a device's weights, piece by piece as they are read from the file, so that the peak of memory is the
/// weights. Every tensor must be expected, and every expected one there with the right shape.
/// </summary>
internal sealed partial class WeightLoader
{
    private readonly ModelDescription _model;
    private readonly Checkpoint _checkpoint;
    private readonly Dictionary<string, SafetensorsEntry> _tensors = new(StringComparer.Ordinal);
    private readonly Device _device;
    private readonly LoadOptions _options;
    private readonly string _prefix;
    private readonly List<IDisposable> _made = [];
    private readonly PackingQueue _queue = new();
    private readonly CancellationToken _cancellation;
    private long _bytes;

    private WeightLoader(
        ModelDescription model, Checkpoint checkpoint, Device device, LoadOptions options, CancellationToken cancellation)
    {
        _processor = options.Processing == WeightProcessing.None ? null : new WeightProcessor(model, options.Processing, this);
        (_model, _checkpoint, _device, _options, _cancellation) = (model, checkpoint, device, options, cancellation);
        foreach ((string name, SafetensorsEntry entry) in checkpoint.Tensors)
        {
            string renamed = Renamed(model.Layout, name);
            _tensors[checkpoint.Tensors.ContainsKey(renamed) ? name : renamed] = entry;
        }

        string embedding = model.Layout.Parameters[TokenEmbedding].Name;
        _prefix = model.Layout.Prefixes.FirstOrDefault(prefix => _tensors.ContainsKey(prefix + embedding)) ?? model.Layout.Prefixes[0];
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
        Weight? positions = Has(PositionEmbedding) ? Matrix(PositionEmbedding) : null;
        Weight? types = Has(TokenTypeEmbedding) ? Matrix(TokenTypeEmbedding) : null;
        NormWeights? embeddingNorm = _model.EmbeddingNorm ? Norm(EmbeddingNormGain, EmbeddingNormBias, 0) : null;
        Linear? projection = Has(EmbeddingProjection) ? new Linear(Matrix(EmbeddingProjection), null) : null;
        var blocks = new BlockWeights[_model.Layers];
        for (int layer = 0; layer < blocks.Length; layer++)
        {
            blocks[layer] = Block(layer);
            if (_processor is not null)
            {
                progress?.Report((layer + 1.0) / (blocks.Length + 1));
            }
        }

        Linear? head = _model.HeadTransform ? Linear(HeadWeight, HeadBias, 0) : null;
        NormWeights? final = _model.FinalNorm ? Norm(LnFinalGain, LnFinalBias, 0) : null;
        Linear? back = Has(UnembeddingProjection) ? new Linear(Matrix(UnembeddingProjection), null) : null;
        Linear unembed = IsTied ? new Linear(embedding, Vector(UnembedBias, 0)) : Linear(UnembedWeight, UnembedBias, 0);
        _queue.Run(_device, _processor is null ? progress : null, _cancellation);
        progress?.Report(1);
        return new ModelWeights(_made, _bytes)
        {
            TokenEmbedding = embedding,
            PositionEmbedding = positions,
            TokenTypeEmbedding = types,
            EmbeddingNorm = embeddingNorm,
            EmbeddingProjection = projection,
            Blocks = blocks,
            Head = head,
            LnFinal = final,
            UnembeddingProjection = back,
            Unembed = unembed,
        };
    }

    private BlockWeights Block(int layer)
    {
        bool before = _model.Norms != NormPlacement.After;
        bool after = _model.Norms is NormPlacement.After or NormPlacement.BeforeAndAfter;
        bool mixture = _model.IsMixture(layer);
        return new BlockWeights(Attention(layer), mixture ? null : Mlp(layer), mixture ? Mixture(layer) : null)
        {
            Ln1 = before ? Norm(Ln1Gain, Ln1Bias, layer) : null,
            Ln1Post = after ? Norm(Ln1PostGain, Ln1PostBias, layer) : null,
            Ln2 = before && !_model.SharedNorm ? Norm(Ln2Gain, Ln2Bias, layer) : null,
            Ln2Post = after ? Norm(Ln2PostGain, Ln2PostBias, layer) : null,
        };
    }

    private AttentionWeights Attention(int layer)
    {
        bool latent = _model.Latent is not null, narrowQueries = _model.Latent is { QueryRank: > 0 };
        bool normed = _model.QueryKeyNorm != QueryKeyNorm.None;
        return new AttentionWeights(
            Linear(QWeight, QBias, layer), Linear(KWeight, KBias, layer), Linear(VWeight, VBias, layer), Linear(OWeight, OBias, layer))
        {
            QNorm = normed ? Norm(QNormGain, QNormBias, layer) : null,
            KNorm = normed ? Norm(KNormGain, KNormBias, layer) : null,
            Sinks = Vector(Sinks, layer),
            QDown = narrowQueries ? Linear(QDownWeight, QDownBias, layer) : null,
            QDownNorm = narrowQueries ? new NormWeights(Vector(QDownGain, layer), null) : null,
            KeyValueDown = latent ? Linear(KeyValueDownWeight, KeyValueDownBias, layer) : null,
            KeyValueDownNorm = latent ? new NormWeights(Vector(KeyValueDownGain, layer), null) : null,
            SharedKey = latent ? Linear(SharedKeyWeight, SharedKeyBias, layer) : null,
        };
    }

    private MlpWeights Mlp(int layer) => new(
        Linear(MlpInWeight, MlpInBias, layer),
        _model.GatedMlp ? Linear(MlpUpWeight, MlpUpBias, layer) : null,
        Linear(MlpOutWeight, MlpOutBias, layer));

    private MixtureWeights Mixture(int layer)
    {
        return new MixtureWeights(
            Linear(RouterWeight, RouterBias, layer), Vector(RouterCorrection, layer), Experts(ExpertInWeight, ExpertInBias, layer),
            Experts(ExpertUpWeight, ExpertUpBias, layer), Experts(ExpertOutWeight, ExpertOutBias, layer))
        {
            Shared = !Has(SharedInWeight) ? null : new MlpWeights(
                new Linear(Matrix(SharedInWeight, layer), null),
                new Linear(Matrix(SharedUpWeight, layer), null),
                new Linear(Matrix(SharedOutWeight, layer), null)),
            SharedGate = Has(SharedGateWeight) ? new Linear(Matrix(SharedGateWeight, layer), null) : null,
        };
    }

    private WeightGroup Experts(Parameter weight, Parameter bias, int layer)
    {
        Linear[] experts = [.. Enumerable.Range(0, _model.Experts!.Count).Select(expert => Linear(weight, bias, layer, expert))];
        WeightGroup group = _device.Group(
            [.. experts.Select(expert => expert.Weight)], experts[0].Bias is null ? null : [.. experts.Select(expert => expert.Bias!)]);
        _made.Add(group);
        return group;
    }

    private bool Has(Parameter parameter) => _model.Layout.Parameters.ContainsKey(parameter);

    private Linear Linear(Parameter weight, Parameter bias, int layer, int expert = 0) =>
        new(Matrix(weight, layer, expert), Vector(bias, layer, expert));

    private NormWeights Norm(Parameter gain, Parameter bias, int layer) => new(Vector(gain, layer), Vector(bias, layer));

    private Weight Matrix(Parameter parameter, int layer = 0, int expert = 0)
    {
        if (_processor is not null && _processor.Changes(parameter))
        {
            return ProcessedMatrix(_processor, parameter, layer);
        }

        (int inputs, int outputs) = CheckpointSchema.Size(_model, parameter);
        ParameterSource source = _model.Layout.Parameters[parameter];
        FusedPart part = CheckpointSchema.Part(_model, parameter);
        SafetensorsEntry entry = Find(parameter, new Place(layer, expert));
        Weight weight = Keep(_device.CreateWeight(inputs, outputs, _options.TypeOf(parameter)));
        _bytes += weight.Bytes;
        long outputsStored = (long)part.Groups * part.GroupSize;
        long first = CheckpointSchema.IsStacked(_model, parameter) ? expert * outputsStored * inputs : 0;
        _queue.Add(weight, part, entry, first, source.InputsFirst);
        return weight;
    }

    private Tensor? Vector(Parameter parameter, int layer, int expert = 0)
    {
        float[]? values = _processor is not null && WeightProcessor.MayChangeVector(parameter)
            ? _processor.Vector(parameter, layer)
            : StoredVector(parameter, layer, expert);
        if (values is null)
        {
            return null;
        }

        Tensor vector = Keep(_device.Upload<float>(values, values.Length));
        _bytes += vector.Bytes;
        return vector;
    }

    private float[]? StoredVector(Parameter parameter, int layer, int expert = 0)
    {
        if (!Has(parameter))
        {
            return null;
        }

        FusedPart part = CheckpointSchema.Part(_model, parameter);
        float[] stored = [.. Enumerable.Range(0, CheckpointSchema.Heads(_model, parameter))
            .SelectMany(head => Find(parameter, new Place(layer, expert, head)).ToSingles())];
        int origin = CheckpointSchema.IsStacked(_model, parameter) ? expert * part.Groups * part.GroupSize : 0;
        var values = new float[part.Groups * part.Size];
        for (int group = 0; group < part.Groups; group++)
        {
            stored.AsSpan(origin + group * part.GroupSize + part.Start, part.Size).CopyTo(values.AsSpan(group * part.Size));
        }

        float offset = CheckpointSchema.IsGain(parameter) ? _model.GainOffset : 0;
        for (int i = 0; i < values.Length; i++)
        {
            values[i] += offset;
        }

        return values;
    }

    private SafetensorsEntry Find(Parameter parameter, Place place) =>
        _tensors[CheckpointSchema.Name(_model, parameter, place, _prefix)];

    /// <summary>Settings and checkpoint must belong together, tensor by tensor. Said before anything is packed.</summary>
    private void CheckTensors()
    {
        IReadOnlyDictionary<string, long[]> required = CheckpointSchema.Required(_model, _prefix);
        foreach ((string name, long[] shape) in required)
        {
            string expected = $"[{string.Join(", ", shape)}]";
            if (!_tensors.TryGetValue(name, out SafetensorsEntry? entry))
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

        Func<string, bool> allowed = CheckpointSchema.Allowed(_model, _prefix);
        foreach (string name in _tensors.Keys)
        {
            if (!required.ContainsKey(name) && !allowed(name))
            {
                throw Mismatch(
                    $"tensor '{name}' is no part of a {_model.Family} model with {_model.Layers} blocks as config.json describes it");
            }
        }
    }

    /// <summary>A name as the layout spells it.</summary>
    private static string Renamed(CheckpointLayout layout, string name)
    {
        foreach ((string old, string spelled) in layout.Renamed)
        {
            if (name.EndsWith(old, StringComparison.Ordinal))
            {
                return name[..^old.Length] + spelled;
            }
        }

        return name;
    }

    private ModelException Mismatch(string defect) =>
        new($"{_checkpoint.Path}: {defect}.", "Does config.json belong to this checkpoint?");

    private T Keep<T>(T part) where T : IDisposable
    {
        _made.Add(part);
        return part;
    }
}
