using System.Globalization;
using Spectre.Console;

namespace InterpEngine.Cli.Scan;

/// <summary>A dictionary's features in a terminal: at the explained token in detail, at the tokens before it the strongest.</summary>
internal sealed class FeatureView(IAnsiConsole console, ScanReport report, DictionaryReading dictionary, int top)
{
    private const int TokensShown = 24, FeaturesOfToken = 5, LogitsShown = 4, TokenWidth = 14;

    private static readonly Style s_dim = new(decoration: Decoration.Dim);
    private static readonly Style s_bold = new(decoration: Decoration.Bold);
    private static readonly Style s_strong = new(new Color(37, 99, 190));

    private readonly Dictionary<int, KnownFeature> _known = dictionary.Known.ToDictionary(feature => feature.Feature);

    public void Write()
    {
        int first = Math.Max(0, report.Tokens.Count - TokensShown);
        console.WriteLine();
        console.Write(new Paragraph($"Features of {TokenDisplay.Safe(dictionary.Name)} at {dictionary.Point}", s_bold)
            .Append(first > 0 ? $"  the strongest at each token; last {TokensShown} of {report.Length}"
                : "  the strongest at each token", s_dim));
        console.WriteLine();
        Grid grid = ScanView.Columns(Justify.Left, Justify.Right, Justify.Left);
        for (int i = first; i < report.Tokens.Count; i++)
        {
            grid.AddRow(
                new Text(TokenDisplay.Fit(report.Tokens[i].Text, TokenWidth)),
                new Text(string.Create(CultureInfo.InvariantCulture, $"{dictionary.Active[i]}"), s_dim),
                new Text(string.Join("  ", dictionary.Tokens[i].Take(FeaturesOfToken).Select(feature =>
                    string.Create(CultureInfo.InvariantCulture, $"{feature.Feature} ({feature.Value:0.0})")))));
        }

        console.Write(grid);
        Last();
    }

    private void Last()
    {
        IReadOnlyList<ActiveFeature> features = dictionary.Tokens[^1];
        if (features.Count == 0)
        {
            return;
        }

        console.WriteLine();
        string unknown = dictionary.WithoutLogits is null ? "" : $"  no logits: {dictionary.WithoutLogits}";
        console.Write(new Paragraph($"Features active at {TokenDisplay.Quoted(report.Tokens[^1].Text)}", s_bold).Append(unknown, s_dim));
        console.WriteLine();
        float most = features.Max(feature => MathF.Abs(feature.Value));
        Grid grid = ScanView.Columns(Justify.Right, Justify.Right, Justify.Left, Justify.Right, Justify.Right, Justify.Left);
        grid.AddRow(
            new Text("", s_dim), new Text("active", s_dim), new Text(""), new Text("of tokens", s_dim),
            new Text($"to {TokenDisplay.Fit(report.Answer.Text.Trim(), TokenWidth)}", s_dim), new Text("raises", s_dim));
        foreach (ActiveFeature feature in features.Take(top))
        {
            KnownFeature known = _known[feature.Feature];
            grid.AddRow(
                new Text(string.Create(CultureInfo.InvariantCulture, $"{feature.Feature}"), s_bold),
                new Text(string.Create(CultureInfo.InvariantCulture, $"{feature.Value:0.00}")),
                new Text(ScanView.Bar(MathF.Abs(feature.Value) / most / 2), s_strong),
                new Text(known.Density is { } density ? string.Create(CultureInfo.InvariantCulture, $"{100 * density:0.##} %") : "", s_dim),
                new Text(known.Adds is { } adds ? ScanView.Signed(adds) : ""),
                new Text(string.Join(
                    " ", (known.Raises ?? []).Take(LogitsShown).Select(token => TokenDisplay.Fit(token.Text.Trim(), TokenWidth))), s_dim));
        }

        console.Write(grid);
    }
}
