// Register tiles of products with fp32 weights. X lies in groups of 16 along k, a cache line a row, those of
// a tile's rows side by side: a tile reads one stretch of memory, wherever the rows of X lie.
#include "tile.h"

namespace ik::IK_TARGET {
namespace {

constexpr int64_t group = 16;

void prepare(const ik_matrix& x, int64_t rows, int64_t, int64_t length, char* to, int64_t group_stride) {
  for (int64_t k = 0; k < length; k += group, to += group_stride) {
    float* out = reinterpret_cast<float*>(to);
    for (int64_t r = 0; r < rows; r++, out += group) store(out, load_some(row(x, r) + k, length - k));
  }
}

// One step of k.
template <int R, int P>
IK_INLINE void step(v16 (&c)[R][P], const float* x, const char* w, int64_t panel_stride) {
  v16 b[P];
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) b[p] = load(reinterpret_cast<const float*>(w + p * panel_stride));
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
    v16 a = splat(x[r * group]);
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) c[r][p] = fma(a, b[p], c[r][p]);
  }
}

template <int R, int P>
void multiply(const product_tile& t) {
  v16 c[R][P];
  load_sums(t, c);
  const char *x = t.x, *w = t.w, *next = t.next;
  int64_t panel_stride = t.panel_stride, left = t.length;
  for (; left >= group; left -= group, x += t.group_stride) {
    next = prefetch_lines<P>(t, next);
#pragma GCC unroll 4
    for (int k = 0; k < group; k++, w += 64) step(c, reinterpret_cast<const float*>(x) + k, w, panel_stride);
  }
  for (int64_t k = 0; k < left; k++, w += 64) step(c, reinterpret_cast<const float*>(x) + k, w, panel_stride);
  store_sums(t, c);
}

int64_t panels_of(int64_t rows) { return tile_panels(rows); }

void tile(const product_tile& t) {
  with_shape<max_tile_rows, tile_panels>(t.rows, t.panels, [&]<int R, int P>() { multiply<R, P>(t); });
}

}  // namespace

const product_kind f32_product = {group, group * 4, 1, 64, 768, max_tile_rows, 1, panels_of, prepare, tile};

}  // namespace ik::IK_TARGET
