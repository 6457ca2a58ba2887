// Copies a rectangle of a checkpoint's matrix into a packed weight, in the type of the weight.
#include "weight.h"

namespace ik::IK_TARGET {
namespace {

constexpr int64_t type_size(int32_t type) { return type == IK_F64 ? 8 : type == IK_F32 ? 4 : 2; }

// `count` ≤ 16 neighbouring elements; zeros behind them. The source need not be aligned.
IK_INLINE v16 widen(const char* from, int32_t type, int64_t count) {
  alignas(64) float out[16] = {};
  alignas(64) uint16_t half[16] = {};
  switch (type) {
    case IK_F32:
      // Of a known length it is one instruction.
      count == 16 ? std::memcpy(out, from, 64) : std::memcpy(out, from, count * 4);
      break;
    case IK_F64:
      for (int64_t i = 0; i < count; i++) {
        double x;
        std::memcpy(&x, from + i * 8, 8);
        out[i] = static_cast<float>(x);
      }
      break;
    case IK_F16:
      count == 16 ? std::memcpy(half, from, 32) : std::memcpy(half, from, count * 2);
      return load_half(half);
    default:
      count == 16 ? std::memcpy(half, from, 32) : std::memcpy(half, from, count * 2);
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

// Up to 32 elements along k of up to 16 columns from `lane` on, block[k * 16 + n], where k is the weight's
// first k of the block. INT8 rounds whole groups only: to the multiple of largest / 127 that is nearest.
void write_block(const ik_weight& w, int64_t panel, int64_t lane, int64_t k, int64_t ks, int64_t ns,
                 const float* block) {
  if (w.type == IK_F32) {
    float* to = static_cast<float*>(w.data) + (panel * w.inner + k) * 16 + lane;
    m16 mask = lanes(0, ns);
    for (int64_t j = 0; j < ks; j++) store(to + j * 16, load(block + j * 16), mask);
    return;
  }

  if (w.type == IK_BF16) {
    for (int64_t j = 0; j < ks; j++) {
      const char* group = weight_group(w, panel, k + j);
      uint16_t* to = reinterpret_cast<uint16_t*>(const_cast<char*>(group)) + (k + j) % group_size / 2 * 32 +
                     lane * 2 + (k + j) % 2;
      if (ns == 16 && (k + j) % 2 == 0 && j + 1 < ks) {
        uint32_t pairs[16];
        for (int i = 0; i < 16; i++) {
          pairs[i] = round_bf16(block[j * 16 + i]) | round_bf16(block[j * 16 + 16 + i]) << 16;
        }
        std::memcpy(to, pairs, 64);
        j++;
      } else {
        for (int64_t i = 0; i < ns; i++) to[i * 2] = static_cast<uint16_t>(round_bf16(block[j * 16 + i]));
      }
    }
    return;
  }

  char* group = const_cast<char*>(weight_group(w, panel, k));
  float largest[16] = {}, factor[16], scale[16];
  for (int64_t j = 0; j < ks; j++) {
    for (int i = 0; i < 16; i++) {
      float magnitude = __builtin_fabsf(block[j * 16 + i]);
      largest[i] = magnitude > largest[i] || magnitude != magnitude ? magnitude : largest[i];
    }
  }
  for (int i = 0; i < 16; i++) {
    int8_rule rule = int8_rule_of(largest[i]);
    factor[i] = rule.factor;
    scale[i] = rule.scale;
  }
  for (int64_t j = 0; j < ks; j++) {
    char* to = group + j / 4 * 64 + lane * 4 + j % 4;
    for (int64_t i = 0; i < ns; i++) {
      float v = factor[i] == 0.0f ? 0.0f : block[j * 16 + i] * factor[i];
      to[i * 4] = static_cast<char>(std::bit_cast<uint32_t>(v + (IK_ROUNDER + 128.0f)));
    }
  }
  std::memcpy(group + 16 * group_size + lane * 4, scale, ns * 4);
}

// Up to `height` inputs from k on times the outputs of one panel.
void pack_block(const ik_pack_args& a, int64_t k, int64_t height, int64_t panel) {
  alignas(64) float block[16 * group_size];
  int64_t n = most(0, panel * 16 - a.column_start), lane = a.column_start + n - panel * 16;
  int64_t ks = least(height, a.inner - k), ns = least(16 - lane, a.columns - n);
  if (a.weight.type == IK_F32 && ns == 16 && (ks == 16 || a.inner_stride != 1)) {  // the block is what the weight holds
    read_block(a, k, ks, n, ns, static_cast<float*>(a.weight.data) + (panel * a.weight.inner + a.inner_start + k) * 16);
    return;
  }
  for (int64_t j = 0; j < ks; j += 16) read_block(a, k + j, least(16, ks - j), n, ns, block + j * 16);
  write_block(a.weight, panel, lane, a.inner_start + k, ks, ns, block);
}

}  // namespace

ik_status pack(ik_context& context, const ik_pack_args& a) {
  if (a.inner == 0 || a.columns == 0) return IK_OK;
  int64_t first_panel = a.column_start / 16, panels = (a.column_start + a.columns - 1) / 16 - first_panel + 1;
  int64_t height = a.weight.type == IK_I8 ? group_size : 16;
  int64_t blocks = divide_up(a.inner, height);
  // Several threads go along the source's rows, whichever way they lie: its pages may be small, and each is to be visited
  // once. One alone has the source in its cache, and goes along the weight instead.
  int64_t work = a.alone ? 0 : a.inner * a.columns;
  if (a.column_stride == 1 && !a.alone) {
    parallel_for(context, blocks, work, [&](int64_t block) {
      for (int64_t p = 0; p < panels; p++) pack_block(a, block * height, height, first_panel + p);
    });
  } else {
    parallel_for(context, panels, work, [&](int64_t p) {
      for (int64_t block = 0; block < blocks; block++) pack_block(a, block * height, height, first_panel + p);
    });
  }
  return IK_OK;
}

}  // namespace ik::IK_TARGET
