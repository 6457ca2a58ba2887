// What a context holds, and the table of one instruction set's kernels.
#pragma once

#include "interp_kernels.h"
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
};

namespace scalar {
extern const kernel_table kernels;
}
namespace avx2 {
extern const kernel_table kernels;
}
namespace avx512 {
extern const kernel_table kernels;
}

}  // namespace ik

struct ik_context {
  ik_context(int threads, const ik::kernel_table& table) : pool(threads), kernels(table) {}

  ik::thread_pool pool;
  const ik::kernel_table& kernels;
};
