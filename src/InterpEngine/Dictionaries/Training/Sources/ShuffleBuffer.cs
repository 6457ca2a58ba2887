namespace InterpEngine.Dictionaries.Training;

/// <summary>Rows that wait to be drawn, each as likely as the others.</summary>
/// <param name="width">Of a row.</param>
/// <param name="seed">Of the order.</param>
internal sealed class ShuffleBuffer(int width, int seed)
{
    private readonly SeededRandom _random = new(seed);
    private float[] _values = [];

    public int Count { get; private set; }

    public void Add(RowBlock block)
    {
        Reserve(Count + block.Count);
        block.Values.CopyTo(_values, Count * width);
        Count += block.Count;
    }

    /// <summary>Takes a row out.</summary>
    public void Draw(Span<float> row)
    {
        Span<float> drawn = _values.AsSpan(_random.Next(Count) * width, width);
        drawn.CopyTo(row);
        Count--;
        _values.AsSpan(Count * width, width).CopyTo(drawn);
    }

    public void Save(CheckpointWriter state)
    {
        state.AddSingles("rows", _values.AsMemory(0, Count * width), Count, width);
        state.AddWords("random", _random.State.ToArray());
    }

    public void Load(CheckpointReader state)
    {
        float[] rows = state.Singles("rows", null, width);
        Count = 0;
        Reserve(rows.Length / width);
        rows.CopyTo(_values, 0);
        Count = rows.Length / width;
        state.Words("random", 4).CopyTo(_random.State);
    }

    private void Reserve(int rows)
    {
        if ((long)rows * width > Array.MaxLength)
        {
            throw new DictionaryException($"{rows} rows of {width} are too many for one buffer.", "Give a smaller buffer.");
        }

        if (rows * width > _values.Length)
        {
            Array.Resize(ref _values, rows * width);
        }
    }
}
