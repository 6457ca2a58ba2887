using InterpEngine.Kernels.Gpu;

namespace InterpEngine.Kernels.Tests.Gpu;

/// <summary>Compiled kernels on disk: what was written is read, and nothing else.</summary>
public sealed class KernelCacheTests : IDisposable
{
    private static readonly KernelText s_kernel = new(1024, true, ".version 7.8\n.target sm_80\n");
    private readonly string _folder = Path.Combine(Path.GetTempPath(), "interp-cache-" + Guid.NewGuid().ToString("N"));

    private KernelCache Cache => new(_folder);

    public void Dispose()
    {
        if (Directory.Exists(_folder))
        {
            Directory.Delete(_folder, recursive: true);
        }
    }

    [Fact]
    public void What_was_written_is_read()
    {
        Assert.Null(Cache.Read("a"));
        Cache.Write("a", s_kernel);
        Cache.Write("b", s_kernel with { SharedBytes = 0, HasDynamicMemory = false });
        Assert.Equal(s_kernel, Cache.Read("a"));
        Assert.False(Cache.Read("b")!.HasDynamicMemory);
        Assert.Null(Cache.Read("c"));
        Assert.Equal(2, Directory.GetFiles(_folder).Length);
    }

    /// <summary>Each single byte changed, each length, other keys' files, garbage: ignored, and written anew.</summary>
    [Fact]
    public void Anything_else_is_ignored()
    {
        Cache.Write("a", s_kernel);
        string file = Assert.Single(Directory.GetFiles(_folder));
        byte[] good = File.ReadAllBytes(file);
        for (int i = 0; i < good.Length; i++)
        {
            byte[] bad = [.. good];
            bad[i] ^= 4;
            File.WriteAllBytes(file, bad);
            Assert.Null(Cache.Read("a"));
            File.WriteAllBytes(file, good[..i]);
            Assert.Null(Cache.Read("a"));
        }

        foreach (string text in (string[])["\n", "// interp-kernel\n", "// interp-kernel 99999999999 static x\n", "\0\0\0\0 1 2 3 4\n", new('x', 4096)])
        {
            File.WriteAllText(file, text);
            Assert.Null(Cache.Read("a"));
        }

        Cache.Write("a", s_kernel);
        Assert.Equal(s_kernel, Cache.Read("a"));
        Cache.Write("b", s_kernel);
        File.Copy(file, Directory.GetFiles(_folder).Single(other => other != file), overwrite: true);
        Assert.Null(Cache.Read("b"));
    }

    [Fact]
    public void Writers_at_the_same_time_leave_one_whole_file()
    {
        Parallel.For(0, 32, i =>
        {
            Cache.Write("a", s_kernel);
            Assert.Equal(s_kernel, Cache.Read("a"));
        });
        Assert.Single(Directory.GetFiles(_folder));
    }

    [Fact]
    public void A_folder_that_cannot_be_used_costs_nothing_else()
    {
        File.WriteAllText(_folder, "a file where the folder should be");
        Cache.Write("a", s_kernel);
        Assert.Null(Cache.Read("a"));
        File.Delete(_folder);
    }

    [Fact]
    public void The_folder_is_the_users_own()
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Skip("Windows has no modes of files");
            return;
        }

        Cache.Write("a", s_kernel);
        Assert.Equal(UnixFileMode.None, File.GetUnixFileMode(_folder) & (UnixFileMode.OtherWrite | UnixFileMode.GroupWrite));
    }
}
