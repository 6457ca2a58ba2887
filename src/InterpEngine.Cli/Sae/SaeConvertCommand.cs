using System.CommandLine;
using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Formats;

namespace InterpEngine.Cli.Sae;

/// <summary><c>interp sae convert</c>: any format to SAELens's.</summary>
internal static class SaeConvertCommand
{
    private static readonly Option<string> s_out = new("--out")
    {
        Description = "The folder to write, as SAELens 6 has it; what only sparsify has, as that does.",
        HelpName = "DIR",
        Required = true,
    };

    private static readonly Option<bool> s_fold = new("--fold-decoder-norms")
    {
        Description = "Make all decoder rows of length 1, moving their norms into the activations.",
    };

    private static readonly Option<float> s_scale = new("--fold-activation-scale")
    {
        Description = "Make a dictionary of scaled activations one of the raw ones: the factor they were scaled by in training.",
        HelpName = "FACTOR",
        DefaultValueFactory = _ => 1,
    };

    public static Command Create()
    {
        var command = new ExampleCommand(
            "convert", "Write a dictionary of any format in SAELens's.", "interp sae convert path/to/sparsify/layer.3 --out converted")
        {
            s_out, s_fold, s_scale, CommonOptions.Json,
        };
        DictionaryArgument.AddTo(command);
        command.SetAction((parse, _) => Task.FromResult(Run(parse)));
        return command;
    }

    private static int Run(ParseResult parse)
    {
        float scale = parse.GetValue(s_scale);
        if (!(scale > 0) || !float.IsFinite(scale))
        {
            throw new UsageException($"--fold-activation-scale is {scale}; expected a positive number.");
        }

        (DictionaryConfig config, DictionaryParameters parameters) = DictionaryArgument.Read(parse);
        if (scale != 1)
        {
            (config, parameters) = DictionaryFolding.FoldActivationScale(config, parameters, scale);
        }

        if (parse.GetValue(s_fold))
        {
            (config, parameters) = DictionaryFolding.FoldDecoderNorms(config, parameters);
        }

        string folder = parse.GetRequiredValue(s_out);
        DictionaryFile.Write(folder, config, parameters);
        if (parse.GetValue(CommonOptions.Json))
        {
            JsonOutput.Write(Terminal.Of(parse).Out, json =>
            {
                json.WriteString("out", folder);
                json.WriteNumber("features", config.Features);
                json.WriteString("activation", config.Rule.Kind.ToString());
            });
        }

        return ExitCode.Success;
    }
}
