using System.Text.Json;
using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Training;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

/// <summary>A golden training run's settings as ours, and its tensors by their names in its library.</summary>
internal sealed class GoldenTrainer
{
    private readonly GoldenCase _golden;
    private readonly string _library;
    private readonly JsonElement _trainer, _sae, _all;
    private readonly int _d, _features, _layers;
    private double? _factor;

    public GoldenTrainer(GoldenCase golden)
    {
        _golden = golden;
        _all = golden.Options;
        _library = golden.Json.GetProperty("library").GetString()!;
        _trainer = Get(_all, "trainer") ?? _all;
        _sae = Get(golden.Json, "sae_config") ?? Get(_all, "sae") ?? _all;
        (_d, _features) = (Int(_all, "d"), Int(_all, "f"));
        _layers = Get(_all, "layers")?.GetInt32() ?? 1;
        (Config, Options) = _library switch
        {
            "sae-lens" => SaeLens(),
            "dictionary-learning" => DictionaryLearning(),
            "eai-sparsify" => Sparsify(),
            "science-of-finetuning/crosscoder_learning" => Crosscoder(),
            _ => throw new InvalidDataException($"unknown library {_library}"),
        };
    }

    public DictionaryConfig Config { get; }

    public TrainingOptions Options { get; }

    /// <summary>sparsify's counters are recorded before each step, and after the last.</summary>
    public bool CountsBefore => _library == "eai-sparsify";

    private string Trainer => Get(_all, "trainer_class")?.GetString() ?? "";

    /// <summary>A batch as the library's data pipeline scales it.</summary>
    public float[] Scaled(ReadOnlySpan<float> batch)
    {
        _factor ??= _golden.Has("scaling_factor") ? EstimateFactor() : 1;
        return Array.ConvertAll(batch.ToArray(), value => (float)(value * _factor.Value));
    }

    /// <summary>√d / mean ‖x‖ of the first four batches, in double precision: some activations lie close to 0.</summary>
    private double EstimateFactor()
    {
        float[] first = _golden.Input("batches")[..(4 * _golden.Shape("batches")[1] * _d)];
        double norm = Enumerable.Range(0, first.Length / _d).Average(row => Math.Sqrt(first.AsSpan(row * _d, _d).ToArray().Sum(v => (double)v * v)));
        _golden.Compare("scaling_factor", [(float)(Math.Sqrt(_d) / norm)]);
        return Math.Sqrt(_d) / norm;
    }

    /// <summary>Every number that is stored of a step.</summary>
    public void CompareNumbers(int step, StepReport report, StepTrace trace, DictionaryTrainer trainer, double thresholdBefore)
    {
        foreach (JsonProperty number in _golden.Json.GetProperty("per_step").EnumerateObject())
        {
            // Some are listed only from a later step on.
            int at = step - (Options.LearningRate.Steps > 0 ? Options.LearningRate.Steps - number.Value.GetArrayLength() : 0);
            if (at < 0)
            {
                continue;
            }

            (double value, double tolerance) = Number(number.Name, report, trace, trainer, thresholdBefore);
            double truth = number.Value[at].GetDouble();
            Assert.True(
                Math.Abs(truth - value) <= tolerance * Math.Max(1, Math.Abs(truth)),
                $"{number.Name} of step {step} is {value}; expected {truth} within {tolerance}");
        }
    }

    private (double Value, double Tolerance) Number(
        string name, StepReport report, StepTrace trace, DictionaryTrainer trainer, double thresholdBefore)
    {
        const double rounded = 2e-5, exact = 1e-9;
        bool multi = Options.MultiTopKCoefficient > 0;
        double coefficient = Options.SparsityCoefficient * trace.SparsityScale;
        double[] squares = [.. trace.Errors.Select(error => Squares(error) / Parts(error))];
        double[] norms = [.. trace.Errors.Select(error => Rows(error).Average(Math.Sqrt))];
        bool meansNorm = _layers > 1 || Trainer is "StandardTrainer" or "StandardTrainerAprilUpdate";
        return name switch
        {
            "loss" => (report.Loss, rounded),
            "lr" => (report.LearningRate, exact),
            "grad_norm" => (report.GradientNorm, 1e-4),
            "l0" => (report.L0, exact),
            "dead_before" or "dead_features" => (report.Dead, 0),
            "threshold" or "topk_threshold" => (trainer.InferenceThreshold, 1e-5),
            "losses.threshold" => (thresholdBefore, 1e-5),
            "k" => (trace.K, 0),
            "sparsity_scale" => (trace.SparsityScale, exact),
            "coefficient.l1" or "coefficient.l0" => (coefficient, exact),
            "losses.mse_loss" => (squares.Length > 0 ? squares[^1] : report.Reconstruction, rounded),
            "losses.l2_loss" when Config.Levels.Length > 0 => (report.Reconstruction, rounded),
            "losses.l2_loss" => (meansNorm ? norms[^1] : squares[^1], rounded),
            "losses.min_l2_loss" or "losses.max_l2_loss" => (
                Extreme(squares.Select((square, level) => square * Options.LevelWeights[level] * squares.Length), name.Contains("min", StringComparison.Ordinal)), rounded),
            "losses.fvu" => (report.Reconstruction, rounded),
            "losses.auxk_loss" => (multi || Options.AuxiliaryCoefficient == 0 ? 0 : report.Auxiliary / Options.AuxiliaryCoefficient, 1e-4),
            "losses.multi_topk_fvu" => (multi ? report.Auxiliary / Options.MultiTopKCoefficient : 0, rounded),
            "losses.auxiliary_reconstruction_loss" or "losses.aux_loss" or "losses.pre_act_loss" => (report.Auxiliary, rounded),
            "losses.l1_loss" or "losses.l0_loss" or "losses.scaled_lp_loss" => (report.Sparsity, rounded),
            "losses.sparsity_loss" or "losses.lp_loss" => (trace.Sparsity, rounded),
            "losses.p" => (trainer.Annealed!.Power, exact),
            "losses.next_p" => (trainer.Annealed!.Next ?? double.NaN, exact),
            "losses.sparsity_coeff" => (trainer.Annealed!.Coefficient, rounded),
            "losses.sparsity_weight" => (trace.Norms.Average(), rounded),
            "min_selected_activation" => (trace.LeastValue, rounded),
            _ when name.StartsWith("losses.inner_mse_loss_", StringComparison.Ordinal) =>
                (squares[Config.Levels.IndexOf(int.Parse(name[22..], System.Globalization.CultureInfo.InvariantCulture))], rounded),
            _ when name.StartsWith("losses.rms_norm_l", StringComparison.Ordinal) =>
                (LayerNorm(trace.Input, int.Parse(name[17..], System.Globalization.CultureInfo.InvariantCulture)), rounded),
            _ => throw new InvalidDataException($"nothing is known of {name}"),
        };
    }

    private static double Extreme(IEnumerable<double> values, bool least) => least ? values.Min() : values.Max();

    private static double Squares(float[] error) => error.Sum(e => (double)e * e);

    private int Parts(float[] error) => error.Length / _d;

    /// <summary>The squared norm of each row, and of each layer of it.</summary>
    private IEnumerable<double> Rows(float[] error) => Enumerable.Range(0, Parts(error)).Select(row => Squares(error[(row * _d)..((row + 1) * _d)]));

    private double LayerNorm(float[] input, int layer)
    {
        int n = Parts(input) / _layers;
        return Math.Sqrt(Enumerable.Range(0, n).Sum(row => Squares(input[((row * _layers + layer) * _d)..((row * _layers + layer + 1) * _d)])) / n);
    }

    /// <summary>The parameters that a step begins with, where they are stored.</summary>
    public void CompareStart(StepTrace trace)
    {
        if (_golden.Names.Any(name => name.StartsWith("start.", StringComparison.Ordinal)))
        {
            Compare("start.", trace.Parameters, 3e-7);
        }

        _golden.Compare("step1.normalized_x", () => trace.Input, 3e-7);
    }

    public void CompareGradients(string prefix, IReadOnlyDictionary<string, float[]> gradients) => Compare(prefix, gradients, 4e-6);

    private void Compare(string prefix, IReadOnlyDictionary<string, float[]> values, double tolerance)
    {
        foreach ((string name, float[] value) in values)
        {
            Compare(prefix, name, value, tolerance);
        }
    }

    public DictionaryParameters Parameters(string prefix)
    {
        float[] Read(string name) => _golden.Input($"{prefix}.{name}");
        float[]? Optional(string name) => _golden.Has($"{prefix}.{name}") ? Read(name) : null;
        float[] decoder = Decoder(prefix);
        float[] zeros = new float[_features];
        bool normalizes = _golden.Has("activation_mean");
        return new DictionaryParameters
        {
            Encoder = _layers > 1 ? Turn(Read("encoder.weight"), _layers * _d, _features)
                : _golden.Has($"{prefix}.W_enc") ? Turn(Read("W_enc"), _d, _features) : Optional("encoder.weight") ?? decoder,
            Decoder = decoder,
            EncoderBias = Optional("b_enc") ?? Optional("encoder.bias") ?? Optional("b_mag") ?? Optional("mag_bias") ?? zeros,
            DecoderBias = Optional("b_dec") ?? Optional("bias") ?? Optional("decoder_bias") ?? Read("decoder.bias"),
            Threshold = Optional("threshold"),
            GateBias = Optional("b_gate") ?? Optional("gate_bias"),
            MagnitudeScale = Optional("r_mag"),
            Skip = Optional("W_skip"),
            ScoreScale = Config.ScalesScores ? Enumerable.Repeat(1f, _features).ToArray() : null,
            InputMean = normalizes ? _golden.Input("activation_mean") : null,
            InputScale = normalizes ? InputScale() : null,
        };
    }

    public void CompareParameters(string prefix, DictionaryTrainer trainer, double tolerance)
    {
        Compare(prefix, trainer.Trained.ToDictionary(matrix => matrix.Name, matrix => matrix.Values.ToArray()), tolerance);
        if (_golden.Names.Any(name => name.StartsWith($"{prefix}z.", StringComparison.Ordinal)))
        {
            Compare($"{prefix}z.", trainer.Trained.ToDictionary(matrix => matrix.Name, matrix => matrix.First.ToArray()), tolerance);
        }
    }

    public void CompareSaved(DictionaryTrainer trainer)
    {
        if (!_golden.Names.Any(name => name.StartsWith("saved.", StringComparison.Ordinal)))
        {
            return;
        }

        DictionaryParameters saved = trainer.Export();
        Compare("saved.", "encoder", saved.Encoder, 1.2e-5);
        Compare("saved.", "decoder", saved.Decoder, 1.2e-5);
        Compare("saved.", "encoder bias", saved.EncoderBias, 1.2e-5);
        Compare("saved.", "decoder bias", saved.DecoderBias, 1.2e-5);
        if (saved.Skip is not null)
        {
            Compare("saved.", "skip", saved.Skip, 1.2e-5);
        }
    }

    public void CompareFolded(DictionaryTrainer trainer)
    {
        if (_golden.Has("folded.W_enc"))
        {
            (_, DictionaryParameters folded) = DictionaryFolding.FoldActivationScale(Config, trainer.Export(), _golden.Input("scaling_factor")[0]);
            Compare("folded.", "encoder", folded.Encoder, 2e-5);
            Compare("folded.", "decoder", folded.Decoder, 2e-5);
            Compare("folded.", "encoder bias", folded.EncoderBias, 2e-5);
            Compare("folded.", "decoder bias", folded.DecoderBias, 2e-5);
        }
    }

    private void Compare(string prefix, string name, float[] values, double tolerance)
    {
        string[] names = name switch
        {
            "encoder" => ["W_enc", "encoder.weight"],
            "decoder" => ["W_dec", "decoder.weight"],
            "encoder bias" => ["b_enc", "encoder.bias"],
            "magnitude bias" => ["b_mag", "mag_bias"],
            "decoder bias" => ["b_dec", "bias", "decoder_bias", "decoder.bias"],
            "gate bias" => ["b_gate", "gate_bias"],
            "magnitude scale" => ["r_mag"],
            "skip" => ["W_skip"],
            _ => [name],
        };
        string stored = prefix + names.Single(candidate => _golden.Has(prefix + candidate));
        float[] shown = name switch
        {
            "encoder" when _layers > 1 => Turn(values, _features, _layers * _d),
            "encoder" when stored.EndsWith("W_enc", StringComparison.Ordinal) => Turn(values, _features, _d),
            "decoder" when _layers > 1 => Interleave(values, _features, _layers),
            "decoder" when stored.EndsWith("decoder.weight", StringComparison.Ordinal) => Turn(values, _features, _d),
            _ => values,
        };
        _golden.Compare(stored, shown, tolerance);
    }

    private float[] Decoder(string prefix) => _layers > 1 ? Interleave(_golden.Input($"{prefix}.decoder.weight"), _layers, _features)
        : _golden.Has($"{prefix}.W_dec") ? _golden.Input($"{prefix}.W_dec")
        : Turn(_golden.Input($"{prefix}.decoder.weight"), _d, _features);

    /// <summary>[a, b, d] as [b, a, d].</summary>
    private float[] Interleave(float[] values, int a, int b) =>
        [.. from j in Enumerable.Range(0, b) from i in Enumerable.Range(0, a) from k in Enumerable.Range(0, _d) select values[(i * b + j) * _d + k]];

    private float[] InputScale()
    {
        float[] deviation = _golden.Input("activation_std");
        double target = _trainer.GetProperty("target_rms").GetDouble();
        _ = _golden.Has("activation_global_scale") ? _golden.Input("activation_global_scale") : null;
        return [.. deviation.Select((_, i) =>
            (float)(target / Math.Sqrt(deviation.AsSpan(i / _d * _d, _d).ToArray().Sum(s => (double)s * s) + 1e-8)))];
    }

    private (DictionaryConfig, TrainingOptions) SaeLens()
    {
        string architecture = _sae.GetProperty("architecture").GetString()!;
        bool topK = architecture.Contains("topk", StringComparison.Ordinal), jump = architecture == "jumprelu", gated = architecture == "gated";
        string mode = Get(_sae, "jumprelu_sparsity_loss_mode")?.GetString() ?? "";
        bool rescales = Get(_sae, "rescale_acts_by_decoder_norm")?.GetBoolean() ?? false;
        double preActivation = Double(_sae, "pre_act_loss_coefficient", 0);
        return (new DictionaryConfig
        {
            InputWidth = _d,
            OutputWidth = _d,
            Features = _features,
            CentersInput = _sae.GetProperty("apply_b_dec_to_input").GetBoolean(),
            ScalesByDecoderNorm = rescales && topK,
            Levels = Get(_sae, "matryoshka_widths") is { } widths ? [.. widths.EnumerateArray().Select(w => w.GetInt32())] : [],
            Rule = architecture switch
            {
                "standard" => ActivationRule.Relu,
                "gated" => new(ActivationKind.Gated),
                "jumprelu" => ActivationRule.JumpRelu,
                "topk" => new(ActivationKind.TopK, Double(_sae, "k", 0)),
                "matching_pursuit" => new(ActivationKind.MatchingPursuit)
                {
                    MaxIterations = Int(_sae, "max_iterations"),
                    ResidualThreshold = Double(_sae, "residual_threshold", 0),
                    StopOnDuplicateSupport = _sae.GetProperty("stop_on_duplicate_support").GetBoolean(),
                },
                _ => new(ActivationKind.BatchTopK, Double(_sae, "k", 0)),
            },
        }, new TrainingOptions
        {
            Sparsity = jump ? mode switch { "quadratic" => SparsityLoss.CountFromTarget, "tanh" => SparsityLoss.Tanh, _ => SparsityLoss.Count }
                : architecture == "standard" ? SparsityLoss.Norm : SparsityLoss.None,
            SparsityCoefficient = Double(_sae, "l1_coefficient", Double(_sae, "l0_coefficient", 0)),
            SparsityWarmup = (int)Double(_sae, "l1_warm_up_steps", Double(_sae, "l0_warm_up_steps", 0)),
            SparsityByDecoderNorm = gated || architecture == "standard" || mode == "tanh",
            Power = Double(_sae, "lp_norm", 1),
            TargetL0 = Double(_sae, "target_l0", 0),
            TanhScale = Double(_sae, "jumprelu_tanh_scale", 4),
            PreActivationCoefficient = preActivation,
            Bandwidth = Double(_sae, "jumprelu_bandwidth", 0.05),
            StraightThroughToInput = Get(_sae, "jumprelu_ste_to_input")?.GetBoolean() ?? false,
            ClampsThreshold = true,
            Auxiliary = !topK ? AuxiliaryLoss.None
                : Get(_sae, "use_matryoshka_aux_loss")?.GetBoolean() == true ? AuxiliaryLoss.SignedByLevel : AuxiliaryLoss.Signed,
            AuxiliaryCoefficient = Double(_sae, "aux_loss_coefficient", 1),
            DeadCount = DeadCount.StepsBefore,
            DeadWindow = Int(_trainer, "dead_feature_window"),
            ThresholdAverage = topK && architecture != "topk" ? ThresholdAverage.FromZero : ThresholdAverage.None,
            ThresholdRate = Double(_sae, "topk_threshold_lr", 0.01),
            ClipNorm = 1,
            LearningRate = new()
            {
                Rate = Double(_trainer, "lr", 0),
                Steps = 20,
                Warmup = (int)Double(_trainer, "lr_warm_up_steps", 0),
                Decay = (int)Double(_trainer, "lr_decay_steps", 0),
                End = Double(_trainer, "lr_end", 0),
                Course = Get(_trainer, "lr_scheduler_name")?.GetString() switch
                {
                    "cosineannealing" => LearningRateCourse.Cosine,
                    "cosineannealingwarmrestarts" => LearningRateCourse.CosineRestarts,
                    _ => LearningRateCourse.Constant,
                },
                Cycles = (int)Double(_trainer, "n_restart_cycles", 1),
            },
        });
    }

    private (DictionaryConfig, TrainingOptions) DictionaryLearning()
    {
        double k = Double(_trainer, "k", 0);
        bool topK = k > 0, jump = Trainer == "JumpReluTrainer", gated = Trainer == "GatedSAETrainer", april = Trainer == "StandardTrainerAprilUpdate";
        bool anneals = Trainer == "PAnnealTrainer", projects = topK || jump;
        int[] groups = Get(_golden.Json, "trainer_config") is { } c && Get(c, "group_sizes") is { } sizes ? [.. sizes.EnumerateArray().Select(s => s.GetInt32())] : [];
        double[] weights = Get(_trainer, "group_weights") is { } w ? [.. w.EnumerateArray().Select(v => v.GetDouble() / groups.Length)] : [];
        int end = 0;
        return (new DictionaryConfig
        {
            InputWidth = _d,
            OutputWidth = _d,
            Features = _features,
            CentersInput = !jump,
            Levels = [.. groups.Select(size => end += size)],
            Rule = gated ? new(ActivationKind.Gated) : jump ? ActivationRule.JumpRelu
                : topK ? new(Trainer == "TopKTrainer" ? ActivationKind.TopK : ActivationKind.BatchTopK, k) : ActivationRule.Relu,
        }, new TrainingOptions
        {
            LevelWeights = [.. weights],
            Sparsity = anneals
                ? _trainer.GetProperty("sparsity_function").GetString() == "Lp^p" ? SparsityLoss.Power : SparsityLoss.Norm
                : jump ? SparsityLoss.MeanCountFromTarget : topK ? SparsityLoss.None : SparsityLoss.Norm,
            SparsityCoefficient = Double(_trainer, "l1_penalty", Double(_trainer, "sparsity_penalty", Double(_trainer, "initial_sparsity_penalty", 0))),
            SparsityWarmup = (int)Double(_trainer, "sparsity_warmup_steps", 0),
            SparsityByDecoderNorm = april,
            TargetL0 = Double(_trainer, "target_l0", 0),
            Annealing = anneals
                ? new(
                    Double(_trainer, "p_start", 1), Double(_trainer, "p_end", 0), Int(_trainer, "n_sparsity_updates"),
                    Int(_trainer, "anneal_start"), Int(_trainer, "anneal_end"), Int(_trainer, "sparsity_queue_length"))
                : null,
            GateDetachesDecoder = true,
            Bandwidth = Double(_trainer, "bandwidth", 0.001),
            CountsAtActivation = jump,
            Auxiliary = topK ? AuxiliaryLoss.ResidualVariance : AuxiliaryLoss.None,
            AuxiliaryCoefficient = Double(_trainer, "auxk_alpha", 0),
            DeadCount = DeadCount.RowsAfter,
            DeadWindow = (int)Double(_all, "dead_tokens", 10_000_000),
            ThresholdAverage = topK ? ThresholdAverage.FromFirst : ThresholdAverage.None,
            ThresholdRate = 1 - Double(_trainer, "threshold_beta", 0.999),
            ThresholdStart = (int)Double(_trainer, "threshold_start_step", 1000),
            Projection = projects ? Projection.Approximate : april ? Projection.None : Projection.Exact,
            ClipNorm = projects || april ? 1 : 0,
            NormalizesAfter = !april,
            Beta1 = gated || jump ? 0 : 0.9,
            LearningRate = FromZero(),
            Start = topK ? Start.GeometricMedian : Start.AsGiven,
        });
    }

    private (DictionaryConfig, TrainingOptions) Sparsify()
    {
        bool transcodes = Get(_sae, "transcode")?.GetBoolean() ?? false, sign = _all.GetProperty("optimizer").GetString() == "signum";
        double auxiliary = Double(_all, "auxk_alpha", 0), rate = Double(_all, "lr", 0);
        return (new DictionaryConfig
        {
            InputWidth = _d,
            OutputWidth = _d,
            Features = _features,
            CentersInput = !transcodes,
            IsTranscoder = transcodes,
            Rule = new(Get(_sae, "activation")?.GetString() == "groupmax" ? ActivationKind.GroupMax : ActivationKind.TopK, Int(_all, "k")),
        }, new TrainingOptions
        {
            Reconstruction = ReconstructionLoss.UnexplainedFraction,
            Auxiliary = auxiliary > 0 ? AuxiliaryLoss.TargetVariance : AuxiliaryLoss.None,
            AuxiliaryCoefficient = auxiliary,
            AuxiliarySparesEncoder = true,
            MultiTopKCoefficient = Get(_sae, "multi_topk")?.GetBoolean() == true ? 1.0 / 8 : 0,
            DeadCount = DeadCount.RowsBefore,
            DeadWindow = (int)Double(_all, "dead_tokens", 120),
            Projection = transcodes ? Projection.None : Projection.Undivided,
            NormalizesBefore = !transcodes,
            Optimizer = sign ? OptimizerKind.ScheduleFreeSign : OptimizerKind.Adam,
            LearningRate = sign ? new() { Rate = rate }
                : new() { Rate = rate, Steps = 20, Warmup = Warmup(), WarmsFromZero = true, Decay = 20 - Warmup() },
            Start = Start.Mean,
        });
    }

    private (DictionaryConfig, TrainingOptions) Crosscoder()
    {
        double k = Double(_trainer, "k", 0);
        string norm = _all.GetProperty("norm").GetString()!;
        return (new DictionaryConfig
        {
            InputWidth = _layers * _d,
            OutputWidth = _layers * _d,
            Features = _features,
            Layers = _layers,
            ScalesScores = true,
            Rule = k > 0 ? new(ActivationKind.BatchTopK, k) : ActivationRule.Relu,
        }, new TrainingOptions
        {
            Reconstruction = Get(_trainer, "use_mse_loss")?.GetBoolean() == true ? ReconstructionLoss.Squares : ReconstructionLoss.Norm,
            Sparsity = k > 0 ? SparsityLoss.None : SparsityLoss.Norm,
            SparsityCoefficient = Double(_trainer, "l1_penalty", 0),
            SparsityByDecoderNorm = true,
            WholeNorm = norm is "SAE" or "MIXED" ? 1 : 0,
            LayerNorms = norm == "CROSSCODER" ? 1 : norm == "MIXED" ? 0.1 : 0,
            Auxiliary = k > 0 ? AuxiliaryLoss.ResidualVariance : AuxiliaryLoss.None,
            AuxiliaryCoefficient = Double(_trainer, "auxk_alpha", 0),
            DeadCount = DeadCount.RowsAfter,
            DeadWindow = (int)Double(_all, "dead_tokens", 10_000_000),
            ThresholdAverage = k > 0 ? ThresholdAverage.FromFirst : ThresholdAverage.None,
            ThresholdRate = 1 - Double(_trainer, "threshold_beta", 0.999),
            ThresholdStart = (int)Double(_trainer, "threshold_start_step", 1000),
            InitialK = Double(_trainer, "k_max", 0),
            KAnnealingSteps = (int)Double(_trainer, "k_annealing_steps", 0),
            ClipNorm = k > 0 ? 1 : 0,
            LearningRate = FromZero(),
            Start = k > 0 ? Start.GeometricMedian : Start.AsGiven,
        });
    }

    private LearningRate FromZero() => new()
    {
        Rate = Double(_trainer, "lr", 0),
        Steps = 20,
        Warmup = (int)Double(_trainer, "warmup_steps", 0),
        WarmsFromZero = true,
        Decay = 20 - (int)Double(_trainer, "decay_start", 20),
    };

    /// <summary>Found in the rates: the first step that has the whole of it.</summary>
    private int Warmup()
    {
        double[] rates = [.. _golden.Json.GetProperty("per_step").GetProperty("lr").EnumerateArray().Select(rate => rate.GetDouble())];
        return Array.IndexOf(rates, rates.Max());
    }

    private static float[] Turn(float[] matrix, int rows, int columns) =>
        [.. from c in Enumerable.Range(0, columns) from r in Enumerable.Range(0, rows) select matrix[r * columns + c]];

    private static JsonElement? Get(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private static int Int(JsonElement element, string name) => element.GetProperty(name).GetInt32();

    private static double Double(JsonElement element, string name, double ifAbsent) => Get(element, name)?.GetDouble() ?? ifAbsent;
}
