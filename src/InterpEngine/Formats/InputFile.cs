using System.Security;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace InterpEngine.Formats;

/// <summary>Opens files that may be missing or forbidden: every failure is an <see cref="InvalidFileException"/>.</summary>
internal static class InputFile
{
    /// <summary>Opens a file for reading.</summary>
    /// <exception cref="InvalidFileException">There is no such file, or it may not be read.</exception>
    public static SafeFileHandle Open(string path) => Guard(path, () =>
        Directory.Exists(path)
            ? throw new InvalidFileException(path, "is a folder; expected a file")
            // Others may replace the file by renaming over it, but not write into what we have checked.
            : File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete));

    /// <summary>Reads a whole file.</summary>
    /// <exception cref="InvalidFileException">It cannot be read, or is longer than <paramref name="limit"/> bytes.</exception>
    public static byte[] ReadAll(string path, int limit)
    {
        using SafeFileHandle handle = Open(path);
        return Guard(path, () =>
        {
            long length = RandomAccess.GetLength(handle);
            if (length > limit)
            {
                throw new InvalidFileException(path, $"has {length} bytes; files of this kind may have at most {limit}");
            }

            byte[] bytes = new byte[length];
            Fill(path, handle, 0, bytes);
            return bytes;
        });
    }

    /// <summary>Reads a range whole.</summary>
    /// <exception cref="InvalidFileException">It cannot be read, or the file ends before it.</exception>
    public static void Read(string path, SafeFileHandle handle, long offset, Span<byte> bytes)
    {
        try
        {
            Fill(path, handle, offset, bytes);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(path, e);
        }
    }

    /// <summary>Runs a file operation and turns the framework's file errors into ours.</summary>
    public static T Guard<T>(string path, Func<T> operation)
    {
        try
        {
            return operation();
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new InvalidFileException(path, "no such file", "Check the path; a model must be downloaded first.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or SecurityException
            or ArgumentException or NotSupportedException)
        {
            throw Unreadable(path, e);
        }
    }

    /// <summary>A name from a file, fit for a message: in quotes, cut when long, control characters replaced.</summary>
    public static string Quote(string name)
    {
        const int longest = 100;
        var text = new StringBuilder("'");
        foreach (char c in name.AsSpan(0, Math.Min(name.Length, longest)))
        {
            text.Append(char.IsControl(c) ? '\uFFFD' : c);
        }

        return text.Append(name.Length > longest ? "…'" : "'").ToString();
    }

    private static void Fill(string path, SafeFileHandle handle, long offset, Span<byte> bytes)
    {
        for (int done = 0; done < bytes.Length;)
        {
            int read = RandomAccess.Read(handle, bytes[done..], offset + done);
            done += read > 0 ? read : throw new InvalidFileException(path, "became shorter while it was read");
        }
    }

    private static InvalidFileException Unreadable(string path, Exception e) =>
        new(path, $"cannot be read ({e.Message})", "Check the path and its permissions.", e);
}
