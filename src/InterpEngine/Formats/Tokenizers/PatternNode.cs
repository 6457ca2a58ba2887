namespace InterpEngine.Formats.Tokenizers;

/// <summary>How eagerly a repetition takes.</summary>
internal enum Greed
{
    Greedy,
    Lazy,
    Possessive,
}

/// <summary>The places that a pattern can ask for.</summary>
internal enum Anchor
{
    LineStart,
    LineEnd,
    TextStart,
    TextEnd,
    TextEndOrLastLine,
    WordBoundary,
    NoWordBoundary,
}

/// <summary>A parsed regular expression.</summary>
internal abstract record PatternNode
{
    /// <summary>Whether it can match without taking a character.</summary>
    public abstract bool CanBeEmpty { get; }
}

/// <summary>One character of a set.</summary>
internal sealed record SetNode(RuneSet Set) : PatternNode
{
    public override bool CanBeEmpty => false;
}

/// <summary>One after the other; none is the empty pattern.</summary>
internal sealed record SequenceNode(List<PatternNode> Parts) : PatternNode
{
    public override bool CanBeEmpty => Parts.TrueForAll(part => part.CanBeEmpty);
}

/// <summary>The first that leads to a match.</summary>
internal sealed record ChoiceNode(List<PatternNode> Options) : PatternNode
{
    public override bool CanBeEmpty => Options.Exists(option => option.CanBeEmpty);
}

/// <summary>A repetition; a maximum of <see cref="int.MaxValue"/> is none.</summary>
internal sealed record RepeatNode(PatternNode Body, int Minimum, int Maximum, Greed Greed) : PatternNode
{
    public override bool CanBeEmpty => Minimum == 0 || Body.CanBeEmpty;
}

/// <summary>A match whose alternatives are forgotten once it is found.</summary>
internal sealed record AtomicNode(PatternNode Body) : PatternNode
{
    public override bool CanBeEmpty => Body.CanBeEmpty;
}

/// <summary>What follows must match, or must not.</summary>
internal sealed record LookaheadNode(PatternNode Body, bool Negative) : PatternNode
{
    public override bool CanBeEmpty => true;
}

/// <summary>A place.</summary>
internal sealed record AnchorNode(Anchor Anchor) : PatternNode
{
    public override bool CanBeEmpty => true;
}
