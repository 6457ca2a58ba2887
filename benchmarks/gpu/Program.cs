using InterpEngine;
using InterpEngine.Benchmarks.Gpu;

// 0: all is well; 1: a test failed; 2: the command line or the machine cannot do it.
try
{
    return Session.Run(Arguments.Parse(args));
}
catch (InterpException e)
{
    Console.Error.WriteLine($"interp-gpu: {e.Message}");
    if (e.Hint is not null)
    {
        Console.Error.WriteLine($"hint: {e.Hint}");
    }

    return 2;
}
