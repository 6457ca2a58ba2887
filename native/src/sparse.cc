// Products of which few entries are kept, and products of what was kept: sparse dictionaries.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

#include "kernels.h"

namespace ik::IK_TARGET {
namespace {

// A strip of the product that is looked through while it lies in the second-level cache.
constexpr int64_t strip_rows = 512, strip_columns = 1024;

// The key orders entries of a row: larger scores, then lower columns, have larger keys; 0 is below all.
struct entry {
  uint64_t key;
  float value;
};

class row_list {
 public:
  row_list() = default;
  row_list(const row_list&) = delete;
  ~row_list() { std::free(data); }

  entry* data = nullptr;
  int64_t count = 0;

  bool reserve(int64_t n) {
    if (n <= room_) return true;
    void* grown = std::realloc(data, n * sizeof(entry));
    if (grown == nullptr) return false;
    data = static_cast<entry*>(grown);
    room_ = n;
    return true;
  }
  bool push(entry e) {
    if (count == room_ && !reserve(most(64, 2 * room_))) return false;
    data[count++] = e;
    return true;
  }

 private:
  int64_t room_ = 0;
};

// Replaces the smallest entry, heap[0], and restores the heap: no key is larger than its children's.
void replace_smallest(entry* heap, int64_t n, entry e) {
  int64_t i = 0;
  for (int64_t child = 1; child < n; child = 2 * i + 1) {
    if (child + 1 < n && heap[child + 1].key < heap[child].key) child++;
    if (heap[child].key >= e.key) break;
    heap[i] = heap[child];
    i = child;
  }
  heap[i] = e;
}

uint32_t order_of(const entry& e) { return static_cast<uint32_t>(e.key >> 32); }

float score_of(uint32_t order) {
  uint32_t b = (order >> 31) != 0 ? order & 0x7fffffffu : ~order;
  float x;
  std::memcpy(&x, &b, 4);
  return x;
}

// The search through the rows of one call.
struct search {
  const ik_sparse_encode_args& a;
  float bound = -infinity;  // of a whole batch: no score below it can be among the largest

  // f(column, score, value) for the entries of columns [c, end) that may survive: `bar` is below or equal to
  // their scores, which are not equal to it if `beyond`.
  template <class F>
  void for_candidates(const float* h, int64_t c, int64_t end, const float& bar, bool beyond, F f) const {
    bool absolute = a.selection == IK_TOP_MAGNITUDE;
    for (; c < end; c += 16, h += 16) {
      int64_t left = end - c;
      v16 v = load_some(h, left), s = v;
      if (a.scale != nullptr) s = s * load_some(a.scale + c, left);
      v16 magnitude = absolute ? abs(s) : s;
      uint32_t found = bits(not_less_equal(s, a.threshold != nullptr ? load_some(a.threshold + c, left) : splat(-infinity)));
      found &= beyond ? bits(not_less_equal(magnitude, splat(bar))) : ~bits(less(magnitude, splat(bar)));
      if (left < 16) found &= (1u << left) - 1;
      if ((found & 0xffffu) == 0) continue;
      alignas(64) float scores[16];
      store(scores, magnitude);
      for (found &= 0xffffu; found != 0; found &= found - 1) {
        int i = __builtin_ctz(found);
        if (!f(c + i, scores[i], h[i])) return;
      }
    }
  }

  // Looks through columns [c, end) of a row.
  bool look(const float* h, int64_t c, int64_t end, row_list& list) const {
    bool enough = true;
    if (a.selection == IK_TOP_K || a.selection == IK_TOP_MAGNITUDE) {
      float bar = -infinity;
      bool full = false;
      if (list.data[0].key != 0) bar = score_of(order_of(list.data[0])), full = true;
      // Until the heap is full every score may enter, -inf too; NaN always may.
      for (int64_t from = c; from < end; from += 64) {
        for_candidates(h + from - c, from, least(end, from + 64), bar, full, [&](int64_t column, float score, float value) {
          uint64_t key = key_of(score, column);
          if (key > list.data[0].key) {
            replace_smallest(list.data, a.k, {key, value});
            if (list.data[0].key != 0) bar = score_of(order_of(list.data[0])), full = true;
          }
          return true;
        });
      }
    } else if (a.selection == IK_GROUP_MAX) {
      int64_t size = a.columns / a.k;
      float none = -infinity;
      for_candidates(h, c, end, none, false, [&](int64_t column, float score, float value) {
        uint64_t key = key_of(score, column);
        entry& best = list.data[column / size];
        if (key > best.key) best = {key, value};
        return true;
      });
    } else {
      for_candidates(h, c, end, bound, false, [&](int64_t column, float score, float value) {
        return enough = list.push({key_of(score, column), value});
      });
    }
    return enough;
  }
};

// The key of the k-th largest score of all lists, k at most their entries.
bool find_bound(const row_list* lists, int64_t rows, int64_t total, int64_t k, uint32_t& bound) {
  std::unique_ptr<uint32_t[]> orders(new (std::nothrow) uint32_t[total]);
  if (orders == nullptr) return false;
  int64_t n = 0;
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t i = 0; i < lists[r].count; i++) orders[n++] = order_of(lists[r].data[i]);
  }
  std::nth_element(orders.get(), orders.get() + k - 1, orders.get() + n, [](uint32_t x, uint32_t y) { return x > y; });
  bound = orders[k - 1];
  return true;
}

// Keeps entries above the bound, and as many equal ones as are given, in order.
void prune(row_list& list, uint32_t bound, int64_t& equal) {
  int64_t kept = 0;
  for (int64_t i = 0; i < list.count; i++) {
    uint32_t order = order_of(list.data[i]);
    if (order < bound || (order == bound && equal-- <= 0)) continue;
    list.data[kept++] = list.data[i];
  }
  list.count = kept;
}

int64_t total_of(const row_list* lists, int64_t rows) {
  int64_t total = 0;
  for (int64_t r = 0; r < rows; r++) total += lists[r].count;
  return total;
}

// Appends the rows' survivors to the output.
ik_status emit(const ik_sparse_encode_args& a, int64_t first, row_list* lists, int64_t rows) {
  bool heap = a.selection == IK_TOP_K || a.selection == IK_TOP_MAGNITUDE;
  for (int64_t r = 0; r < rows; r++) {
    row_list& list = lists[r];
    if (heap) {
      std::sort(list.data, list.data + list.count,
                [](const entry& x, const entry& y) { return column_of(x.key) < column_of(y.key); });
    }
    int64_t at = a.row_pointers[first + r];
    for (int64_t i = 0; i < list.count; i++) {
      if (list.data[i].key == 0) continue;
      if (at < a.capacity) {
        a.indices[at] = static_cast<int32_t>(column_of(list.data[i].key));
        a.values[at] = list.data[i].value;
      }
      at++;
    }
    if (at > INT32_MAX) return IK_OUT_OF_MEMORY;
    a.row_pointers[first + r + 1] = static_cast<int32_t>(at);
  }
  return IK_OK;
}

bool begin(const ik_sparse_encode_args& a, row_list& list) {
  list.count = 0;
  if (a.selection == IK_THRESHOLD || a.selection == IK_BATCH_TOP_K) return true;
  if (!list.reserve(a.k)) return false;
  list.count = a.k;
  for (int64_t i = 0; i < a.k; i++) list.data[i] = {0, 0.0f};
  return true;
}

}  // namespace

ik_status sparse_encode(ik_context& context, const ik_sparse_encode_args& a) {
  a.row_pointers[0] = 0;
  bool nothing = a.selection != IK_THRESHOLD && a.k == 0, batch = a.selection == IK_BATCH_TOP_K;
  if (nothing && a.pre.data == nullptr) {
    std::memset(a.row_pointers, 0, (a.rows + 1) * sizeof(int32_t));
    return IK_OK;
  }

  int64_t height = least(strip_rows, a.rows), width = least(strip_columns, a.columns);
  float* scratch = a.pre.data == nullptr ? call_scratch(height * width) : nullptr;
  std::unique_ptr<row_list[]> lists(new (std::nothrow) row_list[most(1, batch ? a.rows : height)]);
  if (lists == nullptr || (scratch == nullptr && a.pre.data == nullptr && height * width > 0)) return IK_OUT_OF_MEMORY;

  search s{a};
  for (int64_t first = 0; first < a.rows; first += height) {
    int64_t rows = least(height, a.rows - first);
    row_list* block = lists.get() + (batch ? first : 0);
    for (int64_t r = 0; r < rows; r++) {
      if (!begin(a, block[r])) return IK_OUT_OF_MEMORY;
    }
    for (int64_t c = 0; c < a.columns; c += width) {
      int64_t columns = least(width, a.columns - c);
      ik_matrix out{scratch, columns};
      if (a.pre.data != nullptr) out = {row(a.pre, first) + c, a.pre.stride};
      ik_matmul_args product{};
      product.x = {row(a.x, first), a.x.stride}, product.w = a.w, product.out = out;
      product.bias = a.bias == nullptr ? nullptr : a.bias + c;
      product.rows = rows, product.inner = a.w.inner, product.columns = columns, product.column_start = c, product.scale = 1;
      ik_status status = matmul(context, product);
      if (status != IK_OK) return status;
      if (nothing) continue;

      std::atomic<bool> failed{false};
      for_rows(context, rows, columns, [&](int64_t from, int64_t to) {
        for (int64_t r = from; r < to; r++) {
          if (!s.look(row(out, r), c, c + columns, block[r])) failed = true;
        }
      });
      if (failed) return IK_OUT_OF_MEMORY;

      // What a batch cannot need any more goes as soon as it is a burden.
      int64_t total = batch ? total_of(lists.get(), first + rows) : 0;
      if (total > most(4 * a.k, 1 << 20)) {
        uint32_t bound;
        if (!find_bound(lists.get(), first + rows, total, a.k, bound)) return IK_OUT_OF_MEMORY;
        int64_t all = INT64_MAX;
        for (int64_t r = 0; r < first + rows; r++) prune(lists[r], bound, all);
        s.bound = score_of(bound);
      }
    }
    if (batch) continue;
    ik_status status = emit(a, first, block, nothing ? 0 : rows);
    if (status != IK_OK) return status;
  }

  if (nothing) {
    std::memset(a.row_pointers, 0, (a.rows + 1) * sizeof(int32_t));
  } else if (batch) {
    int64_t total = total_of(lists.get(), a.rows);
    if (total > a.k) {
      uint32_t bound;
      if (!find_bound(lists.get(), a.rows, total, a.k, bound)) return IK_OUT_OF_MEMORY;
      int64_t above = 0;
      for (int64_t r = 0; r < a.rows; r++) {
        for (int64_t i = 0; i < lists[r].count; i++) above += order_of(lists[r].data[i]) > bound;
      }
      int64_t equal = a.k - above;
      for (int64_t r = 0; r < a.rows; r++) prune(lists[r], bound, equal);
    }
    return emit(a, 0, lists.get(), a.rows);
  }
  return IK_OK;
}

namespace {

bool fits(const ik_sparse_rows& s) {
  if (s.row_pointers[0] != 0 || s.row_pointers[s.rows] > s.capacity) return false;
  for (int64_t r = 0; r < s.rows; r++) {
    if (s.row_pointers[r] > s.row_pointers[r + 1]) return false;
  }
  for (int64_t e = 0, n = s.row_pointers[s.rows]; e < n; e++) {
    if (s.indices[e] < 0 || s.indices[e] >= s.columns) return false;
  }
  return true;
}

// V vectors of a row of the output, from column c on; the last one may be partly outside.
template <int V>
void product_vectors(const ik_sparse_product_args& a, int64_t r, int64_t c) {
  v16 acc[V];
  int64_t last = a.columns - c - (V - 1) * 16;  // floats of the last vector
  float* out = row(a.out, r) + c;
  for (int i = 0; i < V; i++) {
    int64_t n = i + 1 < V ? 16 : last;
    acc[i] = a.bias != nullptr ? load_some(a.bias + c + i * 16, n) : a.accumulate ? load_some(out + i * 16, n) : zero();
  }
  int64_t end = a.s.row_pointers[r + 1];
  for (int64_t e = a.s.row_pointers[r]; e < end; e++) {
    const float* m = row(a.m, a.s.indices[e]) + c;
    if (e + 1 < end) {
      const float* next = row(a.m, a.s.indices[e + 1]) + c;
      for (int i = 0; i < V; i++) prefetch(next + i * 16);
    }
    v16 value = splat(a.s.values[a.order == nullptr ? e : a.order[e]]);
    for (int i = 0; i < V - 1; i++) acc[i] = fma(value, load(m + i * 16), acc[i]);
    acc[V - 1] = fma(value, load_some(m + (V - 1) * 16, last), acc[V - 1]);
  }
  for (int i = 0; i < V; i++) store_some(out + i * 16, acc[i], i + 1 < V ? 16 : last);
}

constexpr int wide = max_tile_panels > 1 ? 16 : 8;  // as the registers allow

// Dots of one row with E chosen rows.
template <int E>
void dots(const ik_sparse_dots_args& a, const float* x, int64_t e) {
  v16 acc[E];
  const float* m[E];
  for (int i = 0; i < E; i++) acc[i] = zero(), m[i] = row(a.m, a.s.indices[e + i]);
  for (int64_t c = 0; c < a.columns; c += 16) {
    v16 v = load_some(x + c, a.columns - c);
    for (int i = 0; i < E; i++) acc[i] = fma(v, load_some(m[i] + c, a.columns - c), acc[i]);
  }
  for (int i = 0; i < E; i++) a.out[e + i] = sum(acc[i]);
}

}  // namespace

ik_status sparse_product(ik_context& context, const ik_sparse_product_args& a) {
  if (!fits(a.s)) return IK_INDEX_OUT_OF_RANGE;
  int64_t entries = a.s.row_pointers[a.s.rows];
  for (int64_t e = 0; a.order != nullptr && e < entries; e++) {
    if (a.order[e] < 0 || a.order[e] >= a.s.capacity) return IK_INDEX_OUT_OF_RANGE;
  }
  int64_t block = most(1, 16384 / most(1, a.columns));
  parallel_for(context, divide_up(a.s.rows, block), (entries + a.s.rows) * a.columns, [&](int64_t task) {
    for (int64_t r = task * block; r < least(a.s.rows, (task + 1) * block); r++) {
      int64_t c = 0;
      for (; a.columns - c > (wide - 1) * 16; c += wide * 16) product_vectors<wide>(a, r, c);
      for (; a.columns - c > 3 * 16; c += 4 * 16) product_vectors<4>(a, r, c);
      for (; c < a.columns; c += 16) product_vectors<1>(a, r, c);
    }
  });
  return IK_OK;
}

ik_status sparse_dots(ik_context& context, const ik_sparse_dots_args& a) {
  if (!fits(a.s)) return IK_INDEX_OUT_OF_RANGE;
  int64_t block = 4;
  parallel_for(context, divide_up(a.s.rows, block), a.s.row_pointers[a.s.rows] * a.columns, [&](int64_t task) {
    for (int64_t r = task * block; r < least(a.s.rows, (task + 1) * block); r++) {
      const float* x = row(a.x, r);
      int64_t e = a.s.row_pointers[r], end = a.s.row_pointers[r + 1];
      for (; e + 4 <= end; e += 4) dots<4>(a, x, e);
      for (; e < end; e++) dots<1>(a, x, e);
    }
  });
  return IK_OK;
}

ik_status sparse_transpose(ik_context&, const ik_sparse_transpose_args& a) {
  if (!fits(a.s)) return IK_INDEX_OUT_OF_RANGE;
  int64_t entries = a.s.row_pointers[a.s.rows];
  int32_t* next = a.row_pointers;  // [columns + 1]: where a column's next entry goes, one place late
  std::memset(next, 0, (a.s.columns + 1) * sizeof(int32_t));
  for (int64_t e = 0; e < entries; e++) next[a.s.indices[e] + 1]++;
  for (int64_t c = 0; c < a.s.columns; c++) next[c + 1] += next[c];
  for (int64_t r = 0; r < a.s.rows; r++) {
    for (int32_t e = a.s.row_pointers[r]; e < a.s.row_pointers[r + 1]; e++) {
      int32_t at = next[a.s.indices[e]]++;
      a.indices[at] = static_cast<int32_t>(r);
      a.order[at] = e;
    }
  }
  // Every pointer stands at its column's end now: the next one's begin.
  for (int64_t c = a.s.columns; c > 0; c--) next[c] = next[c - 1];
  next[0] = 0;
  return IK_OK;
}

}  // namespace ik::IK_TARGET
