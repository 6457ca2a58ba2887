// X·Wᵀ from the panels that X·W reads: an element's sum runs along the rows of the weight's panels.
#include <atomic>

#include "tile.h"
#include "weight.h"

namespace ik::IK_TARGET {
namespace {

// A task is 16 of the weight's rows times up to 192 rows of X. It goes along the columns in chunks of 64 panels:
// of each chunk its 16 rows are gathered, since in the weight they lie a panel apart, often on the same few
// sets of the cache; then tiles of R rows times C of the 16 add up vectors of partial sums, which wait in
// [row][16][16] between chunks. Where rows of X are few, a task has several times 16 rows of the weight.
constexpr int block_inner = 16;
constexpr int64_t block_rows = 192;
constexpr int64_t chunk_panels = 64;

// As the registers allow: R·C sums, C vectors of the weight, one of X.
constexpr int tile_rows = max_tile_panels > 1 ? 6 : 2;
constexpr int tile_inner = max_tile_panels > 1 ? 4 : 2;

constexpr int one_shape(int) { return 1; }

// Rows [k, k + 16) of panels [panel, panel_end) as [16 / C][panel][C][16]; zeros for rows past the last.
template <int type>
void gather(const ik_weight& weight, int64_t k, int64_t panel, int64_t panel_end, float* to) {
  constexpr int C = tile_inner;
  int64_t panels = panel_end - panel, rows = least(block_inner, weight.inner - k);
  for (int64_t p = 0; p < panels; p++) {
    for (int64_t j = 0; j < block_inner; j++) {
      v16 v = j < rows ? weight_row<type>(weight, panel + p, k + j) : zero();
      store(to + ((j / C * panels + p) * C + j % C) * 16, v);
    }
  }
}

// sums[i][j] += x[i]'s vectors times w[panel][j], over all panels; of the last one x may have fewer columns.
template <int R>
void add_products(const float* x, int64_t stride, int64_t columns, const float* w, float* sums, bool first) {
  constexpr int C = tile_inner;
  v16 c[R][C];
#pragma GCC unroll 24
  for (int i = 0; i < R * C; i++) {
    c[i / C][i % C] = first ? zero() : load(sums + (i / C * block_inner + i % C) * 16);
  }
  auto step = [&](auto get) {
    v16 b[C];
#pragma GCC unroll 4
    for (int j = 0; j < C; j++) b[j] = load(w + j * 16);
#pragma GCC unroll 6
    for (int i = 0; i < R; i++) {
      v16 v = get(x + i * stride);
#pragma GCC unroll 4
      for (int j = 0; j < C; j++) c[i][j] = fma(v, b[j], c[i][j]);
    }
  };
  for (; columns >= 16; columns -= 16, x += 16, w += C * 16) step([](const float* p) { return load(p); });
  if (columns > 0) {
    m16 mask = lanes(0, columns);
    step([=](const float* p) { return load(p, mask); });
  }
#pragma GCC unroll 24
  for (int i = 0; i < R * C; i++) store(sums + (i / C * block_inner + i % C) * 16, c[i / C][i % C]);
}

// The tree over the lanes of 16 vectors of partial sums at once.
IK_INLINE v16 sum_each(const float* sums) {
  alignas(64) float lane[16 * 16];
  transpose(sums, 16, 16, lane);
  v16 s[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) s[i] = load(lane + i * 16);
#pragma GCC unroll 4
  for (int width = 8; width > 0; width /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < width; i++) s[i] = s[i] + s[i + width];
  }
  return s[0];
}

// How a task is cut: so many times 16 rows of the weight, rows of X, and panels of a chunk. Few rows of X wait for
// the weight's memory, which is read in longer pieces then.
struct cut {
  int64_t groups, rows, panels;

  explicit cut(int64_t x_rows)
      : groups(x_rows <= 12 ? 16 : 1), rows(block_rows / groups), panels(chunk_panels / groups) {}
};

template <int type>
void multiply_block(const ik_matmul_transposed_args& a, const cut& c, int64_t k, int64_t row, int64_t row_end,
                    float* memory) {
  int64_t rows = row_end - row, groups = least(c.groups, divide_up(a.w.inner - k, block_inner));
  int64_t panels = divide_up(a.w.columns, 16), group_sums = rows * block_inner * 16;
  float *sums = memory, *w = memory + block_rows * block_inner * 16;
  for (int64_t panel = 0; panel < most(1, panels); panel += c.panels) {
    int64_t panel_end = least(panels, panel + c.panels);
    int64_t columns = least(a.w.columns, panel_end * 16) - panel * 16;
    for (int64_t g = 0; g < groups; g++) {
      gather<type>(a.w, k + g * block_inner, panel, panel_end, w);
      for (int64_t r = 0; r < rows; r += tile_rows) {
        const float* x = IK_TARGET::row(a.x, row + r) + panel * 16;
        for (int64_t j = 0; j < block_inner; j += tile_inner) {
          with_shape<tile_rows, one_shape>(least(tile_rows, rows - r), 1, [&]<int R, int P>() {
            add_products<R>(x, a.x.stride, columns, w + j * (panel_end - panel) * 16,
                            sums + g * group_sums + (r * block_inner + j) * 16, panel == 0);
          });
        }
      }
    }
  }
  for (int64_t g = 0; g < groups; g++, k += block_inner) {
    for (int64_t r = row; r < row_end; r++, sums += block_inner * 16) {
      store_some(IK_TARGET::row(a.out, r) + k, sum_each(sums), a.w.inner - k);
    }
  }
}

template <int type>
ik_status multiply(ik_context& context, const ik_matmul_transposed_args& a) {
  cut c(a.rows);
  int64_t inner = c.groups * block_inner, row_blocks = divide_up(a.rows, c.rows);
  int64_t block = divide_up(a.rows, row_blocks);
  int64_t work = (a.rows + 8) * (a.w.inner + 1) * (a.w.columns + 1) / 16;
  std::atomic<bool> failed{false};
  parallel_for(context, divide_up(a.w.inner, inner) * row_blocks, work, [&](int64_t task) {
    int64_t row = task % row_blocks * block;
    float* memory = thread_scratch((block_rows + chunk_panels) * block_inner * 16);
    if (memory == nullptr) {
      failed = true;
    } else {
      multiply_block<type>(a, c, task / row_blocks * inner, row, least(a.rows, row + block), memory);
    }
  });
  return failed ? IK_OUT_OF_MEMORY : IK_OK;
}

}  // namespace

ik_status matmul_transposed(ik_context& context, const ik_matmul_transposed_args& a) {
  if (a.rows == 0) return IK_OK;
  switch (a.w.type) {
    case IK_F32:
      return multiply<IK_F32>(context, a);
    case IK_BF16:
      return multiply<IK_BF16>(context, a);
    default:
      return multiply<IK_I8>(context, a);
  }
}

}  // namespace ik::IK_TARGET
