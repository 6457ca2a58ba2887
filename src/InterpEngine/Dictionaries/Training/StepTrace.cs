namespace InterpEngine.Dictionaries.Training;

/// <summary>What a step computed on its way, for those who compare it with another trainer's.</summary>
internal sealed class StepTrace
{
    /// <summary>Parameters at the forward pass, after what depends on the first batch.</summary>
    public Dictionary<string, float[]> Parameters { get; } = [];

    /// <summary>[n, input]: rows as the encoder reads them, but for the bias that it subtracts.</summary>
    public float[] Input { get; private set; } = [];

    /// <summary>The decoder rows' code norms, where they are needed.</summary>
    public float[] Norms { get; private set; } = [];

    /// <summary>[n, output]: each level's error x̂ − y.</summary>
    public float[][] Errors { get; private set; } = [];

    /// <summary>The least value that was decoded, in the second reconstruction if there is one.</summary>
    public float LeastValue { get; private set; }

    /// <summary>The sparsity loss without its coefficient.</summary>
    public double Sparsity { get; private set; }

    /// <summary>The k of the step.</summary>
    public double K { get; private set; }

    /// <summary>The share of the sparsity coefficient that counted.</summary>
    public double SparsityScale { get; private set; }

    /// <summary>Gradients as the losses give them.</summary>
    public Dictionary<string, float[]> Gradients { get; } = [];

    /// <summary>Gradients as the optimiser reads them.</summary>
    public Dictionary<string, float[]> FinalGradients { get; } = [];

    public void Begin(Batch batch, IEnumerable<TrainedMatrix> parameters, float[] norms, double k, double sparsityScale)
    {
        (Input, Norms, K, SparsityScale) = (batch.Input.ToArray<float>(), norms, k, sparsityScale);
        Copy(parameters, matrix => matrix.Values, Parameters, 1);
    }

    public void Decoded(Entries entries, IEnumerable<Kernels.Tensor> errors)
    {
        Errors = [.. errors.Select(error => error.ToArray<float>())];
        LeastValue = entries.Count == 0 ? 0 : entries.Values.ToArray().Min();
    }

    public void Differentiated(Batch batch, IEnumerable<TrainedMatrix> parameters)
    {
        Sparsity = batch.UnscaledSparsity;
        Copy(parameters, matrix => matrix.Gradients, Gradients, 1);
    }

    public void Clipped(IEnumerable<TrainedMatrix> parameters, double scale) => Copy(parameters, matrix => matrix.Gradients, FinalGradients, scale);

    private static void Copy(
        IEnumerable<TrainedMatrix> parameters, Func<TrainedMatrix, Span<float>> of, Dictionary<string, float[]> to, double scale)
    {
        foreach (TrainedMatrix matrix in parameters)
        {
            to[matrix.Name] = of(matrix).ToArray();
            DictionaryTrainer.Scale(to[matrix.Name], scale);
        }
    }
}
