// Products with sparse rows, and their transposition: the decoder of a sparse dictionary, and gradients.
#include "kernels.h"

namespace ik::IK_TARGET {
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

constexpr int64_t ahead = 6;  // entries: some 5 KB of the first-level cache

// V vectors of a row of the output, from column c on; the last one may be partly outside.
template <int V, bool centred>
void product_vectors(const ik_sparse_product_args& a, int64_t r, int64_t c) {
  v16 acc[V];
  int64_t last = a.columns - c - (V - 1) * 16;  // floats of the last vector
  float* out = row(a.out, r) + c;
  for (int i = 0; i < V; i++) {
    int64_t n = i + 1 < V ? 16 : last;
    acc[i] = a.bias != nullptr ? load_some(a.bias + c + i * 16, n) : a.accumulate ? load_some(out + i * 16, n) : zero();
    if (a.target.data != nullptr) acc[i] = acc[i] - load_some(row(a.target, r) + c + i * 16, n);
  }
  auto get = [&](const float* m, int i, int64_t n) {
    v16 v = load_some(m + i * 16, n);
    return centred ? v - load_some(a.offset + c + i * 16, n) : v;
  };
  int64_t end = a.s.row_pointers[r + 1];
  for (int64_t e = a.s.row_pointers[r]; e < end; e++) {
    const float* m = row(a.m, a.s.indices[e]) + c;
    if (e + ahead < end) {
      const float* next = row(a.m, a.s.indices[e + ahead]) + c;
#pragma GCC unroll 16
      for (int i = 0; i < V; i++) prefetch(next + i * 16);
    }
    v16 value = splat(a.s.values[a.order == nullptr ? e : a.order[e]] * a.scale);
#pragma GCC unroll 16
    for (int i = 0; i < V - 1; i++) acc[i] = fma(value, get(m, i, 16), acc[i]);
    acc[V - 1] = fma(value, get(m, V - 1, last), acc[V - 1]);
  }
  for (int i = 0; i < V; i++) store_some(out + i * 16, acc[i], i + 1 < V ? 16 : last);
}

constexpr int wide = max_tile_panels > 1 ? 16 : 8;  // as the registers allow

// Columns [c, end) of a row, c a multiple of 16.
template <bool centred>
void product_row(const ik_sparse_product_args& a, int64_t r, int64_t c, int64_t end) {
  for (; end - c > (wide - 1) * 16; c += wide * 16) product_vectors<wide, centred>(a, r, c);
  for (; end - c > 3 * 16; c += 4 * 16) product_vectors<4, centred>(a, r, c);
  for (; c < end; c += 16) product_vectors<1, centred>(a, r, c);
}

// Dots of one row with E chosen rows.
template <int E>
void dots(const ik_matrix& rows, const int32_t* indices, int64_t columns, const float* x, float* out) {
  v16 acc[E];
  const float* m[E];
  for (int i = 0; i < E; i++) acc[i] = zero(), m[i] = row(rows, indices[i]);
  for (int64_t c = 0; c < columns; c += 16) {
    v16 v = load_some(x + c, columns - c);
    for (int i = 0; i < E; i++) acc[i] = fma(v, load_some(m[i] + c, columns - c), acc[i]);
  }
  for (int i = 0; i < E; i++) out[i] = sum(acc[i]);
}

// Dots of row r's x with the rows of its entries.
void dots_of_row(const ik_sparse_rows& s, const ik_matrix& m, int64_t columns, int64_t r, const float* x, float* out) {
  int64_t e = s.row_pointers[r], end = s.row_pointers[r + 1];
  for (; e + 4 <= end; e += 4) dots<4>(m, s.indices + e, columns, x, out + e);
  for (; e < end; e++) dots<1>(m, s.indices + e, columns, x, out + e);
}

}  // namespace

ik_status sparse_product(ik_context& context, const ik_sparse_product_args& a) {
  if (!fits(a.s)) return IK_INDEX_OUT_OF_RANGE;
  int64_t entries = a.s.row_pointers[a.s.rows];
  for (int64_t e = 0; a.order != nullptr && e < entries; e++) {
    if (a.order[e] < 0 || a.order[e] >= a.s.capacity) return IK_INDEX_OUT_OF_RANGE;
  }
  auto product = a.offset == nullptr ? product_row<false> : product_row<true>;
  // Where rows are few, threads share their columns.
  bool few = a.dots == nullptr && a.s.rows < 2 * context.pool.threads();
  int64_t block = few ? 1 : most(1, 16384 / most(1, a.columns)), width = few ? 64 : most(16, a.columns);
  int64_t ranges = divide_up(a.columns, width);
  parallel_for(context, divide_up(a.s.rows, block) * ranges, (entries + a.s.rows) * a.columns, [&](int64_t task) {
    int64_t first = task / ranges * block, c = task % ranges * width;
    for (int64_t r = first; r < least(a.s.rows, first + block); r++) {
      product(a, r, c, least(a.columns, c + width));
      if (a.dots != nullptr) dots_of_row(a.s, a.m, a.columns, r, row(a.out, r), a.dots);
    }
  });
  return IK_OK;
}

ik_status sparse_dots(ik_context& context, const ik_sparse_dots_args& a) {
  if (!fits(a.s)) return IK_INDEX_OUT_OF_RANGE;
  int64_t block = 4;
  parallel_for(context, divide_up(a.s.rows, block), a.s.row_pointers[a.s.rows] * a.columns, [&](int64_t task) {
    for (int64_t r = task * block; r < least(a.s.rows, (task + 1) * block); r++) {
      dots_of_row(a.s, a.m, a.columns, r, row(a.x, r), a.out);
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
