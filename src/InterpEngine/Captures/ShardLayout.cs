using InterpEngine.Formats;
using InterpEngine.Hooks;

namespace InterpEngine.Captures;

/// <summary>
/// What the tensors of a shard are, given its sequences' lengths (docs/capture-format.md). Values with a position axis are
/// concatenated over the sequences, so that no padding is stored; attention scores and patterns stand alone for each sequence.
/// </summary>
internal sealed class ShardLayout
{
    public const string InputIds = "input_ids";
    public const string InputOffsets = "input_offsets";
    public const string SequenceOffsets = "sequence_offsets";
    public const string Positions = "positions";
    public const string Document = "document";
    public const string Loss = "loss";
    public const string Logits = "logits";

    private readonly CaptureOptions _options;

    public ShardLayout(Model model, CaptureOptions options)
    {
        _options = options;
        Points = options.Points.Resolve(model.Points);
        PerToken = [.. Points.Where(point => !IsAttention(point)).Select(point => (point, TokenShape(model.Points, point)))];
        Attention = [.. Points.Where(IsAttention)];
        Heads = model.Description.Heads;
        Vocabulary = options.Logits ? model.Description.Vocabulary : 0;
    }

    /// <summary>The captured points, in the order of the forward pass.</summary>
    public IReadOnlyList<HookPoint> Points { get; }

    /// <summary>Points whose values are concatenated, with the shape of one token's value.</summary>
    public IReadOnlyList<(HookPoint Point, int[] Shape)> PerToken { get; }

    /// <summary>Points with a value [heads, queries, keys] for each sequence.</summary>
    public IReadOnlyList<HookPoint> Attention { get; }

    public int Heads { get; }

    /// <summary>Columns of the logits; 0 where they are not wanted.</summary>
    public int Vocabulary { get; }

    public static bool IsAttention(HookPoint point) => point.Kind is HookKind.AttnScores or HookKind.Pattern;

    /// <summary>The tensor of an attention point of one sequence, counted through the whole corpus.</summary>
    public static string AttentionName(long sequence, HookPoint point) => $"sequence/{sequence}/{point.Name}";

    /// <summary>The kept positions of a sequence: the range, cut to what is there.</summary>
    public (int Start, int Count) Kept(int length)
    {
        int start = Offset(_options.Positions.Start), end = Offset(_options.Positions.End);
        return (start, Math.Max(0, end - start));

        int Offset(Index index) => Math.Clamp(index.GetOffset(length), 0, length);
    }

    /// <summary>Bytes that a sequence of this length adds to a shard's data.</summary>
    public long BytesOf(int length)
    {
        long kept = Kept(length).Count;
        long floats = PerToken.Sum(entry => kept * Product(entry.Shape)) + kept * Vocabulary
            + (long)Attention.Count * Heads * kept * length + (_options.Loss ? 1 : 0);
        return floats * sizeof(float) + (length + kept + 3) * sizeof(long);
    }

    /// <summary>The tensors of a shard, widest type first so that all are aligned.</summary>
    /// <param name="first">Number of its first sequence in the corpus.</param>
    /// <param name="sequences">Its sequences.</param>
    public IEnumerable<SafetensorsDeclaration> Tensors(long first, IReadOnlyList<CaptureSequence> sequences)
    {
        long tokens = sequences.Sum(sequence => (long)sequence.Ids.Length);
        long kept = sequences.Sum(sequence => (long)Kept(sequence.Ids.Length).Count);
        yield return new(InputIds, SafetensorsType.I64, tokens);
        yield return new(InputOffsets, SafetensorsType.I64, sequences.Count + 1);
        yield return new(SequenceOffsets, SafetensorsType.I64, sequences.Count + 1);
        yield return new(Positions, SafetensorsType.I64, kept);
        yield return new(Document, SafetensorsType.I64, sequences.Count);
        foreach ((HookPoint point, int[] shape) in PerToken)
        {
            yield return new(point.Name, SafetensorsType.F32, [kept, .. shape.Select(axis => (long)axis)]);
        }

        if (_options.Logits)
        {
            yield return new(Logits, SafetensorsType.F32, kept, Vocabulary);
        }

        if (_options.Loss)
        {
            yield return new(Loss, SafetensorsType.F32, sequences.Count);
        }

        for (int i = 0; i < sequences.Count; i++)
        {
            int length = sequences[i].Ids.Length;
            foreach (HookPoint point in Attention)
            {
                yield return new(AttentionName(first + i, point), SafetensorsType.F32, Heads, Kept(length).Count, length);
            }
        }
    }

    private static int[] TokenShape(HookRegistry registry, HookPoint point) =>
        registry.ShapeOf(point, 1, 1, 1).Axes[2..].ToArray();

    private static long Product(int[] shape) => shape.Aggregate(1L, (product, axis) => product * axis);
}
