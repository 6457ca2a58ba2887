using InterpEngine.Models;
using Xunit;

namespace InterpEngine.Tests.Models;

public sealed class ExpertGroupsTests
{
    [Fact]
    public void Choices_are_grouped_in_the_order_of_their_rows()
    {
        var groups = new ExpertGroups([2, 0, 3, 2, 0, -1], k: 2, experts: 5);
        Assert.Equal([0, 2, 0, 1, 1], groups.Rows);
        Assert.Equal([2, 0, 4, 3, 1, -1], groups.Places);
        Assert.Equal([0, 2, 2, 4, 5, 5], groups.Starts.ToArray());
    }

    [Fact]
    public void No_rows_make_empty_groups() => Assert.Equal([0, 0, 0, 0], new ExpertGroups([], k: 2, experts: 3).Starts.ToArray());
}
