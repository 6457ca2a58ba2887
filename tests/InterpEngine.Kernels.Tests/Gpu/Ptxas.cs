using System.Diagnostics;

namespace InterpEngine.Kernels.Tests.Gpu;

/// <summary>NVIDIA's assembler of PTX, where it is installed or was fetched.</summary>
internal static class Ptxas
{
    /// <summary>The program, or null.</summary>
    public static string? Path { get; } = Folders().Select(folder => System.IO.Path.Combine(folder, "ptxas")).FirstOrDefault(File.Exists);

    /// <summary>Assembles, and returns what the assembler says about registers and memory.</summary>
    public static string Assemble(string ptx, int architecture)
    {
        string file = System.IO.Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, ptx);
            string[] arguments = ["-v", "-O3", $"-arch=sm_{architecture}", "-o", file + ".cubin", file];
            using Process process = Process.Start(new ProcessStartInfo(Path!, arguments) { RedirectStandardError = true })!;
            string report = process.StandardError.ReadToEnd();
            process.WaitForExit();
            Assert.True(process.ExitCode == 0, report);
            return report;
        }
        finally
        {
            File.Delete(file);
            File.Delete(file + ".cubin");
        }
    }

    private static IEnumerable<string> Folders()
    {
        string[] path = Environment.GetEnvironmentVariable("PATH")?.Split(System.IO.Path.PathSeparator) ?? [];
        string? toolkit = Environment.GetEnvironmentVariable("CUDA_PATH"), cache = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        string home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        string caches = string.IsNullOrEmpty(cache) ? System.IO.Path.Combine(home, ".cache") : cache;
        return
        [
            .. path,
            .. string.IsNullOrEmpty(toolkit) ? (string[])[] : [System.IO.Path.Combine(toolkit, "bin")],
            System.IO.Path.Combine(caches, "interpengine", "cuda"),
        ];
    }
}
