using InterpEngine.Dictionaries.Formats;
using InterpEngine.Formats;
using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries;

/// <summary>
/// One transcoder for every layer of a model, as circuit-tracer stores them: each writes to its own layer, or, of a cross-layer
/// transcoder, to its own and all later ones. Layers are read from disk when they are asked for.
/// </summary>
public sealed class TranscoderSet : IDisposable
{
    private readonly Device _device;
    private readonly StoredWeights[] _encoders;
    private readonly StoredWeights[] _decoders;
    private readonly ActivationRule? _rule;

    private TranscoderSet(YamlSettings settings, string folder, Device device)
    {
        _device = device;
        IsCrossLayer = settings.Text("model_kind") switch
        {
            "cross_layer_transcoder" => true,
            "transcoder_set" => false,
            var other => throw new InvalidFileException(
                settings.Path, $"'model_kind' is {InputFile.Quote(other ?? "")}; expected 'transcoder_set' or 'cross_layer_transcoder'"),
        };
        (ModelName, HookName, HookNameOut) = (settings.Text("model_name"), settings.Text("feature_input_hook"), settings.Text("feature_output_hook"));
        _rule = RuleOf(settings);
        (_encoders, _decoders) = Open(settings, folder);
        if (_encoders.Length == 0)
        {
            throw new InvalidFileException(folder, "holds no layers");
        }

        (Features, Width) = _encoders[0].MatrixShape(EncoderName(0));
    }

    /// <summary>Whether a layer's features write to later layers too.</summary>
    public bool IsCrossLayer { get; }

    /// <summary>Layers.</summary>
    public int Layers => _encoders.Length;

    /// <summary>Features of each layer.</summary>
    public int Features { get; }

    /// <summary>Width of the rows.</summary>
    public int Width { get; }

    /// <summary>The model that it belongs to, if the file says so.</summary>
    public string? ModelName { get; }

    /// <summary>The point in a block that is read, such as hook_resid_mid.</summary>
    public string? HookName { get; }

    /// <summary>The point in a block that is written, such as hook_mlp_out.</summary>
    public string? HookNameOut { get; }

    /// <summary>Opens a folder with <c>config.yaml</c>.</summary>
    /// <exception cref="InvalidFileException">A file is missing, broken or hostile.</exception>
    public static TranscoderSet Open(string folder, Device device)
    {
        ArgumentNullException.ThrowIfNull(folder);
        ArgumentNullException.ThrowIfNull(device);
        return new TranscoderSet(YamlSettings.Load(Path.Combine(folder, "config.yaml")), folder, device);
    }

    /// <summary>How many layers a layer writes to: its own and, across layers, the later ones.</summary>
    public int Targets(int layer) => IsCrossLayer ? Layers - layer : 1;

    /// <summary>
    /// One layer, read now; it is the caller's. Its output is that of all layers it writes to, one after the other; a cross-layer one lacks
    /// <see cref="OutputBias"/>, which a layer has once, whoever writes to it.
    /// </summary>
    public SparseDictionary Load(int layer)
    {
        StoredWeights encoder = _encoders[layer], decoder = _decoders[layer];
        int output = Targets(layer) * Width;
        float[]? threshold = encoder.Optional(IsCrossLayer ? $"threshold_{layer}" : "activation_function.threshold", Features);
        ActivationRule rule = _rule ?? (threshold is null ? ActivationRule.Relu : ActivationRule.JumpRelu with { KeepsNegative = true });
        var config = new DictionaryConfig
        {
            InputWidth = Width,
            OutputWidth = output,
            Features = Features,
            Rule = rule,
            IsTranscoder = true,
            HookName = HookName is null ? null : $"blocks.{layer}.{HookName}",
            HookNameOut = HookNameOut is null ? null : $"blocks.{layer}.{HookNameOut}",
            ModelName = ModelName,
        };
        return new SparseDictionary(config, new DictionaryParameters
        {
            Encoder = encoder.Read(EncoderName(layer), Features, Width),
            EncoderBias = encoder.Read(IsCrossLayer ? $"b_enc_{layer}" : "b_enc", Features),
            Decoder = IsCrossLayer ? decoder.Read(DecoderName(layer), Features, Targets(layer), Width) : decoder.Read(DecoderName(layer), Features, Width),
            DecoderBias = IsCrossLayer ? new float[output] : OutputBias(layer),
            Threshold = threshold,
            Skip = Skip(layer, output),
        }, _device);
    }

    /// <summary>[width]: what a layer's output starts from.</summary>
    public float[] OutputBias(int layer) => _encoders[layer].Read(IsCrossLayer ? $"b_dec_{layer}" : "b_dec", Width);

    /// <summary>[features.Length, width]: the directions that some features of a layer read, from disk.</summary>
    public float[] EncoderRows(int layer, ReadOnlySpan<int> features) =>
        _encoders[layer].ReadRows(EncoderName(layer), features, Features, Width);

    /// <summary>[features.Length, targets, width]: the directions that some features of a layer write, from disk.</summary>
    public float[] DecoderRows(int layer, ReadOnlySpan<int> features) => IsCrossLayer
        ? _decoders[layer].ReadRows(DecoderName(layer), features, Features, Targets(layer), Width)
        : _decoders[layer].ReadRows(DecoderName(layer), features, Features, Width);

    /// <summary>What all layers make of the inputs of all layers.</summary>
    /// <param name="x">[layers, positions, width].</param>
    /// <param name="edit">From layer, row, feature and activation to another activation; null for no change.</param>
    /// <returns>[layers, positions, width].</returns>
    /// <exception cref="DictionaryException">The rows do not fit.</exception>
    public Tensor Reconstruct(Tensor x, Func<int, int, int, float, float>? edit = null)
    {
        ArgumentNullException.ThrowIfNull(x);
        if (x.Shape.Rank != 3 || x.Shape[0] != Layers || x.Shape[2] != Width)
        {
            throw new DictionaryException($"Transcoders of {Layers} layers of width {Width} cannot read {x}.");
        }

        int positions = x.Shape[1];
        var sums = new float[x.Shape.Count];
        for (int layer = 0; layer < Layers; layer++)
        {
            using SparseDictionary dictionary = Load(layer);
            using Tensor input = x.Slice(layer, 1), rows = input.Reshape(positions, Width);
            using Encoding encoding = dictionary.Encode(rows);
            using Encoding? edited = edit is null ? null : encoding.With((row, feature, value) => edit(layer, row, feature, value));
            using Tensor output = dictionary.Decode(edited ?? encoding);
            Add(output.ToArray<float>(), sums, layer, positions);
        }

        return x.Device.Upload<float>(sums, x.Shape.Axes);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (StoredWeights file in _encoders.Concat(_decoders))
        {
            file.Dispose();
        }
    }

    private void Add(float[] output, float[] sums, int layer, int positions)
    {
        int targets = Targets(layer);
        float[] bias = IsCrossLayer ? OutputBias(layer) : new float[Width];
        for (int p = 0; p < positions; p++)
        {
            for (int i = 0; i < targets * Width; i++)
            {
                int target = ((layer + i / Width) * positions + p) * Width + i % Width;
                sums[target] += output[p * targets * Width + i] + (i < Width ? bias[i] : 0);
            }
        }
    }

    /// <summary>A per-layer set keeps it as [output, input]; a cross-layer transcoder the other way round, and for its own layer only.</summary>
    private float[]? Skip(int layer, int output)
    {
        if (!IsCrossLayer)
        {
            return _encoders[layer].Optional("W_skip", Width, Width);
        }

        if (_encoders[layer].Optional($"W_skip_{layer}", Width, Width) is not { } own)
        {
            return null;
        }

        var skip = new float[output * Width];
        StoredWeights.Transpose(own, Width, Width).CopyTo(skip, 0);
        return skip;
    }

    private string EncoderName(int layer) => IsCrossLayer ? $"W_enc_{layer}" : "W_enc";

    private string DecoderName(int layer) => IsCrossLayer ? $"W_dec_{layer}" : "W_dec";

    private static ActivationRule? RuleOf(YamlSettings settings) => settings.Text("activation_function.name") switch
    {
        null => null,
        "relu" => ActivationRule.Relu,
        "topk" when settings.Natural("activation_function.k") is > 0 and int k => new(ActivationKind.TopK, k) { KeepsNegative = true },
        var other => throw new InvalidFileException(
            settings.Path, $"'activation_function' is {InputFile.Quote(other)}; expected relu, or topk with a positive k"),
    };

    private (StoredWeights[] Encoders, StoredWeights[] Decoders) Open(YamlSettings settings, string folder)
    {
        if (IsCrossLayer)
        {
            int layers = 0;
            while (File.Exists(Path.Combine(folder, $"W_enc_{layers}.safetensors")))
            {
                layers++;
            }

            return (OpenAll("W_enc"), OpenAll("W_dec"));

            StoredWeights[] OpenAll(string name) =>
                [.. Enumerable.Range(0, layers).Select(i => StoredWeights.Open(Path.Combine(folder, $"{name}_{i}.safetensors")))];
        }

        IEnumerable<string> names = settings.List("transcoders") ?? [.. InputFile.Guard(folder, () => Directory.GetFiles(folder, "layer_*.safetensors"))
            .Select(path => Path.GetFileName(path)).OrderBy(name => name.Length).ThenBy(name => name, StringComparer.Ordinal)];
        StoredWeights[] files = [.. names.Select(name => ShardName.IsPlain(name)
            ? StoredWeights.Open(Path.Combine(folder, name))
            : throw new InvalidFileException(settings.Path, $"'transcoders' names {InputFile.Quote(name)}; expected plain names of safetensors files"))];
        return (files, files);
    }
}
