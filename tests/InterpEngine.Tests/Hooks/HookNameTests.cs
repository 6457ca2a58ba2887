using InterpEngine.Hooks;
using InterpEngine.Kernels;
using Xunit;

namespace InterpEngine.Tests.Hooks;

/// <summary>Names, selections and reasons, on described models without weights.</summary>
public sealed class HookNameTests
{
    private static readonly HookRegistry s_gpt2 = Registry("gpt2");
    private static readonly HookRegistry s_grouped = Registry("llama-gqa");
    private static readonly HookRegistry s_parallel = Registry("gpt_neox");

    [Fact]
    public void Every_name_reads_back_as_its_point()
    {
        foreach (HookPoint point in s_gpt2.Points.Concat(s_grouped.Points).Concat(s_parallel.Points))
        {
            Assert.True(HookPoint.TryParse(point.Name, out HookPoint read));
            Assert.Equal(point, read);
        }
    }

    [Fact]
    public void The_registry_is_in_the_order_of_the_kinds() =>
        Assert.Equal(Enum.GetValues<HookKind>(), HookKinds.All.Select(info => info.Kind));

    [Theory]
    [InlineData("")]
    [InlineData("hook_resid_post")]
    [InlineData("blocks.0")]
    [InlineData("blocks.-1.hook_resid_post")]
    [InlineData("blocks.01.hook_resid_post")]
    [InlineData("blocks.+1.hook_resid_post")]
    [InlineData("blocks.99999999999.hook_resid_post")]
    [InlineData("blocks.0.hook_embed")]
    [InlineData("Blocks.0.hook_resid_post")]
    public void Other_names_are_no_points(string name)
    {
        Assert.False(HookPoint.TryParse(name, out _));
        Assert.Throws<HookException>(() => s_gpt2.Require(name));
    }

    [Fact]
    public void A_mistyped_name_gets_a_suggestion() =>
        Assert.Contains("blocks.0.attn.hook_pattern", Assert.Throws<HookException>(() => s_gpt2.Require("blocks.0.hook_pattern")).Hint,
            StringComparison.Ordinal);

    [Theory]
    [InlineData("gpt2", "blocks.0.attn.hook_rot_q", "not rotated")]
    [InlineData("gpt2", "blocks.0.mlp.hook_pre_linear", "no gate")]
    [InlineData("gpt2", "blocks.7.hook_resid_pre", "0 to 1")]
    [InlineData("llama-gqa", "hook_pos_embed", "rotation")]
    [InlineData("llama-gqa", "blocks.1.hook_attn_in", "hook_q_input")]
    [InlineData("gpt_neox", "blocks.2.hook_resid_mid", "parallel")]
    public void An_absent_point_is_refused_by_name_with_the_reason(string model, string name, string reason)
    {
        HookException refused = Assert.Throws<HookException>(() => Registry(model).Require(name));
        Assert.Contains($"'{name}'", refused.Message, StringComparison.Ordinal);
        Assert.Contains(reason, refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Globs_lists_and_exclusions_select_in_the_order_of_the_pass()
    {
        HookSelection selection = ["blocks.*.hook_resid_post", "hook_embed", "blocks.1.attn.hook_?", "!blocks.0.*"];
        Assert.Equal(
            ["hook_embed", "blocks.1.attn.hook_q", "blocks.1.attn.hook_k", "blocks.1.attn.hook_v", "blocks.1.attn.hook_z",
                "blocks.1.hook_resid_post"],
            selection.Resolve(s_gpt2).Select(point => point.Name));
        Assert.Equal(s_gpt2.Points, HookSelection.All.Resolve(s_gpt2));
        Assert.Empty(HookSelection.None.Resolve(s_gpt2));
    }

    [Fact]
    public void A_glob_that_matches_nothing_is_refused_with_the_reason()
    {
        Assert.Contains("not rotated", Assert.Throws<HookException>(() => Resolve("blocks.1.attn.hook_rot*")).Message, StringComparison.Ordinal);
        Assert.Contains("'nothing*'", Assert.Throws<HookException>(() => Resolve("nothing*")).Message, StringComparison.Ordinal);

        static void Resolve(string pattern) => ((HookSelection)pattern).Resolve(s_gpt2);
    }

    [Fact]
    public void Shapes_follow_the_axes()
    {
        Assert.Equal(new Shape(2, 4, 3, 9), s_gpt2.ShapeOf(new HookPoint(HookKind.Pattern, 1), batch: 2, positions: 3, keys: 9));
        Assert.Equal(new Shape(2, 3, 2, 32), s_grouped.ShapeOf(new HookPoint(HookKind.KInput, 0), 2, 3, 3));
        Assert.Equal(new Shape(2, 3, 1), s_grouped.ShapeOf(new HookPoint(HookKind.LnFinalScale), 2, 3, 3));
    }

    private static HookRegistry Registry(string golden) => new(Model.ReadDescription(Goldens.Folder("models", golden)));
}
