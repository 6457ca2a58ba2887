// Mixtures of experts: the choice of experts, rows to and from them, GPT-OSS's non-linearity.
#include "kernels.h"

namespace ik::IK_TARGET {
namespace {

// One thread's working space for a row.
struct choice {
  uint64_t* keys;        // [experts]
  uint64_t* group_keys;  // [groups]
  float* scores;         // [experts], up to whole vectors
  float* ranks;          // likewise: what is compared
};

// Takes the largest key out.
int64_t take_largest(uint64_t* keys, int64_t n) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; i++) best = keys[i] > keys[best] ? i : best;
  keys[best] = 0;
  return best;
}

// What a group is worth: the sum of its two largest ranks.
float worth_of(const float* ranks, int64_t size) {
  uint64_t first = 0, second = 0;
  for (int64_t i = 0; i < size; i++) {
    uint64_t key = key_of(ranks[i], i);
    second = key > first ? first : key > second ? key : second;
    first = key > first ? key : first;
  }
  float largest = ranks[column_of(first)];
  return size == 1 ? largest : largest + ranks[column_of(second)];
}

void clear_other_groups(const ik_route_args& a, const choice& c) {
  int64_t size = a.experts / a.groups;
  for (int64_t g = 0; g < a.groups; g++) c.group_keys[g] = key_of(worth_of(c.ranks + g * size, size), g);
  for (int64_t i = 0; i < a.chosen_groups; i++) take_largest(c.group_keys, a.groups);
  for (int64_t g = 0; g < a.groups; g++) {
    if (c.group_keys[g] != 0) std::memset(c.ranks + g * size, 0, size * sizeof(float));
  }
}

void choose(const ik_route_args& a, const choice& c, int32_t* indices) {
  for (int64_t i = 0; i < a.experts; i++) c.keys[i] = key_of(c.ranks[i], i);
  for (int64_t j = 0; j < a.k; j++) indices[j] = static_cast<int32_t>(take_largest(c.keys, a.experts));
}

void route_by_softmax(const ik_route_args& a, int64_t r, const choice& c) {
  const float* logits = row(a.logits, r);
  int32_t* indices = a.indices + r * a.k;
  float* weights = a.weights + r * a.k;
  std::memcpy(c.ranks, logits, a.experts * sizeof(float));
  choose(a, c, indices);
  v16 largest = splat(logits[indices[0]]), sums = zero();
  for (int64_t i = 0, n = a.experts; i < n; i += 16) {
    v16 e = exp(load_some(logits + i, n - i) - largest);
    sums = sums + (n - i >= 16 ? e : select(lanes(0, n - i), e, zero()));
    store(c.scores + i, e);
  }
  float total = sum(sums);
  if (a.renormalize) {
    total = c.scores[indices[0]];
    for (int64_t j = 1; j < a.k; j++) total += c.scores[indices[j]];
  }
  for (int64_t j = 0; j < a.k; j++) weights[j] = c.scores[indices[j]] / total * a.factor;
}

void route_by_sigmoid(const ik_route_args& a, int64_t r, const choice& c) {
  const float* logits = row(a.logits, r);
  int32_t* indices = a.indices + r * a.k;
  float* weights = a.weights + r * a.k;
  for (int64_t i = 0, n = a.experts; i < n; i += 16) {
    v16 score = sigmoid(load_some(logits + i, n - i));
    store(c.scores + i, score);
    store(c.ranks + i, a.choice_bias == nullptr ? score : score + load_some(a.choice_bias + i, n - i));
  }
  if (a.chosen_groups < a.groups) clear_other_groups(a, c);
  choose(a, c, indices);

  // Chosen by rank, ordered by score.
  for (int64_t j = 0; j < a.k; j++) c.keys[j] = key_of(c.scores[indices[j]], indices[j]);
  for (int64_t j = 0; j < a.k; j++) {
    int64_t best = j;
    for (int64_t i = j + 1; i < a.k; i++) best = c.keys[i] > c.keys[best] ? i : best;
    uint64_t key = c.keys[best];
    c.keys[best] = c.keys[j];
    indices[j] = static_cast<int32_t>(column_of(key));
    weights[j] = c.scores[indices[j]];
  }
  if (a.renormalize) {
    float total = weights[0];
    for (int64_t j = 1; j < a.k; j++) total += weights[j];
    total += 1e-20f;
    for (int64_t j = 0; j < a.k; j++) weights[j] = weights[j] / total;
  }
  for (int64_t j = 0; j < a.k; j++) weights[j] *= a.factor;
}

bool in_range(const int32_t* indices, int64_t count, int64_t end) {
  for (int64_t i = 0; i < count; i++) {
    if (indices[i] >= end) return false;
  }
  return true;
}

}  // namespace

ik_status route(ik_context& context, const ik_route_args& a) {
  int64_t width = divide_up(a.experts, 16) * 16;
  std::atomic<bool> failed{false};
  for_rows(context, a.rows, a.experts * (a.k + 8), [&](int64_t from, int64_t to) {
    float* space = thread_scratch(2 * width + 2 * (a.experts + a.groups));
    if (space == nullptr) {
      failed = true;
      return;
    }
    auto* keys = reinterpret_cast<uint64_t*>(space + 2 * width);
    choice c{keys, keys + a.experts, space, space + width};
    for (int64_t r = from; r < to; r++) {
      if (a.sigmoid) {
        route_by_sigmoid(a, r, c);
      } else {
        route_by_softmax(a, r, c);
      }
    }
  });
  return failed ? IK_OUT_OF_MEMORY : IK_OK;
}

ik_status gather_rows(ik_context& context, const ik_gather_rows_args& a) {
  if (!in_range(a.indices, a.rows, a.from_rows)) return IK_INDEX_OUT_OF_RANGE;
  for_rows(context, a.rows, a.columns, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; r++) {
      if (a.indices[r] < 0) {
        std::memset(row(a.out, r), 0, a.columns * sizeof(float));
      } else {
        std::memcpy(row(a.out, r), row(a.from, a.indices[r]), a.columns * sizeof(float));
      }
    }
  });
  return IK_OK;
}

ik_status combine_rows(ik_context& context, const ik_combine_rows_args& a) {
  if (!in_range(a.indices, a.rows * a.k, a.from_rows)) return IK_INDEX_OUT_OF_RANGE;
  for_rows(context, a.rows, a.columns * (a.k + 1), [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; r++) {
      const int32_t* indices = a.indices + r * a.k;
      const float* weights = a.weights + r * a.k;
      for (int64_t c = 0, n = a.columns; c < n; c += 16) {
        v16 v = zero();
        for (int64_t j = 0; j < a.k; j++) {
          if (indices[j] >= 0) v = fma(splat(weights[j]), load_some(row(a.x, indices[j]) + c, n - c), v);
        }
        if (a.delta.data != nullptr) store_some(row(a.delta, r) + c, v, n - c);
        if (a.residual.data != nullptr) v = load_some(row(a.residual, r) + c, n - c) + v;
        store_some(row(a.out, r) + c, v, n - c);
      }
    }
  });
  return IK_OK;
}

ik_status clamped_swiglu(ik_context& context, const ik_clamped_swiglu_args& a) {
  v16 limit = splat(a.limit), alpha = splat(a.alpha), one = splat(1.0f);
  for_rows(context, a.rows, a.columns, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; r++) {
      for (int64_t c = 0, n = a.columns; c < n; c += 16) {
        v16 gate = min(limit, load_some(row(a.gate, r) + c, n - c));
        v16 up = max(splat(-a.limit), min(limit, load_some(row(a.up, r) + c, n - c)));
        store_some(row(a.out, r) + c, gate * sigmoid(alpha * gate) * (up + one), n - c);
      }
    }
  });
  return IK_OK;
}

}  // namespace ik::IK_TARGET
