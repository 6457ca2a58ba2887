using System.Security.Cryptography;
using System.Text;
using Xunit;

namespace InterpEngine.Tests.Models;

public class TalesCorpusTests
{
    /// <summary>SHA-256 of what <c>corpus.py --documents 3000 --seed SEED</c> prints.</summary>
    [Theory]
    [InlineData(0, "157d5e83c93235afeadbe96cbb43847b3c83157ee027bf995394c848154cba2c")]
    [InlineData(1000, "4a68f1712fdc26de91d67703c35ef65eecdfdfe058eba22668ed429ad0341125")]
    public void Documents_are_those_of_the_python_generator(int seed, string expected)
    {
        string text = string.Concat(TalesCorpus.Documents(seed).Take(3000).Select(document => document + "\n"));
        Assert.Equal(expected, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text))));
    }
}
