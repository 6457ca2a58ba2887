// What a context holds, and the table of one instruction set's kernels.
#pragma once

#include "interp_kernels.h"
#include "product.h"
#include "thread_pool.h"

namespace ik {

struct kernel_table {
#define IK_ENTRY(name) ik_status (*name)(ik_context & context, const ik_##name##_args& args);
  IK_OPS(IK_ENTRY)
#undef IK_ENTRY

  // Runs fused multiply-adds for a fixed number of steps on the calling thread; returns how many operations
  // those were.
  double (*spend_flops)(int64_t steps, float* sink);
  // Reads floats at memory speed; returns something that depends on all of them.
  float (*read)(const float* data, int64_t floats);

  // The same for products of BF16 numbers.
  double (*spend_bf16)(int64_t steps);

  const product_kind* f32;
  const product_kind* bf16;
  const product_kind* int8;

  const product_kind& product(int32_t type) const { return *(type == IK_F32 ? f32 : type == IK_BF16 ? bf16 : int8); }
};

#define IK_DECLARE_TARGET(target)             \
  namespace target {                          \
  extern const kernel_table kernels;          \
  extern const product_kind f32_product;      \
  extern const product_kind bf16_product;     \
  extern const product_kind int8_product;     \
  double spend_bf16(int64_t steps);           \
  }
IK_DECLARE_TARGET(scalar)
IK_DECLARE_TARGET(avx2)
IK_DECLARE_TARGET(avx512)
IK_DECLARE_TARGET(avx512_bf16)  // only narrow products; the rest is avx512's
IK_DECLARE_TARGET(amx)          // only products with BF16; the rest is avx512_bf16's
#undef IK_DECLARE_TARGET

}  // namespace ik

struct ik_context {
  ik_context(int threads, const ik::kernel_table& table) : pool(threads), kernels(table) {}

  ik::thread_pool pool;
  const ik::kernel_table kernels;
};
