using System.Diagnostics.CodeAnalysis;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>
/// Decodes ids one by one, as they are generated. Each push gives the text that is final by then; a character whose bytes are
/// spread over several tokens comes with the last of them. All that comes, put together, is what
/// <see cref="Tokenizer.Decode"/> gives. Not thread-safe.
/// </summary>
[SuppressMessage("Naming", "CA1711:Identifiers should not have incorrect suffix", Justification = "It is a stream of tokens.")]
public sealed class TokenStream
{
    private readonly Tokenizer _tokenizer;
    private readonly bool _skipSpecialTokens;
    private readonly TextSink _text = new();
    private ITokenSink _head;

    /// <summary>Begins a text.</summary>
    /// <param name="tokenizer">The tokenizer whose ids come.</param>
    /// <param name="skipSpecialTokens">Whether special tokens give no text.</param>
    public TokenStream(Tokenizer tokenizer, bool skipSpecialTokens = false)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        (_tokenizer, _skipSpecialTokens) = (tokenizer, skipSpecialTokens);
        _head = tokenizer.BeginDecoding(_text);
    }

    /// <summary>Takes the next id, and gives the text that is now complete; often empty. An unknown id gives no text.</summary>
    public string Push(int id)
    {
        if (_tokenizer.IdToToken(id) is { } token && !(_skipSpecialTokens && _tokenizer.IsSpecial(id)))
        {
            _head.Write(token, ends: true);
        }

        return _text.Take();
    }

    /// <summary>Ends the text, and gives what is left of it; the next push begins another.</summary>
    public string Flush()
    {
        _head.Close();
        _head = _tokenizer.BeginDecoding(_text);
        return _text.Take();
    }
}
