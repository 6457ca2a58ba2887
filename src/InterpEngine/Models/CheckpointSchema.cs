using System.Globalization;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models;

/// <summary>Which tensors, of which shapes, a checkpoint of a described model holds.</summary>
internal static class CheckpointSchema
{
    /// <summary>Inputs and outputs of a parameter; a vector has one input.</summary>
    public static (int Inputs, int Outputs) Size(ModelDescription model, Parameter parameter)
    {
        int width = model.Width, heads = model.Heads, groups = model.KeyValueHeads, size = model.HeadSize;
        int shared = model.Latent?.SharedSize ?? 0, keyRank = model.Latent?.KeyValueRank ?? 0, queryRank = model.Latent?.QueryRank ?? 0;
        int queryInputs = queryRank > 0 ? queryRank : width, keyInputs = keyRank > 0 ? keyRank : width;
        bool perHead = model.QueryKeyNorm == QueryKeyNorm.PerHead;
        return parameter switch
        {
            TokenEmbedding or UnembedWeight => (model.EmbeddingWidth, model.Vocabulary),
            UnembedBias => (1, model.Vocabulary),
            PositionEmbedding => (width, model.Context),
            TokenTypeEmbedding => (width, model.TokenTypes),
            EmbeddingProjection => (model.EmbeddingWidth, width),
            UnembeddingProjection => (width, model.EmbeddingWidth),
            QDownWeight => (width, queryRank),
            QDownBias or QDownGain => (1, queryRank),
            KeyValueDownWeight => (width, keyRank),
            KeyValueDownBias or KeyValueDownGain => (1, keyRank),
            SharedKeyWeight => (width, shared),
            SharedKeyBias => (1, shared),
            QWeight => (queryInputs, heads * size),
            QBias => (1, heads * size),
            KWeight => (keyInputs, groups * (size - shared)),
            KBias => (1, groups * size),
            VWeight => (keyInputs, groups * model.ValueSize),
            VBias => (1, groups * model.ValueSize),
            QNormGain or QNormBias => (1, perHead ? size : heads * size),
            KNormGain or KNormBias => (1, perHead ? size : groups * size),
            Sinks => (1, heads),
            OWeight => (heads * model.ValueSize, width),
            MlpInWeight or MlpUpWeight => (width, model.MlpWidth),
            MlpInBias or MlpUpBias => (1, model.MlpWidth),
            MlpOutWeight => (model.MlpWidth, width),
            RouterWeight => (width, model.Experts!.Count),
            RouterBias or RouterCorrection => (1, model.Experts!.Count),
            ExpertInWeight or ExpertUpWeight => (width, model.Experts!.Width),
            ExpertInBias or ExpertUpBias => (1, model.Experts!.Width),
            ExpertOutWeight => (model.Experts!.Width, width),
            SharedInWeight or SharedUpWeight => (width, model.Experts!.SharedWidth),
            SharedOutWeight => (model.Experts!.SharedWidth, width),
            SharedGateWeight => (width, 1),
            HeadWeight => (width, width),
            _ => (1, width),
        };
    }

    /// <summary>The outputs of the stored tensor that a parameter is.</summary>
    public static FusedPart Part(ModelDescription model, Parameter parameter)
    {
        int outputs = Size(model, parameter).Outputs;
        return model.Layout.Parameters[parameter].Part ?? new FusedPart(1, outputs, 0, outputs);
    }

    /// <summary>The stored tensor's name.</summary>
    public static string Name(ModelDescription model, Parameter parameter, Place place, string prefix)
    {
        ParameterSource source = model.Layout.Parameters[parameter];
        string name = Numbered(Numbered(Numbered(source.Name, "{i}", place.Layer), "{e}", place.Expert), "{h}", place.Head);
        return source.Outside ? name : prefix + name;
    }

    /// <summary>Whether a parameter exists in a block: one of a mixture or one of a dense MLP.</summary>
    public static bool Exists(ModelDescription model, Parameter parameter, int layer) =>
        IsOfMixture(parameter) ? model.IsMixture(layer)
        : parameter is not (MlpInWeight or MlpInBias or MlpUpWeight or MlpUpBias or MlpOutWeight or MlpOutBias) || !model.IsMixture(layer);

    /// <summary>Tensors that a parameter is kept in: one for each head, or one.</summary>
    public static int Heads(ModelDescription model, Parameter parameter) =>
        !Numbers(model, parameter, "{h}") ? 1
        : parameter is KNormGain or KNormBias ? model.KeyValueHeads
        : model.Heads;

    /// <summary>Whether a stored tensor holds the parameter of all experts.</summary>
    public static bool IsStacked(ModelDescription model, Parameter parameter) => IsOfExpert(parameter) && !Numbers(model, parameter, "{e}");

    /// <summary>The stored tensor's shape.</summary>
    public static long[] Shape(ModelDescription model, Parameter parameter)
    {
        FusedPart part = Part(model, parameter);
        long inputs = Size(model, parameter).Inputs, outputs = (long)part.Groups * part.GroupSize;
        int pieces = Heads(model, parameter);
        bool byHead = parameter is QNormGain or KNormGain && model.QueryKeyNorm == QueryKeyNorm.PerHeadOwnGain && pieces == 1;
        long[] shape = byHead ? [outputs / model.HeadSize, model.HeadSize]
            : IsVector(parameter) ? [outputs / pieces]
            : model.Layout.Parameters[parameter].InputsFirst ? [inputs, outputs]
            : [outputs, inputs];
        return IsStacked(model, parameter) ? [model.Experts!.Count, .. shape] : shape;
    }

    /// <summary>Every tensor that a checkpoint must hold, with its shape.</summary>
    public static IReadOnlyDictionary<string, long[]> Required(ModelDescription model, string prefix)
    {
        var tensors = new SortedDictionary<string, long[]>(StringComparer.Ordinal);
        foreach (Parameter parameter in model.Layout.Parameters.Keys)
        {
            if (parameter == UnembedWeight && model.TiedEmbedding)
            {
                continue;
            }

            long[] shape = Shape(model, parameter);
            foreach (Place place in Places(model, parameter))
            {
                tensors[Name(model, parameter, place, prefix)] = shape;
            }
        }

        return tensors;
    }

    /// <summary>Whether a checkpoint may hold a tensor besides: a buffer, or a tied unembedding stored again.</summary>
    public static Func<string, bool> Allowed(ModelDescription model, string prefix)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        if (model.Layout.Parameters.ContainsKey(UnembedWeight))
        {
            names.Add(Name(model, UnembedWeight, default, prefix));
        }

        for (int layer = 0; layer < model.Layers; layer++)
        {
            foreach (string name in model.Layout.Ignored)
            {
                string numbered = Numbered(name, "{i}", layer);
                names.Add(numbered);
                names.Add(prefix + numbered);
            }
        }

        string[] beginnings = [.. names.Where(name => name.EndsWith('*')).Select(name => name[..^1])];
        return name => names.Contains(name) || beginnings.Any(beginning => name.StartsWith(beginning, StringComparison.Ordinal));
    }

    /// <summary>Whether a parameter is a vector rather than a matrix.</summary>
    public static bool IsVector(Parameter parameter) => parameter is Sinks or RouterCorrection || IsGain(parameter) || parameter
        is RouterBias or ExpertInBias or ExpertUpBias or ExpertOutBias
        or EmbeddingNormBias or Ln1Bias or Ln1PostBias or QDownBias or KeyValueDownBias or SharedKeyBias or QBias or KBias or VBias
        or QNormBias or KNormBias or OBias or Ln2Bias or MlpInBias or MlpUpBias or MlpOutBias or Ln2PostBias or HeadBias or LnFinalBias
        or UnembedBias;

    /// <summary>Whether a parameter is the gain of a norm.</summary>
    public static bool IsGain(Parameter parameter) => parameter
        is EmbeddingNormGain or Ln1Gain or Ln1PostGain or QDownGain or KeyValueDownGain or QNormGain or KNormGain or Ln2Gain or Ln2PostGain
        or LnFinalGain;

    /// <summary>The tensors of a parameter.</summary>
    private static IEnumerable<Place> Places(ModelDescription model, Parameter parameter)
    {
        bool inBlock = Numbers(model, parameter, "{i}");
        int experts = Numbers(model, parameter, "{e}") ? model.Experts!.Count : 1, heads = Heads(model, parameter);
        return from layer in Enumerable.Range(0, inBlock ? model.Layers : 1)
               where !inBlock || Exists(model, parameter, layer)
               from expert in Enumerable.Range(0, experts)
               from head in Enumerable.Range(0, heads)
               select new Place(layer, expert, head);
    }

    private static bool IsOfExpert(Parameter parameter) => parameter
        is ExpertInWeight or ExpertInBias or ExpertUpWeight or ExpertUpBias or ExpertOutWeight or ExpertOutBias;

    private static bool IsOfMixture(Parameter parameter) => IsOfExpert(parameter) || parameter
        is RouterWeight or RouterBias or RouterCorrection or SharedInWeight or SharedUpWeight or SharedOutWeight or SharedGateWeight;

    private static bool Numbers(ModelDescription model, Parameter parameter, string placeholder) =>
        model.Layout.Parameters[parameter].Name.Contains(placeholder, StringComparison.Ordinal);

    private static string Numbered(string name, string placeholder, int number) =>
        name.Replace(placeholder, number.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal);
}

/// <summary>Which tensor of a parameter: of which block, expert and head, as far as its name tells them apart.</summary>
internal readonly record struct Place(int Layer, int Expert = 0, int Head = 0);
