// What the product knows of a type of weights: how X is brought into the form that its register tiles read,
// and the tiles. X is cut into groups along k, which those of the weight are aligned with.
#pragma once

#include "interp_kernels.h"

namespace ik {

constexpr int64_t group_size = 32;                              // of narrow weights: BF16 and INT8
constexpr int64_t bf16_group_bytes = 16 * group_size * 2;       // of a panel
constexpr int64_t int8_group_bytes = 16 * group_size + 16 * 4;  // of a panel: values, then scales

constexpr int64_t narrow_group_bytes(int32_t type) {
  return type == IK_BF16 ? bf16_group_bytes : int8_group_bytes;
}

// acc[r][p][16] += rows of X times panels of the weight, over so many elements of k. Strides are bytes.
struct product_tile {
  const char* x;  // [unit][group][row of the unit]
  int64_t group_stride, unit_stride;
  const char* w;
  int64_t panel_stride;
  int64_t length;
  int64_t rows, panels;
  bool first;  // acc counts as zero
  float* acc;

  // What later tiles will read of the panels: with each group so many lines of each panel, if any.
  const char* next;
  int64_t next_lines;
};

struct product_kind {
  int64_t group;            // elements of k in a group of X
  int64_t row_group_bytes;  // of one group of one prepared row
  int64_t weight_group;     // elements of k that the weight is filled up to with zeros
  int64_t weight_group_bytes;
  int64_t stretch;  // elements of k that all rows of a task go through before the next ones

  // Rows of a register tile at most. Prepared rows lie in units of so many rows; 1: of as many as a tile has.
  int64_t most_rows, unit_rows;
  int64_t (*panels)(int64_t rows);

  // Some rows of a unit. Their first element is the weight's k = start, 0 ≤ start < weight_group; what is
  // missing in the groups is filled with zeros.
  void (*prepare)(const ik_matrix& x, int64_t rows, int64_t start, int64_t length, char* to,
                  int64_t group_stride);
  void (*tile)(const product_tile& t);
};

}  // namespace ik
