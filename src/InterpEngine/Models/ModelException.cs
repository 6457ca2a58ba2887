namespace InterpEngine.Models;

/// <summary>A model cannot be run as asked: an unknown architecture or setting, a checkpoint that does not fit, an impossible request.</summary>
public sealed class ModelException : InterpException
{
    /// <summary>Creates the error.</summary>
    /// <param name="message">What is wrong, naming the file, setting or tensor.</param>
    /// <param name="hint">What the user can do, or null.</param>
    /// <param name="inner">The cause, or null.</param>
    public ModelException(string message, string? hint = null, Exception? inner = null)
        : base(message, hint, inner)
    {
    }
}
