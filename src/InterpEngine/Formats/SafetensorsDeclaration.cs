using System.Collections.Immutable;

namespace InterpEngine.Formats;

/// <summary>What a safetensors file says of a tensor before its data: name, type and shape.</summary>
public sealed class SafetensorsDeclaration
{
    /// <summary>Declares a tensor.</summary>
    /// <param name="name">Any text; within a file no two are equal.</param>
    /// <param name="type">What one element is.</param>
    /// <param name="shape">The lengths of its axes, outermost first; none for a scalar.</param>
    /// <exception cref="ArgumentException">A length is negative, or the size too large or no whole number of bytes.</exception>
    public SafetensorsDeclaration(string name, SafetensorsType type, params ReadOnlySpan<long> shape)
    {
        ArgumentNullException.ThrowIfNull(name);
        foreach (long axis in shape)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(axis, nameof(shape));
        }

        Name = name;
        Type = type;
        Shape = [.. shape];
        Length = SafetensorsHeader.ByteLength(type, shape) ?? throw new ArgumentException(
            $"Tensor {InputFile.Quote(name)}: {type} [{string.Join(", ", Shape)}] has no countable number of whole bytes.",
            nameof(shape));
    }

    /// <summary>The name.</summary>
    public string Name { get; }

    /// <summary>What one element is.</summary>
    public SafetensorsType Type { get; }

    /// <summary>The lengths of the axes, outermost first.</summary>
    public ImmutableArray<long> Shape { get; }

    /// <summary>How many bytes the data take.</summary>
    public long Length { get; }
}
