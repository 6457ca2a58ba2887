using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Training;

namespace InterpEngine.Cli.Sae.Train;

/// <summary>Whose losses, schedules and optimisers there are.</summary>
internal sealed partial record TrainingRecipe
{
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
}
