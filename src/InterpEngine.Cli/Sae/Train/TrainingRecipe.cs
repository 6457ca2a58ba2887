using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Training;

namespace InterpEngine.Cli.Sae.Train;

/// <summary>What a run trains, how, and where it begins.</summary>
/// <param name="Config">The dictionary.</param>
/// <param name="Options">The training.</param>
internal sealed record TrainingRecipe(DictionaryConfig Config, TrainingOptions Options)
{
    private const string Standard = "standard", Gated = "gated", TopK = "topk", BatchTopK = "batchtopk", Matryoshka = "matryoshka",
        JumpRelu = "jumprelu", Pursuit = "matching_pursuit";

    /// <summary>The first length of decoder rows.</summary>
    public double DecoderNorm { get; init; } = 0.1;

    /// <summary>The data's share of the first directions.</summary>
    public double DataShare { get; init; }

    /// <summary>The first threshold of a JumpReLU.</summary>
    public double Threshold { get; init; } = 0.001;

    /// <summary>The scale that rows are brought to.</summary>
    public RowScale Scale { get; init; }

    /// <summary>The dictionary that it begins with, or null.</summary>
    public DictionaryParameters? Given { get; init; }

    /// <summary>The recipe that settings name, with what they set themselves.</summary>
    /// <param name="settings">The settings.</param>
    /// <param name="width">Of a row.</param>
    /// <param name="target">Of what a transcoder makes of it; 0 for an autoencoder.</param>
    /// <exception cref="UsageException">Settings do not belong together.</exception>
    public static TrainingRecipe Of(TrainingSettings settings, int width, int target)
    {
        string recipe = settings.Text("recipe")!, architecture = settings.Text("architecture")!;
        if (settings.Text("warm_start") is { } path)
        {
            return FromFile(settings, path, width, target);
        }

        int features = settings.Int("features");
        double k = settings.Number("k");
        bool counts = architecture is TopK or BatchTopK or Matryoshka;
        if (counts && (k > features || (architecture == TopK && k != Math.Floor(k))))
        {
            throw new UsageException(
                $"k is {settings.Show("k")} of {features} features.", architecture == TopK
                    ? "Give an integer that is at most the number of features." : "Give at most their number.");
        }

        if (target > 0 && architecture is Gated or Pursuit)
        {
            throw new UsageException(
                $"A transcoder cannot be '{architecture}': no format keeps such.", "Give another architecture, or no target.");
        }

        if (target == 0 && settings.Bool("skip"))
        {
            throw new UsageException(
                "A way around the features is for transcoders: an autoencoder would learn nothing else.", "Give a target.");
        }

        var config = new DictionaryConfig
        {
            InputWidth = width,
            OutputWidth = target > 0 ? target : width,
            IsTranscoder = target > 0,
            Features = features,
            Rule = RuleOf(architecture, k),
            Normalization = settings.Text("normalize") switch
            {
                "constant_norm" => InputNormalization.ConstantNorm,
                "layer_norm" => InputNormalization.LayerNorm,
                _ => InputNormalization.None,
            },
            Levels = architecture == Matryoshka ? [.. LevelsOf(settings, features)] : [],
        };
        return Of(recipe, config, architecture, settings).With(settings);
    }

    private static TrainingRecipe Of(string recipe, DictionaryConfig config, string architecture, TrainingSettings settings) => recipe switch
    {
        "saelens" => SaeLens(config, architecture, settings),
        "dictionary_learning" => DictionaryLearning(config, architecture, settings),
        "sparsify" => Sparsify(config, architecture, settings),
        _ => Interp(config, architecture, settings),
    };

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

    private static ActivationRule RuleOf(string architecture, double k) => architecture switch
    {
        Standard => ActivationRule.Relu,
        Gated => new(ActivationKind.Gated),
        JumpRelu => ActivationRule.JumpRelu,
        Pursuit => new(ActivationKind.MatchingPursuit) { MaxIterations = (int)Math.Ceiling(k) },
        TopK => new(ActivationKind.TopK, k),
        _ => new(ActivationKind.BatchTopK, k),
    };

    /// <summary>SAELens 6: <c>sae_lens/saes/*.py</c>.</summary>
    private static TrainingRecipe SaeLens(DictionaryConfig config, string architecture, TrainingSettings settings)
    {
        bool counts = architecture is TopK or BatchTopK or Matryoshka;
        return new(config with { CentersInput = !config.IsTranscoder, ScalesByDecoderNorm = counts }, new TrainingOptions
        {
            Sparsity = architecture switch
            {
                JumpRelu => SparsityLoss.Count,
                Standard or Gated => SparsityLoss.Norm,
                _ => SparsityLoss.None
            },
            SparsityCoefficient = 1,
            SparsityByDecoderNorm = architecture is Standard or Gated,
            TargetL0 = settings.Number("k"),
            ClampsThreshold = true,
            Auxiliary = counts ? AuxiliaryLoss.Signed : AuxiliaryLoss.None,
            AuxiliaryCoefficient = 1,
            DeadCount = DeadCount.StepsBefore,
            DeadWindow = 1000,
            ThresholdAverage = architecture is BatchTopK or Matryoshka ? ThresholdAverage.FromZero : ThresholdAverage.None,
            ClipNorm = 1,
            LearningRate = new() { Rate = 1e-3, Steps = settings.Int("steps"), Decay = settings.Int("steps") / 5 },
        })
        {
            DecoderNorm = architecture == Pursuit ? 1 : 0.1,
            Threshold = 0.01,
        };
    }

    /// <summary>dictionary_learning: <c>dictionary_learning/trainers/*.py</c>.</summary>
    private static TrainingRecipe DictionaryLearning(DictionaryConfig config, string architecture, TrainingSettings settings)
    {
        Refuse(architecture is Pursuit, "dictionary_learning", architecture, "Give 'saelens' as the recipe.");
        bool counts = architecture is TopK or BatchTopK or Matryoshka, jump = architecture == JumpRelu;
        int steps = settings.Int("steps"), levels = config.Levels.Length;
        return new(config with { CentersInput = !jump && !config.IsTranscoder }, new TrainingOptions
        {
            // It divides by the number of groups although their weights sum to 1 already.
            LevelWeights = [.. Enumerable.Repeat(1.0 / Math.Max(1, levels) / Math.Max(1, levels), levels)],
            Sparsity = jump ? SparsityLoss.MeanCountFromTarget : counts ? SparsityLoss.None : SparsityLoss.Norm,
            SparsityCoefficient = jump ? 1 : 0.1,
            SparsityWarmup = counts ? 0 : Math.Min(2000, steps / 5),
            TargetL0 = settings.Number("k"),
            GateDetachesDecoder = true,
            Bandwidth = 0.001,
            CountsAtActivation = jump,
            Auxiliary = counts ? AuxiliaryLoss.ResidualVariance : AuxiliaryLoss.None,
            AuxiliaryCoefficient = 1 / 32.0,
            DeadCount = DeadCount.RowsAfter,
            DeadWindow = 10_000_000,
            ThresholdAverage = architecture is BatchTopK or Matryoshka ? ThresholdAverage.FromFirst : ThresholdAverage.None,
            ThresholdRate = 0.001,
            ThresholdStart = Math.Min(1000, steps / 2),
            Projection = counts || jump ? Projection.Approximate : Projection.Exact,
            ClipNorm = counts || jump ? 1 : 0,
            NormalizesAfter = true,
            Beta1 = architecture is Gated or JumpRelu ? 0 : 0.9,
            LearningRate = new()
            {
                Rate = counts ? SmallRate(config) : 3e-4,
                Steps = steps,
                Warmup = Math.Min(1000, steps / 10),
                WarmsFromZero = true,
                Decay = steps / 5,
            },
            Start = counts ? Start.GeometricMedian : Start.AsGiven,
        })
        {
            DecoderNorm = architecture == Standard ? 0.1 : 1,
        };
    }

    /// <summary>sparsify: <c>sparsify/trainer.py</c>.</summary>
    private static TrainingRecipe Sparsify(DictionaryConfig config, string architecture, TrainingSettings settings)
    {
        Refuse(architecture is not TopK, "sparsify", architecture, "Give 'topk' as the architecture, or another recipe.");
        int steps = settings.Int("steps");
        bool sign = settings.Text("optimizer") != "adam";
        return new(config with { CentersInput = !config.IsTranscoder }, new TrainingOptions
        {
            Reconstruction = ReconstructionLoss.UnexplainedFraction,
            Auxiliary = settings.OptionalNumber("auxiliary") > 0 ? AuxiliaryLoss.TargetVariance : AuxiliaryLoss.None,
            DeadCount = DeadCount.RowsBefore,
            DeadWindow = 10_000_000,
            Projection = config.IsTranscoder ? Projection.None : Projection.Undivided,
            NormalizesBefore = !config.IsTranscoder,
            Optimizer = sign ? OptimizerKind.ScheduleFreeSign : OptimizerKind.Adam,
            LearningRate = sign
                ? new() { Rate = 5e-3 / Math.Sqrt(config.Features / 16384.0), Steps = steps }
                : new() { Rate = SmallRate(config), Steps = steps, Warmup = steps / 20, WarmsFromZero = true, Decay = steps - steps / 20 },
            Start = Start.Mean,
        })
        {
            DecoderNorm = 1,
        };
    }

    /// <summary>
    /// SAELens's losses with a better beginning, each part of which was measured (docs/dictionaries.md): directions near the data, a bias
    /// at their geometric median, and where features are counted a k that falls to its value during the first half of the run, so that
    /// all features learn before few are left to each row; and the rate that goes with it, which falls with the root of the features as
    /// sparsify's does.
    /// </summary>
    private static TrainingRecipe Interp(DictionaryConfig config, string architecture, TrainingSettings settings)
    {
        double k = settings.Number("k"), first = Math.Min(config.Features, Math.Max(k, Math.Min(8 * k, config.InputWidth / 2)));
        int steps = settings.Int("steps");
        TrainingRecipe saeLens = SaeLens(config, architecture, settings);
        TrainingRecipe near = saeLens with { DataShare = 0.8, Options = saeLens.Options with { Start = Start.GeometricMedian } };
        if (architecture is TopK or BatchTopK or Matryoshka)
        {
            double rate = 2e-3 * Math.Sqrt(1024.0 / config.Features);
            return near with
            {
                Options = near.Options with
                {
                    InitialK = first,
                    KAnnealingSteps = steps / 2,
                    LearningRate = near.Options.LearningRate with { Rate = rate },
                },
            };
        }

        // What sparsity counts is a share of the error: of rows of one size it is the same in every model.
        TrainingRecipe ofOneSize = architecture == Pursuit ? near : near with { Scale = RowScale.ExpectedAverage };
        return architecture != JumpRelu ? ofOneSize : ofOneSize with
        {
            Options = near.Options with { Sparsity = SparsityLoss.MeanCountFromTarget, SparsityCoefficient = config.InputWidth / 12.0 },
        };
    }

    private static double SmallRate(DictionaryConfig config) => 2e-4 / Math.Sqrt(config.Features / 16384.0);

    private static void Refuse(bool wrong, string recipe, string architecture, string hint)
    {
        if (wrong)
        {
            throw new UsageException($"The recipe '{recipe}' has no architecture '{architecture}'.", hint);
        }
    }

    private static int[] LevelsOf(TrainingSettings settings, int features)
    {
        int[] levels = settings.Ints("levels")
            ?? [.. Enumerable.Range(0, 4).Select(halvings => features >> (3 - halvings)).Where(width => width > 0).Distinct()];
        bool rises = levels.Zip(levels.Skip(1), (a, b) => a < b).All(yes => yes);
        return rises && levels[^1] == features ? levels
            : throw new UsageException($"levels are {settings.Show("levels")}; expected rising widths, the last one {features}.");
    }

    /// <summary>What the settings set themselves.</summary>
    private TrainingRecipe With(TrainingSettings s)
    {
        LearningRate rate = Options.LearningRate;
        AuxiliaryLoss revives = Options.Auxiliary != AuxiliaryLoss.None || s.OptionalNumber("auxiliary") is not > 0 ? Options.Auxiliary
            : AuxiliaryLoss.Signed;
        double firstK = s.OptionalNumber("first_k") ?? Options.InitialK;
        int annealing = s.OptionalNumber("k_annealing") is { } part ? (int)(part * s.Int("steps")) : Options.KAnnealingSteps;
        annealing = s.OptionalNumber("first_k") is not null && annealing == 0 && s.OptionalNumber("k_annealing") is null
            ? s.Int("steps") / 2 : annealing;
        if (annealing > 0 && (
            firstK < Config.Rule.K || firstK > Config.Features
                || Config.Rule.Kind is not (ActivationKind.TopK or ActivationKind.BatchTopK)))
        {
            throw new UsageException(
                $"k cannot fall from {firstK} to {Config.Rule.K} in a dictionary of {Config.Features} features with {Config.Rule.Kind}.",
                "first_k is a larger k, of architectures that have one.");
        }

        int window = s.OptionalInt("dead_after") is { } rows && Options.DeadCount == DeadCount.StepsBefore
            ? Math.Max(1, rows / s.Int("batch"))
            : s.OptionalInt("dead_after") ?? (int)Options.DeadWindow;
        return this with
        {
            Scale = s.Text("normalize") switch
            {
                null => Scale,
                "expected_average" => RowScale.ExpectedAverage,
                "root_mean_square" => RowScale.RootMeanSquare,
                "whiten" => RowScale.Whiten,
                _ => RowScale.None,
            },
            Config = Config with { CentersInput = !Config.IsTranscoder && (s.OptionalBool("centers_input") ?? Config.CentersInput) },
            DecoderNorm = s.OptionalNumber("decoder_norm") ?? DecoderNorm,
            DataShare = s.OptionalNumber("data_share") ?? DataShare,
            Threshold = s.OptionalNumber("threshold") ?? Threshold,
            Options = Options with
            {
                Sparsity = SparsityOf(s.Text("sparsity_loss")) ?? Options.Sparsity,
                SparsityCoefficient = s.OptionalNumber("sparsity") ?? Options.SparsityCoefficient,
                SparsityWarmup = s.OptionalInt("sparsity_warmup") ?? Options.SparsityWarmup,
                Power = s.OptionalNumber("sparsity_power") ?? Options.Power,
                TargetL0 = s.OptionalNumber("target_l0") ?? Options.TargetL0,
                Bandwidth = s.OptionalNumber("bandwidth") ?? Options.Bandwidth,
                Auxiliary = s.OptionalNumber("auxiliary") == 0 ? AuxiliaryLoss.None : revives,
                AuxiliaryCoefficient = s.OptionalNumber("auxiliary") ?? Options.AuxiliaryCoefficient,
                DeadWindow = window,
                InitialK = firstK,
                KAnnealingSteps = annealing,
                ClipNorm = s.OptionalNumber("clip") ?? Options.ClipNorm,
                Optimizer = s.Text("optimizer") switch
                {
                    "adam" => OptimizerKind.Adam,
                    "signum" => OptimizerKind.ScheduleFreeSign,
                    _ => Options.Optimizer,
                },
                Beta1 = s.OptionalNumber("beta1") ?? Options.Beta1,
                Beta2 = s.OptionalNumber("beta2") ?? Options.Beta2,
                BFloat16 = s.Bool("bf16"),
                Seed = s.Int("seed"),
                Resampling = ResamplingOf(s),
                Start = s.Text("start") switch
                {
                    "zero" => Start.AsGiven,
                    "mean" => Start.Mean,
                    "median" => Start.GeometricMedian,
                    _ => Options.Start,
                },
                LearningRate = rate with
                {
                    Rate = s.OptionalNumber("rate") ?? rate.Rate,
                    Warmup = s.OptionalInt("warmup") ?? rate.Warmup,
                    Decay = s.OptionalNumber("decay") is { } share ? (int)(share * s.Int("steps")) : rate.Decay,
                    Course = s.Text("course") switch
                    {
                        "constant" => LearningRateCourse.Constant,
                        "cosine" => LearningRateCourse.Cosine,
                        _ => rate.Course,
                    },
                },
            },
        };
    }

    private Resampling? ResamplingOf(TrainingSettings s)
    {
        string rule = s.Text("resample")!;
        (int every, int? after) = (s.Int("resample_every"), s.OptionalInt("resample_after"));
        long window = after is not { } rows ? every / 2 * (Options.DeadCount == DeadCount.StepsBefore ? 1L : s.Int("batch"))
            : Options.DeadCount == DeadCount.StepsBefore ? Math.Max(1, rows / s.Int("batch")) : rows;
        return rule == "none" ? null : new()
        {
            Rule = rule == "anthropic" ? ResamplingRule.Anthropic : ResamplingRule.DictionaryLearning,
            Every = every,
            Phase = every - 1,
            DeadWindow = window,
        };
    }

    private static SparsityLoss? SparsityOf(string? name) => name switch
    {
        null => null,
        "norm" => SparsityLoss.Norm,
        "power" => SparsityLoss.Power,
        "count" => SparsityLoss.Count,
        "count_from_target" => SparsityLoss.CountFromTarget,
        "mean_count_from_target" => SparsityLoss.MeanCountFromTarget,
        "tanh" => SparsityLoss.Tanh,
        _ => SparsityLoss.None,
    };
}
