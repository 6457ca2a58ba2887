// Products of which both sides are rounded to BF16 first: how far they may be off, and those few that are wanted as they are.
#pragma once

#include "weight.h"

namespace ik::IK_TARGET {

// Rounds a panel [inner][16] into one of a BF16 weight, and measures its columns if anyone asks: how long they are, and what was lost.
static void round_panel(const float* panel, int64_t inner, void* to, float* lengths, float* losses) {
  static constexpr float nothing[16] = {};
  auto* __restrict pairs = static_cast<uint32_t*>(to);
  v16 lengths2 = zero(), losses2 = zero();
  for (int64_t k = 0; k < divide_up(inner, group_size) * group_size; k += 2, pairs += 16) {
    const float *even = k < inner ? panel + k * 16 : nothing, *odd = k + 1 < inner ? even + 16 : nothing;
    for (int i = 0; i < 16; i++) pairs[i] = round_bf16(even[i]) | round_bf16(odd[i]) << 16;
    if (lengths == nullptr) continue;
    v16 e = load(even), o = load(odd), lost_e = e - even_bf16(pairs), lost_o = o - odd_bf16(pairs);
    lengths2 = fma(o, o, fma(e, e, lengths2));
    losses2 = fma(lost_o, lost_o, fma(lost_e, lost_e, losses2));
  }
  if (lengths != nullptr) store(lengths, lengths2), store(losses, losses2);
}

// How far the scores of a rounded product may be from those of the product itself. With x′ and w′ rounded,
//   |x·w − x′·w′| = |(x − x′)·w + x′·(w − w′)| ≤ ‖x − x′‖‖w‖ + ‖x′‖‖w − w′‖   (Cauchy and Schwarz),
// and all these norms are known. Sums in fp32, biases and scales add some units in the last place, and numbers below 2^-126, which the
// rounded product may take for 0, next to nothing.
struct rounding {
  float *by_length, *by_loss, *base;  // of the columns

  // Of a row that is so long and loses so much.
  v16 bound(v16 length, v16 loss, int64_t column, int64_t left) const {
    return fma(length, load_some(by_length + column, left), fma(loss, load_some(by_loss + column, left), load_some(base + column, left)));
  }

  float bound(float length, float loss, int64_t column) const {
    return __builtin_fmaf(length, by_length[column], __builtin_fmaf(loss, by_loss[column], base[column]));
  }

  // A sum of n squares, rounded and perhaps in part too small for a float, as an upper bound of the norm. Products of larger ones could
  // overflow.
  static float norm(float squares, int64_t n) {
    float length = first(sqrt(splat(squares)));
    return length <= 1e15f ? length * (1.0001f + static_cast<float>(n) * 0x1p-23f) + 1e-15f : __builtin_inff();
  }

  static void measure_row(const float* x, int64_t n, float& length, float& loss) {
    v16 lengths = zero(), losses = zero();
    for (int64_t c = 0; c < n; c += 16) {
      alignas(64) float v[16], rounded[16];
      store(v, load_some(x + c, n - c));
      for (int i = 0; i < 16; i++) rounded[i] = std::bit_cast<float>(round_bf16(v[i]) << 16);
      v16 whole = load(v), lost = whole - load(rounded);
      lengths = fma(whole, whole, lengths), losses = fma(lost, lost, losses);
    }
    loss = norm(sum(losses), n);
    length = norm(sum(lengths), n) + loss;  // as it is or rounded
  }

  void set(int64_t column, int64_t inner, float squares, float lost_squares, const float* bias, const float* scale) const {
    constexpr float unit = 0x1p-24f, nothing = 0x1p-120f;
    float n = static_cast<float>(inner), factor = scale == nullptr ? 1.0f : __builtin_fabsf(scale[column]) * 1.0001f;
    float loss = norm(lost_squares, inner), length = norm(squares, inner);
    by_length[column] = factor * (1.0001f * (loss + 4.0f * n * unit * (length + loss)) + n * nothing);
    by_loss[column] = factor * 1.0001f * length;
    base[column] = factor * (8.0f * unit * (bias == nullptr ? 0.0f : __builtin_fabsf(bias[column])) + n * nothing * (length + 1.0f));
  }
};

// Products of rows and columns of a panel, up to 16 of them, each in one chain along k. offset: subtracted from the rows, or null.
static void multiply_pairs(const float* panel, int64_t inner, const float* offset, const float* const* x, const int32_t* lane, float* out) {
  alignas(64) float rows[256], turned[256];
  v16 acc = zero();
  for (int64_t k = 0; k < inner; k += 16) {
    int64_t left = inner - k;
    v16 less = offset == nullptr ? zero() : load_some(offset + k, left);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
      v16 v = load_some(x[i] + k, left);
      store(rows + i * 16, offset == nullptr ? v : v - less);
    }
    transpose(rows, 16, 16, turned);
    const float* w = panel + k * 16;
    for (int64_t j = 0; j < least(16, left); j++) acc = fma(load(turned + j * 16), load_lanes(w + j * 16, lane), acc);
  }
  store(out, acc);
}

}  // namespace ik::IK_TARGET
