using System.Collections.Concurrent;
using System.Linq.Expressions;
using System.Reflection;
using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Backends;
using ILGPU.Backends.EntryPoints;
using ILGPU.Backends.PTX;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;
using InterpEngine.Kernels.Gpu.Instructions;

namespace InterpEngine.Kernels.Gpu;

/// <summary>A kernel that is ready to run.</summary>
/// <param name="Launch">Runs it: stream, groups and their size, then the kernel's parameters.</param>
/// <param name="Threads">Threads of a group on this accelerator.</param>
internal sealed record Kernel<TLauncher>(TLauncher Launch, int Threads) where TLauncher : Delegate;

/// <summary>A compiled kernel and what its launcher must know.</summary>
/// <param name="SharedBytes">Static shared memory.</param>
/// <param name="HasDynamicMemory">Whether it uses dynamic shared memory too.</param>
/// <param name="Ptx">The text.</param>
internal sealed record KernelText(int SharedBytes, bool HasDynamicMemory, string Ptx);

/// <summary>
/// Makes kernels of methods marked with <see cref="KernelAttribute"/>, each when it is first asked for, and keeps them: ILGPU itself
/// holds launchers weakly.
/// </summary>
/// <param name="accelerator">Where they run.</param>
/// <param name="cache">Where their text is kept; null for nowhere.</param>
/// <param name="groupBytes">How much shared memory a group may have.</param>
internal sealed class KernelFactory(Accelerator accelerator, KernelCache? cache, Func<int> groupBytes)
{
    private readonly ConcurrentDictionary<Delegate, object> _kernels = [];
    private readonly Lock _compiling = new();

    /// <summary>The compiler's settings, with the kernels' intrinsics.</summary>
    public static Context.Builder Configure(Context.Builder builder) =>
        builder.Optimize(OptimizationLevel.O2).EnableAlgorithms().EnablePtx();

    /// <summary>The kernel of a method.</summary>
    /// <typeparam name="TLauncher">An action of the stream, the launch's configuration and the kernel's parameters.</typeparam>
    public Kernel<TLauncher> Load<TLauncher>(Delegate method) where TLauncher : Delegate
    {
        if (!_kernels.TryGetValue(method, out object? kernel))
        {
            lock (_compiling) // which ILGPU does one at a time anyway
            {
                if (!_kernels.TryGetValue(method, out kernel))
                {
                    _kernels[method] = kernel = Create<TLauncher>(method.Method);
                }
            }
        }

        return (Kernel<TLauncher>)kernel;
    }

    /// <summary>What a kernel was marked with, for its own type arguments.</summary>
    public static KernelAttribute Marked(MethodInfo method)
    {
        Type[] arguments = method.GetGenericArguments();
        return method.GetCustomAttributes<KernelAttribute>().SingleOrDefault(kernel => kernel.Specialisation.SequenceEqual(arguments))
            ?? throw new InvalidOperationException($"{method.DeclaringType!.Name}.{method.Name} is not marked as a kernel of {string.Join(", ", arguments.Select(a => a.Name))}.");
    }

    /// <summary>Compiles to PTX, without a GPU. In a context of its own, because what was compiled in one before shows in the text.</summary>
    public static KernelText Compile(MethodInfo method, CudaArchitecture architecture, CudaInstructionSet instructions)
    {
        using var context = Context.Create(builder => Configure(builder));
        using var backend = new PTXBackend(context, new CudaCapabilityContext(architecture), architecture, instructions, null);
        var compiled = (PTXCompiledKernel)backend.Compile(
            EntryPointDescription.FromExplicitlyGroupedKernel(method), Specialisation(Marked(method)));
        SharedMemorySpecification shared = EntryPointOf(compiled).SharedMemory;
        return new KernelText(shared.StaticSize, shared.HasDynamicMemory, PtxText.Pass(compiled.PTXAssembly));
    }

    private static KernelSpecialization Specialisation(KernelAttribute marked) =>
        new(marked.Threads, marked.Groups > 0 ? marked.Groups : null);

    private Kernel<TLauncher> Create<TLauncher>(MethodInfo method) where TLauncher : Delegate
    {
        KernelAttribute marked = Marked(method);
        int threads = Math.Min(marked.Threads, accelerator.MaxNumThreadsPerGroup);
        if (accelerator is not CudaAccelerator cuda)
        {
            return new Kernel<TLauncher>(Checked(accelerator.LoadKernel(method).CreateLauncherDelegate<TLauncher>(), marked), threads);
        }

        try
        {
            cuda.Bind();
            PTXCompiledKernel compiled = Compiled(cuda, method, marked);
            Kernel kernel = cuda.LoadKernel(compiled);
            if (marked.DynamicBytes > 0)
            {
                const int gaps = 1 << 10; // between what is allocated
                int room = groupBytes() - EntryPointOf(compiled).SharedMemory.StaticSize - gaps;
                CudaDriver.AllowDynamicMemory(((CudaKernel)kernel).FunctionPtr, Math.Min(marked.DynamicBytes, room));
            }

            return new Kernel<TLauncher>(Guarded(kernel.CreateLauncherDelegate<TLauncher>()), threads);
        }
        catch (CudaException e)
        {
            throw Failed(e);
        }
    }

    /// <summary>The launcher, with the driver's errors as ours.</summary>
    internal static TLauncher Guarded<TLauncher>(TLauncher launcher) where TLauncher : Delegate
    {
        ParameterExpression[] parameters = ParametersOf<TLauncher>();
        ParameterExpression error = Expression.Parameter(typeof(CudaException));
        Expression rethrown = Expression.Throw(Expression.Call(((Func<CudaException, DeviceException>)Failed).Method, error));
        Expression body = Expression.TryCatch(
            Expression.Invoke(Expression.Constant(launcher), parameters), Expression.Catch(error, rethrown));
        return Expression.Lambda<TLauncher>(body, parameters).Compile();
    }

    /// <summary>The simulator's launcher, which refuses what a GPU refuses.</summary>
    internal static TLauncher Checked<TLauncher>(TLauncher launcher, KernelAttribute marked) where TLauncher : Delegate
    {
        ParameterExpression[] parameters = ParametersOf<TLauncher>();
        MethodInfo check = ((Action<KernelConfig, KernelAttribute>)CheckLaunch).Method;
        Expression body = Expression.Block(
            Expression.Call(check, parameters[1], Expression.Constant(marked)),
            Expression.Invoke(Expression.Constant(launcher), parameters));
        return Expression.Lambda<TLauncher>(body, parameters).Compile();
    }

    private static ParameterExpression[] ParametersOf<TLauncher>() where TLauncher : Delegate =>
        [.. typeof(TLauncher).GetMethod("Invoke")!.GetParameters().Select(parameter => Expression.Parameter(parameter.ParameterType))];

    private static void CheckLaunch(KernelConfig config, KernelAttribute marked)
    {
        if (config.GridDim.X <= 0 || config.GroupDim.X <= 0 || config.GroupDim.X > marked.Threads)
        {
            throw new InvalidOperationException($"A launch of {config.GridDim.X} groups of {config.GroupDim.X} threads; the kernel has {marked.Threads}.");
        }

        if (config.SharedMemoryConfig.ArraySize > marked.DynamicBytes)
        {
            throw new InvalidOperationException(
                $"A launch with {config.SharedMemoryConfig.ArraySize} bytes of shared memory; the kernel is marked with {marked.DynamicBytes}.");
        }
    }

    private static DeviceException Failed(CudaException error) => new(
        $"The GPU failed: {error.Message} ({error.Error}).",
        "What is on it is lost; make the device anew. If it happens again, look at the driver's log (nvidia-smi, dmesg).",
        error);

    private PTXCompiledKernel Compiled(CudaAccelerator cuda, MethodInfo method, KernelAttribute marked)
    {
        PTXBackend backend = cuda.Backend;
        string key = $"{method.Module.ModuleVersionId} {method.DeclaringType} {method} {marked.Threads} {marked.Groups} "
            + $"{Context.Version} {backend.Architecture} {backend.InstructionSet} {PtxText.Version}";
        KernelText? text = cache?.Read(key);
        if (text is null)
        {
            text = Compile(method, backend.Architecture, backend.InstructionSet);
            cache?.Write(key, text);
        }

        var entry = new EntryPoint(
            EntryPointDescription.FromExplicitlyGroupedKernel(method),
            new SharedMemorySpecification(text.SharedBytes, text.HasDynamicMemory),
            Specialisation(marked));
        return NewCompiledKernel(cuda.Context, entry, null, text.Ptx);
    }

    [UnsafeAccessor(UnsafeAccessorKind.Constructor)]
    private static extern PTXCompiledKernel NewCompiledKernel(
        Context context, EntryPoint entryPoint, CompiledKernel.KernelInfo? info, string ptxAssembly);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "get_EntryPoint")]
    private static extern EntryPoint EntryPointOf(CompiledKernel kernel);
}
