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

    /// <summary>Writes where it stands.</summary>
    public void Save(CheckpointWriter state)
    {
        state.Add("updates", _updates);
        state.Add("power", Power);
        state.Add("next", Next ?? double.NaN);
        state.Add("coefficient", Coefficient);
        double[] losses = [.. _losses.SelectMany(loss => new[] { loss.Now, loss.Next })];
        state.AddWords("losses", Array.ConvertAll(losses, BitConverter.DoubleToUInt64Bits));
    }

    /// <summary>Goes on from there.</summary>
    /// <exception cref="InterpEngine.Formats.InvalidFileException">The state is broken.</exception>
    public void Load(CheckpointReader state)
    {
        ulong[] losses = state.Words("losses", [null]);
        if (losses.Length % 2 != 0 || losses.Length > 2 * _settings.QueueLength)
        {
            throw state.Another("has losses that no such run has");
        }

        double next = state.Number("next");
        (_updates, Power, Coefficient, Next) = (state.Count("updates"), state.Number("power"), state.Number("coefficient"), double.IsNaN(next) ? null : next);
        _losses.Clear();
        for (int i = 0; i < losses.Length; i += 2)
        {
            _losses.Enqueue((BitConverter.UInt64BitsToDouble(losses[i]), BitConverter.UInt64BitsToDouble(losses[i + 1])));
        }
    }

    private static double Interpolate(double from, double to, int i, int n) => n == 1 ? from : from + (to - from) * i / (n - 1);
}
