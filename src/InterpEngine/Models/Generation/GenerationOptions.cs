namespace InterpEngine.Models;

/// <summary>How the next token is chosen, and when to stop.</summary>
public sealed record GenerationOptions
{
    /// <summary>New tokens at most, for each sequence.</summary>
    public int MaxTokens { get; init; } = 64;

    /// <summary>Divides the logits before sampling; 0 for the likeliest token (of equal ones the lower id).</summary>
    public double Temperature { get; init; }

    /// <summary>Only the k likeliest tokens are drawn from; 0 for all.</summary>
    public int TopK { get; init; }

    /// <summary>Only the likeliest tokens that together reach this probability are drawn from (nucleus sampling); 1 for all.</summary>
    public double TopP { get; init; } = 1;

    /// <summary>
    /// The same seed gives the same tokens. Each sequence of a batch draws from its own stream, so that its company changes nothing.
    /// </summary>
    public ulong Seed { get; init; }

    /// <summary>How many of the likeliest tokens to report with each chosen one.</summary>
    public int Alternatives { get; init; }

    /// <summary>Whether a sequence ends at the model's end-of-text token.</summary>
    public bool StopAtEnd { get; init; } = true;

    internal void Check()
    {
        if (MaxTokens < 0 || TopK < 0 || Alternatives < 0 || !double.IsFinite(Temperature) || Temperature < 0 || !(TopP is > 0 and <= 1))
        {
            throw new ModelException(
                $"Cannot generate with {MaxTokens} tokens, temperature {Temperature}, top-k {TopK}, top-p {TopP}, {Alternatives} alternatives.",
                "Counts and temperature must not be negative, and top-p must lie above 0 and not above 1.");
        }
    }
}

/// <summary>A token and the natural logarithm of its probability.</summary>
/// <param name="Id">The token.</param>
/// <param name="LogProbability">ln p under the model's own distribution, whatever the sampling options.</param>
public readonly record struct TokenProbability(int Id, float LogProbability);

/// <summary>A generated token.</summary>
/// <param name="Id">The token.</param>
/// <param name="LogProbability">ln p under the model's own distribution, whatever the sampling options.</param>
/// <param name="Alternatives">The likeliest tokens at this place, likeliest first.</param>
public sealed record GeneratedToken(int Id, float LogProbability, IReadOnlyList<TokenProbability> Alternatives);
