#include "tile.h"

namespace ik::IK_TARGET {
namespace {

constexpr int ahead = 16;  // steps of k from a panel's prefetch to its use

template <int R, int P, tile_kind kind>
void tile(const product& t, float* acc) {
  v16 c[R][P];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) c[r][p] = load(acc + (r * P + p) * 16);
  }

  const float* x = t.x;
  const float* w = t.w;
  int64_t x_stride = t.x_stride, panel_stride = t.panel_stride;
#pragma GCC unroll 4
  for (int64_t k = 0; k < t.k; k++) {
    v16 b[P];
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
      const float* from = w + p * panel_stride;
      b[p] = load(from);
      if (kind == tile_kind::transposed) prefetch(from + ahead * 16);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      v16 a = splat(kind == tile_kind::transposed ? x[r] : x[r * x_stride]);
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) c[r][p] = fma(a, b[p], c[r][p]);
    }
    w += 16;
    x += kind == tile_kind::transposed ? 16 : 1;
  }

#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) store(acc + (r * P + p) * 16, c[r][p]);
  }
}

}  // namespace

tile_function find_tile(int64_t rows, int64_t panels, tile_kind kind) {
  tile_function found = nullptr;
  with_shape<max_tile_rows, tile_panels>(rows, panels, [&]<int R, int P>() {
    found = kind == tile_kind::transposed ? tile<R, P, tile_kind::transposed> : tile<R, P, tile_kind::plain>;
  });
  return found;
}

}  // namespace ik::IK_TARGET
