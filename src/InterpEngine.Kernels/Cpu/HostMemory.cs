namespace InterpEngine.Kernels.Cpu;

/// <summary>Addresses of tensors for the native library, which reads host memory only.</summary>
internal static class HostMemory
{
    public static nint Address(Tensor tensor)
    {
        Check(tensor);
        return tensor.Address;
    }

    public static nint AddressOrZero(Tensor? tensor) => tensor is null ? 0 : Address(tensor);

    public static void Check(Tensor tensor)
    {
        if (tensor.Device is not HostDevice)
        {
            throw new ArgumentException($"A tensor on {tensor.Device.Name} cannot be read by a CPU device.", nameof(tensor));
        }
    }
}
