namespace InterpEngine.Dictionaries;

/// <summary>A dictionary cannot be used as asked: settings and weights that do not belong together, vectors of another width.</summary>
public sealed class DictionaryException : InterpException
{
    /// <summary>Creates the error.</summary>
    /// <param name="message">What is wrong, naming the setting, tensor or shape.</param>
    /// <param name="hint">What the user can do, or null.</param>
    /// <param name="inner">The cause, or null.</param>
    public DictionaryException(string message, string? hint = null, Exception? inner = null)
        : base(message, hint, inner)
    {
    }
}
