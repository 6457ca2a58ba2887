namespace InterpEngine.Kernels;

/// <summary>The lengths of a tensor's axes, outermost first. A scalar has none.</summary>
public readonly struct Shape : IEquatable<Shape>
{
    private readonly int[]? _axes;

    /// <summary>Creates a shape.</summary>
    /// <param name="axes">Lengths, outermost first; none may be negative.</param>
    /// <exception cref="ArgumentOutOfRangeException">A length is negative.</exception>
    /// <exception cref="OverflowException">The element count exceeds 2⁶³ − 1.</exception>
    public Shape(params ReadOnlySpan<int> axes)
    {
        long count = 1;
        foreach (int axis in axes)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(axis, nameof(axes));
            count = checked(count * axis);
        }

        _axes = axes.ToArray();
        Count = count;
    }

    /// <summary>How many elements there are; 1 for a scalar.</summary>
    public long Count { get => _axes is null ? 1 : field; }

    /// <summary>How many axes there are.</summary>
    public int Rank => Axes.Length;

    /// <summary>The lengths.</summary>
    public ReadOnlySpan<int> Axes => _axes;

    /// <summary>The length of one axis; from the end with an <see cref="Index"/>.</summary>
    public int this[Index axis] => Axes[axis];

    /// <summary>Elements in all axes but the last, that is: how many rows a matrix with this memory has.</summary>
    public long Rows => Rank == 0 || this[^1] == 0 ? LeadingCount() : Count / this[^1];

    /// <summary>The length of the last axis; 1 for a scalar.</summary>
    public int Columns => Rank == 0 ? 1 : this[^1];

    /// <inheritdoc/>
    public bool Equals(Shape other) => Axes.SequenceEqual(other.Axes);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is Shape other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        var hash = default(HashCode);
        foreach (int axis in Axes)
        {
            hash.Add(axis);
        }

        return hash.ToHashCode();
    }

    /// <summary>The lengths in brackets, such as <c>[2, 7, 32]</c>.</summary>
    public override string ToString() => $"[{string.Join(", ", Axes.ToArray())}]";

    /// <summary>Whether two shapes have the same axes.</summary>
    public static bool operator ==(Shape left, Shape right) => left.Equals(right);

    /// <summary>Whether two shapes differ.</summary>
    public static bool operator !=(Shape left, Shape right) => !left.Equals(right);

    private long LeadingCount()
    {
        long count = 1;
        foreach (int axis in Rank == 0 ? [] : Axes[..^1])
        {
            count *= axis;
        }

        return count;
    }
}
