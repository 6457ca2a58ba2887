using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>
/// What a transformer is, as data: the one forward pass reads it, and a family is a function from config.json to it. Nothing here
/// depends on a device or a file.
/// </summary>
public sealed record ModelDescription
{
    /// <summary>The family's name: <c>model_type</c> in config.json.</summary>
    public required string Family { get; init; }

    /// <summary>Blocks.</summary>
    public required int Layers { get; init; }

    /// <summary>Width of the residual stream, d_model.</summary>
    public required int Width { get; init; }

    /// <summary>Query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Key and value heads; fewer than <see cref="Heads"/> with grouped queries.</summary>
    public required int KeyValueHeads { get; init; }

    /// <summary>Channels of a query or key head.</summary>
    public required int HeadSize { get; init; }

    /// <summary>Channels of a value head; as many as a key head's unless set.</summary>
    public int ValueSize
    {
        get => field == 0 ? HeadSize : field;
        init;
    }

    /// <summary>Neurons of an MLP that is no mixture.</summary>
    public required int MlpWidth { get; init; }

    /// <summary>Rows of the token embedding.</summary>
    public required int Vocabulary { get; init; }

    /// <summary>Positions that the model was made for. A hard limit only with learned positions.</summary>
    public required int Context { get; init; }

    /// <summary>Layer norm or RMS norm, everywhere.</summary>
    public required NormKind Norm { get; init; }

    /// <summary>ε of the norms.</summary>
    public required float Epsilon { get; init; }

    /// <summary>What is added to the stored gains of all norms: 1 where a checkpoint holds gains less one (Gemma).</summary>
    public float GainOffset { get; init; }

    /// <summary>Where a block's norms stand.</summary>
    public NormPlacement Norms { get; init; } = NormPlacement.Before;

    /// <summary>Whether a norm stands before the unembedding.</summary>
    public bool FinalNorm { get; init; } = true;

    /// <summary>How positions enter.</summary>
    public required PositionEncoding Positions { get; init; }

    /// <summary>Width of the token embedding's rows, where a projection leads to and from the residual stream's (OPT).</summary>
    public int EmbeddingWidth
    {
        get => field == 0 ? Width : field;
        init;
    }

    /// <summary>What multiplies the token embedding.</summary>
    public float EmbeddingScale { get; init; } = 1;

    /// <summary>Whether a norm stands after the embedding.</summary>
    public bool EmbeddingNorm { get; init; }

    /// <summary>Kinds of tokens with an embedding of their own (BERT's two sentences); 0 for none.</summary>
    public int TokenTypes { get; init; }

    /// <summary>Whether a token sees no later tokens. False for encoders, which predict masked tokens, not next ones.</summary>
    public bool Causal { get; init; } = true;

    /// <summary>What multiplies the dot products of a block's attention, usually 1/√(head size).</summary>
    public required Func<int, float> AttentionScale { get; init; }

    /// <summary>How many tokens a block's attention looks back, itself included; 0 for all.</summary>
    public Func<int, int> Window { get; init; } = _ => 0;

    /// <summary>Scores s become cap·tanh(s/cap); 0 for no cap.</summary>
    public float ScoreSoftCap { get; init; }

    /// <summary>Whether each head has one more score, learned, whose weight goes nowhere (GPT-OSS).</summary>
    public bool AttentionSinks { get; init; }

    /// <summary>A norm of queries and keys before rotation.</summary>
    public QueryKeyNorm QueryKeyNorm { get; init; }

    /// <summary>The largest magnitude of queries, keys and values, which are clamped to it (OLMo's clip_qkv); 0 for any.</summary>
    public float QueryKeyValueLimit { get; init; }

    /// <summary>Low-rank projections to queries, keys and values (DeepSeek); null for direct ones.</summary>
    public LatentAttention? Latent { get; init; }

    /// <summary>The MLP's non-linearity.</summary>
    public required Activation Activation { get; init; }

    /// <summary>Whether the MLP is <c>act(gate) ⊙ up</c> rather than <c>act(up)</c>.</summary>
    public bool GatedMlp { get; init; }

    /// <summary>Experts in place of some blocks' MLPs; null for none.</summary>
    public ExpertMixture? Experts { get; init; }

    /// <summary>Whether attention and MLP both read the block's input and are added together.</summary>
    public bool ParallelBlock { get; init; }

    /// <summary>Whether the halves of a parallel block share one norm.</summary>
    public bool SharedNorm { get; init; }

    /// <summary>What multiplies everything that a block adds to the residual stream.</summary>
    public float ResidualScale { get; init; } = 1;

    /// <summary>Whether a projection with the MLP's non-linearity stands before the final norm (BERT's masked-language-model head).</summary>
    public bool HeadTransform { get; init; }

    /// <summary>Whether the unembedding is the token embedding.</summary>
    public bool TiedEmbedding { get; init; }

    /// <summary>What multiplies the logits.</summary>
    public float LogitScale { get; init; } = 1;

    /// <summary>Logits x become cap·tanh(x/cap), after their scale; 0 for no cap.</summary>
    public float LogitSoftCap { get; init; }

    /// <summary>Tokens that end a text.</summary>
    public IReadOnlyList<int> EndTokens { get; init; } = [];

    /// <summary>Where a checkpoint keeps each parameter.</summary>
    public required CheckpointLayout Layout { get; init; }

    /// <summary>Whether a block's MLP is a mixture of experts.</summary>
    public bool IsMixture(int layer) => Experts is { } experts && experts.InLayer(layer);
}

/// <summary>Where the norms of a block stand.</summary>
public enum NormPlacement
{
    /// <summary>Before attention and MLP: <c>x + f(norm(x))</c>.</summary>
    Before,

    /// <summary>After them: <c>x + norm(f(x))</c> (OLMo 2).</summary>
    After,

    /// <summary>Before and after them: <c>x + norm(f(norm(x)))</c> (Gemma 2).</summary>
    BeforeAndAfter,

    /// <summary>On the residual stream: <c>norm(x + f(x))</c> (BERT).</summary>
    OnResidual,
}

/// <summary>How queries and keys are normalised before rotation.</summary>
public enum QueryKeyNorm
{
    /// <summary>Not at all.</summary>
    None,

    /// <summary>Each head by itself, with one gain for all heads.</summary>
    PerHead,

    /// <summary>Each head by itself, with a gain of its own.</summary>
    PerHeadOwnGain,

    /// <summary>All heads together.</summary>
    AllHeads,
}

/// <summary>How positions enter a model.</summary>
public abstract record PositionEncoding;

/// <summary>A learned embedding for each position, added to the token embedding.</summary>
public sealed record LearnedPositions : PositionEncoding;

/// <summary>Rotation of queries and keys.</summary>
/// <param name="Pairs">Which channels rotate together.</param>
/// <param name="Frequencies">Inverse frequencies and their scaling.</param>
public sealed record RotaryPositions(RotaryPairs Pairs, RotaryFrequencies Frequencies) : PositionEncoding
{
    /// <summary>The frequencies of blocks with a window, where they differ (Gemma 3).</summary>
    public RotaryFrequencies? Local { get; init; }

    /// <summary>The first channel of a head that is rotated.</summary>
    public int Start { get; init; }
}

/// <summary>ALiBi: scores grow with the key's position, for each head by its own slope.</summary>
/// <param name="Slopes">One for each query head.</param>
public sealed record AlibiPositions(IReadOnlyList<float> Slopes) : PositionEncoding;

/// <summary>
/// Multi-head latent attention: queries, keys and values are projected from narrow normalised vectors; a part of each key, rotated, is
/// the same for all heads. A head is [unrotated channels, rotated channels].
/// </summary>
/// <param name="QueryRank">Width of the vector that queries come from; 0 where they come from the residual stream.</param>
/// <param name="KeyValueRank">Width of the vector that keys and values come from.</param>
/// <param name="SharedSize">Channels of a key that all heads share: the rotated ones.</param>
/// <param name="Epsilon">ε of the norms of both vectors.</param>
public sealed record LatentAttention(int QueryRank, int KeyValueRank, int SharedSize, float Epsilon);
