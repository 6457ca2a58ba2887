using System.Globalization;
using System.Text;
using System.Text.Json;
using InterpEngine.Formats;

namespace InterpEngine.Cli.Sae.Train;

/// <summary>How training stands after a step: means over the steps since the point before, but for the last figure.</summary>
/// <param name="Step">Steps taken.</param>
/// <param name="Loss">What is minimised.</param>
/// <param name="Explained">Explained variance.</param>
/// <param name="L0">Active features of a row.</param>
/// <param name="Dead">Features that count as dead.</param>
/// <param name="Rate">The learning rate.</param>
/// <param name="RowsPerSecond">Rows trained on in a second, since the run began or was taken up again.</param>
internal sealed record TrainingPoint(int Step, double Loss, double Explained, double L0, double Dead, double Rate, double RowsPerSecond);

/// <summary>The course of a run in a file of its folder, a line of JSON for each point, so that nothing is lost when it is taken up
/// again.</summary>
internal sealed class TrainingLog : IDisposable
{
    /// <summary>Its name in the dictionary's folder.</summary>
    public const string FileName = "train.jsonl";

    private static readonly JsonSerializerOptions s_json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };
    private readonly List<TrainingPoint> _points;
    private readonly StreamWriter _file;

    /// <param name="folder">The dictionary's folder.</param>
    /// <param name="from">The step from which the run goes on: what an earlier run has written beyond it is forgotten.</param>
    public TrainingLog(string folder, int from)
    {
        string path = Path.Combine(folder, FileName);
        _points = from > 0 && File.Exists(path) ? [.. Read(path).Where(point => point.Step <= from)] : [];
        AtomicFile.WriteAllBytes(path, Encoding.UTF8.GetBytes(string.Concat(_points.Select(Line))));
        _file = new StreamWriter(path, append: true);
    }

    /// <summary>The points so far.</summary>
    public IReadOnlyList<TrainingPoint> Points => _points;

    /// <summary>Adds a point.</summary>
    public void Add(TrainingPoint point)
    {
        _points.Add(point);
        _file.Write(Line(point));
        _file.Flush();
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    private static string Line(TrainingPoint point) => JsonSerializer.Serialize(point, s_json) + "\n";

    /// <summary>A log may end within a line: its writer was killed.</summary>
    private static IEnumerable<TrainingPoint> Read(string path)
    {
        foreach (string line in File.ReadLines(path))
        {
            TrainingPoint? point;
            try
            {
                point = JsonSerializer.Deserialize<TrainingPoint>(line, s_json);
            }
            catch (JsonException)
            {
                yield break;
            }

            if (point is not null)
            {
                yield return point;
            }
        }
    }
}

/// <summary>Means of what steps report, until they are taken.</summary>
internal sealed class TrainingMeans
{
    private double _loss, _explained, _l0, _dead;
    private int _count;

    /// <summary>Adds a step.</summary>
    public void Add(Dictionaries.Training.StepReport report)
    {
        (_loss, _explained, _l0, _dead) = (
            _loss + report.Loss, _explained + report.ExplainedVariance, _l0 + report.L0, _dead + report.Dead);
        _count++;
    }

    /// <summary>The means, which begin anew.</summary>
    public TrainingPoint Take(int step, double rate, double rowsPerSecond)
    {
        var point = new TrainingPoint(
            step, Round(_loss / _count), Round(_explained / _count), Round(_l0 / _count), Round(_dead / _count), rate,
                Math.Round(rowsPerSecond));
        (_loss, _explained, _l0, _dead, _count) = (0, 0, 0, 0, 0);
        return point;
    }

    private static double Round(double value) => double.IsFinite(value)
        ? double.Parse(value.ToString("G6", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture)
        : 0;
}
