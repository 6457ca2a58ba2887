// X·W with its epilogue.
#include <initializer_list>
#include <numeric>

#include "narrow.h"
#include "tile.h"
#include "weight.h"

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
    if (a.scale != 1) v = v * splat(a.scale);
    if (a.soft_cap > 0) v = splat(a.soft_cap) * tanh(v / splat(a.soft_cap));
    if (a.delta.data != nullptr) put(IK_TARGET::row(a.delta, r) + c, v);
    if (a.residual.data != nullptr) v = get(IK_TARGET::row(a.residual, r) + c) + v;
    put(IK_TARGET::row(a.out, r) + c, v);
  });
}

// A left side is X in the form that its register tiles read: `tiles` of its rows, `steps` along k, of which
// `stretch` are made at a time where there are several tiles, and run(), which adds the product of a tile and
// some panels over some steps to acc[row][panel][16], which is zero before step 0.

// fp32: as it is, or, for more than one tile of rows, in panels of 16 rows, [panel][k][16], which a register
// tile reads from front to back.
struct f32_side {
  static constexpr int64_t tiles_per_panel = 16 / max_tile_rows;
  static constexpr int64_t block_tiles = 192 / max_tile_rows;
  static constexpr int64_t largest = largest_tile;
  static constexpr int64_t stretch = 256 / max_tile_panels;  // three panels: 16 KiB of a first-level cache

  const ik_matmul_args& a;
  row_tiles tiles;
  float* panels = nullptr;  // null: as it is

  explicit f32_side(const ik_matmul_args& args) : a(args), tiles(args.rows) {}

  int64_t steps() const { return a.inner; }
  int64_t row_bytes() const { return a.inner * 4; }
  int64_t panels_of(int64_t rows) const { return tile_panels(rows); }
  int64_t scratch() const {
    return tiles.count > 1 ? divide_up(tiles.count, tiles_per_panel) * a.inner * 16 : 0;
  }

  void prepare(ik_context& context, float* memory) {
    if (tiles.count <= 1) return;
    panels = memory;
    parallel_for(context, divide_up(tiles.count, tiles_per_panel), a.rows * a.inner, [&](int64_t panel) {
      int64_t row = tiles.begin(panel * tiles_per_panel);
      int64_t end = tiles.begin(least(tiles.count, (panel + 1) * tiles_per_panel));
      transpose_rows(IK_TARGET::row(a.x, row), a.x.stride, end - row, a.inner, panels + panel * a.inner * 16);
    });
  }

  void run(const ik_weight& w, int64_t tile, int64_t k, int64_t count, int64_t panel, int64_t panel_count,
           float* acc) const {
    int64_t row = tiles.begin(tile), panel_stride = w.inner * 16;
    const float* from = static_cast<const float*>(w.data) + panel * panel_stride + (a.inner_start + k) * 16;
    product p{IK_TARGET::row(a.x, row) + k, a.x.stride, from, panel_stride, count};
    if (panels != nullptr) {
      int64_t side = tile / tiles_per_panel;
      p.x = panels + (side * a.inner + k) * 16 + row - tiles.begin(side * tiles_per_panel);
    }
    int64_t height = tiles.begin(tile + 1) - row;
    for (int64_t i = 0; k == 0 && i < height * panel_count; i++) store(acc + i * 16, zero());
    find_tile(height, panel_count,
              panels == nullptr ? tile_kind::plain : tile_kind::transposed)(p, acc);
  }
};

// BF16 and INT8: rows in groups of 32 along k.
struct narrow_side {
  static constexpr int64_t block_tiles = 24;
  static constexpr int64_t largest = 32 * 2 * 16;
  static constexpr int64_t stretch = 24;

  const ik_matmul_args& a;
  const narrow_product& product;
  row_tiles tiles;
  int64_t groups;
  char* rows = nullptr;

  narrow_side(const ik_matmul_args& args, const narrow_product& p)
      : a(args), product(p), tiles(args.rows, p.most_rows, p.unit_rows),
        groups(divide_up(args.inner_start % group_size + args.inner, group_size)) {}

  int64_t steps() const { return groups; }
  int64_t row_bytes() const { return groups * product.row_group_bytes; }
  int64_t panels_of(int64_t height) const { return product.panels(height); }
  int64_t scratch() const {
    return divide_up(divide_up(a.rows, product.unit_rows) * product.unit_rows * row_bytes(), 4);
  }

  void prepare(ik_context& context, float* memory) {
    rows = reinterpret_cast<char*>(memory);
    int64_t unit = product.unit_rows;
    for_rows(context, a.rows, a.inner, [&](int64_t from, int64_t to) {
      for (int64_t r = from; r < to; r++) {
        char* to = rows + r / unit * unit * row_bytes() + r % unit * product.row_group_bytes;
        product.prepare(IK_TARGET::row(a.x, r), a.inner_start % group_size, a.inner, to,
                        unit * product.row_group_bytes);
      }
    });
  }

  void run(const ik_weight& w, int64_t tile, int64_t group, int64_t count, int64_t panel, int64_t panel_count,
           float* acc) const {
    int64_t row = tiles.begin(tile), bytes = narrow_group_bytes(w.type);
    int64_t panel_stride = divide_up(w.inner, group_size) * bytes;
    product.tile(rows + row * row_bytes() + group * product.row_group_bytes * product.unit_rows,
                 row_bytes() * product.unit_rows,
                 static_cast<const char*>(w.data) + panel * panel_stride +
                     (a.inner_start / group_size + group) * bytes,
                 panel_stride, count, tiles.begin(tile + 1) - row, panel_count, group == 0, acc);
  }
};

constexpr int64_t block_bytes = 3 << 19;     // of X, which stay in the second-level cache while panels pass by,
constexpr int64_t block_rows = 128;          // but so many rows: each fetches the panels once more
constexpr int64_t scratch_bytes = 16 << 20;  // of X are prepared at a time

// One task: rows of tiles [tile, tile_end) times panels [panel, panel_end) of the output.
template <class Side>
void multiply(const ik_matmul_args& a, const Side& x, int64_t tile, int64_t tile_end, int64_t panel,
              int64_t panel_end) {
  alignas(64) float acc[Side::block_tiles * Side::largest];
  int64_t step = tile_end - tile > 1 ? Side::stretch : most(1, x.steps());
  int64_t first = a.column_start / 16, widest = x.panels_of(x.tiles.tallest());
  for (int64_t panels; panel < panel_end; panel += panels) {
    panels = least(widest, panel_end - panel);
    int64_t tile_floats = x.tiles.tallest() * panels * 16;
    for (int64_t k = 0; k < most(1, x.steps()); k += step) {
      for (int64_t t = tile; t < tile_end; t++) {
        x.run(a.w, t, k, least(step, x.steps() - k), first + panel, panels, acc + (t - tile) * tile_floats);
      }
    }
    for (int64_t t = tile; t < tile_end; t++) {
      int64_t row = x.tiles.begin(t), rows = x.tiles.begin(t + 1) - row;
      finish(a, acc + (t - tile) * tile_floats, row, rows, panel * 16 - a.column_start % 16, panels);
    }
  }
}

// Rotates the heads of a task's output, which is still in the cache.
void rotate(const ik_matmul_args& a, int64_t row, int64_t row_end, int64_t panel, int64_t panel_end) {
  int64_t from = panel * 16, to = least(a.columns, panel_end * 16);
  for (; row < row_end; row++) {
    float* out = IK_TARGET::row(a.out, row) + from;
    rotate_heads(a.rotation, row, out, out, (to - from) / a.rotation.head_size);
  }
}

// A product whose x is prepared.
template <class Side>
void multiply_all(ik_context& context, const ik_matmul_args& a, const Side& x) {
  // Panels of a task: whole register tiles, and whole heads where these are rotated.
  int64_t group = x.panels_of(x.tiles.tallest()), wanted = 4 * context.pool.threads();
  int64_t panels = divide_up(a.column_start % 16 + a.columns, 16);
  if (a.rotation.positions != nullptr) {
    int64_t heads = std::lcm<int64_t, int64_t>(16, a.rotation.head_size) / 16, both = std::lcm(group, heads);
    group = divide_up(panels, both) * x.tiles.count < wanted ? heads : both;
  }

  // Enough tasks for all threads; where panels are few, rows are divided further.
  int64_t groups = divide_up(panels, group);
  int64_t block = most(block_bytes / most(1, x.row_bytes()), block_rows) / x.tiles.tallest();
  block = most(1, least(least(block, Side::block_tiles), x.tiles.count));
  while (block > 1 && divide_up(x.tiles.count, block) * groups < wanted) block = divide_up(block, 2);
  int64_t blocks = divide_up(x.tiles.count, block);
  int64_t step = group * most(1, least(8, blocks * groups / (2 * wanted)));
  int64_t steps = divide_up(panels, step);
  // Few rows wait for the weight's memory rather than for arithmetic: count its elements too.
  int64_t work = (a.rows + 16) * (a.columns + 16) * (a.inner + 16) / 16;
  parallel_for(context, blocks * steps, work, [&](int64_t task) {
    int64_t tile = task / steps * block, tile_end = least(x.tiles.count, tile + block);
    int64_t panel = task % steps * step, panel_end = least(panels, panel + step);
    multiply(a, x, tile, tile_end, panel, panel_end);
    if (a.rotation.positions == nullptr) return;
    rotate(a, x.tiles.begin(tile), x.tiles.begin(tile_end), panel, panel_end);
  });
}

ik_matrix from_row(const ik_matrix& m, int64_t r) {
  return {m.data == nullptr ? nullptr : m.data + r * m.stride, m.stride};
}

// Rows [r, r + rows) of a product.
ik_matmul_args part_of(const ik_matmul_args& a, int64_t r, int64_t rows) {
  ik_matmul_args part = a;
  part.rows = rows;
  for (auto m : {&ik_matmul_args::x, &ik_matmul_args::multiply, &ik_matmul_args::residual,
                 &ik_matmul_args::pre, &ik_matmul_args::delta, &ik_matmul_args::out}) {
    part.*m = from_row(a.*m, r);
  }
  if (part.rotation.positions != nullptr) part.rotation.positions += r;
  return part;
}

// Rows [r, r + rows) of a product and of those that follow it, which share x.
template <class Side, class... Args>
ik_status multiply_rows(ik_context& context, const ik_matmul_args& a, int64_t r, int64_t rows,
                        const Args&... args) {
  ik_matmul_args part = part_of(a, r, rows);
  Side x(part, args...);
  float* memory = thread_scratch(x.scratch());
  if (memory == nullptr && x.scratch() > 0) return IK_OUT_OF_MEMORY;
  x.prepare(context, memory);
  multiply_all(context, part, x);
  for (const ik_matmul_args* next = a.next; next != nullptr; next = next->next) {
    multiply_all(context, part_of(*next, r, rows), x);
  }
  return IK_OK;
}

}  // namespace

ik_status matmul(ik_context& context, const ik_matmul_args& a) {
  for (const ik_matmul_args* p = &a; p != nullptr; p = p->next) {
    if (p->rotation.positions != nullptr && !has_positions(p->rotation, a.rows)) return IK_INDEX_OUT_OF_RANGE;
  }
  int64_t most_rows = most(512, scratch_bytes / 4 / most(1, a.inner));
  for (int64_t r = 0; r < a.rows; r += most_rows) {
    int64_t rows = least(most_rows, a.rows - r);
    const narrow_product& narrow = a.w.type == IK_BF16 ? *context.kernels.bf16 : *context.kernels.int8;
    ik_status status = a.w.type == IK_F32 ? multiply_rows<f32_side>(context, a, r, rows)
                                          : multiply_rows<narrow_side>(context, a, r, rows, narrow);
    if (status != IK_OK) return status;
  }
  return IK_OK;
}

}  // namespace ik::IK_TARGET
