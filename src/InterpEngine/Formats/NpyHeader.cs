using System.Collections.Immutable;
using System.Text;
using InterpEngine.Kernels;

namespace InterpEngine.Formats;

/// <summary>
/// The header of an .npy array: a Python dictionary of exactly 'descr', 'fortran_order' and 'shape', read as the data that it is and
/// never evaluated.
/// </summary>
internal sealed class NpyHeader
{
    private const int MaxAxes = 32;

    private NpyHeader(string path, string descr, bool fortranOrder, ImmutableArray<long> shape)
    {
        (Shape, FortranOrder) = (shape, fortranOrder);
        (Type, IsBoolean) = descr.Length == 3 && descr[0] is ('<' or '>' or '|' or '=') ? descr[1..] switch
        {
            "f8" => (ElementType.F64, false),
            "f4" => (ElementType.F32, false),
            "f2" => (ElementType.F16, false),
            "i8" => (ElementType.I64, false),
            "i4" => (ElementType.I32, false),
            "i2" => (ElementType.I16, false),
            "i1" => (ElementType.I8, false),
            "u1" => (ElementType.U8, false),
            "b1" => (ElementType.U8, true),
            _ => throw Unknown(path, descr),
        }
        : throw Unknown(path, descr);
        Size = Type.Size();
        if (descr[0] == '|' && Size > 1)
        {
            throw Unknown(path, descr);
        }

        BigEndian = descr[0] == '>';
        UInt128 bytes = (UInt128)Size;
        foreach (long axis in shape)
        {
            // Even on the way to a zero: what overflows is no shape.
            bytes *= (ulong)axis;
            if (bytes > long.MaxValue)
            {
                throw new InvalidFileException(path, $"has a shape of more than 2⁶³ bytes");
            }
        }

        Bytes = (long)bytes;
        if (shape.Any(axis => axis == 0))
        {
            CheckWithoutZeros(path, shape);
        }
    }

    public ElementType Type { get; }

    public bool IsBoolean { get; }

    public int Size { get; }

    public bool BigEndian { get; }

    public bool FortranOrder { get; }

    public ImmutableArray<long> Shape { get; }

    public long Bytes { get; }

    public static NpyHeader Parse(ReadOnlySpan<byte> header, string path)
    {
        if (!Ascii.IsValid(header))
        {
            throw new InvalidFileException(path, "has a header that is not ASCII");
        }

        return new Parser(Encoding.ASCII.GetString(header), path).Header();
    }

    private void CheckWithoutZeros(string path, ImmutableArray<long> shape)
    {
        UInt128 product = (UInt128)Size;
        foreach (long axis in shape.Where(axis => axis != 0))
        {
            product *= (ulong)axis;
            if (product > long.MaxValue)
            {
                throw new InvalidFileException(path, "has a shape whose axes multiply to more than 2⁶³ bytes");
            }
        }
    }

    private static InvalidFileException Unknown(string path, string descr) => new(
        path, $"holds elements of kind {InputFile.Quote(descr)}; expected plain numbers: f2, f4, f8, i1 to i8, u1 or b1",
        "Save plain arrays of numbers: numpy.savez(path, W_enc=w.astype('float32'), …).");

    /// <summary>Python's syntax as far as NumPy writes it.</summary>
    private ref struct Parser(string text, string path)
    {
        private int _at;

        public NpyHeader Header()
        {
            string? descr = null;
            bool? fortran = null;
            ImmutableArray<long>? shape = null;
            Expect('{');
            while (!Take('}'))
            {
                string key = Text();
                Expect(':');
                bool known = key switch
                {
                    "descr" when descr is null => (descr = Text()) is not null,
                    "fortran_order" when fortran is null => (fortran = Boolean()) is not null,
                    "shape" when shape is null => (shape = Tuple()) is not null,
                    _ => false,
                };
                if (!known)
                {
                    throw Defect($"the key {InputFile.Quote(key)} is unknown or given twice");
                }

                if (!Take(','))
                {
                    Expect('}');
                    break;
                }
            }

            Skip();
            if (_at != text.Length || descr is null || fortran is null || shape is null)
            {
                throw Defect("expected one dictionary of 'descr', 'fortran_order' and 'shape'");
            }

            return new NpyHeader(path, descr, fortran.Value, shape.Value);
        }

        private string Text()
        {
            Skip();
            char quote = _at < text.Length ? text[_at] : '\0';
            int end = quote is '\'' or '"' ? text.IndexOf(quote, _at + 1) : -1;
            if (end < 0)
            {
                throw Defect("expected a text in quotes");
            }

            string result = text[(_at + 1)..end];
            _at = end + 1;
            return result.Contains('\\', StringComparison.Ordinal) ? throw Defect("expected a text without escapes") : result;
        }

        private bool Boolean() => TakeWord("True") || (TakeWord("False") ? false : throw Defect("expected True or False"));

        private ImmutableArray<long> Tuple()
        {
            var axes = ImmutableArray.CreateBuilder<long>();
            Expect('(');
            while (!Take(')'))
            {
                Skip();
                int start = _at;
                while (_at < text.Length && char.IsAsciiDigit(text[_at]))
                {
                    _at++;
                }

                bool plain = _at > start && (text[start] != '0' || _at == start + 1);
                if (!plain || !long.TryParse(text.AsSpan(start, _at - start), out long axis) || axes.Count == MaxAxes)
                {
                    throw Defect($"expected a shape of at most {MaxAxes} plain integers below 2⁶³");
                }

                axes.Add(axis);
                bool more = Take(',');
                if (!more)
                {
                    Expect(')');
                    return axes.Count == 1 ? throw Defect("a shape of one axis is written (n,)") : axes.ToImmutable();
                }
            }

            return axes.ToImmutable();
        }

        private void Skip()
        {
            while (_at < text.Length && text[_at] is (' ' or '\n' or '\t' or '\r'))
            {
                _at++;
            }
        }

        private bool Take(char c)
        {
            Skip();
            bool found = _at < text.Length && text[_at] == c;
            _at += found ? 1 : 0;
            return found;
        }

        private bool TakeWord(string word)
        {
            Skip();
            bool found = text.AsSpan(_at).StartsWith(word, StringComparison.Ordinal);
            _at += found ? word.Length : 0;
            return found;
        }

        private void Expect(char c)
        {
            if (!Take(c))
            {
                throw Defect($"expected '{c}'");
            }
        }

        private readonly InvalidFileException Defect(string what) => new(path, $"has a broken header: {what} at character {_at}");
    }
}
