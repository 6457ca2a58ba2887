using System.Reflection;
using InterpEngine.Kernels.Gpu;

namespace InterpEngine.Kernels.Tests.Gpu;

/// <summary>All methods of the library that are marked as kernels, with all their specialisations.</summary>
internal static class KernelList
{
    public static Dictionary<string, MethodInfo> All() => (
        from type in typeof(GpuDevice).Assembly.GetTypes()
        from method in type.GetMethods(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Static)
        from kernel in method.GetCustomAttributes<KernelAttribute>()
        let closed = kernel.Specialisation.Length == 0 ? method : method.MakeGenericMethod(kernel.Specialisation)
        let arguments = string.Join(", ", kernel.Specialisation.Select(argument => argument.Name))
        select KeyValuePair.Create($"{type.Name}.{method.Name}{(arguments.Length == 0 ? "" : $"<{arguments}>")}", closed)).ToDictionary();
}
