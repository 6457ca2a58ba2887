using System.Globalization;
using static InterpEngine.Models.Parameter;

namespace InterpEngine.Models;

/// <summary>Which tensors, of which shapes, a checkpoint of a described model holds.</summary>
internal static class CheckpointSchema
{
    /// <summary>Inputs and outputs of a parameter; a vector has one input.</summary>
    public static (int Inputs, int Outputs) Size(ModelDescription model, Parameter parameter)
    {
        int width = model.Width, queries = model.Heads * model.HeadSize, keys = model.KeyValueHeads * model.HeadSize;
        return parameter switch
        {
            TokenEmbedding or UnembedWeight => (width, model.Vocabulary),
            UnembedBias => (1, model.Vocabulary),
            PositionEmbedding => (width, model.Context),
            QWeight => (width, queries),
            QBias => (1, queries),
            KWeight or VWeight => (width, keys),
            KBias or VBias => (1, keys),
            OWeight => (queries, width),
            MlpInWeight or MlpUpWeight => (width, model.MlpWidth),
            MlpInBias or MlpUpBias => (1, model.MlpWidth),
            MlpOutWeight => (model.MlpWidth, width),
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
    public static string Name(ModelDescription model, Parameter parameter, int layer, string prefix)
    {
        string name = InBlock(model.Layout.Parameters[parameter].Name, layer);
        return parameter is UnembedWeight or UnembedBias ? name : prefix + name;
    }

    /// <summary>The stored tensor's shape.</summary>
    public static long[] Shape(ModelDescription model, Parameter parameter)
    {
        FusedPart part = Part(model, parameter);
        long inputs = Size(model, parameter).Inputs, outputs = (long)part.Groups * part.GroupSize;
        return IsVector(parameter) ? [outputs]
            : model.Layout.Parameters[parameter].InputsFirst ? [inputs, outputs]
            : [outputs, inputs];
    }

    /// <summary>Every tensor that a checkpoint must hold, with its shape.</summary>
    public static IReadOnlyDictionary<string, long[]> Required(ModelDescription model, string prefix)
    {
        var tensors = new SortedDictionary<string, long[]>(StringComparer.Ordinal);
        foreach (Parameter parameter in model.Layout.Parameters.Keys)
        {
            if (parameter != UnembedWeight || !model.TiedEmbedding)
            {
                for (int layer = 0; layer < model.Layers; layer++)
                {
                    tensors[Name(model, parameter, layer, prefix)] = Shape(model, parameter);
                }
            }
        }

        return tensors;
    }

    /// <summary>Names that a checkpoint may hold besides: buffers, and a tied unembedding stored again.</summary>
    public static IReadOnlySet<string> Allowed(ModelDescription model, string prefix)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        if (model.Layout.Parameters.ContainsKey(UnembedWeight))
        {
            names.Add(Name(model, UnembedWeight, 0, prefix));
        }

        for (int layer = 0; layer < model.Layers; layer++)
        {
            names.UnionWith(model.Layout.Ignored.Select(name => prefix + InBlock(name, layer)));
        }

        return names;
    }

    private static string InBlock(string name, int layer) =>
        name.Replace("{i}", layer.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal);

    private static bool IsVector(Parameter parameter) => parameter is Ln1Gain or Ln1Bias or QBias or KBias or VBias or OBias or Ln2Gain
        or Ln2Bias or MlpInBias or MlpUpBias or MlpOutBias or LnFinalGain or LnFinalBias or UnembedBias;
}
