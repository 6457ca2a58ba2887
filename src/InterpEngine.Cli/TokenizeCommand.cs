using System.CommandLine;
using InterpEngine.Formats.Tokenizers;
using Spectre.Console;

namespace InterpEngine.Cli;

/// <summary><c>interp tokenize</c>: how a model's tokenizer reads a text. Needs no weights.</summary>
internal static class TokenizeCommand
{
    private static readonly Argument<string> s_model = ModelSource.CreateArgument();

    private static readonly Argument<string?> s_text = new("text")
    {
        HelpName = "TEXT",
        Description = "The text.",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private static readonly Option<string?> s_file = new("--file")
    {
        Description = "A file with the text, in UTF-8.",
        HelpName = "FILE",
    };

    private static readonly Option<bool> s_noSpecial = new("--no-special")
    {
        Description = "Leave out the special tokens that the tokenizer adds.",
    };

    public static Command Create()
    {
        var command = new ExampleCommand(
            "tokenize",
            "Show the tokens of a text.",
            "interp tokenize tales \"The capital of France is\"",
            "interp tokenize path/to/model --file book.txt --json")
        {
            s_model, s_text, s_file, s_noSpecial, CommonOptions.Json,
        };
        command.SetAction((parse, _) => Task.FromResult(Run(parse)));
        return command;
    }

    private static int Run(ParseResult parse)
    {
        var terminal = Terminal.Of(parse);
        string? text = parse.GetValue(s_text), file = parse.GetValue(s_file);
        if ((text is null) == (file is null))
        {
            throw new UsageException("Give either a TEXT or --file FILE.", "`interp tokenize --help` shows how it is used.");
        }

        text ??= TextFile.ReadAll(file!);
        string folder = ModelSource.Resolve(parse.GetRequiredValue(s_model));
        var tokenizer = Tokenizer.Load(Path.Combine(folder, "tokenizer.json"));
        Encoding encoding = tokenizer.Encode(text, addSpecialTokens: !parse.GetValue(s_noSpecial));
        if (parse.GetValue(CommonOptions.Json))
        {
            WriteJson(terminal, encoding);
        }
        else
        {
            WriteTable(terminal, tokenizer, encoding);
        }

        return ExitCode.Success;
    }

    private static void WriteJson(Terminal terminal, Encoding encoding) => JsonOutput.Write(terminal.Out, json =>
    {
        json.WriteNumbers("ids", encoding.Ids);
        json.WriteStartArray("tokens");
        foreach (string token in encoding.Tokens)
        {
            json.WriteStringValue(token);
        }

        json.WriteEndArray();
        json.WriteStartArray("offsets");
        foreach ((int start, int end) in encoding.Offsets)
        {
            json.WriteStartArray();
            json.WriteNumberValue(start);
            json.WriteNumberValue(end);
            json.WriteEndArray();
        }

        json.WriteEndArray();
    });

    private static void WriteTable(Terminal terminal, Tokenizer tokenizer, Encoding encoding)
    {
        var table = new Table { Border = TableBorder.Simple };
        foreach (string name in (ReadOnlySpan<string>)["place", "id", "token", "text", "offsets"])
        {
            table.AddColumn(new TableColumn(name) { Alignment = name is "place" or "id" ? Justify.Right : Justify.Left });
        }

        for (int i = 0; i < encoding.Ids.Length; i++)
        {
            (int start, int end) = encoding.Offsets[i];
            table.AddRow(
                new Text($"{i}"),
                new Text($"{encoding.Ids[i]}"),
                new Text(encoding.Tokens[i]),
                new Text(RunOutput.Visible(tokenizer.TokenText(encoding.Ids[i]))),
                new Text($"{start}..{end}"));
        }

        terminal.Results.Write(table);
    }
}
