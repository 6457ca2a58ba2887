using System.Runtime.InteropServices;
using InterpEngine.Captures;
using InterpEngine.Formats;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Cli;

/// <summary>One run to one safetensors file, whose tensors have the hook points' names and shapes.</summary>
internal static class CaptureFile
{
    private const long Large = 1L << 30;

    /// <summary>Runs a batch and writes what was asked for.</summary>
    /// <exception cref="InterpException">It cannot be run or written.</exception>
    public static void Write(
        Terminal terminal,
        Model model,
        TokenBatch tokens,
        string path,
        CaptureOptions options,
        Range? positions,
        CancellationToken cancellation)
    {
        if (tokens.IsPadded && positions is { } range && !(range.Start.IsFromEnd && range.End.IsFromEnd))
        {
            throw new UsageException(
                "--positions counts from the start, but the sequences have different lengths and are padded.",
                "Count from the end, such as -1, or give a folder to --out, where positions are each sequence's own.");
        }

        long estimate = Estimate(model, tokens, options);
        if (estimate > Large)
        {
            terminal.Note($"{Arguments.ShowSize(estimate)} will be held in memory; a folder given to --out streams instead.");
        }

        using RunResult run = model.Run(
            tokens,
            new RunOptions
            {
                Capture = options.Points,
                Positions = positions,
                Logits = options.Logits ? LogitsWanted.All : LogitsWanted.None,
                Loss = options.Loss,
            },
            cancellation);
        Write(path, tokens, run, options.Type.ToSafetensorsType());
        string size = Arguments.ShowSize(new FileInfo(path).Length);
        terminal.Note($"{run.Cache.Count} points of {tokens.Batch} x {tokens.Length} tokens, {size}: {path}");
    }

    private static long Estimate(Model model, TokenBatch tokens, CaptureOptions options) => sizeof(float) * (
        options.Points.Resolve(model.Points)
            .Sum(point => model.Points.ShapeOf(point, tokens.Batch, tokens.Length, tokens.Length).Count)
        + (options.Logits || options.Loss ? (long)tokens.Batch * tokens.Length * model.Description.Vocabulary : 0));

    private static void Write(string path, TokenBatch tokens, RunResult run, SafetensorsType type)
    {
        List<(SafetensorsDeclaration Declaration, Action<SafetensorsWriter> Write)> tensors = [];
        long[] ids = [.. Enumerable.Range(0, tokens.Ids.Length).Select(i => (long)tokens.Ids[i])];
        AddIntegers("input_ids", ids);
        if (tokens.IsPadded)
        {
            AddIntegers("attention_mask", Mask(tokens));
        }

        foreach ((HookPoint point, Tensor tensor) in run.Cache)
        {
            AddTensor(point.Name, tensor);
        }

        if (run.Logits is { } logits)
        {
            AddTensor("logits", logits);
        }

        if (run.Loss is { } loss)
        {
            var declaration = new SafetensorsDeclaration("loss", SafetensorsType.F32);
            tensors.Add((declaration, writer => writer.Write("loss", BitConverter.GetBytes((float)loss))));
        }

        // Wider types first, so that all are aligned.
        tensors = [.. tensors.OrderByDescending(tensor => tensor.Declaration.Type.Bits())];
        using var writer = new SafetensorsWriter(path, tensors.Select(tensor => tensor.Declaration));
        foreach ((_, Action<SafetensorsWriter> write) in tensors)
        {
            write(writer);
        }

        writer.Complete();

        void AddIntegers(string name, long[] values) => tensors.Add((
            new SafetensorsDeclaration(name, SafetensorsType.I64, tokens.Batch, tokens.Length),
            writer => writer.Write(name, MemoryMarshal.AsBytes(values.AsSpan()))));

        void AddTensor(string name, Tensor tensor)
        {
            long[] shape = [.. tensor.Shape.Axes.ToArray().Select(axis => (long)axis)];
            tensors.Add((new SafetensorsDeclaration(name, type, shape), writer => WriteRows(writer, name, type, tensor, false)));
            if (type == SafetensorsType.I8)
            {
                string scale = Narrowing.ScaleName(name);
                var declaration = new SafetensorsDeclaration(scale, SafetensorsType.F32, shape.AsSpan(..^1));
                tensors.Add((declaration, writer => WriteRows(writer, scale, type, tensor, true)));
            }
        }
    }

    /// <summary>The values or their rows' scales, some rows at a time: a tensor may be too large for an array.</summary>
    private static void WriteRows(SafetensorsWriter writer, string name, SafetensorsType type, Tensor tensor, bool scalesAlone)
    {
        using Tensor rows = tensor.Reshape(checked((int)tensor.Shape.Rows), tensor.Shape.Columns);
        int piece = Math.Max(1, (16 << 20) / Math.Max(1, rows.Shape.Columns));
        for (int done = 0; done < rows.Shape[0]; done += piece)
        {
            using Tensor part = rows.Slice(done, Math.Min(piece, rows.Shape[0] - done));
            var (stored, scales) = (new byte[part.Shape.Count * type.Bits() / 8], new float[part.Shape[0]]);
            Narrowing.Store(type, part.ToArray<float>(), scales.Length, stored, scales);
            writer.Write(name, scalesAlone ? MemoryMarshal.AsBytes(scales.AsSpan()) : stored);
        }
    }

    private static long[] Mask(TokenBatch tokens)
    {
        var mask = new long[tokens.Batch * tokens.Length];
        for (int row = 0; row < tokens.Batch; row++)
        {
            (int first, int end) = tokens.Spans[row];
            mask.AsSpan(row * tokens.Length + first, end - first).Fill(1);
        }

        return mask;
    }
}
