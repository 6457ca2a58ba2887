using System.Text.Json;

namespace InterpEngine.Cli.Scan;

/// <summary>Everything that a scan of an encoder found: what <c>--json</c> prints.</summary>
/// <param name="Model">The model.</param>
/// <param name="Prompt">The prompt as it was given.</param>
/// <param name="Tokens">Its tokens.</param>
/// <param name="Masks">Its masked tokens.</param>
/// <param name="Lens">What each layer would put at each token; its answers are the tokens themselves, of a mask the best filling.</param>
internal sealed record EncoderReport(
    ScanModel Model, string Prompt, IReadOnlyList<ScanToken> Tokens, IReadOnlyList<FilledMask> Masks, IReadOnlyList<LensLayer> Lens)
{
    /// <summary>As JSON.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, ScanJson.Default.EncoderReport);
}

/// <summary>A masked token.</summary>
/// <param name="Position">Where it stands.</param>
/// <param name="Fill">The likeliest tokens to stand there.</param>
/// <param name="Heads">Where each head looks from there.</param>
internal sealed record FilledMask(int Position, IReadOnlyList<Prediction> Fill, IReadOnlyList<HeadLook> Heads);

/// <summary>The token that a head looks at most.</summary>
internal sealed record HeadLook(int Layer, int Head, Attended Attends);
