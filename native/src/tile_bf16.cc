// Register tiles of products with BF16 weights: fp32 sums of products of BF16 numbers, which are exact.
//
// Three ways, each with one order of summation for every shape: widened to fp32 and multiplied as fp32 is,
// one chain along k (scalar, AVX2, AVX-512); by VDPBF16PS, pairs of k in one chain (AVX-512 BF16); by
// TDPBF16PS, a chain each for even and odd k of a group of 32, whose sum joins the chain of groups (AMX).
#include <bit>

#include "tile.h"
#include "weight.h"

#if defined(IK_TARGET_AMX)
#include <immintrin.h>
#endif

namespace ik::IK_TARGET {
namespace {

#if defined(IK_TARGET_BF16)
using element = uint16_t;
element narrow(float x) { return static_cast<uint16_t>(round_bf16(x)); }
#else
using element = float;
element narrow(float x) { return std::bit_cast<float>(round_bf16(x) << 16); }
#endif

void prepare(const ik_matrix& x, int64_t rows, int64_t start, int64_t length, char* to,
             int64_t group_stride) {
  for (int64_t g = -start; g < length; g += group_size, to += group_stride) {
    element* out = reinterpret_cast<element*>(to);
    bool whole = g >= 0 && g + group_size <= length;
    for (int64_t r = 0; r < rows; r++, out += group_size) {
      const float* from = row(x, r);
      if (whole) {
        for (int i = 0; i < group_size; i++) out[i] = narrow(from[g + i]);
      } else {
        for (int64_t i = 0; i < group_size; i++)
          out[i] = i < -g || i >= length - g ? element{} : narrow(from[g + i]);
      }
    }
  }
}

#if defined(IK_TARGET_AMX)

// The tile registers' shapes: 0 to 3 hold sums, 4 and 5 rows of X, 6 and 7 panels.
struct alignas(64) tile_shapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// For tiles with so many rows of X. Not by _tile_loadconfig, which tells the compiler of the first eight
// bytes only.
void configure(int64_t rows) {
  tile_shapes shapes;
  for (int t = 0; t < 8; t++) {
    bool upper = t < 2 || t == 4 || rows <= 16;
    shapes.rows[t] = static_cast<uint8_t>(t >= 6 ? 16 : upper ? least(rows, 16) : rows - 16);
    shapes.row_bytes[t] = 64;
  }
  asm volatile("ldtilecfg %0" : : "m"(shapes));
}

void zero_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

double spend(int64_t steps) {
  configure(16);
  for (int64_t step = 0; step < steps; step++) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return 4.0 * 2 * 16 * 16 * group_size * static_cast<double>(steps);
}

constexpr int64_t most_rows = 32, unit_rows = 16;
constexpr int64_t unit_group_bytes = unit_rows * group_size * 2;
int64_t panels_of(int64_t rows) { return rows > 16 ? 2 : 4; }

// 17 to 32 rows times 1 or 2 panels.
void tall(const product_tile& t) {
  const char *x = t.x, *w = t.w;
  int64_t unit_stride = t.unit_stride, panel_stride = t.panel_stride, groups = t.length / group_size;
  int64_t panels = t.panels, stride = panels * 64;
  float *acc = t.acc, *lower = acc + 16 * panels * 16;
  if (t.first) {
    zero_sums();
  } else {
    _tile_loadd(0, acc, stride);
    _tile_loadd(2, lower, stride);
    if (panels == 2) {
      _tile_loadd(1, acc + 16, stride);
      _tile_loadd(3, lower + 16, stride);
    }
  }
  if (panels == 2) {
    for (int64_t g = 0; g < groups; g++, x += unit_group_bytes, w += bf16_group_bytes) {
      _tile_loadd(4, x, 64);
      _tile_loadd(6, w, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, w + panel_stride, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, x + unit_stride, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(1, acc + 16, stride);
    _tile_stored(3, lower + 16, stride);
  } else {
    for (int64_t g = 0; g < groups; g++, x += unit_group_bytes, w += bf16_group_bytes) {
      _tile_loadd(4, x, 64);
      _tile_loadd(6, w, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(5, x + unit_stride, 64);
      _tile_dpbf16ps(2, 5, 6);
    }
  }
  _tile_stored(0, acc, stride);
  _tile_stored(2, lower, stride);
}

// What a panel will need soon: these tiles wait for memory.
void prefetch_group(const char* w) {
  constexpr int64_t ahead = 4 * bf16_group_bytes;
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) _mm_prefetch(w + ahead + i * 64, _MM_HINT_T0);
}

// Up to 16 rows times up to 4 panels.
template <int P>
void low(const product_tile& t) {
  constexpr int64_t stride = P * 64;
  const char *x = t.x, *w = t.w;
  int64_t panel_stride = t.panel_stride, groups = t.length / group_size;
  float* acc = t.acc;
  if (t.first) {
    zero_sums();
  } else {
    _tile_loadd(0, acc, stride);
    if constexpr (P > 1) _tile_loadd(1, acc + 16, stride);
    if constexpr (P > 2) _tile_loadd(2, acc + 32, stride);
    if constexpr (P > 3) _tile_loadd(3, acc + 48, stride);
  }
  for (int64_t g = 0; g < groups; g++, x += unit_group_bytes, w += bf16_group_bytes) {
    _tile_loadd(4, x, 64);
    prefetch_group(w);
    _tile_loadd(6, w, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (P > 1) {
      prefetch_group(w + panel_stride);
      _tile_loadd(7, w + panel_stride, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (P > 2) {
      prefetch_group(w + 2 * panel_stride);
      _tile_loadd(6, w + 2 * panel_stride, 64);
      _tile_dpbf16ps(2, 4, 6);
    }
    if constexpr (P > 3) {
      prefetch_group(w + 3 * panel_stride);
      _tile_loadd(7, w + 3 * panel_stride, 64);
      _tile_dpbf16ps(3, 4, 7);
    }
  }
  _tile_stored(0, acc, stride);
  if constexpr (P > 1) _tile_stored(1, acc + 16, stride);
  if constexpr (P > 2) _tile_stored(2, acc + 32, stride);
  if constexpr (P > 3) _tile_stored(3, acc + 48, stride);
}

void tile(const product_tile& t) {
  configure(t.rows);
  if (t.rows > 16) {
    tall(t);
  } else {
    auto f = t.panels == 1 ? low<1> : t.panels == 2 ? low<2> : t.panels == 3 ? low<3> : low<4>;
    f(t);
  }
  _tile_release();  // Between calls no thread holds tile registers, which are 8 KiB at a context switch.
}

#else

#if defined(IK_TARGET_BF16)

double spend(int64_t steps) {
  constexpr int chains = max_tile_rows * max_tile_panels;
  volatile int32_t factor = 0x3f7f3f7f;
  __m512 c[chains];
  __m512bh x = (__m512bh)_mm512_set1_epi32(factor), y = (__m512bh)_mm512_set1_epi32(factor);
#pragma GCC unroll 32
  for (int i = 0; i < chains; i++) c[i] = _mm512_set1_ps(static_cast<float>(factor + i));
  for (int64_t step = 0; step < steps; step++) {
#pragma GCC unroll 32
    for (int i = 0; i < chains; i++) c[i] = _mm512_dpbf16_ps(c[i], x, y);
  }
  volatile float sink = 0;
#pragma GCC unroll 32
  for (int i = 0; i < chains; i++) sink = sink + _mm512_reduce_add_ps(c[i]);
  return 2.0 * 32 * chains * static_cast<double>(steps);
}

#else

double spend(int64_t steps) {
  float sink;
  return spend_flops(steps, &sink);
}

#endif

constexpr int64_t most_rows = max_tile_rows, unit_rows = 1;
int64_t panels_of(int64_t rows) { return tile_panels(rows); }

constexpr int64_t row_bytes = group_size * sizeof(element);

// Two steps of k.
template <int R, int P>
IK_INLINE void step(v16 (&c)[R][P], const char* x, const char* w, int64_t panel_stride) {
#if defined(IK_TARGET_BF16)
  __m512bh b[P];
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) b[p] = (__m512bh)_mm512_loadu_si512(w + p * panel_stride);
#pragma GCC unroll 16
  for (int r = 0; r < R; r++) {
    int32_t two;
    std::memcpy(&two, x + r * row_bytes, 4);
    __m512bh a = (__m512bh)_mm512_set1_epi32(two);
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) c[r][p].r = _mm512_dpbf16_ps(c[r][p].r, a, b[p]);
  }
#else
#pragma GCC unroll 2
  for (int odd = 0; odd < 2; odd++) {
    v16 b[P];
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) b[p] = odd ? odd_bf16(w + p * panel_stride) : even_bf16(w + p * panel_stride);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      float one;
      std::memcpy(&one, x + r * row_bytes + odd * 4, 4);
      v16 a = splat(one);
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) c[r][p] = fma(a, b[p], c[r][p]);
    }
  }
#endif
}

template <int R, int P>
void multiply(const product_tile& t) {
  v16 c[R][P];
  load_sums(t, c);
  const char *x = t.x, *w = t.w, *next = t.next;
  int64_t panel_stride = t.panel_stride;
  for (int64_t left = t.length; left > 0; left -= group_size, x += t.group_stride) {
    next = prefetch_lines<P>(t, next);
#pragma GCC unroll 4
    for (int pair = 0; pair < group_size / 2; pair++, w += 64) {
      step(c, x + pair * 2 * sizeof(element), w, panel_stride);
    }
  }
  store_sums(t, c);
}

void tile(const product_tile& t) {
  with_shape<max_tile_rows, tile_panels>(t.rows, t.panels, [&]<int R, int P>() { multiply<R, P>(t); });
}

#endif

}  // namespace

const product_kind bf16_product = {group_size, group_size * sizeof(element),
                                   group_size, bf16_group_bytes,
                                   768,        most_rows,
                                   unit_rows,  panels_of,
                                   prepare,    tile};

double spend_bf16(int64_t steps) { return spend(steps); }

}  // namespace ik::IK_TARGET
