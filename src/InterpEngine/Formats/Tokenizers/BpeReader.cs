namespace InterpEngine.Formats.Tokenizers;

/// <summary>Reads BPE models.</summary>
internal static class BpeReader
{
    /// <summary>Reads the model, and checks that every merge joins two pieces to a third.</summary>
    public static BpeModel Read(JsonField field, IReadOnlyDictionary<string, int> added)
    {
        if (field.Optional("dropout") is { } dropout && dropout.AsNumber() != 0)
        {
            throw dropout.Fail("BPE dropout makes encodings random and is not supported", "It is for training; set it to null.");
        }

        var vocabulary = Vocabulary.Read(field.Required("vocab"));
        string unknown = field.Optional("unk_token")?.AsString() ?? "";
        int? unknownId = vocabulary.IdOf(unknown) ?? (added.TryGetValue(unknown, out int id) ? id : null);
        if (unknown.Length > 0 && unknownId is null)
        {
            throw field.Fail($"the unknown token '{unknown}' is not in the vocabulary");
        }

        BpeOptions options = new(
            field.Optional("continuing_subword_prefix")?.AsString() ?? "",
            field.Optional("end_of_word_suffix")?.AsString() ?? "",
            unknown.Length > 0 ? unknownId : null,
            unknown,
            field.Flag("fuse_unk", false),
            field.Flag("byte_fallback", false),
            field.Flag("ignore_merges", false));
        return new BpeModel(vocabulary, Merges(field.Required("merges"), vocabulary, options.Prefix), options);
    }

    private static Dictionary<(int Left, int Right), BpeModel.Merge> Merges(JsonField field, Vocabulary vocabulary, string prefix)
    {
        Dictionary<(int Left, int Right), BpeModel.Merge> merges = [];
        foreach (JsonField item in field.Items())
        {
            string[] parts = item.IsArray ? [.. item.Items().Select(part => part.AsString())] : item.AsString().Split(' ');
            if (parts.Length != 2)
            {
                throw item.Fail($"a merge joins two pieces, found {parts.Length}");
            }

            if (!parts[1].StartsWith(prefix, StringComparison.Ordinal))
            {
                throw item.Fail($"the right part '{parts[1]}' lacks the prefix '{prefix}' of pieces within words");
            }

            int Id(string piece) =>
                vocabulary.IdOf(piece)
                ?? throw item.Fail($"the merge '{parts[0]} {parts[1]}' needs '{piece}', which is not in the vocabulary");
            merges[(Id(parts[0]), Id(parts[1]))] = new BpeModel.Merge(merges.Count, Id(parts[0] + parts[1][prefix.Length..]));
        }

        return merges;
    }
}
