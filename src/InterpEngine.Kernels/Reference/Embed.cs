namespace InterpEngine.Kernels.Reference;

public sealed partial class ReferenceDevice
{
    /// <inheritdoc/>
    protected override void Execute(in Embed op)
    {
        ReferenceWeight table = Own(op.Table);
        ReadOnlySpan<int> ids = All<int>(op.Ids);
        for (int token = 0; token < ids.Length; token++)
        {
            Span<float> output = Row(op.Out, token);
            if (ids[token] >= table.Columns)
            {
                throw new ArgumentException("Embed: an index lies past the end of its table.");
            }

            if (ids[token] < 0)
            {
                output.Clear();
            }
            else
            {
                table.Column(ids[token], 0, table.Inner).CopyTo(output);
            }
        }
    }
}
