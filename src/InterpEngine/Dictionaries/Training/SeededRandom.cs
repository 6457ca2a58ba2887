using System.Numerics;

namespace InterpEngine.Dictionaries.Training;

/// <summary>xoshiro256** (Blackman and Vigna, 2021), begun by SplitMix64: numbers that a seed decides, with a state that can be kept.</summary>
internal sealed class SeededRandom
{
    private readonly ulong[] _state = new ulong[4];

    public SeededRandom(int seed)
    {
        ulong x = (ulong)(uint)seed;
        for (int i = 0; i < _state.Length; i++)
        {
            x += 0x9e3779b97f4a7c15;
            ulong z = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
            z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
            _state[i] = z ^ (z >> 31);
        }
    }

    /// <summary>What all further numbers depend on.</summary>
    public Span<ulong> State => _state;

    /// <summary>From 0 to below a limit, each number as likely (Lemire, 2019).</summary>
    public int Next(int limit)
    {
        uint range = (uint)limit;
        while (true)
        {
            ulong product = (Next() >> 32) * range;
            if ((uint)product >= range || (uint)product >= (0u - range) % range)
            {
                return (int)(product >> 32);
            }
        }
    }

    /// <summary>Above 0, up to 1.</summary>
    public double NextDouble() => ((Next() >> 11) + 1) * (1.0 / (1L << 53));

    private ulong Next()
    {
        ulong result = BitOperations.RotateLeft(_state[1] * 5, 7) * 9, t = _state[1] << 17;
        _state[2] ^= _state[0];
        _state[3] ^= _state[1];
        _state[1] ^= _state[2];
        _state[0] ^= _state[3];
        _state[2] ^= t;
        _state[3] = BitOperations.RotateLeft(_state[3], 45);
        return result;
    }
}
