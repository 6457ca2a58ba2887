// X·W with its epilogue, and X·Wᵀ.
#include <initializer_list>

#include "tile.h"

namespace ik::IK_TARGET {
namespace {

// f(vector, row, column, get, put) for every vector of a tile whose first lane is output column `column`,
// which may lie before 0: a rectangle of a weight can begin inside a panel. get and put leave lanes outside
// the output alone.
template <class F>
IK_INLINE void for_vectors(const ik_matmul_args& a, float* acc, int64_t row, int64_t rows, int64_t column,
                           int64_t panels, F f) {
  for (int64_t end = row + rows; row < end; row++) {
    for (int64_t p = 0; p < panels; p++, acc += 16) {
      int64_t c = column + p * 16;
      if (c >= 0 && c + 16 <= a.columns) {
        f(
            acc, row, c, [](const float* from) { return load(from); },
            [](float* to, v16 v) { store(to, v); });
      } else {
        m16 mask = lanes(most(0, -c), least(16, a.columns - c));
        f(
            acc, row, c, [=](const float* from) { return load(from, mask); },
            [=](float* to, v16 v) { store(to, v, mask); });
      }
    }
  }
}

// The epilogue of a tile that lies in the first-level cache.
void finish(const ik_matmul_args& a, float* acc, int64_t row, int64_t rows, int64_t column, int64_t panels) {
  if (a.bias != nullptr || a.pre.data != nullptr) {
    for_vectors(a, acc, row, rows, column, panels, [&](float* at, int64_t r, int64_t c, auto get, auto put) {
      v16 v = load(at);
      if (a.bias != nullptr) v = v + get(a.bias + c);
      if (a.pre.data != nullptr) put(IK_TARGET::row(a.pre, r) + c, v);
      store(at, v);
    });
  }
  apply_activation(a.activation, acc, rows * panels);
  for_vectors(a, acc, row, rows, column, panels, [&](float* at, int64_t r, int64_t c, auto get, auto put) {
    v16 v = load(at);
    if (a.multiply.data != nullptr) v = v * get(IK_TARGET::row(a.multiply, r) + c);
    if (a.delta.data != nullptr) put(IK_TARGET::row(a.delta, r) + c, v);
    if (a.residual.data != nullptr) v = get(IK_TARGET::row(a.residual, r) + c) + v;
    put(IK_TARGET::row(a.out, r) + c, v);
  });
}

// X of a product: as it is, or, for more than one tile of rows, in panels of 16 rows, [panel][k][16], which a
// register tile reads from front to back.
struct left_side {
  static constexpr int64_t tiles_per_panel = 16 / max_tile_rows;

  const ik_matmul_args& a;
  row_tiles tiles;
  float* panels;  // null: as it is

  int64_t panel_count() const { return divide_up(tiles.count, tiles_per_panel); }

  void transpose_panel(int64_t panel) const {
    int64_t row = tiles.begin(panel * tiles_per_panel);
    int64_t end = tiles.begin(least(tiles.count, (panel + 1) * tiles_per_panel));
    transpose_rows(IK_TARGET::row(a.x, row), a.x.stride, end - row, a.inner, panels + panel * a.inner * 16);
  }

  product at(int64_t tile, int64_t k) const {
    int64_t row = tiles.begin(tile);
    if (panels == nullptr) return {IK_TARGET::row(a.x, row) + k, a.x.stride, nullptr, 16, a.w.inner * 16, 0};
    int64_t panel = tile / tiles_per_panel, first = tiles.begin(panel * tiles_per_panel);
    return {panels + (panel * a.inner + k) * 16 + row - first, 1, nullptr, 16, a.w.inner * 16, 0};
  }
};

constexpr int64_t block_tiles = 12;  // most tiles of rows whose sums wait while a stretch of k passes by
constexpr int64_t block_floats =
    192 << 10;                    // of X, which stay in the second-level cache while all panels pass by
constexpr int64_t stretch = 128;  // of k: so much of two panels stays in half of a first-level cache of 32 KiB
constexpr int64_t left_side_floats = 4 << 20;  // of X are transposed at a time

// One task: rows of tiles [tile, tile_end) times panels [panel, panel_end) of the weight.
void multiply(const left_side& x, int64_t tile, int64_t tile_end, int64_t panel, int64_t panel_end) {
  const ik_matmul_args& a = x.a;
  alignas(64) float acc[block_tiles * largest_tile];
  int64_t tallest = divide_up(x.tiles.rows, x.tiles.count), panel_stride = a.w.inner * 16;
  int64_t step = tile_end - tile > 1 ? stretch : a.inner;
  tile_kind kind = x.panels == nullptr ? tile_kind::plain : tile_kind::transposed;
  const float* weight = a.w.data + a.column_start / 16 * panel_stride + a.inner_start * 16;
  for (int64_t panels; panel < panel_end; panel += panels) {
    panels = next_panels(tallest, panel_end - panel);
    int64_t tile_floats = tallest * panels * 16;
    for (int64_t i = 0; i < (tile_end - tile) * tile_floats; i += 16) store(acc + i, zero());
    for (int64_t k = 0; k < a.inner; k += step) {
      const float* w = weight + panel * panel_stride + k * 16;
      for (int64_t t = tile; t < tile_end; t++) {
        product p = x.at(t, k);
        p.w = w;
        p.k = least(step, a.inner - k);
        find_tile(x.tiles.begin(t + 1) - x.tiles.begin(t), panels, kind)(p, acc + (t - tile) * tile_floats,
                                                                         m16{});
      }
    }
    for (int64_t t = tile; t < tile_end; t++) {
      int64_t row = x.tiles.begin(t), rows = x.tiles.begin(t + 1) - row;
      finish(a, acc + (t - tile) * tile_floats, row, rows, panel * 16 - a.column_start % 16, panels);
    }
  }
}

ik_status multiply_rows(ik_context& context, const ik_matmul_args& a) {
  left_side x{a, row_tiles(a.rows), nullptr};
  int64_t tallest = divide_up(a.rows, x.tiles.count), group = tile_panels(tallest);
  int64_t panels = divide_up(a.column_start % 16 + a.columns, 16), groups = divide_up(panels, group);
  int64_t work = a.rows * (a.columns + 16) * (a.inner + 16) / 16;
  if (x.tiles.count > 1) {
    x.panels = thread_scratch(x.panel_count() * a.inner * 16);
    if (x.panels == nullptr) return IK_OUT_OF_MEMORY;
    parallel_for(context, x.panel_count(), a.rows * a.inner,
                 [&](int64_t panel) { x.transpose_panel(panel); });
  }

  // Enough tasks for all threads; where panels are few, rows are divided further.
  int64_t wanted = 4 * context.pool.threads();
  int64_t block =
      least(block_tiles, most(1, least(x.tiles.count, block_floats / most(1, tallest * a.inner))));
  while (block > 1 && divide_up(x.tiles.count, block) * groups < wanted) block = divide_up(block, 2);
  int64_t blocks = divide_up(x.tiles.count, block);
  int64_t step = group * most(1, least(8, blocks * groups / (2 * wanted)));
  int64_t steps = divide_up(panels, step);
  parallel_for(context, blocks * steps, work, [&](int64_t task) {
    int64_t tile = task / steps * block, panel = task % steps * step;
    multiply(x, tile, least(x.tiles.count, tile + block), panel, least(panels, panel + step));
  });
  return IK_OK;
}

ik_matrix from_row(const ik_matrix& m, int64_t r) {
  return {m.data == nullptr ? nullptr : m.data + r * m.stride, m.stride};
}

}  // namespace

ik_status matmul(ik_context& context, const ik_matmul_args& a) {
  if (a.columns == 0) return IK_OK;
  int64_t most_rows = most(64 * max_tile_rows, left_side_floats / most(1, a.inner));
  for (int64_t r = 0; r < a.rows; r += most_rows) {
    ik_matmul_args part = a;
    part.rows = least(most_rows, a.rows - r);
    for (auto m : {&ik_matmul_args::x, &ik_matmul_args::multiply, &ik_matmul_args::residual,
                   &ik_matmul_args::pre, &ik_matmul_args::delta, &ik_matmul_args::out}) {
      part.*m = from_row(a.*m, r);
    }
    if (ik_status status = multiply_rows(context, part); status != IK_OK) return status;
  }
  return IK_OK;
}

namespace {

// Tile of X·Wᵀ: 4 rows times 4 rows of the weight's panels, a vector of 16 partial sums each, all panels in
// order.
template <int R, int C>
void transposed_tile(const ik_matmul_transposed_args& a, int64_t row, int64_t k) {
  v16 c[R][C];
#pragma GCC unroll 4
  for (int i = 0; i < R * C; i++) c[i / C][i % C] = zero();
  const float* x = IK_TARGET::row(a.x, row);
  const float* w = a.w.data + k * 16;
  for (int64_t n = 0; n < a.w.columns; n += 16, w += a.w.inner * 16) {
    v16 b[C];
#pragma GCC unroll 4
    for (int j = 0; j < C; j++) b[j] = load(w + j * 16);
#pragma GCC unroll 4
    for (int i = 0; i < R; i++) {
      v16 v = load_some(x + i * a.x.stride + n, a.w.columns - n);
#pragma GCC unroll 4
      for (int j = 0; j < C; j++) c[i][j] = fma(v, b[j], c[i][j]);
    }
  }
  for (int i = 0; i < R; i++) {
    for (int j = 0; j < C; j++) IK_TARGET::row(a.out, row + i)[k + j] = sum(c[i][j]);
  }
}

constexpr int transposed_rows = max_tile_panels > 1 ? 4 : 2;  // as the registers allow
constexpr int transposed_columns = max_tile_panels > 1 ? 4 : 2;

}  // namespace

ik_status matmul_transposed(ik_context& context, const ik_matmul_transposed_args& a) {
  constexpr int64_t k_block = 32;
  constexpr int R = transposed_rows, C = transposed_columns;
  int64_t work = a.rows * (a.w.inner + 1) * (a.w.columns + 1) / 16;
  parallel_for(context, divide_up(a.w.inner, k_block), work, [&](int64_t task) {
    int64_t end = least(a.w.inner, (task + 1) * k_block);
    for (int64_t r = 0; r < a.rows;) {
      bool many = a.rows - r >= R;
      for (int64_t k = task * k_block; k < end;) {
        bool wide = end - k >= C;
        auto f = many ? (wide ? transposed_tile<R, C> : transposed_tile<R, 1>)
                      : (wide ? transposed_tile<1, C> : transposed_tile<1, 1>);
        f(a, r, k);
        k += wide ? C : 1;
      }
      r += many ? R : 1;
    }
  });
  return IK_OK;
}

}  // namespace ik::IK_TARGET
