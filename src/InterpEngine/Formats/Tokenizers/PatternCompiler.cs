namespace InterpEngine.Formats.Tokenizers;

/// <summary>What one step of a compiled pattern does.</summary>
internal enum PatternCode
{
    /// <summary>Ends the pattern, or the inner one that it stands in.</summary>
    Accept,
    Set,
    RepeatSet,

    /// <summary>Goes on at the first place, and if that fails at the second.</summary>
    Fork,
    Jump,

    /// <summary>Looks ahead with the inner pattern that follows, then goes on at the first place.</summary>
    Look,
    Atomic,
    Anchor,
}

/// <summary>One step of a compiled pattern.</summary>
internal readonly record struct PatternStep(PatternCode Code)
{
    public RuneSet? Set { get; init; }

    public int Minimum { get; init; }

    public int Maximum { get; init; }

    /// <summary>Possessive, or negative.</summary>
    public bool Flag { get; init; }

    public Anchor Anchor { get; init; }

    public int First { get; init; }

    public int Second { get; init; }
}

/// <summary>Turns a parsed pattern into steps for the matcher.</summary>
internal sealed class PatternCompiler
{
    private const int MaximumSteps = 50_000;

    private readonly List<PatternStep> _program = [];

    private PatternCompiler()
    {
    }

    /// <summary>Compiles a pattern.</summary>
    /// <exception cref="FormatException">The program is too long.</exception>
    public static PatternStep[] Compile(PatternNode node)
    {
        PatternCompiler compiler = new();
        compiler.Emit(node);
        compiler.Add(new PatternStep(PatternCode.Accept));
        return [.. compiler._program];
    }

    private int Add(PatternStep step)
    {
        if (_program.Count >= MaximumSteps)
        {
            throw new FormatException("too many repetitions within repetitions");
        }

        _program.Add(step);
        return _program.Count - 1;
    }

    /// <summary>Adds the program of one node; it goes on with the step that is added next.</summary>
    private void Emit(PatternNode node)
    {
        switch (node)
        {
            case SetNode set:
                Add(new PatternStep(PatternCode.Set) { Set = set.Set });
                break;
            case SequenceNode sequence:
                sequence.Parts.ForEach(Emit);
                break;
            case ChoiceNode choice:
                EmitChoice(choice);
                break;
            case RepeatNode { Body: SetNode body, Greed: not Greed.Lazy } repeat:
                Add(new PatternStep(PatternCode.RepeatSet)
                {
                    Set = body.Set,
                    Minimum = repeat.Minimum,
                    Maximum = repeat.Maximum,
                    Flag = repeat.Greed == Greed.Possessive,
                });
                break;
            case RepeatNode { Greed: Greed.Possessive } repeat:
                Emit(new AtomicNode(repeat with { Greed = Greed.Greedy }));
                break;
            case RepeatNode repeat:
                EmitRepeat(repeat);
                break;
            case AtomicNode atomic:
                EmitInner(new PatternStep(PatternCode.Atomic), atomic.Body);
                break;
            case LookaheadNode look:
                EmitInner(new PatternStep(PatternCode.Look) { Flag = look.Negative }, look.Body);
                break;
            case AnchorNode anchor:
                Add(new PatternStep(PatternCode.Anchor) { Anchor = anchor.Anchor });
                break;
        }
    }

    private void EmitChoice(ChoiceNode choice)
    {
        List<int> exits = [];
        for (int i = 0; i < choice.Options.Count - 1; i++)
        {
            int fork = Add(new PatternStep(PatternCode.Fork));
            Emit(choice.Options[i]);
            exits.Add(Add(new PatternStep(PatternCode.Jump)));
            _program[fork] = new PatternStep(PatternCode.Fork) { First = fork + 1, Second = _program.Count };
        }

        Emit(choice.Options[^1]);
        exits.ForEach(exit => _program[exit] = new PatternStep(PatternCode.Jump) { First = _program.Count });
    }

    private void EmitRepeat(RepeatNode repeat)
    {
        for (int i = 0; i < repeat.Minimum; i++)
        {
            Emit(repeat.Body);
        }

        bool endless = repeat.Maximum == int.MaxValue;
        List<int> forks = [];
        for (int i = repeat.Minimum; i < repeat.Maximum && (!endless || forks.Count == 0); i++)
        {
            forks.Add(Add(new PatternStep(PatternCode.Fork)));
            Emit(repeat.Body);
        }

        if (endless)
        {
            Add(new PatternStep(PatternCode.Jump) { First = forks[0] });
        }

        foreach (int fork in forks)
        {
            (int inside, int outside) = (fork + 1, _program.Count);
            _program[fork] = repeat.Greed == Greed.Lazy
                ? new PatternStep(PatternCode.Fork) { First = outside, Second = inside }
                : new PatternStep(PatternCode.Fork) { First = inside, Second = outside };
        }
    }

    private void EmitInner(PatternStep step, PatternNode body)
    {
        int at = Add(step);
        Emit(body);
        Add(new PatternStep(PatternCode.Accept));
        _program[at] = step with { First = _program.Count };
    }
}
