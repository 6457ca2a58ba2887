// Products of which few entries are kept: the encoder of a sparse dictionary.
//
// A strip of columns is multiplied with all rows before the next one comes. Threads share a strip by blocks of rows (where rows are few, by
// ranges of columns too): a thread multiplies a piece that stays in its own cache, looks through it and keeps what may survive in a list of
// the row. All entries of a row differ, by score or else by column: who looked at what, and when, never shows.
#include <atomic>

#include "row_list.h"

namespace ik::IK_TARGET {
namespace {

constexpr int64_t strip_columns = 1536, piece_columns = 768;  // whole register tiles, of 3 panels
constexpr int64_t block_rows = 128;                           // a piece of them: 384 KB of a second-level cache
constexpr int64_t first_columns = 96;                         // of a batch: enough for a first bound

bool is_top(const ik_sparse_encode_args& a) { return a.selection == IK_TOP_K || a.selection == IK_TOP_MAGNITUDE; }
bool is_scored(const ik_sparse_encode_args& a) { return a.scale != nullptr || a.selection == IK_TOP_MAGNITUDE; }

// The search through the rows of one call.
struct search {
  const ik_sparse_encode_args& a;
  const float *bias, *scale, *threshold;  // of the candidates; bias: what is still to be added
  float bound = -infinity;                // of a whole batch: no score below it can be among the largest

  // f(column, score, value) for the entries of columns [c, end) that may survive a bar: few, but for the first columns of a row.
  template <class F>
  void for_candidates(const float* h, int64_t c, int64_t end, const float& bar, const bool& beyond, F f) const {
    bool absolute = a.selection == IK_TOP_MAGNITUDE;
    auto value = [&](int64_t i, int64_t left) {
      v16 v = load_some(h + i, left);
      return bias == nullptr ? v : v + load_some(bias + c + i, left);
    };
    auto score = [&](v16 v, int64_t i, int64_t left) { return scale == nullptr ? v : v * load_some(scale + c + i, left); };
    auto above = [&](v16 s) {
      v16 size = absolute ? abs(s) : s, limit = splat(bar);
      return beyond ? bits(not_less_equal(size, limit)) : ~bits(less(size, limit));
    };
    int64_t count = end - c;
    for (int64_t i = 0; i < count; i += 16) {
      // Four vectors at once, as long as nothing is found.
      for (; beyond && i + 64 <= count; i += 64) {
        uint32_t found = 0;
        for (int64_t j = i; j < i + 64; j += 16) found |= above(score(value(j, 16), j, 16));
        if ((found & 0xffffu) != 0) break;
      }
      int64_t left = count - i;
      if (left <= 0) return;
      v16 v = value(i, left), s = score(v, i, left);
      uint32_t found = above(s) & (left < 16 ? (1u << left) - 1 : 0xffffu);
      if (found == 0) continue;
      found &= bits(not_less_equal(s, threshold == nullptr ? splat(-infinity) : load_some(threshold + c + i, left)));
      alignas(64) float scores[16], values[16];
      store(scores, absolute ? abs(s) : s);
      store(values, v);
      for (; found != 0; found &= found - 1) {
        int lane = __builtin_ctz(found);
        if (!f(c + i + lane, scores[lane], values[lane])) return;
      }
    }
  }

  // Looks through columns [c, end) of a row.
  bool look(const float* h, int64_t c, int64_t end, row_list& list) const {
    bool enough = true;
    if (is_top(a)) {
      for_candidates(h, c, end, list.bar, list.beyond, [&](int64_t column, float score, float value) {
        list.put(list.count++, column, score, value);
        if (list.is_full()) list.shrink(a.k, a.k / 8);
        return true;
      });
    } else if (a.selection == IK_GROUP_MAX) {
      int64_t size = a.columns / a.k;
      for_candidates(h, c, end, list.bar, list.beyond, [&](int64_t column, float score, float value) {
        offer(list, column / size, column, score, value);
        return true;
      });
    } else {
      bool scored = is_scored(a);
      for_candidates(h, c, end, bound, list.beyond, [&](int64_t column, float score, float value) {
        if (list.is_full()) enough = list.reserve(most(32, 2 * list.count), scored);
        if (enough) list.put(list.count++, column, score, value);
        return enough;
      });
    }
    return enough;
  }

  // The largest of a group; -1 where there is none.
  static void offer(row_list& list, int64_t group, int64_t column, float score, float value) {
    int64_t best = list.columns[group];
    if (best < 0 || key_of(score, column) > key_of(list.scores[group], best)) list.put(group, column, score, value);
  }

  // Gathers what was found of a row in all ranges in the first list.
  bool finish(row_list* ranges, int64_t count) const {
    row_list& list = ranges[0];
    for (int64_t r = 1; r < count; r++) {
      if (a.selection != IK_GROUP_MAX) {
        if (!list.merge(ranges[r], is_scored(a))) return false;
        ranges[r].count = 0;
        continue;
      }
      for (int64_t g = 0; g < a.k; g++) {
        if (ranges[r].columns[g] >= 0) offer(list, g, ranges[r].columns[g], ranges[r].scores[g], ranges[r].values[g]);
      }
    }
    if (is_top(a)) list.shrink(a.k, 0);
    if (a.selection != IK_GROUP_MAX) return true;
    list.count = 0;
    for (int64_t g = 0; g < a.k; g++) {
      if (list.columns[g] >= 0) list.put(list.count++, list.columns[g], list.scores[g], list.values[g]);
    }
    return true;
  }
};

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

struct encoder {
  ik_context& context;
  const ik_sparse_encode_args& a;
  cut shares;
  const float* bias;      // of the candidates
  row_list* lists;        // [rows][ranges]; null: nothing is looked for
  float *packed, *slots;  // a strip of directions as a weight; each thread's working space
  search s;

  static int64_t slot_floats(const ik_sparse_encode_args& a, const cut& c) {
    int64_t centred = a.offset == nullptr ? 0 : c.rows * a.w.inner, piece = a.pre.data == nullptr ? c.rows * piece_columns : 0;
    return divide_up(centred + piece, 16) * 16;
  }

  // Directions [c, c + columns) as a weight.
  ik_status pack_strip(const ik_weight& strip, int64_t c) const {
    std::atomic<bool> failed{false};
    parallel_for(context, divide_up(strip.columns, 16), strip.columns * strip.inner, [&](int64_t panel) {
      int64_t first = c + panel * 16, columns = least(16, c + strip.columns - first), stride = a.directions.stride;
      const float* from = row(a.directions, first);
      if (a.chosen != nullptr) {
        float* rows = thread_scratch(16 * strip.inner);
        if (rows == nullptr) {
          failed = true;
          return;
        }
        for (int64_t i = 0; i < columns; i++) std::copy_n(row(a.directions, a.chosen[first + i]), strip.inner, rows + i * strip.inner);
        from = rows, stride = strip.inner;
      }
      // What the weight has beyond the last k is zeros.
      int64_t groups = divide_up(strip.inner, group_size);
      if (strip.type == IK_BF16 && strip.inner % group_size != 0) {
        std::memset(static_cast<char*>(strip.data) + ((panel + 1) * groups - 1) * bf16_group_bytes, 0, bf16_group_bytes);
      }
      ik_pack_args args{};
      args.source = from, args.weight = strip, args.inner = strip.inner, args.columns = columns;
      args.inner_stride = 1, args.column_stride = stride, args.column_start = panel * 16, args.type = IK_F32;
      ik_context alone(1, context.kernels);
      pack(alone, args);
    });
    return failed ? IK_OUT_OF_MEMORY : IK_OK;
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

  // Rows [r, r_end) times columns [c, c_end), which begin at column c - first of the weight.
  ik_status multiply(const ik_weight& w, int64_t first, int64_t c, int64_t c_end, int64_t r, int64_t r_end, int64_t range, float* memory) const {
    ik_context alone(1, context.kernels);
    ik_matmul_args product{};
    product.x = rows_of_x(r, r_end, memory), product.w = w, product.rows = r_end - r, product.inner = w.inner, product.scale = 1;
    if (a.offset != nullptr) memory += (r_end - r) * a.w.inner;
    for (; c < c_end; c += piece_columns) {
      int64_t columns = least(piece_columns, c_end - c);
      product.out = {memory, columns}, product.columns = columns, product.column_start = c - first;
      if (a.pre.data != nullptr) product.out = {row(a.pre, r) + c, a.pre.stride}, product.bias = bias == nullptr ? nullptr : bias + c;
      ik_status status = matmul(alone, product);
      if (status != IK_OK) return status;
      for (int64_t i = r; i < r_end && lists != nullptr; i++) {
        if (!s.look(row(product.out, i - r), c, c + columns, lists[i * shares.ranges + range])) return IK_OUT_OF_MEMORY;
      }
    }
    return IK_OK;
  }

  // Columns [c, c + columns) of all rows.
  ik_status multiply_strip(int64_t c, int64_t columns) const {
    ik_weight w = a.w;
    int64_t first = 0;
    if (a.directions.data != nullptr) {
      w.data = packed, w.columns = columns, first = c;
      ik_status status = pack_strip(w, c);
      if (status != IK_OK) return status;
    }
    int64_t width = shares.width_of_range(columns), tasks = shares.blocks * shares.ranges, workers = least(context.pool.threads(), tasks);
    std::atomic<int64_t> next{0};
    std::atomic<int32_t> result{IK_OK};
    parallel_for(context, workers, (a.rows + 16) * columns * (a.w.inner + 16) / 16, [&](int64_t worker) {
      for (int64_t task = next++; task < tasks; task = next++) {
        int64_t r = task / shares.ranges * shares.rows, range = task % shares.ranges;
        ik_status status = multiply(w, first, c + least(columns, range * width), c + least(columns, (range + 1) * width), r,
                                    least(a.rows, r + shares.rows), range, slots + worker * slot_floats(a, shares));
        if (status != IK_OK) result = status;
      }
    });
    return static_cast<ik_status>(result.load());
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
        if (!s.finish(lists + r * ranges, ranges)) failed = true;
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

}  // namespace

ik_status sparse_encode(ik_context& context, const ik_sparse_encode_args& a) {
  std::memset(a.row_pointers, 0, (a.rows + 1) * sizeof(int32_t));
  bool nothing = a.selection != IK_THRESHOLD && a.k == 0, fixed = !nothing && (is_top(a) || a.selection == IK_GROUP_MAX);
  if (a.rows == 0 || a.columns == 0 || (nothing && a.pre.data == nullptr)) return IK_OK;
  for (int64_t i = 0; a.chosen != nullptr && i < a.columns; i++) {
    if (a.chosen[i] < 0 || a.chosen[i] >= a.direction_rows) return IK_INDEX_OUT_OF_RANGE;
  }

  cut shares(a, context.pool.threads());
  int64_t width = least(strip_columns, divide_up(a.columns, 16) * 16), count = a.rows * shares.ranges;
  int64_t room = a.selection == IK_GROUP_MAX ? a.k : least(2 * a.k + 32, a.columns), list_floats = row_list::floats(room, is_scored(a));
  parts memory;
  int64_t packed = memory.take(a.directions.data == nullptr ? 0 : width * divide_up(a.w.inner, 32) * 32);
  int64_t slots = memory.take(context.pool.threads() * encoder::slot_floats(a, shares));
  int64_t picked = memory.take(a.chosen == nullptr ? 0 : 3 * (a.columns + 16)), entries = memory.take(fixed ? count * list_floats : 0);
  float* data = call_scratch(memory.floats);
  std::unique_ptr<row_list[]> lists(nothing ? nullptr : new (std::nothrow) row_list[count]);
  if (data == nullptr || (lists == nullptr && !nothing)) return IK_OUT_OF_MEMORY;
  for (int64_t l = 0; l < count && fixed; l++) {
    lists[l].use(data + entries + l * list_floats, room, is_scored(a));
    if (a.selection == IK_GROUP_MAX) std::fill_n(lists[l].columns, room, -1);
  }

  // Of chosen directions alone.
  auto pick = [&](const float* from) -> const float* {
    if (from == nullptr || a.chosen == nullptr) return from;
    float* to = data + picked;
    picked += a.columns;
    for (int64_t i = 0; i < a.columns; i++) to[i] = from[a.chosen[i]];
    return to;
  };
  const float* bias = pick(a.bias);
  search s{a, a.pre.data == nullptr ? bias : nullptr, pick(a.scale), pick(a.threshold)};
  encoder e{context, a, shares, bias, lists.get(), data + packed, data + slots, s};
  for (int64_t c = 0, columns; c < a.columns; c += columns) {
    columns = least(a.selection == IK_BATCH_TOP_K && c == 0 ? first_columns : width, a.columns - c);
    ik_status status = e.multiply_strip(c, columns);
    if (status != IK_OK) return status;
    // What a batch cannot need any more goes as soon as it is a burden.
    if (a.selection == IK_BATCH_TOP_K && !nothing && e.found() > most(2 * a.k, 1 << 17)) e.shrink_batch(a.k / 8 + 1);
  }
  return nothing ? IK_OK : e.emit();
}

}  // namespace ik::IK_TARGET
