// The entries of a row that may survive a selection, and the selection of the k largest.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <memory>
#include <new>

#include "kernels.h"

namespace ik::IK_TARGET {

// Floats in their order, as integers.
constexpr uint32_t largest_order = 0xff800000u;  // of +inf
IK_INLINE uint32_t order_of(float x) { return static_cast<uint32_t>(key_of(x, 0) >> 32); }
IK_INLINE float of_order(uint32_t order) { return std::bit_cast<float>((order >> 31) != 0 ? order & 0x7fffffffu : ~order); }

// The k-th largest of some numbers, count(x) of which are at least x (NaN are): exactly, or any number that k to k + slack of them are at
// least. It is `least` or more.
template <class F>
static float find_bound(int64_t k, int64_t slack, float least, F count) {
  uint32_t low = order_of(least), high = largest_order;
  while (low < high) {
    uint32_t middle = high - (high - low) / 2;
    int64_t n = count(of_order(middle));
    if (n < k) {
      high = middle - 1;
      continue;
    }
    low = middle;
    if (n <= k + slack) break;
  }
  return of_order(low);
}

// How many numbers are not below a bound, or, beyond it, not at most.
IK_INLINE int64_t count_from(const float* x, int64_t n, float bound, bool beyond = false) {
  v16 limit = splat(bound);
  int64_t found = 0;
  for (int64_t i = 0; i < n; i += 16) {
    v16 v = load_some(x + i, n - i);
    uint32_t mask = beyond ? bits(not_less_equal(v, limit)) : ~bits(less(v, limit));
    found += std::popcount(mask & (n - i < 16 ? (1u << (n - i)) - 1 : 0xffffu));
  }
  return found;
}

// What was found of a row, in the order of columns. An entry has a score, by which it is chosen, and a value; they are the same unless
// scores have a memory of their own.
class row_list {
 public:
  row_list() = default;
  row_list(const row_list&) = delete;
  ~row_list() {
    if (owned_) std::free(values);
  }

  float* values = nullptr;
  float* scores = nullptr;
  int32_t* columns = nullptr;
  int64_t count = 0;
  float bar = -__builtin_inff();  // no score below it can survive,
  bool beyond = false;            // nor one that is equal to it

  // Floats that hold so many entries.
  static int64_t floats(int64_t room, bool scored) { return room * (scored ? 3 : 2); }

  void use(float* memory, int64_t room, bool scored) {
    values = memory, columns = reinterpret_cast<int32_t*>(memory + room), scores = scored ? memory + 2 * room : memory, room_ = room;
  }

  // Whether another vector's entries would be too many.
  bool is_full() const { return count + 16 > room_; }
  int64_t room() const { return room_; }

  // Makes room for so many entries.
  bool reserve(int64_t room, bool scored) {
    if (room <= room_) return true;
    auto* memory = static_cast<float*>(std::malloc(floats(room, scored) * sizeof(float)));
    if (memory == nullptr) return false;
    float *old_values = values, *old_scores = scores;
    int32_t* old_columns = columns;
    use(memory, room, scored);
    std::copy_n(old_values, count, values), std::copy_n(old_scores, count, scores), std::copy_n(old_columns, count, columns);
    if (owned_) std::free(old_values);
    owned_ = true;
    return true;
  }

  void put(int64_t i, int64_t column, float score, float value) {
    scores[i] = score, values[i] = value, columns[i] = static_cast<int32_t>(column);
  }

  // Appends the chosen entries of a vector.
  void append(int64_t column, uint32_t chosen, v16 s, v16 v) {
    store_chosen(columns + count, static_cast<int32_t>(column), chosen);
    if (scores != values) store_chosen(scores + count, s, chosen);
    store_chosen(values + count, v, chosen);
    count += std::popcount(chosen);
  }

  // Keeps so many entries above a bound and so many that are equal to it: the first ones.
  void keep(float bound, int64_t& above, int64_t& equal) {
    keep_if([&](int64_t i) { return scores[i] == bound ? equal-- > 0 : !(scores[i] < bound) && above-- > 0; });
  }

  template <class F>
  void keep_if(F stays) {
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++) {
      bool it_stays = stays(i);
      put(kept, columns[i], scores[i], values[i]);
      kept += it_stays;
    }
    count = kept;
  }

  // The bar that the k largest scores set, or, with slack, one that perhaps a few more reach.
  float find_bar(int64_t k, int64_t slack) const {
    return find_bound(k, slack, bar, [this](float x) { return count_from(scores, count, x); });
  }

  // Keeps the k largest, or with slack perhaps a few more.
  void shrink(int64_t k, int64_t slack) {
    if (count <= k) return;
    bar = find_bar(k, slack), beyond = true;
    int64_t above = k + slack, equal = above - count_from(scores, count, bar, true);
    keep(bar, above, equal);
  }

  // Appends another list; then columns are in order again.
  bool merge(const row_list& other, bool scored) {
    int64_t n = count + other.count;
    std::unique_ptr<uint64_t[]> order(new (std::nothrow) uint64_t[n]);
    row_list merged;
    if (order == nullptr || !merged.reserve(n, scored)) return false;
    auto of = [&](int64_t i) -> const row_list& { return i < count ? *this : other; };
    for (int64_t i = 0; i < n; i++) {
      order[i] = static_cast<uint64_t>(of(i).columns[i < count ? i : i - count]) << 32 | static_cast<uint32_t>(i);
    }
    std::sort(order.get(), order.get() + n);
    for (int64_t at = 0; at < n; at++) {
      int64_t i = static_cast<uint32_t>(order[at]), from = i < count ? i : i - count;
      merged.put(at, of(i).columns[from], of(i).scores[from], of(i).values[from]);
    }
    std::swap(values, merged.values), std::swap(scores, merged.scores), std::swap(columns, merged.columns);
    std::swap(room_, merged.room_), std::swap(owned_, merged.owned_);
    count = n;
    return true;
  }

 private:
  int64_t room_ = 0;
  bool owned_ = false;
};

}  // namespace ik::IK_TARGET
