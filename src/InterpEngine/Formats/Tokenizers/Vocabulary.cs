namespace InterpEngine.Formats.Tokenizers;

/// <summary>The pieces of a model and their ids, one to one. Ids may have gaps of any size.</summary>
internal sealed class Vocabulary
{
    private readonly Dictionary<string, int> _ids = new(StringComparer.Ordinal);
    private readonly Dictionary<int, string> _pieces = [];

    public int Count => _ids.Count;

    public IReadOnlyCollection<int> Ids => _pieces.Keys;

    /// <summary>Finds an id without making a string of the piece.</summary>
    public Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> Lookup => _ids.GetAlternateLookup<ReadOnlySpan<char>>();

    /// <summary>Reads an object of pieces and ids.</summary>
    public static Vocabulary Read(JsonField field)
    {
        Vocabulary vocabulary = new();
        foreach ((string piece, JsonField id) in field.Properties())
        {
            vocabulary.Add(piece, id.AsId(), id);
        }

        return vocabulary;
    }

    public void Add(string piece, int id, JsonField where)
    {
        if (!_pieces.TryAdd(id, piece))
        {
            throw where.Fail($"the id {unchecked((uint)id)} stands for both '{_pieces[id]}' and '{piece}'");
        }

        if (!_ids.TryAdd(piece, id))
        {
            throw where.Fail($"the piece '{piece}' has both the ids {unchecked((uint)_ids[piece])} and {unchecked((uint)id)}");
        }
    }

    public int? IdOf(string piece) => _ids.TryGetValue(piece, out int id) ? id : null;

    public string? PieceOf(int id) => _pieces.GetValueOrDefault(id);

    /// <summary>The id of the piece for one byte, as <c>&lt;0x0A&gt;</c>.</summary>
    public int? IdOfByte(byte value) => IdOf($"<0x{value:X2}>");
}
