// What is read off a row of logits: log-probabilities and the largest elements.
#include "kernels.h"

namespace ik::IK_TARGET {
namespace {

// The largest element and the logarithm of Σ e^(x - largest).
struct normalizer {
  float largest, log_sum;
};

normalizer normalize(const float* x, int64_t n) {
  v16 m = splat(-infinity);
  for (int64_t c = 0; c < n; c += 16) {
    v16 v = load_some(x + c, n - c);
    m = max(m, n - c >= 16 ? v : select(lanes(0, n - c), v, splat(-infinity)));
  }
  float top = largest(m);
  v16 s = zero();
  for (int64_t c = 0; c < n; c += 16) {
    v16 e = exp(load_some(x + c, n - c) - splat(top));
    s = s + (n - c >= 16 ? e : select(lanes(0, n - c), e, zero()));
  }
  return {top, first(log(splat(sum(s))))};
}

}  // namespace

ik_status log_probability(ik_context& context, const ik_log_probability_args& a) {
  for (int64_t i = 0; i < a.rows * a.count; i++) {
    if (a.targets[i] >= a.columns) return IK_INDEX_OUT_OF_RANGE;
  }

  for_rows(context, a.rows, a.columns, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; r++) {
      const int32_t* targets = a.targets + r * a.count;
      float* out = a.out + r * a.count;
      bool any = false;
      for (int64_t i = 0; i < a.count; i++) {
        out[i] = 0;
        any |= targets[i] >= 0;
      }
      if (!any) continue;
      const float* x = row(a.x, r);
      normalizer z = normalize(x, a.columns);
      for (int64_t i = 0; i < a.count; i++) {
        if (targets[i] >= 0) out[i] = x[targets[i]] - z.largest - z.log_sum;
      }
    }
  });
  return IK_OK;
}

ik_status log_softmax(ik_context& context, const ik_log_softmax_args& a) {
  for_rows(context, a.rows, a.columns, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; r++) {
      const float* x = row(a.x, r);
      normalizer z = normalize(x, a.columns);
      for (int64_t c = 0, n = a.columns; c < n; c += 16) {
        store_some(row(a.out, r) + c, load_some(x + c, n - c) - splat(z.largest) - splat(z.log_sum), n - c);
      }
    }
  });
  return IK_OK;
}

namespace {

// Replaces the smallest key, heap[0], and restores the heap: no key is larger than its children's.
void replace_smallest(uint64_t* heap, int64_t n, uint64_t key) {
  int64_t i = 0;
  for (int64_t child = 1; child < n; child = 2 * i + 1) {
    if (child + 1 < n && heap[child + 1] < heap[child]) child++;
    if (heap[child] >= key) break;
    heap[i] = heap[child];
    i = child;
  }
  heap[i] = key;
}

void top_k_row(const ik_top_k_args& a, int64_t r, uint64_t* heap) {
  const float* x = row(a.x, r);
  int64_t k = a.k, n = a.columns;
  for (int64_t i = 0; i < k; i++) heap[i] = 0;  // smaller than any element's

  // Only elements above the k-th so far are looked at one by one; an equal one has a higher column and loses.
  v16 bar = splat(-infinity);
  bool full = false;
  for (int64_t c = 0; c < n; c += 16) {
    uint32_t left = n - c >= 16 ? 0xffffu : (1u << (n - c)) - 1;
    if (full) left &= bits(not_less_equal(load_some(x + c, n - c), bar));
    for (int64_t i = c; left != 0; left >>= 1, i++) {
      if ((left & 1) == 0) continue;
      uint64_t key = key_of(x[i], i);
      if (key > heap[0]) replace_smallest(heap, k, key);
    }
    full = heap[0] != 0;
    if (full) bar = splat(x[column_of(heap[0])]);
  }

  // The smallest leaves first, so the outputs are filled from the end.
  for (int64_t i = k; i-- > 0;) {
    int64_t column = column_of(heap[0]);
    a.values[r * k + i] = x[column];
    a.indices[r * k + i] = static_cast<int32_t>(column);
    replace_smallest(heap, i + 1, heap[i]);
  }
}

}  // namespace

ik_status top_k(ik_context& context, const ik_top_k_args& a) {
  if (a.k == 0) return IK_OK;
  std::atomic<bool> failed{false};
  for_rows(context, a.rows, a.columns, [&](int64_t from, int64_t to) {
    auto* heap = reinterpret_cast<uint64_t*>(thread_scratch(2 * a.k));
    if (heap == nullptr) {
      failed = true;
      return;
    }
    for (int64_t r = from; r < to; r++) top_k_row(a, r, heap);
  });
  return failed ? IK_OUT_OF_MEMORY : IK_OK;
}

}  // namespace ik::IK_TARGET
