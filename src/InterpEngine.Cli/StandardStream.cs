using System.Text;
using Microsoft.Win32.SafeHandles;

namespace InterpEngine.Cli;

/// <summary>
/// stdout or stderr in UTF-8. Unlike <see cref="Console.Out"/> it reports a reader that went away, so that work for nobody ends.
/// </summary>
internal sealed class StandardStream : StreamWriter
{
    private StandardStream(Stream stream, bool terminal) : base(stream, new UTF8Encoding(false), bufferSize: 4096) =>
        (IsTerminal, AutoFlush) = (terminal, terminal);

    /// <summary>Whether a person looks at it.</summary>
    public bool IsTerminal { get; }

    public static StandardStream Output() => new(Open(1, Console.OpenStandardOutput), !Console.IsOutputRedirected);

    public static StandardStream Error() =>
        new(Open(2, Console.OpenStandardError), !Console.IsErrorRedirected) { AutoFlush = true };

    private static Stream Open(int descriptor, Func<Stream> usual)
    {
        if (OperatingSystem.IsWindows())
        {
            return usual();
        }

        // The console's own stream ignores a broken pipe. A FileStream keeps a position of its own, which must not be done to a
        // file that other processes append to.
        var stream = new FileStream(new SafeFileHandle(descriptor, ownsHandle: false), FileAccess.Write, bufferSize: 0);
        return stream.CanSeek ? usual() : stream;
    }
}
