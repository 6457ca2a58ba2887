// Register tiles of products with INT8 weights. X is rounded to 8 bits too, each group of 32 by its own
// largest magnitude; the sum of a group is an exact integer, and c = fma(sum, scale of X · scale of W, c) goes
// along the groups. So the bits are the same on every instruction set.
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
    int32_t rounded = static_cast<int32_t>(std::bit_cast<uint32_t>(v + IK_ROUNDER) -
                                           std::bit_cast<uint32_t>(IK_ROUNDER));
    to->values[i] = static_cast<int8_t>(rounded);
    sum += rounded;
  }
  to->correction = -128 * sum;
}

void prepare(const float* x, int64_t start, int64_t length, char* to, int64_t group_stride) {
  for (int64_t g = -start; g < length; g += group_size, to += group_stride) {
    row_group* out = reinterpret_cast<row_group*>(to);
    if (g >= 0 && g + group_size <= length) {
      quantize(x + g, out);
    } else {
      float part[group_size] = {};
      for (int64_t i = most(0, -g); i < least(group_size, length - g); i++) part[i] = x[g + i];
      quantize(part, out);
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
void int8_tile(const char* x, int64_t unit_stride, const char* w, int64_t panel_stride, int64_t groups,
               bool first, float* acc) {
  v16 c[R][P];
#pragma GCC unroll 16
  for (int i = 0; i < R * P; i++) c[i / P][i % P] = first ? zero() : load(acc + i * 16);
  for (int64_t g = 0; g < groups; g++, x += sizeof(row_group), w += int8_group_bytes) {
    i16 s[R][P];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) {
      const row_group* row = reinterpret_cast<const row_group*>(x + r * unit_stride);
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) s[r][p] = dot_start(row->correction);
    }
#pragma GCC unroll 8
    for (int j = 0; j < group_size / 4; j++) {
      fours b[P];
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) b[p] = load_fours(w + p * panel_stride + j * 64);
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) {
        int32_t four;
        std::memcpy(&four, x + r * unit_stride + j * 4, 4);
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) s[r][p] = dot(s[r][p], b[p], four);
      }
    }
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
      v16 scale = load(reinterpret_cast<const float*>(w + p * panel_stride + 16 * group_size));
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) {
        const row_group* row = reinterpret_cast<const row_group*>(x + r * unit_stride);
        c[r][p] = fma(to_float(s[r][p]), splat(row->scale) * scale, c[r][p]);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < R * P; i++) store(acc + i * 16, c[i / P][i % P]);
}

void tile(const char* x, int64_t unit_stride, const char* w, int64_t panel_stride, int64_t groups, int64_t rows,
          int64_t panels, bool first, float* acc) {
  with_shape<most_rows, panels_of>(rows, panels, [&]<int R, int P>() {
    int8_tile<R, P>(x, unit_stride, w, panel_stride, groups, first, acc);
  });
}

int64_t panels_for(int64_t rows) { return panels_of(rows); }

}  // namespace

const narrow_product int8_product = {sizeof(row_group), prepare, most_rows, 1, panels_for, tile};

}  // namespace ik::IK_TARGET
