using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;

namespace InterpEngine.Benchmarks;

/// <summary>A column with what the device's arena held at most while a run went on; weights are not in it.</summary>
internal sealed class MemoryConfig : ManualConfig
{
    public MemoryConfig() => AddColumn(new PeakMemoryColumn());

    /// <summary>Bytes by the benchmark's method and, where it has parameters, their values behind a space.</summary>
    public static Dictionary<string, long> Peaks { get; } = [];

    private sealed class PeakMemoryColumn : IColumn
    {
        public string Id => ColumnName;

        public string ColumnName => "Arena peak";

        public bool AlwaysShow => true;

        public ColumnCategory Category => ColumnCategory.Custom;

        public int PriorityInCategory => 0;

        public bool IsNumeric => true;

        public UnitType UnitType => UnitType.Dimensionless;

        public string Legend => "largest sum of the run's buffers; weights not counted";

        public bool IsAvailable(Summary summary) => true;

        public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

        public string GetValue(Summary summary, BenchmarkCase benchmarkCase)
        {
            string[] parameters = [.. benchmarkCase.Parameters.Items.Select(item => $" {item.Value}")];
            string name = benchmarkCase.Descriptor.WorkloadMethod.Name + string.Concat(parameters);
            return Peaks.TryGetValue(name, out long bytes) ? $"{bytes >> 20} MiB" : "?";
        }

        public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) => GetValue(summary, benchmarkCase);
    }
}
