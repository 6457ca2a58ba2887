// Rotary position embedding.
#include "kernels.h"

namespace ik::IK_TARGET {
namespace {

void rotate_halves(const float* x, float* out, const float* cos, const float* sin, int64_t pairs) {
  for (int64_t i = 0; i < pairs; i += 16) {
    int64_t n = pairs - i;
    v16 a = load_some(x + i, n), b = load_some(x + pairs + i, n);
    v16 c = load_some(cos + i, n), s = load_some(sin + i, n);
    store_some(out + i, fma(zero() - b, s, a * c), n);
    store_some(out + pairs + i, fma(a, s, b * c), n);
  }
}

void rotate_neighbours(const float* x, float* out, const float* cos, const float* sin, int64_t pairs) {
  for (int64_t i = 0; i < pairs; i++) {
    float a = x[2 * i], b = x[2 * i + 1];
    out[2 * i] = __builtin_fmaf(-b, sin[i], a * cos[i]);
    out[2 * i + 1] = __builtin_fmaf(a, sin[i], b * cos[i]);
  }
}

void rotate_apart(const float* x, float* out, const float* cos, const float* sin, int64_t pairs) {
  for (int64_t i = 0; i < pairs; i++) {
    float a = x[2 * i], b = x[2 * i + 1];
    out[i] = __builtin_fmaf(-b, sin[i], a * cos[i]);
    out[pairs + i] = __builtin_fmaf(a, sin[i], b * cos[i]);
  }
}

}  // namespace

ik_status rotary(ik_context& context, const ik_rotary_args& a) {
  for (int64_t t = 0; t < a.tokens; t++) {
    if (a.positions[t] >= a.table_rows) return IK_INDEX_OUT_OF_RANGE;
  }

  auto rotate = a.pairing == IK_HALVES        ? rotate_halves
                : a.pairing == IK_INTERLEAVED ? rotate_neighbours
                                              : rotate_apart;
  for_rows(context, a.tokens, a.heads * a.head_size, [&](int64_t from, int64_t to) {
    for (int64_t t = from; t < to; t++) {
      int64_t p = a.positions[t], rotated = p < 0 ? 0 : a.start + 2 * a.pairs;
      for (int64_t h = 0; h < a.heads; h++) {
        const float* x = a.x + (t * a.heads + h) * a.head_size;
        float* out = a.out + (t * a.heads + h) * a.head_size;
        if (p >= 0) {
          std::memmove(out, x, a.start * sizeof(float));
          rotate(x + a.start, out + a.start, a.cos + p * a.pairs, a.sin + p * a.pairs, a.pairs);
        }
        std::memmove(out + rotated, x + rotated, (a.head_size - rotated) * sizeof(float));
      }
    }
  });
  return IK_OK;
}

}  // namespace ik::IK_TARGET
