namespace InterpEngine.Kernels.Gpu.Kernels;

/// <summary>The largest heads that a kernel takes, and how its threads share the work.</summary>
internal interface IHeadShape
{
    /// <summary>Blocks of 32 channels of a query.</summary>
    int Blocks { get; }

    /// <summary>Whether a warp makes 32 rows, so that what it loads serves twice as many; else 16.</summary>
    bool Twice { get; }
}

internal readonly struct Head64 : IHeadShape
{
    public int Blocks => 2;

    public bool Twice => true;
}

internal readonly struct Head128 : IHeadShape
{
    public int Blocks => 4;

    public bool Twice => true;
}

/// <summary>For scores that need more registers.</summary>
internal readonly struct Head128Once : IHeadShape
{
    public int Blocks => 4;

    public bool Twice => false;
}

/// <summary>256 channels of 16 rows take as many registers as 128 of 32.</summary>
internal readonly struct Head256 : IHeadShape
{
    public int Blocks => 8;

    public bool Twice => false;
}
