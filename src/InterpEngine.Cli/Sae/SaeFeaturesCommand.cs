using System.CommandLine;
using System.Globalization;
using System.Net;
using System.Text;
using InterpEngine.Dictionaries;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Cli.Sae;

/// <summary>
/// <c>interp sae features</c>: what each feature stands for, as one HTML file: where it is most active, how often, and which tokens it raises.
/// </summary>
internal static class SaeFeaturesCommand
{
    private const int Before = 12, After = 4, Examples = 6, TopTokens = 8, Bins = 20;
    private static readonly Argument<string> s_dictionary = SaeCommand.CreateArgument();
    private static readonly Option<string> s_out = new("--out") { Description = "The HTML file.", HelpName = "FILE", DefaultValueFactory = _ => "features.html" };

    private static readonly Option<int> s_tokens = new Option<int>("--tokens")
    {
        Description = "Tokens to look at.",
        HelpName = "N",
        DefaultValueFactory = _ => 50_000,
    }.AtLeast(2);

    /// <summary>Where a feature was active, and how much.</summary>
    private readonly record struct Example(float Value, int[] Tokens, int At);

    public static Command Create()
    {
        var command = new ExampleCommand(
            "features", "Write a browser of a dictionary's features.", "interp sae features my-sae --model tales --text tales.txt --out features.html")
        {
            s_dictionary, SaeTexts.ModelName, PackedTexts.Text, PackedTexts.Point, PackedTexts.Context, s_tokens, s_out,
        };
        CommonOptions.AddDevice(command);
        command.SetAction((parse, cancellation) => Task.Run(() => Run(parse, cancellation), CancellationToken.None));
        return command;
    }

    private static int Run(ParseResult parse, CancellationToken cancellation)
    {
        var terminal = Terminal.Of(parse);
        using Device device = CommonOptions.OpenDevice(parse, terminal);
        string name = parse.GetRequiredValue(SaeTexts.ModelName);
        using Model model = ModelSource.Open(name, device, CommonOptions.Loading(parse, name), terminal, cancellation);
        using SparseDictionary dictionary = SparseDictionary.Load(parse.GetRequiredValue(s_dictionary), device);
        string point = PackedTexts.PointOf(parse, dictionary.Config);
        var examples = new PriorityQueue<Example, float>[dictionary.Config.Features];
        var histograms = new List<float>[examples.Length];
        for (int f = 0; f < examples.Length; f++)
        {
            (examples[f], histograms[f]) = (new(), []);
        }

        int context = parse.GetValue(PackedTexts.Context), sequences = Math.Max(1, parse.GetValue(s_tokens) / context);
        long rows = 0;
        foreach (int[][] chunk in PackedTexts.Read(model, parse.GetRequiredValue(PackedTexts.Text), context).Take(sequences).Chunk(16))
        {
            cancellation.ThrowIfCancellationRequested();
            rows += Look(model, dictionary, point, chunk, examples, histograms);
        }

        string path = parse.GetRequiredValue(s_out);
        InterpEngine.Formats.AtomicFile.WriteAllBytes(path, System.Text.Encoding.UTF8.GetBytes(Page(model, dictionary, point, examples, histograms, rows)));
        terminal.Note($"{histograms.Count(values => values.Count > 0)} of {examples.Length} features were active in {rows} tokens: {path}");
        return ExitCode.Success;
    }

    /// <summary>The most active places of every feature, a bounded number of each.</summary>
    private static int Look(
        Model model, SparseDictionary dictionary, string point, int[][] sequences, PriorityQueue<Example, float>[] examples, List<float>[] histograms)
    {
        TokenBatch tokens = TokenBatch.LeftPadded(sequences);
        using RunResult run = model.Run(tokens, new RunOptions { Capture = point, Logits = LogitsWanted.None });
        using Dictionaries.Encoding encoding = dictionary.Encode(run.Cache[HookPoint.TryParse(point, out HookPoint at) ? at : default]);
        (int[] pointers, int[] features, float[] values) = encoding.Features.ToArrays();
        for (int row = 0; row < pointers.Length - 1; row++)
        {
            int[] sequence = sequences[row / tokens.Length];
            int position = row % tokens.Length;
            for (int e = pointers[row]; e < pointers[row + 1]; e++)
            {
                PriorityQueue<Example, float> queue = examples[features[e]];
                histograms[features[e]].Add(values[e]);
                int from = Math.Max(0, position - Before), to = Math.Min(sequence.Length, position + After);
                queue.Enqueue(new(values[e], sequence[from..to], position - from), values[e]);
                if (queue.Count > Examples)
                {
                    queue.Dequeue();
                }
            }
        }

        return pointers.Length - 1;
    }

    private static string Page(
        Model model, SparseDictionary dictionary, string point, PriorityQueue<Example, float>[] examples, List<float>[] histograms, long rows)
    {
        int[][]? raised = dictionary.Config.OutputWidth == model.Description.Width ? FeatureLogits.Top(model, dictionary, TopTokens) : null;
        var html = new StringBuilder();
        html.Append(CultureInfo.InvariantCulture, $$"""
            <!doctype html><html lang="en"><meta charset="utf-8"><title>Features at {{WebUtility.HtmlEncode(point)}}</title>
            <style>
            body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;color:#222;background:#fff}
            section{border-top:1px solid #ddd;padding:.6em 0} h2{font-size:1em;margin:.2em 0} code{white-space:pre-wrap}
            .h{display:inline-flex;align-items:flex-end;height:24px;gap:1px;vertical-align:bottom} .h i{width:4px;background:#888}
            mark{border-radius:2px} input{font:inherit;width:100%;padding:.3em}
            </style><h1>{{dictionary.Config.Features}} features at {{WebUtility.HtmlEncode(point)}}</h1>
            <p>{{rows}} tokens. Darker is more active.</p><input id="q" placeholder="Search: a feature's number, or text in its examples" autofocus>
            """);
        foreach (int f in Enumerable.Range(0, examples.Length).Where(f => histograms[f].Count > 0))
        {
            AppendFeature(html, model, raised?[f], f, examples[f], histograms[f], rows);
        }

        html.Append("""
            <script>
            const sections=[...document.querySelectorAll('section')];
            document.getElementById('q').oninput=e=>{const q=e.target.value.trim().toLowerCase();
            for(const s of sections)s.hidden=q!==''&&s.dataset.f!==q&&!s.textContent.toLowerCase().includes(q)}
            </script></html>
            """);
        return html.ToString();
    }

    private static void AppendFeature(
        StringBuilder html, Model model, int[]? raised, int f, PriorityQueue<Example, float> queue, List<float> values, long rows)
    {
        float most = values.Max();
        double density = 100.0 * values.Count / rows;
        html.Append(CultureInfo.InvariantCulture, $"<section data-f=\"{f}\"><h2>{f} · active at {density:0.##} % of tokens, up to {most:0.##} ");
        int[] bins = new int[Bins];
        foreach (float value in values)
        {
            bins[Math.Clamp((int)(value / most * Bins), 0, Bins - 1)]++;
        }

        html.Append("<span class=\"h\">");
        foreach (int count in bins)
        {
            html.Append(CultureInfo.InvariantCulture, $"<i style=\"height:{100.0 * count / bins.Max():0}%\"></i>");
        }

        html.Append("</span></h2>");
        if (raised is not null)
        {
            html.Append("<p>raises ").AppendJoin(' ', raised.Select(id => $"<code>{WebUtility.HtmlEncode(model.Tokenizer.Decode([id]))}</code>")).Append("</p>");
        }

        foreach (Example example in queue.UnorderedItems.Select(item => item.Element).OrderByDescending(example => example.Value))
        {
            html.Append("<div><code>");
            for (int i = 0; i < example.Tokens.Length; i++)
            {
                string token = WebUtility.HtmlEncode(model.Tokenizer.Decode([example.Tokens[i]]));
                html.Append(i == example.At
                    ? string.Create(CultureInfo.InvariantCulture, $"<mark style=\"background:rgba(255,140,0,{example.Value / most:0.00})\" title=\"{example.Value:0.###}\">{token}</mark>")
                    : token);
            }

            html.Append("</code></div>");
        }

        html.Append("</section>");
    }
}
