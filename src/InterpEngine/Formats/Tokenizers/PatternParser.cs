using System.Globalization;
using System.Text;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>
/// Reads the regular expressions of tokenizer.json, in the Oniguruma syntax that the format means: nested character classes with
/// <c>&amp;&amp;</c>, possessive <c>*+ ++ ?+</c> (not after an interval), <c>{n}?</c> as an optional group, multi-line anchors.
/// </summary>
internal ref partial struct PatternParser
{
    private const int MaximumDepth = 64, MaximumCount = 1000;

    private readonly string _pattern;
    private int _at;
    private int _depth;
    private bool _ignoreCase;
    private bool _dotAll;

    private PatternParser(string pattern) => _pattern = pattern;

    /// <summary>Parses a pattern.</summary>
    /// <exception cref="FormatException">The pattern is invalid or uses syntax that is not supported.</exception>
    public static PatternNode Parse(string pattern)
    {
        PatternParser parser = new(pattern);
        PatternNode node = parser.Choice();
        return parser._at == pattern.Length ? node : throw parser.Fail("an unmatched ')'");
    }

    private readonly bool AtEnd => _at >= _pattern.Length;

    private readonly FormatException Fail(string what) => new($"{what} at position {_at}");

    private readonly bool Sees(string text) => string.CompareOrdinal(_pattern, _at, text, 0, text.Length) == 0;

    private bool Take(string text)
    {
        bool sees = Sees(text);
        _at += sees ? text.Length : 0;
        return sees;
    }

    private int TakeRune()
    {
        if (AtEnd || !Rune.TryGetRuneAt(_pattern, _at, out Rune rune))
        {
            throw Fail("a character is missing");
        }

        _at += rune.Utf16SequenceLength;
        return rune.Value;
    }

    private PatternNode Choice()
    {
        if (++_depth > MaximumDepth)
        {
            throw Fail($"groups nested more than {MaximumDepth} deep");
        }

        (bool ignoreCase, bool dotAll) = (_ignoreCase, _dotAll);
        List<PatternNode> options = [Sequence()];
        while (Take("|"))
        {
            options.Add(Sequence());
        }

        (_ignoreCase, _dotAll) = (ignoreCase, dotAll);
        _depth--;
        return options.Count == 1 ? options[0] : new ChoiceNode(options);
    }

    private PatternNode Sequence()
    {
        List<PatternNode> parts = [];
        while (!AtEnd && !Sees("|") && !Sees(")"))
        {
            parts.Add(Quantified(Atom()));
        }

        return parts.Count == 1 ? parts[0] : new SequenceNode(parts);
    }

    private PatternNode Quantified(PatternNode node)
    {
        while (true)
        {
            (int Minimum, int Maximum)? counts = null;
            bool interval = false;
            if (Take("*"))
            {
                counts = (0, int.MaxValue);
            }
            else if (Take("+"))
            {
                counts = (1, int.MaxValue);
            }
            else if (Take("?"))
            {
                counts = (0, 1);
            }
            else if (Sees("{"))
            {
                counts = Interval();
                interval = counts is not null;
            }

            if (counts is not var (minimum, maximum))
            {
                return node;
            }

            if (maximum == int.MaxValue && node.CanBeEmpty)
            {
                throw Fail("an endless repetition of what can be empty");
            }

            Greed greed = Greed.Greedy;
            if (interval && minimum == maximum && Take("?"))
            {
                node = new RepeatNode(node, minimum, maximum, Greed.Greedy);
                (minimum, maximum) = (0, 1);
            }
            else if (Take("?"))
            {
                greed = Greed.Lazy;
            }
            else if (!interval && Take("+"))
            {
                greed = Greed.Possessive;
            }

            node = new RepeatNode(node, minimum, maximum, greed);
        }
    }

    /// <summary>Reads <c>{n}</c>, <c>{n,}</c>, <c>{n,m}</c> or <c>{,m}</c>; anything else is a plain brace.</summary>
    private (int Minimum, int Maximum)? Interval()
    {
        int close = _pattern.IndexOf('}', _at);
        string[] parts = close < 0 ? [] : _pattern[(_at + 1)..close].Split(',');
        bool valid = parts.Length is 1 or 2 && parts.Any(part => part.Length > 0)
            && parts.All(part => part.All(char.IsAsciiDigit)) && (parts.Length == 2 || parts[0].Length > 0);
        if (!valid)
        {
            return null;
        }

        int minimum = parts[0].Length == 0 ? 0 : Count(parts[0]);
        int maximum = parts.Length == 1 ? minimum : parts[1].Length == 0 ? int.MaxValue : Count(parts[1]);
        if (maximum < minimum)
        {
            throw Fail("a repetition whose maximum is below its minimum");
        }

        _at = close + 1;
        return (minimum, maximum);
    }

    private readonly int Count(string digits) =>
        int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out int count) && count <= MaximumCount
            ? count
            : throw Fail($"a repetition of more than {MaximumCount}");

    private PatternNode Atom()
    {
        if (Take("("))
        {
            return Group();
        }

        if (Take("["))
        {
            return Cased(Class());
        }

        if (Take("."))
        {
            return new SetNode(_dotAll ? RuneSet.Any : RuneSet.Range('\n', '\n').Complement());
        }

        if (Take("^"))
        {
            return new AnchorNode(Anchor.LineStart);
        }

        if (Take("$"))
        {
            return new AnchorNode(Anchor.LineEnd);
        }

        if (Sees("*") || Sees("+") || Sees("?"))
        {
            throw Fail("a repetition of nothing");
        }

        if (!Take("\\"))
        {
            int rune = TakeRune();
            return Cased(RuneSet.Range(rune, rune));
        }

        Anchor? anchor = AtEnd ? null : _pattern[_at] switch
        {
            'A' => Anchor.TextStart,
            'z' => Anchor.TextEnd,
            'Z' => Anchor.TextEndOrLastLine,
            'b' => Anchor.WordBoundary,
            'B' => Anchor.NoWordBoundary,
            _ => null,
        };
        _at += anchor is null ? 0 : 1;
        return anchor is { } place ? new AnchorNode(place) : Cased(Escape(out _));
    }

    private readonly SetNode Cased(RuneSet set) => new(_ignoreCase ? set.IgnoringCase() : set);

    private PatternNode Group()
    {
        PatternNode node;
        if (Take("?="))
        {
            node = new LookaheadNode(Choice(), Negative: false);
        }
        else if (Take("?!"))
        {
            node = new LookaheadNode(Choice(), Negative: true);
        }
        else if (Take("?>"))
        {
            node = new AtomicNode(Choice());
        }
        else if (Sees("?") && !Sees("?:"))
        {
            return OptionGroup();
        }
        else
        {
            _ = Take("?:");
            node = Choice();
        }

        return Take(")") ? node : throw Fail("a group without its ')'");
    }

    /// <summary>Reads <c>(?i:…)</c>, <c>(?i)</c>, which lasts to the end of its group, and the like with m and −.</summary>
    private PatternNode OptionGroup()
    {
        _at++;
        (bool outerCase, bool outerDot) = (_ignoreCase, _dotAll);
        bool on = true;
        for (; !AtEnd && !Sees(":") && !Sees(")"); _at++)
        {
            switch (_pattern[_at])
            {
                case '-': on = false; break;
                case 'i': _ignoreCase = on; break;
                case 'm': _dotAll = on; break;
                default: throw Fail("a group that is not supported (supported: (?:) (?i:) (?m:) (?=) (?!) (?>))");
            }
        }

        if (Take(")"))
        {
            return Choice();
        }

        if (!Take(":"))
        {
            throw Fail("a group without its ')'");
        }

        PatternNode node = Choice();
        (_ignoreCase, _dotAll) = (outerCase, outerDot);
        return Take(")") ? node : throw Fail("a group without its ')'");
    }
}
