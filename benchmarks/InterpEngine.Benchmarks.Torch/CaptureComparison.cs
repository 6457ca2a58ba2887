using System.Diagnostics;
using InterpEngine.Captures;
using InterpEngine.Models;

namespace InterpEngine.Benchmarks.Torch;

/// <summary>Capturing to disk against the slower of what it is made of: computing alone, and one plain large write.</summary>
internal static class CaptureComparison
{
    private const int Sequences = 16, Length = 128, Batch = 8;

    public static void Run(Session session, Model model)
    {
        string folder = Directory.CreateTempSubdirectory("interp-benchmark-").FullName;
        try
        {
            foreach ((string what, string points) in ((string, string)[])[("one residual", "blocks.6.hook_resid_post"), ("every block's points", "blocks.*")])
            {
                Compare(session, model, folder, what, points);
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static void Compare(Session session, Model model, string folder, string what, string points)
    {
        TokenBatch tokens = RandomCheckpoint.Tokens(model.Description.Vocabulary, Sequences, Length);
        CaptureSequence[] sequences =
            [.. Enumerable.Range(0, Sequences).Select(i => new CaptureSequence(i, tokens.Ids.Slice(i * Length, Length).ToArray()))];
        var options = new CaptureOptions { Points = [points, "!*_input", "!*_in", "!*_result"], Batch = Batch };
        string output = Path.Combine(folder, "capture"), plain = Path.Combine(folder, "plain");
        long bytes = 0;
        void Capture()
        {
            Directory.CreateDirectory(output);
            using (FolderCapture capture = FolderCapture.Open(model, sequences, output, options))
            {
                capture.Run();
                bytes = capture.Bytes;
            }
        }

        void Delete()
        {
            if (Directory.Exists(output))
            {
                Directory.Delete(output, recursive: true);
            }

            File.Delete(plain);
        }

        void Compute()
        {
            for (int first = 0; first < Sequences; first += Batch)
            {
                TokenBatch batch = TokenBatch.Rectangle(tokens.Ids.Slice(first * Length, Batch * Length), Batch, Length);
                model.Run(batch, new RunOptions { Capture = options.Points, Logits = LogitsWanted.None }).Dispose();
            }
        }

        void Write()
        {
            var buffer = new byte[64 << 20];
            using (FileStream file = new(plain, FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 0))
            {
                for (long left = bytes; left > 0; left -= buffer.Length)
                {
                    file.Write(buffer, 0, (int)Math.Min(left, buffer.Length));
                }

                file.Flush(flushToDisk: true);
            }
        }

        Capture();
        bool computeIsSlower = Seconds(Compute) > Seconds(Write);
        Delete();
        session.Measure(new Comparison(
            $"capturing {what} to disk, {Sequences}×{Length}, {bytes >> 20} MiB",
            computeIsSlower ? "computing alone" : "a plain write, synced", 0.8, Capture, computeIsSlower ? Compute : Write)
        {
            Tidy = Delete,
        });
    }

    private static double Seconds(Action action)
    {
        action();
        long begin = Stopwatch.GetTimestamp();
        action();
        return Stopwatch.GetElapsedTime(begin).TotalSeconds;
    }
}
