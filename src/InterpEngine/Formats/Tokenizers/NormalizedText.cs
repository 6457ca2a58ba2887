using System.Text;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>A stretch of the text that the user gave, in Unicode code points.</summary>
internal readonly record struct Origin(int Start, int End);

/// <summary>
/// One character of a transformed text: 0 takes the place of the next old character, 1 is inserted after it, and −n takes the
/// place of the next one and swallows the n after it.
/// </summary>
internal readonly record struct Edit(int Rune, int Change);

/// <summary>
/// A text in some state of normalization that knows, for each of its UTF-16 units, which characters of the user's text it stands
/// for. Always well-formed UTF-16. Immutable.
/// </summary>
internal sealed class NormalizedText
{
    private readonly Origin[] _origins;

    private NormalizedText(string text, Origin[] origins)
    {
        Text = text;
        _origins = origins;
    }

    public string Text { get; }

    public ReadOnlySpan<Origin> Origins => _origins;

    /// <summary>The whole as a piece.</summary>
    public TextPiece All => new(this, 0, Text.Length);

    /// <summary>The user's text; lone surrogates become U+FFFD.</summary>
    public static NormalizedText From(string text)
    {
        Builder builder = new(text.Length);
        int position = 0;
        foreach (Rune rune in text.EnumerateRunes())
        {
            builder.Append(rune.Value, new Origin(position, position + 1));
            position++;
        }

        return builder.Build();
    }

    /// <summary>Rewrites the text.</summary>
    /// <param name="edits">The new characters, in order.</param>
    /// <param name="skip">How many old characters are dropped before the first edit.</param>
    public NormalizedText Transform(IReadOnlyList<Edit> edits, int skip = 0)
    {
        Builder builder = new(edits.Count);
        int at = Advance(0, skip);
        foreach (Edit edit in edits)
        {
            if (edit.Change > 0)
            {
                builder.Append(edit.Rune, Before(at));
            }
            else
            {
                builder.Append(edit.Rune, at < _origins.Length ? _origins[at] : Before(at));
                at = Advance(at, 1 - edit.Change);
            }
        }

        return builder.Build();
    }

    /// <summary>Replaces every character by some others, which all stand for what it stood for.</summary>
    public NormalizedText Map(Action<Rune, Action<int>> replace)
    {
        Builder builder = new(Text.Length);
        Origin origin = default;
        Action<int> append = rune => builder.Append(rune, origin);
        int at = 0;
        foreach (Rune rune in Text.EnumerateRunes())
        {
            origin = _origins[at];
            replace(rune, append);
            at += rune.Utf16SequenceLength;
        }

        return builder.Build();
    }

    /// <summary>Keeps some characters.</summary>
    public NormalizedText Where(Func<Rune, bool> keep) => Map((rune, append) =>
    {
        if (keep(rune))
        {
            append(rune.Value);
        }
    });

    /// <summary>Replaces every match by a text, which stands for what the match's last character stood for.</summary>
    public NormalizedText Replace(ITextPattern pattern, string content)
    {
        Builder builder = new(Text.Length);
        foreach (Stretch stretch in pattern.Partition(Text))
        {
            if (stretch.IsMatch)
            {
                foreach (Rune rune in content.EnumerateRunes())
                {
                    builder.Append(rune.Value, Before(stretch.End));
                }
            }
            else
            {
                builder.Append(new TextPiece(this, stretch.Start, stretch.Length));
            }
        }

        return builder.Build();
    }

    /// <summary>Puts a text in front, which stands for what the first character stood for; an empty text stays empty.</summary>
    public NormalizedText Prepend(string prefix)
    {
        if (Text.Length == 0)
        {
            return this;
        }

        Builder builder = new(prefix.Length + Text.Length);
        foreach (Rune rune in prefix.EnumerateRunes())
        {
            builder.Append(rune.Value, _origins[0]);
        }

        builder.Append(All);
        return builder.Build();
    }

    private Origin Before(int at) =>
        at > 0 ? _origins[at - 1] : _origins.Length > 0 ? new Origin(_origins[0].Start, _origins[0].Start) : default;

    private int Advance(int at, int runes)
    {
        for (; runes > 0 && at < Text.Length; runes--)
        {
            at += char.IsHighSurrogate(Text[at]) ? 2 : 1;
        }

        return at;
    }

    /// <summary>Collects characters with their origins.</summary>
    public sealed class Builder(int capacity)
    {
        private readonly StringBuilder _text = new(capacity);
        private readonly List<Origin> _origins = new(capacity);

        public int Length => _origins.Count;

        public void Append(int rune, Origin origin)
        {
            if (rune >= 0x10000)
            {
                _text.Append(char.ConvertFromUtf32(rune));
                _origins.Add(origin);
            }
            else
            {
                _text.Append((char)rune);
            }

            _origins.Add(origin);
        }

        public void Append(TextPiece piece)
        {
            _text.Append(piece.Text);
            _origins.AddRange(piece.Origins);
        }

        public NormalizedText Build() => new(_text.ToString(), [.. _origins]);
    }
}

/// <summary>A part of a normalized text.</summary>
internal readonly record struct TextPiece(NormalizedText Source, int Start, int Length)
{
    public ReadOnlySpan<char> Text => Source.Text.AsSpan(Start, Length);

    public ReadOnlySpan<Origin> Origins => Source.Origins.Slice(Start, Length);

    /// <summary>Whether it begins where the user's text begins.</summary>
    public bool BeginsText => Length > 0 && Origins[0].Start == 0;

    public TextPiece Slice(int start, int length) => new(Source, Start + start, length);

    /// <summary>The part as a text of its own.</summary>
    public NormalizedText ToText()
    {
        if (Start == 0 && Length == Source.Text.Length)
        {
            return Source;
        }

        NormalizedText.Builder builder = new(Length);
        builder.Append(this);
        return builder.Build();
    }
}
