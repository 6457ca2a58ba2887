using System.Text;

namespace InterpEngine.Cli.Pages;

/// <summary>
/// Pages of one file with nothing left to fetch: the frame, style and script that all share, a page's own KEY.html, KEY.css and KEY.js, and
/// its data. Data must not be able to end the script element in which they stand: JSON with everything but plain ASCII escaped.
/// </summary>
/// <param name="key">What its files are called.</param>
/// <param name="name">What it is called.</param>
/// <param name="footer">What stands below.</param>
internal sealed class HtmlPage(string key, string name, string footer)
{
    private const string Data = "{{data}}";

    /// <summary>The page's text before and after its data, which are script elements; one of them is <see cref="DataElement"/>.</summary>
    public (string Before, string After) Frame()
    {
        // Each part is put in once and is not looked through again.
        string[] frame = Resource("page.html").Split(Data);
        string Fill(string text) => text.Replace("{{name}}", name, StringComparison.Ordinal)
            .Replace("{{footer}}", footer, StringComparison.Ordinal)
            .Replace("{{style}}", Resource("page.css") + Resource($"{key}.css"), StringComparison.Ordinal)
            .Replace("{{script}}", Resource("page.js") + Resource($"{key}.js"), StringComparison.Ordinal)
            .Replace("{{body}}", Resource($"{key}.html"), StringComparison.Ordinal);
        return (Fill(frame[0]), Fill(frame[1]));
    }

    /// <summary>The whole page with JSON as its data.</summary>
    public string Render(string json)
    {
        (string before, string after) = Frame();
        return before + DataElement(json) + after;
    }

    /// <summary>The element in which scripts look for a page's JSON.</summary>
    public static string DataElement(string json) => $"<script type=\"application/json\" id=\"data\">{json}</script>";

    private static string Resource(string file)
    {
        using Stream stream = typeof(HtmlPage).Assembly.GetManifestResourceStream(file)!;
        using var reader = new StreamReader(stream, Encoding.UTF8);
        return reader.ReadToEnd();
    }
}
