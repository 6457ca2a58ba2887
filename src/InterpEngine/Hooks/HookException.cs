namespace InterpEngine.Hooks;

/// <summary>A hook point does not exist, or a hook did something that cannot be done.</summary>
public sealed class HookException : InterpException
{
    /// <summary>Creates the error.</summary>
    /// <param name="message">What is wrong, naming the point.</param>
    /// <param name="hint">What the user can do, or null.</param>
    public HookException(string message, string? hint = null)
        : base(message, hint)
    {
    }
}
