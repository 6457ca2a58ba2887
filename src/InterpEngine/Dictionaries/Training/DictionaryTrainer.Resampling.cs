using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>New directions for features that have not been active for long.</summary>
public sealed partial class DictionaryTrainer
{
    /// <summary>Gives dead features new directions. A step does it by itself where the options say so.</summary>
    /// <param name="x">[n, input]: rows to take directions from; at most n features get one.</param>
    /// <param name="rule">How.</param>
    /// <param name="target">[n, output], or null for x.</param>
    /// <returns>How many features got one.</returns>
    /// <exception cref="DictionaryException">The rows do not fit, or the dictionary has no encoder.</exception>
    public int Resample(Tensor x, Resampling rule, Tensor? target = null)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(rule);
        if (_encoder is null || _encoderBias is null)
        {
            throw new DictionaryException("Matching pursuit has no encoder whose rows could be drawn anew.");
        }

        int[] dead = [.. Enumerable.Range(0, Config.Features).Where(f => _sinceActive[f] > rule.DeadWindow)];
        if (dead.Length == 0)
        {
            return 0;
        }

        CheckRows(x, target);
        using var batch = new Batch(this, x, target);
        int[] rows = Draw(_random, ErrorsOf(batch), rule.Rule == ResamplingRule.Anthropic ? 2 : 0.5, dead.Length);
        double norm = MeanNorm(_encoder, dead) * rule.EncoderScale;
        ReadOnlySpan<float> inputs = HostMemory.Read<float>(batch.Input), targets = HostMemory.Read<float>(batch.Target);
        int d = Config.InputWidth, output = Config.OutputWidth;
        for (int i = 0; i < rows.Length; i++)
        {
            ReadOnlySpan<float> read = inputs.Slice(rows[i] * d, d), written = targets.Slice(rows[i] * output, output);
            Restart(_encoder, dead[i], read, rule.Rule == ResamplingRule.Anthropic ? norm / Norm(read) : norm);
            Restart(_decoder, dead[i], written, 1 / Norm(written));
            foreach (TrainedMatrix vector in new[] { _encoderBias, _gateBias }.OfType<TrainedMatrix>())
            {
                (vector.Values[dead[i]], vector.First[dead[i]], vector.Second[dead[i]]) = (0, 0, 0);
            }
        }

        return rows.Length;
    }

    /// <summary>Each row's squared error, with the parameters as they are now.</summary>
    private float[] ErrorsOf(Batch batch)
    {
        _norms = NeedsNorms ? DecoderNorms() : [];
        using Entries entries = Encode(batch, _encoderBias, Config.Rule with { K = CurrentK });
        Activate(entries);
        Tensor error = Decode(batch, [entries], dots: false)[0];
        using Tensor squares = _device.Allocate(ElementType.F32, batch.Rows);
        _device.Run(new ProjectGradient { Parameter = error, Gradient = error, Squares = squares });
        return squares.ToArray<float>();
    }

    /// <summary>Rows without replacement, each as likely as a power of its squared error: the first arrivals of as many exponential clocks.</summary>
    internal static int[] Draw(SeededRandom random, float[] errors, double power, int count)
    {
        double[] arrivals = Array.ConvertAll(
            errors, error => error > 0 ? -Math.Log(random.NextDouble()) / Math.Pow(error, power) : double.PositiveInfinity);
        int[] rows = [.. Enumerable.Range(0, errors.Length)];
        Array.Sort((double[])arrivals.Clone(), rows);
        return [.. rows.Take(count).TakeWhile(row => double.IsFinite(arrivals[row]))];
    }

    private static double MeanNorm(TrainedMatrix matrix, int[] without)
    {
        bool[] dead = new bool[matrix.Rows];
        Array.ForEach(without, f => dead[f] = true);
        int[] living = [.. Enumerable.Range(0, matrix.Rows).Where(f => !dead[f])];
        return living.Length == 0 ? 1 : living.Average(f => Norm(matrix.Row(f)));
    }

    private static void Restart(TrainedMatrix matrix, int row, ReadOnlySpan<float> direction, double factor)
    {
        Span<float> values = matrix.Row(row);
        direction.CopyTo(values);
        Scale(values, factor);
        matrix.First.Slice(row * matrix.Columns, matrix.Columns).Clear();
        matrix.Second.Slice(row * matrix.Columns, matrix.Columns).Clear();
    }

    private static double Norm(ReadOnlySpan<float> row) => Math.Sqrt(SumOfSquares(row));
}
