using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;

namespace InterpEngine.Formats;

/// <summary>The few calls of libc that .NET does not offer.</summary>
internal static unsafe partial class Posix
{
    private const int InvalidArgument = 22;
    private const int ReadOnly = 0;

    /// <summary>Linux's SYNC_FILE_RANGE_WRITE.</summary>
    private const uint WriteRange = 2;

    /// <summary>Linux's MADV_WILLNEED: read these pages ahead.</summary>
    public const int WillNeed = 3;

    /// <summary>Linux's MADV_DONTNEED: forget these pages of the mapping; they are read from the file again if touched.</summary>
    public const int DontNeed = 4;

    /// <summary>Advises the kernel about page-aligned memory. It is a hint: a refusal changes nothing but speed.</summary>
    [UnsupportedOSPlatform("windows")]
    [LibraryImport("libc", EntryPoint = "madvise")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    public static partial int Advise(void* address, nuint length, int advice);

    /// <summary>Lets the kernel begin to write a file's changed pages to disk, and does not wait for it. A hint, as <see cref="Advise"/>.</summary>
    [SupportedOSPlatform("linux")]
    public static void BeginFlush(SafeFileHandle file) => _ = SyncFileRange(file, 0, 0, WriteRange);

    /// <summary>Forces a folder's list of names to disk, so that a rename in it survives a power cut.</summary>
    /// <exception cref="IOException">The disk refused.</exception>
    [UnsupportedOSPlatform("windows")]
    public static void FlushFolder(string folder)
    {
        int descriptor = Open(folder, ReadOnly);
        if (descriptor < 0)
        {
            throw Error(folder);
        }

        try
        {
            // EINVAL: this file system has nothing to sync for a folder.
            if (Flush(descriptor) != 0 && Marshal.GetLastPInvokeError() != InvalidArgument)
            {
                throw Error(folder);
            }
        }
        finally
        {
            _ = Close(descriptor);
        }
    }

    private static IOException Error(string folder) =>
        new($"the folder {folder} could not be synced to disk: {Marshal.GetLastPInvokeErrorMessage()}");

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8, SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Flush(int descriptor);

    [LibraryImport("libc", EntryPoint = "sync_file_range")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SyncFileRange(SafeFileHandle file, long offset, long length, uint flags);

    [LibraryImport("libc", EntryPoint = "close")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Close(int descriptor);
}
