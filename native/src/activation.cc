// The non-linearities of MLPs, once for the products' epilogues and for the op of their own.
#include "kernels.h"

namespace ik::IK_TARGET {
namespace {

v16 relu(v16 x) { return max(zero(), x); }

v16 relu_squared(v16 x) { return relu(x) * relu(x); }

v16 gelu(v16 x) { return splat(0.5f) * x * (splat(1.0f) + erf(x * splat(0.707106781f))); }

// ½(1 + tanh u) = σ(2u), without its cancellation.
v16 gelu_tanh(v16 x) {
  v16 inner = fma(x * x * x, splat(0.044715f), x);
  return x * sigmoid(splat(1.59576912f) * inner);
}

v16 quick_gelu(v16 x) { return x * sigmoid(splat(1.702f) * x); }

v16 silu(v16 x) { return x * sigmoid(x); }

template <v16 (*f)(v16)>
void apply(float* x, int64_t vectors) {
  for (int64_t i = 0; i < vectors; i++, x += 16) store(x, f(load(x)));
}

}  // namespace

void apply_activation(int32_t activation, float* x, int64_t vectors) {
  switch (activation) {
    case IK_RELU:
      return apply<relu>(x, vectors);
    case IK_GELU:
      return apply<gelu>(x, vectors);
    case IK_GELU_TANH:
      return apply<gelu_tanh>(x, vectors);
    case IK_QUICK_GELU:
      return apply<quick_gelu>(x, vectors);
    case IK_SILU:
      return apply<silu>(x, vectors);
    case IK_RELU_SQUARED:
      return apply<relu_squared>(x, vectors);
    case IK_TANH:
      return apply<tanh>(x, vectors);
    case IK_SIGMOID:
      return apply<sigmoid>(x, vectors);
    default:
      return;
  }
}

ik_status activate(ik_context& context, const ik_activate_args& a) {
  for_rows(context, a.rows, a.columns, [&](int64_t from, int64_t to) {
    alignas(64) float block[256];
    for (int64_t r = from; r < to; r++) {
      for (int64_t begin = 0; begin < a.columns; begin += 256) {
        const float *x = row(a.x, r) + begin, *multiply = row(a.multiply, r) + begin;
        float* out = row(a.out, r) + begin;
        int64_t n = least(256, a.columns - begin);
        for (int64_t c = 0; c < n; c += 16) store(block + c, load_some(x + c, n - c));
        apply_activation(a.activation, block, divide_up(n, 16));
        for (int64_t c = 0; c < n; c += 16) {
          v16 v = load(block + c);
          if (a.multiply.data != nullptr) v = v * load_some(multiply + c, n - c);
          store_some(out + c, v, n - c);
        }
      }
    }
  });
  return IK_OK;
}

}  // namespace ik::IK_TARGET
