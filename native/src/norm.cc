// Layer norm and RMS norm.
#include "kernels.h"

namespace ik::IK_TARGET {
namespace {

float mean(const float* x, int64_t n) {
  v16 s = zero();
  for (int64_t c = 0; c < n; c += 16) s = s + load_some(x + c, n - c);
  return sum(s) / static_cast<float>(n);
}

float mean_square(const float* x, float centre, int64_t n) {
  v16 s = zero();
  for (int64_t c = 0; c < n; c += 16) {
    v16 d = load_some(x + c, n - c) - splat(centre);
    if (n - c < 16) d = select(lanes(0, n - c), d, zero());
    s = fma(d, d, s);
  }
  return sum(s) / static_cast<float>(n);
}

void norm_row(const ik_norm_args& a, int64_t r) {
  int64_t n = a.columns;
  const float* x = row(a.x, r);
  const float* given = a.given_normalized.data == nullptr ? nullptr : row(a.given_normalized, r);
  float centre = 0, scale = 1;
  if (given == nullptr) {
    if (a.rms == 0) centre = mean(x, n);
    if (a.given_scale == nullptr) scale = first(sqrt(splat(mean_square(x, centre, n) + a.epsilon)));
  }
  if (a.given_scale != nullptr) scale = a.given_scale[r];
  if (a.scale != nullptr && (given == nullptr || a.given_scale != nullptr)) a.scale[r] = scale;
  if (a.normalized.data == nullptr && a.delta.data == nullptr && a.out.data == nullptr) return;

  v16 inverse = splat(1.0f / scale), shift = splat(centre);
  for (int64_t c = 0; c < n; c += 16) {
    v16 v = given != nullptr ? load_some(given + c, n - c) : (load_some(x + c, n - c) - shift) * inverse;
    if (a.normalized.data != nullptr) store_some(row(a.normalized, r) + c, v, n - c);
    if (a.out.data == nullptr && a.delta.data == nullptr) continue;
    if (a.gain != nullptr && a.bias != nullptr) {
      v = fma(v, load_some(a.gain + c, n - c), load_some(a.bias + c, n - c));
    } else if (a.gain != nullptr) {
      v = v * load_some(a.gain + c, n - c);
    } else if (a.bias != nullptr) {
      v = v + load_some(a.bias + c, n - c);
    }
    if (a.delta.data != nullptr) store_some(row(a.delta, r) + c, v, n - c);
    if (a.out.data == nullptr) continue;
    if (a.residual.data != nullptr) v = load_some(row(a.residual, r) + c, n - c) + v;
    store_some(row(a.out, r) + c, v, n - c);
  }
}

}  // namespace

ik_status norm(ik_context& context, const ik_norm_args& a) {
  for_rows(context, a.rows, a.columns, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; r++) norm_row(a, r);
  });
  return IK_OK;
}

}  // namespace ik::IK_TARGET
