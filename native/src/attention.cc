// Attention. One task is one sequence, one kv head and a block of queries with all heads that share it: its
// rows. The scores of all rows stay in the second-level cache: computed from keys that are transposed, 16 at
// a time, into panels; turned into the pattern; multiplied with the values. Panels count from the sequence's
// first real key.
#include "tile.h"

namespace ik::IK_TARGET {
namespace {

// Keys [from, to).
struct span {
  int64_t from, to;

  bool empty() const { return from >= to; }
};

// The keys that query i of sequence b sees.
span visible(const ik_attention_args& a, int64_t b, int64_t i) {
  int64_t first = most(0, least(a.keys, a.spans[2 * b])),
          end = most(first, least(a.keys, a.spans[2 * b + 1]));
  int64_t position = i + a.keys - a.queries;
  if (position < first || position >= end) return {first, first};
  int64_t reach = a.window > 0 ? a.window : a.keys;
  return {most(first, position - reach + 1), a.causal != 0 ? position + 1 : least(end, position + reach)};
}

// Rows of one task: head g of group_size at query i is row (i - query) * group_size + g.
struct block {
  const ik_attention_args& a;
  int64_t batch, kv_head, query, rows, group_size;
  int64_t first;      // the sequence's first real key
  int64_t base, end;  // keys that some row sees, from the panel on that holds the first of them
  int64_t width;      // floats from one row of scores to the next
  float* scores;      // [rows, width]: column j is key base + j
  float* queries;     // [rows, head size]
  float* panels;      // [panels of a tile][head size][16]: transposed keys
  span* sees;         // [rows], relative to base

  int64_t head(int64_t r) const { return kv_head * group_size + r % group_size; }
  int64_t position(int64_t r) const { return query + r / group_size; }

  // Row r of a tensor [batch, queries, heads, n], and of one [batch, heads, queries, keys].
  int64_t token_row(int64_t r) const { return (batch * a.queries + position(r)) * a.heads + head(r); }
  int64_t square_row(int64_t r) const { return (batch * a.heads + head(r)) * a.queries + position(r); }
};

// Keys [key, key + 16) as panel[c * 16 + key]; behind `end` the last one is repeated.
void transpose_keys(const block& t, int64_t key, float* panel) {
  int64_t size = t.a.head_size, stride = t.a.kv_heads * size, count = least(16, t.end - key);
  const float* k = t.a.k + ((t.batch * t.a.capacity + key) * t.a.kv_heads + t.kv_head) * size;
  transpose_rows(k, stride, count, size, panel);
}

// What rows [from, to) see, taken together.
span seen_by(const block& t, int64_t from, int64_t to) {
  span all{t.width, 0};
  for (int64_t r = from; r < to; r++) {
    if (t.sees[r].empty()) continue;
    all = {least(all.from, t.sees[r].from), most(all.to, t.sees[r].to)};
  }
  return all;
}

// Scores of row r from its dot products with the panel of keys that begins `distance` after the first real
// key.
v16 finish_scores(const block& t, int64_t r, int64_t distance, v16 dots) {
  static const float lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  v16 s = dots * splat(t.a.scale);
  if (t.a.soft_cap > 0) s = splat(t.a.soft_cap) * tanh(s / splat(t.a.soft_cap));
  if (t.a.slopes == nullptr) return s;
  return fma(splat(t.a.slopes[t.head(r)]), splat(static_cast<float>(distance)) + load(lane), s);
}

// Scores of whole panels; what a row does not see is ignored later.
void compute_scores(const block& t) {
  int64_t size = t.a.head_size;
  row_tiles tiles(t.rows);
  int64_t tallest = divide_up(t.rows, tiles.count);
  for (int64_t r = 0; r < t.rows; r++) {
    std::memcpy(t.queries + r * size, t.a.q + t.token_row(r) * size, size * sizeof(float));
  }

  alignas(64) float acc[largest_tile];
  for (int64_t key = t.base, panels; key < t.end; key += panels * 16) {
    panels = next_panels(tallest, divide_up(t.end - key, 16));
    for (int64_t p = 0; p < panels; p++) transpose_keys(t, key + p * 16, t.panels + p * size * 16);
    int64_t column = key - t.base;
    for (int64_t i = 0; i < tiles.count; i++) {
      int64_t row = tiles.begin(i), rows = tiles.begin(i + 1) - row;
      span needed = seen_by(t, row, row + rows);
      if (needed.to <= column || needed.from >= column + panels * 16) continue;
      for (int64_t j = 0; j < rows * panels; j++) store(acc + j * 16, zero());
      product p{t.queries + row * size, size, t.panels, 16, size * 16, size};
      find_tile(rows, panels, tile_kind::plain)(p, acc, m16{});
      for (int64_t j = 0; j < rows * panels; j++) {
        int64_t r = row + j / panels, c = column + j % panels * 16;
        store(t.scores + r * t.width + c, finish_scores(t, r, t.base - t.first + c, load(acc + j * 16)));
      }
    }
  }
}

// Copies what row r sees of a given tensor.
void read_row(const block& t, int64_t r, const float* squares) {
  span s = t.sees[r];
  if (s.empty()) return;
  const float* from = squares + t.square_row(r) * t.a.keys + t.base;
  std::memcpy(t.scores + r * t.width + s.from, from + s.from, (s.to - s.from) * sizeof(float));
}

// Stores what row r sees, and `unseen` elsewhere.
void write_row(const block& t, int64_t r, float* squares, float unseen) {
  float* to = squares + t.square_row(r) * t.a.keys;
  span s = t.sees[r].empty() ? span{0, 0} : span{t.sees[r].from + t.base, t.sees[r].to + t.base};
  for (int64_t j = 0; j < s.from; j += 16) store_some(to + j, splat(unseen), s.from - j);
  std::memcpy(to + s.from, t.scores + r * t.width + s.from - t.base, (s.to - s.from) * sizeof(float));
  for (int64_t j = s.to; j < t.a.keys; j += 16) store_some(to + j, splat(unseen), t.a.keys - j);
}

// One row of scores becomes one of the pattern, in place. Panels count from the first real key, so lanes do
// too. A sink is one more score of the row that gets no weight.
void softmax(float* x, span s, const float* sink) {
  if (s.empty()) return;
  int64_t begin = s.from / 16 * 16;
  auto inside = [&](int64_t j) { return lanes(most(0, s.from - j), least(16, s.to - j)); };
  auto whole = [&](int64_t j) { return j >= s.from && j + 16 <= s.to; };

  v16 m = splat(sink == nullptr ? -infinity : *sink);
  for (int64_t j = begin; j < s.to; j += 16) {
    m = max(m, whole(j) ? load(x + j) : select(inside(j), load(x + j), splat(-infinity)));
  }
  v16 top = splat(largest(m)), total = zero();
  for (int64_t j = begin; j < s.to; j += 16) {
    v16 e = exp(load(x + j) - top);
    if (!whole(j)) e = select(inside(j), e, zero());
    store(x + j, e);
    total = total + e;
  }
  v16 divisor = splat(sum(total));
  if (sink != nullptr) divisor = divisor + exp(splat(*sink) - top);
  for (int64_t j = begin; j < s.to; j += 16) store(x + j, load(x + j) / divisor);
}

// Rows [row, row + rows) of z. The keys that all of them see are one product; the few that only some see,
// before and after, are added row by row, so that no row touches a key that it does not see.
void multiply_values(const block& t, int64_t row, int64_t rows) {
  const ik_attention_args& a = t.a;
  span common{0, t.width};
  for (int64_t r = row; r < row + rows; r++) {
    common = {most(common.from, t.sees[r].from), least(common.to, t.sees[r].to)};
    if (t.sees[r].empty()) common.to = 0;
  }
  if (common.empty()) common = {t.width, t.width};  // all keys come before it

  int64_t stride = a.kv_heads * a.value_size, whole = a.value_size / 16, all = divide_up(a.value_size, 16);
  const float* v = a.v + ((t.batch * a.capacity + t.base) * a.kv_heads + t.kv_head) * a.value_size;
  m16 tail = lanes(0, a.value_size % 16);
  alignas(64) float acc[largest_tile];
  for (int64_t panel = 0, panels; panel < all; panel += panels) {
    bool masked = panel == whole;
    panels = masked ? 1 : next_panels(rows, whole - panel);
    for (int64_t j = 0; j < rows * panels; j++) store(acc + j * 16, zero());
    auto add = [&](int64_t r, int64_t count, span s) {
      if (s.empty()) return;
      product p{t.scores + r * t.width + s.from,
                t.width,
                v + s.from * stride + panel * 16,
                stride,
                16,
                s.to - s.from};
      find_tile(count, panels, masked ? tile_kind::masked : tile_kind::plain)(
          p, acc + (r - row) * panels * 16, tail);
    };
    for (int64_t r = row; r < row + rows; r++) add(r, 1, {t.sees[r].from, least(t.sees[r].to, common.from)});
    add(row, rows, common);
    for (int64_t r = row; r < row + rows; r++) add(r, 1, {most(t.sees[r].from, common.to), t.sees[r].to});
    for (int64_t j = 0; j < rows * panels; j++) {
      int64_t c = (panel + j % panels) * 16;
      store_some(a.z + t.token_row(row + j / panels) * a.value_size + c, load(acc + j * 16),
                 a.value_size - c);
    }
  }
}

void attend(const block& t) {
  const ik_attention_args& a = t.a;
  if (a.scores != nullptr || a.given_pattern == nullptr) {
    if (a.given_scores == nullptr) compute_scores(t);
    for (int64_t r = 0; r < t.rows; r++) {
      if (a.given_scores != nullptr) read_row(t, r, a.given_scores);
      if (a.scores != nullptr) write_row(t, r, a.scores, -infinity);
    }
  }
  if (a.pattern == nullptr && a.z == nullptr) return;
  for (int64_t r = 0; r < t.rows; r++) {
    if (a.given_pattern != nullptr) {
      read_row(t, r, a.given_pattern);
    } else {
      softmax(t.scores + r * t.width, t.sees[r], a.sinks == nullptr ? nullptr : a.sinks + t.head(r));
    }
    if (a.pattern != nullptr) write_row(t, r, a.pattern, 0.0f);
  }
  if (a.z == nullptr) return;
  row_tiles tiles(t.rows);
  for (int64_t i = 0; i < tiles.count; i++)
    multiply_values(t, tiles.begin(i), tiles.begin(i + 1) - tiles.begin(i));
}

// Queries [query, query_end) of one sequence and kv head; false where there is no memory.
bool attend(const ik_attention_args& a, int64_t batch, int64_t kv_head, int64_t query, int64_t query_end) {
  int64_t group_size = a.heads / a.kv_heads, rows = (query_end - query) * group_size;
  int64_t first = most(0, least(a.keys, a.spans[2 * batch])), base = a.keys, end = 0;
  for (int64_t i = query; i < query_end; i++) {
    span s = visible(a, batch, i);
    if (s.empty()) continue;
    base = least(base, s.from);
    end = most(end, s.to);
  }
  base = end == 0 ? first : first + (base - first) / 16 * 16;
  end = most(base, end);

  // An odd number of cache lines, so that the rows of a tile do not compete for the same cache sets.
  int64_t width = divide_up(end - base, 16) * 16;
  if (width % 32 == 0) width += 16;
  int64_t panel_floats = 4 * a.head_size * 16, query_floats = divide_up(rows * a.head_size, 16) * 16;
  int64_t span_floats = rows * static_cast<int64_t>(sizeof(span) / sizeof(float));
  float* memory = thread_scratch(rows * width + panel_floats + query_floats + span_floats);
  if (memory == nullptr) return false;
  block t{a,    batch, kv_head, query,  rows,    group_size, first,
          base, end,   width,   memory, nullptr, nullptr,    nullptr};
  t.panels = t.scores + rows * width;
  t.queries = t.panels + panel_floats;
  t.sees = reinterpret_cast<span*>(t.queries + query_floats);
  for (int64_t r = 0; r < rows; r++) {
    span s = visible(a, batch, t.position(r));
    t.sees[r] = s.empty() ? span{0, 0} : span{s.from - base, s.to - base};
  }
  attend(t);
  return true;
}

constexpr int64_t score_floats =
    192 << 10;  // of one task: what the second-level cache holds beside keys and values
constexpr int64_t most_rows = 128;

}  // namespace

ik_status attention(ik_context& context, const ik_attention_args& a) {
  if (a.batch == 0 || a.queries == 0 || a.heads == 0) return IK_OK;
  int64_t group_size = a.heads / a.kv_heads;
  int64_t rows = most(max_tile_rows, least(most_rows, score_floats / (a.keys + 16)));
  int64_t step = most(1, least(a.queries, rows / group_size));
  auto tasks_of = [&](int64_t n) { return a.batch * a.kv_heads * divide_up(a.queries, n); };
  while (step * group_size > 2 * max_tile_rows && tasks_of(step) < 4 * context.pool.threads())
    step = divide_up(step, 2);

  int64_t steps = divide_up(a.queries, step);
  int64_t work = a.batch * a.heads * a.queries * a.keys * (a.head_size + a.value_size + 16) / 16;
  std::atomic<bool> failed{false};
  parallel_for(context, tasks_of(step), work, [&](int64_t task) {
    int64_t pair = task / steps, query = (steps - 1 - task % steps) * step;  // the longest rows first
    if (!attend(a, pair / a.kv_heads, pair % a.kv_heads, query, least(a.queries, query + step)))
      failed = true;
  });
  return failed ? IK_OUT_OF_MEMORY : IK_OK;
}

}  // namespace ik::IK_TARGET
