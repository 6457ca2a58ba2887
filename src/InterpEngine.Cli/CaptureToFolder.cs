using System.Diagnostics;
using System.Globalization;
using InterpEngine.Captures;
using Spectre.Console;

namespace InterpEngine.Cli;

/// <summary>A corpus to a folder of shards, and how far it is.</summary>
internal static class CaptureToFolder
{
    private const double MaxSeconds = 1e9;
    private static readonly TimeSpan s_plainInterval = TimeSpan.FromSeconds(5);

    /// <summary>Captures, or goes on with a capture.</summary>
    /// <exception cref="InterpException">It cannot be run or written.</exception>
    public static void Run(
        Terminal terminal,
        Model model,
        IEnumerable<CaptureSequence> sequences,
        string folder,
        CaptureOptions options,
        CancellationToken cancellation)
    {
        using FolderCapture capture = terminal.Busy(
            "Reading the input", () => FolderCapture.Open(model, sequences, folder, options, cancellation));
        string size = $"{capture.Sequences:N0} sequences, {capture.Tokens:N0} tokens, "
            + $"{Arguments.ShowSize(capture.Bytes)} in {capture.Shards:N0} shards";
        if (capture.IsComplete)
        {
            capture.Run(null, cancellation);
            terminal.Note($"already complete: {size}: {folder}");
            return;
        }

        terminal.Note(capture.FinishedShards > 0 ? $"resuming after shard {capture.FinishedShards}: {size}" : size);
        WarnOfSpace(terminal, folder, capture);
        try
        {
            if (terminal.IsInteractive)
            {
                RunWithBar(terminal, capture, cancellation);
            }
            else
            {
                RunPlainly(terminal, capture, cancellation);
            }
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            terminal.Note(
                $"stopped with {capture.FinishedShards} of {capture.Shards} shards finished; "
                + "the same command goes on from there.");
            throw;
        }

        terminal.Note($"complete: {folder}");
    }

    private static void WarnOfSpace(Terminal terminal, string folder, FolderCapture capture)
    {
        long needed = (long)(capture.Bytes * (1 - (double)capture.ResumedTokens / capture.Tokens));
        long free = new DriveInfo(Path.GetFullPath(folder)).AvailableFreeSpace;
        if (needed > free)
        {
            terminal.Note(
                $"warning: about {Arguments.ShowSize(needed)} are needed, but the disk has "
                + $"only {Arguments.ShowSize(free)} free.");
        }
    }

    private static void RunWithBar(Terminal terminal, FolderCapture capture, CancellationToken cancellation) =>
        terminal.Messages.Progress()
            .AutoClear(true)
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn())
            .Start(context =>
            {
                long start = Stopwatch.GetTimestamp();
                ProgressTask task = context.AddTask("Capturing", maxValue: capture.Tokens);
                capture.Run(
                    new Sink(progress =>
                    {
                        task.Value = capture.ResumedTokens + progress.Tokens;
                        task.Description = Markup.Escape(Describe(capture, progress, Stopwatch.GetElapsedTime(start)));
                    }),
                    cancellation);
            });

    private static void RunPlainly(Terminal terminal, FolderCapture capture, CancellationToken cancellation)
    {
        long start = Stopwatch.GetTimestamp();
        TimeSpan next = s_plainInterval;
        capture.Run(
            new Sink(progress =>
            {
                TimeSpan elapsed = Stopwatch.GetElapsedTime(start);
                if (elapsed >= next)
                {
                    next = elapsed + s_plainInterval;
                    terminal.Note(Describe(capture, progress, elapsed));
                }
            }),
            cancellation);
    }

    private static string Describe(FolderCapture capture, CaptureProgress progress, TimeSpan elapsed)
    {
        double rate = progress.Tokens / Math.Max(1e-9, elapsed.TotalSeconds);
        long left = (long)Math.Min(MaxSeconds, (capture.Tokens - capture.ResumedTokens - progress.Tokens) / Math.Max(1e-9, rate));
        string written = Arguments.ShowSize(progress.Bytes);
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{progress.Sequences:N0} of {capture.Sequences:N0} sequences, {rate:N0} tokens/s, {written} written, "
            + $"{left / 3600}:{left / 60 % 60:00}:{left % 60:00} left");
    }

    private sealed class Sink(Action<CaptureProgress> action) : IProgress<CaptureProgress>
    {
        public void Report(CaptureProgress value) => action(value);
    }
}
