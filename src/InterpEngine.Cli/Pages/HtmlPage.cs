using System.Text;

namespace InterpEngine.Cli.Pages;

/// <summary>
/// Pages of one file with nothing left to fetch: a template NAME.html into which go the style and the script that all pages share, its own
/// NAME.css and NAME.js, and the data.
/// </summary>
internal static class HtmlPage
{
    private const string Data = "{{data}}";

    /// <summary>A page's text before and after its data.</summary>
    public static (string Before, string After) Frame(string name)
    {
        string page = Resource($"{name}.html");
        foreach (string part in (ReadOnlySpan<string>)["page.css", $"{name}.css", "page.js", $"{name}.js"])
        {
            page = page.Replace($"/* {part} */", Resource(part), StringComparison.Ordinal);
        }

        int at = page.IndexOf(Data, StringComparison.Ordinal);
        return (page[..at], page[(at + Data.Length)..]);
    }

    /// <summary>The whole page. The data must not end the script element in which they stand: JSON with everything but plain ASCII escaped.</summary>
    public static string Render(string name, string data)
    {
        (string before, string after) = Frame(name);
        return before + data + after;
    }

    private static string Resource(string name)
    {
        using Stream stream = typeof(HtmlPage).Assembly.GetManifestResourceStream(name)!;
        using var reader = new StreamReader(stream, Encoding.UTF8);
        return reader.ReadToEnd();
    }
}
