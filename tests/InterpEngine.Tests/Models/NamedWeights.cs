using System.Globalization;
using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Tests.Models;

/// <summary>A loaded model's weights under TransformerLens's names and in its layouts.</summary>
internal static class NamedWeights
{
    public static double[] Read(Model model, string name)
    {
        ModelDescription d = model.Description;
        ModelWeights weights = model.Weights;
        string[] parts = name.Split('.');
        BlockWeights block = weights.Blocks[parts[0] == "blocks" ? int.Parse(parts[1], CultureInfo.InvariantCulture) : 0];
        bool gated = d.GatedMlp;
        return (parts[0] == "blocks" ? string.Join('.', parts[2..]) : name) switch
        {
            "ln1.w" => Vector(block.Ln1!.Gain, d.Width, 1),
            "ln1.b" => Vector(block.Ln1!.Bias, d.Width, 0),
            "ln2.w" => Vector(block.Ln2!.Gain, d.Width, 1),
            "ln2.b" => Vector(block.Ln2!.Bias, d.Width, 0),
            "ln_final.w" => Vector(weights.LnFinal!.Gain, d.Width, 1),
            "ln_final.b" => Vector(weights.LnFinal!.Bias, d.Width, 0),
            "attn.W_Q" => ByHead(block.Attention.Q.Weight, d.Heads),
            "attn.W_K" or "attn._W_K" => ByHead(block.Attention.K.Weight, d.KeyValueHeads),
            "attn.W_V" or "attn._W_V" => ByHead(block.Attention.V.Weight, d.KeyValueHeads),
            "attn.W_O" => Rows(block.Attention.O.Weight),
            "attn.b_Q" => Vector(block.Attention.Q.Bias, block.Attention.Q.Weight.Columns, 0),
            "attn.b_K" => Vector(block.Attention.K.Bias, block.Attention.K.Weight.Columns, 0),
            "attn.b_V" => Vector(block.Attention.V.Bias, block.Attention.V.Weight.Columns, 0),
            "attn.b_O" => Vector(block.Attention.O.Bias, d.Width, 0),
            "attn.W_QK" => Products(ByHead(block.Attention.Q.Weight, d.Heads), ByHead(block.Attention.K.Weight, d.Heads), d.Heads, d.Width, d.HeadSize),
            "attn.W_OV" => Products(
                ByHead(block.Attention.V.Weight, d.Heads), ByHead(Transposed(block.Attention.O.Weight), d.Heads, d.Width), d.Heads, d.Width, d.HeadSize),
            "attn.q_column_norms" => Norms(block.Attention.Q.Weight, block.Attention.Q.Bias),
            "attn.v_column_norms" => Norms(block.Attention.V.Weight, null),
            "mlp.W_in" => Rows((gated ? block.Mlp!.Up! : block.Mlp!.In).Weight),
            "mlp.W_gate" => Rows(block.Mlp!.In.Weight),
            "mlp.W_out" => Rows(block.Mlp!.Out.Weight),
            "mlp.b_in" => Vector((gated ? block.Mlp!.Up! : block.Mlp!.In).Bias, d.MlpWidth, 0),
            "mlp.b_out" => Vector(block.Mlp!.Out.Bias, d.Width, 0),
            "embed.W_E" => Columns(weights.TokenEmbedding),
            "pos_embed.W_pos" => Columns(weights.PositionEmbedding!),
            "unembed.W_U" => Rows(weights.Unembed.Weight),
            "unembed.b_U" => Vector(weights.Unembed.Bias, d.Vocabulary, 0),
            _ => throw new ArgumentException($"'{name}' is no weight that the engine knows.", nameof(name)),
        };

        double[] Columns(Weight weight)
        {
            using Tensor ids = model.Device.Upload<int>([.. Enumerable.Range(0, weight.Columns)], weight.Columns);
            using Tensor columns = model.Device.Allocate(ElementType.F32, weight.Columns, weight.Inner);
            model.Device.Run(new Embed { Ids = ids, Table = weight, Out = columns });
            return [.. columns.ToArray<float>().Select(value => (double)value)];
        }

        // [inputs, outputs].
        double[] Rows(Weight weight) => Transpose(Columns(weight), weight.Columns, weight.Inner);

        double[] Transposed(Weight weight) => Rows(weight);

        // [heads, inputs, head size] of a matrix whose outputs are heads.
        double[] ByHead(object matrix, int heads, int inputs = 0)
        {
            double[] columns = matrix is Weight weight ? Columns(weight) : (double[])matrix;
            inputs = matrix is Weight packed ? packed.Inner : inputs;
            int size = columns.Length / inputs / heads;
            return [.. Enumerable.Range(0, heads).SelectMany(head =>
                Transpose(columns[(head * size * inputs)..((head + 1) * size * inputs)], size, inputs))];
        }

        double[] Norms(Weight weight, Tensor? bias)
        {
            double[] columns = Columns(weight), last = Vector(bias, weight.Columns, 0);
            return [.. columns.Chunk(weight.Inner).Select((column, i) => Math.Sqrt(column.Sum(v => v * v) + last[i] * last[i]))];
        }
    }

    private static double[] Vector(Tensor? vector, int length, double absent) =>
        vector is null ? [.. Enumerable.Repeat(absent, length)] : [.. vector.ToArray<float>().Select(value => (double)value)];

    private static double[] Transpose(double[] values, int rows, int columns) =>
        [.. Enumerable.Range(0, values.Length).Select(i => values[i % rows * columns + i / rows])];

    /// <summary>[heads, width, width]: A·Bᵀ of two [heads, width, size].</summary>
    private static double[] Products(double[] a, double[] b, int heads, int width, int size)
    {
        var products = new double[heads * width * width];
        for (int i = 0; i < products.Length; i++)
        {
            int head = i / width / width, row = i / width % width, column = i % width;
            for (int k = 0; k < size; k++)
            {
                products[i] += a[(head * width + row) * size + k] * b[(head * width + column) * size + k];
            }
        }

        return products;
    }
}
