using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>Rows to train on, in an order that a seed decides and that can be taken up again.</summary>
public interface IActivationSource : IDisposable
{
    /// <summary>Width of a row.</summary>
    int Width { get; }

    /// <summary>Width of what a transcoder is to make of a row; 0 where there is nothing but rows.</summary>
    int TargetWidth { get; }

    /// <summary>The next rows.</summary>
    /// <param name="count">How many.</param>
    /// <returns>[count, width], and [count, target width] or null; the caller's.</returns>
    /// <exception cref="DictionaryException">There are no more.</exception>
    (Tensor Rows, Tensor? Targets) NextPair(int count);

    /// <summary>The next rows without what is to be made of them.</summary>
    /// <returns>[count, width], the caller's.</returns>
    /// <exception cref="DictionaryException">There are no more.</exception>
    Tensor Next(int count)
    {
        (Tensor rows, Tensor? targets) = NextPair(count);
        targets?.Dispose();
        return rows;
    }

    /// <summary>Writes what the next rows depend on.</summary>
    void Save(CheckpointWriter state);

    /// <summary>Goes on where a source of the same settings was saved.</summary>
    /// <exception cref="InterpEngine.Formats.InvalidFileException">The state is broken, or another source's.</exception>
    void Load(CheckpointReader state);
}

/// <summary>Some rows of activations.</summary>
/// <param name="Count">How many.</param>
/// <param name="Values">[count, width + target width]: each row, and behind it what a transcoder is to make of it.</param>
public sealed record RowBlock(int Count, float[] Values);

/// <summary>Rows of activations in the order in which they come, a block at a time.</summary>
public interface IRowStream : IDisposable
{
    /// <summary>Width of a row.</summary>
    int Width { get; }

    /// <summary>Width of what a transcoder is to make of a row, or 0.</summary>
    int TargetWidth { get; }

    /// <summary>The next rows, perhaps none; null at the end.</summary>
    /// <param name="cancellation">Ends the computing.</param>
    RowBlock? Next(CancellationToken cancellation);

    /// <summary>Goes to where so many blocks were given out, without computing these.</summary>
    void Seek(long blocks);
}
