using InterpEngine.Kernels;

namespace InterpEngine.Models;

/// <summary>The rotary tables of one run, and each token's row in them, −1 at padding.</summary>
internal sealed record Rotation(RotaryTables.Rows Tables, Tensor Positions);
