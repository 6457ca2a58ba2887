namespace InterpEngine.Formats.Tokenizers;

/// <summary>What happens at the end: offsets lose the spaces of their tokens, and special tokens are put around.</summary>
internal sealed class PostProcessor
{
    private const string Supported = "BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing";

    /// <summary>One entry per trimming step: whether the pre-tokenizer invents a space at the beginning.</summary>
    private readonly List<bool> _trims = [];
    private List<Slot>[]? _templates;

    private PostProcessor()
    {
    }

    /// <summary>Reads a post-processor; none does nothing.</summary>
    public static PostProcessor Read(JsonField? field)
    {
        PostProcessor processor = new();
        if (field is { } given)
        {
            processor.Add(given);
        }

        return processor;
    }

    /// <summary>How many special tokens an encoding of one or two texts gets.</summary>
    public int CountAdded(bool pair) => _templates?[pair ? 1 : 0].Sum(slot => slot.Special.Count) ?? 0;

    /// <summary>Puts one window of each text together.</summary>
    public List<EncodedToken> Apply(List<EncodedToken>[] texts, bool addSpecialTokens)
    {
        List<EncodedToken>[] trimmed = [.. texts.Select(Trim)];
        if (_templates is null)
        {
            return [.. trimmed.SelectMany(text => text)];
        }

        List<EncodedToken> result = [];
        foreach (Slot slot in _templates[texts.Length - 1])
        {
            if (slot.Sequence >= 0)
            {
                result.AddRange(trimmed[slot.Sequence].Select(token => token with { TypeId = slot.TypeId }));
            }
            else if (addSpecialTokens)
            {
                result.AddRange(slot.Special.Select(token => token with { TypeId = slot.TypeId }));
            }
        }

        return result;
    }

    private void Add(JsonField field)
    {
        switch (field.Type)
        {
            case "Sequence":
                foreach (JsonField step in field.Required("processors").Items())
                {
                    Add(step);
                }

                break;
            case "ByteLevel":
                AddTrim(field);
                break;
            case "RobertaProcessing":
                AddTrim(field);
                (Slot cls, Slot sep) = ReadEnds(field);
                SetTemplates(field, [cls, First, sep], [cls, First, sep, sep, Second with { TypeId = 0 }, sep]);
                break;
            case "BertProcessing":
                (cls, sep) = ReadEnds(field);
                SetTemplates(field, [cls, First, sep], [cls, First, sep, Second, sep with { TypeId = 1 }]);
                break;
            case "TemplateProcessing":
                JsonField specials = field.Required("special_tokens");
                SetTemplates(
                    field,
                    ReadTemplate(field.Required("single"), specials, texts: 1),
                    ReadTemplate(field.Required("pair"), specials, texts: 2));
                break;
            case { } type:
                throw field.Fail($"the post-processor type '{type}' is not supported; supported: {Supported}");
            case null:
                throw field.Fail("a post-processor without a type");
        }
    }

    private static Slot First => new(0, 0, []);

    private static Slot Second => new(1, 1, []);

    private void AddTrim(JsonField field)
    {
        if (field.Flag("trim_offsets", true))
        {
            _trims.Add(field.Flag("add_prefix_space", true));
        }
    }

    private void SetTemplates(JsonField field, List<Slot> single, List<Slot> pair)
    {
        _templates = _templates is null
            ? [single, pair]
            : throw field.Fail("more than one post-processor that adds special tokens");
    }

    private static (Slot Cls, Slot Sep) ReadEnds(JsonField field) =>
        (ReadEnd(field.Required("cls")), ReadEnd(field.Required("sep")));

    private static Slot ReadEnd(JsonField field)
    {
        JsonField[] parts = [.. field.Items()];
        return parts.Length == 2
            ? new Slot(-1, 0, [new EncodedToken(parts[1].AsId(), parts[0].AsString(), default, 0, -1)])
            : throw field.Fail("expected a token and its id");
    }

    private static List<Slot> ReadTemplate(JsonField template, JsonField specials, int texts)
    {
        List<Slot> slots = [];
        foreach (JsonField entry in template.Items())
        {
            if (entry.Optional("Sequence") is { } sequence)
            {
                string id = sequence.Required("id").AsString();
                int index = id switch { "A" => 0, "B" => 1, _ => texts };
                slots.Add(new Slot(
                    index < texts ? index : throw sequence.Fail($"there is no sequence '{id}' here"),
                    sequence.Required("type_id").AsCount(),
                    []));
            }
            else
            {
                JsonField special = entry.Required("SpecialToken");
                slots.Add(new Slot(-1, special.Required("type_id").AsCount(), ReadSpecial(special.Required("id"), specials)));
            }
        }

        return slots;
    }

    private static List<EncodedToken> ReadSpecial(JsonField name, JsonField specials)
    {
        JsonField special = specials.Optional(name.AsString())
            ?? throw name.Fail($"the template names '{name.AsString()}', which 'special_tokens' does not define");
        int[] ids = [.. special.Required("ids").Items().Select(id => id.AsId())];
        string[] tokens = [.. special.Required("tokens").Items().Select(token => token.AsString())];
        return ids.Length == tokens.Length
            ? [.. ids.Zip(tokens, (id, token) => new EncodedToken(id, token, default, 0, -1))]
            : throw special.Fail($"{ids.Length} ids for {tokens.Length} tokens");
    }

    private List<EncodedToken> Trim(List<EncodedToken> tokens)
    {
        foreach (bool inventsSpace in _trims)
        {
            tokens = [.. tokens.Select((token, i) => token with { Offsets = Trim(token, i == 0, inventsSpace) })];
        }

        return tokens;
    }

    private static Origin Trim(EncodedToken token, bool isFirst, bool inventsSpace)
    {
        (int start, int end) = (token.Offsets.Start, token.Offsets.End);
        int leading = token.Text.TakeWhile(IsSpace).Count();
        int trailing = token.Text.Reverse().TakeWhile(IsSpace).Count();
        if (leading > 0)
        {
            // One space at the beginning may be invented, and is then in no offset; of several none is.
            leading = inventsSpace && leading == 1 && (isFirst || start == 0) ? 0 : leading;
            start = Math.Min(start + leading, end);
        }

        return new Origin(start, trailing > 0 && end >= trailing ? Math.Max(end - trailing, start) : end);
    }

    private static bool IsSpace(char character) => character == ByteAlphabet.Space || char.IsWhiteSpace(character);

    /// <summary>A part of a template: a text (0 or 1), or special tokens where the text is −1.</summary>
    private sealed record Slot(int Sequence, int TypeId, List<EncodedToken> Special);
}
