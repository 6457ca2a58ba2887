namespace InterpEngine.Dictionaries.Training;

/// <summary>The course of a learning rate after its warm-up.</summary>
public enum LearningRateCourse
{
    /// <summary>It stays.</summary>
    Constant,

    /// <summary>It falls as half a cosine.</summary>
    Cosine,

    /// <summary>It falls so several times.</summary>
    CosineRestarts,
}

/// <summary>The learning rate of each step: warm-up, course, linear decay at the end.</summary>
public sealed record LearningRate
{
    /// <summary>The rate.</summary>
    public double Rate { get; init; } = 3e-4;

    /// <summary>Steps of the run.</summary>
    public int Steps { get; init; }

    /// <summary>Steps of the warm-up.</summary>
    public int Warmup { get; init; }

    /// <summary>Steps after which the warm-up begins again, as dictionary_learning does where it resamples; 0 for never. Then there is neither a
    /// course nor a decay.</summary>
    public int WarmsAgainEvery { get; init; }

    /// <summary>Whether the first step has rate 0, rate/warm-up otherwise.</summary>
    public bool WarmsFromZero { get; init; }

    /// <summary>Steps of the decay to 0 at the end.</summary>
    public int Decay { get; init; }

    /// <summary>What happens in between.</summary>
    public LearningRateCourse Course { get; init; }

    /// <summary>Where the cosine leads; null for a tenth of the rate.</summary>
    public double? End { get; init; }

    /// <summary>Falls of <see cref="LearningRateCourse.CosineRestarts"/>.</summary>
    public int Cycles { get; init; } = 1;

    /// <summary>The rate of a step, from 0.</summary>
    public double At(int step)
    {
        double end = End ?? Rate / 10;
        step = WarmsAgainEvery > 0 ? step % WarmsAgainEvery : step;
        if (step < Warmup)
        {
            return WarmsFromZero ? Rate * step / Warmup
                : Rate * (1.0 / Warmup + (Warmup == 1 ? 0 : (1 - 1.0 / Warmup) * step / (Warmup - 1)));
        }

        if (WarmsAgainEvery > 0)
        {
            return Rate;
        }

        int decayStart = Steps - Decay;
        if (Decay > 0 && step >= decayStart)
        {
            double top = Course == LearningRateCourse.Constant ? Rate : end;
            return top * (Steps - step) / (Steps - decayStart);
        }

        int length = decayStart - Warmup, period = Course == LearningRateCourse.CosineRestarts ? length / Cycles : length;
        return Course == LearningRateCourse.Constant
            ? Rate
            : end + (Rate - end) * (1 + Math.Cos(Math.PI * ((step - Warmup) % (Course == LearningRateCourse.CosineRestarts ? period : int.MaxValue)) / period)) / 2;
    }
}
