using System.Globalization;
using System.Text.Json;
using InterpEngine.Hooks;
using InterpEngine.Models;

namespace InterpEngine.Cli;

/// <summary><c>interp info --json</c>.</summary>
internal static class InfoJson
{
    public static void Write(Utf8JsonWriter json, ModelDescription model, ModelSize size, bool all)
    {
        json.WriteString("family", model.Family);
        json.WriteNumber("parameters", size.Parameters);
        json.WriteNumber("layers", model.Layers);
        json.WriteNumber("width", model.Width);
        json.WriteNumber("heads", model.Heads);
        json.WriteNumber("key_value_heads", model.KeyValueHeads);
        json.WriteNumber("head_size", model.HeadSize);
        json.WriteNumber("mlp_width", model.MlpWidth);
        json.WriteBoolean("gated_mlp", model.GatedMlp);
        json.WriteBoolean("parallel_block", model.ParallelBlock);
        json.WriteString("norm", model.Norm.ToString().ToLowerInvariant());
        json.WriteString("positions", PositionsName(model));
        json.WriteNumber("vocabulary", model.Vocabulary);
        json.WriteNumber("context", model.Context);
        WriteMemory(json, model, size);
        WritePoints(json, size.Points);
        if (all)
        {
            WriteAbsent(json, size.Points);
        }
    }

    /// <summary>How positions enter, in a word.</summary>
    public static string PositionsName(ModelDescription model) => model.Positions switch
    {
        LearnedPositions => "learned",
        AlibiPositions => "alibi",
        _ => "rotary",
    };

    /// <summary>A point's shape: numbers where the model fixes them, letters where the text does.</summary>
    public static string ShapeText(HookRegistry registry, HookKindInfo info) => $"[{string.Join(", ", Shape(registry, info))}]";

    private static IEnumerable<string> Shape(HookRegistry registry, HookKindInfo info)
    {
        int[] lengths = registry.ShapeOf(new HookPoint(info.Kind), 1, 1, 1).Axes.ToArray();
        return info.Axes.Split(' ').Zip(lengths, (axis, length) =>
            axis is "b" or "p" or "q" or "k" ? axis : length.ToString(CultureInfo.InvariantCulture));
    }

    private static void WriteMemory(Utf8JsonWriter json, ModelDescription model, ModelSize size)
    {
        json.WriteStartObject("memory");
        if (size.StoredBytes is { } stored)
        {
            json.WriteNumber("stored_bytes", stored);
        }
        else
        {
            json.WriteNull("stored_bytes");
        }

        json.WriteStartArray("stored_types");
        foreach (string type in size.StoredTypes)
        {
            json.WriteStringValue(type);
        }

        json.WriteEndArray();
        json.WriteNumber("weight_bytes", size.WeightBytes);
        json.WriteNumber("cache_bytes_per_token", size.CacheBytesPerToken);
        int length = InfoCommand.ExampleLength(model);
        json.WriteNumber("activation_tokens", length);
        json.WriteStartObject("activation_bytes_per_token");
        foreach ((string name, HookSelection points) in InfoCommand.CommonSelections(size.Points))
        {
            json.WriteNumber(name, size.BytesPerToken(points, length));
        }

        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static void WritePoints(Utf8JsonWriter json, HookRegistry registry)
    {
        json.WriteStartArray("points");
        foreach (HookPoint point in registry.Points)
        {
            HookKindInfo info = point.Kind.Info();
            json.WriteStartObject();
            json.WriteString("name", point.Name);
            json.WriteString("axes", info.Axes);
            json.WriteStartArray("shape");
            foreach (string length in Shape(registry, info))
            {
                if (int.TryParse(length, NumberStyles.None, CultureInfo.InvariantCulture, out int number))
                {
                    json.WriteNumberValue(number);
                }
                else
                {
                    json.WriteStringValue(length);
                }
            }

            json.WriteEndArray();
            json.WriteBoolean("flagged", info.Flagged);
            json.WriteString("meaning", info.Meaning);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    private static void WriteAbsent(Utf8JsonWriter json, HookRegistry registry)
    {
        json.WriteStartArray("absent");
        foreach (HookKindInfo info in HookKinds.All)
        {
            if (registry.WhyAbsent(info.Kind) is { } reason)
            {
                json.WriteStartObject();
                json.WriteString("name", info.InBlock ? $"blocks.{{i}}.{info.Suffix}" : info.Suffix);
                json.WriteString("reason", reason);
                json.WriteEndObject();
            }
        }

        json.WriteEndArray();
    }
}
