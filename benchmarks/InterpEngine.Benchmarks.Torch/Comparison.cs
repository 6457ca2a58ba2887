namespace InterpEngine.Benchmarks.Torch;

/// <summary>A piece of work, ours against another's way to do it.</summary>
/// <param name="Work">What is done.</param>
/// <param name="Against">What it is compared with.</param>
/// <param name="Bar">The ratio (their time over ours) that we want to reach; null for none.</param>
/// <param name="Ours">Does it once.</param>
/// <param name="Theirs">Does it once.</param>
internal sealed record Comparison(string Work, string Against, double? Bar, Action Ours, Action Theirs)
{
    /// <summary>Floating-point operations of the work and the share of the measured peak that we want; null for no such row.</summary>
    public (double Flops, double Bar)? OfPeak { get; init; }

    /// <summary>The same of the peak of BF16 products.</summary>
    public (double Flops, double Bar)? OfBf16Peak { get; init; }

    /// <summary>Bytes that must be read and the share of the measured bandwidth that we want; null for no such row.</summary>
    public (double Bytes, double Bar)? OfBandwidth { get; init; }

    /// <summary>What follows each call of either side, and is not counted; null for nothing.</summary>
    public Action? Tidy { get; init; }
}

/// <summary>One line of the table.</summary>
/// <param name="Work">What is done.</param>
/// <param name="Against">What it is compared with.</param>
/// <param name="Ours">Our median time in seconds.</param>
/// <param name="Theirs">The other's, or the time that the machine's peak allows.</param>
/// <param name="Bar">The ratio that we want; null for none.</param>
internal sealed record Result(string Work, string Against, double Ours, double Theirs, double? Bar)
{
    /// <summary>Above 1 where we are faster.</summary>
    public double Ratio => Theirs / Ours;

    /// <summary>Names the line in the baseline.</summary>
    public string Key => $"{Work} / {Against}";
}
