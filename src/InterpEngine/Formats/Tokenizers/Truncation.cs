namespace InterpEngine.Formats.Tokenizers;

/// <summary>Cuts encodings that are too long into windows, as the file asks.</summary>
internal sealed class Truncation
{
    private const string Supported = "LongestFirst, OnlyFirst, OnlySecond";

    private readonly string _file;
    private readonly int _maximumLength;
    private readonly int _stride;
    private readonly string _strategy;
    private readonly bool _fromLeft;

    public Truncation(JsonField field, int addedTokens)
    {
        _file = field.File;
        _maximumLength = field.Required("max_length").AsCount();
        _stride = field.Optional("stride")?.AsCount() ?? 0;
        _strategy = field.Optional("strategy")?.AsString() ?? "LongestFirst";
        _fromLeft = Directions.ReadIsLeft(field);
        if (_stride > 0 && _stride >= _maximumLength - addedTokens)
        {
            string window = $"windows of {_maximumLength} tokens, {addedTokens} of them special";
            throw field.Fail($"a stride of {_stride} leaves no progress in {window}");
        }

        if (!Supported.Split(", ").Contains(_strategy))
        {
            throw field.Fail($"the truncation strategy '{_strategy}' is not supported; supported: {Supported}");
        }
    }

    /// <summary>The windows of one or two texts; the first of each is what the encoding itself holds.</summary>
    /// <param name="texts">The tokens of each text.</param>
    /// <param name="addedTokens">How many tokens the post-processor will add.</param>
    public List<List<EncodedToken>>[] Apply(List<EncodedToken>[] texts, int addedTokens)
    {
        int maximum = Math.Max(0, _maximumLength - addedTokens);
        int[] lengths = [.. texts.Select(text => text.Count)];
        int excess = lengths.Sum() - maximum;
        if (excess > 0)
        {
            Shorten(lengths, maximum, excess);
        }

        return [.. texts.Select((text, i) => Windows(text, lengths[i]))];
    }

    private void Shorten(int[] lengths, int maximum, int excess)
    {
        if (maximum == 0)
        {
            Array.Clear(lengths);
        }
        else if (_strategy == "LongestFirst" && lengths.Length == 2)
        {
            // The shorter text is cut only when half of the room is not enough for it; the odd token is the longer one's.
            int shorter = lengths[0] <= lengths[1] ? 0 : 1, longer = 1 - shorter;
            lengths[longer] = Math.Max(lengths[shorter], maximum - lengths[shorter]);
            if (lengths[0] + lengths[1] > maximum)
            {
                lengths[shorter] = maximum / 2;
                lengths[longer] = (maximum / 2) + (maximum % 2);
            }
        }
        else
        {
            int cut = _strategy == "OnlySecond" ? 1 : 0;
            if (cut >= lengths.Length || (lengths.Length == 2 && lengths[cut] <= excess))
            {
                throw new InvalidFileException(
                    _file,
                    $"truncation '{_strategy}' cannot bring texts of {string.Join(" and ", lengths)} tokens down to {maximum}",
                    "Shorten the text, or remove 'truncation' from the file.");
            }

            lengths[cut] -= excess;
        }
    }

    private List<List<EncodedToken>> Windows(List<EncodedToken> text, int length)
    {
        if (length >= text.Count)
        {
            return [text];
        }

        if (length == 0)
        {
            return [[], text];
        }

        List<List<EncodedToken>> windows = [];
        int step = Math.Max(1, length - _stride);
        for (int cut = 0; windows.Count == 0 || cut - step + length < text.Count; cut += step)
        {
            int start = _fromLeft ? Math.Max(0, text.Count - cut - length) : cut;
            int end = _fromLeft ? text.Count - cut : Math.Min(text.Count, cut + length);
            windows.Add(text[start..end]);
        }

        return windows;
    }
}

/// <summary>Fills encodings up to a length, as the file asks.</summary>
internal sealed class Padding
{
    private readonly int _fixedLength;
    private readonly int _multiple;
    private readonly bool _onLeft;
    private readonly EncodedToken _token;

    public Padding(JsonField field)
    {
        JsonField strategy = field.Required("strategy");
        if (strategy.IsString && strategy.AsString() != "BatchLongest")
        {
            throw strategy.Fail($"the padding strategy '{strategy.AsString()}' is not supported; supported: BatchLongest, Fixed");
        }

        _fixedLength = strategy.IsString ? 0 : strategy.Required("Fixed").AsCount();
        _multiple = Math.Max(1, field.Optional("pad_to_multiple_of")?.AsCount() ?? 1);
        _onLeft = Directions.ReadIsLeft(field);
        _token = new EncodedToken(
            field.Required("pad_id").AsId(),
            field.Required("pad_token").AsString(),
            default,
            field.Optional("pad_type_id")?.AsCount() ?? 0,
            -1,
            IsPadding: true);
        if (_fixedLength > MaximumLength || _multiple > MaximumLength)
        {
            throw field.Fail($"padding to more than {MaximumLength} tokens");
        }
    }

    // More than any model reads, and little enough to allocate.
    private static int MaximumLength => 1 << 20;

    /// <summary>Pads all windows of a text to the length of the first.</summary>
    public void Apply(List<List<EncodedToken>> windows)
    {
        int length = Math.Max(_fixedLength, windows[0].Count);
        length = (length + _multiple - 1) / _multiple * _multiple;
        foreach (List<EncodedToken> window in windows)
        {
            int missing = Math.Max(0, length - window.Count);
            window.InsertRange(_onLeft ? 0 : window.Count, Enumerable.Repeat(_token, missing));
        }
    }
}

/// <summary>The side at which tokens are cut or added.</summary>
internal static class Directions
{
    public static bool ReadIsLeft(JsonField field)
    {
        string direction = field.Optional("direction")?.AsString() ?? "Right";
        return direction is "Left" or "Right" ? direction == "Left"
            : throw field.Fail($"the direction '{direction}' is not supported; supported: Left, Right");
    }
}
