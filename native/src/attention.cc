// Attention. The keys and values of one sequence and kv head are cut into chunks, counted from the first real
// key: keys transposed into panels of 16, values as panels of 16 columns. One task is a block of queries with
// all heads that share these keys: its rows. All scores of a block stay in the second-level cache and are
// gone through three times: made from Q and K, turned into exponentials, divided by their sum and multiplied
// with V. Blocks and chunks change no bits: every sum runs over the keys in order, lanes counted from the
// first real one.
#include "attention_tile.h"

namespace ik::IK_TARGET {
namespace {

constexpr int64_t chunk = 128;  // keys

// Keys [from, to), counted from the sequence's first real one.
struct span {
  int64_t from, to;

  bool empty() const { return from >= to; }
  span within(span s) const { return {most(from, s.from), least(to, s.to)}; }
};

// f(j, mask) for the vectors that hold a span; no mask (std::nullptr_t) where all lanes are inside.
template <class F>
IK_INLINE void for_vectors(span s, F f) {
  int64_t j = s.from / 16 * 16;
  if (j < s.from && j < s.to) {
    f(j, lanes(s.from - j, least(16, s.to - j)));
    j += 16;
  }
#pragma GCC unroll 4
  for (; j + 16 <= s.to; j += 16) f(j, nullptr);
  if (j < s.to) f(j, lanes(0, s.to - j));
}

IK_INLINE v16 choose(std::nullptr_t, v16 yes, v16) { return yes; }
IK_INLINE v16 choose(m16 mask, v16 yes, v16 no) { return select(mask, yes, no); }

// Up to 16 rows as a panel: to[k * 16 + r] = from[r * stride + k]. The lanes of missing rows are of no
// meaning.
void transpose_rows(const float* from, int64_t stride, int64_t rows, int64_t length, float* to) {
  int64_t whole = length / 16 * 16;
  for (int64_t k = 0; k < whole; k += 16) transpose(from + k, stride, rows, to + k * 16);
  for (int64_t k = whole; k < length; k++) {
    for (int64_t r = 0; r < 16; r++) to[k * 16 + r] = from[(r < rows ? r : rows - 1) * stride + k];
  }
}

// Keys and values of one sequence.
struct source {
  const ik_attention_args& a;
  int64_t batch, first, count;

  source(const ik_attention_args& args, int64_t sequence) : a(args), batch(sequence) {
    first = most(0, least(a.keys, a.spans[2 * batch]));
    count = most(0, least(a.keys, a.spans[2 * batch + 1]) - first);
  }

  // What query i sees.
  span seen(int64_t i) const {
    int64_t position = i + a.keys - a.queries - first, reach = a.window > 0 ? a.window : a.keys;
    if (position < 0 || position >= count) return {0, 0};
    return {most(0, position - reach + 1), a.causal != 0 ? position + 1 : least(count, position + reach)};
  }

  // [panels][head size][16]. Behind the last key, that one is repeated.
  void pack_keys(int64_t kv_head, span s, float* panels) const {
    int64_t size = a.head_size, stride = a.kv_heads * size;
    const float* k = a.k + (batch * a.capacity + first) * stride + kv_head * size;
    for (int64_t j = s.from; j < s.to; j += 16, panels += size * 16)
      transpose_rows(k + j * stride, stride, least(16, s.to - j), size, panels);
  }

  // [heads][panels][chunk][16]
  void pack_values(int64_t kv_head, int64_t heads, span s, float* panels) const {
    int64_t size = a.value_size, stride = a.kv_heads * size, padded = divide_up(size, 16) * 16;
    const float* v = a.v + (batch * a.capacity + first) * stride + kv_head * size;
    for (int64_t j = s.from; j < s.to; j++) {
      const float* row = v + j * stride;
      float* to = panels + (j - s.from) * 16;
      for (int64_t h = 0; h < heads; h++, row += size, to += padded * chunk) {
        for (int64_t c = 0; c < size; c += 16) store(to + c * chunk, load_some(row + c, size - c));
      }
    }
  }
};

int64_t value_panels(const ik_attention_args& a) { return divide_up(a.value_size, 16); }
int64_t key_floats(const ik_attention_args& a) { return chunk * a.head_size; }  // of one packed chunk
int64_t value_floats(const ik_attention_args& a) { return chunk * value_panels(a) * 16; }

// A part of a block: keys of one chunk that some row sees, from the chunk's first on.
struct part {
  span keys;
  float* scores;  // [rows][chunk]
};

// A query of a head, and what it sees.
struct line {
  int64_t head, query;
  span sees;
};

// Rows [begin, end) of one kv head that make up a register tile, and the keys that some of them see, or all.
struct row_tile {
  int64_t begin, end;
  span some, all;
};

// What one task computes: some queries with all heads that share some kv heads. Head g of kv head h at query
// i is row ((h - kv_head) * queries + i - query) * group_size + g.
struct block {
  const source& of;
  const ik_attention_args& a;
  int64_t kv_head, kv_heads, query, queries, group_size;
  int64_t rows, tile_count;  // tiles of one kv head
  span keys;                 // that some row sees
  const float* packed_keys;  // of chunk 0; null: packed as they are needed
  const float* packed_values;
  float* scores;  // [chunks from that of keys.from on][rows][chunk]
  float* q;       // [rows][head size]
  float* panels;  // [panels of a tile][head size][16] or [kv heads][value panels][chunk][16]
  float* maxima;  // [rows][16]
  float* totals;  // [rows][16]
  float* z;       // [rows][value panels][16]
  line* lines;    // [rows]
  row_tile* tiles;

  int64_t tallest() const { return divide_up(queries * group_size, tile_count); }

  // Row r of a tensor [batch, queries, heads, n], and of one [batch, heads, queries, keys].
  int64_t token_row(int64_t r) const {
    return (of.batch * a.queries + lines[r].query) * a.heads + lines[r].head;
  }
  int64_t square_row(int64_t r) const {
    return (of.batch * a.heads + lines[r].head) * a.queries + lines[r].query;
  }

  template <class F>
  void for_parts(F f) const {
    float* at = scores;
    for (int64_t j = keys.from / chunk * chunk; j < keys.to; j += chunk, at += rows * chunk)
      f(part{{j, least(j + chunk, keys.to)}, at});
  }
};

// Dot products of queries and keys, whole panels; those that a row does not see are ignored later.
void multiply_keys(const block& t, const part& s) {
  int64_t size = t.a.head_size;
  for (int64_t key = s.keys.from, panels; key < s.keys.to; key += panels * 16) {
    panels = next_attention_panels(t.tallest(), divide_up(s.keys.to - key, 16));
    span wanted{key, least(key + panels * 16, s.keys.to)};
    for (int64_t i = 0, of_head = 0; i < t.kv_heads * t.tile_count; i++, of_head++) {
      const row_tile& tile = t.tiles[i];
      if (of_head == t.tile_count) of_head = 0;
      if (t.packed_keys == nullptr && of_head == 0)
        t.of.pack_keys(t.lines[tile.begin].head / t.group_size, wanted, t.panels);
      span needed = tile.some.within(wanted);
      if (needed.empty()) continue;
      int64_t rows = tile.end - tile.begin;
      int64_t width = panels > 1 && needed.to <= key + panels * 8 ? panels / 2 : panels;
      const float* keys = t.packed_keys == nullptr ? t.panels : t.packed_keys + key * size;
      const float* next =
          t.packed_keys != nullptr && of_head < panels ? keys + (panels + of_head) * size * 16 : keys;
      find_attention_tile<false>(
          rows, width)({t.q + tile.begin * size, size, keys, size * 16,
                        s.scores + tile.begin * chunk + key - s.keys.from, chunk, &size, next});
    }
  }
}

// Copies what row r sees of a given tensor.
void read_row(const block& t, const part& s, int64_t r, const float* squares) {
  span seen = s.keys.within(t.lines[r].sees);
  if (seen.empty()) return;
  std::memcpy(s.scores + r * chunk + seen.from - s.keys.from,
              squares + t.square_row(r) * t.a.keys + t.of.first + seen.from,
              (seen.to - seen.from) * sizeof(float));
}

// Stores what row r sees, and `unseen` in the rest of the part.
void write_row(const block& t, const part& s, int64_t r, float* squares, float unseen) {
  float* to = squares + t.square_row(r) * t.a.keys + t.of.first;
  span seen = s.keys.within(t.lines[r].sees);
  if (seen.empty()) seen = {s.keys.to, s.keys.to};
  for (int64_t j = s.keys.from; j < seen.from; j++) to[j] = unseen;
  std::memcpy(to + seen.from, s.scores + r * chunk + seen.from - s.keys.from,
              (seen.to - seen.from) * sizeof(float));
  for (int64_t j = seen.to; j < s.keys.to; j++) to[j] = unseen;
}

// What lies before the first part and behind the last.
void write_outside(const block& t, float* squares, float unseen) {
  for (int64_t r = 0; r < t.rows; r++) {
    float* row = squares + t.square_row(r) * t.a.keys;
    int64_t begin = t.of.first + t.keys.from / chunk * chunk, end = t.of.first + t.keys.to;
    for (int64_t j = 0; j < begin; j += 16) store_some(row + j, splat(unseen), begin - j);
    for (int64_t j = end; j < t.a.keys; j += 16) store_some(row + j, splat(unseen), t.a.keys - j);
  }
}

// The softmax's three passes over row r. First the scores, from the dot products unless they are given, and
// the largest of them.
void find_maximum(const block& t, const part& s, int64_t r) {
  static const float lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const ik_attention_args& a = t.a;
  v16 m = load(t.maxima + r * 16), scale = splat(a.scale), cap = splat(a.soft_cap);
  v16 slope = splat(a.slopes == nullptr ? 0 : a.slopes[t.lines[r].head]), first = load(lane);
  bool plain = a.soft_cap == 0 && a.slopes == nullptr;
  float* x = s.scores + r * chunk - s.keys.from;
  for_vectors(s.keys.within(t.lines[r].sees), [&](int64_t j, auto mask) {
    v16 y = load(x + j);
    if (a.given_scores == nullptr) {
      y = y * scale;
      if (!plain) {
        if (a.soft_cap > 0) y = cap * tanh(y / cap);
        if (a.slopes != nullptr) y = fma(slope, splat(static_cast<float>(j)) + first, y);
      }
      store(x + j, y);
    }
    m = max(m, choose(mask, y, splat(-infinity)));
  });
  store(t.maxima + r * 16, m);
}

// Then e^(score - largest) and the sum; then the quotients.
void exponentiate(const block& t, const part& s, int64_t r) {
  v16 top = load(t.maxima + r * 16), total = load(t.totals + r * 16);
  float* x = s.scores + r * chunk - s.keys.from;
  for_vectors(s.keys.within(t.lines[r].sees), [&](int64_t j, auto mask) {
    v16 e = choose(mask, exp(load(x + j) - top), zero());
    store(x + j, e);
    total = total + e;
  });
  store(t.totals + r * 16, total);
}

void normalize(const block& t, const part& s, int64_t r) {
  v16 factor = load(t.totals + r * 16);
  float* x = s.scores + r * chunk - s.keys.from;
  for_vectors(s.keys.within(t.lines[r].sees), [&](int64_t j, auto) { store(x + j, load(x + j) * factor); });
}

// Adds the pattern times the values to the sums of z. No row touches a key that it does not see. From the
// first key on that all rows of a tile see it is one product; before (with a window), the rows go one by one.
void multiply_values(const block& t, const part& s, int64_t kv_head) {
  int64_t all = value_panels(t.a);
  const float* values = t.packed_values == nullptr
                            ? t.panels + kv_head * value_floats(t.a)
                            : t.packed_values + s.keys.from / chunk * value_floats(t.a);
  // Rows [begin, end) and keys [from, to).
  auto add = [&](int64_t begin, int64_t end, int64_t panel, int64_t panels, int64_t from, int64_t to,
                 const float* next) {
    int64_t ends[attention_rows], skip = from - s.keys.from;
    for (int64_t r = begin; r < end; r++) ends[r - begin] = least(to, t.lines[r].sees.to) - from;
    if (ends[end - begin - 1] <= 0) return;
    find_attention_tile<true>(
        end - begin, panels)({s.scores + begin * chunk + skip, chunk, values + (panel * chunk + skip) * 16,
                              chunk * 16, t.z + (begin * all + panel) * 16, all * 16, ends, next});
  };
  for (int64_t panel = 0, panels; panel < all; panel += panels) {
    panels = next_attention_panels(t.tallest(), all - panel);
    const float* here = values + panel * chunk * 16;
    for (int64_t i = 0; i < t.tile_count; i++) {
      const row_tile& tile = t.tiles[kv_head * t.tile_count + i];
      span needed = tile.some.within(s.keys);
      if (needed.empty()) continue;
      int64_t together = tile.all.empty() ? needed.to : most(needed.from, least(needed.to, tile.all.from));
      for (int64_t r = tile.begin; r < tile.end && needed.from < together; r++)
        add(r, r + 1, panel, panels, most(needed.from, t.lines[r].sees.from), together, here);
      const float* next = t.packed_values != nullptr && i < panels ? here + (panels + i) * chunk * 16 : here;
      if (together < needed.to) add(tile.begin, tile.end, panel, panels, together, needed.to, next);
    }
  }
}

void write_z(const block& t) {
  int64_t size = t.a.value_size, all = value_panels(t.a);
  for (int64_t r = 0; r < t.rows; r++) {
    const float* from = t.z + r * all * 16;
    float* to = t.a.z + t.token_row(r) * size;
    for (int64_t c = 0; c < size; c += 16) store_some(to + c, load(from + c), size - c);
  }
}

void attend(const block& t) {
  const ik_attention_args& a = t.a;
  auto each_row = [&](auto f) {
    for (int64_t r = 0; r < t.rows; r++) f(r);
  };
  each_row([&](int64_t r) {
    std::memcpy(t.q + r * a.head_size, a.q + t.token_row(r) * a.head_size, a.head_size * sizeof(float));
    store(t.maxima + r * 16, splat(a.sinks == nullptr ? -infinity : a.sinks[t.lines[r].head]));
    store(t.totals + r * 16, zero());
  });
  if (a.scores != nullptr || a.given_pattern == nullptr) {
    t.for_parts([&](const part& s) {
      if (a.given_scores == nullptr) multiply_keys(t, s);
      each_row([&](int64_t r) {
        if (a.given_scores != nullptr) read_row(t, s, r, a.given_scores);
        find_maximum(t, s, r);
        if (a.scores != nullptr) write_row(t, s, r, a.scores, -infinity);
      });
    });
    if (a.scores != nullptr) write_outside(t, a.scores, -infinity);
  }
  if (a.pattern == nullptr && a.z == nullptr) return;

  if (a.given_pattern == nullptr) {
    each_row([&](int64_t r) { store(t.maxima + r * 16, splat(largest(load(t.maxima + r * 16)))); });
    t.for_parts([&](const part& s) { each_row([&](int64_t r) { exponentiate(t, s, r); }); });
    each_row([&](int64_t r) {
      v16 total = splat(sum(load(t.totals + r * 16)));
      if (a.sinks != nullptr) total = total + exp(splat(a.sinks[t.lines[r].head]) - load(t.maxima + r * 16));
      store(t.totals + r * 16, splat(1.0f) / total);
    });
  }
  for (int64_t i = 0; a.z != nullptr && i < t.rows * value_panels(a); i++) store(t.z + i * 16, zero());
  t.for_parts([&](const part& s) {
    each_row([&](int64_t r) {
      if (a.given_pattern != nullptr) {
        read_row(t, s, r, a.given_pattern);
      } else {
        normalize(t, s, r);
      }
      if (a.pattern != nullptr) write_row(t, s, r, a.pattern, 0.0f);
    });
    if (a.z == nullptr) return;
    if (t.packed_values == nullptr) t.of.pack_values(t.kv_head, t.kv_heads, s.keys, t.panels);
    for (int64_t h = 0; h < t.kv_heads; h++) multiply_values(t, s, h);
  });
  if (a.pattern != nullptr) write_outside(t, a.pattern, 0.0f);
  if (a.z != nullptr) write_z(t);
}

// The task of queries [query, query + queries) and kv heads [kv_head, kv_head + kv_heads); false where there
// is no memory.
bool attend(const source& of, int64_t kv_head, int64_t kv_heads, int64_t query, int64_t queries,
            const float* packed_keys, const float* packed_values) {
  const ik_attention_args& a = of.a;
  int64_t group_size = a.heads / a.kv_heads, of_head = queries * group_size, rows = kv_heads * of_head;
  int64_t tiles = divide_up(of_head, attention_rows);
  span keys{a.keys, 0};
  for (int64_t i = query; i < query + queries; i++) {
    span s = of.seen(i);
    if (!s.empty()) keys = {least(keys.from, s.from), most(keys.to, s.to)};
  }
  if (keys.empty()) keys = {0, 0};

  constexpr int64_t floats_of_line = sizeof(line) / sizeof(float);
  constexpr int64_t floats_of_tile = sizeof(row_tile) / sizeof(float);
  int64_t sizes[] = {(divide_up(keys.to, chunk) - keys.from / chunk) * rows * chunk,
                     rows * a.head_size,
                     most(4 * a.head_size * 16, packed_keys == nullptr ? kv_heads * value_floats(a) : 0),
                     rows * 16,
                     rows * 16,
                     rows * value_panels(a) * 16,
                     rows * floats_of_line,
                     kv_heads * tiles * floats_of_tile};
  int64_t floats = 0;
  for (int64_t& size : sizes) floats += size = divide_up(size, 16) * 16;
  float* memory = thread_scratch(floats);
  if (memory == nullptr) return false;
  const int64_t* size = sizes;
  auto take = [&] {
    float* taken = memory;
    memory += *size++;
    return taken;
  };
  block t{of,
          a,
          kv_head,
          kv_heads,
          query,
          queries,
          group_size,
          rows,
          tiles,
          keys,
          packed_keys,
          packed_values,
          take(),
          take(),
          take(),
          take(),
          take(),
          take(),
          reinterpret_cast<line*>(take()),
          reinterpret_cast<row_tile*>(take())};
  // A row that sees nothing may stand before or behind those that see something: ends rise nevertheless.
  line* next = t.lines;
  for (int64_t h = kv_head; h < kv_head + kv_heads; h++) {
    int64_t rising = 0;
    for (int64_t i = query; i < query + queries; i++) {
      span sees = of.seen(i);
      rising = most(rising, sees.to);
      if (sees.empty()) sees = {rising, rising};
      for (int64_t g = 0; g < group_size; g++) *next++ = {h * group_size + g, i, sees};
    }
  }
  for (int64_t i = 0; i < kv_heads * tiles; i++) {
    int64_t head = i / tiles * of_head, begin = i % tiles * of_head / tiles;
    row_tile tile{head + begin, head + (i % tiles + 1) * of_head / tiles, {keys.to, keys.from}, keys};
    for (int64_t r = tile.begin; r < tile.end; r++) {
      tile.all = tile.all.within(t.lines[r].sees);
      if (!t.lines[r].sees.empty())
        tile.some = {least(tile.some.from, t.lines[r].sees.from), most(tile.some.to, t.lines[r].sees.to)};
    }
    t.tiles[i] = tile;
  }
  attend(t);
  return true;
}

constexpr int64_t score_floats =
    320 << 10;  // of one task: what the second-level cache holds beside keys and values
constexpr int64_t most_rows = 128;
constexpr int64_t packed_floats = 8 << 20;  // at a time

// Vector operations, roughly, of some sequences' kv heads: the products, and reading and packing heads, which is
// most of the work where there are few queries.
int64_t work_of(const ik_attention_args& a, int64_t pairs) {
  int64_t queries = a.heads / a.kv_heads * a.queries, size = a.head_size + a.value_size;
  return pairs * (queries * a.keys * (size + 16) / 16 + (queries + a.keys) * size * 4);
}

}  // namespace

ik_status attention(ik_context& context, const ik_attention_args& a) {
  if (a.batch == 0 || a.queries == 0 || a.heads == 0) return IK_OK;
  int64_t pairs = a.batch * a.kv_heads, group_size = a.heads / a.kv_heads;
  int64_t rows = most(2 * attention_rows, least(most_rows, score_floats / (a.keys + chunk)));
  if (rows < a.queries * group_size) rows = rows / attention_rows * attention_rows;
  int64_t step = most(1, least(a.queries, rows / group_size));
  auto tasks_of = [&](int64_t n) { return pairs * divide_up(a.queries, n); };
  while (step * group_size > 2 * attention_rows && tasks_of(step) < 4 * context.pool.threads())
    step = divide_up(step, 2);

  // Where several tasks have the same keys and values, these are packed once for all, some heads at a time.
  // Otherwise a task takes heads that lie side by side in memory.
  int64_t steps = divide_up(a.queries, step), chunks = divide_up(a.keys, chunk);
  int64_t floats = steps > 1 ? chunks * (key_floats(a) + value_floats(a)) : 0;
  if (floats == 0) {
    int64_t width = 1, of_head = a.queries * group_size * (a.keys + chunk) + value_floats(a);
    while (a.keys >= chunk && width < a.kv_heads && (width + 1) * of_head <= score_floats &&
           a.batch * divide_up(a.kv_heads, width + 1) >= 2 * context.pool.threads())
      width++;
    int64_t groups = divide_up(a.kv_heads, width);
    std::atomic<bool> failed{false};
    parallel_for(context, a.batch * groups, work_of(a, pairs), [&](int64_t task) {
      source of(a, task / groups);
      int64_t begin = task % groups * a.kv_heads / groups, end = (task % groups + 1) * a.kv_heads / groups;
      if (!attend(of, begin, end - begin, 0, a.queries, nullptr, nullptr)) failed = true;
    });
    return failed ? IK_OUT_OF_MEMORY : IK_OK;
  }

  int64_t at_once = most(1, least(pairs, packed_floats / floats));
  float* packed = call_scratch(at_once * floats);
  if (packed == nullptr) return IK_OUT_OF_MEMORY;
  std::atomic<bool> failed{false};
  for (int64_t pair = 0; pair < pairs; pair += at_once) {
    int64_t count = least(at_once, pairs - pair);
    parallel_for(context, count * chunks, count * floats, [&](int64_t task) {
      int64_t at = pair + task / chunks, c = task % chunks;
      source of(a, at / a.kv_heads);
      span s = span{c * chunk, (c + 1) * chunk}.within({0, of.count});
      if (s.empty()) return;
      float* keys = packed + task / chunks * floats;
      of.pack_keys(at % a.kv_heads, s, keys + c * key_floats(a));
      of.pack_values(at % a.kv_heads, 1, s, keys + chunks * key_floats(a) + c * value_floats(a));
    });
    parallel_for(context, count * steps, work_of(a, count), [&](int64_t task) {
      int64_t at = pair + task / steps, query = (steps - 1 - task % steps) * step;  // the longest rows first
      source of(a, at / a.kv_heads);
      const float* keys = packed + task / steps * floats;
      if (!attend(of, at % a.kv_heads, 1, query, least(step, a.queries - query), keys,
                  keys + chunks * key_floats(a)))
        failed = true;
    });
  }
  return failed ? IK_OUT_OF_MEMORY : IK_OK;
}

}  // namespace ik::IK_TARGET
