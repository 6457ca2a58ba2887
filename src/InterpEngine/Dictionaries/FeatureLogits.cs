using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Dictionaries;

/// <summary>A token, and how much of its logit something makes.</summary>
/// <param name="Token">The token.</param>
/// <param name="Logit">What is added, less the mean over the vocabulary.</param>
public readonly record struct TokenLogit(int Token, float Logit);

/// <summary>The tokens whose logits a feature raises most and lowers most, the strongest first.</summary>
public sealed record FeatureEffect(IReadOnlyList<TokenLogit> Raised, IReadOnlyList<TokenLogit> Lowered);

/// <summary>
/// What features say to the output directly: a feature's decoder row through what lies between it and the residual stream, the final norm's
/// gain and the unembedding, for an activation of 1. Norms' scales, which differ from token to token, are left out.
/// </summary>
public static class FeatureLogits
{
    /// <summary>Logits held at a time.</summary>
    private const int LogitsAtOnce = 1 << 24;

    /// <summary>Why a dictionary's features have no direct logits; null where they have.</summary>
    public static string? WhyAbsent(DictionarySite site)
    {
        ArgumentNullException.ThrowIfNull(site);
        return site.Dictionary.Config.Layers > 1 ? "a crosscoder writes to several layers"
            : site.Model.Description.HeadTransform ? "the model's head is not linear"
            : site.Writes is not { } point ? "the files do not say where the transcoder writes"
            : point.Kind switch
            {
                HookKind.Embed or HookKind.PosEmbed or HookKind.ResidPre or HookKind.ResidMid or HookKind.ResidPost
                    or HookKind.NormalizedResidPost or HookKind.AttnOut or HookKind.MlpOut or HookKind.Z => null,
                HookKind.MlpPost when site.Model.Weights.Blocks[point.Layer].Mlp is not null => null,
                _ => $"'{point}' is not added to the residual stream",
            };
    }

    /// <summary>The strongest effects of some features.</summary>
    /// <param name="site">The dictionary, and where it writes.</param>
    /// <param name="features">Which.</param>
    /// <param name="count">Tokens raised and tokens lowered, at most.</param>
    /// <returns>One for each of them, in their order, as they are computed.</returns>
    /// <exception cref="DictionaryException">They have none (<see cref="WhyAbsent"/>), or there is no such feature.</exception>
    public static IEnumerable<FeatureEffect> Of(DictionarySite site, IReadOnlyList<int> features, int count)
    {
        Check(site, features);
        return Compute(site, features, Math.Min(count, site.Model.Description.Vocabulary));
    }

    /// <summary>What some features add to one token's logit.</summary>
    /// <param name="site">The dictionary, and where it writes.</param>
    /// <param name="features">Which.</param>
    /// <param name="token">The token.</param>
    /// <param name="against">The token whose logit is subtracted; null for the mean over the vocabulary.</param>
    /// <returns>One for each of them, in their order.</returns>
    /// <exception cref="DictionaryException">They have none (<see cref="WhyAbsent"/>), or there is no such feature.</exception>
    /// <exception cref="ModelException">There is no such token.</exception>
    public static float[] Towards(DictionarySite site, IReadOnlyList<int> features, int token, int? against = null)
    {
        Check(site, features);
        using Tensor plus = site.Model.UnembedDirections(token);
        using Tensor minus = against is { } other ? site.Model.UnembedDirections(other) : site.Model.MeanUnembedDirection();
        float[] direction = [.. plus.ToArray<float>().Zip(minus.ToArray<float>(), (a, b) => a - b)];
        using Tensor rows = BeforeUnembedding(site, [.. features]);
        return Products(rows.ToArray<float>(), direction);
    }

    private static void Check(DictionarySite site, IReadOnlyList<int> features)
    {
        ArgumentNullException.ThrowIfNull(features);
        if (WhyAbsent(site) is { } reason)
        {
            throw new DictionaryException($"The features have no direct logits: {reason}.");
        }

        foreach (int feature in features)
        {
            if ((uint)feature >= (uint)site.Dictionary.Config.Features)
            {
                throw new DictionaryException($"There is no feature {feature}: the dictionary has {site.Dictionary.Config.Features}.");
            }
        }
    }

    private static IEnumerable<FeatureEffect> Compute(DictionarySite site, IReadOnlyList<int> features, int count)
    {
        Device device = site.Model.Device;
        using Tensor mean = site.Model.MeanUnembedDirection();
        float[] meanDirection = mean.ToArray<float>();
        foreach (int[] some in features.Chunk(Math.Clamp(LogitsAtOnce / site.Model.Description.Vocabulary, 1, 256)))
        {
            using Tensor directions = BeforeUnembedding(site, some);
            using Tensor logits = site.Model.Weights.Logits(directions, site.Model.Description, linear: true);
            float[] means = Products(directions.ToArray<float>(), meanDirection);
            TokenLogit[][] raised = Top(logits, count, means, 1);
            device.Run(new Map { X = logits, Kind = MapKind.Scale, Parameter = -1, Out = logits });
            TokenLogit[][] lowered = Top(logits, count, means, -1);
            for (int i = 0; i < some.Length; i++)
            {
                yield return new FeatureEffect(raised[i], lowered[i]);
            }
        }
    }

    /// <summary>[features, d]: decoder rows as the final norm puts them out.</summary>
    private static Tensor BeforeUnembedding(DictionarySite site, int[] features)
    {
        Device device = site.Model.Device;
        ModelDescription description = site.Model.Description;
        using Tensor residual = InResidual(site, features);
        float[] rows = residual.ToArray<float>();
        float[]? gain = site.Model.Weights.LnFinal?.Gain?.ToArray<float>();
        bool centres = site.Model.Weights.LnFinal is not null && description.Norm == NormKind.Layer;
        for (int at = 0; at < rows.Length; at += description.Width)
        {
            Span<float> row = rows.AsSpan(at, description.Width);
            float mean = 0;
            foreach (float value in row)
            {
                mean += value / row.Length;
            }

            for (int i = 0; i < row.Length; i++)
            {
                row[i] = (centres ? row[i] - mean : row[i]) * (gain?[i] ?? 1);
            }
        }

        return device.Upload<float>(rows, features.Length, description.Width);
    }

    /// <summary>[features, d]: what each adds to the residual stream; of one that writes to several layers, to all of them.</summary>
    private static Tensor InResidual(DictionarySite site, int[] features)
    {
        Device device = site.Model.Device;
        ModelDescription description = site.Model.Description;
        int width = site.Dictionary.Config.OutputWidth;
        using Tensor indices = device.Upload<int>(features, features.Length);
        Tensor rows = device.Allocate(ElementType.F32, features.Length, width);
        device.Run(new GatherRows { From = site.Dictionary.Decoder, Indices = indices, Out = rows });
        HookPoint point = site.Writes!.Value;
        if (point.Kind is not (HookKind.Z or HookKind.MlpPost))
        {
            return Summed(rows, description.Width);
        }

        using (rows)
        {
            BlockWeights block = site.Model.Weights.Blocks[point.Layer];
            (Linear projection, NormWeights? post) = point.Kind == HookKind.Z ? (block.Attention.O, block.Ln1Post)
                : (block.Mlp!.Out, block.Ln2Post);
            if (width != projection.Weight.Inner)
            {
                throw new DictionaryException(
                    $"Features of width {width} have no logits of their own at '{point}', whose values have {projection.Weight.Inner}.");
            }

            Tensor result = device.Allocate(ElementType.F32, features.Length, description.Width);
            device.Run(new MatMul { X = rows, W = projection.Weight, Scale = description.ResidualScale, Out = result });
            if (post?.Gain?.ToArray<float>() is { } gain)
            {
                float[] values = result.ToArray<float>();
                for (int i = 0; i < values.Length; i++)
                {
                    values[i] *= gain[i % gain.Length];
                }

                result.CopyFrom<float>(values);
            }

            return result;
        }
    }

    /// <summary>Rows for several layers, one after the other, added up.</summary>
    private static Tensor Summed(Tensor rows, int width)
    {
        int parts = rows.Shape[1] / width;
        if (parts == 1)
        {
            return rows;
        }

        using (rows)
        {
            Tensor sum = rows.Device.Allocate(ElementType.F32, rows.Shape[0], width);
            rows.Device.Run(new Fill { Out = sum, Value = 0 });
            for (int part = 0; part < parts; part++)
            {
                using Tensor one = rows.Device.Allocate(ElementType.F32, rows.Shape[0], width);
                rows.Device.Run(new Copy { From = new Matrix(rows, part * width, rows.Shape[0], width, rows.Shape[1]), To = one });
                rows.Device.Run(new Add { A = sum, B = one, Out = sum });
            }

            return sum;
        }
    }

    private static float[] Products(float[] rows, float[] direction)
    {
        var products = new float[rows.Length / direction.Length];
        for (int i = 0; i < rows.Length; i++)
        {
            products[i / direction.Length] += rows[i] * direction[i % direction.Length];
        }

        return products;
    }

    private static TokenLogit[][] Top(Tensor logits, int count, float[] means, int sign)
    {
        Device device = logits.Device;
        int rows = logits.Shape[0];
        using Tensor values = device.Allocate(ElementType.F32, rows, count), indices = device.Allocate(ElementType.I32, rows, count);
        device.Run(new TopK { X = logits, Values = values, Indices = indices });
        (float[] value, int[] index) = (values.ToArray<float>(), indices.ToArray<int>());
        return [.. Enumerable.Range(0, rows).Select(row => Enumerable.Range(row * count, count)
            .Select(i => new TokenLogit(index[i], sign * value[i] - means[row])).ToArray())];
    }
}
