using ILGPU;

namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>The choice of experts, a group for each row. Scratch matrices have a row for each row of the logits.</summary>
internal static class RouteKernels
{
    /// <summary>The scratch for keys is [rows, experts].</summary>
    [Kernel(64)]
    public static void Softmax(
        ArrayView<float> logits, long stride, int experts, int k, int renormalize, float factor, ArrayView<uint> keys,
        ArrayView<int> indices, ArrayView<float> weights)
    {
        ArrayView<float> scratch = SharedMemory.Allocate<float>(GroupTree.Scratch);
        ArrayView<ulong> picks = SharedMemory.Allocate<ulong>(GroupTree.Scratch);
        long row = Grid.IdxX * stride, own = (long)Grid.IdxX * experts, to = (long)Grid.IdxX * k;
        for (int i = Group.IdxX; i < experts; i += Group.DimX)
        {
            keys[own + i] = Elementary.Order(logits[row + i]);
        }

        for (int j = 0; j < k; j++)
        {
            int best = Pick(keys, own, experts, picks);
            if (Group.IdxX == 0)
            {
                indices[to + j] = best;
            }
        }

        Group.Barrier();
        float largest = logits[row + indices[to]], sum = 0;
        if (renormalize != 0)
        {
            for (int j = 0; j < k; j++)
            {
                sum += Elementary.Exp(logits[row + indices[to + j]] - largest);
            }
        }
        else
        {
            for (int i = Group.IdxX; i < experts; i += Group.DimX)
            {
                sum += Elementary.Exp(logits[row + i] - largest);
            }

            sum = GroupTree.Sum(sum, scratch);
        }

        for (int j = Group.IdxX; j < k; j += Group.DimX)
        {
            weights[to + j] = Elementary.Exp(logits[row + indices[to + j]] - largest) / sum * factor;
        }
    }

    /// <summary>The scratch for keys and scores is [rows, experts], for worths [rows, groups], for chosen [rows, k].</summary>
    [Kernel(64)]
    public static void Sigmoid(
        ArrayView<float> logits, long stride, ArrayView<float> bias, int experts, int k, int groups, int chosenGroups, int renormalize,
        float factor, ArrayView<uint> keys, ArrayView<float> scores, ArrayView<float> worths, ArrayView<int> chosen,
        ArrayView<int> indices, ArrayView<float> weights)
    {
        ArrayView<ulong> picks = SharedMemory.Allocate<ulong>(GroupTree.Scratch);
        int size = experts / groups;
        long row = Grid.IdxX * stride, own = (long)Grid.IdxX * experts, to = (long)Grid.IdxX * k, ownGroups = (long)Grid.IdxX * groups;
        for (int i = Group.IdxX; i < experts; i += Group.DimX)
        {
            scores[own + i] = Elementary.Sigmoid(logits[row + i]);
        }

        Group.Barrier();
        for (int group = Group.IdxX; group < groups; group += Group.DimX)
        {
            worths[ownGroups + group] = Worth(scores, own, bias, group * size, size);
        }

        Group.Barrier();
        for (int i = Group.IdxX; i < experts; i += Group.DimX)
        {
            bool takesPart = Before(worths, ownGroups, groups, i / size) < chosenGroups;
            keys[own + i] = Elementary.Order(takesPart ? Choice(scores, own, bias, i) : 0);
        }

        for (int j = 0; j < k; j++)
        {
            int best = Pick(keys, own, experts, picks);
            if (Group.IdxX == 0)
            {
                chosen[to + j] = best;
            }
        }

        // By their scores, the largest first, the lower expert first of equal ones.
        Group.Barrier();
        for (int j = Group.IdxX; j < k; j += Group.DimX)
        {
            int expert = chosen[to + j], rank = 0;
            uint key = Elementary.Order(scores[own + expert]);
            for (int i = 0; i < k; i++)
            {
                int other = chosen[to + i];
                uint otherKey = Elementary.Order(scores[own + other]);
                rank += otherKey > key || (otherKey == key && other < expert) ? 1 : 0;
            }

            indices[to + rank] = expert;
        }

        Group.Barrier();
        float sum = 0;
        for (int j = 0; j < k; j++)
        {
            sum += scores[own + indices[to + j]];
        }

        sum = renormalize != 0 ? sum + 1e-20f : 1;
        for (int j = Group.IdxX; j < k; j += Group.DimX)
        {
            weights[to + j] = scores[own + indices[to + j]] / sum * factor;
        }
    }

    private static float Choice(ArrayView<float> scores, long row, ArrayView<float> bias, int expert) =>
        bias.Length != 0 ? scores[row + expert] + bias[expert] : scores[row + expert];

    /// <summary>The sum of a group's two largest choices, or its only one.</summary>
    private static float Worth(ArrayView<float> scores, long row, ArrayView<float> bias, int start, int size)
    {
        float first = Choice(scores, row, bias, start), second = 0;
        bool two = false;
        for (int i = 1; i < size; i++)
        {
            float choice = Choice(scores, row, bias, start + i);
            if (Elementary.Order(choice) > Elementary.Order(first))
            {
                second = first;
                first = choice;
            }
            else if (!two || Elementary.Order(choice) > Elementary.Order(second))
            {
                second = choice;
            }

            two = true;
        }

        return two ? first + second : first;
    }

    /// <summary>How many groups come before one.</summary>
    private static int Before(ArrayView<float> worths, long row, int groups, int group)
    {
        uint key = Elementary.Order(worths[row + group]);
        int count = 0;
        for (int i = 0; i < groups; i++)
        {
            uint other = Elementary.Order(worths[row + i]);
            count += other > key || (other == key && i < group) ? 1 : 0;
        }

        return count;
    }

    /// <summary>The lowest place of the largest key that was not picked yet; it is marked as picked by 0.</summary>
    private static int Pick(ArrayView<uint> keys, long row, int count, ArrayView<ulong> scratch)
    {
        ulong best = 0;
        for (int i = Group.IdxX; i < count; i += Group.DimX)
        {
            best = IntrinsicMath.Max(best, (ulong)keys[row + i] << 32 | (uint)(int.MaxValue - i));
        }

        int place = int.MaxValue - (int)(GroupTree.Max(best, scratch) & 0xffffffffu);
        if (place % Group.DimX == Group.IdxX)
        {
            keys[row + place] = 0;
        }

        return place;
    }
}
