// Sixteen floats in one AVX-512 register. Meanings: v16_scalar.h.
#pragma once

#include <immintrin.h>

namespace ik::IK_TARGET {

constexpr int max_tile_rows = 8;  // 8 × 3 sums, three panels and a broadcast: 28 of 32 registers
constexpr int max_tile_panels = 3;

struct v16 {
  __m512 r;
};

struct m16 {
  __mmask16 r;
};

IK_INLINE m16 lanes(int64_t from, int64_t to) {
  return {static_cast<__mmask16>(to > from ? (1u << to) - (1u << from) : 0u)};
}

IK_INLINE v16 splat(float x) { return {_mm512_set1_ps(x)}; }
IK_INLINE v16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
IK_INLINE v16 load(const float* p, m16 m) { return {_mm512_maskz_loadu_ps(m.r, p)}; }
IK_INLINE void store(float* p, v16 a) { _mm512_storeu_ps(p, a.r); }
IK_INLINE void store(float* p, v16 a, m16 m) { _mm512_mask_storeu_ps(p, m.r, a.r); }

IK_INLINE void stream(float* p, v16 a) { _mm512_stream_ps(p, a.r); }
IK_INLINE void finish_streams() { _mm_sfence(); }

IK_INLINE v16 operator+(v16 a, v16 b) { return {_mm512_add_ps(a.r, b.r)}; }
IK_INLINE v16 operator-(v16 a, v16 b) { return {_mm512_sub_ps(a.r, b.r)}; }
IK_INLINE v16 operator*(v16 a, v16 b) { return {_mm512_mul_ps(a.r, b.r)}; }
IK_INLINE v16 operator/(v16 a, v16 b) { return {_mm512_div_ps(a.r, b.r)}; }
IK_INLINE v16 fma(v16 a, v16 b, v16 c) { return {_mm512_fmadd_ps(a.r, b.r, c.r)}; }
IK_INLINE v16 sqrt(v16 a) { return {_mm512_sqrt_ps(a.r)}; }
IK_INLINE v16 max(v16 a, v16 b) { return {_mm512_max_ps(a.r, b.r)}; }
IK_INLINE v16 min(v16 a, v16 b) { return {_mm512_min_ps(a.r, b.r)}; }
IK_INLINE v16 abs(v16 a) { return {_mm512_abs_ps(a.r)}; }

IK_INLINE v16 copysign(v16 a, v16 b) {
  __m512i sign = _mm512_set1_epi32(static_cast<int>(0x80000000u));
  // Bitwise select: sign ? b : a.
  return {_mm512_castsi512_ps(
      _mm512_ternarylogic_epi32(sign, _mm512_castps_si512(b.r), _mm512_castps_si512(a.r), 0xca))};
}

IK_INLINE m16 less(v16 a, v16 b) { return {_mm512_cmp_ps_mask(a.r, b.r, _CMP_LT_OQ)}; }
IK_INLINE m16 not_less_equal(v16 a, v16 b) { return {_mm512_cmp_ps_mask(a.r, b.r, _CMP_NLE_UQ)}; }
IK_INLINE m16 operator~(m16 m) { return {static_cast<__mmask16>(~m.r)}; }
IK_INLINE uint32_t bits(m16 m) { return m.r; }
IK_INLINE v16 select(m16 m, v16 yes, v16 no) { return {_mm512_mask_blend_ps(m.r, no.r, yes.r)}; }

IK_INLINE v16 shift2(v16 p, v16 n) {
  return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p.r), _mm512_slli_epi32(_mm512_castps_si512(n.r), 23)))};
}
IK_INLINE v16 scale2(v16 p, v16 n) { return {_mm512_scalef_ps(p.r, n.r)}; }

IK_INLINE v16 split(v16 x, v16* e) {
  __m512i b = _mm512_castps_si512(x.r);
  __m512i n = _mm512_srai_epi32(_mm512_sub_epi32(b, _mm512_set1_epi32(0x3f3504f3)), 23);
  e->r = _mm512_cvtepi32_ps(n);
  return {_mm512_castsi512_ps(_mm512_sub_epi32(b, _mm512_slli_epi32(n, 23)))};
}

IK_INLINE v16 load_half(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}

IK_INLINE v16 even_bf16(const void* line) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(line), 16))};
}
IK_INLINE v16 odd_bf16(const void* line) {
  return {_mm512_castsi512_ps(
      _mm512_and_si512(_mm512_loadu_si512(line), _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
}

struct i16 {
  __m512i r;
};

#if defined(__AVX512VNNI__)
struct fours {
  __m512i r;
};
IK_INLINE fours load_fours(const void* line) { return {_mm512_loadu_si512(line)}; }
IK_INLINE i16 dot_start(int32_t correction) { return {_mm512_set1_epi32(correction)}; }
IK_INLINE i16 dot(i16 c, fours w, int32_t x) {
  return {_mm512_dpbusd_epi32(c.r, w.r, _mm512_set1_epi32(x))};
}
#else
struct fours {
  __m512i magnitude;
  __mmask64 negative;
};
IK_INLINE fours load_fours(const void* line) {
  __m512i w = _mm512_xor_si512(_mm512_loadu_si512(line), _mm512_set1_epi8(-128));
  return {_mm512_abs_epi8(w), _mm512_movepi8_mask(w)};
}
IK_INLINE i16 dot_start(int32_t) { return {_mm512_setzero_si512()}; }
IK_INLINE i16 dot(i16 c, fours w, int32_t x) {
  __m512i v = _mm512_set1_epi32(x);
  v = _mm512_mask_sub_epi8(v, w.negative, _mm512_setzero_si512(), v);
  __m512i pairs = _mm512_maddubs_epi16(w.magnitude, v);
  return {_mm512_add_epi32(c.r, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
}
#endif
IK_INLINE v16 to_float(i16 a) { return {_mm512_cvtepi32_ps(a.r)}; }

IK_INLINE float sum(v16 a) {
  __m256 e = _mm256_add_ps(_mm512_castps512_ps256(a.r), _mm512_extractf32x8_ps(a.r, 1));
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

IK_INLINE float largest(v16 a) {
  __m256 e = _mm256_max_ps(_mm512_castps512_ps256(a.r), _mm512_extractf32x8_ps(a.r, 1));
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}

IK_INLINE v16 swap_neighbours(v16 a) { return {_mm512_permute_ps(a.r, 0xb1)}; }

IK_INLINE v16 load_twice(const float* p) {
  __m512i lane = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  return {_mm512_permutexvar_ps(lane, _mm512_castps256_ps512(_mm256_loadu_ps(p)))};
}

IK_INLINE v16 load_lanes(const float* p, const int32_t* lane) {
  return {_mm512_permutexvar_ps(_mm512_loadu_si512(lane), _mm512_loadu_ps(p))};
}

IK_INLINE void store_chosen(float* to, v16 x, uint32_t chosen) {
  _mm512_storeu_ps(to, _mm512_maskz_compress_ps(static_cast<__mmask16>(chosen), x.r));
}
IK_INLINE void store_chosen(int32_t* to, int32_t first, uint32_t chosen) {
  __m512i lane = _mm512_add_epi32(_mm512_set1_epi32(first), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(static_cast<__mmask16>(chosen), lane));
}

IK_INLINE void prefetch(const float* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

IK_INLINE void transpose(const float* from, int64_t stride, int64_t rows, float* to) {
  __m512 a[16], b[16];
  for (int64_t i = 0; i < 16; i++) a[i] = _mm512_loadu_ps(from + (i < rows ? i : rows - 1) * stride);
  for (int i = 0; i < 8; i++) {  // pairs of rows
    b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
  }
  for (int i = 0; i < 4; i++) {  // fours of rows: a[4i + j] holds columns j, j + 4, j + 8, j + 12
    a[4 * i] = _mm512_shuffle_ps(b[4 * i], b[4 * i + 2], 0x44);
    a[4 * i + 1] = _mm512_shuffle_ps(b[4 * i], b[4 * i + 2], 0xee);
    a[4 * i + 2] = _mm512_shuffle_ps(b[4 * i + 1], b[4 * i + 3], 0x44);
    a[4 * i + 3] = _mm512_shuffle_ps(b[4 * i + 1], b[4 * i + 3], 0xee);
  }
  for (int j = 0; j < 4; j++) {  // 4 by 4 blocks of four floats
    __m512 low0 = _mm512_shuffle_f32x4(a[j], a[4 + j], 0x88),
           high0 = _mm512_shuffle_f32x4(a[j], a[4 + j], 0xdd);
    __m512 low1 = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0x88);
    __m512 high1 = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0xdd);
    _mm512_storeu_ps(to + j * 16, _mm512_shuffle_f32x4(low0, low1, 0x88));
    _mm512_storeu_ps(to + (j + 4) * 16, _mm512_shuffle_f32x4(high0, high1, 0x88));
    _mm512_storeu_ps(to + (j + 8) * 16, _mm512_shuffle_f32x4(low0, low1, 0xdd));
    _mm512_storeu_ps(to + (j + 12) * 16, _mm512_shuffle_f32x4(high0, high1, 0xdd));
  }
}

}  // namespace ik::IK_TARGET
