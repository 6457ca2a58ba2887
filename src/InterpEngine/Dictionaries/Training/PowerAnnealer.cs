namespace InterpEngine.Dictionaries.Training;

/// <summary>The p of a power loss and its coefficient on their way down.</summary>
internal sealed class PowerAnnealer
{
    private readonly PowerAnnealing _settings;
    private readonly Queue<(double Now, double Next)> _losses = [];
    private readonly int[] _steps;
    private readonly double[] _powers;
    private int _updates;

    public PowerAnnealer(PowerAnnealing settings, TrainingOptions options)
    {
        (_settings, Power, Coefficient) = (settings, settings.From, options.SparsityCoefficient);
        int n = settings.Count;
        // The library's own numbers come from linspaces in single precision.
        _powers = [.. Enumerable.Range(0, n).Select(i => (double)(float)Interpolate(settings.From, settings.To, i, n))];
        _steps = [.. Enumerable.Range(0, n).Select(i => (int)(float)Interpolate(settings.Begin, settings.End, i, n))];
    }

    /// <summary>p now.</summary>
    public double Power { get; private set; }

    /// <summary>The p that follows, once that is known.</summary>
    public double? Next { get; private set; }

    /// <summary>The coefficient now.</summary>
    public double Coefficient { get; private set; }

    /// <summary>The step's loss at both p's, both known once the first change is made.</summary>
    public void Record(double now, double next)
    {
        _losses.Enqueue((now, next));
        if (_losses.Count > _settings.QueueLength)
        {
            _losses.Dequeue();
        }
    }

    /// <summary>Changes p after a step that is due.</summary>
    public void After(int step)
    {
        if (_updates >= _steps.Length || step != _steps[_updates])
        {
            return;
        }

        if (Next is not null)
        {
            Coefficient *= _losses.Average(loss => loss.Now) / _losses.Average(loss => loss.Next);
        }

        Power = _powers[_updates];
        _updates++;
        Next = _updates < _powers.Length ? _powers[_updates] : _settings.To;
    }

    private static double Interpolate(double from, double to, int i, int n) => n == 1 ? from : from + (to - from) * i / (n - 1);
}
