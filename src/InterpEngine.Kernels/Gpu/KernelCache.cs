using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace InterpEngine.Kernels.Gpu;

/// <summary>
/// Compiled kernels on disk, one file each, named by the hash of all that the text depends on. A file that is not exactly what was
/// written is ignored and written anew; a folder that cannot be used costs the time of compiling, nothing else.
/// </summary>
internal sealed class KernelCache(string folder)
{
    private const long LongestFile = 64 << 20;

    /// <summary>The folder that the environment variable INTERP_KERNEL_CACHE names, or one of the user's own; null where there is none.</summary>
    public static KernelCache? OfUser()
    {
        string? named = Environment.GetEnvironmentVariable("INTERP_KERNEL_CACHE");
        string home = Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData);
        string? folder = !string.IsNullOrEmpty(named) ? named : home.Length > 0 ? Path.Combine(home, "interpengine", "kernels") : null;
        return folder is null ? null : new KernelCache(folder);
    }

    /// <summary>The kernel of a key, or null.</summary>
    public KernelText? Read(string key)
    {
        try
        {
            var file = new FileInfo(PathOf(key));
            return file.Exists && file.Length <= LongestFile ? Parse(File.ReadAllText(file.FullName), key) : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Keeps a kernel: whole or not at all, whoever else writes it at the same time.</summary>
    public void Write(string key, KernelText kernel)
    {
        string path = PathOf(key), temporary = $"{path}.{Guid.NewGuid():N}.tmp";
        try
        {
            CreateFolder();
            File.WriteAllText(temporary, Header(key, kernel) + "\n" + kernel.Ptx);
            File.Move(temporary, path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Delete(temporary);
        }
    }

    private void CreateFolder()
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(folder);
        }
        else
        {
            // Nobody else may put code there that this user's programs would run.
            Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }

    private string PathOf(string key) => Path.Combine(folder, Hash(key) + ".ptx");

    private static KernelText? Parse(string text, string key)
    {
        int end = text.IndexOf('\n', StringComparison.Ordinal);
        string[] fields = end < 0 ? [] : text[..end].Split(' ');
        bool valid = fields.Length == 5
            & int.TryParse(fields.ElementAtOrDefault(2), NumberStyles.None, CultureInfo.InvariantCulture, out int shared);
        if (!valid)
        {
            return null;
        }

        var kernel = new KernelText(shared, fields[3] == "dynamic", text[(end + 1)..]);
        return text[..end] == Header(key, kernel) ? kernel : null;
    }

    private static string Header(string key, KernelText kernel)
    {
        string shared = $"{kernel.SharedBytes.ToString(CultureInfo.InvariantCulture)} {(kernel.HasDynamicMemory ? "dynamic" : "static")}";
        return $"// interp-kernel {shared} {Hash($"{key}\n{shared}\n{kernel.Ptx}")}";
    }

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));

    private static void Delete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // What is left behind is a temporary file that nobody reads.
        }
    }
}
