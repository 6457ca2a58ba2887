using System.Globalization;
using System.Text.Json;
using InterpEngine.Formats.Tokenizers;
using InterpEngine.Models;
using Spectre.Console;

namespace InterpEngine.Cli;

/// <summary>How generated tokens are shown. Without a tokenizer they are shown as ids.</summary>
internal static class RunOutput
{
    /// <summary>
    /// One sequence, as it comes; a character whose bytes are spread over tokens appears with the last of them.
    /// </summary>
    public static void Stream(Terminal terminal, Tokenizer? tokenizer, string? prompt, IEnumerable<GeneratedToken?[]> steps)
    {
        TokenStream? text = tokenizer is null ? null : new TokenStream(tokenizer, skipSpecialTokens: true);
        terminal.Out.Write(prompt);
        terminal.Out.Flush();
        string separator = "";
        foreach (GeneratedToken?[] step in steps)
        {
            if (step[0] is { } token)
            {
                string id = separator + token.Id.ToString(CultureInfo.InvariantCulture);
                terminal.Out.Write(text is null ? id : text.Push(token.Id));
                terminal.Out.Flush();
                separator = " ";
            }
        }

        terminal.Out.WriteLine(text?.Flush());
        terminal.Out.Flush();
    }

    /// <summary>Several sequences, or one with the alternatives at each place.</summary>
    public static void WriteSequences(
        Terminal terminal, Tokenizer? tokenizer, List<GeneratedToken>[] sequences, bool alternatives)
    {
        for (int row = 0; row < sequences.Length; row++)
        {
            if (alternatives)
            {
                WriteTable(terminal, tokenizer, sequences.Length > 1 ? $"sequence {row}" : null, sequences[row]);
            }
            else
            {
                terminal.Out.WriteLine(Text(tokenizer, sequences[row]));
            }
        }
    }

    /// <summary>Everything.</summary>
    public static void WriteJson(
        Terminal terminal,
        TokenBatch tokens,
        Tokenizer? tokenizer,
        string? prompt,
        List<GeneratedToken>[] sequences,
        bool alternatives) =>
        JsonOutput.Write(terminal.Out, json =>
        {
            json.WriteStartArray("sequences");
            for (int row = 0; row < sequences.Length; row++)
            {
                json.WriteStartObject();
                if (prompt is not null)
                {
                    json.WriteString("prompt", prompt);
                }

                json.WriteNumbers("prompt_ids", tokens.Sequence(row).ToArray());
                json.WriteNumbers("ids", sequences[row].Select(token => token.Id));
                if (tokenizer is not null)
                {
                    json.WriteString("text", Text(tokenizer, sequences[row]));
                }

                json.WriteStartArray("tokens");
                foreach (GeneratedToken token in sequences[row])
                {
                    WriteToken(json, tokenizer, token, alternatives);
                }

                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndArray();
        });

    /// <summary>A token as one line of a table: control characters made visible, spaces kept.</summary>
    public static string Visible(string text) => $"'{text.Replace("\n", "\\n", StringComparison.Ordinal)
        .Replace("\r", "\\r", StringComparison.Ordinal).Replace("\t", "\\t", StringComparison.Ordinal)}'";

    private static string Text(Tokenizer? tokenizer, List<GeneratedToken> tokens) =>
        tokenizer is null
            ? string.Join(' ', tokens.Select(token => token.Id))
            : tokenizer.Decode([.. tokens.Select(token => token.Id)], skipSpecialTokens: true);

    private static void WriteToken(Utf8JsonWriter json, Tokenizer? tokenizer, GeneratedToken token, bool alternatives)
    {
        json.WriteStartObject();
        WriteProbability(json, tokenizer, token.Id, token.LogProbability);
        if (alternatives)
        {
            json.WriteStartArray("alternatives");
            foreach (TokenProbability alternative in token.Alternatives)
            {
                json.WriteStartObject();
                WriteProbability(json, tokenizer, alternative.Id, alternative.LogProbability);
                json.WriteEndObject();
            }

            json.WriteEndArray();
        }

        json.WriteEndObject();
    }

    private static void WriteProbability(Utf8JsonWriter json, Tokenizer? tokenizer, int id, float logProbability)
    {
        json.WriteNumber("id", id);
        if (tokenizer is not null)
        {
            json.WriteString("text", tokenizer.TokenText(id));
        }

        if (float.IsFinite(logProbability))
        {
            json.WriteNumber("log_probability", logProbability);
        }
        else
        {
            // JSON has no infinity; a token that cannot come has no log-probability.
            json.WriteNull("log_probability");
        }
    }

    private static void WriteTable(Terminal terminal, Tokenizer? tokenizer, string? title, List<GeneratedToken> tokens)
    {
        var table = new Table { Border = TableBorder.Simple };
        if (title is not null)
        {
            table.Title = new TableTitle(title);
        }

        table.AddColumn("token").AddColumn(new TableColumn("p").RightAligned()).AddColumn("likeliest");
        foreach (GeneratedToken token in tokens)
        {
            table.AddRow(
                new Text(Name(tokenizer, token.Id)),
                new Text(Probability(token.LogProbability)),
                new Text(string.Join("  ", token.Alternatives.Select(Likely))));
        }

        terminal.Results.Write(table);

        string Likely(TokenProbability other) => $"{Name(tokenizer, other.Id)} {Probability(other.LogProbability)}";
    }

    private static string Name(Tokenizer? tokenizer, int id) =>
        tokenizer is null ? id.ToString(CultureInfo.InvariantCulture) : Visible(tokenizer.TokenText(id));

    private static string Probability(float logProbability) =>
        Math.Exp(logProbability).ToString("0.0000", CultureInfo.InvariantCulture);
}
