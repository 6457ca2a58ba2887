using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>The step of every rule but matching pursuit: encode, decode, and the way back.</summary>
public sealed partial class DictionaryTrainer
{
    private bool IsGated => Config.Rule.Kind == ActivationKind.Gated;

    private double CurrentK => _options.KAnnealingSteps > 0 && StepCount < _options.KAnnealingSteps
        ? Math.Round(_options.InitialK - (_options.InitialK - Config.Rule.K) * StepCount / _options.KAnnealingSteps)
        : Config.Rule.K;

    private void StepOfRule(Batch batch)
    {
        using Entries all = Encode(batch, _encoderBias, Config.Rule with { K = CurrentK });
        using Entries? wide = _options.MultiTopKCoefficient == 0 ? null
            : Encode(batch, _encoderBias, new(ActivationKind.TopK, Math.Min(4 * Config.Rule.K, Config.Features)));
        Activate(all);
        bool[] active = CountActive(batch, all.Features, all.Values);
        foreach (int f in wide is null ? [] : wide.Features)
        {
            active[f] = true;
        }

        CountSince(batch, active);
        AverageThreshold(all, batch);
        IReadOnlyList<Entries> levels = _levels.Length == 1 ? [all] : all.Split(_levels);
        try
        {
            // Where the gradient is the error times one number, its dots with the decoder are found while it is decoded.
            bool direct = levels.Count == 1 && LevelWeight(0) == 1 && _options.Reconstruction != ReconstructionLoss.Norm
                && !batch.ScalesOutput && _skip is null;
            Tensor[] errors = Decode(batch, levels, direct);
            Trace?.Decoded(wide ?? all, errors);
            AddAuxiliary(batch, errors);
            double factor = DifferentiateReconstruction(batch, errors);
            for (int level = 0; level < levels.Count; level++)
            {
                levels[level].Backward(_decoder, errors[level], factor, direct);
            }

            AddBias(errors[0], factor);
            DifferentiateSkip(batch, errors[0], factor);
            float[] normGradients = _norms.Length > 0 ? new float[_norms.Length] : [];
            using Entries? gate = IsGated ? AddGate(batch, all, normGradients) : null;
            foreach (Entries entries in levels)
            {
                AddSparsity(batch, entries, normGradients);
                DifferentiateActivation(batch, entries);
                BackwardToEncoder(batch, entries, IsGated ? null : _encoderBias);
            }

            AddMultiTopK(batch, wide);
            AddPreActivationLoss(batch, normGradients);
            DifferentiateNorms(normGradients);
        }
        finally
        {
            foreach (Entries entries in levels.Where(entries => entries != all))
            {
                entries.Dispose();
            }
        }
    }

    /// <summary>The entries that take part: the rule's survivors, and what lies within reach of a JumpReLU's pseudo-derivative.</summary>
    private Entries Encode(Batch batch, TrainedMatrix? bias, ActivationRule rule)
    {
        int features = Config.Features;
        bool signed = rule.KeepsNegative || rule.Kind == ActivationKind.TopMagnitude;
        Span<float> least = signed ? [] : _least;
        least.Clear();
        if (rule.Kind == ActivationKind.JumpRelu)
        {
            float half = (float)(_options.Bandwidth / 2);
            for (int f = 0; f < features; f++)
            {
                least[f] = _threshold!.Values[f] - half;
            }
        }
        else if (IsGated)
        {
            for (int f = 0; f < features; f++)
            {
                least[f] = -_gateBias!.Values[f];
            }
        }

        Selection selection = rule.Kind switch
        {
            ActivationKind.TopK => Selection.TopK,
            ActivationKind.BatchTopK => Selection.BatchTopK,
            ActivationKind.GroupMax => Selection.GroupMax,
            ActivationKind.TopMagnitude => Selection.TopMagnitude,
            _ => Selection.Threshold,
        };
        double k = rule.Kind == ActivationKind.BatchTopK ? rule.K * batch.Rows : rule.K;
        return Encode(batch, bias, selection, checked((int)k), least, null);
    }

    /// <summary>The product with the encoder, or with some of its directions, and what survives of it.</summary>
    private Entries Encode(Batch batch, TrainedMatrix? bias, Selection selection, int k, ReadOnlySpan<float> least, int[]? chosen)
    {
        using Tensor? threshold = least.IsEmpty ? null : _device.Upload(least, least.Length);
        using Tensor? scale = Config.ScalesByDecoderNorm || Config.ScalesScores ? _device.Upload<float>(_norms, _norms.Length) : null;
        using Tensor? indices = chosen is null ? null : _device.Upload<int>(chosen, chosen.Length);
        return new Entries(_device, _device.Encode(new SparseEncode
        {
            X = batch.Input,
            Offset = Offset,
            Directions = _encoder!.Value,
            DirectionsType = _options.BFloat16 ? ElementType.BF16 : ElementType.F32,
            Chosen = indices,
            Bias = IsGated ? null : bias?.Value,
            Scale = scale,
            Threshold = threshold,
            Selection = selection,
            K = k,
            Out = null!,
        }, _guess));
    }

    /// <summary>What the encoder subtracts from its input, or null.</summary>
    private Tensor? Offset => Config.CentersInput ? _decoderBias.Value : null;

    /// <summary>From pre-activations to what the decoder multiplies by.</summary>
    private void Activate(Entries entries)
    {
        _guess = entries.Count + entries.Count / 8;
        if (!IsGated && _threshold is null)
        {
            return;
        }

        entries.SplitValues();
        ReadOnlySpan<int> features = entries.Features;
        Span<float> values = entries.Values;
        for (int e = 0; e < values.Length; e++)
        {
            int f = features[e];
            values[e] = IsGated
                ? Math.Max(0, entries.H[e] * MathF.Exp(_magnitudeScale!.Values[f]) + _encoderBias!.Values[f])
                : entries.H[e] > _threshold!.Values[f] ? entries.H[e] : 0;
        }
    }

    private readonly float[] _least;
    private int _guess;

    /// <summary>Counts what is active, and tells which features are.</summary>
    private bool[] CountActive(Batch batch, ReadOnlySpan<int> features, ReadOnlySpan<float> values)
    {
        bool[] active = new bool[Config.Features];
        for (int e = 0; e < features.Length; e++)
        {
            if (values[e] != 0)
            {
                active[features[e]] = true;
                _activations[features[e]]++;
                batch.Active++;
            }
        }

        return active;
    }

    private void CountSince(Batch batch, bool[] active)
    {
        for (int f = 0; f < active.Length; f++)
        {
            _sinceActive[f] = active[f] ? 0 : _sinceActive[f] + (_options.DeadCount == DeadCount.StepsBefore ? 1 : batch.Rows);
        }

        if (_options.DeadCount == DeadCount.RowsAfter)
        {
            FindDead(batch, _options.DeadWindow);
        }
    }

    private void AverageThreshold(Entries entries, Batch batch)
    {
        if (_options.ThresholdAverage == ThresholdAverage.None
            || (_options.ThresholdAverage == ThresholdAverage.FromFirst && StepCount <= _options.ThresholdStart))
        {
            return;
        }

        bool scaled = Config.ScalesByDecoderNorm || Config.ScalesScores, byRow = Config.Rule.Kind == ActivationKind.TopK;
        double least = double.PositiveInfinity, sum = 0;
        for (int row = 0; row < batch.Rows; row++)
        {
            double leastOfRow = double.PositiveInfinity;
            for (int e = entries.Pointers[row]; e < entries.Pointers[row + 1]; e++)
            {
                double value = entries.Values[e] * (double)(scaled ? _norms[entries.Features[e]] : 1);
                leastOfRow = value > 0 ? Math.Min(leastOfRow, value) : leastOfRow;
            }

            least = Math.Min(least, leastOfRow);
            sum += double.IsInfinity(leastOfRow) ? 0 : leastOfRow;
        }

        double found = byRow ? sum / batch.Rows : double.IsInfinity(least) ? 0 : least;
        if (_options.ThresholdAverage == ThresholdAverage.FromZero)
        {
            InferenceThreshold = double.IsInfinity(least) ? InferenceThreshold
                : (1 - _options.ThresholdRate) * InferenceThreshold + _options.ThresholdRate * found;
        }
        else
        {
            InferenceThreshold = InferenceThreshold < 0 ? found : (1 - _options.ThresholdRate) * InferenceThreshold + _options.ThresholdRate * found;
        }
    }

    /// <summary>Each level's error x̂ − y; a level's reconstruction contains those before it.</summary>
    private Tensor[] Decode(Batch batch, IReadOnlyList<Entries> levels, bool dots)
    {
        Tensor[] errors = new Tensor[levels.Count];
        for (int level = 0; level < levels.Count; level++)
        {
            errors[level] = batch.New(Config.OutputWidth);
            if (level == 0)
            {
                levels[0].Decode(_decoder, _decoderBias, batch.Target, errors[0], dots);
                AddSkip(batch, errors[0]);
            }
            else
            {
                _device.Run(new Copy { From = errors[level - 1], To = errors[level] });
                levels[level].DecodeOnto(_decoder, errors[level]);
            }
        }

        foreach (Tensor error in errors)
        {
            batch.ScaleOutput(error);
        }

        batch.SquaredError = Batch.SquaresOf(errors[^1]);
        return errors;
    }

    private void AddSkip(Batch batch, Tensor output)
    {
        if (_skip is null)
        {
            return;
        }

        using Weight weight = _device.CreateWeight(Config.InputWidth, Config.OutputWidth);
        _device.Pack(weight, new WeightBlock(
            _skip.Value.Address, ElementType.F32, Config.InputWidth, Config.OutputWidth, 1, Config.InputWidth));
        _device.Run(new MatMul { X = batch.Input, W = weight, Residual = output, Out = output });
    }

    /// <summary>∂loss/∂skip = factor·gᵀ·x.</summary>
    private void DifferentiateSkip(Batch batch, Tensor gradient, double factor)
    {
        if (_skip is null)
        {
            return;
        }

        int d = Config.InputWidth, output = Config.OutputWidth;
        using Weight x = _device.CreateWeight(batch.Rows, d);
        _device.Pack(x, new WeightBlock(batch.Input.Address, ElementType.F32, batch.Rows, d, d, 1));
        float[] turned = Formats.StoredWeights.Transpose(gradient.ToArray<float>(), batch.Rows, output);
        using Tensor rows = _device.Upload<float>(turned, output, batch.Rows);
        _device.Run(new MatMul { X = rows, W = x, Scale = (float)factor, Out = _skip.Gradient });
    }

    private void BackwardToEncoder(Batch batch, Entries entries, TrainedMatrix? bias)
    {
        float[] sums = entries.BackwardToEncoder(_encoder!, batch.Input, Offset);
        for (int f = 0; f < sums.Length && bias is not null; f++)
        {
            bias.Gradients[f] += sums[f];
        }

        if (!Config.CentersInput)
        {
            return;
        }

        // The bias that was subtracted: −Σ over rows of ∂loss/∂s = −Σ over features of the sums times the encoder's rows.
        int[] nonzero = [.. Enumerable.Range(0, sums.Length).Where(f => sums[f] != 0)];
        using SparseRows row = SparseRowsEditing.Upload(_device, sums.Length, [0, nonzero.Length], nonzero, [.. nonzero.Select(f => sums[f])]);
        _device.Run(new SparseProduct { S = row, Scale = -1, M = _encoder!.Value, Accumulate = true, Out = _decoderBias.Gradient });
    }

    /// <summary>The decoder's bias is a part of every row that is decoded.</summary>
    private void AddBias(Tensor gradient, double factor)
    {
        using Tensor sums = _device.Allocate(ElementType.F32, _decoderBias.Columns);
        _device.Run(new ColumnStatistics { X = gradient, Sums = sums });
        ReadOnlySpan<float> added = HostMemory.Read<float>(sums);
        Span<float> bias = _decoderBias.Gradients;
        for (int i = 0; i < bias.Length; i++)
        {
            bias[i] += (float)(factor * added[i]);
        }
    }
}
