using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Dictionaries;

/// <summary>
/// A dictionary in the middle of a model: what stands at a hook point is replaced by what the dictionary makes of it. A transcoder reads
/// one point and replaces another. Put <see cref="Hooks"/> into a run's options, or call <see cref="SplicedRuns.Run"/>.
/// </summary>
/// <param name="Dictionary">On the model's device. It stays the caller's.</param>
public sealed record Splice(SparseDictionary Dictionary)
{
    /// <summary>The point that the dictionary reads; null for the one that it was trained on.</summary>
    public string? ReadsAt { get; init; }

    /// <summary>The point that is replaced; null for the one that it was trained to write, which but for transcoders is the one it reads.</summary>
    public string? WritesAt { get; init; }

    /// <summary>
    /// Whether what the dictionary misses stays: <c>x + (decoded with edits − decoded)</c>. Without edits the value is then what it was.
    /// </summary>
    public bool KeepsError { get; init; }

    /// <summary>What becomes of single features, in this order.</summary>
    public IReadOnlyList<FeatureEdit> Edits { get; init; } = [];

    /// <summary>The dictionary sees the input times this, and its output is divided by it.</summary>
    public float InputScale { get; init; } = 1;

    /// <summary>[batch · positions]: where the value stays as it is; null for nowhere.</summary>
    public IReadOnlyList<bool>? Untouched { get; init; }

    /// <summary>The hooks that do it in one run at a time: make new ones for a run on another thread.</summary>
    /// <exception cref="DictionaryException">The dictionary does not say where it belongs, or an edited feature does not exist.</exception>
    public IReadOnlyList<Hook> Hooks()
    {
        (string read, string? written) = DictionarySite.PointsOf(Dictionary.Config, ReadsAt, WritesAt);
        string write = written
            ?? throw new DictionaryException("The transcoder's files do not say which hook point it writes.", "Set Splice.WritesAt.");
        foreach (FeatureEdit edit in Edits)
        {
            if ((uint)edit.Feature >= (uint)Dictionary.Config.Features)
            {
                throw new DictionaryException($"There is no feature {edit.Feature}: the dictionary has {Dictionary.Config.Features}.");
            }
        }

        if (write == read)
        {
            return [new Hook(read, (point, x) => Replace(point, x, x))];
        }

        Tensor? seen = null;
        return
        [
            new Hook(read, (_, x) =>
            {
                seen?.Dispose();
                seen = x.Share();
                return null;
            }),
            new Hook(write, (point, x) =>
            {
                using Tensor input = seen ?? throw new DictionaryException($"'{write}' comes before '{read}', which the transcoder reads.");
                seen = null;
                return Replace(point, input, x);
            }),
        ];
    }

    /// <summary>Features of an activation and what they add up to, in the shape of what they replace: without edits, everywhere.</summary>
    internal (SparseRows Features, float[] Reconstruction) Reconstruct(Tensor x, Tensor replaced)
    {
        using Tensor scaled = Scaled(x, InputScale);
        using Encoding encoding = Dictionary.Encode(scaled);
        using Tensor decoded = Decoded(encoding, default, replaced);
        return (encoding.Features.Map((_, _, value) => value), decoded.ToArray<float>());
    }

    /// <summary>What stands at the written point from now on.</summary>
    private Tensor Replace(HookPoint point, Tensor input, Tensor value)
    {
        Device device = value.Device;
        using Tensor scaled = Scaled(input, InputScale);
        using Encoding encoding = Dictionary.Encode(scaled);
        using Encoding? edited = Edits.Count == 0 ? null : encoding.With(encoding.Features.With(Edits));
        Tensor decoded = Decoded(edited ?? encoding, point, value);
        if (KeepsError)
        {
            using Tensor clean = Decoded(encoding, point, value);
            device.Run(new Map { X = clean, Kind = MapKind.Scale, Parameter = -1, Out = clean });
            device.Run(new Add { A = decoded, B = clean, Out = decoded });
            device.Run(new Add { A = value, B = decoded, Out = decoded });
        }

        KeepUntouched(value, decoded);
        return decoded;
    }

    /// <summary>x times a factor; x itself, shared, for 1.</summary>
    internal static Tensor Scaled(Tensor x, float factor)
    {
        if (factor == 1)
        {
            return x.Share();
        }

        Tensor result = x.Device.Allocate(ElementType.F32, x.Shape);
        x.Device.Run(new Map { X = x, Kind = MapKind.Scale, Parameter = factor, Out = result });
        return result;
    }

    /// <summary>In the shape of the value that it replaces.</summary>
    private Tensor Decoded(Encoding encoding, HookPoint point, Tensor value)
    {
        using Tensor decoded = Dictionary.Decode(encoding);
        if (decoded.Shape.Count != value.Shape.Count)
        {
            throw new DictionaryException(
                $"A dictionary that writes rows of {Dictionary.Config.OutputWidth} cannot replace {value.Shape} at '{point}'.",
                "Splice it where it was trained to write.");
        }

        if (InputScale != 1)
        {
            value.Device.Run(new Map { X = decoded, Kind = MapKind.Scale, Parameter = 1 / InputScale, Out = decoded });
        }

        return decoded.Reshape(value.Shape.Axes);
    }

    private void KeepUntouched(Tensor from, Tensor to)
    {
        if (Untouched is null)
        {
            return;
        }

        int rows = from.Shape[0] * from.Shape[1];
        if (Untouched.Count != rows)
        {
            throw new DictionaryException($"Splice.Untouched has {Untouched.Count} entries; expected one for each of {rows} positions.");
        }

        int columns = checked((int)(from.Shape.Count / Math.Max(1, rows)));
        for (int row = 0; row < rows; row++)
        {
            if (Untouched[row])
            {
                from.Device.Run(new Copy
                {
                    From = new Matrix(from, (long)row * columns, 1, columns, columns),
                    To = new Matrix(to, (long)row * columns, 1, columns, columns),
                });
            }
        }
    }
}

/// <summary>Runs with dictionaries in them.</summary>
public static class SplicedRuns
{
    /// <summary>Runs a model with dictionaries in it; the run's own callbacks and captures see what they made.</summary>
    /// <param name="model">The model.</param>
    /// <param name="tokens">The tokens.</param>
    /// <param name="splices">Any number, at different points or at the same one, in this order.</param>
    /// <param name="options">What else to do.</param>
    /// <param name="cancellation">Stops the run within a block's time.</param>
    /// <exception cref="DictionaryException">A dictionary does not fit where it is to be.</exception>
    /// <exception cref="HookException">The model has no such point.</exception>
    public static RunResult Run(
        this Model model, TokenBatch tokens, IEnumerable<Splice> splices, RunOptions? options = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        options ??= new RunOptions();
        return model.Run(tokens, options with { Hooks = [.. splices.SelectMany(splice => splice.Hooks()), .. options.Hooks] }, cancellation);
    }
}
