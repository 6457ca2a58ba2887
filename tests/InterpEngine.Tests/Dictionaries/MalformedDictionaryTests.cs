using InterpEngine.Dictionaries;
using InterpEngine.Dictionaries.Formats;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using InterpEngine.Tests.Formats;
using Xunit;

namespace InterpEngine.Tests.Dictionaries;

public sealed class MalformedDictionaryTests
{
    private const string Family = "sae-config";

    public static TheoryData<string> Configs => MalformedFiles.Find(Family, "*.cfg.json");

    [Theory]
    [MemberData(nameof(Configs))]
    public void A_config_is_read_or_refused(string file)
    {
        (bool accept, _) = MalformedFiles.Verdict(Family, file);
        using var folder = new TemporaryFolder();
        File.Copy(MalformedFiles.PathOf(Family, file), folder["cfg.json"]);
        File.Copy(MalformedFiles.PathOf(Family, "sae_weights.safetensors"), folder["sae_weights.safetensors"]);
        if (accept)
        {
            using Device device = Device.Reference();
            using SparseDictionary dictionary = SparseDictionary.Load(folder.Path, device);
            Assert.Equal((4, 8), (dictionary.Config.InputWidth, dictionary.Config.Features));
        }
        else
        {
            Assert.Throws<InvalidFileException>(() => DictionaryFile.Read(folder.Path));
        }
    }

    [Fact]
    public void A_pickle_is_refused_with_advice()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["ae.pt"], [0x80, 2, (byte)'.']);
        InvalidFileException error = Assert.Throws<InvalidFileException>(() => DictionaryFile.Read(folder.Path));
        Assert.Contains("pickle", error.Defect, StringComparison.Ordinal);
        Assert.Contains("save_file", error.Hint, StringComparison.Ordinal);
    }

    [Fact]
    public void A_folder_of_nothing_known_is_refused_by_name()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains(folder.Path, Assert.Throws<InvalidFileException>(() => DictionaryFile.Read(folder.Path)).Message, StringComparison.Ordinal);
        Assert.Throws<InvalidFileException>(() => DictionaryFile.Read(folder["nowhere"]));
    }
}
