namespace InterpEngine.Kernels;

/// <summary>A device is absent, cannot do what was asked, or ran out of memory.</summary>
public sealed class DeviceException : InterpException
{
    /// <summary>Creates the error.</summary>
    /// <param name="message">What is wrong.</param>
    /// <param name="hint">What the user can do, or null.</param>
    /// <param name="inner">The cause, or null.</param>
    public DeviceException(string message, string? hint = null, Exception? inner = null)
        : base(message, hint, inner)
    {
    }
}
