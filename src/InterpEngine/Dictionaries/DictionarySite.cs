using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Dictionaries;

/// <summary>Where in a model a dictionary reads and writes, and how its features are read off a run.</summary>
public sealed class DictionarySite
{
    /// <param name="model">The model that it belongs to.</param>
    /// <param name="dictionary">On the model's device.</param>
    /// <param name="reads">The hook point that it reads, of a crosscoder one for each layer with commas between; null for what its files
    /// say.</param>
    /// <param name="writes">The one that it writes; null for what its files say.</param>
    /// <exception cref="DictionaryException">Its files do not say where it belongs, or it does not fit there.</exception>
    /// <exception cref="HookException">The model has no such point.</exception>
    public DictionarySite(Model model, SparseDictionary dictionary, string? reads = null, string? writes = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(dictionary);
        (Model, Dictionary) = (model, dictionary);
        DictionaryConfig config = dictionary.Config;
        (string read, string? write) = PointsOf(config, reads, writes);
        Reads = [.. read.Split(',').Select(name => model.Points.Require(name.Trim()))];
        long width = Reads.Sum(point => model.Points.ShapeOf(point, 1, 1, 1).Count);
        if (Reads.Count != config.Layers || width % config.InputWidth != 0 || (width != config.InputWidth && config.Layers > 1))
        {
            throw new DictionaryException(
                $"A dictionary of width {config.InputWidth}{(config.Layers > 1 ? $" for {config.Layers} layers" : "")} cannot read '{read}', "
                + $"which has {width}.",
                "Is it another model's or another point's?");
        }

        Writes = write is null || config.Layers > 1 ? null : model.Points.Require(write);
        RowsPerToken = (int)(width / config.InputWidth);
    }

    /// <summary>The model.</summary>
    public Model Model { get; }

    /// <summary>The dictionary. It stays the caller's.</summary>
    public SparseDictionary Dictionary { get; }

    /// <summary>What it reads: one point, or a crosscoder's several.</summary>
    public IReadOnlyList<HookPoint> Reads { get; }

    /// <summary>What it writes; null for a crosscoder, or a transcoder whose files do not say.</summary>
    public HookPoint? Writes { get; }

    /// <summary>1, or the number of heads where each head is a row.</summary>
    public int RowsPerToken { get; }

    /// <summary>The points that it reads, as texts show them.</summary>
    public string Name => string.Join(", ", Reads);

    /// <summary>A run that captures what it reads, and goes no further.</summary>
    public RunOptions Options
    {
        get
        {
            HookPoint last = Reads.Max();
            bool stops = last.Kind.Info().InBlock && last.Layer + 1 < Model.Description.Layers;
            return new RunOptions
            {
                Capture = HookSelection.FromPoints([.. Reads]),
                Logits = LogitsWanted.None,
                StopAtLayer = stops ? last.Layer + 1 : null,
            };
        }
    }

    /// <summary>The features active in a run that captured what it reads: <see cref="RowsPerToken"/> rows for each token.</summary>
    public Encoding Encode(ActivationCache cache)
    {
        ArgumentNullException.ThrowIfNull(cache);
        if (Reads.Count == 1)
        {
            return Dictionary.Encode(cache[Reads[0]]);
        }

        int d = Dictionary.Config.InputWidth / Reads.Count, rows = checked((int)(cache[Reads[0]].Shape.Count / d));
        using Tensor all = Model.Device.Allocate(ElementType.F32, rows, Reads.Count * d);
        for (int i = 0; i < Reads.Count; i++)
        {
            Model.Device.Run(new Copy
            {
                From = new Matrix(cache[Reads[i]], 0, rows, d, d),
                To = new Matrix(all, i * d, rows, d, Reads.Count * d),
            });
        }

        return Dictionary.Encode(all);
    }

    /// <summary>The points that a dictionary reads and writes; what it writes is null where its files do not say.</summary>
    /// <exception cref="DictionaryException">Its files do not say what it reads.</exception>
    internal static (string Read, string? Write) PointsOf(DictionaryConfig config, string? reads, string? writes)
    {
        string read = reads ?? config.HookName ?? throw new DictionaryException(
            "The dictionary's files do not say which hook point it reads.", "Name the point, such as blocks.2.hook_resid_post.");
        string? write = writes ?? (reads is null || config.IsTranscoder ? config.HookNameOut : null);
        return (read, config.IsTranscoder && write == read ? null : write ?? (config.IsTranscoder ? null : read));
    }
}
