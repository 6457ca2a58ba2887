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
        Type = options.Type.ToSafetensorsType();
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

    /// <summary>What values and logits are stored as.</summary>
    public SafetensorsType Type { get; }

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
        long values = Attention.Count * BytesOf([Heads, kept, length]) + PerToken.Sum(entry => BytesOf(OfTokens(kept, entry.Shape)))
            + (_options.Logits ? BytesOf([kept, Vocabulary]) : 0);
        return values + (_options.Loss ? sizeof(float) : 0) + (length + kept + 3) * sizeof(long);
    }

    /// <summary>The tensors of a shard, widest type first so that all are aligned.</summary>
    /// <param name="first">Number of its first sequence in the corpus.</param>
    /// <param name="sequences">Its sequences.</param>
    public IEnumerable<SafetensorsDeclaration> Tensors(long first, IReadOnlyList<CaptureSequence> sequences) =>
        Unsorted(first, sequences).OrderByDescending(tensor => tensor.Type.Bits());

    private List<SafetensorsDeclaration> Unsorted(long first, IReadOnlyList<CaptureSequence> sequences)
    {
        long tokens = sequences.Sum(sequence => (long)sequence.Ids.Length);
        long kept = sequences.Sum(sequence => (long)Kept(sequence.Ids.Length).Count);
        List<SafetensorsDeclaration> tensors =
        [
            new(InputIds, SafetensorsType.I64, tokens),
            new(InputOffsets, SafetensorsType.I64, sequences.Count + 1),
            new(SequenceOffsets, SafetensorsType.I64, sequences.Count + 1),
            new(Positions, SafetensorsType.I64, kept),
            new(Document, SafetensorsType.I64, sequences.Count),
        ];
        foreach ((HookPoint point, int[] shape) in PerToken)
        {
            AddValues(point.Name, OfTokens(kept, shape));
        }

        if (_options.Logits)
        {
            AddValues(Logits, [kept, Vocabulary]);
        }

        if (_options.Loss)
        {
            tensors.Add(new(Loss, SafetensorsType.F32, sequences.Count));
        }

        for (int i = 0; i < sequences.Count; i++)
        {
            int length = sequences[i].Ids.Length;
            foreach (HookPoint point in Attention)
            {
                AddValues(AttentionName(first + i, point), [Heads, Kept(length).Count, length]);
            }
        }

        return tensors;

        void AddValues(string name, long[] shape)
        {
            tensors.Add(new(name, Type, shape));
            if (Type == SafetensorsType.I8)
            {
                tensors.Add(new(Narrowing.ScaleName(name), SafetensorsType.F32, shape.AsSpan(..^1)));
            }
        }
    }

    private long BytesOf(long[] shape) => Product(shape) * Type.Bits() / 8
        + (Type == SafetensorsType.I8 ? Product(shape.AsSpan(..^1)) * sizeof(float) : 0);

    private static long[] OfTokens(long kept, int[] shape) => [kept, .. shape.Select(axis => (long)axis)];

    private static int[] TokenShape(HookRegistry registry, HookPoint point) =>
        registry.ShapeOf(point, 1, 1, 1).Axes[2..].ToArray();

    private static long Product(ReadOnlySpan<long> shape)
    {
        long product = 1;
        foreach (long axis in shape)
        {
            product *= axis;
        }

        return product;
    }
}
