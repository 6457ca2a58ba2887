using InterpEngine.Formats;

namespace InterpEngine.Dictionaries.Formats;

/// <summary>Dictionaries in files: which library wrote a folder is seen from its files, and its reader is called.</summary>
public static class DictionaryFile
{
    /// <summary>Reads a dictionary.</summary>
    /// <param name="path">A folder of SAELens, sparsify, dictionary_learning, OpenAI, Gemma Scope, Gemma Scope 2, Llama Scope or
    /// crosscoder_learning, or a Gemma Scope .npz file.</param>
    /// <exception cref="InvalidFileException">A file is missing, broken or hostile, or nothing known is there.</exception>
    public static (DictionaryConfig Config, DictionaryParameters Parameters) Read(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        bool Has(string file) => File.Exists(Path.Combine(path, file));
        try
        {
            return path.EndsWith(".npz", StringComparison.Ordinal) && !Directory.Exists(path) ? ScopeFormats.ReadGemma(path)
                : Has("sae_weights.safetensors") ? SaeLensFormat.Read(path)
                : Has("sae.safetensors") ? SparsifyFormat.Read(path)
                : Has("params.npz") ? ScopeFormats.ReadGemma(Path.Combine(path, "params.npz"))
                : Has("params.safetensors") ? ScopeFormats.ReadGemma2(path)
                : Has("hyperparams.json") ? ScopeFormats.ReadLlama(path)
                : Has("ae.safetensors") ? ReadAutoEncoder(path)
                : Has("model.safetensors") ? CrosscoderFormat.Read(path)
                : throw Unknown(path);
        }
        catch (DictionaryException e)
        {
            throw new InvalidFileException(path, $"holds a dictionary that does not fit together: {e.Message}", e.Hint, e);
        }
    }

    /// <summary>Reads what a folder holds as dictionaries of one layer each: several for a crosscoder that is decoupled, else one.</summary>
    /// <exception cref="InvalidFileException">A file is missing, broken or hostile, or nothing known is there.</exception>
    public static IReadOnlyList<(DictionaryConfig Config, DictionaryParameters Parameters)> ReadLayers(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        return File.Exists(Path.Combine(path, "model.safetensors")) && CrosscoderFormat.ReadLayers(path) is { Count: > 0 } layers
            ? layers
            : [Read(path)];
    }

    /// <summary>
    /// Writes a dictionary as SAELens does, so that SAELens loads it; what SAELens has not and sparsify has, as sparsify does. Files appear
    /// whole or not at all.
    /// </summary>
    /// <param name="folder">Where; made if it is not there.</param>
    /// <param name="config">What it is.</param>
    /// <param name="parameters">Its weights.</param>
    /// <exception cref="DictionaryException">Neither has such dictionaries.</exception>
    /// <exception cref="FileWriteException">The disk refused.</exception>
    public static void Write(string folder, DictionaryConfig config, DictionaryParameters parameters)
    {
        ArgumentNullException.ThrowIfNull(folder);
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(parameters);
        bool sparsify = SparsifyFormat.Alone(config, parameters);
        string other = Path.Combine(folder, sparsify ? SaeLensFormat.WeightsName : SparsifyFormat.WeightsName);
        if (File.Exists(other))
        {
            throw new DictionaryException($"{other} holds the weights of another dictionary, in another format.", "Choose another folder.");
        }

        if (sparsify)
        {
            MakeFolder(folder);
            SparsifyFormat.Write(folder, config, parameters);
        }
        else
        {
            SaeLensWriter.Write(folder, config, parameters);
        }
    }

    internal static void MakeFolder(string folder)
    {
        try
        {
            Directory.CreateDirectory(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new FileWriteException(folder, $"could not be made ({e.Message})", "Check that the folder above it may be written.", e);
        }
    }

    private static (DictionaryConfig Config, DictionaryParameters Parameters) ReadAutoEncoder(string path)
    {
        using StoredWeights weights = StoredWeights.Open(Path.Combine(path, "ae.safetensors"));
        return weights.Has("latent_bias") ? OpenAiFormat.Read(path, weights) : DictionaryLearningFormat.Read(path, weights);
    }

    private static InvalidFileException Unknown(string path)
    {
        if (!Directory.Exists(path))
        {
            return new(path, "no such folder", "Check the path; a dictionary must be downloaded first.");
        }

        string? pickle = InputFile.Guard(path, () => Directory.EnumerateFiles(path))
            .Select(Path.GetFileName).FirstOrDefault(name => name!.EndsWith(".pt", StringComparison.Ordinal));
        if (pickle is not null)
        {
            return new(
                path,
                $"has its weights only as a pickle, {InputFile.Quote(pickle)}",
                "Pickles can run code, so they are never read. Convert it once, where you trust the file: python -c \"import torch; from "
                + "safetensors.torch import save_file; save_file({k: v.clone().contiguous() for k, v in torch.load('ae.pt', "
                + "map_location='cpu', weights_only=True).items() if torch.is_tensor(v)}, 'ae.safetensors')\"");
        }

        return File.Exists(Path.Combine(path, "config.yaml"))
            ? new(path, "holds a transcoder for every layer, not one dictionary", "Open it as a TranscoderSet.")
            : new InvalidFileException(
                path,
                "holds no dictionary that the engine knows",
                "Expected sae_weights.safetensors (SAELens), sae.safetensors (sparsify), ae.safetensors (dictionary_learning, OpenAI), "
                + "params.npz or params.safetensors (Gemma Scope), hyperparams.json (Llama Scope) or model.safetensors (crosscoders).");
    }
}
