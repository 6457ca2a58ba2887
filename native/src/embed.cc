// Embedding look-up: columns gathered out of a packed weight.
#include "weight.h"

namespace ik::IK_TARGET {

ik_status embed(ik_context& context, const ik_embed_args& a) {
  for (int64_t t = 0; t < a.tokens; t++) {
    if (a.ids[t] >= a.table.columns) return IK_INDEX_OUT_OF_RANGE;
  }

  // An element is alone in its cache line: count it as a whole one.
  int64_t d = a.table.inner;
  for_rows(context, a.tokens, d * 16, [&](int64_t from, int64_t to) {
    for (int64_t t = from; t < to; t++) {
      float* out = row(a.out, t);
      if (a.ids[t] < 0) {
        std::memset(out, 0, d * sizeof(float));
      } else {
        auto read = a.table.type == IK_F32    ? weight_column<IK_F32>
                    : a.table.type == IK_BF16 ? weight_column<IK_BF16>
                                              : weight_column<IK_I8>;
        read(a.table, a.ids[t], out);
      }
    }
  });
  return IK_OK;
}

}  // namespace ik::IK_TARGET
