using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Formats;
using InterpEngine.Dictionaries.Training;
using InterpEngine.Formats;
using InterpEngine.Kernels;

namespace InterpEngine.Cli.Sae;

/// <summary><c>interp sae train</c>: a TopK dictionary straight from a running model, with SAELens's losses.</summary>
internal static class SaeTrainCommand
{
    private const string Checkpoint = "checkpoint.safetensors";
    private static readonly Argument<string> s_model = ModelSource.CreateArgument();

    private static readonly Option<string> s_out = new("--out") { Description = "The folder of the dictionary.", HelpName = "DIR", Required = true };

    private static readonly Option<string?> s_config = new("--config")
    {
        Description = "A JSON file of settings: point, features, k, steps, batch, rate, seed, context, buffer (docs/dictionaries.md).",
        HelpName = "FILE",
    };

    private static readonly Option<int?> s_features = new("--features") { Description = "Features (1024).", HelpName = "N" };

    private static readonly Option<int?> s_k = new("--k") { Description = "Active features of a row (32).", HelpName = "N" };

    private static readonly Option<int?> s_steps = new("--steps") { Description = "Steps (2000).", HelpName = "N" };

    private static readonly Option<bool> s_resume = new("--resume") { Description = "Go on from the checkpoint in DIR." };

    private static readonly Option<int> s_every = new Option<int>("--checkpoint-every")
    {
        Description = "Steps between checkpoints; 0 for none.",
        HelpName = "N",
        DefaultValueFactory = _ => 500,
    }.AtLeast(0);

    /// <summary>What a run is made of, from a file and the command line.</summary>
    private sealed record Settings(string Point, int Features, int K, int Steps, int Batch, double Rate, int Seed, int Context, int Buffer);

    public static Command Create()
    {
        var command = new ExampleCommand(
            "train",
            "Train a TopK dictionary on a model's activations.",
            "interp sae train tales --text tales.txt --point blocks.2.hook_resid_post --features 1024 --k 4 --out my-sae",
            "interp sae train path/to/gpt2 --text corpus.jsonl --config sae.json --out my-sae --resume")
        {
            s_model, PackedTexts.Text, PackedTexts.Point, s_out, s_config, s_features, s_k, s_steps, s_resume, s_every,
        };
        CommonOptions.AddDevice(command);
        command.SetAction((parse, cancellation) => Task.Run(() => Run(parse, cancellation), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult parse, CancellationToken cancellation)
    {
        var terminal = Terminal.Of(parse);
        Settings settings = Read(parse);
        string folder = parse.GetRequiredValue(s_out), checkpoint = Path.Combine(folder, Checkpoint), text = parse.GetRequiredValue(PackedTexts.Text);
        using Device device = CommonOptions.OpenDevice(parse, terminal);
        string name = parse.GetRequiredValue(s_model);
        using Model model = ModelSource.Open(name, device, CommonOptions.Loading(parse, name), terminal, cancellation);
        IEnumerable<int[]> Forever()
        {
            bool any = true;
            while (any)
            {
                any = false;
                foreach (int[] sequence in PackedTexts.Read(model, text, settings.Context))
                {
                    any = true;
                    yield return sequence;
                }
            }
        }

        using var source = new ShuffledActivations(
            new ModelActivations(model, settings.Point, Forever()), device, settings.Seed, settings.Buffer);
        DictionaryConfig config = new()
        {
            InputWidth = source.Width,
            OutputWidth = source.Width,
            Features = settings.Features,
            Rule = new(ActivationKind.TopK, settings.K),
            CentersInput = true,
            ScalesByDecoderNorm = true,
            HookName = settings.Point,
            ModelName = name,
        };
        using var trainer = new DictionaryTrainer(config, Initialization.Random(config, settings.Seed), Options(settings), device);
        Directory.CreateDirectory(folder);
        if (parse.GetValue(s_resume) && File.Exists(checkpoint))
        {
            TrainingCheckpoint.Load(checkpoint, source, trainer);
            terminal.Note($"Going on from step {trainer.StepCount}.");
        }

        Train(terminal, trainer, source, settings, parse.GetValue(s_every), checkpoint, cancellation);
        cancellation.ThrowIfCancellationRequested();
        (DictionaryConfig folded, DictionaryParameters parameters) = DictionaryFolding.FoldDecoderNorms(config, trainer.Export());
        DictionaryFile.Write(folder, folded, parameters);
        terminal.Note($"{settings.Features} features after {trainer.StepCount} steps: {folder}");
        return ExitCode.Success;
    }

    private static void Train(
        Terminal terminal, DictionaryTrainer trainer, IActivationSource source, Settings settings, int every, string checkpoint, CancellationToken cancellation)
    {
        long start = Stopwatch.GetTimestamp();
        int first = trainer.StepCount;
        while (trainer.StepCount < settings.Steps && !cancellation.IsCancellationRequested)
        {
            using Tensor x = source.Next(settings.Batch);
            StepReport report = trainer.Step(x);
            if (every > 0 && trainer.StepCount % every == 0)
            {
                TrainingCheckpoint.Save(checkpoint, source, trainer);
            }

            if (trainer.StepCount % 100 == 0 || trainer.StepCount == settings.Steps)
            {
                double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds, done = trainer.StepCount - first;
                double left = seconds / done * (settings.Steps - trainer.StepCount);
                terminal.Note(string.Create(
                    CultureInfo.InvariantCulture,
                    $"step {trainer.StepCount,6}  loss {report.Loss,9:0.####}  explained {report.ExplainedVariance:0.0000}  L0 {report.L0:0.#}  "
                    + $"dead {report.Dead}  {done * settings.Batch / seconds:0} rows/s  {left:0} s left"));
            }
        }

        if (cancellation.IsCancellationRequested && every > 0)
        {
            TrainingCheckpoint.Save(checkpoint, source, trainer);
        }
    }

    /// <summary>SAELens's TopK trainer: its auxiliary loss, clipping, and decay over the last fifth.</summary>
    private static TrainingOptions Options(Settings settings) => new()
    {
        Auxiliary = AuxiliaryLoss.Signed,
        AuxiliaryCoefficient = 1,
        DeadCount = DeadCount.StepsBefore,
        DeadWindow = 1000,
        ClipNorm = 1,
        LearningRate = new() { Rate = settings.Rate, Steps = settings.Steps, Decay = settings.Steps / 5 },
    };

    private static Settings Read(ParseResult parse)
    {
        string? path = parse.GetValue(s_config);
        ConfigFile? file = path is null ? null : ConfigFile.Load(path);
        int Int(string key, int? given, int ifAbsent) => given ?? file?.OptionalInt(key) ?? ifAbsent;
        string? point = parse.GetValue(PackedTexts.Point) ?? file?.OptionalString("point");
        int steps = Int("steps", parse.GetValue(s_steps), 2000);
        var settings = new Settings(
            point ?? throw new UsageException("Where is the dictionary to be trained?", "Give --point NAME, such as blocks.2.hook_resid_post."),
            Int("features", parse.GetValue(s_features), 1024),
            Int("k", parse.GetValue(s_k), 32),
            steps,
            Int("batch", null, 1024),
            file?.OptionalDouble("rate") ?? 1e-3,
            file?.OptionalInt("seed", 0) ?? 0,
            Int("context", null, 128),
            Int("buffer", null, 1 << 16));
        if (settings is { Features: < 1 } or { Steps: < 1 } or { K: < 1 } || settings.K > settings.Features)
        {
            throw new UsageException($"{settings.K} of {settings.Features} features in {settings.Steps} steps cannot be trained.", "Give positive numbers, k at most the features.");
        }

        return file?.UnreadKeys().FirstOrDefault() is { } unknown
            ? throw file.Unexpected(unknown, "a setting that is known: point, features, k, steps, batch, rate, seed, context, buffer")
            : settings;
    }
}
