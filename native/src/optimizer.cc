// A training step's passes over rows and parameters: sums of columns, projection of gradients, Adam, rows of length 1, signs.
#include "kernels.h"

namespace ik::IK_TARGET {
namespace {

// f(vector's first column, floats of it) along a row.
template <class F>
IK_INLINE void for_columns(int64_t columns, F f) {
  for (int64_t c = 0; c < columns; c += 16) f(c, columns - c);
}

float dot(const float* a, const float* b, int64_t n) {
  v16 s = zero();
  for_columns(n, [&](int64_t c, int64_t left) { s = fma(load_some(a + c, left), load_some(b + c, left), s); });
  return sum(s);
}

float norm(const float* a, int64_t n) { return first(sqrt(splat(dot(a, a, n)))); }

}  // namespace

ik_status column_statistics(ik_context& context, const ik_column_statistics_args& a) {
  parallel_for(context, divide_up(a.columns, 16), a.rows * a.columns, [&](int64_t panel) {
    int64_t c = panel * 16, n = least(16, a.columns - c);
    double sums[16] = {}, deviations[16] = {};
    for (int64_t r = 0; r < a.rows; r++) {
      const float* x = row(a.x, r) + c;
      for (int64_t i = 0; i < n; i++) sums[i] += x[i];
    }
    for (int64_t i = 0; i < n; i++) a.sums[c + i] = static_cast<float>(sums[i]), sums[i] /= static_cast<double>(most(1, a.rows));
    if (a.deviations == nullptr) return;
    for (int64_t r = 0; r < a.rows; r++) {
      const float* x = row(a.x, r) + c;
      for (int64_t i = 0; i < n; i++) {
        double deviation = x[i] - sums[i];
        deviations[i] += deviation * deviation;
      }
    }
    for (int64_t i = 0; i < n; i++) a.deviations[c + i] = static_cast<float>(deviations[i]);
  });
  return IK_OK;
}

ik_status project_gradient(ik_context& context, const ik_project_gradient_args& a) {
  for_rows(context, a.rows, a.columns, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; r++) {
      const float* p = row(a.parameter, r);
      float* g = row(a.gradient, r);
      if (a.project) {
        v16 length = splat(a.divide_epsilon < 0 ? 1.0f : norm(p, a.columns) + a.divide_epsilon), along = zero();
        auto w = [&](int64_t c, int64_t left) {
          v16 v = load_some(p + c, left);
          return a.divide_epsilon < 0 ? v : left >= 16 ? v / length : select(lanes(0, left), v / length, zero());
        };
        for_columns(a.columns, [&](int64_t c, int64_t left) { along = fma(load_some(g + c, left), w(c, left), along); });
        v16 minus = splat(-sum(along));
        for_columns(a.columns, [&](int64_t c, int64_t left) {
          store_some(g + c, fma(minus, w(c, left), load_some(g + c, left)), left);
        });
      }
      a.squares[r] = dot(g, g, a.columns);
    }
  });
  return IK_OK;
}

ik_status adam_step(ik_context& context, const ik_adam_step_args& a) {
  v16 scale = splat(a.gradient_scale), step = splat(a.step_size), epsilon = splat(a.epsilon), root = splat(a.inverse_root_correction);
  v16 beta1 = splat(a.beta1), rest1 = splat(1.0f - a.beta1), beta2 = splat(a.beta2), rest2 = splat(1.0f - a.beta2);
  for_rows(context, a.rows, a.columns, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; r++) {
      float *p = row(a.parameter, r), *m = row(a.m, r), *v = row(a.v, r);
      const float* gradient = row(a.gradient, r);
      for_columns(a.columns, [&](int64_t c, int64_t left) {
        v16 g = scale * load_some(gradient + c, left);
        v16 mean = fma(rest1, g, beta1 * load_some(m + c, left));
        v16 square = fma(rest2 * g, g, beta2 * load_some(v + c, left));
        store_some(m + c, mean, left);
        store_some(v + c, square, left);
        store_some(p + c, load_some(p + c, left) - step * mean / fma(sqrt(square), root, epsilon), left);
      });
      if (a.normalize_epsilon < 0) continue;
      float length = norm(p, a.columns) + a.normalize_epsilon;
      if (length == 0) continue;
      for_columns(a.columns, [&](int64_t c, int64_t left) { store_some(p + c, load_some(p + c, left) / splat(length), left); });
    }
  });
  return IK_OK;
}

ik_status sign_step(ik_context& context, const ik_sign_step_args& a) {
  v16 rate = splat(a.rate), share = splat(a.share);
  v16 back = splat(1.0f - 1.0f / a.momentum), ahead = splat(1.0f - a.momentum);
  for_rows(context, a.rows, a.columns, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; r++) {
      float *p = row(a.parameter, r), *fast = row(a.fast, r);
      const float* gradient = row(a.gradient, r);
      for_columns(a.columns, [&](int64_t c, int64_t left) {
        v16 y = load_some(p + c, left), z = load_some(fast + c, left), g = load_some(gradient + c, left);
        v16 x = fma(back, z - y, y);
        m16 still = ~less(zero(), abs(g));  // and NaN
        z = z - select(still, zero(), copysign(rate, g));
        x = fma(share, z - x, x);
        store_some(fast + c, z, left);
        store_some(p + c, fma(ahead, z - x, x), left);
      });
    }
  });
  return IK_OK;
}

}  // namespace ik::IK_TARGET
