// Sixteen floats: the one vector type that every kernel is written against, whatever the instruction set.
//
// Every function does the same IEEE operations, in the same order, in every version, so that results agree to
// the bit. Comparisons with NaN are false; max(a, b) is `a > b ? a : b` and min(a, b) is `a < b ? a : b`, NaN
// or not, so that a NaN in b passes through. A mask (m16) says which lanes are meant; lanes outside it are
// never read or written.
//
// The whole file, and all that include it, lie in a namespace of the instruction set: nothing here may be
// merged by the linker with code that was compiled for another one.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(_MSC_VER)
#define IK_INLINE static __forceinline
#else
#define IK_INLINE static inline __attribute__((always_inline))
#endif

// To be added to a float of magnitude below 2^22, it rounds it to an integer, which then stands in the low
// bits.
#define IK_ROUNDER 12582912.0f  // 1.5 * 2^23

#if defined(IK_TARGET_AVX512)
#include "v16_avx512.h"
#elif defined(IK_TARGET_AVX2)
#include "v16_avx2.h"
#else
#include "v16_scalar.h"
#endif

namespace ik::IK_TARGET {

IK_INLINE v16 zero() { return splat(0.0f); }

// The lanes of a panel at `from` that lie in [from, end).
IK_INLINE m16 lanes_until(int64_t from, int64_t end) { return lanes(0, end - from < 16 ? end - from : 16); }

// Rounds to an integer, ties to even; for magnitudes below 2^22.
IK_INLINE v16 round(v16 x) { return (x + splat(IK_ROUNDER)) - splat(IK_ROUNDER); }

#if !defined(IK_TARGET_AVX512)
// The chosen lanes of a vector, or of first, first + 1, …, side by side; up to 16 are written.
IK_INLINE void store_chosen(float* to, v16 x, uint32_t chosen) {
  float lane[16];
  store(lane, x);
  for (; chosen != 0; chosen &= chosen - 1) *to++ = lane[__builtin_ctz(chosen)];
}
IK_INLINE void store_chosen(int32_t* to, int32_t first, uint32_t chosen) {
  for (; chosen != 0; chosen &= chosen - 1) *to++ = first + __builtin_ctz(chosen);
}
#endif

IK_INLINE float first(v16 x) {
  float lane[16];
  store(lane, x);
  return lane[0];
}

}  // namespace ik::IK_TARGET
