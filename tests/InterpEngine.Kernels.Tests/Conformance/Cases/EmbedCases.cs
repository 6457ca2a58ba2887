namespace InterpEngine.Kernels.Tests.Conformance.Cases;

internal static class EmbedCases
{
    public static IEnumerable<OpCase> All() =>
        from layout in (Layout[])[Layout.Dense, Layout.Odd]
        from size in ((int Tokens, int Width, int Vocabulary)[])
            [(0, 4, 4), (3, 0, 2), (1, 1, 1), (2, 7, 15), (5, 16, 16), (3, 17, 33), (9, 33, 65), (17, 64, 100), (70, 1000, 50)]
        select Case(size.Tokens, size.Width, size.Vocabulary, layout);

    private static OpCase Case(int tokens, int width, int vocabulary, Layout layout) =>
        new($"Embed / {tokens}x{width} of {vocabulary}{(layout == Layout.Odd ? " strided" : "")}", run =>
        {
            float[] table = run.Values(width * vocabulary).With(float.NaN, float.NegativeInfinity, -0f, 1e-42f);
            int[] ids = run.Integers(tokens, vocabulary);
            if (tokens > 2)
            {
                (ids[0], ids[1], ids[2]) = (vocabulary - 1, -1, int.MinValue);
            }

            run.Device.Run(new Embed
            {
                Ids = run.Tensor(ids, tokens),
                Table = run.Weight(table, width, vocabulary),
                Out = run.Output(
                    "out", tokens, width, layout, (t, i) => ids[t] < 0 ? 0 : table[i * vocabulary + ids[t]], exact: true),
            });
        });
}
