// Rotary position embedding.
#include "kernels.h"

namespace ik::IK_TARGET {
namespace {

void rotate_halves(const float* x, float* out, const float* cos, const float* sin, int64_t pairs) {
  auto rotate = [=](int64_t i, auto get, auto put) {
    v16 a = get(x + i), b = get(x + pairs + i), c = get(cos + i), s = get(sin + i);
    put(out + i, fma(zero() - b, s, a * c));
    put(out + pairs + i, fma(a, s, b * c));
  };
  int64_t i = 0, n = pairs % 16;
  for (; i + 16 <= pairs; i += 16)
    rotate(
        i, [](const float* p) { return load(p); }, [](float* p, v16 v) { store(p, v); });
  if (n == 0) return;
  m16 mask = lanes(0, n);
  rotate(
      i, [=](const float* p) { return load(p, mask); }, [=](float* p, v16 v) { store(p, v, mask); });
}

// In a vector, the even lanes take -sin times their odd neighbours, the odd ones sin times their even
// neighbours.
void rotate_neighbours(const float* x, float* out, const float* cos, const float* sin, int64_t pairs) {
  static const float signs[16] = {-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1};
  v16 sign = load(signs);
  int64_t i = 0;
  for (; i + 8 <= pairs; i += 8) {
    v16 a = load(x + 2 * i);
    store(out + 2 * i, fma(swap_neighbours(a), sign * load_twice(sin + i), a * load_twice(cos + i)));
  }
  for (; i < pairs; i++) {
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

using rotate_function = void (*)(const float* x, float* out, const float* cos, const float* sin, int64_t pairs);

constexpr rotate_function rotations[] = {rotate_halves, rotate_neighbours, rotate_apart};

}  // namespace

bool has_positions(const ik_rotation& r, int64_t tokens) {
  for (int64_t t = 0; t < tokens; t++) {
    if (r.positions[t] >= r.table_rows) return false;
  }
  return true;
}

void rotate_heads(const ik_rotation& r, int64_t token, const float* x, float* out, int64_t heads) {
  int64_t p = r.positions[token], rotated = p < 0 ? 0 : r.start + 2 * r.pairs;
  for (int64_t h = 0; h < heads; h++, x += r.head_size, out += r.head_size) {
    if (p >= 0) {
      rotations[r.pairing](x + r.start, out + r.start, r.cos + p * r.pairs, r.sin + p * r.pairs, r.pairs);
    }
    if (x == out) continue;
    if (p >= 0) std::memcpy(out, x, r.start * sizeof(float));
    std::memcpy(out + rotated, x + rotated, (r.head_size - rotated) * sizeof(float));
  }
}

ik_status rotary(ik_context& context, const ik_rotary_args& a) {
  if (!has_positions(a.rotation, a.tokens)) return IK_INDEX_OUT_OF_RANGE;
  int64_t row = a.heads * a.rotation.head_size;
  for_rows(context, a.tokens, row, [&](int64_t from, int64_t to) {
    for (int64_t t = from; t < to; t++) rotate_heads(a.rotation, t, a.x + t * row, a.out + t * row, a.heads);
  });
  return IK_OK;
}

}  // namespace ik::IK_TARGET
