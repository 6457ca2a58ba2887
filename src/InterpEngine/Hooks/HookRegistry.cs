using InterpEngine.Kernels;
using InterpEngine.Models;

namespace InterpEngine.Hooks;

/// <summary>The hook points that one model has, their shapes, and why it lacks the others.</summary>
public sealed class HookRegistry
{
    private readonly ModelDescription _model;

    private bool Sentences => _model.TokenTypes > 0;

    /// <summary>Lists the points of a model.</summary>
    public HookRegistry(ModelDescription model)
    {
        ArgumentNullException.ThrowIfNull(model);
        _model = model;
        var points = new List<HookPoint>();
        foreach (HookKindInfo info in HookKinds.All)
        {
            points.AddRange(Enumerable.Range(0, info.InBlock ? model.Layers : 1).Select(layer => new HookPoint(info.Kind, layer))
                .Where(point => WhyAbsent(point) is null));
        }

        points.Sort();
        Points = points;
    }

    /// <summary>Every point of the model, in the order of its forward pass.</summary>
    public IReadOnlyList<HookPoint> Points { get; }

    /// <summary>Why the model has no point of a kind in any block; null where it has.</summary>
    public string? WhyAbsent(HookKind kind)
    {
        string? reason = null;
        for (int layer = 0; layer < (kind.Info().InBlock ? _model.Layers : 1); layer++)
        {
            reason = WhyAbsent(new HookPoint(kind, layer));
            if (reason is null)
            {
                return null;
            }
        }

        return reason;
    }

    /// <summary>Why the model does not have a point; null where it has.</summary>
    public string? WhyAbsent(HookPoint point) => point.Kind switch
    {
        HookKind.RouterLogits or HookKind.ExpertIndices or HookKind.ExpertWeights or HookKind.ExpertPreLinear or HookKind.ExpertPre
            or HookKind.ExpertPost or HookKind.ExpertOut when !_model.IsMixture(point.Layer) =>
            _model.Experts is null ? "the MLP is no mixture of experts" : "this block's MLP is no mixture of experts, as other blocks' are",
        HookKind.MlpPre or HookKind.MlpPreLinear or HookKind.MlpPost when _model.IsMixture(point.Layer) =>
            "the MLP is a mixture of experts; see mlp.experts.hook_pre and its neighbours",
        HookKind.Embed or HookKind.PosEmbed when Sentences =>
            "an encoder norms the sum of its embeddings before the first block; see embed.hook_embed and what follows it",
        HookKind.PosEmbed when _model.Positions is not LearnedPositions => _model.Positions is RotaryPositions
            ? "positions enter by rotation of queries and keys, not by an embedding"
            : "positions enter as a bias of the attention scores, not by an embedding",
        HookKind.EncoderEmbed or HookKind.EncoderPosEmbed or HookKind.TokenTypeEmbed when !Sentences =>
            "only encoders have it; a decoder's embeddings are hook_embed and hook_pos_embed",
        HookKind.EmbedLnScale or HookKind.EmbedLnNormalized when !_model.EmbeddingNorm => "no norm stands after the embedding",
        HookKind.AttnIn or HookKind.QInput or HookKind.KInput or HookKind.VInput or HookKind.K when _model.Latent is not null =>
            "queries, keys and values come from narrow vectors that all heads share; hook_rot_k is what enters the dot product",
        HookKind.AttnIn when _model.KeyValueHeads != _model.Heads =>
            "queries and keys have different numbers of heads; use hook_q_input, hook_k_input and hook_v_input",
        HookKind.Ln1Scale or HookKind.Ln1Normalized or HookKind.Ln2Scale or HookKind.Ln2Normalized
            when _model.Norms == NormPlacement.After => "norms stand after attention and MLP: ln1_post and ln2_post",
        HookKind.Ln2Scale or HookKind.Ln2Normalized when _model.SharedNorm => "one norm, ln1, feeds attention and MLP",
        HookKind.Ln1PostScale or HookKind.Ln1PostNormalized or HookKind.Ln2PostScale or HookKind.Ln2PostNormalized
            when _model.Norms is not (NormPlacement.After or NormPlacement.BeforeAndAfter) =>
            "what attention and MLP write is added without a norm of its own",
        HookKind.RotQ or HookKind.RotK when _model.Positions is not RotaryPositions =>
            "queries and keys are not rotated (hook_q and hook_k enter the dot product); positions are "
            + (_model.Positions is AlibiPositions ? "a bias of the scores" : "learned embeddings"),
        HookKind.ResidMid when _model.ParallelBlock =>
            "attention and MLP run in parallel on the same input; nothing lies between them",
        HookKind.MlpPreLinear when !_model.GatedMlp =>
            "the MLP has no gate; hook_pre is its only projection",
        HookKind.NormalizedResidPost when _model.Norms != NormPlacement.OnResidual =>
            "no norm stands on the residual stream; the next block reads hook_resid_post",
        HookKind.LnFinalScale or HookKind.LnFinalNormalized when _model.HeadTransform =>
            "the norm before the unembedding belongs to the masked-language-model head: mlm_head.ln",
        HookKind.LnFinalScale or HookKind.LnFinalNormalized when !_model.FinalNorm => "no norm stands before the unembedding",
        HookKind.MlmHeadLnScale or HookKind.MlmHeadLnNormalized when !_model.HeadTransform =>
            "the model has no masked-language-model head; the norm before the unembedding is ln_final",
        _ => null,
    };

    /// <summary>The point of this name.</summary>
    /// <exception cref="HookException">There is no such name, no such block, or the model lacks the point: the message says which and why.</exception>
    public HookPoint Require(string name)
    {
        if (!HookPoint.TryParse(name, out HookPoint point))
        {
            throw new HookException($"'{name}' is not the name of a hook point.", Suggest(name));
        }

        if (WhyAbsent(point.Kind) is { } never)
        {
            throw new HookException($"This model ({_model.Family}) has no '{name}': {never}.");
        }

        if (point.Kind.Info().InBlock && point.Layer >= _model.Layers)
        {
            throw new HookException($"'{name}' does not exist: the model's blocks are 0 to {_model.Layers - 1}.");
        }

        return WhyAbsent(point) is { } reason ? throw new HookException($"This model ({_model.Family}) has no '{name}': {reason}.") : point;
    }

    /// <summary>The shape that a point has in a run.</summary>
    /// <param name="point">A point of the model.</param>
    /// <param name="batch">Sequences.</param>
    /// <param name="positions">Tokens of each that the run computes.</param>
    /// <param name="keys">Tokens of each that attention looks at: more than <paramref name="positions"/> with a key/value cache.</param>
    public Shape ShapeOf(HookPoint point, int batch, int positions, int keys)
    {
        string[] axes = point.Kind.Info().Axes.Split(' ');
        Span<int> lengths = stackalloc int[axes.Length];
        for (int i = 0; i < axes.Length; i++)
        {
            lengths[i] = axes[i] switch
            {
                "b" => batch,
                "p" or "q" => positions,
                "k" => keys,
                "d" => _model.Width,
                "h" => _model.Heads,
                "g" => _model.KeyValueHeads,
                "e" => _model.HeadSize,
                "c" => _model.ValueSize,
                "m" => _model.MlpWidth,
                "r" => _model.Experts?.Count ?? 0,
                "x" => _model.Experts?.PerToken ?? 0,
                "n" => _model.Experts?.Width ?? 0,
                _ => 1,
            };
        }

        return new Shape(lengths);
    }

    internal HookException NoMatch(string pattern)
    {
        foreach (HookKindInfo info in HookKinds.All)
        {
            foreach (HookPoint point in Enumerable.Range(0, _model.Layers).Select(layer => new HookPoint(info.Kind, layer)))
            {
                if (WhyAbsent(point) is { } reason && HookSelection.Matches(pattern, point))
                {
                    return new HookException($"No hook point of this model ({_model.Family}) matches '{pattern}': {reason}.");
                }
            }
        }

        return new HookException($"No hook point matches '{pattern}'.", "`interp info MODEL` lists the points of a model.");
    }

    /// <summary>A point whose name ends in the same way.</summary>
    private string Suggest(string name)
    {
        string last = name[(name.LastIndexOf('.') + 1)..];
        HookPoint? nearest = Points.Cast<HookPoint?>().FirstOrDefault(point => point!.Value.Name.EndsWith(last, StringComparison.Ordinal));
        return nearest is { } point && last.Length > 0
            ? $"Did you mean '{point.Name}'? `interp info MODEL` lists the points of a model."
            : "`interp info MODEL` lists the points of a model; globs such as 'blocks.*.hook_resid_post' are understood.";
    }
}
