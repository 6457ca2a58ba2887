// The register tile that every product is made of: R rows times P panels of 16 columns, one chain of fused
// multiply-adds along k for every element. Which tile an element falls into never changes its bits.
#pragma once

#include "kernels.h"
#include "product.h"

namespace ik::IK_TARGET {

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

// The sums of a tile at its beginning and at its end.
template <int R, int P>
IK_INLINE void load_sums(const product_tile& t, v16 (&c)[R][P]) {
#pragma GCC unroll 32
  for (int i = 0; i < R * P; i++) c[i / P][i % P] = t.first ? zero() : load(t.acc + i * 16);
}

template <int R, int P>
IK_INLINE void store_sums(const product_tile& t, const v16 (&c)[R][P]) {
#pragma GCC unroll 32
  for (int i = 0; i < R * P; i++) store(t.acc + i * 16, c[i / P][i % P]);
}

// Asks for what later tiles read of the panels while this one goes through a group, from `next` on; returns
// what is next then.
template <int P>
IK_INLINE const char* prefetch_lines(const product_tile& t, const char* next) {
  if (next == nullptr) return next;
  for (int64_t i = 0; i < t.next_lines; i++, next += 64) {
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) prefetch(reinterpret_cast<const float*>(next + p * t.panel_stride));
  }
  return next;
}

// Rows cut into tiles of one height, of whole units; the last may have fewer rows.
struct row_tiles {
  int64_t rows, height, count;

  row_tiles(int64_t n, const product_kind& kind) : rows(n) {
    int64_t units = divide_up(n, kind.unit_rows), tiles = most(1, divide_up(n, kind.most_rows));
    height = most(1, divide_up(units, tiles)) * kind.unit_rows;
    count = divide_up(n, height);
  }

  int64_t begin(int64_t tile) const { return least(rows, tile * height); }
};

}  // namespace ik::IK_TARGET
