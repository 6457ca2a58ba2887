namespace InterpEngine.Cli.Sae;

/// <summary>Texts as dictionaries are trained on them: documents joined and cut into sequences of one length.</summary>
internal static class PackedSequences
{
    /// <summary>Cuts documents into sequences.</summary>
    /// <param name="model">Whose tokenizer to use. Documents begin as it expects.</param>
    /// <param name="documents">The texts.</param>
    /// <param name="context">Tokens of a sequence.</param>
    /// <param name="begins">Whether a sequence that begins within a document begins with the document's first token, if that is a special
    /// one (SAELens's <c>prepend_bos</c>).</param>
    /// <param name="rest">Whether what is left at the end, less than a sequence, is one too.</param>
    public static IEnumerable<int[]> Of(Model model, IEnumerable<string> documents, int context, bool begins, bool rest)
    {
        var pending = new List<int>(context);
        foreach (string document in documents.Where(document => document.Length > 0))
        {
            ReadOnlyMemory<int> ids = model.Tokenize(document).Ids.ToArray();
            int? first = begins && ids.Length > 0 && model.Tokenizer.IsSpecial(ids.Span[0]) ? ids.Span[0] : null;
            while (ids.Length > 0)
            {
                if (pending.Count == 0 && first is { } begin && ids.Span[0] != begin)
                {
                    pending.Add(begin);
                }

                int taken = Math.Min(context - pending.Count, ids.Length);
                pending.AddRange(ids.Span[..taken]);
                ids = ids[taken..];
                if (pending.Count == context)
                {
                    yield return [.. pending];
                    pending.Clear();
                }
            }
        }

        if (rest && pending.Count > 1)
        {
            yield return [.. pending];
        }
    }
}
