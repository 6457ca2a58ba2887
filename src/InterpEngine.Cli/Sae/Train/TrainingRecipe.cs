using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Training;

namespace InterpEngine.Cli.Sae.Train;

/// <summary>What a run trains, how, and where it begins.</summary>
/// <param name="Config">The dictionary.</param>
/// <param name="Options">The training.</param>
internal sealed partial record TrainingRecipe(DictionaryConfig Config, TrainingOptions Options)
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

    private static ActivationRule RuleOf(string architecture, double k) => architecture switch
    {
        Standard => ActivationRule.Relu,
        Gated => new(ActivationKind.Gated),
        JumpRelu => ActivationRule.JumpRelu,
        Pursuit => new(ActivationKind.MatchingPursuit) { MaxIterations = (int)Math.Ceiling(k) },
        TopK => new(ActivationKind.TopK, k),
        _ => new(ActivationKind.BatchTopK, k),
    };

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
