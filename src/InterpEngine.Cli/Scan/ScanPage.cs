using System.Text;
using InterpEngine.Cli.Pages;
using InterpEngine.Formats;

namespace InterpEngine.Cli.Scan;

/// <summary>The report as one HTML file.</summary>
internal static class ScanPage
{
    /// <summary>Writes the file, whole or not at all.</summary>
    /// <exception cref="FileWriteException">It could not be written.</exception>
    public static void Write(string path, ScanReport report) =>
        AtomicFile.WriteAllBytes(path, Encoding.UTF8.GetBytes(Render(report)));

    /// <summary>The file's text.</summary>
    public static string Render(ScanReport report) => HtmlPage.Render("scan", report.ToJson());
}
