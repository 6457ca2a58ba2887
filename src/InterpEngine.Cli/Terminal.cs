using System.CommandLine;
using System.Text;
using Microsoft.Extensions.Logging;
using Spectre.Console;

namespace InterpEngine.Cli;

/// <summary>
/// Where a command writes: results to <see cref="Out"/>, everything else to <see cref="Error"/>. Colours and moving progress
/// appear only where a person looks (and never with NO_COLOR).
/// </summary>
internal sealed class Terminal
{
    private const int WidthWithoutTerminal = 120;

    private Terminal(TextWriter output, TextWriter error, bool verbose)
    {
        (Out, Error) = (output, error);
        Results = CreateConsole(output);
        Messages = CreateConsole(error);
        Logger = verbose ? new ErrorLogger(error) : null;
    }

    /// <summary>Results as text: stdout.</summary>
    public TextWriter Out { get; }

    /// <summary>Progress, notes: stderr.</summary>
    public TextWriter Error { get; }

    /// <summary>Rendered results: tables on stdout.</summary>
    public IAnsiConsole Results { get; }

    /// <summary>Rendered messages: progress on stderr.</summary>
    public IAnsiConsole Messages { get; }

    /// <summary>The engine's log, on stderr; null unless asked for.</summary>
    public ILogger? Logger { get; }

    /// <summary>Whether stderr is looked at by a person.</summary>
    public bool IsInteractive => Messages.Profile.Out.IsTerminal;

    /// <summary>The terminal of a command line.</summary>
    public static Terminal Of(ParseResult parse) => new(
        parse.InvocationConfiguration.Output, parse.InvocationConfiguration.Error, parse.GetValue(CommonOptions.Verbose));

    /// <summary>A terminal of two writers.</summary>
    public static Terminal Of(TextWriter output, TextWriter error) => new(output, error, verbose: false);

    /// <summary>Tells the user something that is no result.</summary>
    public void Note(string message)
    {
        Error.WriteLine($"interp: {message}");
        Error.Flush();
    }

    /// <summary>Does something that reports its share done from 0 to 1; the bar shows only where a person looks.</summary>
    public T Progress<T>(string what, Func<IProgress<double>?, T> work)
    {
        if (!IsInteractive)
        {
            return work(null);
        }

        return Messages.Progress().AutoClear(true).Start(context =>
        {
            ProgressTask task = context.AddTask(Markup.Escape(what), maxValue: 1);
            return work(new Report(value => task.Value = value));
        });
    }

    /// <summary>Does something of unknown length; that it goes on shows only where a person looks.</summary>
    public T Busy<T>(string what, Func<T> work) =>
        IsInteractive ? Messages.Status().Start(Markup.Escape(what), _ => work()) : work();

    private static IAnsiConsole CreateConsole(TextWriter writer)
    {
        bool terminal = writer is StandardStream { IsTerminal: true };
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = terminal ? AnsiSupport.Detect : AnsiSupport.No,
            ColorSystem = terminal ? ColorSystemSupport.Detect : ColorSystemSupport.NoColors,
            Interactive = terminal ? InteractionSupport.Detect : InteractionSupport.No,
            Out = new ConsoleOutput(writer, terminal),
        });
        if (!string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR")))
        {
            console.Profile.Capabilities.ColorSystem = ColorSystem.NoColors;
        }

        return console;
    }

    private sealed class Report(Action<double> action) : IProgress<double>
    {
        void IProgress<double>.Report(double value) => action(value);
    }

    private sealed class ConsoleOutput(TextWriter writer, bool terminal) : IAnsiConsoleOutput
    {
        public TextWriter Writer => writer;

        public bool IsTerminal => terminal;

        public int Width => terminal && Console.WindowWidth > 0 ? Console.WindowWidth : WidthWithoutTerminal;

        public int Height => terminal && Console.WindowHeight > 0 ? Console.WindowHeight : 50;

        public void SetEncoding(Encoding encoding)
        {
            // Always UTF-8.
        }
    }

    private sealed class ErrorLogger(TextWriter error) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Debug;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            lock (error)
            {
                error.WriteLine($"{DateTime.Now:HH:mm:ss.fff} {formatter(state, exception)}");
                error.Flush();
            }
        }
    }
}
