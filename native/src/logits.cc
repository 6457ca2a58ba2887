// What is read off a row of logits: log-probabilities and the largest elements.
#include <algorithm>

#include "kernels.h"

namespace ik::IK_TARGET {
namespace {

// The largest element and the logarithm of Σ e^(x - largest).
struct normalizer {
  float largest, log_sum;
};

// Looking for the largest waits for memory, exponentials for arithmetic: they meanwhile ask for the next row, if there is one.
normalizer normalize(const float* x, int64_t n, const float* next) {
  int64_t whole = n / 16 * 16, c = 0;
  v16 m[4] = {splat(-infinity), splat(-infinity), splat(-infinity), splat(-infinity)};
  uint32_t above = 0;  // lanes with an infinity or a NaN, which is not below one either
  auto look = [&](int i, v16 v) {
    m[i] = max(m[i], v);
    above |= bits(~less(v, splat(infinity)));
  };
  for (; c + 64 <= n; c += 64) {
    for (int i = 0; i < 4; i++) look(i, load(x + c + i * 16));
  }
  for (; c < whole; c += 16) look(0, load(x + c));
  if (whole < n) look(1, select(lanes(0, n - whole), load_some(x + whole, n - whole), splat(-infinity)));
  float top = largest(max(max(m[0], m[1]), max(m[2], m[3])));
  if (above != 0 || top == -infinity) return {top, __builtin_nanf("")};
  v16 s = zero();
  for (c = 0; c < whole; c += 16) {
    if (next != nullptr) prefetch(next + c);
    s = s + exp_beside_1(load(x + c) - splat(top));
  }
  if (whole < n) s = s + select(lanes(0, n - whole), exp_beside_1(load_some(x + whole, n - whole) - splat(top)), zero());
  return {top, first(log(splat(sum(s))))};
}

// f(row, its normalizer) for all rows that are wanted, some neighbours in a task.
template <class W, class F>
void for_normalized(ik_context& context, const ik_matrix& x, int64_t rows, int64_t columns, W wanted, F f) {
  constexpr int64_t most_rows = 8;
  int64_t block = most(1, least(most_rows, rows / (4 * context.pool.threads())));
  block = most(block, 16384 / most(1, columns));
  parallel_for(context, divide_up(rows, block), rows * columns, [&](int64_t task) {
    for (int64_t r = task * block, end = least(rows, r + block); r < end; r++) {
      if (!wanted(r)) continue;
      f(r, normalize(row(x, r), columns, r + 1 < end && wanted(r + 1) ? row(x, r + 1) : nullptr));
    }
  });
}

// Larger results than this go past the caches: nothing of them would be left there when they are read.
constexpr int64_t streamed_bytes = 32 << 20;

}  // namespace

ik_status log_probability(ik_context& context, const ik_log_probability_args& a) {
  for (int64_t i = 0; i < a.rows * a.count; i++) {
    if (a.targets[i] >= a.columns) return IK_INDEX_OUT_OF_RANGE;
  }

  std::fill_n(a.out, a.rows * a.count, 0.0f);
  auto wanted = [&](int64_t r) {
    const int32_t* targets = a.targets + r * a.count;
    return std::any_of(targets, targets + a.count, [](int32_t target) { return target >= 0; });
  };
  for_normalized(context, a.x, a.rows, a.columns, wanted, [&](int64_t r, normalizer z) {
    for (int64_t i = r * a.count; i < (r + 1) * a.count; i++) {
      if (a.targets[i] >= 0) a.out[i] = row(a.x, r)[a.targets[i]] - z.largest - z.log_sum;
    }
  });
  return IK_OK;
}

ik_status log_softmax(ik_context& context, const ik_log_softmax_args& a) {
  bool streamed = a.out.data != a.x.data && a.rows * a.columns * 4 > streamed_bytes;
  auto all = [](int64_t) { return true; };
  for_normalized(context, a.x, a.rows, a.columns, all, [&](int64_t r, normalizer z) {
    const float* x = row(a.x, r);
    float* out = row(a.out, r);
    int64_t c = 0, n = a.columns;
    auto some = [&](int64_t count) {
      store_some(out + c, load_some(x + c, count) - splat(z.largest) - splat(z.log_sum), count);
      c += least(16, count);
    };
    if (streamed) {
      if (int64_t rest = reinterpret_cast<uintptr_t>(out) / 4 % 16; rest != 0) some(least(n, 16 - rest));
      for (; c + 16 <= n; c += 16) stream(out + c, load(x + c) - splat(z.largest) - splat(z.log_sum));
      finish_streams();
    }
    while (c < n) some(n - c);
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
