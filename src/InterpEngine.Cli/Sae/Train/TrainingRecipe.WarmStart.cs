using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Training;

namespace InterpEngine.Cli.Sae.Train;

/// <summary>Recipes that begin with a dictionary of a file.</summary>
internal sealed partial record TrainingRecipe
{
    /// <summary>Goes on with a dictionary of a file: what it is stays as it is there, but for the rule if another architecture is given.</summary>
    private static TrainingRecipe FromFile(TrainingSettings settings, string path, int width, int target)
    {
        ActivationRule? rule = settings.Gives("architecture") ? RuleOf(settings.Text("architecture")!, settings.Number("k")) : null;
        (DictionaryConfig config, DictionaryParameters parameters) = Initialization.FromFile(path, rule);
        if (rule is null && settings.Gives("k"))
        {
            config = config with { Rule = config.Rule with { K = settings.Number("k") } };
        }

        if (config.InputWidth != width || config.OutputWidth != (target > 0 ? target : width) || config.IsTranscoder != target > 0)
        {
            throw new UsageException(
                $"The dictionary in {path} {(config.IsTranscoder ? "makes" : "is of")} rows of {config.OutputWidth} "
                + $"{(config.IsTranscoder ? $"of rows of {config.InputWidth}" : "")}; the rows here are {width}{(target > 0 ? $", to become {target}" : "")}.",
                "Name the point, and for a transcoder the target, that it was trained on.");
        }

        foreach ((string key, bool same) in new[]
        {
            ("features", settings.Int("features") == config.Features), ("normalize", false), ("levels", false),
            ("skip", settings.Bool("skip") == parameters.Skip is not null),
        })
        {
            if (settings.Gives(key) && !same)
            {
                throw new UsageException($"'{key}' is {settings.Show(key)}, but a warm start takes it from {path}.", $"Leave '{key}' out.");
            }
        }

        string architecture = config.Levels.Length > 0 ? Matryoshka : config.Rule.Kind switch
        {
            ActivationKind.JumpRelu => JumpRelu,
            ActivationKind.TopK => TopK,
            ActivationKind.BatchTopK => BatchTopK,
            ActivationKind.Gated => Gated,
            ActivationKind.MatchingPursuit => Pursuit,
            ActivationKind.Relu => Standard,
            _ => throw new UsageException(
                $"A dictionary that chooses features by {config.Rule.Kind} cannot be trained on as such.", "Give the architecture that it is to become."),
        };
        TrainingRecipe chosen = Of(settings.Text("recipe")!, config, architecture, settings);
        return (chosen with
        {
            Config = config,
            Scale = RowScale.None,
            Given = parameters,
            Options = chosen.Options with { Start = Start.AsGiven, KAnnealingSteps = 0, InitialK = 0 },
        }).With(settings);
    }
}
