// What the machine can do, for comparison: arithmetic and memory at full speed.
#include "kernels.h"

namespace ik::IK_TARGET {

double spend_flops(int64_t steps, float* sink) {
  constexpr int chains = max_tile_rows * max_tile_panels;  // as many as a register tile has
  volatile float factor = 0.999f, offset = 1e-3f;
  float start[16 + chains];  // no two registers alike, or the compiler would compute one of them only
  for (int i = 0; i < 16 + chains; i++) start[i] = static_cast<float>(i * i);
  v16 x = splat(factor), y = splat(offset), c[chains];
#pragma GCC unroll 32
  for (int i = 0; i < chains; i++) c[i] = load(start + i);
  for (int64_t step = 0; step < steps; step++) {
#pragma GCC unroll 32
    for (int i = 0; i < chains; i++) c[i] = fma(c[i], x, y);
  }
  v16 total = zero();
  for (int i = 0; i < chains; i++) total = total + c[i];
  *sink = sum(total);
  return 2.0 * 16 * chains * static_cast<double>(steps);
}

float read(const float* data, int64_t floats) {
  constexpr int streams = 4;  // as in a one-row product
  int64_t length = floats / streams / 16 * 16;
  v16 c[streams];
#pragma GCC unroll 4
  for (int i = 0; i < streams; i++) c[i] = zero();
  for (int64_t at = 0; at < length; at += 16) {
#pragma GCC unroll 4
    for (int i = 0; i < streams; i++) c[i] = c[i] + load(data + i * length + at);
  }
  return sum(c[0] + c[1] + c[2] + c[3]);
}

#define IK_ENTRY(name) name,
const kernel_table kernels = {IK_OPS(IK_ENTRY) spend_flops, read, spend_bf16, &f32_product, &bf16_product, &int8_product};
#undef IK_ENTRY

}  // namespace ik::IK_TARGET
