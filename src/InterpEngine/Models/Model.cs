using InterpEngine.Formats;
using InterpEngine.Formats.Tokenizers;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Microsoft.Extensions.Logging;

namespace InterpEngine;

/// <summary>
/// A language model on a device: run it, look at any point inside it, change what you see. Safe to run from several threads.
/// </summary>
/// <example>
/// <code>
/// using var device = Device.Cpu();
/// using var model = Model.Load("path/to/gpt2", device);
/// using var run = model.Run(model.Tokenize("The capital of France is"), new RunOptions { Capture = "blocks.*.hook_resid_post" });
/// float[] residual = run.Cache["blocks.3.hook_resid_post"].ToArray&lt;float&gt;();
/// </code>
/// </example>
public sealed partial class Model : IDisposable
{
    private readonly ModelWeights _weights;
    private readonly RotaryTables? _rotary;
    private readonly RotaryTables? _localRotary;
    private readonly Lazy<Tokenizer?> _tokenizer;
    private readonly Lazy<int?> _beginToken;

    private Model(string path, ModelDescription description, Device device, ModelWeights weights, LoadOptions options)
    {
        (Path, Description, Device, _weights, Loading) = (path, description, device, weights, options);
        Points = new HookRegistry(description);
        if (description.Positions is RotaryPositions rotary)
        {
            _rotary = new RotaryTables(rotary.Frequencies, device);
            _localRotary = rotary.Local is { } local ? new RotaryTables(local, device) : null;
        }

        _tokenizer = new(LoadTokenizer);
        _beginToken = new(ReadBeginToken);
    }

    /// <summary>The folder that it was loaded from.</summary>
    public string Path { get; }

    /// <summary>What it is.</summary>
    public ModelDescription Description { get; }

    /// <summary>Where its weights are and where it runs. It is the caller's, and may be shared by models.</summary>
    public Device Device { get; }

    /// <summary>How it was loaded.</summary>
    public LoadOptions Loading { get; }

    /// <summary>The hook points that it has.</summary>
    public HookRegistry Points { get; }

    /// <summary>Bytes of its weights on the device.</summary>
    public long WeightBytes => _weights.Bytes;

    /// <summary>Its tokenizer, read when it is first used.</summary>
    /// <exception cref="ModelException">The folder has none.</exception>
    /// <exception cref="InvalidFileException">It is broken or of a kind that the engine does not read.</exception>
    public Tokenizer Tokenizer => _tokenizer.Value
        ?? throw new ModelException($"{Path}: there is no tokenizer.json.", "Give token ids, or put the model's tokenizer.json there.");

    /// <summary>The small model that comes with the engine: see its README beside it.</summary>
    public static string TalesPath => System.IO.Path.Combine(AppContext.BaseDirectory, "models", "tales");

    /// <summary>Loads a model in Hugging Face's layout: config.json, safetensors (one file or shards), tokenizer.json.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="device">Where to run it.</param>
    /// <param name="options">How to keep it; null for weights in single precision.</param>
    /// <param name="logger">Told what was loaded; null for nobody.</param>
    /// <param name="progress">Told the share that is loaded, from 0 to 1; null for nobody.</param>
    /// <param name="cancellation">Ends the loading between two pieces of a tensor.</param>
    /// <exception cref="InvalidFileException">A file is missing, broken or hostile.</exception>
    /// <exception cref="ModelException">The architecture is unknown, or settings and checkpoint do not belong together.</exception>
    public static Model Load(
        string path,
        Device device,
        LoadOptions? options = null,
        ILogger? logger = null,
        IProgress<double>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(device);
        options ??= new LoadOptions();
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        ModelDescription description = ReadDescription(path);
        using Checkpoint checkpoint = Checkpoint.Open(path);
        ModelWeights weights = WeightLoader.Load(description, checkpoint, device, options, progress, cancellation);
        if (logger is not null && logger.IsEnabled(LogLevel.Information))
        {
            double seconds = System.Diagnostics.Stopwatch.GetElapsedTime(start).TotalSeconds;
            Log.Loaded(logger, path, description.Family, description.Layers, weights.Bytes >> 20, device.Name, seconds);
        }

        return new Model(path, description, device, weights, options);
    }

    /// <summary>Reads a model's settings alone.</summary>
    /// <exception cref="InvalidFileException">config.json is missing or broken.</exception>
    /// <exception cref="ModelException">The architecture or a setting is unknown.</exception>
    public static ModelDescription ReadDescription(string path) =>
        ModelFamilies.Read(ConfigFile.Load(System.IO.Path.Combine(path, "config.json")));

    /// <summary>
    /// The tokens of a text, as the model was trained to see them: with the special tokens of its tokenizer, and begun by its
    /// begin-of-text token if tokenizer_config.json names one (which TransformerLens does too, and GPT-2's own tokenizer does not).
    /// </summary>
    /// <param name="text">The text.</param>
    /// <param name="begin">False to leave the begin-of-text token out unless the tokenizer itself puts it there.</param>
    public TokenBatch Tokenize(string text, bool begin = true) => TokenBatch.Single(Encode(text, begin));

    /// <summary>As <see cref="Tokenize(string, bool)"/> for several texts, padded on the left.</summary>
    public TokenBatch Tokenize(IEnumerable<string> texts, bool begin = true) =>
        TokenBatch.LeftPadded([.. texts.Select(text => Encode(text, begin))]);

    /// <summary>Runs the model.</summary>
    /// <param name="tokens">What to run it on.</param>
    /// <param name="options">What to compute and to show; null for all logits and nothing else.</param>
    /// <param name="cancellation">Ends the run between two layers.</param>
    /// <exception cref="ModelException">The tokens or options cannot be run.</exception>
    /// <exception cref="HookException">A point does not exist, or a callback returned something that does not fit.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled. Nothing is left behind.</exception>
    public RunResult Run(TokenBatch tokens, RunOptions? options = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        options ??= new RunOptions();
        (int from, int to) = LayerRange(options);
        Check(tokens, options);
        var session = new HookSession(Points, Description.Layers, options.Capture, options.Hooks, options.Positions, options.RemoveBatch);
        try
        {
            HookSession.CheckReached(options, from, options.StopAtLayer is null ? null : to);
            Device.Arena.ResetPeak();
            long before = Device.Arena.LiveBytes;
            using var inputs = new TokenInputs(Device, Description, _rotary, _localRotary, tokens, options.Cache);
            using var pass = new ForwardPass(Device, Description, _weights, tokens, inputs, options.Cache, session, cancellation);
            Tensor start = options.StartAtLayer is null ? pass.Embed() : options.Residual!.Share(), residual = pass.Blocks(start, from, to);
            options.Cache?.Advance(tokens, inputs.RotaryKeys);
            RunResult result = options.StopAtLayer is not null
                ? new RunResult { Residual = residual, Cache = session.Cache }
                : pass.Finish(residual, options);
            result.PeakBytes = Device.Arena.PeakBytes - before;
            return result;
        }
        catch
        {
            session.Dispose();
            throw;
        }
    }

    /// <summary>A cache for keys and values, empty.</summary>
    /// <param name="batch">Sequences.</param>
    /// <param name="capacity">Tokens of each that will fit, padding included.</param>
    public KeyValueCache CreateCache(int batch, int capacity)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(batch);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(capacity);
        return new(Description, Device, batch, capacity);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _weights.Dispose();
        _rotary?.Dispose();
        _localRotary?.Dispose();
    }

    private (int From, int To) LayerRange(RunOptions options)
    {
        int layers = Description.Layers;
        int from = options.StartAtLayer is { } start ? Resolve(start, nameof(options.StartAtLayer)) : 0;
        int to = options.StopAtLayer is { } stop ? Resolve(stop, nameof(options.StopAtLayer)) : layers;
        return from <= to
            ? (from, to)
            : throw new ModelException($"A run cannot start at layer {from} and stop at layer {to}.");

        int Resolve(int layer, string name) => (layer < 0 ? layer + layers : layer) is >= 0 and var index && index <= layers
            ? index
            : throw new ModelException($"{name} is {layer}, but the model has {layers} layers.");
    }

    private void Check(TokenBatch tokens, RunOptions options)
    {
        tokens.CheckVocabulary(Description.Vocabulary);
        tokens.CheckTypes(Description.TokenTypes);
        if (options.RemoveBatch && tokens.Batch != 1)
        {
            throw new ModelException($"The batch axis can only be removed from one sequence, not from {tokens.Batch}.");
        }

        CheckLabels(tokens, options);
        if (options.Loss && options.Labels is null && (options.StopAtLayer is not null || tokens.Spans.All(span => span.End - span.First < 2)))
        {
            throw new ModelException("There is no next token to compute a loss for.", "Run all layers on a text of at least two tokens.");
        }

        if (options.Predictions is { } predictions)
        {
            Check(predictions, options);
        }

        if ((options.StartAtLayer is null) != (options.Residual is null))
        {
            throw new ModelException("StartAtLayer and Residual belong together: one was given without the other.");
        }

        var shape = new Shape(tokens.Batch, tokens.Length, Description.Width);
        if (options.Residual is { } residual && (residual.Type != ElementType.F32 || residual.Shape != shape || residual.Device != Device))
        {
            throw new ModelException($"The residual stream to start from is {residual}; expected F32 {shape} on {Device.Name}.");
        }

        if (options.Cache is not null && (options.StartAtLayer ?? options.StopAtLayer) is not null)
        {
            throw new ModelException("A key/value cache needs all layers: it cannot be used with StartAtLayer or StopAtLayer.");
        }

        if (options.Positions is { } range)
        {
            try
            {
                _ = range.GetOffsetAndLength(tokens.Length);
            }
            catch (ArgumentOutOfRangeException e)
            {
                throw new ModelException($"The positions {range} do not lie in a text of {tokens.Length} tokens.", inner: e);
            }
        }
    }

    private void CheckLabels(TokenBatch tokens, RunOptions options)
    {
        if (!Description.Causal && options is { Loss: true, Labels: null })
        {
            throw new ModelException("An encoder predicts no next token.", "Give labels: the tokens that stand behind its masks.");
        }

        if (!Description.Causal && options.Cache is not null)
        {
            throw new ModelException("Every token of an encoder sees all others, later ones too: it cannot be run piece by piece.");
        }

        if (options.Labels is not { } labels)
        {
            return;
        }

        if (labels.Count != tokens.Ids.Length || labels.Any(label => label >= Description.Vocabulary) || labels.All(label => label < 0)
            || options.StopAtLayer is not null)
        {
            throw new ModelException(
                $"{labels.Count} labels do not fit {tokens.Ids.Length} ids: there must be one for each, below {Description.Vocabulary}, negative "
                + "for none, at least one not negative, and the run must go through all layers.");
        }
    }

    private void Check(PredictionOptions predictions, RunOptions options)
    {
        if (options.StopAtLayer is not null)
        {
            throw new ModelException("A run that stops at a layer predicts nothing.", "Run all layers, or ask for no predictions.");
        }

        if (predictions.Top < 0 || predictions.Top > Description.Vocabulary)
        {
            throw new ModelException(
                $"The top {predictions.Top} tokens were asked for of a vocabulary of {Description.Vocabulary}.");
        }

        CheckTokens([.. predictions.Tokens]);
    }

    private int[] Encode(string text, bool begin)
    {
        int[] ids = Tokenizer.Encode(text).Ids;
        return begin && _beginToken.Value is { } first && (ids.Length == 0 || ids[0] != first) ? [first, .. ids] : ids;
    }

    private Tokenizer? LoadTokenizer()
    {
        string file = System.IO.Path.Combine(Path, "tokenizer.json");
        return File.Exists(file) ? Tokenizer.Load(file) : null;
    }

    /// <summary><c>bos_token</c> of tokenizer_config.json, unless <c>add_bos_token</c> is false there.</summary>
    private int? ReadBeginToken()
    {
        string file = System.IO.Path.Combine(Path, "tokenizer_config.json");
        if (!File.Exists(file))
        {
            return null;
        }

        ConfigFile config = ConfigFile.Load(file);
        if (!config.Has("bos_token") || !config.Bool("add_bos_token", true))
        {
            return null;
        }

        bool spelledOut = config.Element("bos_token").ValueKind == System.Text.Json.JsonValueKind.Object;
        return Tokenizer.TokenToId(spelledOut ? config.Object("bos_token").String("content") : config.String("bos_token"));
    }

    private static partial class Log
    {
        [LoggerMessage(Level = LogLevel.Information,
            Message = "Loaded {Path}: {Family}, {Layers} layers, {Megabytes} MiB of weights on {Device} in {Seconds:F2} s")]
        public static partial void Loaded(
            ILogger logger, string path, string family, int layers, long megabytes, string device, double seconds);
    }
}
