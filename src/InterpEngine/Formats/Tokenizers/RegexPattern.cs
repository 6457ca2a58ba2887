namespace InterpEngine.Formats.Tokenizers;

/// <summary>
/// A regular expression over code points. The platform's own sees UTF-16 units: there no class holds a character above U+FFFF,
/// and a negated one splits it. Matching backtracks; a pattern that backtracks without end is stopped.
/// </summary>
internal sealed class RegexPattern : ITextPattern
{
    private const long BaseSteps = 10_000_000, StepsPerUnit = 1_000;

    private readonly string _pattern;
    private readonly string _file;
    private readonly PatternStep[] _program;

    /// <summary>Compiles a pattern.</summary>
    /// <param name="pattern">The pattern.</param>
    /// <param name="file">The file that it comes from, for errors.</param>
    /// <exception cref="InvalidFileException">The pattern is invalid or uses syntax that is not supported.</exception>
    public RegexPattern(string pattern, string file)
    {
        (_pattern, _file) = (pattern, file);
        try
        {
            _program = PatternCompiler.Compile(PatternParser.Parse(pattern));
        }
        catch (FormatException error)
        {
            throw new InvalidFileException(file, $"the regular expression '{pattern}' has {error.Message}", inner: error);
        }
    }

    /// <inheritdoc/>
    public List<Stretch> Partition(ReadOnlySpan<char> text)
    {
        List<Stretch> stretches = [];
        Matcher matcher = new(this, text);
        int done = 0, at = 0;
        while (at <= text.Length)
        {
            int end = matcher.Run(0, at);
            bool repeatsNothing = end == at && stretches.Count > 0 && stretches[^1].IsMatch && stretches[^1].End == at;
            if (end < 0 || repeatsNothing)
            {
                at += at < text.Length && char.IsHighSurrogate(text[at]) ? 2 : 1;
                continue;
            }

            if (at > done)
            {
                stretches.Add(new Stretch(done, at, false));
            }

            stretches.Add(new Stretch(at, end, true));
            done = at = end;
        }

        if (done < text.Length)
        {
            stretches.Add(new Stretch(done, text.Length, false));
        }

        return stretches;
    }

    /// <summary>Another way to go on: at a step and position, and while that is above the floor, one character back.</summary>
    private readonly record struct Choice(int Step, int Position, int Floor);

    private ref struct Matcher(RegexPattern regex, ReadOnlySpan<char> text)
    {
        private readonly ReadOnlySpan<char> _text = text;
        private readonly Stack<Choice> _choices = new();
        private long _stepsLeft = BaseSteps + (StepsPerUnit * text.Length);

        /// <summary>Runs the program from a step to the next Accept.</summary>
        /// <returns>Where the match ends, or −1.</returns>
        public int Run(int step, int position)
        {
            int depth = _choices.Count;
            while (true)
            {
                if (--_stepsLeft < 0)
                {
                    throw new InvalidFileException(
                        regex._file,
                        $"the regular expression '{regex._pattern}' backtracks too much on this text",
                        "Split the text, or write the pattern without ambiguous repetitions.");
                }

                PatternStep now = regex._program[step];
                if (now.Code == PatternCode.Accept)
                {
                    while (_choices.Count > depth)
                    {
                        _choices.Pop();
                    }

                    return position;
                }

                if (!Advance(now, ref step, ref position) && !Retreat(depth, ref step, ref position))
                {
                    return -1;
                }
            }
        }

        private bool Advance(PatternStep now, ref int step, ref int position)
        {
            switch (now.Code)
            {
                case PatternCode.Set:
                    step++;
                    return Take(now.Set!, ref position);
                case PatternCode.RepeatSet:
                    step++;
                    return TakeMany(now, step, ref position);
                case PatternCode.Fork:
                    _choices.Push(new Choice(now.Second, position, position));
                    step = now.First;
                    return true;
                case PatternCode.Jump:
                    step = now.First;
                    return true;
                case PatternCode.Look:
                    bool found = Run(step + 1, position) >= 0;
                    step = now.First;
                    return found != now.Flag;
                case PatternCode.Atomic:
                    position = Run(step + 1, position);
                    step = now.First;
                    return position >= 0;
                default:
                    step++;
                    return IsAt(now.Anchor, position);
            }
        }

        private bool Retreat(int depth, ref int step, ref int position)
        {
            if (_choices.Count == depth)
            {
                return false;
            }

            Choice choice = _choices.Pop();
            (step, position) = (choice.Step, choice.Position);
            if (position > choice.Floor)
            {
                int back = position - (char.IsLowSurrogate(_text[position - 1]) ? 2 : 1);
                _choices.Push(choice with { Position = back });
            }

            return true;
        }

        private readonly bool Take(RuneSet set, ref int position)
        {
            if (position >= _text.Length)
            {
                return false;
            }

            char unit = _text[position];
            bool pair = char.IsHighSurrogate(unit);
            if (!set.Contains(pair ? char.ConvertToUtf32(unit, _text[position + 1]) : unit))
            {
                return false;
            }

            position += pair ? 2 : 1;
            return true;
        }

        private bool TakeMany(PatternStep now, int next, ref int position)
        {
            int count = 0;
            for (; count < now.Minimum; count++)
            {
                if (!Take(now.Set!, ref position))
                {
                    return false;
                }
            }

            int floor = position;
            while (count < now.Maximum && Take(now.Set!, ref position))
            {
                count++;
            }

            _stepsLeft -= count;
            if (position > floor && !now.Flag)
            {
                int back = position - (char.IsLowSurrogate(_text[position - 1]) ? 2 : 1);
                _choices.Push(new Choice(next, back, floor));
            }

            return true;
        }

        private readonly bool IsAt(Anchor anchor, int position) => anchor switch
        {
            Anchor.TextStart => position == 0,
            Anchor.TextEnd => position == _text.Length,
            Anchor.TextEndOrLastLine => position == _text.Length || (position == _text.Length - 1 && _text[position] == '\n'),
            Anchor.LineStart => position == 0 || (position < _text.Length && _text[position - 1] == '\n'),
            Anchor.LineEnd => position == _text.Length || _text[position] == '\n',
            _ => IsBoundary(position) == (anchor == Anchor.WordBoundary),
        };

        private readonly bool IsBoundary(int position)
        {
            int after = position, before = position - 1;
            before -= before > 0 && char.IsLowSurrogate(_text[before]) ? 1 : 0;
            bool wordBefore = before >= 0 && Take(RuneSet.Word, ref before);
            bool wordAfter = Take(RuneSet.Word, ref after);
            return wordBefore != wordAfter;
        }
    }
}
