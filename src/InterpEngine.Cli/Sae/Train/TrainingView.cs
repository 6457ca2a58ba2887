using System.Diagnostics;
using System.Globalization;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace InterpEngine.Cli.Sae.Train;

/// <summary>
/// A run as people watch it: on a terminal a panel that moves, with the course of each figure; elsewhere a line now and then; and, if asked
/// for, a page that a browser loads again by itself.
/// </summary>
/// <param name="terminal">Where.</param>
/// <param name="logs">The points of each dictionary, and its name.</param>
/// <param name="steps">Steps of the whole run.</param>
/// <param name="title">What is trained.</param>
/// <param name="plot">The page, or null.</param>
internal sealed class TrainingView(Terminal terminal, IReadOnlyList<(string Name, TrainingLog Log)> logs, int steps, string title, string? plot)
{
    private const int Width = 40;
    private const string Levels = "▁▂▃▄▅▆▇█";
    private static readonly TimeSpan s_line = TimeSpan.FromSeconds(5), s_panel = TimeSpan.FromSeconds(0.2),
        s_page = TimeSpan.FromSeconds(2);
    private readonly long _begin = Stopwatch.GetTimestamp();
    private readonly int _first = logs[0].Log.Points.Count > 0 ? logs[0].Log.Points[^1].Step : 0;
    private long _shown = Stopwatch.GetTimestamp(), _written;
    private LiveDisplayContext? _panel;

    /// <summary>Trains while watched.</summary>
    /// <param name="train">Calls its argument after each step with the steps taken.</param>
    public void Watch(Action<Action<int>> train)
    {
        if (terminal.IsInteractive)
        {
            terminal.Messages.Live(Text.Empty).AutoClear(true).Start(panel =>
            {
                _panel = panel;
                train(Show);
            });
        }
        else
        {
            train(Show);
        }

        if (plot is not null)
        {
            TrainingPlot.Write(plot, title, steps, logs, running: false);
        }
    }

    /// <summary>The figures of a point on one line.</summary>
    public static string Line(TrainingPoint point, int steps, double secondsLeft) => string.Create(
        CultureInfo.InvariantCulture,
        $"step {point.Step} of {steps}  {Figures(point)}  {point.RowsPerSecond:N0} rows/s  {Time(secondsLeft)} left");

    private static string Figures(TrainingPoint point) => string.Create(
        CultureInfo.InvariantCulture,
        $"loss {point.Loss:0.####}  explained {point.Explained:0.0000}  L0 {point.L0:0.#}  dead {point.Dead:0}");

    private static string Time(double seconds) => seconds < 100
        ? string.Create(CultureInfo.InvariantCulture, $"{Math.Max(0, seconds):0} s")
        : TimeSpan.FromSeconds(Math.Min(seconds, 1e8))
            .ToString(seconds < 86400 ? @"h\:mm\:ss" : @"d\.hh\:mm\:ss", CultureInfo.InvariantCulture);

    private void Show(int step)
    {
        if (logs[0].Log.Points.Count == 0)
        {
            return;
        }

        if (Stopwatch.GetElapsedTime(_shown) > (_panel is null ? s_line : s_panel) || step == steps)
        {
            _shown = Stopwatch.GetTimestamp();
            double left = Stopwatch.GetElapsedTime(_begin).TotalSeconds / Math.Max(1, step - _first) * (steps - step);
            if (_panel is null)
            {
                foreach ((string name, TrainingLog log) in logs)
                {
                    terminal.Note((logs.Count > 1 ? $"{name}: " : "") + Line(log.Points[^1], steps, left));
                }
            }
            else
            {
                _panel.UpdateTarget(Panel(step, left));
            }
        }

        if (plot is not null && (_written == 0 || Stopwatch.GetElapsedTime(_written) > s_page))
        {
            TrainingPlot.Write(plot, title, steps, logs, running: true);
            _written = Stopwatch.GetTimestamp();
        }
    }

    private Grid Panel(int step, double left)
    {
        Grid grid = new Grid().AddColumn(new GridColumn().NoWrap()).AddColumn(new GridColumn().NoWrap().RightAligned())
            .AddColumn(new GridColumn().NoWrap());
        int filled = (int)((long)step * Width / Math.Max(1, steps));
        grid.AddRow(
            new Text("step"), new Text(string.Create(CultureInfo.InvariantCulture, $"{step} of {steps}")),
            new Text(new string('━', filled) + new string('─', Width - filled) + $"  {Time(left)} left"));
        if (logs.Count > 1)
        {
            foreach ((string name, TrainingLog log) in logs)
            {
                grid.AddRow(new Text(name), new Text(""), new Text(Figures(log.Points[^1])));
            }

            return grid;
        }

        IReadOnlyList<TrainingPoint> points = logs[0].Log.Points;
        TrainingPoint now = points[^1];
        Add("loss", now.Loss.ToString("G5", CultureInfo.InvariantCulture), point => Math.Log(Math.Max(point.Loss, 1e-30)));
        Add("explained variance", now.Explained.ToString("0.0000", CultureInfo.InvariantCulture), point => Math.Max(point.Explained, 0));
        Add("L0", now.L0.ToString("0.#", CultureInfo.InvariantCulture), point => point.L0);
        Add("dead features", now.Dead.ToString("0", CultureInfo.InvariantCulture), point => point.Dead);
        Add("rows/s", now.RowsPerSecond.ToString("N0", CultureInfo.InvariantCulture), point => point.RowsPerSecond);
        return grid;

        void Add(string name, string value, Func<TrainingPoint, double> of) =>
            grid.AddRow((IRenderable)new Text(name), new Text(value),
                new Text(Sparkline(points, of), new Style(new Color(37, 99, 190))));
    }

    /// <summary>The course of a figure from its least to its largest value.</summary>
    internal static string Sparkline(IReadOnlyList<TrainingPoint> points, Func<TrainingPoint, double> of)
    {
        int columns = Math.Min(Width, points.Count);
        double[] values = [.. Enumerable.Range(0, columns).Select(column =>
        {
            int from = (int)((long)column * points.Count / columns), to = (int)((long)(column + 1) * points.Count / columns);
            return points.Skip(from).Take(to - from).Average(of);
        })];
        (double least, double most) = (values.Min(), values.Max());
        return string.Concat(values.Select(value =>
            Levels[most > least ? (int)Math.Min(Levels.Length - 1, (value - least) / (most - least) * Levels.Length) : 0]));
    }
}
