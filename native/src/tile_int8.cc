// Register tiles of products with INT8 weights. X is rounded to 8 bits too, each group of 32 by its own
// largest magnitude; the sum of a group is an exact integer, and c = fma(sum, scale of X · scale of W, c)
// goes along the groups. So the bits are the same on every instruction set.
#include <bit>

#include "tile.h"
#include "weight.h"

namespace ik::IK_TARGET {
namespace {

struct row_group {
  int8_t values[group_size];
  float scale;
  int32_t correction;  // -128 · Σ values
};

void quantize(const float* x, row_group* to) {
  float largest = 0;
  uint32_t special = 0;
  for (int i = 0; i < group_size; i++) {
    float magnitude = __builtin_fabsf(x[i]);
    special |= std::bit_cast<uint32_t>(magnitude) >= 0x7f800000u;  // infinity or NaN
    largest = magnitude > largest ? magnitude : largest;
  }
  int8_rule rule = int8_rule_of(special != 0 ? __builtin_inff() : largest);
  to->scale = rule.scale;
  int32_t sum = 0;
  for (int i = 0; i < group_size; i++) {
    float v = rule.factor == 0.0f ? 0.0f : x[i] * rule.factor;
    int32_t rounded =
        static_cast<int32_t>(std::bit_cast<uint32_t>(v + IK_ROUNDER) - std::bit_cast<uint32_t>(IK_ROUNDER));
    to->values[i] = static_cast<int8_t>(rounded);
    sum += rounded;
  }
  to->correction = -128 * sum;
}

void prepare(const ik_matrix& x, int64_t rows, int64_t start, int64_t length, char* to,
             int64_t group_stride) {
  for (int64_t g = -start; g < length; g += group_size, to += group_stride) {
    row_group* out = reinterpret_cast<row_group*>(to);
    for (int64_t r = 0; r < rows; r++, out++) {
      const float* from = row(x, r);
      if (g >= 0 && g + group_size <= length) {
        quantize(from + g, out);
      } else {
        float part[group_size] = {};
        for (int64_t i = most(0, -g); i < least(group_size, length - g); i++) part[i] = from[g + i];
        quantize(part, out);
      }
    }
  }
}

// Sums of a group and sums of all groups both stay in registers.
#if defined(IK_TARGET_AVX512)
constexpr int most_rows = 4;
constexpr int panels_of(int64_t rows) { return rows == 1 ? 4 : 3; }
#elif defined(IK_TARGET_AVX2)
constexpr int most_rows = 2;
constexpr int panels_of(int64_t rows) { return rows == 1 ? 2 : 1; }
#else
constexpr int most_rows = 1;
constexpr int panels_of(int64_t) { return 1; }
#endif

template <int R, int P>
void multiply(const product_tile& t) {
  v16 c[R][P];
  load_sums(t, c);
  const char *x = t.x, *w = t.w, *next = t.next;
  int64_t panel_stride = t.panel_stride;
  for (int64_t left = t.length; left > 0; left -= group_size, x += t.group_stride, w += int8_group_bytes) {
    next = prefetch_lines<P>(t, next);
    const row_group* rows = reinterpret_cast<const row_group*>(x);
    i16 s[R][P];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) s[r][p] = dot_start(rows[r].correction);
    }
#pragma GCC unroll 8
    for (int j = 0; j < group_size / 4; j++) {
      fours b[P];
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) b[p] = load_fours(w + p * panel_stride + j * 64);
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) {
        int32_t four;
        std::memcpy(&four, rows[r].values + j * 4, 4);
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) s[r][p] = dot(s[r][p], b[p], four);
      }
    }
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
      v16 scale = load(reinterpret_cast<const float*>(w + p * panel_stride + 16 * group_size));
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) c[r][p] = fma(to_float(s[r][p]), splat(rows[r].scale) * scale, c[r][p]);
    }
  }
  store_sums(t, c);
}

void tile(const product_tile& t) {
  with_shape<most_rows, panels_of>(t.rows, t.panels, [&]<int R, int P>() { multiply<R, P>(t); });
}

int64_t panels_for(int64_t rows) { return panels_of(rows); }

}  // namespace

const product_kind int8_product = {
    group_size, sizeof(row_group), group_size, int8_group_bytes, 768, most_rows, 1,
    panels_for, prepare,           tile};

}  // namespace ik::IK_TARGET
