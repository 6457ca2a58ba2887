using InterpEngine.Captures;
using InterpEngine.Models;

namespace InterpEngine.Cli;

/// <summary>The sequences that a command line names, from texts or token ids.</summary>
/// <param name="model">Whose tokenizer to use.</param>
/// <param name="tokens">Token ids, or null.</param>
/// <param name="text">A file of texts, where there are no token ids.</param>
/// <param name="whole">Whether that file is one document.</param>
/// <param name="begin">Whether documents begin with the begin-of-text token.</param>
/// <param name="context">Tokens of a sequence at most; 0 for the default.</param>
internal sealed class Corpus(Model model, TokenFile? tokens, string? text, bool whole, bool begin, int context)
{
    private const int DefaultContext = 1024;

    /// <summary>All sequences as one batch: token ids as they stand, texts padded on the left.</summary>
    /// <exception cref="InterpException">They cannot be read or run.</exception>
    public TokenBatch AsBatch() => tokens is not null && context == 0
        ? tokens.ToBatch()
        : TokenBatch.LeftPadded([.. Split(context == 0 ? int.MaxValue : context).Select(sequence => sequence.Ids)]);

    /// <summary>All sequences, one after the other; read anew at each enumeration.</summary>
    /// <exception cref="InterpException">They cannot be read.</exception>
    public IEnumerable<CaptureSequence> Sequences() =>
        Split(context == 0 ? Math.Min(DefaultContext, model.Description.Context) : context);

    private IEnumerable<int[]> Documents()
    {
        if (tokens is not null)
        {
            TokenBatch batch = tokens.ToBatch();
            return Enumerable.Range(0, batch.Batch).Select(row => batch.Sequence(row).ToArray());
        }

        return TextFile.Documents(text!, whole).Select(Encode);
    }

    private int[] Encode(string document) => document.Length == 0 ? [] : model.Tokenize(document, begin).Ids.ToArray();

    /// <summary>
    /// Documents without tokens give nothing; the pieces of a long one all begin as it does, if that is a special token.
    /// </summary>
    private IEnumerable<CaptureSequence> Split(int longest)
    {
        int number = 0;
        foreach (int[] ids in Documents())
        {
            bool begun = tokens is null && longest > 1 && ids.Length > longest && model.Tokenizer.IsSpecial(ids[0]);
            ReadOnlyMemory<int> rest = ids.AsMemory(begun ? 1 : 0);
            while (rest.Length > 0)
            {
                int count = Math.Min(rest.Length, longest - (begun ? 1 : 0));
                yield return new CaptureSequence(number, begun ? [ids[0], .. rest[..count].Span] : rest[..count].ToArray());
                rest = rest[count..];
            }

            number++;
        }
    }
}
