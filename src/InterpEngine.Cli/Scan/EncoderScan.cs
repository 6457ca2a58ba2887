using System.Globalization;
using InterpEngine.Circuits;
using InterpEngine.Formats.Tokenizers;
using InterpEngine.Hooks;
using InterpEngine.Models;

namespace InterpEngine.Cli.Scan;

/// <summary>
/// A scan of an encoder: what it fills in at masked tokens, layer by layer, and where heads look from there. There is no next token, and
/// its head is not linear, so that nothing is attributed.
/// </summary>
internal static class EncoderScan
{
    private const int LensTop = 4;

    /// <summary>The spellings of the mask that encoders' tokenizers know.</summary>
    private static readonly string[] s_masks = ["[MASK]", "<mask>"];

    /// <summary>Scans a prompt.</summary>
    /// <param name="model">An encoder.</param>
    /// <param name="prompt">The text, with masks where something is to be filled in.</param>
    /// <param name="top">How many candidates to list for each mask.</param>
    /// <param name="cancellation">Ends the run between two layers.</param>
    public static EncoderReport Run(Model model, string prompt, int top, CancellationToken cancellation = default)
    {
        ModelDescription description = model.Description;
        TokenBatch tokens = model.Tokenize(prompt);
        int[] ids = tokens.Ids.ToArray();
        int? mask = s_masks.Select(model.Tokenizer.TokenToId).FirstOrDefault(id => id is not null);
        using RunResult run = model.Run(tokens, new RunOptions { Capture = Points(description), Logits = LogitsWanted.None }, cancellation);
        var last = new HookPoint(HookKind.NormalizedResidPost, description.Layers - 1);
        LensReading final = LogitLens.Read(model, run.Cache[last], Math.Min(top, description.Vocabulary));
        int[] masked = [.. Enumerable.Range(0, ids.Length).Where(at => ids[at] == mask)];
        return new EncoderReport(
            new ScanModel(
                Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(model.Path))),
                description.Family,
                description.Layers,
                description.Heads,
                description.Width,
                description.MlpWidth,
                description.Vocabulary),
            prompt,
            [.. ids.Select((id, at) => new ScanToken(at, id, Text(model.Tokenizer, id)))],
            [.. masked.Select(at => new FilledMask(at, Row(final, at), Looks(model, run, ids, at)))],
            Lens(model, run, final, ids, masked));

        Prediction[] Row(LensReading reading, int at) =>
            [.. Enumerable.Range(0, reading.Top.GetLength(1)).Select(rank => Cell(model, reading, at, rank))];
    }

    private static HookSelection Points(ModelDescription description) => HookSelection.FromPoints(
    [
        new HookPoint(HookKind.ResidPre),
        .. Enumerable.Range(0, description.Layers).SelectMany(
            _ => (HookKind[])[HookKind.NormalizedResidPost, HookKind.Pattern], (layer, kind) => new HookPoint(kind, layer)),
    ]);

    /// <summary>What each layer would put at each token, and how likely it finds the token itself (the best filling, of a mask).</summary>
    private static List<LensLayer> Lens(Model model, RunResult run, LensReading final, int[] ids, int[] masked)
    {
        int[] answers = [.. ids.Select((id, at) => masked.Contains(at) ? final.Top[at, 0] : id)], distinct = [.. answers.Distinct()];
        var layers = new List<LensLayer> { Layer(new HookPoint(HookKind.ResidPre), "embed") };
        for (int layer = 0; layer < model.Description.Layers; layer++)
        {
            layers.Add(Layer(
                new HookPoint(HookKind.NormalizedResidPost, layer), string.Create(CultureInfo.InvariantCulture, $"L{layer}")));
        }

        return layers;

        LensLayer Layer(HookPoint point, string label)
        {
            int top = Math.Min(LensTop, model.Description.Vocabulary);
            LensReading reading = LogitLens.Read(model, run.Cache[point], top, distinct);
            return new LensLayer(
                point.Name,
                label,
                [.. Enumerable.Range(0, ids.Length)
                    .Select(row => Enumerable.Range(0, top).Select(rank => Cell(model, reading, row, rank)).ToArray())],
                [.. answers.Select((answer, row) => reading.Probabilities[row, Array.IndexOf(distinct, answer)])]);
        }
    }

    /// <summary>The token that each head looks at most from a position.</summary>
    private static List<HeadLook> Looks(Model model, RunResult run, int[] ids, int position)
    {
        var looks = new List<HeadLook>();
        for (int layer = 0; layer < model.Description.Layers; layer++)
        {
            float[] pattern = run.Cache[new HookPoint(HookKind.Pattern, layer)].ToArray<float>();
            for (int head = 0; head < model.Description.Heads; head++)
            {
                float[] weights = pattern.AsSpan((head * ids.Length + position) * ids.Length, ids.Length).ToArray();
                int most = Array.IndexOf(weights, weights.Max());
                looks.Add(new HeadLook(layer, head, new Attended(most, Text(model.Tokenizer, ids[most]), weights[most])));
            }
        }

        return looks;
    }

    private static Prediction Cell(Model model, LensReading reading, int row, int rank) =>
        new(reading.Top[row, rank], Text(model.Tokenizer, reading.Top[row, rank]), reading.TopProbabilities[row, rank]);

    private static string Text(Tokenizer tokenizer, int id) => tokenizer.TokenText(id) is { Length: > 0 } text ? text : $"<{id}>";
}
