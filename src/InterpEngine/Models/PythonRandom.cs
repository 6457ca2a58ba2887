namespace InterpEngine;

/// <summary>The numbers of CPython's <c>random.Random(seed)</c>: the Mersenne Twister (Matsumoto and Nishimura, 1998), and what Python
/// makes of them.</summary>
internal sealed class PythonRandom
{
    private const int Length = 624, Middle = 397;
    private readonly uint[] _state = new uint[Length];
    private int _at = Length;

    public PythonRandom(uint seed)
    {
        // init_by_array with one key.
        _state[0] = 19650218;
        for (uint i = 1; i < Length; i++)
        {
            _state[i] = 1812433253 * (_state[i - 1] ^ (_state[i - 1] >> 30)) + i;
        }

        uint at = 1;
        for (int n = 0; n < Length; n++)
        {
            _state[at] = (_state[at] ^ ((_state[at - 1] ^ (_state[at - 1] >> 30)) * 1664525)) + seed;
            at = Next(at);
        }

        for (int n = 1; n < Length; n++)
        {
            _state[at] = (_state[at] ^ ((_state[at - 1] ^ (_state[at - 1] >> 30)) * 1566083941)) - at;
            at = Next(at);
        }

        _state[0] = 0x80000000;

        uint Next(uint i)
        {
            if (i + 1 < Length)
            {
                return i + 1;
            }

            _state[0] = _state[Length - 1];
            return 1;
        }
    }

    /// <summary>From 0 to below 1: <c>random()</c>.</summary>
    public double Share()
    {
        uint high = Draw() >> 5, low = Draw() >> 6;
        return (high * 67108864.0 + low) / 9007199254740992.0;
    }

    /// <summary>From 0 to below n: <c>randrange(n)</c>.</summary>
    public int Below(int n)
    {
        int unused = 32 - (int)(uint.Log2((uint)n) + 1);
        uint value;
        do
        {
            value = Draw() >> unused;
        }
        while (value >= n);
        return (int)value;
    }

    /// <summary>From least to most: <c>randint(least, most)</c>.</summary>
    public int Between(int least, int most) => least + Below(most - least + 1);

    /// <summary>One of some: <c>choice</c>.</summary>
    public T Choice<T>(T[] from) => from[Below(from.Length)];

    /// <summary>Different ones of some: <c>sample</c>.</summary>
    public T[] Sample<T>(T[] from, int count)
    {
        var result = new T[count];
        double set = 21 + (count > 5 ? Math.Pow(4, Math.Ceiling(Math.Log(count * 3, 4))) : 0);
        if (from.Length <= set)
        {
            T[] pool = [.. from];
            for (int i = 0; i < count; i++)
            {
                int at = Below(pool.Length - i);
                (result[i], pool[at]) = (pool[at], pool[^(i + 1)]);
            }

            return result;
        }

        var taken = new HashSet<int>();
        for (int i = 0; i < count; i++)
        {
            int at = Below(from.Length);
            while (!taken.Add(at))
            {
                at = Below(from.Length);
            }

            result[i] = from[at];
        }

        return result;
    }

    /// <summary>Indices, each as likely as its weight says: <c>choices</c>.</summary>
    public int[] Choices(int[] weights, int count)
    {
        var result = new int[count];
        int total = weights.Sum();
        for (int i = 0; i < count; i++)
        {
            double at = Share() * total;
            int index = 0;
            for (double sum = weights[0]; sum <= at; sum += weights[++index])
            {
            }

            result[i] = index;
        }

        return result;
    }

    private uint Draw()
    {
        if (_at == Length)
        {
            Twist();
        }

        uint y = _state[_at++];
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c5680;
        y ^= (y << 15) & 0xefc60000;
        return y ^ (y >> 18);
    }

    private void Twist()
    {
        for (int i = 0; i < Length; i++)
        {
            uint y = (_state[i] & 0x80000000) | (_state[(i + 1) % Length] & 0x7fffffff);
            _state[i] = _state[(i + Middle) % Length] ^ (y >> 1) ^ ((y & 1) * 0x9908b0df);
        }

        _at = 0;
    }
}
