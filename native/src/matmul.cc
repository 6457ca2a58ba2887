// X·W with its epilogue.
#include <atomic>
#include <initializer_list>
#include <numeric>
#include <optional>

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
    if (a.scale != 1) v = v * splat(a.scale);
    if (a.soft_cap > 0) v = splat(a.soft_cap) * tanh(v / splat(a.soft_cap));
    if (a.delta.data != nullptr) put(IK_TARGET::row(a.delta, r) + c, v);
    if (a.residual.data != nullptr) v = get(IK_TARGET::row(a.residual, r) + c) + v;
    put(IK_TARGET::row(a.out, r) + c, v);
  });
}

// What a task reads of X while panels pass by, so that it stays in the second-level cache: so many rows at
// most, each block of which fetches the panels once more, and so many bytes.
constexpr int64_t block_rows = 256, block_bytes = 3 << 18;
constexpr int64_t scratch_bytes = 4 << 20;  // of X are prepared at a time

// X, prepared for the register tiles of a type of weights: [part][unit][group][row of the unit]. Parts are so
// many elements of k that a block of rows stays in the cache, and lies together in memory.
struct left_side {
  const ik_matmul_args& a;
  const product_kind& kind;
  row_tiles tiles;
  int64_t unit;    // rows that lie together
  int64_t skip;    // elements of the weight's group before a.inner_start, zeros in X
  int64_t length;  // of k that the tiles go through
  int64_t part;    // elements of k, whole stretches
  int64_t padded;  // rows
  char* data = nullptr;

  left_side(const ik_matmul_args& args, const product_kind& product)
      : a(args), kind(product), tiles(args.rows, product) {
    unit = kind.unit_rows > 1 ? kind.unit_rows : tiles.height;
    skip = a.inner_start % kind.weight_group;
    length = divide_up(skip + a.inner, kind.weight_group) * kind.weight_group;
    int64_t block_group = least(a.rows, block_rows) * kind.row_group_bytes;
    part = most(1, block_bytes / block_group * kind.group / kind.stretch) * kind.stretch;
    padded = divide_up(a.rows, unit) * unit;
  }

  // Of a row, [0, k).
  int64_t bytes(int64_t k) const { return divide_up(k, kind.group) * kind.row_group_bytes; }
  int64_t group_stride() const { return unit * kind.row_group_bytes; }
  int64_t scratch() const { return divide_up(padded * bytes(length), 4); }

  // Row r at element k, which begins a group.
  char* at(int64_t r, int64_t k) const {
    int64_t begin = k / part * part, width = least(part, length - begin);
    return data + padded * bytes(begin) + r / unit * unit * bytes(width) + r % unit * kind.row_group_bytes +
           (k - begin) / kind.group * group_stride();
  }
  int64_t unit_stride(int64_t k) const { return unit * bytes(least(part, length - k / part * part)); }

  void prepare(ik_context& context, float* memory) {
    data = reinterpret_cast<char*>(memory);
    int64_t units = padded / unit, parts = divide_up(length, part);
    parallel_for(context, units * parts, a.rows * a.inner, [&](int64_t task) {
      int64_t row = task / parts * unit, count = least(unit, a.rows - row), k = task % parts * part;
      int64_t begin = most(0, k - skip), end = least(a.inner, k + part - skip);
      ik_matrix from{IK_TARGET::row(a.x, row) + begin, a.x.stride};
      kind.prepare(from, count, k == 0 ? skip : 0, end - begin, at(row, k), group_stride());
    });
  }

  int64_t panel_stride(const ik_weight& w) const {
    return divide_up(w.inner, kind.weight_group) * kind.weight_group_bytes;
  }

  // Where element k of a panel lies.
  const char* panel_at(const ik_weight& w, int64_t panel, int64_t k) const {
    return static_cast<const char*>(w.data) + panel * panel_stride(w) +
           (a.inner_start / kind.weight_group + k / kind.weight_group) * kind.weight_group_bytes;
  }
};

// What a single tile of rows asks for of the next panels, in elements of k and in lines.
constexpr int64_t lead = 128, lead_lines = 32;

// One task: rows of tiles [tile, tile_end) times panels [panel, panel_end) of the output. Between the parts
// of X all sums wait in memory. A stretch of a few panels stays in the caches while all tiles pass by, each
// of which asks for its share of the next stretch. A single tile leaves that to the processor, which does it
// better, but for where the next panels begin: there it would have to find the streams first. Panel `after` is
// where this thread will probably go on; negative for nowhere.
bool multiply(const ik_matmul_args& a, const left_side& x, int64_t tile, int64_t tile_end, int64_t panel,
              int64_t panel_end, int64_t after) {
  const product_kind& kind = x.kind;
  int64_t length = most(1, x.length), first = a.column_start / 16, count = tile_end - tile;
  int64_t widest = kind.panels(x.tiles.height), rows = count * x.tiles.height;
  bool single = count == 1;
  float* sums = thread_scratch(rows * (x.part < length ? panel_end - panel : widest) * 16);
  if (sums == nullptr) return false;

  product_tile t{};
  t.group_stride = x.group_stride();
  t.panel_stride = x.panel_stride(a.w);
  int64_t group_bytes = kind.group / kind.weight_group * kind.weight_group_bytes;
  t.next_lines = single ? lead_lines * kind.group / lead : divide_up(divide_up(group_bytes, 64), count);
  for (int64_t begin = 0; begin < length; begin += x.part) {
    int64_t end = least(length, begin + x.part);
    t.unit_stride = x.unit_stride(begin);
    for (int64_t p = panel; p < panel_end; p += t.panels) {
      t.panels = least(widest, panel_end - p);
      float* of_panels = sums + (x.part < length ? p - panel : 0) * rows * 16;
      for (int64_t k = begin, step; k < end; k += step) {
        step = !single ? least(kind.stretch, end - k) : end - k < 2 * lead ? end - k : ((end - k) / lead - 1) * lead;
        t.w = x.panel_at(a.w, first + p, k);
        t.length = least(step, x.length - k);
        t.first = k == 0;
        const char* next = k + step < end             ? single ? nullptr : x.panel_at(a.w, first + p, k + step)
                           : p + t.panels < panel_end ? x.panel_at(a.w, first + p + t.panels, begin)
                           : end < length             ? x.panel_at(a.w, first + panel, end)
                           : single && after >= 0     ? x.panel_at(a.w, first + after, 0)
                                                      : nullptr;
        int64_t groups = divide_up(t.length, kind.group), share = groups * t.next_lines * 64;
        for (int64_t i = 0; i < count; i++) {
          int64_t row = x.tiles.begin(tile + i);
          t.rows = x.tiles.begin(tile + i + 1) - row;
          t.x = x.at(row, k);
          t.acc = of_panels + i * x.tiles.height * t.panels * 16;
          t.next = next == nullptr || i * share >= groups * group_bytes ? nullptr : next + i * share;
          kind.tile(t);
          if (k + step >= length) finish(a, t.acc, row, t.rows, p * 16 - a.column_start % 16, t.panels);
        }
      }
    }
  }
  return true;
}

// Rotates the heads of a task's output, which is still in the cache.
void rotate(const ik_matmul_args& a, int64_t row, int64_t row_end, int64_t panel, int64_t panel_end) {
  int64_t from = panel * 16, to = least(a.columns, panel_end * 16);
  for (; row < row_end; row++) {
    float* out = IK_TARGET::row(a.out, row) + from;
    rotate_heads(a.rotation, row, out, out, (to - from) / a.rotation.head_size);
  }
}

// How a product whose x is prepared is cut into tasks.
struct product_tasks {
  ik_matmul_args a;
  int64_t block, blocks;  // tiles of rows
  int64_t panels, step, steps;

  // Enough tasks, `wanted`, for all threads.
  product_tasks(const ik_matmul_args& args, const left_side& x, int64_t wanted) : a(args) {
    // Panels of a task: whole register tiles, and whole heads where these are rotated.
    int64_t group = x.kind.panels(x.tiles.height);
    panels = divide_up(a.column_start % 16 + a.columns, 16);
    if (a.rotation.positions != nullptr) {
      int64_t heads = std::lcm<int64_t, int64_t>(16, a.rotation.head_size) / 16, both = std::lcm(group, heads);
      group = divide_up(panels, both) * x.tiles.count < wanted ? heads : both;
    }

    // Where panels are few, rows are divided further.
    int64_t groups = divide_up(panels, group);
    block = divide_up(x.tiles.count, divide_up(x.tiles.count, block_rows / x.tiles.height));
    while (block > 1 && divide_up(x.tiles.count, block) * groups < wanted) block = divide_up(block, 2);
    blocks = divide_up(x.tiles.count, block);
    // Where X has several parts, each of them is read anew for every task: fewer, longer tasks then.
    int64_t fewest = x.part < x.length ? wanted / 2 : 2 * wanted;
    step = group * most(1, least(8, blocks * groups / most(1, fewest)));
    steps = divide_up(panels, step);
  }

  int64_t count() const { return blocks * steps; }

  // Few rows wait for the weight's memory rather than for arithmetic: counts its elements too.
  int64_t work() const { return (a.rows + 16) * (a.columns + 16) * (a.inner + 16) / 16; }

  bool run(const left_side& x, int64_t task, int64_t threads) const {
    int64_t tile = task / steps * block, tile_end = least(x.tiles.count, tile + block);
    int64_t panel = task % steps * step, panel_end = least(panels, panel + step);
    int64_t after = panel + step * threads;
    if (!multiply(a, x, tile, tile_end, panel, panel_end, after < panels ? after : -1)) return false;
    if (a.rotation.positions != nullptr) {
      rotate(a, x.tiles.begin(tile), x.tiles.begin(tile_end), panel, panel_end);
    }
    return true;
  }
};

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

// Rows [r, r + rows) of a product and of those that follow it, which share x. Products that read no output of
// an earlier one, such as queries, keys and values, share a loop.
ik_status multiply_rows(ik_context& context, const ik_matmul_args& a, int64_t r, int64_t rows) {
  constexpr int most_at_once = 4;
  ik_matmul_args part = part_of(a, r, rows);
  left_side x(part, context.kernels.product(a.w.type));
  float* memory = product_scratch(x.scratch());
  if (memory == nullptr && x.scratch() > 0) return IK_OUT_OF_MEMORY;
  x.prepare(context, memory);
  int64_t threads = context.pool.threads();
  std::atomic<bool> failed{false};
  for (const ik_matmul_args* next = &a; next != nullptr && !failed;) {
    const ik_matmul_args* begin = next;
    int count = 0;
    do {
      count++;
      next = next->next;
    } while (count < most_at_once && next != nullptr && next->multiply.data == nullptr &&
             next->residual.data == nullptr);
    std::optional<product_tasks> products[most_at_once];
    int64_t tasks = 0, work = 0;
    for (int i = 0; i < count; i++, begin = begin->next) {
      products[i].emplace(part_of(*begin, r, rows), x, divide_up(4 * threads, count));
      tasks += products[i]->count();
      work += products[i]->work();
    }
    parallel_for(context, tasks, work, [&](int64_t task) {
      const auto* product = products;
      while (task >= (*product)->count()) task -= (*product++)->count();
      if (!(*product)->run(x, task, threads)) failed = true;
    });
  }
  return failed ? IK_OUT_OF_MEMORY : IK_OK;
}

}  // namespace

ik_status matmul(ik_context& context, const ik_matmul_args& a) {
  for (const ik_matmul_args* p = &a; p != nullptr; p = p->next) {
    if (p->rotation.positions != nullptr && !has_positions(p->rotation, a.rows)) return IK_INDEX_OUT_OF_RANGE;
  }
  int64_t most_rows = most(1, scratch_bytes / 4 / most(1, a.inner) / block_rows) * block_rows;
  for (int64_t r = 0; r < a.rows; r += most_rows) {
    ik_status status = multiply_rows(context, a, r, least(most_rows, a.rows - r));
    if (status != IK_OK) return status;
  }
  return IK_OK;
}

}  // namespace ik::IK_TARGET
