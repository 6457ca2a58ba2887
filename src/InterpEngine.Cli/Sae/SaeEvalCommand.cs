using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Formats;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Spectre.Console;

namespace InterpEngine.Cli.Sae;

/// <summary><c>interp sae eval</c>: how good a dictionary is, on texts or on stored vectors.</summary>
internal static class SaeEvalCommand
{
    private const string SaeLens = "saelens", DictionaryLearning = "dictionary_learning";
    private const int SimilarityBins = 20;

    private static readonly Option<string> s_metrics = new Option<string>("--metrics")
    {
        Description = "Whose measures: saelens (over all tokens together) or dictionary_learning (averaged over batches, special tokens "
            + "included).",
        DefaultValueFactory = _ => SaeLens,
    }.AcceptOnlyFromAmong(SaeLens, DictionaryLearning);

    private static readonly Option<string?> s_target = new("--target")
    {
        Description = "The hook point that a transcoder writes (default: the one that its files name).",
        HelpName = "NAME",
    };

    private static readonly Option<float> s_scale = new("--input-scale")
    {
        Description = "What activations are multiplied by for the dictionary, and its output divided by.",
        HelpName = "FACTOR",
        DefaultValueFactory = _ => 1,
    };

    private static readonly Option<bool> s_perFeature = new("--per-feature")
    {
        Description = "With --json: each feature's density, activations in a sequence, norm, bias and cosines.",
    };

    private static readonly Option<bool> s_save = new("--save-densities")
    {
        Description = "Keep how often each feature is active beside the dictionary (sparsity.safetensors), for `interp scan --sae`.",
    };

    private static readonly VectorInput s_input = new(required: false);

    public static Command Create()
    {
        var command = new ExampleCommand(
            "eval",
            "Evaluate a dictionary: reconstruction, sparsity, and what it costs the model.",
            "interp sae eval my-sae",
            "interp sae eval path/to/sae --model path/to/gpt2 --text corpus.jsonl --context 128 --json",
            "interp sae eval path/to/sae --input activations/ --tensor blocks.6.hook_resid_pre --metrics dictionary_learning")
        {
            s_metrics, s_target, s_scale, s_perFeature, s_save, CommonOptions.Json,
        };
        DictionaryArgument.AddTo(command);
        s_input.AddTo(command);
        SaeTexts.AddTo(command);
        CommonOptions.AddDevice(command);
        command.SetAction((parse, cancellation) => Task.Run(() => Run(parse, cancellation), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult parse, CancellationToken cancellation)
    {
        var terminal = Terminal.Of(parse);
        using Device device = CommonOptions.OpenDevice(parse, terminal);
        using SparseDictionary dictionary = DictionaryArgument.Load(parse, device);
        (JsonObject json, FeatureUse use) = Evaluate(parse, dictionary, device, terminal, cancellation);
        json["features"] = Features(use, dictionary);
        IReadOnlyList<(int Feature, float Cosine)[]> nearest = FeatureWeights.Nearest(dictionary, 1);
        json["similarity"] = Similarity(nearest);
        if (parse.GetValue(s_save))
        {
            FeatureDensities.Write(parse.GetRequiredValue(DictionaryArgument.Folder), use.Density);
        }

        if (parse.GetValue(CommonOptions.Json))
        {
            if (parse.GetValue(s_perFeature))
            {
                json["feature_metrics"] = PerFeature(use, dictionary, nearest);
            }

            terminal.Out.WriteLine(json.ToJsonString(new JsonSerializerOptions { WriteIndented = true, NewLine = "\n" }));
            return ExitCode.Success;
        }

        var table = new Table { Border = TableBorder.Simple };
        table.AddColumn("measure").AddColumn(new TableColumn("value").RightAligned());
        foreach ((string group, JsonNode? values) in json)
        {
            foreach ((string name, JsonNode? value) in values!.AsObject().Where(entry => entry.Value is JsonValue or null))
            {
                table.AddRow(new Text($"{group}.{name}"), new Text(value is null ? "none" : Show(value)));
            }
        }

        terminal.Results.Write(table);
        return ExitCode.Success;
    }

    private static (JsonObject Json, FeatureUse Use) Evaluate(
        ParseResult parse, SparseDictionary dictionary, Device device, Terminal terminal, CancellationToken cancellation)
    {
        bool averaged = parse.GetValue(s_metrics) == DictionaryLearning;
        using StoredVectors? vectors = s_input.Open(parse);
        if (vectors is not null)
        {
            return averaged ? OfVectors(dictionary, vectors, terminal, cancellation) : throw new UsageException(
                "Without a model there are no SAELens measures.",
                "Give --metrics dictionary_learning, or texts and a model instead of --input.");
        }

        using Model model = SaeTexts.Open(parse, dictionary.Config, device, terminal, cancellation);
        if (averaged)
        {
            return Averaged(parse, model, dictionary, terminal, cancellation);
        }

        var evaluator = new DictionaryEvaluator(model, dictionary, new EvaluationOptions
        {
            Point = parse.GetValue(SaeTexts.Point),
            Target = parse.GetValue(s_target),
            IgnoredTokens = SaeTexts.Ignored(parse, model),
            InputScale = parse.GetValue(s_scale),
        });
        SaeTexts.Each(parse, model, terminal, "Evaluating", tokens => evaluator.Add(tokens, cancellation));
        DictionaryEvaluation result = evaluator.Result();
        return (result.ToJson(), result.Use);
    }

    private static (JsonObject Json, FeatureUse Use) OfVectors(
        SparseDictionary dictionary, StoredVectors vectors, Terminal terminal, CancellationToken cancellation)
    {
        var evaluator = new ActivationEvaluator(dictionary);
        long all = vectors.Rows(dictionary.Config);
        terminal.Progress("Evaluating", report =>
        {
            long done = 0;
            foreach (Tensor rows in vectors.Batches(dictionary.Device, dictionary.Config, cancellation))
            {
                using (rows)
                {
                    evaluator.Add(rows);
                    done += rows.Shape[0];
                    report?.Report((double)done / all);
                }
            }

            return done;
        });
        return (new JsonObject { [DictionaryLearning] = evaluator.Result().ToJson() }, evaluator.Use);
    }

    private static (JsonObject Json, FeatureUse Use) Averaged(
        ParseResult parse, Model model, SparseDictionary dictionary, Terminal terminal, CancellationToken cancellation)
    {
        string? point = parse.GetValue(SaeTexts.Point);
        var site = new DictionarySite(model, dictionary, point);
        var evaluator = new ActivationEvaluator(dictionary);
        var losses = new List<RecoveredLoss>();
        SaeTexts.Each(parse, model, terminal, "Evaluating", tokens =>
        {
            using RunResult run = model.Run(tokens, site.Options, cancellation);
            evaluator.Add(run.Cache[site.Reads[0]]);
            losses.Add(RecoveredLoss.Measure(model, dictionary, tokens, point));
        });
        JsonObject json = evaluator.Result().ToJson();
        (json["loss_original"], json["loss_reconstructed"], json["loss_zero"]) =
            (losses.Average(loss => loss.Original), losses.Average(loss => loss.Reconstructed), losses.Average(loss => loss.Zero));
        json["frac_recovered"] = losses.Average(loss => loss.Recovered);
        return (new JsonObject { [DictionaryLearning] = json }, evaluator.Use);
    }

    private static JsonObject Features(FeatureUse use, SparseDictionary dictionary) => new()
    {
        ["count"] = dictionary.Config.Features,
        ["dead"] = use.Dead,
        ["log10_density_histogram"] = new JsonObject
        {
            ["lowest"] = -6,
            ["highest"] = 0,
            ["counts"] = Numbers(use.DensityHistogram().Select(count => (double)count)),
        },
    };

    /// <summary>How alike features write: for each the cosine with the one that writes most like it.</summary>
    private static JsonObject Similarity(IReadOnlyList<(int Feature, float Cosine)[]> nearest)
    {
        float[] cosines = [.. nearest.SelectMany(others => others.Select(other => other.Cosine))];
        var counts = new int[SimilarityBins];
        foreach (float cosine in cosines)
        {
            counts[(int)Math.Clamp((cosine + 1) / 2 * SimilarityBins, 0, SimilarityBins - 1)]++;
        }

        return new JsonObject
        {
            ["nearest_cosine_mean"] = cosines.Length == 0 ? null : cosines.Average(),
            ["nearest_cosine_above_0.9"] = cosines.Count(cosine => cosine > 0.9f),
            ["nearest_cosine_histogram"] = new JsonObject
            {
                ["lowest"] = -1,
                ["highest"] = 1,
                ["counts"] = Numbers(counts.Select(count => (double)count)),
            },
        };
    }

    private static JsonObject PerFeature(FeatureUse use, SparseDictionary dictionary, IReadOnlyList<(int Feature, float Cosine)[]> nearest)
    {
        DictionaryParameters parameters = dictionary.Parameters;
        return new JsonObject
        {
            ["feature_density"] = Numbers(use.Density),
            ["consistent_activation_heuristic"] = Numbers(use.ActivationsPerPrompt),
            ["encoder_norm"] = Numbers(FeatureWeights.EncoderNorms(parameters).Select(norm => (double)norm)),
            ["encoder_bias"] = Numbers(parameters.EncoderBias.Select(bias => (double)bias)),
            ["encoder_decoder_cosine_sim"] = dictionary.Config.InputWidth == dictionary.Config.OutputWidth
                ? Numbers(FeatureWeights.EncoderDecoderCosines(parameters).Select(cosine => (double)cosine))
                : null,
            ["nearest"] = new JsonArray([.. nearest.Select(others => JsonValue.Create(others.Length > 0 ? others[0].Feature : -1))]),
            ["nearest_cosine"] = Numbers(nearest.Select(others => others.Length > 0 ? others[0].Cosine : double.NaN)),
        };
    }

    /// <summary>JSON has no NaN and no infinity.</summary>
    private static JsonArray Numbers(IEnumerable<double> values) =>
        new([.. values.Select(value => double.IsFinite(value) ? (JsonNode)JsonValue.Create(value) : null)]);

    private static string Show(JsonNode value) => JsonSerializer.Deserialize<double>(value).ToString("G6", CultureInfo.InvariantCulture);
}
