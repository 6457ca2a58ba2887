namespace InterpEngine.Kernels.Reference;

public sealed partial class ReferenceDevice
{
    /// <inheritdoc/>
    protected override void Execute(in Rotary op)
    {
        ReadOnlySpan<int> positions = All<int>(op.Positions);
        int heads = op.X.Shape[^2], size = op.X.Shape[^1];
        for (int token = 0; token < op.Tokens; token++)
        {
            for (int head = 0; head < heads; head++)
            {
                long start = ((long)token * heads + head) * size;
                float[] x = Row(op.X, start).ToArray();
                Span<float> output = Row(op.Out, start);
                x.CopyTo(output);
                if (positions[token] >= 0)
                {
                    Rotate(in op, x, output, (long)positions[token] * op.Cos.Shape[1]);
                }
            }
        }
    }

    private static void Rotate(in Rotary op, ReadOnlySpan<float> x, Span<float> output, long angles)
    {
        ReadOnlySpan<float> cos = Row(op.Cos, angles), sin = Row(op.Sin, angles);
        for (int i = 0; i < cos.Length; i++)
        {
            (int First, int Second) halves = (op.Start + i, op.Start + i + cos.Length), neighbours = (op.Start + 2 * i, op.Start + 2 * i + 1);
            (int a, int b) = op.Pairs == RotaryPairs.Halves ? halves : neighbours;
            (int toA, int toB) = op.Pairs == RotaryPairs.Interleaved ? neighbours : halves;
            output[toA] = (float)((double)x[a] * cos[i] - (double)x[b] * sin[i]);
            output[toB] = (float)((double)x[b] * cos[i] + (double)x[a] * sin[i]);
        }
    }
}
