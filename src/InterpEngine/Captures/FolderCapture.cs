using System.Collections.Concurrent;
using InterpEngine.Formats;
using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Captures;

/// <summary>
/// Captures a corpus into a folder of safetensors shards with an index (docs/capture-format.md). Whenever the process ends, the
/// folder holds whole shards and an index that names them; the same capture started again goes on after the last of them and ends
/// in the same bytes. Batches are computed while others are converted and written: memory holds three of them, whatever the shards.
/// </summary>
public sealed class FolderCapture : IDisposable
{
    private const string LockFile = ".interp-capture.lock";
    private const string Unfinished = ".interp-*.tmp";
    private const int AutomaticTokens = 2048;
    private const long AutomaticBytes = 256L << 20;

    private readonly Model _model;
    private readonly IEnumerable<CaptureSequence> _sequences;
    private readonly CaptureOptions _options;
    private readonly string _folder;
    private readonly ShardLayout _layout;
    private readonly CapturePlan _plan;
    private readonly CaptureIndex _index;
    private readonly FileStream _lock;

    private FolderCapture(
        Model model,
        IEnumerable<CaptureSequence> sequences,
        string folder,
        CaptureOptions options,
        CancellationToken cancellation)
    {
        (_model, _sequences, _options, _folder) = (model, sequences, options, folder);
        _layout = new ShardLayout(model, options);
        _plan = CapturePlan.Create(model.Description, _layout, sequences, options.ShardBytes, cancellation);
        _lock = Lock(folder);
        try
        {
            _index = new CaptureIndex(model, options, _layout, _plan, folder);
            if (File.Exists(Path.Combine(folder, CaptureIndex.FileName)))
            {
                _index.Resume();
            }
            else if (Directory.EnumerateFileSystemEntries(folder).FirstOrDefault(IsForeign) is { } other)
            {
                throw new CaptureException(
                    $"{folder} is not empty ({Path.GetFileName(other)}) and holds no capture.",
                    "Choose an empty or a new folder.");
            }

            ResumedSequences = _plan.Shards.Take(_index.Finished.Count).Sum(shard => (long)shard.Sequences);
            ResumedTokens = _plan.Shards.Take(_index.Finished.Count).Sum(shard => shard.Tokens);
        }
        catch
        {
            _lock.Dispose();
            throw;
        }
    }

    /// <summary>Sequences of the whole capture.</summary>
    public long Sequences => _plan.Sequences;

    /// <summary>Tokens of the whole capture.</summary>
    public long Tokens => _plan.Tokens;

    /// <summary>Bytes of the whole capture, but for the headers of its files.</summary>
    public long Bytes => _plan.Bytes;

    /// <summary>Shards of the whole capture.</summary>
    public int Shards => _plan.Shards.Count;

    /// <summary>Shards that are finished.</summary>
    public int FinishedShards => _index.Finished.Count;

    /// <summary>Sequences that earlier runs have finished.</summary>
    public long ResumedSequences { get; }

    /// <summary>Tokens that earlier runs have finished.</summary>
    public long ResumedTokens { get; }

    /// <summary>Whether all is done.</summary>
    public bool IsComplete => FinishedShards == Shards;

    /// <summary>Reads a corpus once, and opens or creates the folder of its capture.</summary>
    /// <param name="model">What to run.</param>
    /// <param name="sequences">What to run it on; enumerated anew for the capture itself, and the same each time.</param>
    /// <param name="folder">Where the capture is or will be.</param>
    /// <param name="options">What to keep.</param>
    /// <param name="cancellation">Ends the reading.</param>
    /// <exception cref="CaptureException">The folder holds something else, or someone else is writing to it.</exception>
    /// <exception cref="FileWriteException">The folder cannot be written.</exception>
    /// <exception cref="HookException">A point does not exist.</exception>
    /// <exception cref="ModelException">The corpus is empty, or the model cannot run it.</exception>
    public static FolderCapture Open(
        Model model,
        IEnumerable<CaptureSequence> sequences,
        string folder,
        CaptureOptions options,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(sequences);
        ArgumentNullException.ThrowIfNull(folder);
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(options.ShardBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(options.Batch);
        options.Check(model);
        return new FolderCapture(model, sequences, folder, options, cancellation);
    }

    /// <summary>Computes and writes what is missing.</summary>
    /// <param name="progress">Told after each batch; null for nobody.</param>
    /// <param name="cancellation">Ends the capture; finished shards stay.</param>
    /// <exception cref="FileWriteException">The disk refused; finished shards stay.</exception>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    public void Run(IProgress<CaptureProgress>? progress = null, CancellationToken cancellation = default)
    {
        foreach (string leftover in Directory.EnumerateFiles(_folder, Unfinished))
        {
            File.Delete(leftover);
        }

        if (IsComplete)
        {
            return;
        }

        _index.Write();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        using var queue = new BlockingCollection<ComputedBatch>(boundedCapacity: 1);
        Task writing = Task.Run(() => WriteAll(queue, stop), CancellationToken.None);
        try
        {
            ComputeAll(queue, progress, stop.Token);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            // The disk refused; the writer says why.
        }
        finally
        {
            // What is computed is worth the moment that its writing takes.
            queue.CompleteAdding();
            writing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing).GetAwaiter().GetResult();
            foreach (ComputedBatch left in queue.GetConsumingEnumerable(CancellationToken.None))
            {
                left.Dispose();
            }
        }

        writing.GetAwaiter().GetResult();
        progress?.Report(new CaptureProgress(Sequences, Tokens - ResumedTokens, _index.Bytes));
    }

    /// <summary>Lets others write to the folder.</summary>
    public void Dispose() => _lock.Dispose();

    private static CaptureSequence[] Take(IEnumerator<CaptureSequence> source, int count)
    {
        var members = new CaptureSequence[count];
        for (int i = 0; i < count; i++)
        {
            members[i] = source.MoveNext()
                ? source.Current
                : throw new CaptureException(
                    "The input became shorter while it was captured.", "Leave the input alone until the end.");
        }

        return members;
    }

    private void ComputeAll(
        BlockingCollection<ComputedBatch> queue, IProgress<CaptureProgress>? progress, CancellationToken cancellation)
    {
        long sequences = ResumedSequences, tokens = 0;
        using IEnumerator<CaptureSequence> source = _sequences.Skip(checked((int)ResumedSequences)).GetEnumerator();
        for (int shard = FinishedShards, count = Shards; shard < count; shard++)
        {
            CaptureSequence[] members = Take(source, _plan.Shards[shard].Sequences);
            int left = members.Length;
            foreach (int[] batch in Batches(members))
            {
                ComputedBatch computed = Compute(shard, members, batch, isLast: (left -= batch.Length) == 0, cancellation);
                try
                {
                    queue.Add(computed, cancellation);
                }
                catch
                {
                    computed.Dispose();
                    throw;
                }

                sequences += batch.Length;
                tokens += batch.Sum(member => (long)members[member].Ids.Length);
                progress?.Report(new CaptureProgress(sequences, tokens, _index.Bytes));
            }
        }
    }

    /// <summary>Converts and writes batches as they come; ends the computing where the disk refuses.</summary>
    private void WriteAll(BlockingCollection<ComputedBatch> queue, CancellationTokenSource stop)
    {
        ShardFile? file = null;
        try
        {
            foreach (ComputedBatch batch in queue.GetConsumingEnumerable(CancellationToken.None))
            {
                using (batch)
                {
                    string path = Path.Combine(_folder, CaptureIndex.ShardName(batch.Shard));
                    file ??= new ShardFile(path, _layout, _plan.Shards[batch.Shard].First, batch.Members);
                    file.Add(batch.Rows, batch.Run, batch.Done);
                }

                if (batch.IsLast)
                {
                    long bytes = file.Commit();
                    file.Dispose();
                    file = null;
                    _index.Add(bytes);
                }
            }
        }
        catch
        {
            stop.Cancel();
            throw;
        }
        finally
        {
            file?.Dispose();
        }
    }

    /// <summary>Members of a shard to be run together, of similar lengths, so that little is padded.</summary>
    private IEnumerable<int[]> Batches(CaptureSequence[] members)
    {
        int[] order = [.. Enumerable.Range(0, members.Length).OrderBy(i => members[i].Ids.Length)];
        for (int start = 0, end; start < order.Length; start = end)
        {
            end = start + 1;
            while (end < order.Length && Fits(end - start + 1, members[order[end]].Ids.Length))
            {
                end++;
            }

            yield return order[start..end];
        }

        bool Fits(int count, int longest) => _options.Batch > 0
            ? count <= _options.Batch
            : (long)count * longest <= AutomaticTokens && count * _layout.BytesOf(longest) <= AutomaticBytes;
    }

    private ComputedBatch Compute(int shard, CaptureSequence[] members, int[] batch, bool isLast, CancellationToken cancellation)
    {
        TokenBatch tokens = TokenBatch.LeftPadded([.. batch.Select(member => members[member].Ids)]);
        RunResult run = _model.Run(
            tokens,
            new RunOptions
            {
                Capture = HookSelection.FromPoints([.. _layout.Points]),
                Logits = _options.Logits ? LogitsWanted.All : LogitsWanted.None,
                Loss = _options.Loss && tokens.Length > 1,
            },
            cancellation);
        // Batches of every length leave buffers of every size behind.
        Arena arena = _model.Device.Arena;
        if (arena.ReservedBytes - arena.LiveBytes > AutomaticBytes)
        {
            arena.Trim();
        }

        try
        {
            return new ComputedBatch(shard, members, batch, run, _model.Device.Mark(), isLast);
        }
        catch
        {
            run.Dispose();
            throw;
        }
    }

    /// <summary>A batch on its way to the disk.</summary>
    /// <param name="Shard">The shard that it belongs to.</param>
    /// <param name="Members">All sequences of that.</param>
    /// <param name="Rows">Which of them it has.</param>
    /// <param name="Run">Their values.</param>
    /// <param name="Done">The device's mark behind them.</param>
    /// <param name="IsLast">Whether the shard is complete with it.</param>
    private sealed record ComputedBatch(
        int Shard, CaptureSequence[] Members, int[] Rows, RunResult Run, DeviceMark Done, bool IsLast) : IDisposable
    {
        public void Dispose()
        {
            Done.Dispose();
            Run.Dispose();
        }
    }

    private static bool IsForeign(string path)
    {
        string name = Path.GetFileName(path);
        return name != LockFile && !System.IO.Enumeration.FileSystemName.MatchesSimpleExpression(Unfinished, name);
    }

    private static FileStream Lock(string folder)
    {
        try
        {
            Directory.CreateDirectory(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new FileWriteException(
                folder, $"the folder could not be created ({e.Message})", "Check the path and its permissions.", e);
        }

        string path = Path.Combine(folder, LockFile);
        try
        {
            return new FileStream(
                path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 1, FileOptions.DeleteOnClose);
        }
        catch (IOException e) when (File.Exists(path))
        {
            throw new CaptureException(
                $"{folder} is in use: another process is capturing into it.", "Wait for its end, or choose another folder.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new FileWriteException(
                folder, $"the folder cannot be written ({e.Message})", "Check its permissions and free space.", e);
        }
    }
}
