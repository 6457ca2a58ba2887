using System.Globalization;
using System.Text;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>The end of a decoding: collects the text.</summary>
internal sealed class TextSink : ITokenSink
{
    private readonly StringBuilder _text = new();

    public void Write(string text, bool ends) => _text.Append(text);

    public void Close()
    {
    }

    /// <summary>What has come since the last call.</summary>
    public string Take()
    {
        string text = _text.ToString();
        _text.Clear();
        return text;
    }
}

/// <summary>A step that wants to see tokens whole.</summary>
internal abstract class WholeTokenSink(ITokenSink next) : ITokenSink
{
    private readonly StringBuilder _begun = new();

    protected ITokenSink Next => next;

    public void Write(string text, bool ends)
    {
        if (!ends)
        {
            _begun.Append(text);
        }
        else if (_begun.Length == 0)
        {
            Take(text);
        }
        else
        {
            Take(_begun.Append(text).ToString());
            _begun.Clear();
        }
    }

    public virtual void Close() => Next.Close();

    protected abstract void Take(string token);
}

/// <summary>Rewrites each token by itself, knowing only its index; or each chunk, where chunks cannot matter.</summary>
internal sealed class TokenwiseSink(ITokenSink next, Func<string, int, string> rewrite, bool wholeTokens = true) : ITokenSink
{
    private readonly StringBuilder _begun = new();
    private int _index;

    public void Write(string text, bool ends)
    {
        if (wholeTokens && !ends)
        {
            _begun.Append(text);
            return;
        }

        next.Write(rewrite(_begun.Append(text).ToString(), _index), ends);
        _begun.Clear();
        _index += ends ? 1 : 0;
    }

    public void Close() => next.Close();
}

/// <summary>Puts spaces between tokens.</summary>
internal sealed class JoinSink(ITokenSink next) : WholeTokenSink(next)
{
    private bool _any;

    protected override void Take(string token)
    {
        Next.Write(_any ? " " + token : token, ends: true);
        _any = true;
    }
}

/// <summary>Makes one token of all.</summary>
internal sealed class FuseSink(ITokenSink next) : ITokenSink
{
    public void Write(string text, bool ends) => next.Write(text, ends: false);

    public void Close()
    {
        next.Write("", ends: true);
        next.Close();
    }
}

/// <summary>Turns the byte alphabet into UTF-8, and that into one text; incomplete characters wait for their bytes.</summary>
internal sealed class ByteLevelSink(ITokenSink next) : WholeTokenSink(next)
{
    private readonly System.Text.Decoder _utf8 = System.Text.Encoding.UTF8.GetDecoder();

    public override void Close()
    {
        Convert([], flush: true);
        Next.Write("", ends: true);
        base.Close();
    }

    protected override void Take(string token) => Convert(ByteAlphabet.Decode(token), flush: false);

    private void Convert(byte[] bytes, bool flush)
    {
        char[] characters = new char[_utf8.GetCharCount(bytes, flush)];
        int count = _utf8.GetChars(bytes, characters, flush);
        Next.Write(new string(characters, 0, count), ends: false);
    }
}

/// <summary>Turns runs of <c>&lt;0x0A&gt;</c> into text; a run that is no UTF-8 as a whole gives one U+FFFD per byte.</summary>
internal sealed class ByteFallbackSink(ITokenSink next) : WholeTokenSink(next)
{
    private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);

    private readonly List<byte> _run = [];

    public override void Close()
    {
        EndRun();
        base.Close();
    }

    protected override void Take(string token)
    {
        bool isByte = token.Length == 6 && token.StartsWith("<0x", StringComparison.Ordinal) && token[5] == '>';
        ReadOnlySpan<char> digits = isByte ? token.AsSpan(3, 2) : [];
        if (byte.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte value))
        {
            _run.Add(value);
            return;
        }

        EndRun();
        Next.Write(token, ends: true);
    }

    private void EndRun()
    {
        if (_run.Count == 0)
        {
            return;
        }

        byte[] bytes = [.. _run];
        _run.Clear();
        if (System.Text.Unicode.Utf8.IsValid(bytes))
        {
            Next.Write(Strict.GetString(bytes), ends: true);
            return;
        }

        foreach (byte _ in bytes)
        {
            Next.Write("\uFFFD", ends: true);
        }
    }
}

/// <summary>Turns the suffix of each token into a space, but drops it from the last.</summary>
internal sealed class SuffixSink(ITokenSink next, string suffix) : WholeTokenSink(next)
{
    private string? _last;

    public override void Close()
    {
        Release("");
        base.Close();
    }

    protected override void Take(string token)
    {
        Release(" ");
        _last = token;
    }

    private void Release(string replacement)
    {
        if (_last is not null)
        {
            Next.Write(_last.Replace(suffix, replacement, StringComparison.Ordinal), ends: true);
        }
    }
}

/// <summary>Takes up to so many of one character off both ends of each token.</summary>
internal sealed class StripSink(ITokenSink next, string content, int start, int stop) : ITokenSink
{
    private readonly StringBuilder _begun = new();
    private bool _inToken;
    private int _toStrip;

    public void Write(string text, bool ends)
    {
        // Only the end of a token has to be waited for.
        if (stop > 0 && !ends)
        {
            _begun.Append(text);
            return;
        }

        string rest = _begun.Append(text).ToString();
        _begun.Clear();
        _toStrip = _inToken ? _toStrip : start;
        _inToken = !ends;
        while (_toStrip > 0 && rest.StartsWith(content, StringComparison.Ordinal))
        {
            rest = rest[content.Length..];
            _toStrip--;
        }

        _toStrip = rest.Length > 0 ? 0 : _toStrip;
        for (int i = 0; i < stop && rest.EndsWith(content, StringComparison.Ordinal); i++)
        {
            rest = rest[..^content.Length];
        }

        next.Write(rest, ends);
    }

    public void Close() => next.Close();
}
