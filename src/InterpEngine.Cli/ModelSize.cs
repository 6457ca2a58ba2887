using InterpEngine.Formats;
using InterpEngine.Hooks;
using InterpEngine.Models;

namespace InterpEngine.Cli;

/// <summary>What a model needs, from its settings and the headers of its weights; nothing is loaded.</summary>
internal sealed class ModelSize
{
    private ModelSize(ModelDescription model)
    {
        Points = new HookRegistry(model);
        Parameters = CheckpointSchema.Required(model, "").Values
            .Sum(shape => shape.Aggregate(1L, (product, axis) => product * axis));
        CacheBytesPerToken = (long)model.Layers * model.KeyValueHeads * (model.HeadSize + model.ValueSize) * sizeof(float);
    }

    /// <summary>The hook points.</summary>
    public HookRegistry Points { get; }

    /// <summary>Numbers in the weights; those that two parts share count once.</summary>
    public long Parameters { get; }

    /// <summary>Bytes of the checkpoint's tensors; null where it is not there.</summary>
    public long? StoredBytes { get; private init; }

    /// <summary>The checkpoint's types, the most frequent first.</summary>
    public IReadOnlyList<string> StoredTypes { get; private init; } = [];

    /// <summary>Why there is no checkpoint, or null.</summary>
    public string? WhyNotStored { get; private init; }

    /// <summary>Bytes of the weights on the device, which keeps them in singles.</summary>
    public long WeightBytes => Parameters * sizeof(float);

    /// <summary>Bytes that a key/value cache takes for each token.</summary>
    public long CacheBytesPerToken { get; }

    /// <summary>Reads a model's sizes.</summary>
    /// <param name="model">Its settings.</param>
    /// <param name="path">Its folder.</param>
    public static ModelSize Read(ModelDescription model, string path)
    {
        try
        {
            using Checkpoint checkpoint = Checkpoint.Open(path);
            return new ModelSize(model)
            {
                StoredBytes = checkpoint.Tensors.Values.Sum(tensor => tensor.Length),
                StoredTypes = [.. checkpoint.Tensors.Values.GroupBy(tensor => tensor.Type.ToString())
                    .OrderByDescending(group => group.Sum(tensor => tensor.Length)).Select(group => group.Key)],
            };
        }
        catch (InvalidFileException e)
        {
            return new ModelSize(model) { WhyNotStored = e.Message };
        }
    }

    /// <summary>Bytes that a selection of points takes for each token of a text.</summary>
    /// <param name="selection">The points.</param>
    /// <param name="length">Tokens of the text: attention patterns grow with it.</param>
    public long BytesPerToken(HookSelection selection, int length) => selection.Resolve(Points)
        .Sum(point => Points.ShapeOf(point, 1, length, length).Count) * sizeof(float) / length;
}
