// What the kernels of one instruction set share: their declarations, partial vectors, parallel loops.
#pragma once

#include "context.h"
#include "math16.h"

namespace ik::IK_TARGET {

#define IK_DECLARE_KERNEL(name) ik_status name(ik_context& context, const ik_##name##_args& args);
IK_OPS(IK_DECLARE_KERNEL)
#undef IK_DECLARE_KERNEL

// Applies an ik_activation to whole vectors, in place.
void apply_activation(int32_t activation, float* x, int64_t vectors);

// Whether all positions of a rotation lie in its tables.
bool has_positions(const ik_rotation& rotation, int64_t tokens);

// Rotates heads of one token that lie side by side. out may be x, unless pairs are moved.
void rotate_heads(const ik_rotation& rotation, int64_t token, const float* x, float* out, int64_t heads);

double spend_flops(int64_t steps, float* sink);
float read(const float* data, int64_t floats);

// The first `count` floats (16 if it is more), zeros behind them.
IK_INLINE v16 load_some(const float* p, int64_t count) {
  return count >= 16 ? load(p) : load(p, lanes(0, count));
}

IK_INLINE void store_some(float* p, v16 v, int64_t count) {
  if (count >= 16) {
    store(p, v);
  } else {
    store(p, v, lanes(0, count));
  }
}

IK_INLINE float* row(const ik_matrix& m, int64_t r) { return m.data + r * m.stride; }

IK_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
IK_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
IK_INLINE int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Larger elements have larger keys; NaN has the largest; -0 has that of +0. Below it the column, lower ones
// larger, so that no two keys of a row are equal.
IK_INLINE uint64_t key_of(float x, int64_t column) {
  float y = x + 0.0f;
  uint32_t b;
  std::memcpy(&b, &y, 4);
  b = y != y ? 0xffffffffu : (b >> 31) != 0 ? ~b : b | 0x80000000u;
  return static_cast<uint64_t>(b) << 32 | (0xffffffffu - static_cast<uint32_t>(column));
}

IK_INLINE int64_t column_of(uint64_t key) { return 0xffffffffu - static_cast<uint32_t>(key); }

// f(task) for every task on the context's threads. `work` is roughly how many elements or multiply-adds the
// whole loop touches: below some 5 µs of it, sharing costs more than it gains.
template <class F>
static void parallel_for(ik_context& context, int64_t tasks, int64_t work, F f) {
  constexpr int64_t worth_it = 1 << 15;
  if (work < worth_it) {
    for (int64_t i = 0; i < tasks; i++) f(i);
  } else {
    context.pool.run(
        tasks, [](void* state, int64_t task) { (*static_cast<F*>(state))(task); }, &f);
  }
}

// f(from, to) for blocks of rows, of some 16K elements each.
template <class F>
static void for_rows(ik_context& context, int64_t rows, int64_t columns, F f) {
  int64_t block = most(1, 16384 / most(1, columns));
  parallel_for(context, divide_up(rows, block), rows * columns,
               [&](int64_t task) { f(task * block, least(rows, (task + 1) * block)); });
}

}  // namespace ik::IK_TARGET
