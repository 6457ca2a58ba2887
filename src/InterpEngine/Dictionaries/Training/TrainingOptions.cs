using System.Collections.Immutable;

namespace InterpEngine.Dictionaries.Training;

/// <summary>What a reconstruction is judged by; e is its error, n counts rows, d a row's elements, l a crosscoder's layers.</summary>
public enum ReconstructionLoss
{
    /// <summary>mean over n (and l) of Σ e² over d.</summary>
    Squares,

    /// <summary>Σ e² / Σ (y − mean y)².</summary>
    UnexplainedFraction,

    /// <summary>mean over n and l of ‖e‖.</summary>
    Norm,
}

/// <summary>What keeps activations few; w is 1 or the decoder's norm.</summary>
public enum SparsityLoss
{
    /// <summary>Nothing: the rule itself does.</summary>
    None,

    /// <summary>mean over n of (Σ (z·w)ᵖ)^(1/p).</summary>
    Norm,

    /// <summary>mean over n of Σ zᵖ.</summary>
    Power,

    /// <summary>mean over n of the number L0 of active features.</summary>
    Count,

    /// <summary>mean over n of (2/T)·(L0 − T)².</summary>
    CountFromTarget,

    /// <summary>(mean over n of L0 / T − 1)².</summary>
    MeanCountFromTarget,

    /// <summary>mean over n of Σ tanh(s·z·w).</summary>
    Tanh,
}

/// <summary>How features that have not been active for long are given the error to explain.</summary>
public enum AuxiliaryLoss
{
    /// <summary>Not at all.</summary>
    None,

    /// <summary>SAELens: signed pre-activations, scaled by dead / (d/2), not normalised.</summary>
    Signed,

    /// <summary>SAELens: the same for each level of a matryoshka dictionary alone.</summary>
    SignedByLevel,

    /// <summary>dictionary_learning: positive activations, normalised by the residual's variance.</summary>
    ResidualVariance,

    /// <summary>sparsify: positive activations, scaled by dead / (d/2), normalised by the target's variance.</summary>
    TargetVariance,
}

/// <summary>How the part of a decoder row's gradient along the row is removed.</summary>
public enum Projection
{
    /// <summary>It stays.</summary>
    None,

    /// <summary>w = p / ‖p‖.</summary>
    Exact,

    /// <summary>w = p / (‖p‖ + 1e-6), which leaves a little.</summary>
    Approximate,

    /// <summary>w = p, which supposes that rows have length 1.</summary>
    Undivided,
}

/// <summary>What dead features are counted in, and when.</summary>
public enum DeadCount
{
    /// <summary>SAELens: steps; dead above the window, before the step counts.</summary>
    StepsBefore,

    /// <summary>dictionary_learning: rows; dead from the window on, the step counted.</summary>
    RowsAfter,

    /// <summary>sparsify: rows; dead above the window, before the step counts.</summary>
    RowsBefore,
}

/// <summary>What becomes of the smallest activation, as the threshold for inference.</summary>
public enum ThresholdAverage
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>SAELens: a moving average that begins at 0.</summary>
    FromZero,

    /// <summary>dictionary_learning: a moving average that begins at the first value, after some steps.</summary>
    FromFirst,
}

/// <summary>How a training run begins.</summary>
public enum Start
{
    /// <summary>With the parameters as they are.</summary>
    AsGiven,

    /// <summary>The decoder's bias is the geometric median of the first batch (of each layer of it).</summary>
    GeometricMedian,

    /// <summary>The decoder's bias is the mean of the first batch's targets; a transcoder's encoder bias centres its inputs.</summary>
    Mean,
}

/// <summary>How parameters move.</summary>
public enum OptimizerKind
{
    /// <summary>Adam (Kingma and Ba, 2015).</summary>
    Adam,

    /// <summary>The sign of the gradient, averaged as schedule-free learning does (Defazio et al., 2024).</summary>
    ScheduleFreeSign,
}

/// <summary>Everything about a training run but its data and the dictionary that it begins with. Every loss of SAELens,
/// dictionary_learning, sparsify and crosscoder_learning is a choice of these.</summary>
public sealed record TrainingOptions
{
    /// <summary>What a reconstruction is judged by.</summary>
    public ReconstructionLoss Reconstruction { get; init; }

    /// <summary>What each level of a matryoshka dictionary counts, the last the whole; empty for 1 each.</summary>
    public ImmutableArray<double> LevelWeights { get; init; } = [];

    /// <summary>What keeps activations few.</summary>
    public SparsityLoss Sparsity { get; init; }

    /// <summary>What it counts.</summary>
    public double SparsityCoefficient { get; init; }

    /// <summary>Steps in which that grows from 0.</summary>
    public int SparsityWarmup { get; init; }

    /// <summary>Whether activations are weighted with the decoder's norm in it (a crosscoder's: its code norm).</summary>
    public bool SparsityByDecoderNorm { get; init; }

    /// <summary>p, where the sparsity loss has one.</summary>
    public double Power { get; init; } = 1;

    /// <summary>T, where the sparsity loss has one.</summary>
    public double TargetL0 { get; init; }

    /// <summary>s of the tanh.</summary>
    public double TanhScale { get; init; } = 4;

    /// <summary>How p changes during the run, or null.</summary>
    public PowerAnnealing? Annealing { get; init; }

    /// <summary>Whether a gated dictionary's auxiliary reconstruction leaves the decoder alone.</summary>
    public bool GateDetachesDecoder { get; init; }

    /// <summary>How dead features are revived.</summary>
    public AuxiliaryLoss Auxiliary { get; init; }

    /// <summary>What that counts.</summary>
    public double AuxiliaryCoefficient { get; init; }

    /// <summary>What dead features are counted in.</summary>
    public DeadCount DeadCount { get; init; }

    /// <summary>After how many steps or rows a feature is dead.</summary>
    public long DeadWindow { get; init; } = 1000;

    /// <summary>What a second reconstruction from 4k features counts; 0 for none.</summary>
    public double MultiTopKCoefficient { get; init; }

    /// <summary>Whether, as in sparsify's own backward pass, dead features and the second reconstruction train the decoder only.</summary>
    public bool AuxiliarySparesEncoder { get; init; }

    /// <summary>What pre-activations of dead features below their thresholds count (JumpReLU); 0 for nothing.</summary>
    public double PreActivationCoefficient { get; init; }

    /// <summary>Width of the JumpReLU's pseudo-derivative.</summary>
    public double Bandwidth { get; init; } = 0.05;

    /// <summary>Whether that derivative reaches pre-activations too, not thresholds only.</summary>
    public bool StraightThroughToInput { get; init; }

    /// <summary>Whether thresholds are kept from falling below 0.</summary>
    public bool ClampsThreshold { get; init; }

    /// <summary>Whether the L0 of a JumpReLU is differentiated at z instead of h, as dictionary_learning does.</summary>
    public bool CountsAtActivation { get; init; }

    /// <summary>What becomes of the smallest activation.</summary>
    public ThresholdAverage ThresholdAverage { get; init; }

    /// <summary>Share that a new smallest activation has in the average.</summary>
    public double ThresholdRate { get; init; } = 0.01;

    /// <summary>The last step before averaging begins.</summary>
    public int ThresholdStart { get; init; }

    /// <summary>The first k of an annealed one, or 0.</summary>
    public double InitialK { get; init; }

    /// <summary>Steps in which k falls from there.</summary>
    public int KAnnealingSteps { get; init; }

    /// <summary>What the norm of a feature's whole decoder row counts in its code norm.</summary>
    public double WholeNorm { get; init; } = 1;

    /// <summary>What the sum of the norms of its layers' parts counts in it: a crosscoder's.</summary>
    public double LayerNorms { get; init; }

    /// <summary>How decoder gradients are projected.</summary>
    public Projection Projection { get; init; }

    /// <summary>The norm to which all gradients together are clipped; 0 for none.</summary>
    public double ClipNorm { get; init; }

    /// <summary>Whether decoder rows get length 1 after each step.</summary>
    public bool NormalizesAfter { get; init; }

    /// <summary>Whether decoder rows get length 1 before each forward pass.</summary>
    public bool NormalizesBefore { get; init; }

    /// <summary>How parameters move.</summary>
    public OptimizerKind Optimizer { get; init; }

    /// <summary>β₁.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>β₂.</summary>
    public double Beta2 { get; init; } = 0.999;

    /// <summary>Added to Adam's root.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Momentum of the schedule-free average.</summary>
    public double Momentum { get; init; } = 0.95;

    /// <summary>The learning rate of every step.</summary>
    public LearningRate LearningRate { get; init; } = new();

    /// <summary>How the run begins.</summary>
    public Start Start { get; init; }

    /// <summary>When and how dead features get new directions, or null for never.</summary>
    public Resampling? Resampling { get; init; }

    /// <summary>Of what is drawn in the course of the run: rows for new directions.</summary>
    public int Seed { get; init; }

    /// <summary>Whether the encoder's product runs in BF16: rows and directions are rounded for it, sums and all parameters stay fp32.</summary>
    public bool BFloat16 { get; init; }
}

/// <summary>How the p of a power loss falls, and its coefficient with it, so that the loss stays as large (Karvonen et al., 2024).</summary>
/// <param name="From">The first p.</param>
/// <param name="To">The last.</param>
/// <param name="Count">How many there are.</param>
/// <param name="Begin">The step of the first change.</param>
/// <param name="End">The step of the last.</param>
/// <param name="QueueLength">Steps over which losses are compared.</param>
public sealed record PowerAnnealing(double From, double To, int Count, int Begin, int End, int QueueLength = 10);
