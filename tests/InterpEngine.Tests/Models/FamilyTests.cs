using System.Text.Json;
using InterpEngine.Formats;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Models;

/// <summary>What every family owes: checkpoints that do not fit, and settings that nobody knows, are refused by name.</summary>
public sealed class FamilyTests
{
    public static TheoryData<string> Families => [.. ModelFamilies.Names];

    public static TheoryData<string, string> FamiliesAndTypes()
    {
        var data = new TheoryData<string, string>();
        foreach (string family in ModelFamilies.Names)
        {
            data.Add(family, nameof(SafetensorsType.BF16));
            data.Add(family, nameof(SafetensorsType.F16));
        }

        return data;
    }

    [Fact]
    public void Every_family_of_the_goldens_is_known()
    {
        foreach (string name in Goldens.Cases("models"))
        {
            using var golden = new GoldenModel(name);
            Assert.Contains(golden.ModelType, ModelFamilies.Names);
        }
    }

    /// <summary>Each tensor in turn: missing, with one row more, of an integer type; and a tensor that does not belong there.</summary>
    [Theory]
    [MemberData(nameof(Families))]
    public void A_checkpoint_that_does_not_fit_is_refused_with_the_tensors_name(string family)
    {
        using Device device = Device.Reference();
        IReadOnlyDictionary<string, object> settings = RandomFamilies.Of(family, new Random(7));
        using var folder = new TemporaryFolder();
        RandomModel.Write(folder.Path, settings, seed: 7);
        ModelDescription description = Model.ReadDescription(folder.Path);
        SortedDictionary<string, (SafetensorsType Type, long[] Shape)> tensors = [];
        foreach ((string name, long[] shape) in CheckpointSchema.Required(description, description.Layout.Prefixes[0]))
        {
            tensors[name] = (SafetensorsType.F32, shape);
        }

        foreach ((string name, (SafetensorsType type, long[] shape)) in tensors.ToArray())
        {
            tensors.Remove(name);
            Refused($"tensor '{name}' is missing; expected [{string.Join(", ", shape)}]");
            tensors[name] = (type, [.. shape[..^1], shape[^1] + 1]);
            Refused($"tensor '{name}' is [{string.Join(", ", tensors[name].Shape)}]; expected [{string.Join(", ", shape)}]");
            tensors[name] = (SafetensorsType.I32, shape);
            Refused($"tensor '{name}' has type I32; expected F32, F16, BF16 or F64");
            tensors[name] = (type, shape);
        }

        tensors["model.surplus.weight"] = (SafetensorsType.F32, [3]);
        Refused("tensor 'model.surplus.weight' is no part of");

        void Refused(string expected)
        {
            string file = Path.Combine(folder.Path, "model.safetensors");
            File.Delete(file);
            using (var writer = new SafetensorsWriter(
                file, [.. tensors.Select(t => new SafetensorsDeclaration(t.Key, t.Value.Type, t.Value.Shape))]))
            {
                foreach ((string name, (_, long[] shape)) in tensors)
                {
                    writer.Write(name, new byte[sizeof(float) * shape.Aggregate(1L, (product, axis) => product * axis)]);
                }

                writer.Complete();
            }

            ModelException refused = Assert.Throws<ModelException>(() => Model.Load(folder.Path, device));
            Assert.Contains(expected, refused.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void A_setting_that_the_engine_does_not_know_is_refused_by_name(string family)
    {
        foreach ((string key, object value) in (ReadOnlySpan<(string, object)>)
            [("quantum_heads", 4), ("quantization_config", new { bits = 4 }), ("attention_style", "sideways"), ("use_magic", true)])
        {
            var settings = new Dictionary<string, object>(RandomFamilies.Of(family, new Random(3))) { [key] = value };
            InterpException refused = Assert.ThrowsAny<InterpException>(() => Read(settings));
            Assert.Contains(key, refused.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("olmo", "clip_qkv", -1)]
    [InlineData("gemma2", "layer_types", "sliding_attention")]
    [InlineData("gemma2", "attn_logit_softcapping", 0)]
    [InlineData("gpt_neo", "attention_layers", "local")]
    [InlineData("gptj", "rotary_dim", 3)]
    [InlineData("bert", "position_embedding_type", "relative_key")]
    [InlineData("bloom", "apply_residual_connection_post_layernorm", true)]
    [InlineData("falcon", "num_ln_in_parallel_attn", 3)]
    [InlineData("deepseek_v3", "scoring_func", "softmax")]
    [InlineData("deepseek_v3", "topk_method", "greedy")]
    [InlineData("deepseek_v3", "n_group", 8)]
    [InlineData("gpt_oss", "swiglu_limit", 0)]
    [InlineData("llama", "num_key_value_heads", 77)]
    [InlineData("gemma", "use_bidirectional_attention", true)]
    [InlineData("phi3", "hidden_act", "mystery")]
    public void A_value_that_the_engine_does_not_support_is_refused_with_its_name(string family, string key, object value)
    {
        var settings = new Dictionary<string, object>(RandomFamilies.Of(family, new Random(5))) { [key] = value };
        InterpException refused = Assert.ThrowsAny<InterpException>(() => Read(settings));
        Assert.Contains(key, refused.Message, StringComparison.Ordinal);
    }

    /// <summary>A checkpoint in sixteen bits is the F32 checkpoint of the same values.</summary>
    [Theory]
    [MemberData(nameof(FamiliesAndTypes))]
    public void Half_precision_checkpoints_are_widened_exactly(string family, string type)
    {
        IReadOnlyDictionary<string, object> settings = RandomFamilies.Of(family, new Random(9));
        using Device device = Device.Cpu(threads: 1);
        using TemporaryFolder narrow = new(), wide = new();
        RandomModel.Write(narrow.Path, settings, seed: 9, Enum.Parse<SafetensorsType>(type));
        File.Copy(Path.Combine(narrow.Path, "config.json"), Path.Combine(wide.Path, "config.json"));
        using (SafetensorsFile stored = SafetensorsFile.Open(Path.Combine(narrow.Path, "model.safetensors")))
        using (var writer = new SafetensorsWriter(
            Path.Combine(wide.Path, "model.safetensors"),
            [.. stored.Tensors.Values.Select(t => new SafetensorsDeclaration(t.Name, SafetensorsType.F32, [.. t.Shape]))]))
        {
            foreach (SafetensorsEntry entry in stored.Tensors.Values)
            {
                writer.Write(entry.Name, System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(entry.ToSingles()));
            }

            writer.Complete();
        }

        using Model first = Model.Load(narrow.Path, device), second = Model.Load(wide.Path, device);
        TokenBatch tokens = TokenBatch.Single(0, 1, 1, 0, 1, 0, 0);
        using RunResult a = first.Run(tokens), b = second.Run(tokens);
        Assert.Equal(b.Logits!.ToArray<float>(), a.Logits!.ToArray<float>());
    }

    private static ModelDescription Read(Dictionary<string, object> settings) =>
        ModelFamilies.Read(ConfigFile.Parse(JsonSerializer.SerializeToUtf8Bytes(settings), "config.json"));
}
