// The register tile that every product is made of: R rows times P panels of 16 columns, one chain of fused
// multiply-adds along k for every element. Which tile an element falls into never changes its bits.
#pragma once

#include "kernels.h"

namespace ik::IK_TARGET {

constexpr int largest_tile =
    max_tile_rows * max_tile_panels * 16 > 256 ? max_tile_rows* max_tile_panels * 16 : 256;

// How many panels a tile with that many rows has at most: enough chains to hide the latency of an FMA, and
// few enough registers.
constexpr int tile_panels(int64_t rows) {
#if defined(IK_TARGET_AVX512)
  return rows <= 5 ? 4 : 3;
#elif defined(IK_TARGET_AVX2)
  return rows == 1 ? 4 : rows <= 3 ? 2 : 1;
#else
  return rows == 1 ? 2 : 1;
#endif
}

// f.operator()<R, P>() for the tile shape (rows, panels), of which there are 1 to most_rows rows and 1 to
// panels_of(rows) panels.
template <int most_rows, auto panels_of, int R = 1, int P = 1, class F>
static void with_shape(int64_t rows, int64_t panels, F f) {
  if constexpr (R <= most_rows) {
    if constexpr (P > panels_of(R)) {
      with_shape<most_rows, panels_of, R + 1, 1>(rows, panels, f);
    } else if (rows == R && panels == P) {
      f.template operator()<R, P>();
    } else {
      with_shape<most_rows, panels_of, R, P + 1>(rows, panels, f);
    }
  }
}

// One product: acc[r][p][lane] += Σ over k of x[r * x_stride + k] · w[k * 16 + p * panel_stride + lane].
struct product {
  const float* x;
  int64_t x_stride;
  const float* w;
  int64_t panel_stride;
  int64_t k;
};

using tile_function = void (*)(const product& t, float* acc);

enum class tile_kind {
  plain,
  transposed,  // x is a panel too: x[r + k * 16]
};

// The tile for 1 ≤ rows ≤ max_tile_rows and 1 to tile_panels(rows) panels.
tile_function find_tile(int64_t rows, int64_t panels, tile_kind kind);

// Up to 16 rows as a panel: to[k * 16 + r] = from[r * stride + k]. The lanes of missing rows are of no
// meaning.
IK_INLINE void transpose_rows(const float* from, int64_t stride, int64_t rows, int64_t length, float* to) {
  int64_t whole = length / 16 * 16;
  for (int64_t k = 0; k < whole; k += 16) transpose(from + k, stride, rows, to + k * 16);
  for (int64_t k = whole; k < length; k++) {
    for (int64_t r = 0; r < 16; r++) to[k * 16 + r] = from[(r < rows ? r : rows - 1) * stride + k];
  }
}

// Rows cut into tiles of nearly the same height, of whole units where there are several.
struct row_tiles {
  int64_t rows, count, unit;

  explicit row_tiles(int64_t n, int64_t most_rows = max_tile_rows, int64_t unit_rows = 1)
      : rows(n), count(divide_up(n, most_rows)), unit(unit_rows) {}

  int64_t begin(int64_t tile) const { return least(rows, tile * divide_up(rows, unit) / count * unit); }
  int64_t tallest() const { return least(rows, divide_up(divide_up(rows, unit), count) * unit); }
};

}  // namespace ik::IK_TARGET
