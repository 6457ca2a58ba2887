using System.Globalization;

namespace InterpEngine.Formats.Tokenizers;

/// <content>Character classes, escapes and properties.</content>
internal ref partial struct PatternParser
{
    private RuneSet Class()
    {
        if (++_depth > MaximumDepth)
        {
            throw Fail($"classes nested more than {MaximumDepth} deep");
        }

        bool negated = Take("^");
        RuneSet? intersection = null;
        List<RuneSet> members = [];
        bool first = true;
        for (; first || !Sees("]"); first = false)
        {
            if (AtEnd)
            {
                throw Fail("a character class without its ']'");
            }

            if (Sees("[:"))
            {
                throw Fail("a POSIX bracket, which is not supported");
            }

            if (Take("&&"))
            {
                RuneSet left = RuneSet.Union(members);
                intersection = intersection is null ? left : RuneSet.Intersection(intersection, left);
                members = [];
            }
            else
            {
                members.Add(Take("[") ? Class() : Member());
            }
        }

        _at++;
        _depth--;
        RuneSet set = RuneSet.Union(members);
        set = intersection is null ? set : RuneSet.Intersection(intersection, set);
        return negated ? set.Complement() : set;
    }

    private RuneSet Member()
    {
        int first = -1;
        RuneSet set;
        if (Take("\\"))
        {
            set = Escape(out first);
        }
        else
        {
            first = TakeRune();
            set = RuneSet.Range(first, first);
        }

        if (first < 0 || !Sees("-") || Sees("-]") || Sees("-["))
        {
            return set;
        }

        _at++;
        int last = -1;
        if (Take("\\"))
        {
            _ = Escape(out last);
        }
        else
        {
            last = TakeRune();
        }

        return last >= first ? RuneSet.Range(first, last) : throw Fail("an empty range in a character class");
    }

    /// <summary>Reads what follows a backslash.</summary>
    /// <param name="rune">The character that it stands for, or −1 where it is a class.</param>
    private RuneSet Escape(out int rune)
    {
        rune = -1;
        int letter = TakeRune();
        switch (letter)
        {
            case 's': return RuneSet.Space;
            case 'S': return RuneSet.Space.Complement();
            case 'w': return RuneSet.Word;
            case 'W': return RuneSet.Word.Complement();
            case 'd': return RuneSet.Digit;
            case 'D': return RuneSet.Digit.Complement();
            case 'h': return RuneSet.HexDigit;
            case 'H': return RuneSet.HexDigit.Complement();
            case 'p': return Property();
            case 'P': return Property().Complement();
        }

        rune = letter switch
        {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'f' => '\f',
            'v' => '\v',
            'a' => '\a',
            'e' => 0x1B,
            '0' => 0,
            'x' when Take("{") => Hex(_pattern.IndexOf('}', _at) - _at, closed: true),
            'x' => Hex(2, closed: false),
            'u' => Hex(4, closed: false),
            < 128 when char.IsAsciiLetterOrDigit((char)letter) =>
                throw Fail($"the escape '\\{(char)letter}', which is not supported"),
            _ => letter,
        };
        return RuneSet.Range(rune, rune);
    }

    private int Hex(int length, bool closed)
    {
        ReadOnlySpan<char> digits = length > 0 && _at + length <= _pattern.Length ? _pattern.AsSpan(_at, length) : [];
        bool valid = int.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int rune);
        if (!valid || rune is < 0 or > 0x10FFFF)
        {
            throw Fail("a malformed hexadecimal escape");
        }

        _at += length + (closed ? 1 : 0);
        return rune;
    }

    private RuneSet Property()
    {
        int close = Take("{") ? _pattern.IndexOf('}', _at) : -1;
        if (close < 0)
        {
            throw Fail("a malformed property");
        }

        bool negated = Take("^");
        string name = _pattern[_at..close];
        _at = close + 1;
        RuneSet set = (name == "Han" ? RuneSet.Han : RuneSet.Category(name))
            ?? throw Fail($"the property '{name}', which is not supported (supported: Han, general categories such as L or Lu)");
        return negated ? set.Complement() : set;
    }
}
