namespace InterpEngine.Formats.Tokenizers;

/// <summary>A text, or two, as a model reads them. All lists have one entry per token.</summary>
public sealed class Encoding
{
    internal Encoding(IReadOnlyList<EncodedToken> tokens, IReadOnlyList<Encoding> overflowing)
    {
        Ids = [.. tokens.Select(token => token.Id)];
        Tokens = [.. tokens.Select(token => token.Text)];
        Offsets = [.. tokens.Select(token => (token.Offsets.Start, token.Offsets.End))];
        TypeIds = [.. tokens.Select(token => token.TypeId)];
        AttentionMask = [.. tokens.Select(token => token.IsPadding ? 0 : 1)];
        SequenceIds = [.. tokens.Select(token => token.Sequence)];
        Overflowing = overflowing;
    }

    /// <summary>The tokens' ids.</summary>
    public int[] Ids { get; }

    /// <summary>The tokens as the vocabulary spells them; added tokens as they stand in the text.</summary>
    public string[] Tokens { get; }

    /// <summary>The part of the text that each token stands for, in Unicode code points; (0, 0) for added tokens.</summary>
    public (int Start, int End)[] Offsets { get; }

    /// <summary>The segment ids that the post-processor gives.</summary>
    public int[] TypeIds { get; }

    /// <summary>1, or 0 for padding.</summary>
    public int[] AttentionMask { get; }

    /// <summary>0 or 1 for tokens of the first or second text, −1 for tokens that the post-processor or padding adds.</summary>
    public int[] SequenceIds { get; }

    /// <summary>The further windows of a text that the file's truncation cuts off; usually none.</summary>
    public IReadOnlyList<Encoding> Overflowing { get; }
}

/// <summary>A token on its way into an <see cref="Encoding"/>.</summary>
internal readonly record struct EncodedToken(
    int Id, string Text, Origin Offsets, int TypeId, int Sequence, bool IsPadding = false);
