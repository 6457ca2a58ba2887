using System.Globalization;
using System.Text.Json;
using InterpEngine.Cli;

namespace InterpEngine.Benchmarks;

/// <summary>
/// How good a dictionary the tool trains, beside SAELens's own: the model that comes along, the residual stream after its third block,
/// 1,024 features, k 4, 2.5 million rows of 1,024 a step. <c>dotnet run -c Release -- dictionary-quality [SEEDS] [KEY=VALUE …]</c>
/// </summary>
internal static class DictionaryQuality
{
    private const int Features = 1024, K = 4, Batch = 1024, Rows = 2_500_000, TrainingDocuments = 16_000, HeldOutTokens = 60_416;

    /// <summary>SAELens 6.54.12 (its TopK trainer, rate 1e-3, decay over the last fifth) on the same texts: three seeds.</summary>
    private static readonly Quality[] s_saeLens = [
        new(0.9834, 0.99388, 0.3115), new(0.98309, 0.99459, 0.2725), new(0.98352, 0.99412, 0.3105)];

    /// <summary>Trains and evaluates each recipe with some seeds.</summary>
    /// <param name="args">How many seeds, and settings of interp sae train for both recipes.</param>
    public static async Task Run(string[] args)
    {
        int seeds = args.Length > 0 && int.TryParse(args[0], CultureInfo.InvariantCulture, out int given) ? given : 3;
        string[] settings = [.. args.Where(arg => arg.Contains('=', StringComparison.Ordinal))];
        string folder = Directory.CreateTempSubdirectory("interp-quality-").FullName;
        try
        {
            string text = Path.Combine(folder, "text.txt");
            File.WriteAllLines(text, TalesCorpus.Documents(1000).Take(TrainingDocuments));
            Print("SAELens 6.54.12", s_saeLens);
            foreach (string recipe in (string[])["saelens", "interp"])
            {
                var results = new List<Quality>();
                for (int seed = 0; seed < seeds; seed++)
                {
                    results.Add(await Measure(folder, text, recipe, seed, settings).ConfigureAwait(false));
                }

                Print($"--set recipe={recipe} {string.Join(' ', settings)}", results);
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task<Quality> Measure(string folder, string text, string recipe, int seed, string[] settings)
    {
        string sae = Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"{recipe}-{seed}"));
        await Tool(
        [
            "sae", "train", "tales", "--text", text, "--out", sae, "--point", "blocks.2.hook_resid_post", "--features", $"{Features}",
                "--k", $"{K}",
            "--steps", $"{Rows / Batch}", "--seed", $"{seed}", "--checkpoint-every", "0",
            "--set", $"recipe={recipe}", $"batch={Batch}", "prepend_bos=false", .. settings,
        ]).ConfigureAwait(false);

        // The language's seed for evaluation is 2000: these are the tokens that SAELens was evaluated on.
        JsonElement eval = JsonDocument.Parse(
            await Tool(["sae", "eval", sae, "--with-special", "--no-bos", "--tokens", $"{HeldOutTokens}", "--json"])
            .ConfigureAwait(false)).RootElement;
        return new Quality(
            eval.GetProperty("reconstruction_quality").GetProperty("explained_variance").GetDouble(),
            eval.GetProperty("model_performance_preservation").GetProperty("ce_loss_score").GetDouble(),
            eval.GetProperty("features").GetProperty("dead").GetDouble() / Features);
    }

    private static async Task<string> Tool(string[] args)
    {
        using var output = new StringWriter();
        int code = await Application.RunAsync(args, output, Console.Error).ConfigureAwait(false);
        return code == 0 ? output.ToString() : throw new InvalidOperationException($"interp ended with {code}.");
    }

    private static void Print(string what, IReadOnlyList<Quality> results)
    {
        Console.WriteLine(what);
        foreach ((string name, Quality quality) in results.Select((quality, seed) => ($"seed {seed}", quality)).Append(("mean", new Quality(
            results.Average(r => r.ExplainedVariance), results.Average(r => r.LossRecovered), results.Average(r => r.Dead)))))
        {
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"  {name,-7} explained variance {quality.ExplainedVariance:0.00000}  loss recovered {quality.LossRecovered:0.00000}  "
                + $"dead {quality.Dead:0.000}"));
        }
    }

    /// <summary>What a dictionary is worth on held-out text.</summary>
    private sealed record Quality(double ExplainedVariance, double LossRecovered, double Dead);
}
