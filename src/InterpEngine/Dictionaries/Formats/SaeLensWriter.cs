using System.Buffers;
using System.Text.Json;
using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Formats;

/// <summary>Writes dictionaries in SAELens's format, version 6, for inference.</summary>
internal static class SaeLensWriter
{
    // The version whose format this is: without one SAELens takes a file for an old, flat one.
    private const string Version = "6.54.12";

    public static void Write(string folder, DictionaryConfig config, DictionaryParameters parameters)
    {
        if (config.Rule.Kind == ActivationKind.BatchTopK && parameters.Threshold is not null)
        {
            // What a batch chose in training, a threshold chooses at inference.
            (config, parameters) = config.ScalesByDecoderNorm ? DictionaryFolding.FoldDecoderNorms(config, parameters) : (config, parameters);
            config = config with { Rule = ActivationRule.JumpRelu, ScalesByDecoderNorm = false };
        }

        string architecture = Architecture(config, parameters);
        DictionaryFile.MakeFolder(folder);
        WriteWeights(Path.Combine(folder, SaeLensFormat.WeightsName), config, parameters);
        AtomicFile.WriteAllBytes(Path.Combine(folder, SaeLensFormat.ConfigName), Config(config, architecture));
    }

    private static string Architecture(DictionaryConfig c, DictionaryParameters p)
    {
        bool negative = c.Rule.KeepsNegative && (c.Rule.Kind != ActivationKind.JumpRelu || p.Threshold!.Any(t => t < 0));
        if (negative || c.ScalesScores || c.Layers > 1 || p.InputMean is not null)
        {
            throw No("dictionaries that keep negative activations, compare scaled ones, or read several layers");
        }

        string kind = c.IsTranscoder ? p.Skip is null ? "transcoder" : "skip_transcoder" : "";
        return (c.Rule.Kind, c.IsTranscoder) switch
        {
            (_, false) when p.Skip is not null => throw No("skip connections around autoencoders"),
            (ActivationKind.Relu, false) => "standard",
            (ActivationKind.Relu, true) => kind,
            (ActivationKind.JumpRelu, false) => "jumprelu",
            (ActivationKind.JumpRelu, true) => $"jumprelu_{kind}",
            (ActivationKind.TopK, false) => "topk",
            (ActivationKind.TopMagnitude, false) => "abstopk",
            (ActivationKind.Gated, false) => "gated",
            (ActivationKind.MatchingPursuit, false) => "matching_pursuit",
            _ => throw No($"{(c.IsTranscoder ? "transcoders" : "autoencoders")} with the rule {c.Rule.Kind}"),
        };

        static DictionaryException No(string what) => new($"SAELens's format has no {what}.");
    }

    private static void WriteWeights(string path, DictionaryConfig c, DictionaryParameters p)
    {
        int d = c.InputWidth, features = c.Features;
        bool gated = c.Rule.Kind == ActivationKind.Gated, pursuit = c.Rule.Kind == ActivationKind.MatchingPursuit;
        List<(string Name, float[] Values, long[] Shape)> tensors = [("W_dec", p.Decoder, [features, c.OutputWidth]), ("b_dec", p.DecoderBias, [c.OutputWidth])];
        if (!pursuit)
        {
            tensors.Add(("W_enc", StoredWeights.Transpose(p.Encoder, features, d), [d, features]));
            tensors.Add((gated ? "b_mag" : "b_enc", p.EncoderBias, [features]));
        }

        if (gated)
        {
            tensors.Add(("b_gate", p.GateBias!, [features]));
            tensors.Add(("r_mag", p.MagnitudeScale!, [features]));
        }

        if (c.Rule.Kind == ActivationKind.JumpRelu)
        {
            tensors.Add(("threshold", p.Threshold!, [features]));
        }

        if (p.Skip is not null)
        {
            tensors.Add(("W_skip", p.Skip, [c.OutputWidth, d]));
        }

        using var writer = new SafetensorsWriter(
            path, tensors.Select(tensor => new SafetensorsDeclaration(tensor.Name, SafetensorsType.F32, tensor.Shape)));
        foreach ((string name, float[] values, _) in tensors)
        {
            StoredWeights.Write(writer, name, values);
        }

        writer.Complete();
    }

    private static byte[] Config(DictionaryConfig c, string architecture)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new() { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteString("architecture", architecture);
            json.WriteNumber("d_in", c.InputWidth);
            json.WriteNumber("d_sae", c.Features);
            json.WriteString("dtype", "float32");
            json.WriteString("device", "cpu");
            json.WriteBoolean("apply_b_dec_to_input", c.CentersInput);
            json.WriteString("normalize_activations", c.Normalization switch
            {
                InputNormalization.ExpectedAverage => "expected_average_only_in",
                InputNormalization.ConstantNorm => "constant_norm_rescale",
                InputNormalization.LayerNorm => "layer_norm",
                InputNormalization.Whitening => "covariance_whitening",
                _ => "none",
            });
            json.WriteString("reshape_activations", c.HookName?.EndsWith("hook_z", StringComparison.Ordinal) == true ? "hook_z" : "none");
            if (c.Rule.Kind is ActivationKind.TopK or ActivationKind.TopMagnitude)
            {
                json.WriteNumber("k", (int)c.Rule.K);
                json.WriteBoolean("rescale_acts_by_decoder_norm", c.ScalesByDecoderNorm);
            }

            if (c.IsTranscoder)
            {
                json.WriteNumber("d_out", c.OutputWidth);
            }

            if (c.Rule.Kind == ActivationKind.MatchingPursuit)
            {
                json.WriteNumber("residual_threshold", c.Rule.ResidualThreshold);
                json.WritePropertyName("max_iterations");
                JsonSerializer.Serialize(json, c.Rule.MaxIterations);
                json.WriteBoolean("stop_on_duplicate_support", c.Rule.StopOnDuplicateSupport);
            }

            json.WriteStartObject("metadata");
            json.WriteString("sae_lens_version", Version);
            Text("model_name", c.ModelName);
            Text("hook_name", c.HookName);
            Text("hook_name_out", c.HookNameOut);
            json.WriteEndObject();
            json.WriteEndObject();

            void Text(string name, string? value)
            {
                if (value is not null)
                {
                    json.WriteString(name, value);
                }
            }
        }

        return buffer.WrittenSpan.ToArray();
    }
}
