using InterpEngine.Hooks;
using InterpEngine.Kernels;
using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Models;

/// <summary>
/// Every hook point follows from its neighbours, on randomly drawn models of every family: each is computed again here, in double
/// precision and one formula at a time, from the points before it and the weights.
/// </summary>
public sealed class IdentityTests
{
    private const int Batch = 2, Length = 9;

    public static MatrixTheoryData<string, int> FamiliesAndSeeds => new(ModelFamilies.Names, Enumerable.Range(1, 3));

    [Theory]
    [MemberData(nameof(FamiliesAndSeeds))]
    public void Every_point_follows_from_its_neighbours(string family, int seed)
    {
        using Device device = Device.Cpu(threads: 1);
        using var folder = new TemporaryFolder();
        var random = new Random(seed * 1000 + family.Length);
        RandomModel.Write(folder.Path, RandomFamilies.Of(family, random), seed);
        using Model model = Model.Load(folder.Path, device);
        int[] ids = [.. Enumerable.Range(0, Batch * Length).Select(_ => random.Next(model.Description.Vocabulary))];
        using RunResult run = model.Run(TokenBatch.Rectangle(ids, Batch, Length), new RunOptions { Capture = HookSelection.All });
        var check = new Identities(model, run);
        for (int layer = 0; layer < model.Description.Layers; layer++)
        {
            check.Norms(layer);
            check.Scores(layer);
            check.PatternAndZ(layer);
            check.AttentionOut(layer);
            check.Mlp(layer);
            check.ResidualStream(layer);
        }

        check.Logits();
    }

    private sealed class Identities(Model model, RunResult run)
    {
        private readonly ModelDescription _d = model.Description;
        private readonly ModelWeights _weights = model.Weights;

        public void Norms(int layer)
        {
            HookKind first = _d.Norms == NormPlacement.OnResidual ? HookKind.ResidMid : HookKind.ResidPre;
            HookKind second = _d.Norms == NormPlacement.OnResidual ? HookKind.ResidPost : _d.ParallelBlock ? HookKind.ResidPre : HookKind.ResidMid;
            Normed(HookKind.Ln1Scale, HookKind.Ln1Normalized, layer, () => Value(first, layer));
            Normed(HookKind.Ln2Scale, HookKind.Ln2Normalized, layer, () => Value(second, layer));
        }

        public void Scores(int layer)
        {
            if (!Has(HookKind.RotQ, layer) && _d.QueryKeyNorm != QueryKeyNorm.None)
            {
                return; // queries and keys after their norm are no point then
            }

            bool rotated = Has(HookKind.RotQ, layer);
            double[] q = Value(rotated ? HookKind.RotQ : HookKind.Q, layer), k = Value(rotated ? HookKind.RotK : HookKind.K, layer);
            int size = _d.HeadSize, groups = k.Length / (Batch * Length * size);
            Equal("hook_attn_scores", layer, Value(HookKind.AttnScores, layer), (b, h, i, j) =>
            {
                if (!Sees(layer, i, j))
                {
                    return double.NegativeInfinity;
                }

                double sum = 0;
                for (int e = 0; e < size; e++)
                {
                    sum += q[((b * Length + i) * _d.Heads + h) * size + e] * k[((b * Length + j) * groups + h / (_d.Heads / groups)) * size + e];
                }

                sum *= _d.AttentionScale(layer);
                sum = _d.ScoreSoftCap > 0 ? _d.ScoreSoftCap * Math.Tanh(sum / _d.ScoreSoftCap) : sum;
                return _d.Positions is AlibiPositions alibi ? sum + alibi.Slopes[h] * j : sum;
            });
        }

        public void PatternAndZ(int layer)
        {
            double[] scores = Value(HookKind.AttnScores, layer), pattern = Value(HookKind.Pattern, layer), v = Value(HookKind.V, layer);
            float[]? sinks = _weights.Blocks[layer].Attention.Sinks?.ToArray<float>();
            double[] Row(int b, int h, int i) => scores[(((b * _d.Heads + h) * Length + i) * Length)..][..Length];
            Equal("hook_pattern", layer, pattern, (b, h, i, j) =>
            {
                double[] row = Row(b, h, i);
                double sum = row.Sum(Math.Exp) + (sinks is null ? 0 : Math.Exp(sinks[h]));
                return Math.Exp(row[j]) / sum;
            });

            int size = _d.ValueSize, groups = v.Length / (Batch * Length * size);
            double limit = _d.QueryKeyValueLimit > 0 ? _d.QueryKeyValueLimit : double.PositiveInfinity;
            var z = new double[Batch * Length * _d.Heads * size];
            for (int at = 0; at < z.Length; at++)
            {
                int e = at % size, h = at / size % _d.Heads, i = at / size / _d.Heads % Length, b = at / size / _d.Heads / Length;
                for (int j = 0; j < Length; j++)
                {
                    double value = v[((b * Length + j) * groups + h / (_d.Heads / groups)) * size + e];
                    z[at] += pattern[((b * _d.Heads + h) * Length + i) * Length + j] * Math.Clamp(value, -limit, limit);
                }
            }

            Close("hook_z", layer, z, Value(HookKind.Z, layer));
        }

        public void AttentionOut(int layer)
        {
            BlockWeights block = _weights.Blocks[layer];
            double[] written = Project(Value(HookKind.Z, layer), block.Attention.O);
            Close("hook_attn_out", layer, Written(
                written, block.Ln1Post, HookKind.Ln1PostScale, HookKind.Ln1PostNormalized, layer), Value(HookKind.AttnOut, layer));
        }

        public void Mlp(int layer)
        {
            BlockWeights block = _weights.Blocks[layer];
            double[] written;
            if (block.Mlp is { } mlp)
            {
                Close("hook_post", layer, Activated(HookKind.MlpPre, HookKind.MlpPreLinear, layer), Value(HookKind.MlpPost, layer));
                written = Project(Value(HookKind.MlpPost, layer), mlp.Out);
            }
            else if (block.Mixture!.Shared is null)
            {
                double[] weights = Value(HookKind.ExpertWeights, layer), outputs = Value(HookKind.ExpertOut, layer);
                int k = _d.Experts!.PerToken;
                written = new double[Batch * Length * _d.Width];
                for (int at = 0; at < written.Length; at++)
                {
                    int token = at / _d.Width;
                    written[at] = Enumerable.Range(token * k, k).Sum(choice => weights[choice] * outputs[choice * _d.Width + at % _d.Width]);
                }
            }
            else
            {
                return; // the shared expert's output is no point
            }

            Close("hook_mlp_out", layer, Written(
                written, block.Ln2Post, HookKind.Ln2PostScale, HookKind.Ln2PostNormalized, layer), Value(HookKind.MlpOut, layer));
        }

        public void ResidualStream(int layer)
        {
            double[] before = Value(HookKind.ResidPre, layer), attention = Value(HookKind.AttnOut, layer);
            double[] mid = Sum(before, attention);
            if (Has(HookKind.ResidMid, layer))
            {
                Close("hook_resid_mid", layer, mid, Value(HookKind.ResidMid, layer));
            }

            double[] read = _d.Norms == NormPlacement.OnResidual
                ? Scaled(Value(HookKind.Ln1Normalized, layer), _weights.Blocks[layer].Ln1!)
                : mid;
            Close("hook_resid_post", layer, Sum(read, Value(HookKind.MlpOut, layer)), Value(HookKind.ResidPost, layer));
            HookKind last = _d.Norms == NormPlacement.OnResidual ? HookKind.NormalizedResidPost : HookKind.ResidPost;
            if (layer > 0)
            {
                Close("hook_resid_pre", layer, Value(last, layer - 1), before);
            }
        }

        public void Logits()
        {
            HookKind normalized = _d.HeadTransform ? HookKind.MlmHeadLnNormalized : HookKind.LnFinalNormalized;
            double[] x = _d.FinalNorm ? Scaled(Value(normalized, 0), _weights.LnFinal!)
                : Value(_d.Norms == NormPlacement.OnResidual ? HookKind.NormalizedResidPost : HookKind.ResidPost, _d.Layers - 1);
            x = _weights.UnembeddingProjection is { } projection ? Project(x, projection) : x;
            double[] logits = [.. Project(x, _weights.Unembed).Select(logit => logit * _d.LogitScale)
                .Select(logit => _d.LogitSoftCap > 0 ? _d.LogitSoftCap * Math.Tanh(logit / _d.LogitSoftCap) : logit)];
            Close("logits", 0, logits, Doubles(run.Logits!));
        }

        private bool Has(HookKind kind, int layer) => model.Points.WhyAbsent(new HookPoint(kind, layer)) is null;

        private double[] Value(HookKind kind, int layer) => Doubles(run.Cache[new HookPoint(kind, layer)]);

        private bool Sees(int layer, int i, int j) =>
            (!_d.Causal || j <= i) && (_d.Window(layer) == 0 || (j <= i && j > i - _d.Window(layer)));

        /// <summary>normalized · scale is the (centred) input, and scale is its root mean square.</summary>
        private void Normed(HookKind scaleKind, HookKind normalizedKind, int layer, Func<double[]> input)
        {
            if (!Has(scaleKind, layer))
            {
                return;
            }

            double[] scales = Value(scaleKind, layer), normalized = Value(normalizedKind, layer);
            double[][] rows = [.. input().Chunk(_d.Width).Select(row =>
            {
                double mean = _d.Norm == NormKind.Layer ? row.Average() : 0;
                return row.Select(x => x - mean).ToArray();
            })];
            Close(scaleKind.Info().Suffix, layer, [.. rows.Select(row => Math.Sqrt(row.Average(x => x * x) + _d.Epsilon))], scales);
            Close(normalizedKind.Info().Suffix, layer, [.. rows.SelectMany((row, r) => row.Select(x => x / scales[r]))], normalized);
        }

        /// <summary>What a half of the block adds: normed where the model has such norms, and scaled.</summary>
        private double[] Written(double[] written, NormWeights? norm, HookKind scale, HookKind normalized, int layer)
        {
            if (norm is not null)
            {
                Normed(scale, normalized, layer, () => written);
                written = Scaled(Value(normalized, layer), norm);
            }

            return [.. written.Select(x => x * _d.ResidualScale)];
        }

        private double[] Activated(HookKind pre, HookKind linear, int layer)
        {
            using Device reference = Device.Reference();
            float[] x = run.Cache[new HookPoint(pre, layer)].ToArray<float>();
            using Tensor values = reference.Upload<float>(x, 1, x.Length);
            reference.Run(new Activate { X = values, Activation = _d.Activation, Out = values });
            double[] gates = Doubles(values);
            return Has(linear, layer) ? [.. gates.Zip(Value(linear, layer), (gate, up) => gate * up)] : gates;
        }

        private static double[] Scaled(double[] normalized, NormWeights norm)
        {
            float[]? gain = norm.Gain?.ToArray<float>(), bias = norm.Bias?.ToArray<float>();
            int width = gain?.Length ?? bias?.Length ?? 1;
            return [.. normalized.Select((x, i) => x * (gain?[i % width] ?? 1) + (bias?[i % width] ?? 0))];
        }

        private double[] Project(double[] x, Linear projection)
        {
            int inputs = projection.Weight.Inner, outputs = projection.Weight.Columns;
            using Tensor ids = model.Device.Upload<int>([.. Enumerable.Range(0, outputs)], outputs);
            using Tensor columns = model.Device.Allocate(ElementType.F32, outputs, inputs);
            model.Device.Run(new Embed { Ids = ids, Table = projection.Weight, Out = columns });
            float[] weights = columns.ToArray<float>(), bias = projection.Bias?.ToArray<float>() ?? new float[outputs];
            var result = new double[x.Length / inputs * outputs];
            for (int at = 0; at < result.Length; at++)
            {
                (int row, int column) = Math.DivRem(at, outputs);
                double sum = bias[column];
                for (int i = 0; i < inputs; i++)
                {
                    sum += x[row * inputs + i] * weights[column * inputs + i];
                }

                result[at] = sum;
            }

            return result;
        }

        private void Equal(string name, int layer, double[] values, Func<int, int, int, int, double> truth) => Close(
            name, layer,
            [.. Enumerable.Range(0, values.Length).Select(at => truth(
                at / Length / Length / _d.Heads, at / Length / Length % _d.Heads, at / Length % Length, at % Length))],
            values);

        private void Close(string name, int layer, double[] truth, double[] values)
        {
            Assert.Equal(truth.Length, values.Length);
            double bound = 2e-5 * (1 + truth.Where(double.IsFinite).Select(Math.Abs).DefaultIfEmpty().Max());
            for (int i = 0; i < truth.Length; i++)
            {
                Assert.True(
                    truth[i].Equals(values[i]) || Math.Abs(truth[i] - values[i]) <= bound,
                    $"{_d.Family}: {name} of block {layer}, element {i} is {values[i]}; its neighbours make {truth[i]} (within {bound})");
            }
        }

        private static double[] Sum(double[] a, double[] b) => [.. a.Zip(b, (x, y) => x + y)];

        private static double[] Doubles(Tensor tensor) => [.. tensor.ToArray<float>().Select(value => (double)value)];
    }
}
