// The register tile of attention: rows of queries times panels of keys, or of the pattern times panels of
// values. One chain of fused multiply-adds along k for every element, as in tile.h; but here each row may end
// at a step of its own, as a causal mask wants it.
#pragma once

#include <utility>

#include "kernels.h"

namespace ik::IK_TARGET {

#if defined(IK_TARGET_AVX512)
constexpr int attention_rows = 14;  // 14 × 2 sums, two panels and a broadcast: 31 of 32 registers
constexpr int attention_panels(int rows) { return rows <= 4 ? 4 : 2; }
#elif defined(IK_TARGET_AVX2)
constexpr int attention_rows = 6;
constexpr int attention_panels(int rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : 1; }
#else
constexpr int attention_rows = 4;
constexpr int attention_panels(int rows) { return rows == 1 ? 2 : 1; }
#endif

// out[r][p][lane] = [out[r][p][lane] +] Σ over k < ends[r] of x[r][k] · w[p][k][lane].
struct attention_product {
  const float* x;
  int64_t x_stride;
  const float* w;
  int64_t panel_stride;
  float* out;
  int64_t out_stride;
  const int64_t* ends;  // rising from row to row
  const float* next;    // what will be read next: step k asks for the 16 floats at next + k * 16
};

using attention_tile = void (*)(const attention_product&);

// Steps k up to `end` of the rows from F on.
template <int F, int R, int P>
IK_INLINE void advance(const attention_product& t, v16 (&c)[R][P], int64_t& k, int64_t end) {
  const float *x = t.x, *w = t.w;
  int64_t x_stride = t.x_stride, panel_stride = t.panel_stride;
#pragma GCC unroll 4
  for (; k < end; k++) {
    v16 b[P];
    if (F == 0) prefetch(t.next + k * 16);
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) b[p] = load(w + p * panel_stride + k * 16);
#pragma GCC unroll 16
    for (int r = F; r < R; r++) {
      v16 a = splat(x[r * x_stride + k]);
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) c[r][p] = fma(a, b[p], c[r][p]);
    }
  }
}

template <int R, int P, bool adds>
void multiply_tile(const attention_product& t) {
  v16 c[R][P];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) c[r][p] = adds ? load(t.out + r * t.out_stride + p * 16) : zero();
  }

  int64_t k = 0;
  if constexpr (adds) {
    [&]<int... F>(std::integer_sequence<int, F...>) { (advance<F, R, P>(t, c, k, t.ends[F]), ...); }
    (std::make_integer_sequence<int, R>());
  } else {
    advance<0, R, P>(t, c, k, t.ends[0]);
  }

#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) store(t.out + r * t.out_stride + p * 16, c[r][p]);
  }
}

// The largest of 4, 2, 1 panels that are left and that the tile may have.
IK_INLINE int64_t next_attention_panels(int64_t rows, int64_t left) {
  int64_t panels = attention_panels(static_cast<int>(rows));
  while (panels > left) panels /= 2;
  return panels;
}

// The tile for 1 ≤ rows ≤ attention_rows and 1, 2 or 4 panels. One that does not add begins at zero, and all
// its rows end at ends[0].
template <bool adds>
attention_tile find_attention_tile(int64_t rows, int64_t panels) {
  struct row {
    attention_tile one, two, four;
  };
  static constexpr auto table = []<int... R>(std::integer_sequence<int, R...>) {
    struct rows_of_tiles {
      row at[attention_rows];
    };
    return rows_of_tiles{{[] {
      constexpr int rows = R + 1, most = attention_panels(rows);
      return row{multiply_tile<rows, 1, adds>, multiply_tile < rows, most < 2 ? 1 : 2, adds >,
                 multiply_tile<rows, most, adds>};
    }()...}};
  }
  (std::make_integer_sequence<int, attention_rows>());
  const row& r = table.at[rows - 1];
  return panels == 1 ? r.one : panels == 2 ? r.two : r.four;
}

}  // namespace ik::IK_TARGET
