using System.Runtime.InteropServices;
using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Formats;

/// <summary>
/// How often each feature is active, beside a dictionary's weights as SAELens keeps it: <c>sparsity.safetensors</c>, the logarithm to
/// base 10 of the density and 1e-10.
/// </summary>
public static class FeatureDensities
{
    private const string FileName = "sparsity.safetensors", TensorName = "sparsity";
    private const double Least = 1e-10;

    /// <summary>Reads them; null where the folder has none.</summary>
    /// <param name="folder">The dictionary's.</param>
    /// <param name="features">How many it has.</param>
    /// <returns>[features]: shares of the tokens.</returns>
    /// <exception cref="InvalidFileException">The file is broken, or another dictionary's.</exception>
    public static double[]? Read(string folder, int features)
    {
        string path = Path.Combine(folder, FileName);
        if (!File.Exists(path))
        {
            return null;
        }

        using StoredWeights weights = StoredWeights.Open(path);
        return [.. weights.Read(TensorName, features).Select(log => Math.Clamp(Math.Pow(10, log) - Least, 0, 1))];
    }

    /// <summary>Writes them.</summary>
    /// <exception cref="FileWriteException">The disk refused.</exception>
    public static void Write(string folder, IReadOnlyList<double> densities)
    {
        ArgumentNullException.ThrowIfNull(densities);
        float[] logarithms = [.. densities.Select(density => (float)Math.Log10(density + Least))];
        using var writer = new SafetensorsWriter(
            Path.Combine(folder, FileName), [new SafetensorsDeclaration(TensorName, SafetensorsType.F32, logarithms.Length)]);
        writer.Write(TensorName, MemoryMarshal.AsBytes<float>(logarithms));
        writer.Complete();
    }
}
