// Products of which few entries are kept: the encoder of a sparse dictionary.
//
// A strip of columns is multiplied with all rows before the next one comes. Threads share a strip by blocks of rows (where rows are few, by
// ranges of columns too): a thread multiplies a piece that stays in its own cache, looks through it and keeps what may survive in a list of
// the row. All entries of a row differ, by score or else by column: who looked at what, and when, never shows.
//
// Where the k largest of many are wanted in fp32 and the processor multiplies BF16 numbers faster, the product is rounded first: it tells, with
// a proven bound, which few entries of a row may be among them, and only these are multiplied as they are. What comes out are the same bits.
#include <atomic>

#include "candidates.h"

namespace ik::IK_TARGET {
namespace {

constexpr int64_t strip_columns = 768;  // whole register tiles, of 3 panels
constexpr int64_t block_rows = 64;      // a strip of them: 192 KB of a second-level cache
constexpr int64_t first_columns = 96;   // of a batch: enough for a first bound

// How the work of a strip is shared: blocks of rows times ranges of columns.
struct cut {
  int64_t rows, blocks, ranges;

  cut(const ik_sparse_encode_args& a, int threads) {
    int64_t wanted = 2 * threads;
    blocks = most(divide_up(a.rows, block_rows), least(wanted, divide_up(a.rows, 32)));
    if (blocks > threads) blocks = divide_up(blocks, threads) * threads;
    rows = divide_up(divide_up(a.rows, blocks), 8) * 8;
    blocks = divide_up(a.rows, rows);
    ranges = blocks >= wanted ? 1 : least(divide_up(wanted, blocks), most(1, least(a.columns, strip_columns) / 96));
  }

  // Columns of a range: whole register tiles.
  int64_t width_of_range(int64_t strip) const { return divide_up(divide_up(strip, ranges), 48) * 48; }
};

// Memory of a call, part by part.
struct parts {
  int64_t floats = 0;
  int64_t take(int64_t count) {
    int64_t begin = floats;
    floats += divide_up(count, 16) * 16;
    return begin;
  }
};

struct encoder {
  ik_context& context;
  const ik_sparse_encode_args& a;
  cut shares;
  bool rough;         // whether the product is rounded first
  int32_t type = 0;   // of the weight that is multiplied with
  search s{a, nullptr, nullptr, nullptr};
  const float* bias = nullptr;    // of the candidates
  row_list* lists = nullptr;      // [rows][ranges]; null: nothing is looked for
  float* packed = nullptr;        // a strip of directions as a weight
  int64_t strip_floats = 0;       // of it
  float* slots = nullptr;         // each thread's working space
  float *lengths = nullptr, *losses = nullptr;  // of the rows, if the product is rounded
  rounding error{nullptr, nullptr, nullptr};

  int64_t slot_floats() const {
    int64_t centred = a.offset == nullptr ? 0 : shares.rows * a.w.inner, piece = a.pre.data == nullptr ? shares.rows * strip_columns : 0;
    return divide_up(most(centred + piece, 32 * a.w.inner), 16) * 16;
  }

  // f(slot) on every thread, each with a slot of its own.
  template <class F>
  void on_threads(int64_t tasks, int64_t work, F f) const {
    int64_t workers = least(context.pool.threads(), tasks);
    parallel_for(context, workers, work, [&](int64_t worker) { f(slots + worker * slot_floats()); });
  }

  // f(task, slot) for every task.
  template <class F>
  void for_tasks(int64_t tasks, int64_t work, F f) const {
    std::atomic<int64_t> next{0};
    on_threads(tasks, work, [&](float* slot) {
      for (int64_t task = next++; task < tasks; task = next++) f(task, slot);
    });
  }

  // Candidates [c, c + 16) as [inner][16], in a memory of twice the size where they do not lie like that anyway. What is past the last
  // candidate means nothing.
  const float* panel_of(int64_t c, float* memory) const {
    int64_t inner = a.w.inner, count = least(16, a.columns - c);
    if (a.directions.data == nullptr) return static_cast<const float*>(a.w.data) + c * inner;
    const float* from = row(a.directions, c);
    int64_t stride = a.directions.stride;
    if (a.chosen != nullptr) {
      float* rows = memory + 16 * inner;
      for (int64_t i = 0; i < count; i++) std::copy_n(row(a.directions, a.chosen[c + i]), inner, rows + i * inner);
      from = rows, stride = inner;
    }
    for (int64_t k = 0; k < inner; k += 16) {
      alignas(64) float some[256], turned[256];
      int64_t left = inner - k;
      if (left >= 16) {
        transpose(from + k, stride, count, memory + k * 16);
        continue;
      }
      for (int64_t i = 0; i < count; i++) store(some + i * 16, load_some(from + i * stride + k, left));
      transpose(some, 16, count, turned);
      std::copy_n(turned, 16 * left, memory + k * 16);
    }
    return memory;
  }

  // Candidates [c, c + columns) as the weight that is multiplied with.
  void pack_strip(int64_t c, int64_t columns) const {
    int64_t inner = a.w.inner, panel_bytes = type == IK_BF16 ? divide_up(inner, group_size) * bf16_group_bytes : inner * 64;
    for_tasks(divide_up(columns, 16), columns * inner, [&](int64_t task, float* slot) {
      int64_t first = c + task * 16;
      char* to = reinterpret_cast<char*>(packed) + task * panel_bytes;
      const float* panel = panel_of(first, slot);
      if (type == IK_F32) {
        std::memcpy(to, panel, panel_bytes);
        return;
      }
      alignas(64) float squares[16], lost_squares[16];
      round_panel(panel, inner, to, rough ? squares : nullptr, lost_squares);
      for (int64_t i = 0; i < least(16, a.columns - first) && rough; i++) {
        error.set(first + i, inner, squares[i], lost_squares[i], bias, s.scale);
      }
    });
  }

  // Rows [r, r_end) of X, centred in memory if they are to be.
  ik_matrix rows_of_x(int64_t r, int64_t r_end, float* memory) const {
    if (a.offset == nullptr) return {row(a.x, r), a.x.stride};
    for (int64_t i = r; i < r_end; i++) {
      const float* x = row(a.x, i);
      float* to = memory + (i - r) * a.w.inner;
      for (int64_t k = 0; k < a.w.inner; k += 16) {
        int64_t left = a.w.inner - k;
        store_some(to + k, load_some(x + k, left) - load_some(a.offset + k, left), left);
      }
    }
    return {memory, a.w.inner};
  }

  // Rows [r, r_end) times columns [c, c_end), which begin at column c - first of the weight. False: a list is too long, or there is no memory.
  bool multiply(const ik_weight& w, int64_t first, int64_t c, int64_t c_end, int64_t r, int64_t r_end, int64_t range, float* memory) const {
    ik_context alone(1, context.kernels);
    ik_matmul_args product{};
    product.x = rows_of_x(r, r_end, memory), product.w = w, product.rows = r_end - r, product.inner = w.inner, product.scale = 1;
    if (a.offset != nullptr) memory += (r_end - r) * a.w.inner;
    int64_t columns = c_end - c;
    if (columns <= 0) return true;
    product.out = {memory, columns}, product.columns = columns, product.column_start = c - first;
    if (a.pre.data != nullptr) product.out = {row(a.pre, r) + c, a.pre.stride}, product.bias = bias == nullptr ? nullptr : bias + c;
    if (matmul(alone, product) != IK_OK) return false;
    for (int64_t i = r; i < r_end && lists != nullptr; i++) {
      const float* h = row(product.out, i - r);
      row_list& list = lists[i * shares.ranges + range];
      bool good = rough ? s.look_roughly(h, c, c_end, error, lengths[i], losses[i], list) : s.look(h, c, c_end, list);
      if (!good) return false;
    }
    return true;
  }

  // Columns [c, c + columns) of all rows.
  ik_status multiply_strip(int64_t c, int64_t columns) const {
    ik_weight w = a.w;
    int64_t first = 0;
    if (packed != nullptr) {
      w.data = packed, w.columns = columns, w.type = type, first = c;
      pack_strip(c, columns);
    }
    int64_t width = shares.width_of_range(columns), tasks = shares.blocks * shares.ranges;
    std::atomic<bool> good{true};
    for_tasks(tasks, (a.rows + 16) * columns * (a.w.inner + 16) / 16, [&](int64_t task, float* slot) {
      int64_t r = task / shares.ranges * shares.rows, range = task % shares.ranges;
      if (good && !multiply(w, first, c + least(columns, range * width), c + least(columns, (range + 1) * width), r,
                            least(a.rows, r + shares.rows), range, slot)) {
        good = false;
      }
    });
    return good ? IK_OK : IK_OUT_OF_MEMORY;
  }

  void measure_rows() const {
    for_tasks(shares.blocks, a.rows * a.w.inner, [&](int64_t block, float* slot) {
      int64_t r = block * shares.rows, r_end = least(a.rows, r + shares.rows);
      ik_matrix x = rows_of_x(r, r_end, slot);
      for (int64_t i = r; i < r_end; i++) rounding::measure_row(row(x, i - r), a.w.inner, lengths[i], losses[i]);
    });
  }

  // An entry of a row's list.
  struct pair {
    int32_t row, entry;
  };

  // Multiplies pairs of a panel as they are.
  void multiply_pairs(const float* panel, const pair* pairs, int64_t count) const {
    for (int64_t first = 0; first < count; first += 16) {
      const float* x[16];
      float* to[16];
      alignas(64) int32_t lane[16];
      alignas(64) float values[16];
      for (int64_t i = 0; i < 16; i++) {
        const pair& p = pairs[least(first + i, count - 1)];
        const row_list& list = lists[p.row * shares.ranges];
        x[i] = row(a.x, p.row), lane[i] = list.columns[p.entry] % 16, to[i] = list.values + p.entry;
      }
      IK_TARGET::multiply_pairs(panel, a.w.inner, a.offset, x, lane, values);
      for (int64_t i = 0; i < least(16, count - first); i++) *to[i] = values[i];
    }
  }

  // Gathers the candidates of each row in its first list. False: there is no memory.
  bool gather() const {
    std::atomic<bool> good{true};
    for_rows(context, a.rows, 64 * a.k, [&](int64_t from, int64_t to) {
      for (int64_t r = from; r < to; r++) {
        row_list* list = lists + r * shares.ranges;
        for (int64_t i = 1; i < shares.ranges; i++) {
          if (!list->merge(list[i], is_scored(a))) good = false;
          list[i].count = 0;
        }
        s.drop_beaten(*list, error, lengths[r], losses[r], 0);
      }
    });
    return good;
  }

  // Multiplies the candidates as they are, panel by panel, and keeps those above their thresholds.
  ik_status refine() const {
    if (!gather()) return IK_OUT_OF_MEMORY;
    int64_t panels = divide_up(a.columns, 16), total = found();
    std::unique_ptr<int64_t[]> next(new (std::nothrow) int64_t[panels + 1]());
    // The strips' memory is free now.
    bool fits = total * static_cast<int64_t>(sizeof(pair)) <= strip_floats * static_cast<int64_t>(sizeof(float));
    std::unique_ptr<pair[]> more(fits ? nullptr : new (std::nothrow) pair[total]);
    pair* pairs = fits ? reinterpret_cast<pair*>(packed) : more.get();
    if (next == nullptr || pairs == nullptr) return IK_OUT_OF_MEMORY;
    // next[p]: where the panel's next pair goes; afterwards where its last one ended.
    auto for_all = [&](auto f) {
      for (int64_t r = 0; r < a.rows; r++) {
        const row_list& list = lists[r * shares.ranges];
        for (int64_t i = 0; i < list.count; i++) f(r, list, i);
      }
    };
    for_all([&](int64_t, const row_list& list, int64_t i) { next[list.columns[i] / 16 + 1]++; });
    for (int64_t p = 0; p < panels; p++) next[p + 1] += next[p];
    for_all([&](int64_t r, const row_list& list, int64_t i) {
      pairs[next[list.columns[i] / 16]++] = {static_cast<int32_t>(r), static_cast<int32_t>(i)};
    });
    for_tasks(panels, total * a.w.inner, [&](int64_t p, float* slot) {
      int64_t first = p == 0 ? 0 : next[p - 1], end = next[p];
      if (first == end) return;
      multiply_pairs(panel_of(p * 16, slot), pairs + first, end - first);
    });
    for_rows(context, a.rows, 4 * a.k, [&](int64_t from, int64_t to) {
      for (int64_t r = from; r < to; r++) s.accept(lists[r * shares.ranges]);
    });
    return IK_OK;
  }

  int64_t found() const {
    int64_t total = 0;
    for (int64_t l = 0; l < a.rows * shares.ranges; l++) total += lists[l].count;
    return total;
  }

  // Of a whole batch.
  int64_t found_from(float bound, bool beyond) const {
    std::atomic<int64_t> total{0};
    for_rows(context, a.rows * shares.ranges, most(16, a.k / most(1, a.rows)), [&](int64_t from, int64_t to) {
      int64_t sum = 0;
      for (int64_t l = from; l < to; l++) sum += count_from(lists[l].scores, lists[l].count, bound, beyond);
      total += sum;
    });
    return total;
  }

  // Keeps the batch's k largest, or with slack perhaps a few more.
  void shrink_batch(int64_t slack) {
    s.bound = find_bound(a.k, slack, s.bound, [this](float x) { return found_from(x, false); });
    int64_t above = a.k + slack, equal = slack > 0 ? INT64_MAX : a.k - found_from(s.bound, true);
    for (int64_t l = 0; l < a.rows * shares.ranges; l++) lists[l].keep(s.bound, above, equal);
  }

  // Chooses among all that was found, and writes it.
  ik_status emit() {
    int64_t ranges = shares.ranges;
    std::atomic<bool> failed{false};
    for_rows(context, a.rows, 16 * a.k + 64, [&](int64_t from, int64_t to) {
      for (int64_t r = from; r < to; r++) {
        if (!s.finish(lists + r * ranges, rough ? 1 : ranges)) failed = true;
      }
    });
    if (failed) return IK_OUT_OF_MEMORY;
    if (a.selection == IK_BATCH_TOP_K && found() > a.k) shrink_batch(0);
    int64_t at = 0;
    for (int64_t r = 0; r < a.rows; r++) {
      at += lists[r * ranges].count;
      if (at > INT32_MAX) return IK_OUT_OF_MEMORY;
      a.row_pointers[r + 1] = static_cast<int32_t>(at);
    }
    if (at > a.capacity) return IK_OK;
    for_rows(context, a.rows, at / most(1, a.rows) + 1, [&](int64_t from, int64_t to) {
      for (int64_t r = from; r < to; r++) {
        const row_list& list = lists[r * ranges];
        std::copy_n(list.values, list.count, a.values + a.row_pointers[r]);
        for (int64_t i = 0, e = a.row_pointers[r]; i < list.count; i++, e++) {
          a.indices[e] = a.chosen == nullptr ? list.columns[i] : a.chosen[list.columns[i]];
        }
      }
    });
    return IK_OK;
  }

  ik_status run() {
    bool nothing = a.selection != IK_THRESHOLD && a.k == 0, fixed = !nothing && (is_top(a) || a.selection == IK_GROUP_MAX);
    int64_t width = least(strip_columns, divide_up(a.columns, 16) * 16), count = a.rows * shares.ranges;
    int64_t room = a.selection == IK_GROUP_MAX ? a.k : least(2 * a.k, a.columns) + 48;
    bool scored = is_scored(a);
    type = rough ? static_cast<int32_t>(IK_BF16) : a.w.type;
    parts memory;
    strip_floats = width * divide_up(a.w.inner, group_size) * group_size / (type == IK_F32 ? 1 : 2);
    bool packs = rough || a.directions.data != nullptr;
    int64_t strip = memory.take(packs ? strip_floats : 0);
    int64_t slot = memory.take(context.pool.threads() * slot_floats());
    int64_t picked = memory.take(a.chosen == nullptr ? 0 : 3 * (a.columns + 16));
    int64_t bounds = memory.take(rough ? 3 * a.columns + 2 * a.rows : 0), entries = memory.take(fixed ? count * row_list::floats(room, scored) : 0);
    float* data = call_scratch(memory.floats);
    std::unique_ptr<row_list[]> found(nothing ? nullptr : new (std::nothrow) row_list[count]);
    if (data == nullptr || (found == nullptr && !nothing)) return IK_OUT_OF_MEMORY;
    for (int64_t l = 0; l < count && fixed; l++) {
      found[l].use(data + entries + l * row_list::floats(room, scored), room, scored);
      if (a.selection == IK_GROUP_MAX) std::fill_n(found[l].columns, room, -1);
    }

    // Of chosen directions alone.
    auto pick = [&](const float* from) -> const float* {
      if (from == nullptr || a.chosen == nullptr) return from;
      float* to = data + picked;
      picked += a.columns;
      for (int64_t i = 0; i < a.columns; i++) to[i] = from[a.chosen[i]];
      return to;
    };
    bias = pick(a.bias), s.bias = a.pre.data == nullptr ? bias : nullptr, s.scale = pick(a.scale), s.threshold = pick(a.threshold);
    lists = found.get(), packed = packs ? data + strip : nullptr, slots = data + slot;
    error = {data + bounds, data + bounds + a.columns, data + bounds + 2 * a.columns};
    lengths = data + bounds + 3 * a.columns, losses = lengths + a.rows;
    if (rough) measure_rows();
    for (int64_t c = 0, columns; c < a.columns; c += columns) {
      columns = least(a.selection == IK_BATCH_TOP_K && c == 0 ? first_columns : width, a.columns - c);
      ik_status status = multiply_strip(c, columns);
      if (status != IK_OK) return status;
      // What a batch cannot need any more goes as soon as it is a burden.
      if (a.selection == IK_BATCH_TOP_K && !nothing && this->found() > most(2 * a.k, 1 << 17)) shrink_batch(a.k / 8 + 1);
    }
    if (nothing) return IK_OK;
    ik_status status = rough ? refine() : IK_OK;
    return status == IK_OK ? emit() : status;
  }
};

// Whether rounding first pays: BF16 products are those of another instruction set than this, and few entries of many are wanted.
bool pays(const ik_context& context, const ik_sparse_encode_args& a) {
  return is_top(a) && a.w.type == IK_F32 && a.pre.data == nullptr && context.kernels.bf16 != &bf16_product && a.rows >= 128 && a.k > 0 &&
         32 * a.k <= a.columns && a.w.inner >= 64;
}

}  // namespace

ik_status sparse_encode(ik_context& context, const ik_sparse_encode_args& a) {
  std::memset(a.row_pointers, 0, (a.rows + 1) * sizeof(int32_t));
  bool nothing = a.selection != IK_THRESHOLD && a.k == 0;
  if (a.rows == 0 || a.columns == 0 || (nothing && a.pre.data == nullptr)) return IK_OK;
  for (int64_t i = 0; a.chosen != nullptr && i < a.columns; i++) {
    if (a.chosen[i] < 0 || a.chosen[i] >= a.direction_rows) return IK_INDEX_OUT_OF_RANGE;
  }
  cut shares(a, context.pool.threads());
  // Where the rounded product leaves too many candidates, it is made as it is.
  ik_status status = pays(context, a) ? encoder{context, a, shares, true}.run() : IK_OUT_OF_MEMORY;
  if (status != IK_OK) status = encoder{context, a, shares, false}.run();
  rest_call_scratch();
  return status;
}

}  // namespace ik::IK_TARGET
