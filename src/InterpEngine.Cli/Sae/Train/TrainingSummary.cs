using System.Globalization;
using System.Text.Json;
using InterpEngine.Dictionaries;

namespace InterpEngine.Cli.Sae.Train;

/// <summary>What came of a run.</summary>
internal sealed record TrainingSummary(
    string Folder, int Features, int Steps, double Seconds, TrainingPoint? Last, DictionaryEvaluation Evaluation)
{
    /// <inheritdoc/>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{Features} features after {Steps} steps ({Seconds:0} s): explained variance {Evaluation.ExplainedVariance:0.0000}, "
        + $"L0 {Evaluation.L0:0.#}, loss recovered {Evaluation.LossScore:0.0000}, "
        + $"{Evaluation.Use.Dead} features not active in {Evaluation.Tokens} tokens: {Folder}");

    /// <summary>As JSON.</summary>
    public void WriteTo(Utf8JsonWriter json)
    {
        json.WriteString("dictionary", Folder);
        json.WriteNumber("features", Features);
        json.WriteNumber("steps", Steps);
        json.WriteNumber("seconds", Math.Round(Seconds, 3));
        if (Last is not null)
        {
            json.WriteNumber("loss", Last.Loss);
        }

        json.WriteNumber("explained_variance", Evaluation.ExplainedVariance);
        json.WriteNumber("l0", Evaluation.L0);
        json.WriteNumber("loss_recovered", Evaluation.LossScore);
        json.WriteNumber("dead", Evaluation.Use.Dead);
        json.WriteNumber("tokens_evaluated", Evaluation.Tokens);
    }
}
