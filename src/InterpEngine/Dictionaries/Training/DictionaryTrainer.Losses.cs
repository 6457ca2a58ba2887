using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>The losses and their derivatives.</summary>
public sealed partial class DictionaryTrainer
{
    /// <summary>The sparsity loss's coefficient in this step.</summary>
    private double SparsityScale => _options.SparsityWarmup > 0 ? Math.Min((double)StepCount / _options.SparsityWarmup, 1) : 1;

    /// <summary>
    /// From errors to gradients, of each level's own decoded part, that is, of all levels from it on. They stay errors where that is one number
    /// times them.
    /// </summary>
    /// <returns>What to multiply by.</returns>
    private double DifferentiateReconstruction(Batch batch, Tensor[] errors)
    {
        if (_options.Reconstruction == ReconstructionLoss.Norm)
        {
            for (int level = 0; level < errors.Length; level++)
            {
                double weight = LevelWeight(level);
                HostMemory.Edit<float>(errors[level], e => batch.Reconstruction += weight * DifferentiateNorm(batch, e, weight));
            }
        }

        double divisor = _options.Reconstruction switch
        {
            ReconstructionLoss.Norm => 2,
            ReconstructionLoss.Squares => batch.Rows * Config.Layers,
            _ => batch.TargetVariance,
        };
        for (int level = 0; level < errors.Length && _options.Reconstruction != ReconstructionLoss.Norm; level++)
        {
            double weight = LevelWeight(level);
            bool isLast = level == errors.Length - 1;
            batch.Reconstruction += weight * (isLast ? batch.SquaredError : Batch.SquaresOf(errors[level])) / divisor;
            if (weight != 1)
            {
                _device.Run(new Map { Kind = MapKind.Scale, X = errors[level], Parameter = (float)weight, Out = errors[level] });
            }
        }

        for (int level = errors.Length - 2; level >= 0; level--)
        {
            _device.Run(new Add { A = errors[level], B = errors[level + 1], Out = errors[level] });
        }

        foreach (Tensor error in errors)
        {
            batch.ScaleOutput(error);
        }

        return 2 / divisor;
    }

    private double LevelWeight(int level) => _options.LevelWeights.Length > 0 ? _options.LevelWeights[level] : 1;

    private double DifferentiateNorm(Batch batch, Span<float> e, double weight)
    {
        int parts = batch.Rows * Config.Layers, width = Config.OutputWidth / Config.Layers;
        double sum = 0;
        for (int at = 0; at < e.Length; at += width)
        {
            Span<float> row = e.Slice(at, width);
            double norm = Math.Sqrt(SumOfSquares(row));
            sum += norm;
            Scale(row, norm == 0 ? 0 : weight / (norm * parts));
        }

        return sum / parts;
    }

    private static double SumOfSquares(ReadOnlySpan<float> values)
    {
        double sum = 0;
        foreach (float value in values)
        {
            sum += (double)value * value;
        }

        return sum;
    }

    /// <summary>Dead features explain what is left.</summary>
    private void AddAuxiliary(Batch batch, Tensor[] errors)
    {
        if (_options.Auxiliary == AuxiliaryLoss.None || batch.DeadCount == 0)
        {
            return;
        }

        bool byLevel = _options.Auxiliary == AuxiliaryLoss.SignedByLevel;
        int begin = 0;
        for (int level = 0; level < (byLevel ? _levels.Length : 1); level++)
        {
            int end = byLevel ? _levels[level] : Config.Features;
            int[] dead = [.. Enumerable.Range(begin, end - begin).Where(f => batch.Dead[f])];
            begin = end;
            if (dead.Length > 0)
            {
                AddAuxiliary(batch, byLevel ? errors[level] : errors[^1], dead);
            }
        }
    }

    private void AddAuxiliary(Batch batch, Tensor error, int[] dead)
    {
        int most = Config.OutputWidth / Config.Layers / 2;
        bool signed = _options.Auxiliary is AuxiliaryLoss.Signed or AuxiliaryLoss.SignedByLevel;
        using Entries entries = Encode(
            batch, _encoderBias, Selection.TopK, Math.Min(most, dead.Length), signed ? [] : new float[Config.Features], dead);
        using Tensor estimate = _device.Allocate(ElementType.F32, batch.Rows, Config.OutputWidth); // ê − r, r = −e
        if (batch.ScalesOutput)
        {
            HostMemory.Edit<float>(estimate, values => values.Clear());
            entries.DecodeOnto(_decoder, estimate);
            batch.ScaleOutput(estimate);
            _device.Run(new Add { A = estimate, B = error, Out = estimate });
        }
        else
        {
            _device.Run(new Copy { From = error, To = estimate });
            entries.DecodeOnto(_decoder, estimate);
        }

        double scale = Math.Min((double)dead.Length / most, 1);
        double factor = _options.AuxiliaryCoefficient * _options.Auxiliary switch
        {
            AuxiliaryLoss.ResidualVariance => Batch.Variance(error) is > 0 and var variance ? 1 / variance : 0,
            AuxiliaryLoss.TargetVariance => scale / batch.TargetVariance,
            _ => scale / batch.Rows,
        };
        batch.Auxiliary += factor * Batch.SquaresOf(estimate);
        batch.ScaleOutput(estimate);
        entries.Backward(_decoder, estimate, 2 * factor);
        if (!_options.AuxiliarySparesEncoder)
        {
            BackwardToEncoder(batch, entries, _encoderBias);
        }
    }

    private void AddMultiTopK(Batch batch, Entries? entries)
    {
        if (entries is null)
        {
            return;
        }

        double factor = _options.MultiTopKCoefficient / batch.TargetVariance;
        batch.Auxiliary += factor * Reconstruct(batch, entries, factor, trainsDecoder: true);
        if (!_options.AuxiliarySparesEncoder)
        {
            BackwardToEncoder(batch, entries, _encoderBias);
        }
    }

    /// <summary>A second reconstruction, from other entries; the loss is a factor times its squared error, which is returned.</summary>
    private double Reconstruct(Batch batch, Entries entries, double factor, bool trainsDecoder)
    {
        using Tensor error = _device.Allocate(ElementType.F32, batch.Rows, Config.OutputWidth);
        entries.Decode(_decoder, _decoderBias, batch.Target, error, dots: !batch.ScalesOutput);
        batch.ScaleOutput(error);
        double squares = Batch.SquaresOf(error);
        batch.ScaleOutput(error);
        entries.Backward(_decoder, error, 2 * factor, hasDots: !batch.ScalesOutput, trainsDecoder);
        if (trainsDecoder)
        {
            AddBias(error, 2 * factor);
        }

        return squares;
    }

    /// <summary>A gated dictionary's second reconstruction, from the gate's own values π = relu(p + b), and their sparsity.</summary>
    private Entries AddGate(Batch batch, Entries all, float[] normGradients)
    {
        float[] values = new float[all.Count];
        for (int e = 0; e < values.Length; e++)
        {
            values[e] = all.H[e] + _gateBias!.Values[all.Features[e]];
        }

        Entries gate = all.With(values);
        batch.Auxiliary += Reconstruct(batch, gate, 1.0 / batch.Rows, trainsDecoder: !_options.GateDetachesDecoder) / batch.Rows;
        double factor = _options.SparsityCoefficient * SparsityScale / batch.Rows;
        for (int e = 0; e < gate.Count; e++)
        {
            int f = gate.Features[e];
            double w = _options.SparsityByDecoderNorm ? _norms[f] : 1;
            batch.Sparsity += factor * gate.Values[e] * w;
            batch.UnscaledSparsity += gate.Values[e] * w / batch.Rows;
            gate.ValueGradients[e] += (float)(factor * w);
            if (_options.SparsityByDecoderNorm)
            {
                normGradients[f] += (float)(factor * gate.Values[e]);
            }
        }

        BackwardToEncoder(batch, gate, _gateBias);
        return gate;
    }

    /// <summary>Adds the sparsity loss and its derivatives by activations and by decoder norms.</summary>
    private void AddSparsity(Batch batch, Entries entries, float[] normGradients)
    {
        if (_options.Sparsity == SparsityLoss.None || IsGated)
        {
            return;
        }

        bool weighted = _options.SparsityByDecoderNorm;
        double coefficient = (Annealed?.Coefficient ?? _options.SparsityCoefficient) * SparsityScale, power = Annealed?.Power ?? _options.Power;
        double now = 0, next = 0;
        for (int row = 0; row < batch.Rows; row++)
        {
            int begin = entries.Pointers[row], end = entries.Pointers[row + 1];
            double sum = 0;
            for (int e = begin; e < end; e++)
            {
                double z = entries.Values[e] * (double)(weighted ? _norms[entries.Features[e]] : 1);
                sum += z > 0 ? Power(z, power) : 0;
                next += z > 0 && Annealed?.Next is { } nextPower ? Math.Pow(z, nextPower) : 0;
            }

            double outer = 1; // derivative of the row's loss by the sum of powers
            switch (_options.Sparsity)
            {
                case SparsityLoss.Norm:
                    now += Power(sum, 1 / power);
                    outer = sum > 0 ? Power(sum, 1 / power - 1) / power : 0;
                    break;
                case SparsityLoss.Power:
                    now += sum;
                    break;
                case SparsityLoss.Tanh:
                    now += AddTanh(entries, begin, end, coefficient / batch.Rows, normGradients);
                    continue;
                default:
                    continue; // counts are differentiated with the threshold
            }

            for (int e = begin; e < end; e++)
            {
                int f = entries.Features[e];
                double w = weighted ? _norms[f] : 1, z = entries.Values[e] * w;
                double slope = z > 0 ? coefficient / batch.Rows * outer * power * Power(z, power - 1) : 0;
                entries.ValueGradients[e] += (float)(slope * w);
                if (weighted)
                {
                    normGradients[f] += (float)(slope * entries.Values[e]);
                }
            }
        }

        Annealed?.Record(now / batch.Rows, next / batch.Rows);
        Annealed?.After(StepCount);
        batch.Sparsity += coefficient * now / batch.Rows;
        batch.UnscaledSparsity += now / batch.Rows;
    }

    /// <summary>Quickly where the exponent is the usual one.</summary>
    private static double Power(double x, double exponent) => exponent == 1 ? x : exponent == 0 ? 1 : Math.Pow(x, exponent);

    private double AddTanh(Entries entries, int begin, int end, double factor, float[] normGradients)
    {
        double sum = 0, s = _options.TanhScale;
        for (int e = begin; e < end; e++)
        {
            int f = entries.Features[e];
            double t = Math.Tanh(s * entries.Values[e] * _norms[f]);
            sum += t;
            double slope = factor * (1 - t * t) * s;
            entries.ValueGradients[e] += (float)(slope * _norms[f]);
            normGradients[f] += (float)(slope * entries.Values[e]);
        }

        return sum;
    }

    /// <summary>∂loss/∂D through the norms of its rows, or of their layers' parts: multiples of these.</summary>
    private void DifferentiateNorms(float[] normGradients)
    {
        int layers = Config.Layers, width = Config.OutputWidth / layers, parts = Config.Features * layers;
        if (normGradients.All(gradient => gradient == 0))
        {
            return;
        }

        float[] squares = SquaresOfParts(), factors = new float[parts];
        for (int f = 0; f < normGradients.Length; f++)
        {
            double whole = 0;
            for (int l = 0; l < layers; l++)
            {
                whole += squares[f * layers + l];
            }

            for (int l = f * layers; l < (f + 1) * layers; l++)
            {
                factors[l] = (float)(normGradients[f] * ((whole > 0 ? _options.WholeNorm / Math.Sqrt(whole) : 0)
                    + (squares[l] > 0 ? _options.LayerNorms / Math.Sqrt(squares[l]) : 0)));
            }
        }

        using SparseRows diagonal = SparseRowsEditing.Upload(
            _device, parts, [.. Enumerable.Range(0, parts + 1)], [.. Enumerable.Range(0, parts)], factors);
        _device.Run(new SparseProduct
        {
            S = diagonal,
            M = new Matrix(_decoder.Value, 0, parts, width, width),
            Accumulate = true,
            Out = new Matrix(_decoder.Gradient, 0, parts, width, width),
        });
    }
}
