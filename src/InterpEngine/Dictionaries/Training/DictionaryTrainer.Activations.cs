namespace InterpEngine.Dictionaries.Training;

/// <summary>The derivatives of the rules, pseudo-derivatives of jumps among them.</summary>
public sealed partial class DictionaryTrainer
{
    /// <summary>From gradients by activations to those by pre-activations, thresholds and magnitudes.</summary>
    private void DifferentiateActivation(Batch batch, Entries entries)
    {
        if (IsGated)
        {
            entries.SplitGradients();
            DifferentiateGated(entries);
        }
        else if (_threshold is not null)
        {
            entries.SplitGradients();
            DifferentiateJump(batch, entries);
        }
    }

    private void DifferentiateGated(Entries entries)
    {
        Span<float> bias = _encoderBias!.Gradients, scale = _magnitudeScale!.Gradients;
        ReadOnlySpan<int> features = entries.Features;
        for (int e = 0; e < entries.Count; e++)
        {
            int f = features[e];
            float factor = MathF.Exp(_magnitudeScale.Values[f]), gradient = entries.Values[e] > 0 ? entries.ValueGradients[e] : 0;
            entries.PreGradients[e] = gradient * factor;
            scale[f] += gradient * entries.H[e] * factor;
            bias[f] += gradient;
        }
    }

    /// <summary>A jump's pseudo-derivative: that of a ramp, as wide as the bandwidth, in its place.</summary>
    private void DifferentiateJump(Batch batch, Entries entries)
    {
        double width = _options.Bandwidth;
        double[] counts = Counts(batch, entries, out double meanCount);
        Span<float> gradients = _threshold!.Gradients;
        ReadOnlySpan<float> thresholds = _threshold.Values;
        ReadOnlySpan<int> features = entries.Features;
        bool atActivation = _options.CountsAtActivation;
        int[] active = new int[Config.Features];
        double inactiveSlope = 0;
        for (int row = 0; row < batch.Rows; row++)
        {
            double slope = CountSlope(counts[row], meanCount, batch.Rows);
            inactiveSlope = slope;
            for (int e = entries.Pointers[row]; e < entries.Pointers[row + 1]; e++)
            {
                int f = features[e];
                double h = entries.H[e], theta = thresholds[f], g = entries.ValueGradients[e];
                bool isActive = h > theta, near = Math.Abs((h - theta) / width) < 0.5;
                active[f] += isActive ? 1 : 0;
                double jump = near ? theta / width * g : 0, count = near && (!atActivation || isActive) ? slope / width : 0;
                gradients[f] -= (float)(jump + count);
                double through = _options.StraightThroughToInput ? jump + count : 0;
                entries.PreGradients[e] = (float)((isActive ? g : 0) + through);
            }
        }

        // Counted at z, every inactive entry is 0, which lies within reach of a small threshold. All rows have the same slope then.
        for (int f = 0; atActivation && f < active.Length; f++)
        {
            gradients[f] -= Math.Abs(thresholds[f] / width) < 0.5 ? (float)((batch.Rows - active[f]) * inactiveSlope / width) : 0;
        }
    }

    /// <summary>Each row's L0, and the count losses.</summary>
    private double[] Counts(Batch batch, Entries entries, out double mean)
    {
        double[] counts = new double[batch.Rows];
        for (int row = 0; row < batch.Rows; row++)
        {
            for (int e = entries.Pointers[row]; e < entries.Pointers[row + 1]; e++)
            {
                counts[row] += entries.Values[e] != 0 ? 1 : 0;
            }
        }

        mean = counts.Average();
        double target = _options.TargetL0, average = mean, coefficient = _options.SparsityCoefficient * SparsityScale;
        batch.Sparsity += coefficient * _options.Sparsity switch
        {
            SparsityLoss.Count => average,
            SparsityLoss.CountFromTarget => counts.Average(count => 2 / target * (count - target) * (count - target)),
            SparsityLoss.MeanCountFromTarget => (average / target - 1) * (average / target - 1),
            _ => 0,
        };
        return counts;
    }

    /// <summary>The loss's derivative by one row's L0.</summary>
    private double CountSlope(double count, double mean, int rows)
    {
        double target = _options.TargetL0, coefficient = _options.SparsityCoefficient * SparsityScale;
        return coefficient / rows * _options.Sparsity switch
        {
            SparsityLoss.Count => 1,
            SparsityLoss.CountFromTarget => 4 / target * (count - target),
            SparsityLoss.MeanCountFromTarget => 2 * (mean / target - 1) / target,
            _ => 0,
        };
    }

    /// <summary>Pre-activations of dead features are drawn towards their thresholds.</summary>
    private void AddPreActivationLoss(Batch batch, float[] normGradients)
    {
        if (_options.PreActivationCoefficient == 0 || batch.DeadCount == 0 || _threshold is null)
        {
            return;
        }

        int[] dead = [.. Enumerable.Range(0, Config.Features).Where(f => batch.Dead[f])];
        using Entries entries = Encode(batch, _encoderBias, Kernels.Selection.Threshold, 0, [], dead);
        entries.SplitGradients();
        double factor = _options.PreActivationCoefficient / batch.Rows;
        for (int e = 0; e < entries.Count; e++)
        {
            int f = entries.Features[e];
            double below = _threshold.Values[f] - (double)entries.H[e];
            if (below <= 0)
            {
                continue;
            }

            batch.Auxiliary += factor * below * _norms[f];
            _threshold.Gradients[f] += (float)(factor * _norms[f]);
            entries.PreGradients[e] = (float)(-factor * _norms[f]);
            normGradients[f] += (float)(factor * below);
        }

        BackwardToEncoder(batch, entries, _encoderBias);
    }
}
