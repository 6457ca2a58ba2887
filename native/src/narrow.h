// Products with weights in fewer bits than fp32. X is brought into their form first, row by row, in groups of
// 32 along k, which the weights' groups are aligned with; what it lacks is filled with zeros.
#pragma once

#include "interp_kernels.h"

namespace ik {

constexpr int64_t group_size = 32;
constexpr int64_t bf16_group_bytes = 16 * group_size * 2;       // of a panel
constexpr int64_t int8_group_bytes = 16 * group_size + 16 * 4;  // of a panel: values, then scales

struct narrow_product {
  int64_t row_group_bytes;  // of one group of one prepared row

  // One row of X, of which element 0 is the weight's k = start, 0 ≤ start < 32, as groups so many bytes apart.
  void (*prepare)(const float* x, int64_t start, int64_t length, char* to, int64_t group_stride);

  // Rows of a register tile at most. Prepared rows lie in units, [unit][group][row of the unit], and tiles
  // begin with one.
  int64_t most_rows, unit_rows;
  int64_t (*panels)(int64_t rows);

  // acc[r][p][16] += rows of X times panels of the weight, over so many groups; acc counts as zero if `first`.
  // Strides are bytes.
  void (*tile)(const char* x, int64_t unit_stride, const char* w, int64_t panel_stride, int64_t groups,
               int64_t rows, int64_t panels, bool first, float* acc);
};

constexpr int64_t narrow_group_bytes(int32_t type) { return type == IK_BF16 ? bf16_group_bytes : int8_group_bytes; }

}  // namespace ik
