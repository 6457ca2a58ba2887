using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using InterpEngine.Dictionaries;
using InterpEngine.Kernels;
using Spectre.Console;

namespace InterpEngine.Cli.Sae;

/// <summary><c>interp sae info</c>: what a dictionary is.</summary>
internal static class SaeInfoCommand
{
    public static Command Create()
    {
        var command = new ExampleCommand(
            "info", "Show what a dictionary is.", "interp sae info path/to/sae", "interp sae info path/to/sae --json")
        {
            CommonOptions.Json,
        };
        DictionaryArgument.AddTo(command);
        command.SetAction((parse, _) => Task.FromResult(Run(parse)));
        return command;
    }

    private static int Run(ParseResult parse)
    {
        var terminal = Terminal.Of(parse);
        bool asJson = parse.GetValue(CommonOptions.Json);
        using Device device = Device.Reference();
        using (TranscoderSet? set = DictionaryArgument.Set(parse, device))
        {
            if (set is not null)
            {
                Show(terminal, asJson,
                [
                    ("kind", set.IsCrossLayer ? "cross-layer transcoder" : "transcoder for every layer"), ("layers", set.Layers),
                    ("features", set.Features), ("width", set.Width), ("reads", set.HookName), ("writes", set.HookNameOut),
                        ("model", set.ModelName),
                ]);
                return ExitCode.Success;
            }
        }

        (DictionaryConfig config, DictionaryParameters parameters) = DictionaryArgument.Read(parse);
        (string Name, float[] Values)[] figures =
        [
            ("encoder_norm", FeatureWeights.EncoderNorms(parameters)),
            ("decoder_norm", parameters.DecoderNorms()),
            .. parameters.Threshold is { } threshold ? (ReadOnlySpan<(string, float[])>)[("threshold", threshold)] : [],
        ];
        if (asJson)
        {
            JsonOutput.Write(terminal.Out, json => WriteJson(json, config, figures));
            return ExitCode.Success;
        }

        Grid grid = new Grid().AddColumn(new GridColumn().NoWrap().PadRight(2)).AddColumn();
        Row("kind", config.Layers > 1 ? $"crosscoder of {config.Layers} layers" : config.IsTranscoder ? "transcoder" : "autoencoder");
        Row("features", config.Features.ToString("N0", CultureInfo.InvariantCulture));
        Row("width", config.InputWidth == config.OutputWidth ? $"{config.InputWidth}" : $"{config.InputWidth} to {config.OutputWidth}");
        string k = config.Rule.K > 0 ? string.Create(CultureInfo.InvariantCulture, $", k = {config.Rule.K}") : "";
        Row("activation", $"{config.Rule.Kind}{k}");
        Row("input", $"{config.Normalization}{(config.CentersInput ? ", less the decoder's bias" : "")}");
        Row("reads", config.HookName ?? "unknown");
        Row("writes", config.HookNameOut ?? (config.IsTranscoder ? null : config.HookName) ?? "unknown");
        Row("model", config.ModelName ?? "unknown");
        foreach ((string name, float[] values) in figures)
        {
            Row(name.Replace('_', ' '), string.Create(
                CultureInfo.InvariantCulture, $"{values.Min():G4} to {values.Max():G4}, mean {values.Average():G4}"));
        }

        terminal.Results.Write(grid);
        return ExitCode.Success;

        void Row(string name, string value) => grid.AddRow(new Text(name), new Text(value));
    }

    /// <summary>What a folder of several dictionaries holds.</summary>
    private static void Show(Terminal terminal, bool asJson, (string Name, object? Value)[] rows)
    {
        if (asJson)
        {
            JsonOutput.Write(terminal.Out, json =>
            {
                foreach ((string name, object? value) in rows)
                {
                    json.WritePropertyName(name);
                    JsonSerializer.Serialize(json, value);
                }
            });
            return;
        }

        Grid grid = new Grid().AddColumn(new GridColumn().NoWrap().PadRight(2)).AddColumn();
        foreach ((string name, object? value) in rows)
        {
            grid.AddRow(new Text(name), new Text(Convert.ToString(value ?? "unknown", CultureInfo.InvariantCulture)!));
        }

        terminal.Results.Write(grid);
    }

    private static void WriteJson(Utf8JsonWriter json, DictionaryConfig config, (string Name, float[] Values)[] figures)
    {
        json.WriteNumber("features", config.Features);
        json.WriteNumber("input_width", config.InputWidth);
        json.WriteNumber("output_width", config.OutputWidth);
        json.WriteNumber("layers", config.Layers);
        json.WriteString("activation", config.Rule.Kind.ToString());
        json.WriteNumber("k", config.Rule.K);
        json.WriteString("normalization", config.Normalization.ToString());
        json.WriteBoolean("centers_input", config.CentersInput);
        json.WriteBoolean("transcoder", config.IsTranscoder);
        json.WriteString("hook_name", config.HookName);
        json.WriteString("hook_name_out", config.HookNameOut);
        json.WriteString("model_name", config.ModelName);
        foreach ((string name, float[] values) in figures)
        {
            json.WriteStartObject(name);
            json.WriteNumber("min", values.Min());
            json.WriteNumber("max", values.Max());
            json.WriteNumber("mean", values.Average());
            json.WriteEndObject();
        }
    }
}
