using System.Buffers;
using System.Globalization;

namespace InterpEngine.Cli;

/// <summary>Reads arguments that are more than a number.</summary>
internal static class Arguments
{
    private static readonly SearchValues<char> s_number = SearchValues.Create("0123456789.");

    /// <summary>
    /// A position such as <c>-1</c>, or a range such as <c>3..10</c>, its end not included; negative numbers count from the end.
    /// </summary>
    /// <exception cref="UsageException">It is neither.</exception>
    public static Range ParseRange(string option, string text)
    {
        int dots = text.IndexOf("..", StringComparison.Ordinal);
        if (dots < 0)
        {
            Index only = ParseIndex(text);
            return only.IsFromEnd ? only..^(only.Value - 1) : only..(only.Value + 1);
        }

        string start = text[..dots], end = text[(dots + 2)..];
        return (start.Length == 0 ? Index.Start : ParseIndex(start))..(end.Length == 0 ? Index.End : ParseIndex(end));

        Index ParseIndex(string number) =>
            int.TryParse(number, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value)
            && Math.Abs((long)value) < int.MaxValue
                ? value < 0 ? ^-value : value
                : throw new UsageException($"{option} is '{text}'; expected a position such as -1 or a range such as 3..10.");
    }

    /// <summary>Bytes, such as <c>256MB</c>; units are powers of 1024.</summary>
    /// <exception cref="UsageException">It is no size.</exception>
    public static long ParseSize(string option, string text)
    {
        string trimmed = text.Trim().ToUpperInvariant();
        int digits = trimmed.AsSpan().IndexOfAnyExcept(s_number);
        string unit = digits < 0 ? "" : trimmed[digits..].Trim().Replace("IB", "B", StringComparison.Ordinal);
        int shift = unit switch { "" or "B" => 0, "K" or "KB" => 10, "M" or "MB" => 20, "G" or "GB" => 30, _ => -1 };
        return shift >= 0
            && double.TryParse(
                digits < 0 ? trimmed : trimmed[..digits],
                NumberStyles.AllowDecimalPoint,
                CultureInfo.InvariantCulture,
                out double number)
            && number * (1L << shift) is >= 1 and < 1L << 50 and var bytes
            ? (long)bytes
            : throw new UsageException($"{option} is '{text}'; expected a size such as 256MB.");
    }

    /// <summary>Bytes as a person reads them.</summary>
    public static string ShowSize(long bytes) => bytes switch
    {
        < 1L << 10 => $"{bytes} B",
        < 1L << 20 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1024.0:0.0} KB"),
        < 1L << 30 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1048576.0:0.0} MB"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1073741824.0:0.00} GB"),
    };
}
