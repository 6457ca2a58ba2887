using System.Text;
using InterpEngine.Formats;

namespace InterpEngine.Cli.Scan;

/// <summary>The report as one HTML file: template, style, script and data, with nothing left to fetch.</summary>
internal static class ScanPage
{
    /// <summary>Writes the file, whole or not at all.</summary>
    /// <exception cref="FileWriteException">It could not be written.</exception>
    public static void Write(string path, ScanReport report) =>
        AtomicFile.WriteAllBytes(path, Encoding.UTF8.GetBytes(Render(report)));

    /// <summary>The file's text.</summary>
    public static string Render(ScanReport report)
    {
        // The data come last: what a token spells must not be taken for a place to fill in.
        string page = Resource("scan.html").Replace("/* scan.css */", Resource("scan.css"), StringComparison.Ordinal)
            .Replace("/* scan.js */", Resource("scan.js"), StringComparison.Ordinal);
        return page.Replace("{{data}}", report.ToJson(), StringComparison.Ordinal);
    }

    private static string Resource(string name)
    {
        using Stream stream = typeof(ScanPage).Assembly.GetManifestResourceStream(name)!;
        using var reader = new StreamReader(stream, Encoding.UTF8);
        return reader.ReadToEnd();
    }
}
