using InterpEngine.Dictionaries;

namespace InterpEngine.Cli.Sae.Features;

/// <summary>What is known of one feature that was active.</summary>
/// <param name="Feature">Its index.</param>
/// <param name="Density">The share of tokens at which it is active.</param>
/// <param name="Mean">Its mean activation there.</param>
/// <param name="PerSequence">How often it is active in a sequence where it is at all.</param>
/// <param name="Histogram">How strong its activations are.</param>
/// <param name="Tokens">The tokens at which it is active, and their shares of its activation.</param>
/// <param name="Effect">Which logits it raises and lowers, or null.</param>
/// <param name="Nearest">The features that write most alike, and their cosines.</param>
/// <param name="Top">Where it is most active.</param>
/// <param name="Drawn">Other places, drawn at random.</param>
internal sealed record FeatureEntry(
    int Feature,
    double Density,
    double Mean,
    double PerSequence,
    ActivationHistogram Histogram,
    IReadOnlyList<(int Token, double Share)> Tokens,
    FeatureEffect? Effect,
    IReadOnlyList<(int Feature, float Cosine)> Nearest,
    IReadOnlyList<FeatureExample> Top,
    IReadOnlyList<FeatureExample> Drawn);

/// <summary>What a dictionary's features do over texts.</summary>
/// <param name="site">The dictionary in its model.</param>
/// <param name="name">The dictionary's name.</param>
/// <param name="activity">What was seen.</param>
internal sealed class FeatureReport(DictionarySite site, string name, FeatureActivity activity)
{
    private const int Tokens = 8, Logits = 10, Neighbours = 8;
    private readonly double[] _density = activity.Use.Density, _mean = activity.Use.MeanActivation,
        _perSequence = activity.Use.ActivationsPerPrompt;

    /// <summary>The dictionary's name.</summary>
    public string Name => name;

    /// <summary>The dictionary in its model.</summary>
    public DictionarySite Site => site;

    /// <summary>How many features.</summary>
    public int Features => site.Dictionary.Config.Features;

    /// <summary>Rows seen: tokens, or tokens times heads.</summary>
    public long Rows => activity.Use.Tokens;

    /// <summary>How often each was active.</summary>
    public FeatureUse Use => activity.Use;

    /// <summary>Why no feature has logits; null where they have.</summary>
    public string? WithoutLogits { get; } = FeatureLogits.WhyAbsent(site);

    /// <summary>The features that were active at all, in their order; what is costly is computed on the way.</summary>
    public IEnumerable<FeatureEntry> Alive()
    {
        int[] alive = [.. Enumerable.Range(0, Features).Where(feature => _density[feature] > 0)];
        IReadOnlyList<(int Feature, float Cosine)[]> nearest = FeatureWeights.Nearest(site.Dictionary, Neighbours);
        IEnumerable<FeatureEffect?> effects = WithoutLogits is null
            ? FeatureLogits.Of(site, alive, Logits)
            : Enumerable.Repeat<FeatureEffect?>(null, alive.Length);
        foreach ((int feature, FeatureEffect? effect) in alive.Zip(effects))
        {
            IReadOnlyList<FeatureExample> top = activity.Top(feature);
            yield return new FeatureEntry(
                feature, _density[feature], _mean[feature], _perSequence[feature], activity.Histogram(feature)!,
                    activity.Tokens(feature, Tokens),
                effect, nearest[feature], top,
                    [.. activity.Drawn(feature).Where(drawn => !top.Any(other => other.Sequence == drawn.Sequence))]);
        }
    }

    /// <summary>A token as people read it.</summary>
    public string Text(int token) => site.Model.Tokenizer.TokenText(token) is { Length: > 0 } text ? text : $"<{token}>";
}
