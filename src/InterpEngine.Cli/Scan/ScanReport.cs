using System.Text.Json;
using System.Text.Json.Serialization;

namespace InterpEngine.Cli.Scan;

/// <summary>Everything that a scan found: what <c>--json</c> prints and what the HTML file holds.</summary>
/// <param name="Model">The model.</param>
/// <param name="Prompt">The prompt as it was given.</param>
/// <param name="Length">Tokens of the prompt up to the explained position.</param>
/// <param name="Tokens">The last of them, as many as the report shows: all axes named "token" below run over these.</param>
/// <param name="Next">The likeliest next tokens.</param>
/// <param name="Answer">The token whose logit is explained.</param>
/// <param name="Against">The token whose logit is subtracted, or null.</param>
/// <param name="Lens">What each layer would predict.</param>
/// <param name="Attribution">What pushed the answer.</param>
/// <param name="Neurons">The neurons that pushed most.</param>
/// <param name="Attention">Attention patterns.</param>
/// <param name="Dictionaries">Features of sparse dictionaries that are active.</param>
internal sealed record ScanReport(
    ScanModel Model,
    string Prompt,
    int Length,
    IReadOnlyList<ScanToken> Tokens,
    IReadOnlyList<Prediction> Next,
    Candidate Answer,
    Candidate? Against,
    IReadOnlyList<LensLayer> Lens,
    Attribution Attribution,
    IReadOnlyList<ScanNeuron> Neurons,
    IReadOnlyList<HeadPattern> Attention,
    IReadOnlyList<DictionaryReading> Dictionaries)
{
    /// <summary>As JSON, with everything but plain ASCII escaped: it may stand in a script element of an HTML file.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, ScanJson.Default.ScanReport);
}

/// <summary>The model's name and sizes.</summary>
internal sealed record ScanModel(string Name, string Family, int Layers, int Heads, int Width, int Neurons, int Vocabulary);

/// <summary>A token of the prompt.</summary>
internal sealed record ScanToken(int Position, int Id, string Text);

/// <summary>A token and its probability.</summary>
internal sealed record Prediction(int Id, string Text, float Probability);

/// <summary>A possible next token. Rank 1 is the likeliest; the logit is as the model gives it.</summary>
internal sealed record Candidate(int Id, string Text, float Probability, int Rank, float Logit);

/// <summary>The lens at one point of the residual stream.</summary>
/// <param name="Point">The hook point.</param>
/// <param name="Label">Its short name.</param>
/// <param name="Top">[token][rank]: the likeliest next tokens there.</param>
/// <param name="Answer">[token]: the probability of the explained answer.</param>
internal sealed record LensLayer(
    string Point, string Label, IReadOnlyList<IReadOnlyList<Prediction>> Top, IReadOnlyList<float> Answer);

/// <summary>The answer's logit taken apart, with the final norm's scale frozen.</summary>
/// <param name="Logit">The run's own, before any soft cap: the logit less the vocabulary's mean, or less the logit that it is set against.</param>
/// <param name="Sum">The sum of the components: the same number, but for rounding.</param>
/// <param name="Components">Every component, in the order of the forward pass.</param>
internal sealed record Attribution(double Logit, double Sum, IReadOnlyList<Component> Components);

/// <summary>What one component adds to the logit.</summary>
/// <param name="Name">Its name, such as <c>L2H1</c>.</param>
/// <param name="Kind">What it is.</param>
/// <param name="Layer">Its block, or null.</param>
/// <param name="Head">Its head, or null.</param>
/// <param name="Value">What it adds.</param>
/// <param name="Attends">For a head: the token of the report that it attends to most.</param>
/// <param name="Sources">For a head: [token], what it adds because of what it read there.</param>
internal sealed record Component(
    string Name, string Kind, int? Layer, int? Head, float Value, Attended? Attends, IReadOnlyList<float>? Sources);

/// <summary>Where a head looks from the explained position.</summary>
internal sealed record Attended(int Position, string Text, float Weight);

/// <summary>A neuron.</summary>
/// <param name="Layer">Its block.</param>
/// <param name="Neuron">Its number there.</param>
/// <param name="Value">What it adds to the logit.</param>
/// <param name="Activation">Its value at the explained position.</param>
/// <param name="Activations">[token]: its value everywhere.</param>
internal sealed record ScanNeuron(int Layer, int Neuron, float Value, float Activation, IReadOnlyList<float> Activations);

/// <summary>The attention pattern of a head.</summary>
/// <param name="Layer">Its block.</param>
/// <param name="Head">Its number there.</param>
/// <param name="Pattern">
/// Base64 of little-endian 16-bit integers, weight × 65535: for each token in turn, its attention to the tokens up to itself.
/// </param>
internal sealed record HeadPattern(int Layer, int Head, string Pattern);

/// <summary>A sparse dictionary's features in the prompt.</summary>
/// <param name="Name">The dictionary.</param>
/// <param name="Point">The hook point that it reads.</param>
/// <param name="Features">How many features it has.</param>
/// <param name="Active">[token]: how many of them are active.</param>
/// <param name="Tokens">[token]: the most active ones, the strongest first.</param>
/// <param name="Known">What is known of those, by index.</param>
/// <param name="WithoutLogits">Why they have no logits; null where they have.</param>
internal sealed record DictionaryReading(
    string Name,
    string Point,
    int Features,
    IReadOnlyList<int> Active,
    IReadOnlyList<IReadOnlyList<ActiveFeature>> Tokens,
    IReadOnlyList<KnownFeature> Known,
    string? WithoutLogits);

/// <summary>A feature at a token, and its activation there.</summary>
internal sealed record ActiveFeature(int Feature, float Value);

/// <summary>What is known of a feature.</summary>
/// <param name="Feature">Its index.</param>
/// <param name="Density">The share of tokens at which it is active, if the dictionary's files say so.</param>
/// <param name="Raises">The tokens whose logits it raises most, for an activation of 1; null without logits.</param>
/// <param name="Lowers">Those whose logits it lowers most.</param>
/// <param name="Adds">What it adds to the answer's logit at the explained position, the final norm's scale frozen; null where that is not
/// known.</param>
internal sealed record KnownFeature(
    int Feature, double? Density, IReadOnlyList<RaisedToken>? Raises, IReadOnlyList<RaisedToken>? Lowers, float? Adds);

/// <summary>A token and what is added to its logit.</summary>
internal sealed record RaisedToken(int Id, string Text, float Logit);

/// <summary>How the report is written.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(ScanReport))]
[JsonSerializable(typeof(EncoderReport))]
internal sealed partial class ScanJson : JsonSerializerContext;
