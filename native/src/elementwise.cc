// Ops that treat every element by itself.
#include "kernels.h"

namespace ik::IK_TARGET {

ik_status add(ik_context& context, const ik_add_args& a) {
  for_rows(context, a.rows, a.columns, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; r++) {
      const float *x = row(a.a, r), *y = row(a.b, r);
      float* out = row(a.out, r);
      for (int64_t c = 0, n = a.columns; c < n; c += 16) {
        store_some(out + c, load_some(x + c, n - c) + load_some(y + c, n - c), n - c);
      }
    }
  });
  return IK_OK;
}

ik_status map(ik_context& context, const ik_map_args& a) {
  v16 p = splat(a.parameter), below = splat(-a.parameter);
  for_rows(context, a.rows, a.columns, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; r++) {
      for (int64_t c = 0, n = a.columns; c < n; c += 16) {
        v16 x = load_some(row(a.x, r) + c, n - c);
        v16 y = a.kind == IK_SCALE ? x * p : a.kind == IK_SOFT_CAP ? p * tanh(x / p) : max(below, min(p, x));
        store_some(row(a.out, r) + c, y, n - c);
      }
    }
  });
  return IK_OK;
}

ik_status copy(ik_context& context, const ik_copy_args& a) {
  for_rows(context, a.rows, a.columns, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; r++) std::memcpy(row(a.to, r), row(a.from, r), a.columns * sizeof(float));
  });
  return IK_OK;
}

ik_status fill(ik_context& context, const ik_fill_args& a) {
  for_rows(context, a.rows, a.columns, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; r++) {
      for (int64_t c = 0, n = a.columns; c < n; c += 16) store_some(row(a.out, r) + c, splat(a.value), n - c);
    }
  });
  return IK_OK;
}

ik_status repeat_heads(ik_context& context, const ik_repeat_heads_args& a) {
  for_rows(context, a.tokens, a.heads * a.columns, [&](int64_t from, int64_t to) {
    for (int64_t r = from * a.heads; r < to * a.heads; r++) {
      std::memcpy(a.out + r * a.columns, row(a.x, r / a.heads), a.columns * sizeof(float));
    }
  });
  return IK_OK;
}

ik_status sum_heads(ik_context& context, const ik_sum_heads_args& a) {
  for_rows(context, a.tokens, a.heads * a.columns, [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; r++) {
      for (int64_t c = 0, n = a.columns; c < n; c += 16) {
        const float* x = a.x + r * a.heads * n + c;
        v16 v = a.heads == 0 ? zero() : load_some(x, n - c);
        for (int64_t h = 1; h < a.heads; h++) v = v + load_some(x + h * n, n - c);
        if (a.bias != nullptr) v = v + load_some(a.bias + c, n - c);
        store_some(row(a.out, r) + c, v, n - c);
      }
    }
  });
  return IK_OK;
}

ik_status evaluate(ik_context& context, const ik_evaluate_args& a) {
  parallel_for(context, divide_up(a.count, 4096), a.count, [&](int64_t task) {
    for (int64_t c = task * 4096, end = least(a.count, c + 4096); c < end; c += 16) {
      v16 x = load_some(a.x + c, end - c), y = x;
      switch (a.function) {
        case IK_EXP:
          y = exp(x);
          break;
        case IK_LOG:
          y = log(x);
          break;
        case IK_F_TANH:
          y = tanh(x);
          break;
        case IK_ERF:
          y = erf(x);
          break;
        case IK_F_SIGMOID:
          y = sigmoid(x);
          break;
        case IK_EXP_BESIDE_1:
          y = exp_beside_1(x);
          break;
        default:
          break;
      }
      store_some(a.out + c, y, end - c);
    }
  });
  return IK_OK;
}

}  // namespace ik::IK_TARGET
