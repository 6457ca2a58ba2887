// Where the elements of a packed weight lie (the layouts are those of ik_weight), as fp32, and how fp32 is
// rounded to its types: weights when they are packed, X when it is multiplied with them.
#pragma once

#include <bit>

#include "kernels.h"
#include "product.h"

namespace ik::IK_TARGET {

// To the nearest BF16, ties to even; NaN stays one.
IK_INLINE uint32_t round_bf16(float x) {
  uint32_t b = std::bit_cast<uint32_t>(x);
  uint32_t rounded = b + 0x7fffu + (b >> 16 & 1);
  return ((b & 0x7fffffffu) > 0x7f800000u ? b | 0x00400000u : rounded) >> 16;
}

// A group of INT8 with that largest magnitude, NaN or infinite ones included: what elements are multiplied by
// before they are rounded, 0 if all become 0, and the scale that their integers stand for. Below 2^-100 the
// factor would overflow; that is nothing.
struct int8_rule {
  float factor, scale;
};
IK_INLINE int8_rule int8_rule_of(float largest) {
  if (!(largest <= 0x1.fffffep127f)) return {0.0f, __builtin_nanf("")};
  if (largest < 0x1p-100f) return {0.0f, 0.0f};
  return {127.0f / largest, largest / 127.0f};
}

IK_INLINE const char* weight_group(const ik_weight& w, int64_t panel, int64_t k) {
  return static_cast<const char*>(w.data) +
         (panel * divide_up(w.inner, group_size) + k / group_size) * narrow_group_bytes(w.type);
}

// The 16 columns of a panel at one k.
template <int type>
IK_INLINE v16 weight_row(const ik_weight& w, int64_t panel, int64_t k) {
  if constexpr (type == IK_F32) {
    return load(static_cast<const float*>(w.data) + (panel * w.inner + k) * 16);
  } else if constexpr (type == IK_BF16) {
    const char* line = weight_group(w, panel, k) + k % group_size / 2 * 64;
    return k % 2 == 0 ? even_bf16(line) : odd_bf16(line);
  } else {
    const char* group = weight_group(w, panel, k);
    fours line = load_fours(group + k % group_size / 4 * 64);
    // A one in the place of this k leaves its element alone.
    i16 value = dot(dot_start(-128), line, 1 << (8 * (k % 4)));
    return to_float(value) * load(reinterpret_cast<const float*>(group + 16 * group_size));
  }
}

// Elements [0, inner) of one column.
template <int type>
IK_INLINE void weight_column(const ik_weight& w, int64_t column, float* out) {
  int64_t panel = column / 16, lane = column % 16;
  for (int64_t k = 0; k < w.inner; k++) {
    if constexpr (type == IK_F32) {
      out[k] = static_cast<const float*>(w.data)[(panel * w.inner + k) * 16 + lane];
    } else if constexpr (type == IK_BF16) {
      uint16_t half;
      std::memcpy(&half, weight_group(w, panel, k) + k % group_size / 2 * 64 + lane * 4 + k % 2 * 2, 2);
      uint32_t bits = static_cast<uint32_t>(half) << 16;
      std::memcpy(out + k, &bits, 4);
    } else {
      const char* group = weight_group(w, panel, k);
      uint8_t value = static_cast<uint8_t>(group[k % group_size / 4 * 64 + lane * 4 + k % 4]);
      float scale;
      std::memcpy(&scale, group + 16 * group_size + lane * 4, 4);
      out[k] = static_cast<float>(value - 128) * scale;
    }
  }
}

}  // namespace ik::IK_TARGET
