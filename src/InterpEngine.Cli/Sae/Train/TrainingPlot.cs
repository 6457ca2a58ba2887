using System.Text;
using System.Text.Json;
using InterpEngine.Cli.Pages;
using InterpEngine.Formats;

namespace InterpEngine.Cli.Sae.Train;

/// <summary>The course of a run as one HTML file, which while it runs has the browser load it again.</summary>
internal static class TrainingPlot
{
    private static readonly HtmlPage s_page = new(
        "plot", "train", "Made by InterpEngine. While training runs, this file is written anew every two seconds and loads itself again.");

    private static readonly JsonSerializerOptions s_json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    /// <summary>Writes the file, whole or not at all.</summary>
    /// <exception cref="FileWriteException">It could not be written.</exception>
    public static void Write(string path, string title, int steps, IReadOnlyList<(string Name, TrainingLog Log)> logs, bool running)
    {
        string page = s_page.Render(
            JsonSerializer.Serialize(new { Title = title, Steps = steps, Running = running, Runs = logs.Select(log => new { log.Name, log.Log.Points }) }, s_json));
        AtomicFile.WriteAllBytes(path, Encoding.UTF8.GetBytes(page));
    }
}
