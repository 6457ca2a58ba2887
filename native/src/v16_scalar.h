// Sixteen floats in plain C++: the floor, and the definition of what the others do.
#pragma once

#include <cmath>

namespace ik::IK_TARGET {

constexpr int max_tile_rows = 4;    // rows of a register tile of a product,
constexpr int max_tile_panels = 1;  // and its panels of 16 columns

struct v16 {
  float lane[16];
};

struct m16 {
  uint32_t bits;
};

#define IK_LANES for (int i = 0; i < 16; i++)

IK_INLINE uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

IK_INLINE float float_of(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

// Lanes from ≤ i < to, 0 ≤ from, to ≤ 16.
IK_INLINE m16 lanes(int64_t from, int64_t to) { return {to > from ? (1u << to) - (1u << from) : 0u}; }

IK_INLINE v16 splat(float x) {
  v16 r;
  IK_LANES r.lane[i] = x;
  return r;
}

IK_INLINE v16 load(const float* p) {
  v16 r;
  IK_LANES r.lane[i] = p[i];
  return r;
}

// Lanes outside the mask become +0.
IK_INLINE v16 load(const float* p, m16 m) {
  v16 r;
  IK_LANES r.lane[i] = (m.bits >> i & 1) != 0 ? p[i] : 0.0f;
  return r;
}

IK_INLINE void store(float* p, v16 a) { IK_LANES p[i] = a.lane[i]; }

// Past the caches, to whole lines of them; finished before another thread is told.
IK_INLINE void stream(float* p, v16 a) { store(p, a); }
IK_INLINE void finish_streams() {}

IK_INLINE void store(float* p, v16 a, m16 m) { IK_LANES if ((m.bits >> i & 1) != 0) p[i] = a.lane[i]; }

#define IK_BINARY(name, expression)  \
  IK_INLINE v16 name(v16 x, v16 y) { \
    v16 r;                           \
    IK_LANES {                       \
      float a = x.lane[i];           \
      float b = y.lane[i];           \
      r.lane[i] = expression;        \
    }                                \
    return r;                        \
  }
IK_BINARY(operator+, a + b)
IK_BINARY(operator-, a - b)
IK_BINARY(operator*, a* b)
IK_BINARY(operator/, a / b)
IK_BINARY(max, a > b ? a : b)
IK_BINARY(min, a < b ? a : b)
// The magnitude of a with the sign of b.
IK_BINARY(copysign, float_of((bits_of(a) & 0x7fffffffu) | (bits_of(b) & 0x80000000u)))
#undef IK_BINARY

// a·b + c, rounded once.
IK_INLINE v16 fma(v16 a, v16 b, v16 c) {
  v16 r;
  IK_LANES r.lane[i] = __builtin_fmaf(a.lane[i], b.lane[i], c.lane[i]);
  return r;
}

IK_INLINE v16 sqrt(v16 a) {
  v16 r;
  IK_LANES r.lane[i] = __builtin_sqrtf(a.lane[i]);
  return r;
}

IK_INLINE v16 abs(v16 a) {
  v16 r;
  IK_LANES r.lane[i] = float_of(bits_of(a.lane[i]) & 0x7fffffffu);
  return r;
}

IK_INLINE m16 less(v16 a, v16 b) {
  uint32_t bits = 0;
  IK_LANES bits |= static_cast<uint32_t>(a.lane[i] < b.lane[i]) << i;
  return {bits};
}

IK_INLINE m16 operator~(m16 m) { return {~m.bits & 0xffffu}; }

IK_INLINE m16 not_less_equal(v16 a, v16 b) {
  uint32_t bits = 0;
  IK_LANES bits |= static_cast<uint32_t>(!(a.lane[i] <= b.lane[i])) << i;
  return {bits};
}

// One bit for each lane.
IK_INLINE uint32_t bits(m16 m) { return m.bits; }

IK_INLINE v16 select(m16 m, v16 yes, v16 no) {
  v16 r;
  IK_LANES r.lane[i] = (m.bits >> i & 1) != 0 ? yes.lane[i] : no.lane[i];
  return r;
}

// p · 2^n for numbers that this keeps normal; n comes as n + IK_ROUNDER, whose lowest bits are n's.
IK_INLINE v16 shift2(v16 p, v16 n) {
  v16 r;
  IK_LANES r.lane[i] = float_of(bits_of(p.lane[i]) + (bits_of(n.lane[i]) << 23));
  return r;
}

// p · 2^n, rounded once, for whole n in [-252, 252] and normal p that n / 2 does not take out of range.
IK_INLINE v16 scale2(v16 p, v16 n) {
  v16 r;
  IK_LANES {
    float half = (n.lane[i] * 0.5f + IK_ROUNDER) - IK_ROUNDER;
    float rest = n.lane[i] - half;
    float s = float_of((bits_of(half + IK_ROUNDER) + 127) << 23);
    float t = float_of((bits_of(rest + IK_ROUNDER) + 127) << 23);
    r.lane[i] = p.lane[i] * s * t;
  }
  return r;
}

// x = m · 2^e with m in [√½, √2), for positive normal x.
IK_INLINE v16 split(v16 x, v16* e) {
  v16 m;
  IK_LANES {
    uint32_t b = bits_of(x.lane[i]);
    int32_t n = static_cast<int32_t>(b - 0x3f3504f3u) >> 23;
    e->lane[i] = static_cast<float>(n);
    m.lane[i] = float_of(b - (static_cast<uint32_t>(n) << 23));
  }
  return m;
}

// Sixteen IEEE half-precision numbers.
IK_INLINE v16 load_half(const uint16_t* p) {
  v16 r;
  IK_LANES {
    uint32_t h = p[i] & 0x7fffu, sign = static_cast<uint32_t>(p[i] & 0x8000u) << 16;
    uint32_t b = (h << 13) + (112u << 23);                           // normal
    if (h >= 0x7c00u) b = (h << 13) | 0x7f800000u;                   // infinity, NaN
    if (h > 0x7c00u) b |= 0x00400000u;                               // which becomes quiet
    if (h < 0x0400u) b = bits_of(static_cast<float>(h) * 0x1p-24f);  // subnormal, zero
    r.lane[i] = float_of(b | sign);
  }
  return r;
}

// Sixteen pairs of BF16: their even and their odd elements.
IK_INLINE v16 even_bf16(const void* line) {
  uint32_t pairs[16];
  std::memcpy(pairs, line, 64);
  v16 r;
  IK_LANES r.lane[i] = float_of(pairs[i] << 16);
  return r;
}
IK_INLINE v16 odd_bf16(const void* line) {
  uint32_t pairs[16];
  std::memcpy(pairs, line, 64);
  v16 r;
  IK_LANES r.lane[i] = float_of(pairs[i] & 0xffff0000u);
  return r;
}

// Sixteen 32-bit integers, and sixteen fours of 8-bit numbers w that are stored as w + 128.
struct i16 {
  int32_t lane[16];
};
struct fours {
  const uint8_t* line;
};
IK_INLINE fours load_fours(const void* line) { return {static_cast<const uint8_t*>(line)}; }
// What sums of dot() begin with: some versions multiply w + 128 and are given -128 · Σ x to make up for it.
IK_INLINE i16 dot_start(int32_t) { return {}; }
// Each lane's c + Σ w · x over its four w and the four bytes of x, exactly, for |w| and |x| ≤ 127.
IK_INLINE i16 dot(i16 c, fours w, int32_t x) {
  IK_LANES {
    for (int j = 0; j < 4; j++) c.lane[i] += (w.line[i * 4 + j] - 128) * static_cast<int8_t>(x >> (8 * j));
  }
  return c;
}
IK_INLINE v16 to_float(i16 a) {
  v16 r;
  IK_LANES r.lane[i] = static_cast<float>(a.lane[i]);
  return r;
}

// The tree: i + (i + 8), i + (i + 4), i + (i + 2), 0 + 1.
IK_INLINE float sum(v16 a) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) a.lane[i] = a.lane[i] + a.lane[i + half];
  }
  return a.lane[0];
}

// The largest lane; unspecified if there is a NaN.
IK_INLINE float largest(v16 a) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) a.lane[i] = a.lane[i] > a.lane[i + half] ? a.lane[i] : a.lane[i + half];
  }
  return a.lane[0];
}

// Lanes 2i and 2i + 1 exchanged.
IK_INLINE v16 swap_neighbours(v16 a) {
  v16 r;
  IK_LANES r.lane[i] = a.lane[i ^ 1];
  return r;
}

// Eight floats, each in lanes 2i and 2i + 1.
IK_INLINE v16 load_twice(const float* p) {
  v16 r;
  IK_LANES r.lane[i] = p[i / 2];
  return r;
}

// p[lane[i]] in lane i, lanes of 16 floats.
IK_INLINE v16 load_lanes(const float* p, const int32_t* lane) {
  v16 r;
  IK_LANES r.lane[i] = p[lane[i]];
  return r;
}

// to[c * 16 + r] = from[r * stride + c], 16 by 16; where there are fewer rows, the last one is repeated.
IK_INLINE void transpose(const float* from, int64_t stride, int64_t rows, float* to) {
  for (int64_t r = 0; r < 16; r++) {
    const float* row = from + (r < rows ? r : rows - 1) * stride;
    for (int c = 0; c < 16; c++) to[c * 16 + r] = row[c];
  }
}

// Asks for the cache line at p in the first-level cache.
IK_INLINE void prefetch(const float* p) { __builtin_prefetch(p); }

#undef IK_LANES

}  // namespace ik::IK_TARGET
