// The search for candidates through rows of a product.
#pragma once

#include "rounding.h"
#include "row_list.h"

namespace ik::IK_TARGET {

IK_INLINE bool is_top(const ik_sparse_encode_args& a) { return a.selection == IK_TOP_K || a.selection == IK_TOP_MAGNITUDE; }

// Whether scores are something else than values.
IK_INLINE bool is_scored(const ik_sparse_encode_args& a) { return a.scale != nullptr || a.selection == IK_TOP_MAGNITUDE; }

struct search {
  const ik_sparse_encode_args& a;
  const float *bias, *scale, *threshold;  // of the candidates; bias: what is still to be added
  float bound = -infinity;                // of a whole batch: no score below it can be among the largest

  // f(column of a vector, lanes, scores, values) for the entries of columns [c, end) that may survive a bar: few, but for the first columns
  // of a row. reach(s, i, left) is how large the scores s of vector i may be.
  template <class R, class F>
  void for_candidates(const float* h, int64_t c, int64_t end, const float& bar, const bool& beyond, R reach, F f) const {
    bool absolute = a.selection == IK_TOP_MAGNITUDE;
    auto value = [&](int64_t i, int64_t left) {
      v16 v = load_some(h + i, left);
      return bias == nullptr ? v : v + load_some(bias + c + i, left);
    };
    auto score = [&](v16 v, int64_t i, int64_t left) { return scale == nullptr ? v : v * load_some(scale + c + i, left); };
    auto above = [&](v16 s, int64_t i, int64_t left) {
      v16 size = reach(absolute ? abs(s) : s, i, left), limit = splat(bar);
      return beyond ? bits(not_less_equal(size, limit)) : ~bits(less(size, limit));
    };
    int64_t count = end - c;
    for (int64_t i = 0; i < count; i += 16) {
      // Four vectors at once, as long as nothing is found.
      for (; i + 64 <= count; i += 64) {
        uint32_t found = 0;
        for (int64_t j = i; j < i + 64; j += 16) found |= above(score(value(j, 16), j, 16), j, 16);
        if ((found & 0xffffu) != 0) break;
      }
      int64_t left = count - i;
      if (left <= 0) return;
      v16 v = value(i, left), s = score(v, i, left);
      uint32_t found = above(s, i, left) & (left < 16 ? (1u << left) - 1 : 0xffffu);
      if (found == 0) continue;
      found &= bits(not_less_equal(reach(s, i, left), threshold == nullptr ? splat(-infinity) : load_some(threshold + c + i, left)));
      if (!f(c + i, found, absolute ? abs(s) : s, v)) return;
    }
  }

  // Looks through columns [c, end) of a row. False: there is no memory.
  bool look(const float* h, int64_t c, int64_t end, row_list& list) const {
    auto as_it_is = [](v16 s, int64_t, int64_t) { return s; };
    bool enough = true;
    if (is_top(a)) {
      for_candidates(h, c, end, list.bar, list.beyond, as_it_is, [&](int64_t column, uint32_t found, v16 score, v16 value) {
        list.append(column, found, score, value);
        if (list.is_full()) list.shrink(a.k, a.k / 8);
        return true;
      });
    } else if (a.selection == IK_GROUP_MAX) {
      int64_t size = a.columns / a.k;
      for_candidates(h, c, end, list.bar, list.beyond, as_it_is, [&](int64_t column, uint32_t found, v16 score, v16 value) {
        alignas(64) float scores[16], values[16];
        store(scores, score), store(values, value);
        for (; found != 0; found &= found - 1) {
          int lane = __builtin_ctz(found);
          offer(list, (column + lane) / size, column + lane, scores[lane], values[lane]);
        }
        return true;
      });
    } else {
      bool scored = is_scored(a);
      for_candidates(h, c, end, bound, list.beyond, as_it_is, [&](int64_t column, uint32_t found, v16 score, v16 value) {
        if (list.is_full()) enough = list.reserve(most(32, 2 * list.count), scored);
        if (enough) list.append(column, found, score, value);
        return enough;
      });
    }
    return enough;
  }

  // The same in a rounded product, of a row that is so long and loses so much: entries have the least score that they may have, -infinity if
  // nothing is known. Whoever cannot be among the k largest goes. False: too many are left for what the rounding saves, or there is no memory.
  bool look_roughly(const float* h, int64_t c, int64_t end, const rounding& error, float length, float loss, row_list& list) const {
    v16 l = splat(length), lost = splat(loss);
    auto reach = [&](v16 s, int64_t i, int64_t left) { return s + error.bound(l, lost, c + i, left); };
    bool few = true, never = false;
    for_candidates(h, c, end, list.bar, never, reach, [&](int64_t column, uint32_t found, v16 score, v16) {
      v16 e = error.bound(l, lost, column, end - column), low = score - e, high = score + e;
      m16 finite = less(splat(-1), (low - low) + (high - high));
      low = select(finite, low, splat(-infinity));
      list.append(column, found, low, low);
      if (!list.is_full()) return true;
      drop_beaten(list, error, length, loss, a.k / 8);
      if (4 * list.count + 64 > 3 * list.room()) few = 2 * list.room() <= 32 * a.k + 1024 && list.reserve(2 * list.room(), is_scored(a));
      return few;
    });
    return few;
  }

  void drop_beaten(row_list& list, const rounding& error, float length, float loss, int64_t slack) const {
    if (list.count <= a.k) return;
    list.bar = list.find_bar(a.k, slack);
    list.keep_if([&](int64_t i) {
      float low = list.scores[i];
      return low == -infinity || low + 2 * error.bound(length, loss, list.columns[i]) >= list.bar;
    });
  }

  // Of a row whose entries have the values that their product has as it is: keeps those above their thresholds.
  void accept(row_list& list) const {
    auto score_of = [&](float value, int64_t column) { return scale == nullptr ? value : value * scale[column]; };
    for (int64_t i = 0; i < list.count; i++) {
      if (bias != nullptr) list.values[i] += bias[list.columns[i]];
      list.scores[i] = score_of(list.values[i], list.columns[i]);
    }
    list.keep_if([&](int64_t i) { return !(list.scores[i] <= (threshold == nullptr ? -infinity : threshold[list.columns[i]])); });
    for (int64_t i = 0; i < list.count && a.selection == IK_TOP_MAGNITUDE; i++) list.scores[i] = __builtin_fabsf(list.scores[i]);
    list.bar = -infinity, list.beyond = false;
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
    list.count = a.k;
    list.keep_if([&](int64_t g) { return list.columns[g] >= 0; });
    return true;
  }
};

}  // namespace ik::IK_TARGET
