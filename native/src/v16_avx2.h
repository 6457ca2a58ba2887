// Sixteen floats in two AVX registers. Meanings: v16_scalar.h.
#pragma once

#include <immintrin.h>

namespace ik::IK_TARGET {

constexpr int max_tile_rows = 6;  // 6 × 1 × 2 sums, a panel in two and a broadcast: 15 of 16 registers
constexpr int max_tile_panels = 1;

struct v16 {
  __m256 lo, hi;
};

struct m16 {
  __m256i lo, hi;  // all bits of a lane, or none
};

IK_INLINE m16 lanes(int64_t from, int64_t to) {
  __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), eight = _mm256_set1_epi32(8);
  __m256i low = _mm256_set1_epi32(static_cast<int>(from)), high = _mm256_set1_epi32(static_cast<int>(to));
  __m256i upper = _mm256_add_epi32(lane, eight);
  return {_mm256_andnot_si256(_mm256_cmpgt_epi32(low, lane), _mm256_cmpgt_epi32(high, lane)),
          _mm256_andnot_si256(_mm256_cmpgt_epi32(low, upper), _mm256_cmpgt_epi32(high, upper))};
}

IK_INLINE v16 splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
IK_INLINE v16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
IK_INLINE v16 load(const float* p, m16 m) {
  return {_mm256_maskload_ps(p, m.lo), _mm256_maskload_ps(p + 8, m.hi)};
}
IK_INLINE void store(float* p, v16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
IK_INLINE void store(float* p, v16 a, m16 m) {
  _mm256_maskstore_ps(p, m.lo, a.lo);
  _mm256_maskstore_ps(p + 8, m.hi, a.hi);
}

IK_INLINE void stream(float* p, v16 a) {
  _mm256_stream_ps(p, a.lo);
  _mm256_stream_ps(p + 8, a.hi);
}
IK_INLINE void finish_streams() { _mm_sfence(); }

IK_INLINE v16 operator+(v16 a, v16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
IK_INLINE v16 operator-(v16 a, v16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
IK_INLINE v16 operator*(v16 a, v16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
IK_INLINE v16 operator/(v16 a, v16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
IK_INLINE v16 fma(v16 a, v16 b, v16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
IK_INLINE v16 sqrt(v16 a) { return {_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
IK_INLINE v16 max(v16 a, v16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
IK_INLINE v16 min(v16 a, v16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }

IK_INLINE v16 abs(v16 a) {
  __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}

IK_INLINE v16 copysign(v16 a, v16 b) {
  __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(sign, a.lo), _mm256_and_ps(sign, b.lo)),
          _mm256_or_ps(_mm256_andnot_ps(sign, a.hi), _mm256_and_ps(sign, b.hi))};
}

IK_INLINE m16 less(v16 a, v16 b) {
  return {_mm256_castps_si256(_mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
          _mm256_castps_si256(_mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}

IK_INLINE m16 not_less_equal(v16 a, v16 b) {
  return {_mm256_castps_si256(_mm256_cmp_ps(a.lo, b.lo, _CMP_NLE_UQ)),
          _mm256_castps_si256(_mm256_cmp_ps(a.hi, b.hi, _CMP_NLE_UQ))};
}

IK_INLINE m16 operator~(m16 m) {
  __m256i all = _mm256_set1_epi32(-1);
  return {_mm256_xor_si256(m.lo, all), _mm256_xor_si256(m.hi, all)};
}

IK_INLINE uint32_t bits(m16 m) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(m.lo))) |
         static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(m.hi))) << 8;
}

IK_INLINE v16 select(m16 m, v16 yes, v16 no) {
  return {_mm256_blendv_ps(no.lo, yes.lo, _mm256_castsi256_ps(m.lo)),
          _mm256_blendv_ps(no.hi, yes.hi, _mm256_castsi256_ps(m.hi))};
}

IK_INLINE __m256 shift2(__m256 p, __m256 n) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(n), 23)));
}
IK_INLINE v16 shift2(v16 p, v16 n) { return {shift2(p.lo, n.lo), shift2(p.hi, n.hi)}; }

// 2^n for whole n in [-126, 127].
IK_INLINE __m256 power_of_two(__m256 n) {
  __m256i b = _mm256_castps_si256(_mm256_add_ps(n, _mm256_set1_ps(IK_ROUNDER)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(b, _mm256_set1_epi32(127)), 23));
}

IK_INLINE v16 scale2(v16 p, v16 n) {
  v16 rounder = splat(IK_ROUNDER);
  v16 half = (n * splat(0.5f) + rounder) - rounder;
  v16 rest = n - half;
  v16 s = {power_of_two(half.lo), power_of_two(half.hi)}, t = {power_of_two(rest.lo), power_of_two(rest.hi)};
  return p * s * t;
}

IK_INLINE __m256 split(__m256 x, __m256* e) {
  __m256i b = _mm256_castps_si256(x);
  __m256i n = _mm256_srai_epi32(_mm256_sub_epi32(b, _mm256_set1_epi32(0x3f3504f3)), 23);
  *e = _mm256_cvtepi32_ps(n);
  return _mm256_castsi256_ps(_mm256_sub_epi32(b, _mm256_slli_epi32(n, 23)));
}

IK_INLINE v16 split(v16 x, v16* e) { return {split(x.lo, &e->lo), split(x.hi, &e->hi)}; }

IK_INLINE v16 load_half(const uint16_t* p) {
  const __m128i* h = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(h)), _mm256_cvtph_ps(_mm_loadu_si128(h + 1))};
}

IK_INLINE v16 even_bf16(const void* line) {
  const __m256i* p = static_cast<const __m256i*>(line);
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(p), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(p + 1), 16))};
}
IK_INLINE v16 odd_bf16(const void* line) {
  const __m256i* p = static_cast<const __m256i*>(line);
  __m256i high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(p), high)),
          _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(p + 1), high))};
}

struct i16 {
  __m256i lo, hi;
};
struct fours {
  __m256i lo, hi;  // signed
};
IK_INLINE fours load_fours(const void* line) {
  const __m256i* p = static_cast<const __m256i*>(line);
  __m256i offset = _mm256_set1_epi8(-128);
  return {_mm256_xor_si256(_mm256_loadu_si256(p), offset), _mm256_xor_si256(_mm256_loadu_si256(p + 1), offset)};
}
IK_INLINE i16 dot_start(int32_t) { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
// |w| · (x with the sign of w): no sum of two such products leaves 16 bits, since neither is -128.
IK_INLINE __m256i dot8(__m256i c, __m256i w, __m256i x) {
  __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
  return _mm256_add_epi32(c, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
IK_INLINE i16 dot(i16 c, fours w, int32_t x) {
  __m256i v = _mm256_set1_epi32(x);
  return {dot8(c.lo, w.lo, v), dot8(c.hi, w.hi, v)};
}
IK_INLINE v16 to_float(i16 a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }

IK_INLINE float sum(v16 a) {
  __m256 e = _mm256_add_ps(a.lo, a.hi);
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

IK_INLINE float largest(v16 a) {
  __m256 e = _mm256_max_ps(a.lo, a.hi);
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

IK_INLINE v16 swap_neighbours(v16 a) {
  return {_mm256_permute_ps(a.lo, 0xb1), _mm256_permute_ps(a.hi, 0xb1)};
}

IK_INLINE v16 load_twice(const float* p) {
  __m256 x = _mm256_loadu_ps(p);
  __m256 even = _mm256_unpacklo_ps(x, x), odd = _mm256_unpackhi_ps(x, x);  // 0011 4455 and 2233 6677
  return {_mm256_permute2f128_ps(even, odd, 0x20), _mm256_permute2f128_ps(even, odd, 0x31)};
}

IK_INLINE v16 load_lanes(const float* p, const int32_t* lane) {
  __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lane)), high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lane + 8));
  return {_mm256_i32gather_ps(p, low, 4), _mm256_i32gather_ps(p, high, 4)};
}

IK_INLINE void prefetch(const float* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

// 8 by 8: to[c * 16 + r] = from[row(first + r) * stride + c].
IK_INLINE void transpose8(const float* from, int64_t stride, int64_t first, int64_t rows, float* to) {
  auto row = [=](int64_t i) { return from + (first + i < rows ? first + i : rows - 1) * stride; };
  __m256 a[8], b[8];
  for (int i = 0; i < 4; i++) {  // rows i and i + 4 side by side in halves
    const float *low = row(i), *high = row(i + 4);
    a[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
    a[i + 4] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low + 4)), _mm_loadu_ps(high + 4), 1);
  }
  for (int h = 0; h < 8; h += 4) {
    b[h] = _mm256_unpacklo_ps(a[h], a[h + 1]);
    b[h + 1] = _mm256_unpackhi_ps(a[h], a[h + 1]);
    b[h + 2] = _mm256_unpacklo_ps(a[h + 2], a[h + 3]);
    b[h + 3] = _mm256_unpackhi_ps(a[h + 2], a[h + 3]);
    _mm256_storeu_ps(to + h * 16, _mm256_shuffle_ps(b[h], b[h + 2], 0x44));
    _mm256_storeu_ps(to + (h + 1) * 16, _mm256_shuffle_ps(b[h], b[h + 2], 0xee));
    _mm256_storeu_ps(to + (h + 2) * 16, _mm256_shuffle_ps(b[h + 1], b[h + 3], 0x44));
    _mm256_storeu_ps(to + (h + 3) * 16, _mm256_shuffle_ps(b[h + 1], b[h + 3], 0xee));
  }
}

IK_INLINE void transpose(const float* from, int64_t stride, int64_t rows, float* to) {
  transpose8(from, stride, 0, rows, to);
  transpose8(from + 8, stride, 0, rows, to + 8 * 16);
  transpose8(from, stride, 8, rows, to + 8);
  transpose8(from + 8, stride, 8, rows, to + 8 * 16 + 8);
}

}  // namespace ik::IK_TARGET
