using System.Text;
using InterpEngine.Cli.Pages;
using InterpEngine.Formats;

namespace InterpEngine.Cli.Scan;

/// <summary>The report as one HTML file.</summary>
internal static class ScanPage
{
    private static readonly HtmlPage s_page =
        new("scan", "scan", "Made by InterpEngine from one run of the model. This file is complete: it loads nothing.");

    /// <summary>Writes the file, whole or not at all.</summary>
    /// <exception cref="FileWriteException">It could not be written.</exception>
    public static void Write(string path, ScanReport report) =>
        AtomicFile.WriteAllBytes(path, Encoding.UTF8.GetBytes(Render(report)));

    /// <summary>The file's text.</summary>
    public static string Render(ScanReport report) => s_page.Render(report.ToJson());
}
