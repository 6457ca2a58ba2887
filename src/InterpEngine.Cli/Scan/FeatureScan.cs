using InterpEngine.Dictionaries;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Cli.Scan;

/// <summary>Reads the features of sparse dictionaries off a scan's run.</summary>
/// <param name="model">The model.</param>
/// <param name="cache">What the run captured.</param>
/// <param name="text">How a token reads.</param>
internal sealed class FeatureScan(Model model, ActivationCache cache, Func<int, string> text)
{
    /// <summary>Features of a token in a report.</summary>
    private const int FeaturesShown = 32;

    private const int LogitsShown = 8;

    /// <summary>The features of one dictionary.</summary>
    /// <param name="dictionary">Which.</param>
    /// <param name="answer">The token that the scan explains.</param>
    /// <param name="against">The token that it is set against, or null.</param>
    public DictionaryReading Read(ScannedDictionary dictionary, int answer, int? against) => dictionary.Look(model, (site, densities) =>
    {
        ActiveFeature[][] active = Active(site);
        ActiveFeature[][] shown = [.. active.Select(features => features.Take(FeaturesShown).ToArray())];
        int[] known = [.. shown.SelectMany(features => features.Select(feature => feature.Feature)).Distinct().Order()];
        string? reason = FeatureLogits.WhyAbsent(site);
        FeatureEffect?[] effects = reason is null ? [.. FeatureLogits.Of(site, known, LogitsShown)] : new FeatureEffect?[known.Length];
        float?[] adds = Adds(site, known, active[^1], answer, against);
        return new DictionaryReading(
            dictionary.Name,
            site.Name,
            site.Dictionary.Config.Features,
            [.. active.Select(features => features.Length)],
            shown,
            [.. known.Select((feature, i) => new KnownFeature(
                feature, densities?[feature], Tokens(effects[i]?.Raised), Tokens(effects[i]?.Lowered), adds[i]))],
            reason);
    });

    /// <summary>[token]: all active features, the strongest first; of several rows for a token, each feature's strongest.</summary>
    private ActiveFeature[][] Active(DictionarySite site)
    {
        using Encoding encoding = site.Encode(cache);
        (int[] pointers, int[] features, float[] values) = encoding.Features.ToArrays();
        int perToken = site.RowsPerToken;
        return [.. Enumerable.Range(0, (pointers.Length - 1) / perToken).Select(token => Enumerable
            .Range(pointers[token * perToken], pointers[(token + 1) * perToken] - pointers[token * perToken])
            .Select(entry => new ActiveFeature(features[entry], values[entry]))
            .GroupBy(feature => feature.Feature)
            .Select(rows => rows.MaxBy(row => MathF.Abs(row.Value))!)
            .OrderByDescending(feature => MathF.Abs(feature.Value)).ThenBy(feature => feature.Feature)
            .ToArray())];
    }

    /// <summary>What features add to the answer's logit at the last token; null where other norms than the final one stand in
    /// between.</summary>
    private float?[] Adds(DictionarySite site, int[] known, ActiveFeature[] last, int answer, int? against)
    {
        bool direct = FeatureLogits.WhyAbsent(site) is null && site.Writes!.Value.Kind is not (HookKind.Z or HookKind.MlpPost)
            && model.Description.Norms != NormPlacement.OnResidual && site.Dictionary.Config.OutputWidth == model.Description.Width;
        if (!direct)
        {
            return new float?[known.Length];
        }

        float scale = cache.TryGetValue(new HookPoint(HookKind.LnFinalScale), out Tensor? scales) ? scales.ToArray<float>()[^1] : 1;
        float[] towards = FeatureLogits.Towards(site, known, answer, against);
        return [.. known.Select(
            (feature, i) => (float?)(towards[i] / scale * (last.FirstOrDefault(at => at.Feature == feature)?.Value ?? 0)))];
    }

    private RaisedToken[]? Tokens(IReadOnlyList<TokenLogit>? tokens) =>
        tokens is null ? null : [.. tokens.Select(token => new RaisedToken(token.Token, text(token.Token), token.Logit))];
}
