using System.Globalization;
using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;

namespace InterpEngine.Benchmarks;

/// <summary>Every op against the measured peaks of this machine.</summary>
[Config(typeof(PeakConfig))]
public class OpBenchmarks
{
    public static IEnumerable<OpCase> Cases => [.. ProductCases.All(), .. OtherCases.All()];

    [ParamsSource(nameof(Cases))]
    public OpCase Op { get; set; } = null!;

    [GlobalSetup]
    public void Prepare() => Op.Prepare();

    [GlobalCleanup]
    public void Release()
    {
        Op.Release();
        GC.Collect();
        GC.WaitForPendingFinalizers();
        Machine.Device.Arena.Trim();
    }

    [Benchmark]
    public void Run() => Op.Run();

    private sealed class PeakConfig : ManualConfig
    {
        public PeakConfig()
        {
            AddColumn(new PeakColumn("Of peak", share: true), new PeakColumn("Bound by", share: false));
            WithSummaryStyle(SummaryStyle.Default.WithMaxParameterColumnWidth(60));
        }
    }

    /// <summary>The share of the machine's peak; above 100 % where data stay in a cache that is faster than memory.</summary>
    private sealed class PeakColumn(string name, bool share) : IColumn
    {
        public string Id => name;

        public string ColumnName => name;

        public bool AlwaysShow => true;

        public ColumnCategory Category => ColumnCategory.Custom;

        public int PriorityInCategory => 0;

        public bool IsNumeric => share;

        public UnitType UnitType => UnitType.Dimensionless;

        public string Legend => share
            ? $"of {Machine.Gigaflops:F0} GFLOP/s or {Machine.Bandwidth:F1} GB/s, measured in this run"
            : "which of the two is the bound";

        public bool IsAvailable(Summary summary) => true;

        public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

        public string GetValue(Summary summary, BenchmarkCase benchmarkCase)
        {
            var op = (OpCase)benchmarkCase.Parameters[nameof(Op)];
            double? median = summary[benchmarkCase]?.ResultStatistics?.Median;
            return !share ? op.BoundBy : median is null ? "?" : (op.Bound / (median.Value / 1e9)).ToString("P0", CultureInfo.InvariantCulture);
        }

        public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) => GetValue(summary, benchmarkCase);
    }
}
