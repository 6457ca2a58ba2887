using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>Threads that share a row: which one, and how they add up.</summary>
internal interface ITeam
{
    int Lanes { get; }

    int Lane { get; }

    long Row { get; }

    /// <summary>The sum over all lanes, in one order, for all of them. Each sum has scratch memory of its own.</summary>
    float Sum(float value, ArrayView<float> scratch);
}

/// <summary>A warp for each row.</summary>
internal readonly struct WarpTeam : ITeam
{
    public int Lanes => Warp.WarpSize;

    public int Lane => Group.IdxX % Warp.WarpSize;

    public long Row => (long)Grid.IdxX * (Group.DimX / Warp.WarpSize) + Group.IdxX / Warp.WarpSize;

    public float Sum(float value, ArrayView<float> scratch) => GroupTree.SumOfWarp(value);
}

/// <summary>A group for each row.</summary>
internal readonly struct GroupTeam : ITeam
{
    public int Lanes => Group.DimX;

    public int Lane => Group.IdxX;

    public long Row => Grid.IdxX;

    public float Sum(float value, ArrayView<float> scratch) => GroupTree.SumOnce(value, scratch);
}

/// <summary>
/// Layer norm and RMS norm. A lane has every so-manieth four neighbours of a row, and reads them anew for each pass, from the nearest cache:
/// rows in registers would be no faster, and the code many times as long.
/// </summary>
internal static class NormKernels
{
    /// <summary>Bytes for each lane of the widest row that one warp makes.</summary>
    public const int MostOfLane = 128;

    [Kernel(256, typeof(WarpTeam), typeof(AtOnce), Groups = 6)]
    [Kernel(256, typeof(WarpTeam), typeof(OneByOne), Groups = 4)]
    [Kernel(256, typeof(GroupTeam), typeof(AtOnce), Groups = 6)]
    [Kernel(256, typeof(GroupTeam), typeof(OneByOne), Groups = 4)]
    public static void Normalize<TTeam, TAccess>(
        ArrayView<float> x, long xStride, int rows, int columns, int centred, float epsilon, ArrayView<float> gain, ArrayView<float> bias,
        ArrayView<float> givenScale, ArrayView<float> given, long givenStride, ArrayView<float> scaleOut, ArrayView<float> normalized,
        long normalizedStride, ArrayView<float> residual, long residualStride, ArrayView<float> delta, long deltaStride,
        ArrayView<float> output, ArrayView<ushort> narrow, long outputStride)
        where TTeam : struct, ITeam
        where TAccess : struct, IAccess
    {
        TTeam team = default;
        TAccess access = default;
        ArrayView<float> ofSums = SharedMemory.Allocate<float>(GroupTree.Scratch), ofSquares = SharedMemory.Allocate<float>(GroupTree.Scratch);
        bool isGiven = given.Length != 0;
        int first = team.Lane * 4, step = team.Lanes * 4;
        long row = team.Row;
        if (row >= rows)
        {
            return; // a whole warp, which waits for nobody
        }

        long from = isGiven ? row * givenStride : row * xStride;
        ArrayView<float> source = isGiven ? given : x;
        float mean = 0, factor = 1;
        if (!isGiven)
        {
            if (centred != 0)
            {
                float sum = 0;
                for (int i = first; i < columns; i += step)
                {
                    sum = Add(sum, access.Load(source, from + i, columns - i));
                }

                mean = team.Sum(sum, ofSums) / columns;
            }

            float scale;
            if (givenScale.Length != 0)
            {
                scale = givenScale[row];
            }
            else
            {
                float squares = 0;
                for (int i = first; i < columns; i += step)
                {
                    squares = AddSquares(squares, Centred(access.Load(source, from + i, columns - i), mean, columns - i));
                }

                scale = MathF.Sqrt(team.Sum(squares, ofSquares) / columns + epsilon);
            }

            if (scaleOut.Length != 0 && team.Lane == 0)
            {
                scaleOut[row] = scale;
            }

            factor = 1 / scale;
        }

        var steps = new Steps
        {
            Gain = gain,
            Bias = bias,
            Normalized = normalized,
            NormalizedRow = row * normalizedStride,
            Residual = residual,
            ResidualRow = row * residualStride,
            Delta = delta,
            DeltaRow = row * deltaStride,
            Output = output,
            Narrow = narrow,
            OutputRow = row * outputStride,
            Factor = factor,
            Columns = columns,
        };
        for (int i = first; i < columns; i += step)
        {
            steps.Finish<TAccess>(Centred(access.Load(source, from + i, columns - i), mean, columns - i), i);
        }
    }

    private static float Add(float sum, Four four) => sum + four.A + four.B + four.C + four.D;

    private static float AddSquares(float sum, Four four) =>
        Ptx.Fma(four.D, four.D, Ptx.Fma(four.C, four.C, Ptx.Fma(four.B, four.B, Ptx.Fma(four.A, four.A, sum))));

    /// <summary>Minus the mean; zero stays where there is no element.</summary>
    private static Four Centred(Four four, float mean, int count) => new()
    {
        A = count > 0 ? four.A - mean : 0,
        B = count > 1 ? four.B - mean : 0,
        C = count > 2 ? four.C - mean : 0,
        D = count > 3 ? four.D - mean : 0,
    };

    /// <summary>What follows the scale; views may be empty.</summary>
    private struct Steps
    {
        public ArrayView<float> Gain, Bias, Normalized, Residual, Delta, Output;
        public ArrayView<ushort> Narrow;
        public long NormalizedRow, ResidualRow, DeltaRow, OutputRow;
        public float Factor;
        public int Columns;

        /// <summary>Four centred values, or normalized ones with a factor of 1.</summary>
        public readonly void Finish<TAccess>(Four four, int column) where TAccess : struct, IAccess
        {
            TAccess access = default;
            int count = Columns - column;
            four = four.Times(Factor);
            if (Normalized.Length != 0)
            {
                access.Store(Normalized, NormalizedRow + column, four, count);
            }

            // One rounding, whichever of the two are given.
            if (Gain.Length != 0)
            {
                Four gains = access.Load(Gain, column, count);
                four = Bias.Length != 0 ? Four.Fma(four, gains, access.Load(Bias, column, count)) : Four.Product(four, gains);
            }
            else if (Bias.Length != 0)
            {
                four = Four.Sum(four, access.Load(Bias, column, count));
            }

            if (Delta.Length != 0)
            {
                access.Store(Delta, DeltaRow + column, four, count);
            }

            if (Residual.Length != 0)
            {
                four = Four.Sum(access.Load(Residual, ResidualRow + column, count), four);
            }

            if (Output.Length != 0)
            {
                access.Store(Output, OutputRow + column, four, count);
            }

            if (Narrow.Length != 0)
            {
                access.Store(Narrow, OutputRow + column, four, count);
            }
        }
    }
}
