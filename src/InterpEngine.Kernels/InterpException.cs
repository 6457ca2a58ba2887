namespace InterpEngine;

/// <summary>
/// The base of every error that a user of the engine can cause or meet: a broken file, an unknown hook point, a missing device.
/// Its message is one sentence that names the file, tensor, name or shape and what was expected; <see cref="Hint"/> says what to do.
/// Programming errors (a null, a disposed object) are the framework's own exceptions.
/// </summary>
public abstract class InterpException : Exception
{
    /// <summary>Creates the error.</summary>
    /// <param name="message">What is wrong, and where.</param>
    /// <param name="hint">What the user can do about it, or null.</param>
    /// <param name="inner">The cause, or null.</param>
    protected InterpException(string message, string? hint = null, Exception? inner = null)
        : base(message, inner) => Hint = hint;

    /// <summary>What the user can do about it, or null where nothing useful can be said.</summary>
    public string? Hint { get; }
}
