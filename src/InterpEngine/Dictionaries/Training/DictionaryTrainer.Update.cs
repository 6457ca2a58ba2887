using InterpEngine.Kernels;

namespace InterpEngine.Dictionaries.Training;

/// <summary>From gradients to parameters.</summary>
public sealed partial class DictionaryTrainer
{
    private const float ApproximateEpsilon = 1e-6f;
    private const double ClipEpsilon = 1e-6;

    /// <summary>Projects, clips, steps and normalises; returns the rate and the norm of all gradients.</summary>
    private (double Rate, double Norm) Update(Batch batch)
    {
        foreach (TrainedMatrix matrix in _all.Where(matrix => matrix.IsFresh && (matrix == _encoder || matrix == _decoder)))
        {
            matrix.Gradients.Clear();
        }

        Trace?.Differentiated(batch, _all);
        bool clips = _options.ClipNorm > 0;
        double squares = 0;
        foreach (TrainedMatrix matrix in _all)
        {
            bool project = matrix == _decoder && _options.Projection != Projection.None;
            if (!clips && !project)
            {
                continue;
            }

            using Tensor sums = _device.Allocate(ElementType.F32, matrix.Rows);
            _device.Run(new ProjectGradient
            {
                Parameter = matrix.Value,
                Gradient = matrix.Gradient,
                Project = project,
                DivideEpsilon = _options.Projection switch { Projection.Exact => 0, Projection.Approximate => ApproximateEpsilon, _ => -1 },
                Squares = sums,
            });
            foreach (float square in HostMemory.Read<float>(sums))
            {
                squares += square;
            }
        }

        double norm = clips ? Math.Sqrt(squares) : 0, rate = _options.LearningRate.At(StepCount);
        double scale = clips ? Math.Min(1, _options.ClipNorm / (norm + ClipEpsilon)) : 1;
        Trace?.Clipped(_all, scale);
        foreach (TrainedMatrix matrix in _all)
        {
            if (_options.Optimizer == OptimizerKind.Adam)
            {
                StepAdam(matrix, rate, scale);
            }
            else
            {
                StepSign(matrix, rate);
            }
        }

        return (rate, norm);
    }

    private void StepAdam(TrainedMatrix matrix, double rate, double scale)
    {
        // The averages run in single precision: corrected for the betas that they really have, they are right from the first step on.
        int t = StepCount + 1;
        float beta1 = (float)_options.Beta1, beta2 = (float)_options.Beta2;
        _device.Run(new AdamStep
        {
            Parameter = matrix.Value,
            Gradient = matrix.Gradient,
            M = matrix.M,
            V = matrix.V,
            GradientScale = (float)scale,
            StepSize = (float)(rate / (1 - Math.Pow(beta1, t))),
            Beta1 = beta1,
            Beta2 = beta2,
            InverseRootCorrection = (float)(1 / Math.Sqrt(1 - Math.Pow(beta2, t))),
            Epsilon = (float)_options.Epsilon,
            NormalizeEpsilon = matrix == _decoder && _options.NormalizesAfter ? 0 : -1,
        });
    }

    private void StepSign(TrainedMatrix matrix, double rate) => _device.Run(new SignStep
    {
        Parameter = matrix.Value,
        Gradient = matrix.Gradient,
        Fast = matrix.M,
        Rate = (float)rate,
        Momentum = (float)_options.Momentum,
        Share = (float)(1.0 / (StepCount + 1)),
    });

    /// <summary>The average that a schedule-free run is about.</summary>
    private float[] Averaged(TrainedMatrix matrix)
    {
        double beta = _options.Momentum;
        var average = new float[matrix.Values.Length];
        for (int i = 0; i < average.Length; i++)
        {
            average[i] = (float)(matrix.Values[i] + (1 - 1 / beta) * (matrix.First[i] - (double)matrix.Values[i]));
        }

        return average;
    }

    private static void NormalizeRows(TrainedMatrix matrix)
    {
        for (int row = 0; row < matrix.Rows; row++)
        {
            Span<float> values = matrix.Values.Slice(row * matrix.Columns, matrix.Columns);
            double norm = Math.Sqrt(SumOfSquares(values));
            if (norm > 0)
            {
                Scale(values, 1 / norm);
            }
        }
    }
}
