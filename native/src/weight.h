// Where the elements of a packed weight lie (the layouts are those of ik_weight), as fp32.
#pragma once

#include "kernels.h"
#include "narrow.h"

namespace ik::IK_TARGET {

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
