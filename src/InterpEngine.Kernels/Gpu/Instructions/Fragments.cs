namespace InterpEngine.Kernels.Gpu.Instructions;

/// <summary>Four 32-bit registers: 16 bytes of a row, or a lane's part of four 8×8 matrices.</summary>
internal struct Bits4
{
    public uint X, Y, Z, W;
}

/// <summary>A lane's part of a 16×8 accumulator: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1) with g = lane / 4, t = lane %
/// 4.</summary>
internal struct Sum4
{
    public float X, Y, Z, W;
}
