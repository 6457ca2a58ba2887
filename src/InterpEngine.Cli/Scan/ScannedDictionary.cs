using System.Globalization;
using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Formats;
using InterpEngine.Hooks;

namespace InterpEngine.Cli.Scan;

/// <summary>
/// A dictionary that a command line names for a scan: DIR, or DIR@POINT where its files do not say what it reads. It is put together when
/// it is looked at, so that of a transcoder for every layer one is in memory at a time.
/// </summary>
internal sealed class ScannedDictionary : IDisposable
{
    private readonly Func<SparseDictionary> _load;
    private readonly IDisposable? _owned;
    private readonly string? _folder;

    private ScannedDictionary(string name, string? folder, string? point, Func<SparseDictionary> load, IDisposable? owned) =>
        (Name, _folder, Point, _load, _owned) = (name, folder, point, load, owned);

    /// <summary>Its name: the folder's, with the layer where there are several.</summary>
    public string Name { get; }

    /// <summary>The point that it reads, or several with commas; null for what its files say.</summary>
    public string? Point { get; }

    /// <summary>What the command line names: one, or one for every layer.</summary>
    /// <exception cref="InterpException">There is no such dictionary, or it does not fit the model.</exception>
    public static IReadOnlyList<ScannedDictionary> Open(string argument, Model model)
    {
        (string folder, string? point) = Split(argument);
        string name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));
        if (!File.Exists(Path.Combine(folder, "config.yaml")))
        {
            var dictionary = SparseDictionary.Load(folder, model.Device);
            return [new ScannedDictionary(name, folder, point ?? dictionary.Config.HookName, () => dictionary, dictionary)];
        }

        var set = TranscoderSet.Open(folder, model.Device);
        string? suffix = point ?? set.HookName;
        return [.. Enumerable.Range(0, set.Layers).Select(layer => new ScannedDictionary(
            string.Create(CultureInfo.InvariantCulture, $"{name} layer {layer}"),
            null,
            suffix is null ? null : string.Create(CultureInfo.InvariantCulture, $"blocks.{layer}.{suffix}"),
            () => set.Load(layer),
            layer == 0 ? set : null))];
    }

    /// <summary>The points that a run must capture.</summary>
    /// <exception cref="InterpException">It is not known, or the model has no such point.</exception>
    public IEnumerable<HookPoint> Reads(Model model) => Point is null
        ? throw new UsageException(
            $"The files of {Name} do not say which hook point it reads.", "Give --sae DIR@POINT, such as my-sae@blocks.2.hook_resid_post.")
        : Point.Split(',').Select(name => model.Points.Require(name.Trim()));

    /// <summary>Looks at it.</summary>
    /// <param name="model">The model.</param>
    /// <param name="look">Is given the dictionary at its place, and its features' densities if they are known.</param>
    public T Look<T>(Model model, Func<DictionarySite, double[]?, T> look)
    {
        SparseDictionary dictionary = _load();
        try
        {
            var site = new DictionarySite(model, dictionary, Point);
            return look(site, _folder is null ? null : FeatureDensities.Read(_folder, dictionary.Config.Features));
        }
        finally
        {
            if (dictionary != _owned)
            {
                dictionary.Dispose();
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _owned?.Dispose();

    /// <summary>A folder's name may have an @ of its own: what follows the last one must look like points.</summary>
    private static (string Folder, string? Point) Split(string argument)
    {
        int at = argument.LastIndexOf('@');
        bool named = at > 0 && !Directory.Exists(argument) && argument[(at + 1)..].Contains("hook_", StringComparison.Ordinal);
        return named ? (argument[..at], argument[(at + 1)..]) : (argument, null);
    }
}
