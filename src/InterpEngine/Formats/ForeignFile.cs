namespace InterpEngine.Formats;

/// <summary>Names the files that are often taken for safetensors, by their first bytes, and says what to do with them.</summary>
internal static class ForeignFile
{
    /// <summary>How to turn a PyTorch checkpoint into what the engine reads.</summary>
    public const string ConversionHint =
        "Pickles can run code, so they are never read. Convert it once, where you trust the file: python -c \"import torch; "
        + "from safetensors.torch import save_file; save_file({k: v.clone().contiguous() for k, v in torch.load("
        + "'pytorch_model.bin', map_location='cpu', weights_only=True).items()}, 'model.safetensors')\"";

    /// <summary>The better error for a file that is no safetensors file, or null where its first bytes say nothing.</summary>
    public static InvalidFileException? Recognise(string path, MappedFile mapping)
    {
        ReadOnlySpan<byte> start = mapping.Bytes(0, (int)Math.Min(mapping.Length, 64));
        return start switch
        {
            _ when start.StartsWith("PK\u0003\u0004"u8) =>
                new(path, "is a zip archive, such as PyTorch's checkpoints are, not a safetensors file", ConversionHint),
            // A safetensors file whose header has, say, 0x280 bytes begins so too; but then the header follows.
            [0x80, >= 2 and <= 5, ..] when start.Length <= sizeof(ulong) || start[sizeof(ulong)] != (byte)'{' =>
                new(path, "is a pickle, not a safetensors file", ConversionHint),
            _ when start.StartsWith("version https://git-lfs"u8) =>
                new(path, "is a Git LFS pointer, not the file itself", "Run 'git lfs pull' in its repository."),
            _ when start.StartsWith("GGUF"u8) => new(path, "is a GGUF file, not a safetensors file"),
            _ => null,
        };
    }
}
