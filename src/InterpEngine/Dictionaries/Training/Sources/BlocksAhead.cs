using System.Collections.Concurrent;

namespace InterpEngine.Dictionaries.Training;

/// <summary>Reads a stream on a thread of its own, a bounded number of blocks ahead.</summary>
internal sealed class BlocksAhead : IDisposable
{
    private const int Ahead = 2;

    private readonly BlockingCollection<RowBlock> _blocks = new(Ahead);
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _reading;

    public BlocksAhead(IRowStream stream) => _reading = Task.Factory.StartNew(
        () => Read(stream), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    /// <summary>The next block, or null at the end. What the stream threw is thrown here.</summary>
    public RowBlock? Next()
    {
        if (_blocks.TryTake(out RowBlock? block, Timeout.Infinite))
        {
            return block;
        }

        _reading.GetAwaiter().GetResult();
        return null;
    }

    public void Dispose()
    {
        _stop.Cancel();
        _reading.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing).GetAwaiter().GetResult();
        _blocks.Dispose();
        _stop.Dispose();
    }

    private void Read(IRowStream stream)
    {
        try
        {
            while (stream.Next(_stop.Token) is { } block)
            {
                _blocks.Add(block, _stop.Token);
            }
        }
        finally
        {
            _blocks.CompleteAdding();
        }
    }
}
