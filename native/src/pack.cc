// Copies a rectangle of a checkpoint's matrix into a packed weight, widening it to fp32.
#include "kernels.h"

namespace ik::IK_TARGET {
namespace {

constexpr int64_t type_size(int32_t type) { return type == IK_F64 ? 8 : type == IK_F32 ? 4 : 2; }

// `count` ≤ 16 neighbouring elements; zeros behind them. The source need not be aligned.
v16 widen(const char* from, int32_t type, int64_t count) {
  alignas(64) float out[16] = {};
  alignas(64) uint16_t half[16] = {};
  switch (type) {
    case IK_F32:
      std::memcpy(out, from, count * 4);
      break;
    case IK_F64:
      for (int64_t i = 0; i < count; i++) {
        double x;
        std::memcpy(&x, from + i * 8, 8);
        out[i] = static_cast<float>(x);
      }
      break;
    case IK_F16:
      std::memcpy(half, from, count * 2);
      return load_half(half);
    default:
      std::memcpy(half, from, count * 2);
      for (int i = 0; i < 16; i++) {
        uint32_t b = static_cast<uint32_t>(half[i]) << 16;
        std::memcpy(out + i, &b, 4);
      }
  }
  return load(out);
}

// Inputs [k, k + ks) times outputs [n, n + ns), ks and ns ≤ 16, as to[k * 16 + n].
void read_block(const ik_pack_args& a, int64_t k, int64_t ks, int64_t n, int64_t ns, float* to) {
  int64_t size = type_size(a.type);
  const char* from = static_cast<const char*>(a.source) + (k * a.inner_stride + n * a.column_stride) * size;
  if (a.column_stride == 1) {
    for (int64_t i = 0; i < ks; i++) store(to + i * 16, widen(from + i * a.inner_stride * size, a.type, ns));
  } else if (a.inner_stride == 1) {
    alignas(64) float rows[256];
    for (int64_t j = 0; j < 16; j++) {
      store(rows + j * 16, j < ns ? widen(from + j * a.column_stride * size, a.type, ks) : zero());
    }
    transpose(rows, 16, 16, to);
  } else {
    for (int64_t i = 0; i < ks; i++) {
      for (int64_t j = 0; j < ns; j++) {
        to[i * 16 + j] = first(widen(from + (i * a.inner_stride + j * a.column_stride) * size, a.type, 1));
      }
    }
  }
}

}  // namespace

ik_status pack(ik_context& context, const ik_pack_args& a) {
  if (a.inner == 0 || a.columns == 0) return IK_OK;
  constexpr int64_t group = 8;  // panels of one task
  int64_t first_panel = a.column_start / 16, panels = (a.column_start + a.columns - 1) / 16 - first_panel + 1;
  int64_t k_blocks = divide_up(a.inner, 16);
  parallel_for(context, divide_up(panels, group), a.inner * a.columns, [&](int64_t task) {
    alignas(64) float block[256];
    int64_t from = task * group, count = least(group, panels - from);
    for (int64_t i = 0; i < count * k_blocks; i++) {
      // Along the source's rows, whichever way they lie.
      int64_t k = (a.column_stride == 1 ? i / count : i % k_blocks) * 16;
      int64_t panel = first_panel + from + (a.column_stride == 1 ? i % count : i / k_blocks);
      int64_t n = most(0, panel * 16 - a.column_start);
      int64_t lane = a.column_start + n - panel * 16;
      int64_t ks = least(16, a.inner - k), ns = least(16 - lane, a.columns - n);
      read_block(a, k, ks, n, ns, block);
      float* to = a.weight.data + (panel * a.weight.inner + a.inner_start + k) * 16 + lane;
      m16 mask = lanes(0, ns);
      for (int64_t j = 0; j < ks; j++) store(to + j * 16, load(block + j * 16), mask);
    }
  });
  return IK_OK;
}

}  // namespace ik::IK_TARGET
