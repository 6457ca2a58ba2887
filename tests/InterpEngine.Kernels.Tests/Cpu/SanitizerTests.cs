using System.Diagnostics;
using System.Runtime.InteropServices;

namespace InterpEngine.Kernels.Tests.Cpu;

/// <summary>
/// Every native op on random cases, on every instruction set, with one thread and with several, under the compiler's sanitizers:
/// builds native/tests/sanitize.cc beside instrumented kernels and runs it.
/// </summary>
public sealed class SanitizerTests
{
    private const int Cases = 40;

    [Theory]
    [InlineData("address,undefined")]
    [InlineData("thread")]
    public void Native_ops_are_clean(string sanitizer)
    {
        string native = NativeFolder();
        string build = Path.Combine(native, "build", "sanitize-" + sanitizer.Replace(',', '-'));
        Assert.SkipUnless(OperatingSystem.IsLinux(), "the sanitizers are run on Linux");
        Assert.SkipUnless(Run("cmake", "--version").Code == 0, "CMake is missing");
        (int code, string text) = Run("cmake", "-S", native, "-B", build, "-DCMAKE_BUILD_TYPE=Release", $"-DIK_SANITIZE={sanitizer}");
        Assert.SkipWhen(text.Contains("lacks -fsanitize", StringComparison.Ordinal), $"the compiler lacks -fsanitize={sanitizer}");
        Assert.True(code == 0, text);
        string threads = Environment.ProcessorCount.ToString(System.Globalization.CultureInfo.InvariantCulture);
        (code, text) = Run("cmake", "--build", build, "--parallel", threads, "--target", "ik_sanitize");
        Assert.True(code == 0, text);

        // Older thread sanitizers cannot live with many random bits in addresses.
        (code, text) = Run("setarch", RuntimeInformation.OSArchitecture == Architecture.X64 ? "x86_64" : "aarch64", "-R",
            Path.Combine(build, "ik_sanitize"), $"{Cases}");
        Assert.True(code == 0, text);
        Assert.Contains($"instruction set 0, 3 threads: {Cases} cases", text, StringComparison.Ordinal);
    }

    private static string NativeFolder()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "native", "CMakeLists.txt")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        Assert.SkipWhen(folder is null, "the sources are not here");
        return Path.Combine(folder, "native");
    }

    private static (int Code, string Text) Run(string program, params string[] arguments)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(program, arguments)
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            })!;
            Task<string> errors = process.StandardError.ReadToEndAsync();
            string text = process.StandardOutput.ReadToEnd() + errors.GetAwaiter().GetResult();
            process.WaitForExit();
            return (process.ExitCode, text);
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            return (-1, e.Message);
        }
    }
}
