using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>The losses and their derivatives.</summary>
public sealed partial class DictionaryTrainer
{
    private const float NotExcluded = float.NegativeInfinity;

    /// <summary>The sparsity loss's coefficient in this step.</summary>
    private double SparsityScale => _options.SparsityWarmup > 0 ? Math.Min((double)StepCount / _options.SparsityWarmup, 1) : 1;

    /// <summary>Errors become gradients: of each level's own decoded part, that is, of all levels from it on.</summary>
    private void DifferentiateReconstruction(Batch batch, Tensor[] errors)
    {
        for (int level = 0; level < errors.Length; level++)
        {
            double weight = _options.LevelWeights.Length > 0 ? _options.LevelWeights[level] : 1;
            batch.Reconstruction += weight * Differentiate(batch, HostSpan.Of<float>(errors[level]), weight);
        }

        for (int level = errors.Length - 2; level >= 0; level--)
        {
            Span<float> to = HostSpan.Of<float>(errors[level]);
            ReadOnlySpan<float> from = HostSpan.Of<float>(errors[level + 1]);
            for (int i = 0; i < to.Length; i++)
            {
                to[i] += from[i];
            }
        }
    }

    private double Differentiate(Batch batch, Span<float> e, double weight)
    {
        int parts = batch.Rows * Config.Layers, width = Config.OutputWidth / Config.Layers;
        if (_options.Reconstruction == ReconstructionLoss.Norm)
        {
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

        double divisor = _options.Reconstruction == ReconstructionLoss.Squares ? parts : batch.TargetVariance;
        double loss = SumOfSquares(e) / divisor;
        Scale(e, 2 * weight / divisor);
        return loss;
    }

    private static void Scale(Span<float> values, double factor)
    {
        float f = (float)factor;
        foreach (ref float value in values)
        {
            value *= f;
        }
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
                AddAuxiliary(batch, HostSpan.Of<float>(byLevel ? errors[level] : errors[^1]), dead);
            }
        }
    }

    private void AddAuxiliary(Batch batch, ReadOnlySpan<float> error, int[] dead)
    {
        int most = Config.OutputWidth / Config.Layers / 2;
        bool signed = _options.Auxiliary is AuxiliaryLoss.Signed or AuxiliaryLoss.SignedByLevel;
        using Entries entries = EncodeChosen(batch, dead, Selection.TopK, Math.Min(most, dead.Length), signed ? NotExcluded : 0);
        using Tensor estimate = _device.Allocate(ElementType.F32, batch.Rows, Config.OutputWidth);
        HostSpan.Of<float>(estimate).Clear();
        entries.DecodeOnto(_decoder, estimate);
        Span<float> gradient = HostSpan.Of<float>(estimate); // ê − r, r = −e
        for (int i = 0; i < gradient.Length; i++)
        {
            gradient[i] += error[i];
        }

        double scale = Math.Min((double)dead.Length / most, 1);
        double factor = _options.AuxiliaryCoefficient * _options.Auxiliary switch
        {
            AuxiliaryLoss.ResidualVariance => Batch.Variance(error, Config.OutputWidth) is > 0 and var variance ? 1 / variance : 0,
            AuxiliaryLoss.TargetVariance => scale / batch.TargetVariance,
            _ => scale / batch.Rows,
        };
        batch.Auxiliary += factor * SumOfSquares(gradient);
        Scale(gradient, 2 * factor);
        entries.Backward(_decoder, estimate);
        if (!_options.AuxiliarySparesEncoder)
        {
            entries.ValueGradients.CopyTo(entries.PreGradients);
            BackwardToEncoder(batch, entries, _encoderBias);
        }
    }

    /// <summary>Some features alone, with a weight of their own.</summary>
    private unsafe Entries EncodeChosen(Batch batch, int[] chosen, Selection selection, int k, float least)
    {
        int d = Config.InputWidth;
        using Tensor rows = _device.Allocate(ElementType.F32, chosen.Length, d), indices = _device.Upload<int>(chosen, chosen.Length);
        _device.Run(new GatherRows { From = _encoder!.Value, Indices = indices, Out = rows });
        using Weight weight = _device.CreateWeight(d, chosen.Length);
        _device.Pack(weight, new WeightBlock(rows.Address, ElementType.F32, d, chosen.Length, 1, d));
        Tensor? Of(ReadOnlySpan<float> values)
        {
            var picked = new float[chosen.Length];
            for (int i = 0; i < picked.Length; i++)
            {
                picked[i] = values[chosen[i]];
            }

            return _device.Upload<float>(picked, picked.Length);
        }

        using Tensor? bias = Of(_encoderBias!.Values);
        using Tensor? scale = Config.ScalesByDecoderNorm || Config.ScalesScores ? Of(_norms) : null;
        using Tensor? threshold = least == NotExcluded ? null : _device.Upload<float>([.. Enumerable.Repeat(least, chosen.Length)], chosen.Length);
        SparseRows found = _device.Encode(new SparseEncode
        {
            X = batch.Centered,
            W = weight,
            Bias = bias,
            Scale = scale,
            Threshold = threshold,
            Selection = selection,
            K = k,
            Out = null!,
        });
        foreach (ref int column in HostSpan.Of<int>(found.Indices)[..HostSpan.Of<int>(found.RowPointers)[^1]])
        {
            column = chosen[column];
        }

        return new Entries(_device, new SparseRows(Config.Features, found.RowPointers, found.Indices, found.Values));
    }

    private Entries EncodeMulti(Batch batch) =>
        Encode(batch, _encoderBias, new(ActivationKind.TopK, Math.Min(4 * Config.Rule.K, Config.Features)));

    private void AddMultiTopK(Batch batch)
    {
        if (_options.MultiTopKCoefficient == 0)
        {
            return;
        }

        using Entries entries = EncodeMulti(batch);
        using Tensor output = _device.Allocate(ElementType.F32, batch.Rows, Config.OutputWidth);
        Span<float> e = HostSpan.Of<float>(output);
        ReadOnlySpan<float> y = HostSpan.Of<float>(batch.Target), bias = _decoderBias.Values;
        for (int i = 0; i < e.Length; i++)
        {
            e[i] = bias[i % bias.Length] - y[i];
        }

        entries.DecodeOnto(_decoder, output);
        double factor = _options.MultiTopKCoefficient / batch.TargetVariance;
        batch.Auxiliary += factor * SumOfSquares(e);
        Scale(e, 2 * factor);
        AddBias(output);
        entries.Backward(_decoder, output);
        if (!_options.AuxiliarySparesEncoder)
        {
            entries.ValueGradients.CopyTo(entries.PreGradients);
            BackwardToEncoder(batch, entries, _encoderBias);
        }
    }

    /// <summary>A gated dictionary's second reconstruction, from the gate's own values π = relu(p + b), and their sparsity.</summary>
    private Entries AddGate(Batch batch, Entries all, float[] normGradients)
    {
        Entries gate = all.With([.. all.H.Select((p, e) => p + _gateBias!.Values[all.Features[e]])]);
        using Tensor output = _device.Allocate(ElementType.F32, batch.Rows, Config.OutputWidth);
        Span<float> error = HostSpan.Of<float>(output);
        ReadOnlySpan<float> y = HostSpan.Of<float>(batch.Target), bias = _decoderBias.Values;
        for (int i = 0; i < error.Length; i++)
        {
            error[i] = bias[i % bias.Length] - y[i];
        }

        gate.DecodeOnto(_decoder, output);
        batch.Auxiliary += SumOfSquares(error) / batch.Rows;
        Scale(error, 2.0 / batch.Rows);
        gate.Backward(_decoder, output, trainsDecoder: !_options.GateDetachesDecoder);
        if (!_options.GateDetachesDecoder)
        {
            AddBias(output);
        }

        double factor = _options.SparsityCoefficient * SparsityScale / batch.Rows;
        for (int e = 0; e < gate.Count; e++)
        {
            int f = gate.Features[e];
            double w = _options.SparsityByDecoderNorm ? _norms[f] : 1;
            batch.Sparsity += factor * gate.Values[e] * w;
            gate.ValueGradients[e] += (float)(factor * w);
            if (_options.SparsityByDecoderNorm)
            {
                normGradients[f] += (float)(factor * gate.Values[e]);
            }
        }

        gate.ValueGradients.CopyTo(gate.PreGradients);
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
                sum += z > 0 ? Math.Pow(z, power) : 0;
                next += z > 0 && Annealed?.Next is { } nextPower ? Math.Pow(z, nextPower) : 0;
            }

            double outer = 1; // derivative of the row's loss by the sum of powers
            switch (_options.Sparsity)
            {
                case SparsityLoss.Norm:
                    now += Math.Pow(sum, 1 / power);
                    outer = sum > 0 ? Math.Pow(sum, 1 / power - 1) / power : 0;
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
                double slope = z > 0 ? coefficient / batch.Rows * outer * power * Math.Pow(z, power - 1) : 0;
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
    }

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

    /// <summary>∂loss/∂D through the norms of its rows, or of their layers' parts.</summary>
    private void DifferentiateNorms(float[] normGradients)
    {
        int layers = Config.Layers, width = Config.OutputWidth / layers;
        for (int f = 0; f < normGradients.Length; f++)
        {
            if (normGradients[f] == 0)
            {
                continue;
            }

            ReadOnlySpan<float> row = _decoder.Values.Slice(f * Config.OutputWidth, Config.OutputWidth);
            Span<float> gradient = _decoder.Gradients.Slice(f * Config.OutputWidth, Config.OutputWidth);
            double whole = Math.Sqrt(SumOfSquares(row));
            for (int l = 0; l < layers; l++)
            {
                double part = Math.Sqrt(SumOfSquares(row.Slice(l * width, width)));
                double factor = normGradients[f] * ((whole > 0 ? _options.WholeNorm / whole : 0) + (part > 0 ? _options.LayerNorms / part : 0));
                for (int i = l * width; i < (l + 1) * width; i++)
                {
                    gradient[i] += (float)(factor * row[i]);
                }
            }
        }
    }
}
