using System.Globalization;
using System.Text;
using System.Text.Json;
using InterpEngine.Hooks;
using InterpEngine.Models;
using InterpEngine.Tests.Models;
using Xunit;

namespace InterpEngine.Tests;

/// <summary>
/// docs/hooks.md and docs/weight-processing.md say what the registries say: with the environment variable INTERP_WRITE_DOCS=1 they are
/// written, else compared. docs/adding-a-model.md shows code that is there.
/// </summary>
public sealed class DocumentTests
{
    /// <summary>Settings drawn for each family, to see what depends on them.</summary>
    private const int Draws = 30;

    private static readonly Lazy<IReadOnlyDictionary<string, ModelDescription[]>> s_families = new(DrawFamilies);

    [Fact]
    public void The_hook_points_document_is_what_the_registry_says() => Check("hooks.md", Hooks());

    [Fact]
    public void The_weight_processing_document_is_what_the_engine_allows() => Check("weight-processing.md", Processing());

    [Fact]
    public void The_code_in_the_walkthrough_is_the_code_of_the_family()
    {
        string[] parts = File.ReadAllText(Path.Combine(Goldens.Repository, "docs", "adding-a-model.md")).Split("```csharp\n");
        string family = File.ReadAllText(Path.Combine(Goldens.Repository, "src", "InterpEngine", "Models", "Families", "Olmo2.cs"));
        string registry = File.ReadAllText(Path.Combine(Goldens.Repository, "src", "InterpEngine", "Models", "ModelFamilies.cs"));
        Assert.Equal(3, parts.Length);
        Assert.Contains(parts[1].Split("```")[0].Trim(), family, StringComparison.Ordinal);
        Assert.Contains(parts[2].Split("```")[0].Trim(), registry, StringComparison.Ordinal);
    }

    private static string Hooks()
    {
        var text = new StringBuilder("""
            # Hook points

            Every value inside a model that can be captured or replaced, under TransformerLens's names, in the order of the forward pass. This
            page is made from the registry (`HookKinds`, `HookRegistry`) by `DocumentTests`, which fails when it is stale; run it with
            `INTERP_WRITE_DOCS=1` to write the page anew. `interp info MODEL` lists the points of one model, `--all` with what it lacks.

            Axes: b batch, p position, d width, h heads, g key/value heads, e head size, c value head size, m MLP width, q query position,
            k key position, r experts, x experts of a token, n neurons of an expert. Points with * are as large as nothing else; they cost
            memory only when asked for, as all points do.

            | point | axes | holds |
            |---|---|---|

            """);
        foreach (HookKindInfo info in HookKinds.All)
        {
            text.Append(CultureInfo.InvariantCulture, $"| {NameOf(info.Kind)}{(info.Flagged ? " *" : "")} | {info.Axes} | {info.Meaning} |\n");
        }

        text.Append("""

            ## What a model lacks

            A point that an architecture does not have is refused by name with the reason; it is never another value under that name. The
            families are those of `model_type`; (some) means that it depends on config.json, or on the block.

            | point | absent in | because |
            |---|---|---|

            """);
        var rows = from info in HookKinds.All
                   from reason in Reasons(description => new HookRegistry(description), (registry, layer) => registry.WhyAbsent(new HookPoint(info.Kind, layer)))
                   group info.Kind by (reason.Why, reason.Families);
        foreach (var row in rows)
        {
            text.Append(CultureInfo.InvariantCulture, $"| {string.Join(", ", row.Select(NameOf))} | {row.Key.Families} | {row.Key.Why} |\n");
        }

        return text.ToString();
    }

    private static string Processing()
    {
        var text = new StringBuilder("""
            # Weight processing

            `LoadOptions.Processing` asks for other weights of the same function, as TransformerLens makes them on loading: the same
            probabilities, easier to read. The steps are applied in this order, in double precision and a few columns at a time while the
            checkpoint streams in, so that loading still takes no more memory than the weights. `WeightProcessingSteps.Default` is what
            TransformerLens does unless told otherwise: all steps but the last, as far as the model allows them.

            | step | does |
            |---|---|
            | `fold_ln` | Gain and bias of the norms before attention, MLP and unembedding go into the matrices that read them. Those that read a layer norm are also centred over the residual stream. `hook_normalized` is then the whole output of the norm. |
            | `center_writing_weights` | Embeddings, output projections and their biases lose their mean over the residual stream. |
            | `center_unembed` | The unembedding loses its mean over the vocabulary: logits are centred. |
            | `fold_value_biases` | Value biases go through the output projection into its bias. |
            | `refactor_factored_attn_matrices` | Query and key matrices of a head become the singular vectors of their product (biases included), each times the root of the singular value; of values and output, the values hold the singular values. Folds value biases too. |

            A tied unembedding becomes a matrix of its own where a step changes it. This page is made by `DocumentTests`.

            ## What a model does not allow

            Such a step is refused with the reason. (some) means that it depends on config.json.

            | step | refused for | because |
            |---|---|---|

            """);
        foreach ((string name, WeightProcessing step) in WeightProcessingSteps.All)
        {
            foreach ((string why, string families) in Reasons(d => d, (d, _) => WeightProcessingSteps.WhyNot(d, step)))
            {
                text.Append(CultureInfo.InvariantCulture, $"| `{name}` | {families} | {why} |\n");
            }
        }

        return text.ToString();
    }

    private static string NameOf(HookKind kind) => $"`{(kind.Info().InBlock ? "blocks.{i}." : "")}{kind.Info().Suffix}`";

    /// <summary>Every reason that any drawn model gives, and which families give it.</summary>
    private static IEnumerable<(string Why, string Families)> Reasons<T>(Func<ModelDescription, T> prepare, Func<T, int, string?> whyNot)
    {
        var all = new Dictionary<string, SortedDictionary<string, bool>>();
        foreach ((string family, ModelDescription[] draws) in s_families.Value)
        {
            string?[] given = [.. draws.SelectMany(d => Enumerable.Range(0, d.Layers).Select(layer => whyNot(prepare(d), layer)))];
            foreach (string reason in given.OfType<string>().Distinct())
            {
                bool always = given.All(other => other == reason);
                (all.TryGetValue(reason, out SortedDictionary<string, bool>? families) ? families : all[reason] = new(StringComparer.Ordinal))
                    .Add(family, always);
            }
        }

        foreach ((string reason, SortedDictionary<string, bool> families) in all)
        {
            yield return (reason, Show(families));
        }
    }

    /// <summary>The families by name; where they are most, those that are not among them.</summary>
    private static string Show(SortedDictionary<string, bool> families)
    {
        string others = string.Join(", ", s_families.Value.Keys.Except(families.Keys));
        string[] always = [.. families.Where(f => f.Value).Select(f => f.Key)], some = [.. families.Keys.Except(always)];
        if (families.Count <= s_families.Value.Count / 2)
        {
            return string.Join(", ", [.. always, .. some.Select(family => $"{family} (some)")]);
        }

        string all = others.Length == 0 ? "all" : $"all but {others}";
        return some.Length > always.Length ? $"{all} (some)" : string.Join("; ", [all, .. some.Select(family => $"{family} (some)")]);
    }

    private static SortedDictionary<string, ModelDescription[]> DrawFamilies()
    {
        using var folder = new TemporaryFolder();
        var families = new SortedDictionary<string, ModelDescription[]>(StringComparer.Ordinal);
        foreach (string family in ModelFamilies.Names)
        {
            var random = new Random(1);
            families[family] =
            [
                .. Enumerable.Range(0, Draws).Select(_ =>
                {
                    File.WriteAllText(
                        Path.Combine(folder.Path, "config.json"), JsonSerializer.Serialize(RandomFamilies.Of(family, random)));
                    return Model.ReadDescription(folder.Path);
                }),
            ];
        }

        return families;
    }

    private static void Check(string name, string text)
    {
        string path = Path.Combine(Goldens.Repository, "docs", name);
        text = text.ReplaceLineEndings("\n");
        if (Environment.GetEnvironmentVariable("INTERP_WRITE_DOCS") == "1")
        {
            File.WriteAllText(path, text);
        }

        Assert.True(
            File.Exists(path) && File.ReadAllText(path).ReplaceLineEndings("\n") == text,
            $"docs/{name} is stale; run this test with INTERP_WRITE_DOCS=1 to write it.");
    }
}
