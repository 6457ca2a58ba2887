using System.Text;

namespace InterpEngine.Formats.Tokenizers;

/// <summary>GPT-2's bijection of bytes to printable characters, so that a vocabulary of bytes can be written as text.</summary>
internal static class ByteAlphabet
{
    private static readonly char[] Characters = MakeCharacters();
    private static readonly Dictionary<char, byte> Bytes =
        Enumerable.Range(0, 256).ToDictionary(value => Characters[value], value => (byte)value);

    /// <summary>The character that stands for a space.</summary>
    public static char Space => Characters[' '];

    /// <summary>Writes the UTF-8 bytes of a character.</summary>
    public static void Encode(Rune rune, Action<int> append)
    {
        Span<byte> bytes = stackalloc byte[4];
        foreach (byte value in bytes[..rune.EncodeToUtf8(bytes)])
        {
            append(Characters[value]);
        }
    }

    /// <summary>The bytes of a token; a token that is not of this alphabet stands for itself in UTF-8.</summary>
    public static byte[] Decode(string token) => token.All(Bytes.ContainsKey)
        ? [.. token.Select(character => Bytes[character])]
        : System.Text.Encoding.UTF8.GetBytes(token);

    /// <summary>Printable Latin-1 characters stand for themselves; the other bytes, in order, are U+0100 and on.</summary>
    private static char[] MakeCharacters()
    {
        char[] characters = new char[256];
        char next = '\u0100';
        for (int value = 0; value < 256; value++)
        {
            bool printable = value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
            characters[value] = printable ? (char)value : next++;
        }

        return characters;
    }
}
