// Elementary functions on sixteen floats. The polynomials are our own minimax fits;
// the errors stated are the largest ones that the test suite's sweeps against double precision allow.
#pragma once

#include "v16.h"

namespace ik::IK_TARGET {

constexpr float log2_e = 1.44269504088896341f;
constexpr float ln2_high = 0.693145751953125f;  // 12 bits: its products with small whole numbers are exact
constexpr float ln2_low = 1.42860682030941723e-6f;
constexpr float infinity = __builtin_inff();

// e^r - 1 on [-ln2/2, ln2/2]: r + r²·P(r), P of degree 5, off by 2^-32 of r.
IK_INLINE v16 exp_minus_1_reduced(v16 r) {
  v16 p = splat(0.000199143033f);
  p = fma(p, r, splat(0.00139410631f));
  p = fma(p, r, splat(0.00833327323f));
  p = fma(p, r, splat(0.041666355f));
  p = fma(p, r, splat(0.166666672f));
  p = fma(p, r, splat(0.5f));
  return fma(r * r, p, r);
}

// x = n·ln 2 + r with |r| ≤ ln2/2.
IK_INLINE v16 reduce(v16 x, v16* n) {
  *n = fma(x, splat(log2_e), splat(IK_ROUNDER)) - splat(IK_ROUNDER);
  v16 r = fma(*n, splat(-ln2_high), x);
  return fma(*n, splat(-ln2_low), r);
}

// e^x, within 1 ulp; 0 below -103.98, infinity above 88.72, subnormal results rounded once.
IK_INLINE v16 exp(v16 x) {
  x = max(splat(-104.0f), min(splat(89.0f), x));
  v16 n, r = reduce(x, &n);
  return scale2(exp_minus_1_reduced(r) + splat(1.0f), n);
}

// e^x for sums that hold a 1 beside it: x ≤ 0 and no NaN, within 1 ulp from -5 on and 4.5 ulp below; e^-86, which adds nothing to
// a 1, below -86. 9 multiply-adds and the like instead of 14: the polynomial (of degree 6, off by 2^-26.5) gives e^r at once, ln 2 comes in
// one piece, and no result is subnormal.
IK_INLINE v16 exp_beside_1(v16 x) {
  x = max(splat(-86.0f), x);
  v16 n = fma(x, splat(log2_e), splat(IK_ROUNDER));
  v16 r = fma(n - splat(IK_ROUNDER), splat(-0.693147182f), x);
  v16 p = splat(0.00139336498f);
  p = fma(p, r, splat(0.00836915523f));
  p = fma(p, r, splat(0.0416664667f));
  p = fma(p, r, splat(0.166665047f));
  p = fma(p, r, splat(0.5f));
  p = fma(p, r, splat(1.0f));
  return shift2(fma(p, r, splat(1.0f)), n);
}

// tanh x, within 2.1 ulp. With e = e^(-2|x|): (1 - e) / (1 + e) where that is below ½, its numerator made
// without cancellation, and beyond it 1 - 2e / (1 + e), where the quotient's error matters less.
IK_INLINE v16 tanh(v16 x) {
  v16 t = abs(x), one = splat(1.0f), two = splat(2.0f);
  v16 n, r = reduce(max(splat(-40.0f), zero() - t * two), &n);
  v16 s = scale2(one, n), q = exp_minus_1_reduced(r);
  v16 e = fma(s, q, s);
  m16 near = less(t, splat(0.5493f));
  v16 y = select(near, fma(zero() - s, q, one - s), two * e) / (one + e);
  return copysign(select(near, y, one - y), x);
}

// 1 / (1 + e^-x), within 2.5 ulp, without overflow for either sign.
IK_INLINE v16 sigmoid(v16 x) {
  v16 e = exp(copysign(x, splat(-0.0f)));
  v16 one = splat(1.0f);
  return select(less(x, zero()), e, one) / (one + e);
}

// erf x, within 1.1 ulp: x + x·P(x²), P of degree 6 (off by 2^-31), up to 0.921875, and beyond it
// 1 - e^(-x·Q(x)), Q of degree 6 (off by 2^-30). From 4 on it is 1.
IK_INLINE v16 erf(v16 x) {
  v16 t = min(splat(4.0f), abs(x));
  v16 s = t * t;
  v16 p = splat(8.39780987e-05f);
  p = fma(p, s, splat(-0.000814980944f));
  p = fma(p, s, splat(0.00520171644f));
  p = fma(p, s, splat(-0.0268597025f));
  p = fma(p, s, splat(0.112837017f));
  p = fma(p, s, splat(-0.376126349f));
  p = fma(p, s, splat(0.128379166f));
  v16 near = fma(p, t, t);
  v16 q = splat(1.13047636e-05f);
  q = fma(q, t, splat(-0.000323538145f));
  q = fma(q, t, splat(0.00364544056f));
  q = fma(q, t, splat(-0.0237683598f));
  q = fma(q, t, splat(0.106244177f));
  q = fma(q, t, splat(0.635146916f));
  q = fma(q, t, splat(1.12864959f));
  v16 far = splat(1.0f) - exp(zero() - q * t);
  return copysign(select(less(t, splat(0.921875f)), near, far), x);
}

// ln x, within 1 ulp: x = m·2^e, f = m - 1 in [√½ - 1, √2 - 1], f - f²/2 + f³·P(f), P of degree 8 (off by
// 2^-30).
IK_INLINE v16 log(v16 x) {
  m16 small = less(x, splat(1.17549435e-38f));
  v16 e, m = split(select(small, x * splat(8388608.0f), x), &e);
  e = e - select(small, splat(23.0f), zero());
  v16 f = m - splat(1.0f), f2 = f * f;
  v16 p = splat(0.069159694f);
  p = fma(p, f, splat(-0.117888518f));
  p = fma(p, f, splat(0.118721507f));
  p = fma(p, f, splat(-0.123844758f));
  p = fma(p, f, splat(0.142188013f));
  p = fma(p, f, splat(-0.166692466f));
  p = fma(p, f, splat(0.200022176f));
  p = fma(p, f, splat(-0.249999866f));
  p = fma(p, f, splat(0.333333105f));
  v16 y = fma(e, splat(ln2_low), p * (f2 * f));
  y = fma(e, splat(ln2_high), f + fma(f2, splat(-0.5f), y));
  v16 below = select(less(x, zero()), splat(__builtin_nanf("")), splat(-infinity));
  y = select(not_less_equal(x, zero()), y, below);
  return select(less(x, splat(infinity)), y, x);
}

}  // namespace ik::IK_TARGET
