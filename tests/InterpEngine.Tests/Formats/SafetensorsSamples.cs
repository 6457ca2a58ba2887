using System.Buffers.Binary;
using System.Text;
using CsCheck;
using InterpEngine.Formats;

namespace InterpEngine.Tests.Formats;

/// <summary>Files and tensors for the safetensors tests.</summary>
internal static class SafetensorsSamples
{
    private static readonly Gen<string> s_name = Gen
        .OneOf(Gen.String[0, 12], Gen.String[Gen.Char.AlphaNumeric, 0, 40], Gen.Const("h.0/😀\"\\\n"))
        .Where(name => name != "__metadata__" && IsText(name));

    private static readonly Gen<SafetensorsDeclaration> s_declaration = Gen
        .Select(s_name, Gen.Enum<SafetensorsType>(), Gen.Long[0, 5].Array[0, 4])
        .Where((_, type, shape) => shape.Aggregate(1L, (product, axis) => product * axis) * type.Bits() % 8 == 0)
        .Select((name, type, shape) => new SafetensorsDeclaration(name, type, shape));

    /// <summary>Random tensors with random bytes.</summary>
    public static Gen<(SafetensorsDeclaration Tensor, byte[] Data)[]> Tensors { get; } = s_declaration
        .SelectMany(tensor => Gen.Byte.Array[(int)tensor.Length].Select(data => (tensor, data)))
        .Array[0, 8]
        .Where(tensors => tensors.DistinctBy(pair => pair.tensor.Name).Count() == tensors.Length);

    public static Gen<Dictionary<string, string>> Metadata { get; } = Gen.Dictionary(s_name, s_name)[0, 4];

    public static void Write(
        string path,
        IReadOnlyDictionary<string, string>? metadata,
        params IReadOnlyList<(SafetensorsDeclaration Tensor, byte[] Data)> tensors)
    {
        using var writer = new SafetensorsWriter(path, tensors.Select(pair => pair.Tensor), metadata);
        foreach ((SafetensorsDeclaration tensor, byte[] data) in tensors)
        {
            // In two pieces, as a stream would come.
            writer.Write(tensor.Name, data.AsSpan(0, data.Length / 2));
            writer.Write(tensor.Name, data.AsSpan(data.Length / 2));
        }

        writer.Complete();
    }

    public static (SafetensorsDeclaration Tensor, byte[] Data) Singles(string name, params float[] values)
    {
        byte[] data = new byte[values.Length * sizeof(float)];
        for (int i = 0; i < values.Length; i++)
        {
            BinaryPrimitives.WriteSingleLittleEndian(data.AsSpan(i * sizeof(float)), values[i]);
        }

        return (new SafetensorsDeclaration(name, SafetensorsType.F32, values.Length), data);
    }

    /// <summary>A file put together by hand, right or wrong.</summary>
    public static byte[] Raw(string header, params byte[] data)
    {
        byte[] json = Encoding.UTF8.GetBytes(header);
        byte[] file = new byte[sizeof(ulong) + json.Length + data.Length];
        BinaryPrimitives.WriteInt64LittleEndian(file, json.Length);
        json.CopyTo(file, sizeof(ulong));
        data.CopyTo(file, sizeof(ulong) + json.Length);
        return file;
    }

    private static bool IsText(string text)
    {
        for (int i = 0; i < text.Length; i++)
        {
            if (char.IsSurrogate(text[i]) && !(char.IsSurrogatePair(text, i) && i++ < text.Length))
            {
                return false;
            }
        }

        return true;
    }
}
