using InterpEngine.Kernels;

namespace InterpEngine.Hooks;

/// <summary>
/// Called when a run reaches a point. The tensor is on the model's device, is the value itself, and must not be written to or kept
/// (share it to keep it).
/// </summary>
/// <param name="point">Where the run is.</param>
/// <param name="value">The value there.</param>
/// <returns>Null to leave the value as it is; else a new F32 tensor of the same shape that the run continues with and disposes.</returns>
public delegate Tensor? HookCallback(HookPoint point, Tensor value);

/// <summary>A callback at some points of a run.</summary>
/// <param name="Points">Where.</param>
/// <param name="Callback">What to do there.</param>
public sealed record Hook(HookSelection Points, HookCallback Callback);
