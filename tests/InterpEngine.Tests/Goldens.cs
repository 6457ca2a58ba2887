namespace InterpEngine.Tests;

/// <summary>
/// Where the golden data lie: the folder named by the environment variable INTERP_GOLDENS, else tests/fixtures/goldens.
/// Cases are found, never listed, so that another set of the same layout can be judged by the same tests.
/// </summary>
internal static class Goldens
{
    /// <summary>The folder that holds all families.</summary>
    public static string Root { get; } =
        Environment.GetEnvironmentVariable("INTERP_GOLDENS") is { Length: > 0 } named ? named : Path.Combine(Repository, "tests", "fixtures", "goldens");

    /// <summary>The folder of the repository, found above the tests.</summary>
    public static string Repository => FindRepository();

    /// <summary>The names of a family's cases: every folder directly below it, in order; none if it is absent.</summary>
    public static IEnumerable<string> Cases(string family)
    {
        string folder = Folder(family);
        return Directory.Exists(folder)
            ? Directory.EnumerateDirectories(folder).Select(path => Path.GetFileName(path)!).Order(StringComparer.Ordinal)
            : [];
    }

    /// <summary>A folder or file below the root.</summary>
    public static string Folder(params string[] parts) => Path.Combine([Root, .. parts]);

    private static string FindRepository()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "InterpEngine.sln")))
            {
                return folder.FullName;
            }
        }

        throw new DirectoryNotFoundException(
            $"No folder above {AppContext.BaseDirectory} holds InterpEngine.sln; set INTERP_GOLDENS.");
    }
}
