using System.Globalization;
using Spectre.Console;

namespace InterpEngine.Cli.Scan;

/// <summary>The report in a terminal.</summary>
internal sealed class ScanView(IAnsiConsole console, ScanReport report, int top)
{
    private const int LensCell = 8;
    private const int BarWidth = 24;
    private const int PromptTokens = 80;
    private const string Blocks = " ▏▎▍▌▋▊▉█";

    private static readonly Color s_positive = new(37, 99, 190);
    private static readonly Color s_negative = new(196, 78, 32);
    private static readonly Style s_dim = new(decoration: Decoration.Dim);
    private static readonly Style s_bold = new(decoration: Decoration.Bold);

    private bool HasColours => console.Profile.Capabilities.ColorSystem != ColorSystem.NoColors;

    public void Write()
    {
        ScanModel model = report.Model;
        Candidate answer = report.Answer;
        Line(new Text($"{model.Name}: {model.Family}, {model.Layers} layers × {model.Heads} heads, width {model.Width}", s_dim));
        Line(new Text(Prompt(), s_bold));
        console.Write(new Paragraph("→ ", s_dim)
            .Append(TokenDisplay.Quoted(answer.Text), new Style(s_positive, decoration: Decoration.Bold))
            .Append($" {Percent(answer.Probability)}{(answer.Rank > 1 ? $", rank {answer.Rank}" : "")}", s_dim));
        console.WriteLine();
        if (Story() is { } story)
        {
            console.Write(new Paragraph(story));
            console.WriteLine();
        }

        Next();
        Lens();
        Attribution();
        Neurons();
        foreach (DictionaryReading dictionary in report.Dictionaries)
        {
            new FeatureView(console, report, dictionary, top).Write();
        }
    }

    private static string Percent(float probability) => probability switch
    {
        >= 0.9995f => "100 %",
        < 0.0005f => "<0.1 %",
        _ => string.Create(CultureInfo.InvariantCulture, $"{probability * 100:0.0} %"),
    };

    internal static string Signed(double value) => string.Create(CultureInfo.InvariantCulture, $"{value:+0.00;−0.00;0.00}");

    /// <summary>A bar to an eighth of a character.</summary>
    internal static string Bar(double share)
    {
        int eighths = (int)Math.Round(Math.Clamp(share, 0, 1) * BarWidth * 8);
        string end = eighths % 8 == 0 ? "" : Blocks[eighths % 8].ToString();
        return new string('█', eighths / 8) + end;
    }

    internal static Grid Columns(params ReadOnlySpan<Justify> alignments)
    {
        var grid = new Grid();
        foreach (Justify alignment in alignments)
        {
            grid.AddColumn(new GridColumn { NoWrap = true, Alignment = alignment, Padding = new Padding(0, 0, 2, 0) });
        }

        return grid;
    }

    /// <summary>The tokens up to the explained one; of a long prompt the last.</summary>
    private string Prompt()
    {
        string text = TokenDisplay.Safe(string.Concat(report.Tokens.TakeLast(PromptTokens).Select(token => token.Text)));
        return report.Length > PromptTokens ? "…" + text : text;
    }

    /// <summary>The token from which heads read most of the answer, and which; null where that is next to nothing.</summary>
    private string? Story()
    {
        Component[] heads = [.. report.Attribution.Components.Where(part => part.Sources is not null)];
        float[] read = [.. report.Tokens.Select((_, i) => heads.Sum(head => head.Sources![i]))];
        int best = Array.IndexOf(read, read.Max());
        if (read[best] <= 0.05 * Math.Abs(report.Attribution.Sum))
        {
            return null;
        }

        ScanToken token = report.Tokens[best];
        IEnumerable<string> readers = heads.Where(head => head.Sources![best] > 0.05f * read[best])
            .OrderByDescending(head => head.Sources![best])
            .Take(4)
            .Select(head => $"{head.Name} ({Signed(head.Sources![best])})");
        return $"Heads read it most from {TokenDisplay.Quoted(token.Text)} at position {token.Position}: "
            + $"{Signed(read[best])} to its {(report.Against is null ? "logit" : "lead")}, "
            + $"foremost by {string.Join(", ", readers)}.";
    }

    private void Line(Text text)
    {
        console.Write(text);
        console.WriteLine();
    }

    private void Heading(string title, string note = "")
    {
        console.WriteLine();
        console.Write(new Paragraph(title, s_bold).Append(note.Length > 0 ? "  " + note : "", s_dim));
        console.WriteLine();
    }

    private void Next()
    {
        Heading("Next token");
        Grid grid = Columns(Justify.Left, Justify.Right, Justify.Left);
        foreach (Prediction next in report.Next)
        {
            grid.AddRow(
                new Text(TokenDisplay.Quoted(next.Text)),
                new Text(Percent(next.Probability)),
                new Text(Bar(next.Probability), new Style(s_positive)));
        }

        console.Write(grid);
    }

    private void Lens()
    {
        int label = report.Lens.Max(layer => layer.Label.Length);
        int shown = Math.Clamp((console.Profile.Width - label - 1) / (LensCell + 1), 1, report.Tokens.Count);
        int first = report.Tokens.Count - shown;
        string note = "the next token that each layer would give after each token";
        Heading("Logit lens", shown < report.Length ? $"{note}; last {shown} of {report.Length}" : note);
        var table = new Table { Border = TableBorder.None, ShowHeaders = true, Expand = false };
        table.AddColumn(new TableColumn("") { NoWrap = true, Padding = new Padding(0, 0, 1, 0), Width = label });
        foreach (ScanToken token in report.Tokens.Skip(first))
        {
            table.AddColumn(new TableColumn(new Text(TokenDisplay.Fit(token.Text, LensCell), s_dim))
            {
                NoWrap = true,
                Padding = new Padding(0, 0, 1, 0),
                Width = LensCell,
            });
        }

        foreach (LensLayer layer in report.Lens.Reverse())
        {
            table.AddRow([new Text(layer.Label, s_dim), .. layer.Top.Skip(first).Select(cell => Cell(cell[0]))]);
        }

        console.Write(table);
    }

    private Text Cell(Prediction prediction)
    {
        if (!HasColours)
        {
            string percent = string.Create(CultureInfo.InvariantCulture, $" {Math.Min(99, prediction.Probability * 100):0}");
            return new Text(TokenDisplay.Fit(prediction.Text, LensCell - percent.Length) + percent);
        }

        float p = prediction.Probability;
        byte Mix(int from, int to) => (byte)(from + (to - from) * p);
        Style style = p < 0.05f
            ? s_dim
            : new Style(p > 0.5f ? Color.White : Color.Black, new Color(Mix(222, 12), Mix(235, 84), Mix(250, 176)));
        return new Text(TokenDisplay.Fit(prediction.Text, LensCell).PadRight(LensCell), style);
    }

    private void Attribution()
    {
        Attribution attribution = report.Attribution;
        string answer = TokenDisplay.Quoted(report.Answer.Text);
        Heading(
            report.Against is { } against ? $"Why {answer} rather than {TokenDisplay.Quoted(against.Text)}" : $"Why {answer}",
            report.Against is null
                ? "what each part adds to its logit above the vocabulary's mean"
                : "what each part adds to the difference of the logits");
        Component[] strongest = [.. attribution.Components.OrderByDescending(part => MathF.Abs(part.Value)).Take(top + 2)];
        double largest = Math.Max(strongest.Max(part => MathF.Abs(part.Value)), 1e-9f);
        Grid grid = Columns(Justify.Left, Justify.Right, Justify.Left, Justify.Left);
        foreach (Component part in strongest.OrderByDescending(part => part.Value))
        {
            string source = part.Attends is { } attended
                ? string.Create(CultureInfo.InvariantCulture, $"← {TokenDisplay.Quoted(attended.Text)} ({attended.Weight:0.00})")
                : "";
            grid.AddRow(
                new Text(part.Name),
                new Text(Signed(part.Value)),
                new Text(Bar(Math.Abs(part.Value) / largest), new Style(part.Value < 0 ? s_negative : s_positive)),
                new Text(source));
        }

        double rest = attribution.Sum - strongest.Sum(part => (double)part.Value);
        int others = attribution.Components.Count - strongest.Length;
        if (others > 0)
        {
            grid.AddRow(new Text($"{others} others", s_dim), new Text(Signed(rest), s_dim));
        }

        grid.AddRow(new Text("sum", s_bold), new Text(Signed(attribution.Sum), s_bold));
        console.Write(grid);
        console.Write(new Paragraph("← the token that the head looks at most from the last position, and how much", s_dim));
        console.WriteLine();
    }

    private void Neurons()
    {
        if (report.Neurons.Count == 0)
        {
            return;
        }

        Heading("Strongest neurons", "what each adds, and its activation here");
        Grid grid = Columns(Justify.Left, Justify.Right, Justify.Right);
        foreach (ScanNeuron neuron in report.Neurons.Take(Math.Min(top, 6)))
        {
            grid.AddRow(
                new Text(string.Create(CultureInfo.InvariantCulture, $"L{neuron.Layer} neuron {neuron.Neuron}")),
                new Text(Signed(neuron.Value), new Style(neuron.Value < 0 ? s_negative : s_positive)),
                new Text(string.Create(CultureInfo.InvariantCulture, $"activation {neuron.Activation:0.00}"), s_dim));
        }

        console.Write(grid);
    }
}
