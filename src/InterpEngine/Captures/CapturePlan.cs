using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using InterpEngine.Models;

namespace InterpEngine.Captures;

/// <summary>A shard to be written.</summary>
/// <param name="First">Number of its first sequence in the corpus.</param>
/// <param name="Sequences">How many it has.</param>
/// <param name="Tokens">Their tokens.</param>
/// <param name="Bytes">Its data.</param>
internal readonly record struct PlannedShard(long First, int Sequences, long Tokens, long Bytes);

/// <summary>
/// How a corpus falls into shards. It depends on the sequences' lengths alone, so that a resumed run, or one with another batch
/// size, makes the same shards.
/// </summary>
internal sealed class CapturePlan
{
    private CapturePlan(List<PlannedShard> shards, int documents, string inputHash) =>
        (Shards, Documents, InputHash) = (shards, documents, inputHash);

    public IReadOnlyList<PlannedShard> Shards { get; }

    public int Documents { get; }

    /// <summary>SHA-256 of all tokens and of where sequences and documents begin.</summary>
    public string InputHash { get; }

    public long Sequences => Shards.Sum(shard => (long)shard.Sequences);

    public long Tokens => Shards.Sum(shard => shard.Tokens);

    public long Bytes => Shards.Sum(shard => shard.Bytes);

    /// <summary>Reads a corpus once, and checks that the model can run it.</summary>
    /// <exception cref="ModelException">A sequence is empty, too long, or has a token that the model lacks.</exception>
    public static CapturePlan Create(
        ModelDescription model,
        ShardLayout layout,
        IEnumerable<CaptureSequence> sequences,
        long shardBytes,
        CancellationToken cancellation)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var shards = new List<PlannedShard>();
        var shard = default(PlannedShard);
        int documents = 0;
        Span<byte> head = stackalloc byte[2 * sizeof(int)];
        foreach (CaptureSequence sequence in sequences)
        {
            cancellation.ThrowIfCancellationRequested();
            Check(model, sequence);
            BinaryPrimitives.WriteInt32LittleEndian(head, sequence.Document);
            BinaryPrimitives.WriteInt32LittleEndian(head[sizeof(int)..], sequence.Ids.Length);
            hash.AppendData(head);
            hash.AppendData(MemoryMarshal.AsBytes(sequence.Ids.AsSpan()));
            documents = Math.Max(documents, sequence.Document + 1);
            long bytes = layout.BytesOf(sequence.Ids.Length);
            if (shard.Sequences > 0 && shard.Bytes + bytes > shardBytes)
            {
                shards.Add(shard);
                shard = new PlannedShard(shard.First + shard.Sequences, 0, 0, 0);
            }

            shard = shard with
            {
                Sequences = shard.Sequences + 1,
                Tokens = shard.Tokens + sequence.Ids.Length,
                Bytes = shard.Bytes + bytes,
            };
        }

        if (shard.Sequences > 0)
        {
            shards.Add(shard);
        }

        return shards.Count > 0
            ? new CapturePlan(shards, documents, Convert.ToHexStringLower(hash.GetHashAndReset()))
            : throw new ModelException("There is nothing to capture: the input has no tokens.");
    }

    private static void Check(ModelDescription model, CaptureSequence sequence)
    {
        if (sequence.Ids.Length == 0 || (model.Positions is LearnedPositions && sequence.Ids.Length > model.Context))
        {
            throw new ModelException(
                $"A piece of document {sequence.Document} has {sequence.Ids.Length} tokens; expected 1 to {model.Context}.",
                "Split long documents into shorter sequences.");
        }

        int wrong = sequence.Ids.AsSpan().IndexOfAnyExceptInRange(0, model.Vocabulary - 1);
        if (wrong >= 0)
        {
            throw new ModelException(
                $"Token {sequence.Ids[wrong]} of document {sequence.Document} is not in the vocabulary of {model.Vocabulary}.",
                "Were these ids made by another model's tokenizer?");
        }
    }
}
