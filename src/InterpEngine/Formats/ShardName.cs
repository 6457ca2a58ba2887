using System.Buffers;
using System.Diagnostics.CodeAnalysis;

namespace InterpEngine.Formats;

/// <summary>File names that come out of files: judged alike on every platform, before they meet any path function.</summary>
internal static class ShardName
{
    private const string Ending = ".safetensors";

    // Separators, drive and stream marks, and what Windows forbids or expands.
    private static readonly SearchValues<char> s_forbidden = SearchValues.Create("/\\:*?\"<>|");

    private static readonly SearchValues<string> s_devices = SearchValues.Create(
        [
            "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$",
            "COM0", "COM1", "COM2", "COM3", "COM4", "COM5", "COM6", "COM7", "COM8", "COM9",
            "LPT0", "LPT1", "LPT2", "LPT3", "LPT4", "LPT5", "LPT6", "LPT7", "LPT8", "LPT9",
        ],
        StringComparison.OrdinalIgnoreCase);

    /// <summary>Whether a name is that of a safetensors file in the same folder, and can be nothing else anywhere.</summary>
    public static bool IsPlain([NotNullWhen(true)] string? name) =>
        name is not null
        && name.Length > Ending.Length
        && name.EndsWith(Ending, StringComparison.Ordinal)
        && !name.AsSpan().ContainsAny(s_forbidden)
        && !name.Any(char.IsControl)
        && !char.IsWhiteSpace(name[0])
        && !s_devices.Contains(name[..name.IndexOf('.', StringComparison.Ordinal)].TrimEnd());

    /// <summary>
    /// The path of a shard beside its index. A link may lead to a file of the same folder, or to where the Hugging Face hub's
    /// cache keeps the files of a snapshot (<c>../../blobs</c>); nowhere else.
    /// </summary>
    /// <exception cref="InvalidFileException">The shard is a link out of the folder.</exception>
    public static string Resolve(string index, string name)
    {
        string path = Path.Combine(Path.GetDirectoryName(index) ?? "", name);
        return InputFile.Guard(path, () =>
        {
            string folder = Path.GetDirectoryName(Path.GetFullPath(index))!;
            folder = Directory.ResolveLinkTarget(folder, returnFinalTarget: true)?.FullName ?? folder;
            if (File.ResolveLinkTarget(Path.Combine(folder, name), returnFinalTarget: true) is { } target)
            {
                string home = Path.GetDirectoryName(target.FullName)!;
                if (home != folder && home != Path.GetFullPath(Path.Combine(folder, "..", "..", "blobs")))
                {
                    throw new InvalidFileException(
                        path, "is a link out of the folder of its index", "Put the file itself there if you trust it.");
                }
            }

            return path;
        });
    }
}
