using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Formats;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

public sealed class DictionaryFileTests
{
    /// <summary>What SAELens's format can say comes back as it was, whatever the format it came from.</summary>
    [Fact]
    public void Written_dictionaries_compute_the_same()
    {
        using Device device = Device.Cpu();
        int written = 0;
        foreach (string name in Goldens.Cases("sae").Where(name => !name.StartsWith("circuittracer", StringComparison.Ordinal)))
        {
            using var golden = new GoldenCase("sae", name);
            string source = Directory.Exists(Path.Combine(golden.Folder, "inference")) ? Path.Combine(golden.Folder, "inference") : golden.Folder;
            using var folder = new TemporaryFolder();
            (DictionaryConfig config, DictionaryParameters parameters)[] all = [.. DictionaryFile.ReadLayers(source)];
            try
            {
                DictionaryFile.Write(folder["out"], all[0].config, all[0].parameters);
            }
            catch (DictionaryException e)
            {
                Assert.Contains("SAELens's format has no", e.Message, StringComparison.Ordinal);
                continue;
            }

            written++;
            using var before = new SparseDictionary(all[0].config, all[0].parameters, device);
            using SparseDictionary after = SparseDictionary.Load(folder["out"], device);
            using Tensor x = device.Upload<float>(golden.Input("x"), golden.Shape("x"));
            using Tensor expected = before.Reconstruct(x), actual = after.Reconstruct(x);
            Assert.Equal(expected.ToArray<float>(), actual.ToArray<float>());
            Assert.Equal(before.Config with { ModelName = null, Levels = [] }, after.Config with { ModelName = null, Levels = [] });
        }

        Assert.True(written >= 30, $"only {written} dictionaries were written");
    }

    /// <summary>A training checkpoint becomes what SAELens itself saves for inference.</summary>
    [Theory]
    [InlineData("saelens-batchtopk")]
    [InlineData("saelens-batchtopk-norescale")]
    [InlineData("saelens-matryoshka")]
    public void Training_checkpoints_are_written_for_inference(string name)
    {
        using var golden = new GoldenCase("sae", name);
        (DictionaryConfig config, DictionaryParameters parameters) = DictionaryFile.Read(Path.Combine(golden.Folder, "training"));
        using var folder = new TemporaryFolder();
        DictionaryFile.Write(folder["out"], config, parameters);
        using Device device = Device.Cpu();
        using SparseDictionary dictionary = SparseDictionary.Load(folder["out"], device);
        using Tensor x = device.Upload<float>(golden.Input("x"), golden.Shape("x"));
        using Encoding encoding = dictionary.Encode(x);
        golden.Compare("inference.acts", encoding.Features.ToDense());
        using Tensor output = dictionary.Decode(encoding);
        golden.Compare("inference.reconstruction", output.ToArray<float>());
    }

    [Fact]
    public void Rows_of_another_width_are_refused()
    {
        using Device device = Device.Cpu();
        using SparseDictionary dictionary = SparseDictionary.Load(Goldens.Folder("sae", "saelens-topk"), device);
        using Tensor wrong = device.Upload<float>(new float[30], 2, 15);
        Assert.Contains("width 16", Assert.Throws<DictionaryException>(() => dictionary.Encode(wrong)).Message, StringComparison.Ordinal);
    }

    /// <summary>A truncated file is refused, and nothing else happens, wherever it is cut.</summary>
    [Fact]
    public void Cut_files_are_refused()
    {
        foreach (string name in Goldens.Cases("sae").Where(name => !name.StartsWith("circuittracer", StringComparison.Ordinal)))
        {
            string source = Goldens.Folder("sae", name);
            source = Directory.Exists(Path.Combine(source, "inference")) ? Path.Combine(source, "inference") : source;
            string file = Directory.EnumerateFiles(source, "*", SearchOption.AllDirectories)
                .Single(path => Path.GetFileName(path) is "sae_weights.safetensors" or "sae.safetensors" or "ae.safetensors" or "params.npz"
                    or "params.safetensors" or "final.safetensors" or "model.safetensors");
            foreach (double share in (double[])[0, 0.01, 0.3, 0.999])
            {
                using var folder = new TemporaryFolder();
                foreach (string other in Directory.EnumerateFiles(source, "*", SearchOption.AllDirectories))
                {
                    string target = folder[Path.GetRelativePath(source, other)];
                    Directory.CreateDirectory(Path.GetDirectoryName(target)!);
                    byte[] bytes = File.ReadAllBytes(other);
                    File.WriteAllBytes(target, other == file ? bytes[..(int)(bytes.Length * share)] : bytes);
                }

                Assert.Throws<InvalidFileException>(() => DictionaryFile.ReadLayers(folder.Path));
            }
        }
    }
}
