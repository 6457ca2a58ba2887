namespace InterpEngine.Kernels;

/// <summary>
/// Weights of one shape and type, with a bias each or none, among which a product chooses for every row: the experts of a mixture. Made by
/// <see cref="Device.Group"/>; it does not own the weights.
/// </summary>
public sealed class WeightGroup : IDisposable
{
    internal WeightGroup(IReadOnlyList<Weight> weights, IReadOnlyList<Tensor>? biases, Tensor? addresses) =>
        (Weights, Biases, Addresses) = (weights, biases, addresses);

    /// <summary>[K, N] each.</summary>
    public IReadOnlyList<Weight> Weights { get; }

    /// <summary>[N] each, or none.</summary>
    public IReadOnlyList<Tensor>? Biases { get; }

    /// <summary>Whether the device follows a choice that it alone knows (<see cref="GroupedMatMul.Choice"/>), so that the product can be
    /// recorded. Where it does not, the host reads the choice.</summary>
    public bool IsChosenByDevice => Addresses is not null;

    /// <summary>Where the device finds them.</summary>
    internal Tensor? Addresses { get; }

    /// <inheritdoc/>
    public void Dispose() => Addresses?.Dispose();
}

public abstract partial class Device
{
    /// <summary>Puts weights together for <see cref="GroupedMatMul"/>. They and the biases must outlive the group.</summary>
    /// <exception cref="ArgumentException">There are none, or they are not of one shape and type, or the biases do not fit them.</exception>
    public WeightGroup Group(IReadOnlyList<Weight> weights, IReadOnlyList<Tensor>? biases = null)
    {
        bool alike = weights.Count > 0 && weights.All(
            weight => (weight.Type, weight.Inner, weight.Columns) == (weights[0].Type, weights[0].Inner, weights[0].Columns));
        if (!alike || (biases is not null && biases.Count != weights.Count))
        {
            throw new ArgumentException("A group needs weights of one shape and type, each with its bias or none.");
        }

        foreach (Tensor bias in biases ?? [])
        {
            OpCheck.Vector(nameof(WeightGroup), nameof(biases), bias, weights[0].Columns);
        }

        return new WeightGroup(weights, biases, AddressesOf(weights, biases));
    }

    /// <summary>What the device needs to choose among weights by itself; null where it cannot.</summary>
    private protected virtual Tensor? AddressesOf(IReadOnlyList<Weight> weights, IReadOnlyList<Tensor>? biases) => null;
}
