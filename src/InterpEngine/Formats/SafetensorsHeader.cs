using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace InterpEngine.Formats;

/// <summary>The JSON header of a safetensors file, read and written.</summary>
internal static class SafetensorsHeader
{
    /// <summary>The format's own limit on the header.</summary>
    public const int MaxBytes = 100_000_000;

    private const int MaxTensors = 1_000_000;
    private const string MetadataKey = "__metadata__";
    private static readonly UTF8Encoding s_strictUtf8 = new(false, throwOnInvalidBytes: true);

    /// <summary>Parses and checks a header.</summary>
    /// <param name="file">The file that the entries belong to.</param>
    /// <param name="json">The header's bytes, without the length.</param>
    /// <param name="dataStart">Where the data begin in the file; they reach to its end.</param>
    /// <exception cref="InvalidFileException">A rule of the format is broken.</exception>
    public static (Dictionary<string, SafetensorsEntry> Tensors, Dictionary<string, string> Metadata) Parse(
        SafetensorsFile file, byte[] json, long dataStart)
    {
        using JsonDocument document = JsonStrict.Parse(json, file.Path);
        if (document.RootElement.ValueKind != JsonValueKind.Object)
        {
            throw new InvalidFileException(file.Path, "the header is no JSON object");
        }

        if (document.RootElement.GetPropertyCount() > MaxTensors)
        {
            throw new InvalidFileException(file.Path, $"the header has more than {MaxTensors} tensors");
        }

        var tensors = new Dictionary<string, SafetensorsEntry>(StringComparer.Ordinal);
        Dictionary<string, string> metadata = new(StringComparer.Ordinal);
        foreach (JsonProperty property in document.RootElement.EnumerateObject())
        {
            if (property.NameEquals(MetadataKey))
            {
                metadata = ParseMetadata(file.Path, property.Value);
            }
            else
            {
                tensors.Add(property.Name, ParseEntry(file, property, dataStart));
            }
        }

        CheckLayout(file, tensors.Values, dataStart);
        return (tensors, metadata);
    }

    /// <summary>
    /// Makes the first bytes of a file: length, header and padding, so that the data begin at a multiple of 8.
    /// The tensors lie one behind another in the order given.
    /// </summary>
    /// <exception cref="ArgumentException">A name is unfit or given twice, a shape too large, or the header too long.</exception>
    public static byte[] Serialize(IEnumerable<SafetensorsDeclaration> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        var buffer = new ArrayBufferWriter<byte>();
        buffer.Write(stackalloc byte[sizeof(ulong)]);
        using (var writer = new Utf8JsonWriter(buffer, new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            writer.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                writer.WriteStartObject(MetadataKey);
                foreach ((string key, string value) in metadata)
                {
                    writer.WriteString(Text(key), Text(value));
                }

                writer.WriteEndObject();
            }

            long offset = 0;
            var names = new HashSet<string>(StringComparer.Ordinal) { MetadataKey };
            foreach (SafetensorsDeclaration tensor in tensors)
            {
                if (!names.Add(tensor.Name))
                {
                    throw new ArgumentException($"The name {InputFile.Quote(tensor.Name)} is taken.", nameof(tensors));
                }

                writer.WriteStartObject(Text(tensor.Name));
                writer.WriteString("dtype", tensor.Type.ToString());
                WriteArray(writer, "shape", tensor.Shape.AsSpan());
                WriteArray(writer, "data_offsets", [offset, offset = checked(offset + tensor.Length)]);
                writer.WriteEndObject();
            }

            writer.WriteEndObject();
        }

        buffer.Write("       "u8[..(-buffer.WrittenCount & 7)]);
        byte[] bytes = buffer.WrittenSpan.ToArray();
        int length = bytes.Length - sizeof(ulong);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, (ulong)length);
        return length <= MaxBytes
            ? bytes
            : throw new ArgumentException($"The header has {length} bytes; at most {MaxBytes} are allowed.", nameof(tensors));
    }

    /// <summary>
    /// Bytes of a tensor, or null where the bits exceed 64-bit arithmetic, even on the way to a zero, or fill no whole bytes.
    /// </summary>
    public static long? ByteLength(SafetensorsType type, ReadOnlySpan<long> shape)
    {
        UInt128 count = 1;
        foreach (long axis in shape)
        {
            count *= (ulong)axis;
            if (count > ulong.MaxValue)
            {
                return null;
            }
        }

        UInt128 bits = count * (ulong)type.Bits();
        return bits <= ulong.MaxValue && bits % 8 == 0 ? (long)(bits / 8) : null;
    }

    private static Dictionary<string, string> ParseMetadata(string path, JsonElement element)
    {
        if (element.ValueKind != JsonValueKind.Object)
        {
            throw new InvalidFileException(path, $"{MetadataKey} is no JSON object");
        }

        var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (JsonProperty property in element.EnumerateObject())
        {
            metadata.Add(property.Name, property.Value.ValueKind == JsonValueKind.String
                ? property.Value.GetString()!
                : throw new InvalidFileException(
                    path, $"{MetadataKey}: the value of {InputFile.Quote(property.Name)} is no string"));
        }

        return metadata;
    }

    private static SafetensorsEntry ParseEntry(SafetensorsFile file, JsonProperty property, long dataStart)
    {
        InvalidFileException Defect(string defect) => new(file.Path, $"tensor {InputFile.Quote(property.Name)}: {defect}");

        JsonElement Field(string name, JsonValueKind kind) =>
            !property.Value.TryGetProperty(name, out JsonElement field) ? throw Defect($"{name} is missing")
            : field.ValueKind != kind ? throw Defect($"{name} is no {kind.ToString().ToLowerInvariant()}")
            : field;

        ImmutableArray<long> Naturals(string name)
        {
            JsonElement array = Field(name, JsonValueKind.Array);
            var numbers = ImmutableArray.CreateBuilder<long>(array.GetArrayLength());
            foreach (JsonElement item in array.EnumerateArray())
            {
                numbers.Add(JsonStrict.TryGetNatural(item, out long number)
                    ? number
                    : throw Defect($"{name} may hold plain integers from 0 to 2⁶³ − 1 only"));
            }

            return numbers.MoveToImmutable();
        }

        if (property.Value.ValueKind != JsonValueKind.Object)
        {
            throw Defect("its entry is no JSON object");
        }

        string typeName = Field("dtype", JsonValueKind.String).GetString()!;
        if (!SafetensorsTypes.TryParse(typeName, out SafetensorsType type))
        {
            throw Defect($"unknown dtype {InputFile.Quote(typeName)}");
        }

        ImmutableArray<long> shape = Naturals("shape");
        ImmutableArray<long> range = Naturals("data_offsets");
        long dataLength = file.Mapping.Length - dataStart;
        if (range is not [long begin, long end] || begin > end || end > dataLength)
        {
            throw Defect($"data_offsets must be [begin, end] within the {dataLength} bytes of data");
        }

        long length = ByteLength(type, shape.AsSpan())
            ?? throw Defect($"{type} [{Join(shape)}] has no countable number of whole bytes");
        return length == end - begin
            ? new(file, property.Name, type, shape, dataStart + begin, length)
            : throw Defect($"{type} [{Join(shape)}] takes {length} bytes, but data_offsets give {end - begin}");
    }

    // Every byte of the data belongs to exactly one tensor: holes could hide a second file, overlaps a second meaning.
    private static void CheckLayout(SafetensorsFile file, IEnumerable<SafetensorsEntry> entries, long dataStart)
    {
        long position = dataStart;
        foreach (SafetensorsEntry entry in entries.OrderBy(entry => entry.Offset).ThenBy(entry => entry.Length))
        {
            if (entry.Offset != position)
            {
                string defect = entry.Offset > position ? "leaves a hole before its data" : "shares bytes with another tensor";
                throw new InvalidFileException(
                    file.Path, $"tensor {InputFile.Quote(entry.Name)} {defect}: it begins at {entry.Offset}, not at {position}");
            }

            position += entry.Length;
        }

        if (position != file.Mapping.Length)
        {
            throw new InvalidFileException(file.Path, $"{file.Mapping.Length - position} bytes at the end belong to no tensor");
        }
    }

    private static void WriteArray(Utf8JsonWriter writer, string name, ReadOnlySpan<long> numbers)
    {
        writer.WriteStartArray(name);
        foreach (long number in numbers)
        {
            writer.WriteNumberValue(number);
        }

        writer.WriteEndArray();
    }

    // Utf8JsonWriter would replace half a surrogate pair silently, and the name would come back as another.
    private static string Text(string text)
    {
        _ = s_strictUtf8.GetByteCount(text);
        return text;
    }

    private static string Join(ImmutableArray<long> shape) =>
        shape.Length > 16 ? $"{string.Join(", ", shape.Take(16))}, …" : string.Join(", ", shape);
}
