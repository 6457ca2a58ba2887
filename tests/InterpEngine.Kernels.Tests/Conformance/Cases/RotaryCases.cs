namespace InterpEngine.Kernels.Tests.Conformance.Cases;

internal static class RotaryCases
{
    public static IEnumerable<OpCase> All() =>
        from pairs in Enum.GetValues<RotaryPairs>()
        from size in ((int Tokens, int Heads, int Size, int Rotated)[])
        [
            (0, 2, 4, 4), (1, 1, 2, 2), (3, 2, 7, 0), (3, 2, 7, 6), (5, 3, 16, 16), (4, 1, 17, 8), (2, 4, 32, 30),
            (3, 2, 64, 64), (7, 3, 65, 34), (2, 2, 128, 128), (33, 2, 32, 32), (70, 8, 128, 64),
        ]
        from start in ((int[])[0, size.Size - size.Rotated]).Distinct()
        from special in (bool[])[false, true]
        select Case(pairs, size.Tokens, size.Heads, size.Size, size.Rotated, start, special);

    private static OpCase Case(RotaryPairs pairs, int tokens, int heads, int size, int rotated, int start, bool special)
    {
        string name = $"Rotary / {pairs.ToString().ToLowerInvariant()} {tokens}x{heads}x{size} rotating {rotated} from {start}";
        return new OpCase($"{name}{(special ? " nan inf" : "")}", run =>
        {
            const int positions = 11;
            int half = rotated / 2;
            float[] x = run.Values(tokens * heads * size), angles = run.Values(positions * half).Times(3);
            float[] cos = [.. angles.Select(MathF.Cos)], sin = [.. angles.Select(MathF.Sin)];
            int[] at = run.Integers(tokens, positions);
            if (tokens > 2)
            {
                at[1] = -1;
            }

            if (special)
            {
                x.With(float.NaN, float.PositiveInfinity, 1e-42f);
            }

            Approx Truth(int i)
            {
                int channel = i % size - start, origin = i - channel, position = at[i / size / heads];
                if (channel < 0 || channel >= rotated || position < 0)
                {
                    return x[i];
                }

                bool apart = pairs != RotaryPairs.Interleaved;
                int pair = apart ? channel % half : channel / 2;
                bool first = apart ? channel < half : channel % 2 == 0;
                float a = x[origin + (pairs == RotaryPairs.Halves ? pair : 2 * pair)];
                float b = x[origin + (pairs == RotaryPairs.Halves ? pair + half : 2 * pair + 1)];
                Approx c = cos[position * half + pair], s = sin[position * half + pair];
                return first ? a * c - b * s : b * c + a * s;
            }

            var op = new Rotary
            {
                X = run.Tensor(x, tokens, heads, size),
                Positions = run.Tensor(at, tokens),
                Cos = run.Tensor(cos, positions, half),
                Sin = run.Tensor(sin, positions, half),
                Pairs = pairs,
                Start = start,
                Out = run.Output("out", new Shape(tokens, heads, size), Truth),
            };
            run.Device.Run(op);
            if (pairs == RotaryPairs.InterleavedToHalves)
            {
                return;
            }

            run.Watch("in place", new Matrix(op.X, 0, 1, x.Length, x.Length), (_, i) => Truth(i));
            run.Device.Run(op with { Out = op.X });
        });
    }
}
