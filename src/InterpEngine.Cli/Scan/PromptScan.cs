using System.Buffers.Binary;
using System.Globalization;
using InterpEngine.Circuits;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Cli.Scan;

/// <summary>What a scan is asked.</summary>
/// <param name="Prompt">The text.</param>
/// <param name="Position">The token after which to look, from 0; null for the last.</param>
/// <param name="Answer">The next token to explain; null for the likeliest.</param>
/// <param name="Against">The token to set it against; null for none.</param>
/// <param name="Top">How many next tokens to list.</param>
internal sealed record ScanRequest(
    string Prompt, int? Position = null, string? Answer = null, string? Against = null, int Top = 10)
{
    /// <summary>Dictionaries whose features to read.</summary>
    public IReadOnlyList<ScannedDictionary> Dictionaries { get; init; } = [];
}

/// <summary>Runs a model on a prompt once and makes the report.</summary>
internal sealed class PromptScan : IDisposable
{
    /// <summary>Attention weights that a report may hold: the file stays below some 16 MB.</summary>
    private const long WeightsAtMost = 6_000_000;

    private const int LensTop = 8;
    private const int NeuronsShown = 12;

    private readonly Model _model;
    private readonly int[] _ids;
    private readonly int _first;
    private readonly RunResult _run;
    private readonly float[] _logits;

    private PromptScan(Model model, TokenBatch tokens, int window, ScanRequest request, CancellationToken cancellation)
    {
        _model = model;
        _ids = tokens.Ids.ToArray();
        _first = _ids.Length - window;
        var options = new RunOptions { Capture = Points(model, request), Positions = _first.., Logits = LogitsWanted.Last };
        _run = model.Run(tokens, options, cancellation);
        _logits = _run.Logits!.ToArray<float>();
    }

    private int Window => _ids.Length - _first;

    private ModelDescription Description => _model.Description;

    /// <summary>Scans a prompt.</summary>
    /// <exception cref="UsageException">The position lies outside the prompt, or a token is none.</exception>
    /// <exception cref="ModelException">The prompt cannot be run.</exception>
    public static ScanReport Run(Model model, ScanRequest request, CancellationToken cancellation = default)
    {
        TokenBatch tokens = model.Tokenize(request.Prompt);
        if (request.Position is { } position)
        {
            if (position < 0 || position >= tokens.Length)
            {
                throw new UsageException(
                    $"There is no position {position}: the prompt has {tokens.Length} tokens, 0 to {tokens.Length - 1}.",
                    "`interp tokenize` shows the tokens of a text.");
            }

            // Later tokens cannot matter to this one: no token sees them.
            tokens = TokenBatch.Single(tokens.Ids[..(position + 1)]);
        }

        int window = WindowOf(model.Description.Layers, model.Description.Heads, tokens.Length);
        using var scan = new PromptScan(model, tokens, window, request, cancellation);
        return scan.Report(request);
    }

    /// <inheritdoc/>
    public void Dispose() => _run.Dispose();

    /// <summary>How many of the last tokens a report can show.</summary>
    internal static int WindowOf(int layers, int heads, int length)
    {
        long patterns = (long)layers * heads, window = length;
        while (window > 1 && patterns * window * (window + 1) / 2 > WeightsAtMost)
        {
            window--;
        }

        return (int)window;
    }

    private static HookSelection Points(Model model, ScanRequest request) => HookSelection.Create(
    [
        .. request.Dictionaries.SelectMany(dictionary => dictionary.Reads(model)).Select(point => point.Name),
        .. DirectLogitAttribution.Points(model),
        new HookPoint(HookKind.ResidPre).Name,
        .. Enumerable.Range(0, model.Description.Layers).SelectMany(
            _ => (HookKind[])[HookKind.ResidPost, HookKind.Pattern, HookKind.V],
            (layer, kind) => new HookPoint(kind, layer).Name),
    ]);

    private ScanReport Report(ScanRequest request)
    {
        int[] ranked = [.. Enumerable.Range(0, _logits.Length).OrderByDescending(id => _logits[id])];
        double max = _logits[ranked[0]], total = _logits.Sum(logit => Math.Exp(logit - max));
        float Probability(int id) => (float)(Math.Exp(_logits[id] - max) / total);
        Candidate Candidate(int id) => new(id, Text(id), Probability(id), Array.IndexOf(ranked, id) + 1, _logits[id]);

        int answer = request.Answer is { } text ? Find(text, "--answer", ranked) : ranked[0];
        int? against = request.Against is { } other ? Find(other, "--against", ranked) : null;
        if (answer == against)
        {
            throw new UsageException(
                $"--answer and --against are both {TokenDisplay.Quoted(Text(answer))}.", "Give two tokens whose logits differ.");
        }

        DirectLogitAttribution attribution = DirectLogitAttribution.Explain(_model, _run.Cache, ^1, answer, against);
        double[] before = [.. _logits.Select(BeforeCap)];
        double logit = before[answer] - (against is { } id ? before[id] : before.Average());
        var patterns = new float[Description.Layers][];
        for (int layer = 0; layer < patterns.Length; layer++)
        {
            patterns[layer] = _run.Cache[new HookPoint(HookKind.Pattern, layer)].ToArray<float>();
        }

        return new ScanReport(
            new ScanModel(
                Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(_model.Path))),
                Description.Family,
                Description.Layers,
                Description.Heads,
                Description.Width,
                Description.MlpWidth,
                Description.Vocabulary),
            request.Prompt,
            _ids.Length,
            [.. Enumerable.Range(_first, Window).Select(at => new ScanToken(at, _ids[at], Text(_ids[at])))],
            [.. ranked.Take(request.Top).Select(token => new Prediction(token, Text(token), Probability(token)))],
            Candidate(answer),
            against is { } contrast ? Candidate(contrast) : null,
            Lens(answer),
            new Attribution(
                logit, attribution.Sum, [.. attribution.Components.Select(part => Describe(attribution, part, patterns))]),
            [.. attribution.StrongestNeurons(NeuronsShown).Select(Describe)],
            [.. patterns.SelectMany((_, layer) => Enumerable.Range(0, Description.Heads), (pattern, head) => (pattern, head))
                .Select((item, i) => new HeadPattern(i / Description.Heads, item.head, Encode(item.pattern, item.head)))],
            [.. request.Dictionaries.Select(dictionary => new FeatureScan(_model, _run.Cache, Text).Read(dictionary, answer, against))]);
    }

    /// <summary>A logit before the model's soft cap, which attribution does not pass.</summary>
    private double BeforeCap(float logit) => Description.LogitSoftCap is > 0 and var cap ? cap * Math.Atanh(logit / (double)cap) : logit;

    private List<LensLayer> Lens(int answer)
    {
        var layers = new List<LensLayer> { Layer(new HookPoint(HookKind.ResidPre), "embed") };
        for (int layer = 0; layer < Description.Layers; layer++)
        {
            layers.Add(Layer(new HookPoint(HookKind.ResidPost, layer), string.Create(CultureInfo.InvariantCulture, $"L{layer}")));
        }

        return layers;

        LensLayer Layer(HookPoint point, string label)
        {
            int top = Math.Min(LensTop, Description.Vocabulary);
            LensReading reading = LogitLens.Read(_model, _run.Cache[point], top, answer);
            return new LensLayer(
                point.Name,
                label,
                [.. Enumerable.Range(0, Window)
                    .Select(row => Enumerable.Range(0, top).Select(rank => Cell(reading, row, rank)).ToArray())],
                [.. Enumerable.Range(0, Window).Select(row => reading.Probabilities[row, 0])]);
        }

        Prediction Cell(LensReading reading, int row, int rank) =>
            new(reading.Top[row, rank], Text(reading.Top[row, rank]), reading.TopProbabilities[row, rank]);
    }

    private Component Describe(DirectLogitAttribution attribution, Contribution part, float[][] patterns)
    {
        if (part is not { Layer: { } layer, Head: { } head })
        {
            return new Component(part.Name, part.Kind.ToString(), part.Layer, null, (float)part.Value, null, null);
        }

        ReadOnlySpan<float> pattern = Attention(patterns[layer], head, Window - 1)[_first..];
        int most = 0;
        for (int i = 1; i < pattern.Length; i++)
        {
            most = pattern[i] > pattern[most] ? i : most;
        }

        int groups = Description.KeyValueHeads, group = head / (Description.Heads / groups), size = Description.ValueSize;
        Tensor all = _run.Cache[new HookPoint(HookKind.V, layer)];
        using Tensor values = _model.Device.Allocate(ElementType.F32, Window, size);
        _model.Device.Run(new Copy
        {
            From = new Matrix(all, (long)group * size, Window, size, (long)groups * size),
            To = values,
        });
        double[] sources = attribution.Sources(layer, head, pattern, values.ToArray<float>());
        int position = _first + most;
        return new Component(
            part.Name,
            part.Kind.ToString(),
            layer,
            head,
            (float)part.Value,
            new Attended(position, Text(_ids[position]), pattern[most]),
            [.. sources.Select(value => (float)value)]);
    }

    private ScanNeuron Describe(NeuronContribution neuron)
    {
        using Tensor activations = _model.Device.Allocate(ElementType.F32, Window, 1);
        _model.Device.Run(new Copy
        {
            From = new Matrix(
                _run.Cache[new HookPoint(HookKind.MlpPost, neuron.Layer)], neuron.Neuron, Window, 1, Description.MlpWidth),
            To = activations,
        });
        return new ScanNeuron(
            neuron.Layer, neuron.Neuron, (float)neuron.Value, (float)neuron.Activation, activations.ToArray<float>());
    }

    /// <summary>What a token of the window attends to: weights over all tokens of the prompt.</summary>
    private ReadOnlySpan<float> Attention(float[] pattern, int head, int query) =>
        pattern.AsSpan((head * Window + query) * _ids.Length, _ids.Length);

    private string Encode(float[] pattern, int head)
    {
        var bytes = new byte[Window * (Window + 1)];
        int at = 0;
        for (int query = 0; query < Window; query++)
        {
            foreach (float weight in Attention(pattern, head, query).Slice(_first, query + 1))
            {
                BinaryPrimitives.WriteUInt16LittleEndian(bytes.AsSpan(at), (ushort)MathF.Round(weight * ushort.MaxValue));
                at += sizeof(ushort);
            }
        }

        return Convert.ToBase64String(bytes);
    }

    private string Text(int id) => _model.Tokenizer.TokenText(id) is { Length: > 0 } text ? text : $"<{id}>";

    /// <summary>The token of a text; of its two spellings, with and without a space before it, the likelier.</summary>
    private int Find(string text, string option, int[] ranked)
    {
        int[] whole = _model.Tokenizer.Encode(text, addSpecialTokens: false).Ids;
        int[] spaced = text.Length == 0 ? [] : _model.Tokenizer.Encode(" " + text, addSpecialTokens: false).Ids;
        int[] candidates = [.. new[] { whole, spaced }.Where(ids => ids.Length == 1).Select(ids => ids[0])];
        if (candidates.Length > 0)
        {
            return candidates.MinBy(id => Array.IndexOf(ranked, id));
        }

        string pieces = whole.Length == 0 ? "" : $" but {whole.Length}: {List(whole, 8)}";
        throw new UsageException(
            $"{option} '{text}' is not one token of this model{pieces}.", $"Give one token, such as {List(ranked, 3)}.");
    }

    private string List(int[] ids, int atMost) =>
        string.Join(", ", ids.Take(atMost).Select(id => TokenDisplay.Quoted(Text(id)))) + (ids.Length > atMost ? ", …" : "");
}
