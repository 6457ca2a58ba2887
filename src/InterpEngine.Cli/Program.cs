using System.Runtime.InteropServices;
using InterpEngine.Cli;

using var stop = new CancellationTokenSource();

// The first signal asks for a clean end; a second one of the same kind ends the process at once.
void Stop(PosixSignalContext context)
{
    context.Cancel = !stop.IsCancellationRequested;
    stop.Cancel();
}

using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);

// Not disposed: they are flushed where their errors are reported.
return await Application.RunAsync(args, StandardStream.Output(), StandardStream.Error(), stop.Token).ConfigureAwait(false);
