using System.Globalization;
using Spectre.Console;

namespace InterpEngine.Cli.Scan;

/// <summary>The report on an encoder in a terminal.</summary>
internal sealed class EncoderView(IAnsiConsole console, EncoderReport report, int top)
{
    private static readonly Style s_dim = new(decoration: Decoration.Dim);
    private static readonly Style s_bold = new(decoration: Decoration.Bold);

    public void Write()
    {
        ScanModel model = report.Model;
        Line($"{model.Name}: {model.Family} (encoder), {model.Layers} layers × {model.Heads} heads, width {model.Width}", s_dim);
        Line(TokenDisplay.Safe(report.Prompt), s_bold);
        if (report.Masks.Count == 0)
        {
            Line("Nothing is masked: write [MASK] where the model is to fill something in.", Style.Plain);
        }

        foreach (FilledMask mask in report.Masks)
        {
            Fill(mask);
        }

        Tokens();
    }

    private static string Percent(float probability) => string.Create(CultureInfo.InvariantCulture, $"{probability * 100:0.0} %");

    private void Fill(FilledMask mask)
    {
        Heading($"Position {mask.Position}");
        Grid grid = Columns();
        foreach (Prediction candidate in mask.Fill)
        {
            grid.AddRow(new Text(TokenDisplay.Quoted(candidate.Text)), new Text(Percent(candidate.Probability)));
        }

        console.Write(grid);
        Heading("What each layer would put there");
        grid = Columns();
        foreach (LensLayer layer in report.Lens)
        {
            Prediction best = layer.Top[mask.Position][0];
            grid.AddRow(
                new Text(layer.Label, s_dim), new Text($"{TokenDisplay.Quoted(best.Text)} {Percent(best.Probability)}"));
        }

        console.Write(grid);
        Heading("Heads that look from there at one token most");
        grid = Columns();
        foreach (HeadLook look in mask.Heads.OrderByDescending(look => look.Attends.Weight).Take(top))
        {
            grid.AddRow(
                new Text(string.Create(CultureInfo.InvariantCulture, $"L{look.Layer}H{look.Head}")),
                new Text(string.Create(
                    CultureInfo.InvariantCulture,
                    $"← {TokenDisplay.Quoted(look.Attends.Text)} at {look.Attends.Position} ({look.Attends.Weight:0.00})")));
        }

        console.Write(grid);
    }

    /// <summary>How likely the model finds each token that is there.</summary>
    private void Tokens()
    {
        Heading("Each token as the model, seeing it, would read it back");
        Grid grid = Columns();
        foreach (ScanToken token in report.Tokens.Where(token => report.Masks.All(mask => mask.Position != token.Position)))
        {
            grid.AddRow(new Text(TokenDisplay.Quoted(token.Text)), new Text(Percent(report.Lens[^1].Answer[token.Position])));
        }

        console.Write(grid);
    }

    private void Heading(string title)
    {
        console.WriteLine();
        Line(title, s_bold);
    }

    private void Line(string text, Style style)
    {
        console.Write(new Text(text, style));
        console.WriteLine();
    }

    private static Grid Columns()
    {
        var grid = new Grid();
        grid.AddColumn(new GridColumn { NoWrap = true, Padding = new Padding(0, 0, 2, 0) });
        grid.AddColumn(new GridColumn { NoWrap = true });
        return grid;
    }
}
