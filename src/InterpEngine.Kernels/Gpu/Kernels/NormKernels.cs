using ILGPU;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>Layer norm and RMS norm, a group for each row.</summary>
internal static class NormKernels
{
    [Kernel(256)]
    public static void Normalize(
        ArrayView<float> x, long xStride, int columns, int centred, float epsilon, ArrayView<float> gain, ArrayView<float> bias,
        ArrayView<float> givenScale, ArrayView<float> given, long givenStride, ArrayView<float> scaleOut, ArrayView<float> normalized,
        long normalizedStride, ArrayView<float> residual, long residualStride, ArrayView<float> delta, long deltaStride,
        ArrayView<float> output, long outputStride)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupTree.Scratch);
        int thread = Group.IdxX, threads = Group.DimX;
        long row = Grid.IdxX, xRow = row * xStride;
        bool isGiven = given.Length != 0;
        float mean = 0, factor = 1;
        if (!isGiven)
        {
            if (centred != 0)
            {
                float sum = 0;
                for (int i = thread; i < columns; i += threads)
                {
                    sum += x[xRow + i];
                }

                mean = GroupTree.Sum(sum, scratch) / columns;
            }

            float scale;
            if (givenScale.Length != 0)
            {
                scale = givenScale[row];
            }
            else
            {
                float squares = 0;
                for (int i = thread; i < columns; i += threads)
                {
                    float c = centred != 0 ? x[xRow + i] - mean : x[xRow + i];
                    squares = Ptx.Fma(c, c, squares);
                }

                scale = MathF.Sqrt(GroupTree.Sum(squares, scratch) / columns + epsilon);
            }

            if (scaleOut.Length != 0 && thread == 0)
            {
                scaleOut[row] = scale;
            }

            factor = 1 / scale;
        }

        for (int i = thread; i < columns; i += threads)
        {
            float value;
            if (isGiven)
            {
                value = given[row * givenStride + i];
            }
            else
            {
                float c = centred != 0 ? x[xRow + i] - mean : x[xRow + i];
                value = c * factor;
            }

            if (normalized.Length != 0)
            {
                normalized[row * normalizedStride + i] = value;
            }

            value = Affine(value, gain, bias, i);
            if (delta.Length != 0)
            {
                delta[row * deltaStride + i] = value;
            }

            if (output.Length != 0)
            {
                output[row * outputStride + i] = residual.Length != 0 ? residual[row * residualStride + i] + value : value;
            }
        }
    }

    /// <summary>One rounding, whichever of the two are given.</summary>
    private static float Affine(float value, ArrayView<float> gain, ArrayView<float> bias, int column)
    {
        if (gain.Length != 0)
        {
            return bias.Length != 0 ? Ptx.Fma(value, gain[column], bias[column]) : value * gain[column];
        }

        return bias.Length != 0 ? value + bias[column] : value;
    }
}
