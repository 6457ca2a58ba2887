using System.CommandLine;
using System.Globalization;
using InterpEngine.Hooks;
using InterpEngine.Models;
using Spectre.Console;

namespace InterpEngine.Cli;

/// <summary><c>interp info</c>: what a model is, what can be seen in it, and what it needs. Loads no weights.</summary>
internal static class InfoCommand
{
    private static readonly Argument<string> s_model = ModelSource.CreateArgument();

    private static readonly Option<bool> s_all = new("--all")
    {
        Description = "Show the hook points that the model lacks, too, and why.",
    };

    public static Command Create()
    {
        var command = new ExampleCommand(
            "info",
            "Show what a model is, its hook points, and the memory it needs.",
            "interp info tales",
            "interp info path/to/model --all --json")
        {
            s_model, s_all, CommonOptions.Json,
        };
        command.SetAction((parse, _) => Task.FromResult(Run(parse)));
        return command;
    }

    private static int Run(ParseResult parse)
    {
        var terminal = Terminal.Of(parse);
        string path = ModelSource.Resolve(parse.GetRequiredValue(s_model));
        ModelDescription model = Model.ReadDescription(path);
        var size = ModelSize.Read(model, path);
        bool all = parse.GetValue(s_all);
        if (parse.GetValue(CommonOptions.Json))
        {
            JsonOutput.Write(terminal.Out, json => InfoJson.Write(json, model, size, all));
            return ExitCode.Success;
        }

        WriteModel(terminal, model, size);
        WritePoints(terminal, size.Points, all);
        WriteMemory(terminal, model, size);
        return ExitCode.Success;
    }

    /// <summary>Selections whose memory is worth knowing.</summary>
    public static IEnumerable<(string Name, HookSelection Points)> CommonSelections(HookRegistry registry) =>
    [
        ("blocks.*.hook_resid_post", "blocks.*.hook_resid_post"),
        .. registry.WhyAbsent(HookKind.MlpPost) is null ? Named("blocks.*.mlp.hook_post") : [],
        .. registry.WhyAbsent(HookKind.ExpertPost) is null ? Named("blocks.*.mlp.experts.hook_post") : [],
        ("blocks.*.attn.hook_z", "blocks.*.attn.hook_z"),
        ("blocks.*.attn.hook_pattern", "blocks.*.attn.hook_pattern"),
        ("*", HookSelection.All),
    ];

    /// <summary>The length of text for which memory is shown.</summary>
    public static int ExampleLength(ModelDescription model) => Math.Min(1024, model.Context);

    private static (string Name, HookSelection Points)[] Named(string glob) => [(glob, glob)];

    private static void WriteModel(Terminal terminal, ModelDescription model, ModelSize size)
    {
        Grid grid = new Grid().AddColumn(new GridColumn().NoWrap().PadRight(2)).AddColumn();
        Row("family", model.Family);
        Row("parameters", size.Parameters.ToString("N0", CultureInfo.InvariantCulture));
        Row("layers", $"{model.Layers}");
        Row("width (d)", $"{model.Width}");
        Row("heads (h)", model.KeyValueHeads == model.Heads
            ? $"{model.Heads} of {model.HeadSize} channels (e)"
            : $"{model.Heads} of {model.HeadSize} channels (e), {model.KeyValueHeads} for keys and values (g)");
        Row("MLP (m)", $"{model.MlpWidth}, {model.Activation}{(model.GatedMlp ? ", gated" : "")}");
        if (model.Experts is { } experts)
        {
            int mixtures = Enumerable.Range(0, model.Layers).Count(model.IsMixture);
            Row("experts (r)", $"{experts.Count} of {experts.Width} neurons (n) in {mixtures} blocks, {experts.PerToken} for each token (x)"
                + (experts.SharedWidth > 0 ? $", and {experts.SharedWidth} neurons for all tokens" : ""));
        }

        Row("block", model.ParallelBlock ? "attention and MLP in parallel" : "attention, then MLP");
        Row("norm", model.Norm.ToString());
        Row("positions", InfoJson.PositionsName(model));
        Row("vocabulary", model.Vocabulary.ToString("N0", CultureInfo.InvariantCulture));
        Row("context", model.Context.ToString("N0", CultureInfo.InvariantCulture));
        terminal.Results.Write(grid);
        terminal.Out.WriteLine();

        void Row(string name, string value) => grid.AddRow(new Text(name), new Text(value));
    }

    private static void WritePoints(Terminal terminal, HookRegistry registry, bool all)
    {
        var table = new Table { Border = TableBorder.Simple };
        table.AddColumn("hook point").AddColumn("axes").AddColumn("shape").AddColumn("meaning");
        foreach (HookKindInfo info in HookKinds.All)
        {
            string name = info.InBlock ? $"blocks.{{i}}.{info.Suffix}" : info.Suffix;
            if (registry.WhyAbsent(info.Kind) is not { } reason)
            {
                table.AddRow(
                    new Text(name), new Text(info.Axes), new Text(InfoJson.ShapeText(registry, info)),
                    new Text(info.Flagged ? $"{info.Meaning} (large)" : info.Meaning));
            }
            else if (all)
            {
                table.AddRow(new Text(name), new Text("absent"), new Text(""), new Text(reason));
            }
        }

        terminal.Results.Write(table);
        terminal.Out.WriteLine(
            "b batch, p position, q query, k key, d width, h heads, g key/value heads, e channels of a head, c of a value head, m MLP width, "
            + "r experts, x experts of a token, n neurons of an expert");
        terminal.Out.WriteLine();
    }

    private static void WriteMemory(Terminal terminal, ModelDescription model, ModelSize size)
    {
        var table = new Table { Border = TableBorder.Simple };
        table.AddColumn("memory").AddColumn(new TableColumn("bytes").RightAligned());
        Row("weights in the files", size.StoredBytes is { } stored
            ? $"{Arguments.ShowSize(stored)} ({string.Join(", ", size.StoredTypes)})"
            : $"unknown ({size.WhyNotStored})");
        Row("weights when loaded", Arguments.ShowSize(size.WeightBytes));
        Row("key/value cache, for each token", Arguments.ShowSize(size.CacheBytesPerToken));
        int length = ExampleLength(model);
        foreach ((string name, HookSelection points) in CommonSelections(size.Points))
        {
            Row($"{name}, for each of {length} tokens", Arguments.ShowSize(size.BytesPerToken(points, length)));
        }

        terminal.Results.Write(table);

        void Row(string name, string value) => table.AddRow(new Text(name), new Text(value));
    }
}
