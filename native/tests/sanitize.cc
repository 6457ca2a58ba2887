// Runs every op on random cases through the C ABI, on every instruction set and with several threads, in memory whose surroundings
// are watched. Built with a sanitizer (CMake: -DIK_SANITIZE=..., target ik_sanitize) it finds what the conformance suite cannot see:
// reads and writes next to a buffer, undefined arithmetic, races. Values are judged by the conformance suite, not here.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <thread>
#include <vector>

#include "interp_kernels.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(begin, size) ((void)(begin), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(begin, size) ((void)(begin), (void)(size))
#endif

namespace {

[[noreturn]] void fail(const char* op, const char* what) {
  std::fprintf(stderr, "%s: %s\n", op, what);
  std::exit(1);
}

// Rows of 4-byte elements with gaps between them and room behind them, which must be neither read nor written: a sanitizer sees
// both, and what is written in the gaps is found in any build.
class buffer {
 public:
  buffer(int64_t rows, int64_t columns, int64_t gap) : rows_(rows), columns_(columns), stride_(columns + gap) {
    size_ = (std::max<int64_t>(0, rows * stride_) + room) * 4;
    data_ = static_cast<char*>(std::aligned_alloc(64, (size_ + 63) / 64 * 64));
    if (data_ == nullptr) fail("buffer", "no memory");
    std::memset(data_, mark, size_);
    for_gaps([&](char* gap_begin, size_t size) { ASAN_POISON_MEMORY_REGION(gap_begin, size); });
  }
  ~buffer() {
    for_gaps([&](char* begin, size_t size) {
      ASAN_UNPOISON_MEMORY_REGION(begin, size);
      for (size_t i = 0; i < size; i++) {
        if (begin[i] != mark) fail("a buffer", "something was written outside of its rows");
      }
    });
    std::free(data_);
  }
  buffer(const buffer&) = delete;

  template <class T>
  T* at(int64_t row = 0) {
    return reinterpret_cast<T*>(data_) + row * stride_;
  }
  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  int64_t stride() const { return stride_; }

 private:
  static constexpr int64_t room = 16;
  static constexpr char mark = 0x5a;

  template <class F>
  void for_gaps(F f) {
    for (int64_t r = 0; r < rows_; r++) f(data_ + (r * stride_ + columns_) * 4, (stride_ - columns_) * 4);
    char* end = data_ + rows_ * stride_ * 4;
    f(end, data_ + size_ - end);
  }

  int64_t rows_, columns_, stride_;
  size_t size_;
  char* data_;
};

// One case: draws sizes and options, and owns the buffers.
class draw {
 public:
  explicit draw(uint32_t seed) : random_(seed), large_(seed % 8 == 0) {}

  // Below `limit`, with a liking for what lies around the widths of vectors.
  int64_t below(int64_t limit) { return limit <= 1 ? 0 : static_cast<int64_t>(random_() % limit); }
  bool chance(int64_t in) { return below(in) == 0; }

  // Sizes; of large cases such that threads share the work.
  int64_t size(int64_t limit = 70) {
    static constexpr int64_t corners[] = {1, 2, 7, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65};
    int64_t n = chance(2) ? corners[below(14)] : 1 + below(limit);
    return std::min(limit, n);
  }
  int64_t rows() { return large_ ? 300 + below(100) : chance(10) ? 0 : size(20); }
  int64_t columns() { return large_ ? 250 + below(100) : size(); }

  float value() { return static_cast<float>(static_cast<int32_t>(random_())) / 1e9f; }

  float* floats(int64_t rows, int64_t columns, int64_t gap = 0) {
    buffer& b = make(rows, columns, gap);
    for (int64_t r = 0; r < rows; r++) {
      for (int64_t c = 0; c < columns; c++) b.at<float>(r)[c] = chance(200) ? special() : value();
    }
    return b.at<float>();
  }
  float* floats_or_none(int64_t rows, int64_t columns) { return chance(2) ? nullptr : floats(rows, columns); }

  // `from` to `limit` - 1.
  int32_t* integers(int64_t count, int64_t from, int64_t limit) {
    buffer& b = make(1, count, 0);
    for (int64_t i = 0; i < count; i++) b.at<int32_t>()[i] = static_cast<int32_t>(from + below(limit - from));
    return b.at<int32_t>();
  }

  ik_matrix matrix(int64_t rows, int64_t columns) {
    int64_t gap = chance(2) ? 0 : 1 + below(20);
    return {floats(rows, columns, gap), columns + gap};
  }
  ik_matrix matrix_or_none(int64_t rows, int64_t columns) { return chance(2) ? ik_matrix{nullptr, 0} : matrix(rows, columns); }

  // Packed by the scalar kernels from random numbers.
  ik_weight weight(int64_t inner, int64_t columns) { return weight(inner, columns, weight_type()); }

  int32_t weight_type() {
    static constexpr int32_t types[] = {IK_F32, IK_BF16, IK_I8};
    return types[below(3)];
  }

  ik_weight weight(int64_t inner, int64_t columns, int32_t type) {
    int64_t panels = (columns + 15) / 16, groups = (inner + 31) / 32;
    int64_t floats_of_panel = type == IK_F32 ? inner * 16 : groups * (type == IK_BF16 ? 256 : 144);
    buffer& memory = make(1, panels * floats_of_panel, 0);
    std::memset(memory.at<char>(), 0, panels * floats_of_panel * 4);
    ik_weight result{memory.at<char>(), inner, columns, type, 0};
    ik_pack_args pack{};
    pack.source = floats(inner, columns), pack.weight = result, pack.type = IK_F32;
    pack.inner = inner, pack.columns = columns, pack.inner_stride = columns, pack.column_stride = 1;
    if (ik_pack(packer, &pack) != IK_OK) fail("pack", "refused a proper case");
    return result;
  }

  template <class T>
  T* keep(const T& value) {
    buffer& b = make(1, (sizeof(T) + 3) / 4, 0);
    return new (b.at<char>()) T(value);
  }

  static ik_context* packer;  // scalar, one thread

 private:
  float special() {
    static constexpr float values[] = {0.0f, -0.0f, __builtin_inff(), -__builtin_inff(), 1e-40f, 3e38f, __builtin_nanf("")};
    return values[below(7)];
  }
  buffer& make(int64_t rows, int64_t columns, int64_t gap) {
    buffers_.push_back(std::make_unique<buffer>(rows, columns, gap));
    return *buffers_.back();
  }

  std::mt19937 random_;
  bool large_;
  std::vector<std::unique_ptr<buffer>> buffers_;
};

ik_context* draw::packer;

ik_rotation draw_rotation(draw& d, int64_t tokens, int64_t head_size) {
  ik_rotation r{};
  r.head_size = head_size, r.pairs = d.below(head_size / 2 + 1), r.table_rows = d.size();
  r.pairing = static_cast<int32_t>(d.below(3)), r.start = static_cast<int32_t>(d.below(head_size - 2 * r.pairs + 1));
  r.positions = d.integers(tokens, -1, r.table_rows);
  r.cos = d.floats(r.table_rows, r.pairs), r.sin = d.floats(r.table_rows, r.pairs);
  return r;
}

// Everything of a product but what it shares with those before it.
void draw_product(draw& d, ik_matmul_args& a) {
  a.columns = d.columns();
  a.column_start = d.chance(2) ? 0 : 16 * d.below(3);
  a.scale = d.chance(2) ? 1 : 0.5f, a.soft_cap = d.chance(3) ? 30.0f : 0.0f;
  a.w = d.weight(a.inner_start + a.inner + d.below(3), a.column_start + a.columns + d.below(40), a.w.type);
  a.bias = d.floats_or_none(1, a.columns);
  a.multiply = d.matrix_or_none(a.rows, a.columns), a.residual = d.matrix_or_none(a.rows, a.columns);
  a.pre = d.matrix_or_none(a.rows, a.columns), a.delta = d.matrix_or_none(a.rows, a.columns);
  a.out = d.matrix(a.rows, a.columns);
  a.activation = static_cast<int32_t>(d.below(IK_SIGMOID + 1));
  if (a.column_start > 0 || d.chance(2)) return;
  int64_t head_size = 1 + d.below(a.columns);
  while (a.columns % head_size != 0) head_size--;
  a.rotation = draw_rotation(d, a.rows, head_size);
  a.rotation.pairing %= IK_INTERLEAVED_TO_HALVES;
}

void draw_args(draw& d, ik_matmul_args& a) {
  a.rows = d.rows(), a.inner = d.columns(), a.inner_start = d.chance(2) ? 0 : d.below(5);
  a.x = d.matrix(a.rows, a.inner);
  a.w.type = d.weight_type();
  if (d.chance(3)) {
    ik_matmul_args next = a;
    draw_product(d, next);
    a.next = d.keep(next);
  }
  draw_product(d, a);
}

void draw_args(draw& d, ik_matmul_transposed_args& a) {
  a.rows = d.rows();
  a.w = d.weight(d.columns(), d.columns());
  a.x = d.matrix(a.rows, a.w.columns), a.out = d.matrix(a.rows, a.w.inner);
}

void draw_args(draw& d, ik_norm_args& a) {
  a.rows = d.rows(), a.columns = d.columns();
  a.x = d.matrix(a.rows, a.columns);
  a.gain = d.floats_or_none(1, a.columns), a.bias = d.floats_or_none(1, a.columns);
  a.given_scale = d.floats_or_none(1, a.rows);
  a.given_normalized = d.matrix_or_none(a.rows, a.columns), a.residual = d.matrix_or_none(a.rows, a.columns);
  a.scale = d.floats_or_none(1, a.rows);
  a.normalized = d.matrix_or_none(a.rows, a.columns), a.delta = d.matrix_or_none(a.rows, a.columns);
  a.out = d.matrix_or_none(a.rows, a.columns);
  a.rms = d.chance(2), a.epsilon = 1e-5f;
}

void draw_args(draw& d, ik_attention_args& a) {
  a.batch = 1 + d.below(3), a.kv_heads = 1 + d.below(3), a.heads = a.kv_heads * (1 + d.below(4));
  a.queries = d.rows() % 150, a.keys = a.queries + d.below(40), a.capacity = a.keys + d.below(5);
  a.head_size = d.size(40), a.value_size = d.chance(2) ? a.head_size : d.size(40);
  a.window = d.chance(2) ? 0 : 1 + d.below(50);
  a.causal = !d.chance(4), a.scale = 0.3f, a.soft_cap = d.chance(3) ? 20.0f : 0.0f;
  int64_t tokens = a.batch * a.queries, squares = a.batch * a.heads * a.queries;
  a.q = d.floats(tokens * a.heads, a.head_size);
  a.k = d.floats(a.batch * a.capacity * a.kv_heads, a.head_size);
  a.v = d.floats(a.batch * a.capacity * a.kv_heads, a.value_size);
  a.slopes = d.floats_or_none(1, a.heads), a.sinks = d.floats_or_none(1, a.heads);
  a.given_scores = d.chance(4) ? d.floats(squares, a.keys) : nullptr;
  a.given_pattern = d.chance(4) ? d.floats(squares, a.keys) : nullptr;
  a.scores = d.floats_or_none(squares, a.keys), a.pattern = d.floats_or_none(squares, a.keys);
  a.z = d.floats(tokens * a.heads, a.value_size);
  int32_t* spans = d.integers(2 * a.batch, 0, a.keys + 1);
  for (int64_t b = 0; b < a.batch; b++) {
    if (spans[2 * b] > spans[2 * b + 1]) std::swap(spans[2 * b], spans[2 * b + 1]);
  }
  a.spans = spans;
}

void draw_args(draw& d, ik_rotary_args& a) {
  a.tokens = d.rows(), a.heads = 1 + d.below(4);
  a.rotation = draw_rotation(d, a.tokens, 2 * d.size(35));
  a.x = d.floats(a.tokens * a.heads, a.rotation.head_size), a.out = d.floats(a.tokens * a.heads, a.rotation.head_size);
}

void draw_args(draw& d, ik_embed_args& a) {
  a.tokens = d.rows();
  a.table = d.weight(d.columns(), d.columns());
  a.ids = d.integers(a.tokens, -1, a.table.columns);
  a.out = d.matrix(a.tokens, a.table.inner);
}

void draw_args(draw& d, ik_add_args& a) {
  a.rows = d.rows(), a.columns = d.columns();
  a.a = d.matrix(a.rows, a.columns), a.b = d.matrix(a.rows, a.columns), a.out = d.matrix(a.rows, a.columns);
}

void draw_args(draw& d, ik_activate_args& a) {
  a.rows = d.rows(), a.columns = d.columns();
  a.x = d.matrix(a.rows, a.columns), a.multiply = d.matrix_or_none(a.rows, a.columns);
  a.out = d.matrix(a.rows, a.columns);
  a.activation = static_cast<int32_t>(d.below(IK_SIGMOID + 1));
}

void draw_args(draw& d, ik_copy_args& a) {
  a.rows = d.rows(), a.columns = d.columns();
  a.from = d.matrix(a.rows, a.columns), a.to = d.matrix(a.rows, a.columns);
}

void draw_args(draw& d, ik_fill_args& a) {
  a.rows = d.rows(), a.columns = d.columns(), a.value = d.value();
  a.out = d.matrix(a.rows, a.columns);
}

void draw_args(draw& d, ik_repeat_heads_args& a) {
  a.tokens = d.rows(), a.heads = 1 + d.below(5), a.columns = d.columns();
  a.x = d.matrix(a.tokens, a.columns), a.out = d.floats(a.tokens * a.heads, a.columns);
}

void draw_args(draw& d, ik_sum_heads_args& a) {
  a.tokens = d.rows(), a.heads = 1 + d.below(5), a.columns = d.columns();
  a.x = d.floats(a.tokens * a.heads, a.columns), a.bias = d.floats_or_none(1, a.columns);
  a.out = d.matrix(a.tokens, a.columns);
}

void draw_args(draw& d, ik_log_probability_args& a) {
  a.rows = d.rows(), a.columns = d.columns(), a.count = d.below(4);
  a.x = d.matrix(a.rows, a.columns);
  a.targets = d.integers(a.rows * a.count, -2, a.columns);
  a.out = d.floats(a.rows, a.count);
}

void draw_args(draw& d, ik_log_softmax_args& a) {
  a.rows = d.rows(), a.columns = d.columns();
  a.x = d.matrix(a.rows, a.columns), a.out = d.matrix(a.rows, a.columns);
}

void draw_args(draw& d, ik_top_k_args& a) {
  a.rows = d.rows(), a.columns = d.columns(), a.k = d.below(a.columns + 1);
  a.x = d.matrix(a.rows, a.columns);
  a.values = d.floats(a.rows, a.k), a.indices = d.integers(a.rows * a.k, 0, 9);
}

void draw_args(draw& d, ik_route_args& a) {
  a.rows = d.rows(), a.sigmoid = d.chance(2), a.renormalize = d.chance(2), a.factor = 2.5f;
  a.groups = a.sigmoid ? 1 + d.below(4) : 1, a.chosen_groups = 1 + d.below(a.groups);
  a.experts = a.groups * (1 + d.below(40)), a.k = 1 + d.below(a.experts);
  a.logits = d.matrix(a.rows, a.experts);
  a.choice_bias = a.sigmoid ? d.floats_or_none(1, a.experts) : nullptr;
  a.indices = d.integers(a.rows * a.k, 0, 9), a.weights = d.floats(a.rows, a.k);
}

void draw_args(draw& d, ik_gather_rows_args& a) {
  a.from_rows = d.size(), a.rows = d.rows(), a.columns = d.columns();
  a.from = d.matrix(a.from_rows, a.columns), a.out = d.matrix(a.rows, a.columns);
  a.indices = d.integers(a.rows, -1, a.from_rows);
}

void draw_args(draw& d, ik_combine_rows_args& a) {
  a.from_rows = d.size(), a.rows = d.rows(), a.columns = d.columns(), a.k = d.below(5);
  a.x = d.matrix(a.from_rows, a.columns), a.out = d.matrix(a.rows, a.columns);
  a.residual = d.matrix_or_none(a.rows, a.columns), a.delta = d.matrix_or_none(a.rows, a.columns);
  a.indices = d.integers(a.rows * a.k, -1, a.from_rows), a.weights = d.floats(a.rows, a.k);
}

void draw_args(draw& d, ik_map_args& a) {
  a.rows = d.rows(), a.columns = d.columns(), a.kind = static_cast<int32_t>(d.below(3)), a.parameter = 3;
  a.x = d.matrix(a.rows, a.columns), a.out = d.matrix(a.rows, a.columns);
}

void draw_args(draw& d, ik_clamped_swiglu_args& a) {
  a.rows = d.rows(), a.columns = d.columns(), a.alpha = 1.702f, a.limit = 7;
  a.gate = d.matrix(a.rows, a.columns), a.up = d.matrix(a.rows, a.columns), a.out = d.matrix(a.rows, a.columns);
}

void draw_args(draw& d, ik_pack_args& a) {
  static constexpr int64_t sizes[] = {4, 8, 2, 2};
  a.inner = d.columns(), a.columns = d.columns(), a.type = static_cast<int32_t>(d.below(4));
  a.inner_start = d.below(20), a.column_start = d.below(40);
  int64_t inner = a.inner + d.below(5), columns = a.column_start + a.columns + d.below(40);
  a.weight = d.weight(32 + inner, columns);
  if (a.weight.type == IK_I8) a.inner_start = a.inner_start / 16 * 32;  // groups are packed whole
  // Rows along either axis, or neither.
  bool inputs_first = d.chance(2);
  int64_t step = 1 + (d.chance(4) ? d.below(3) : 0);
  int64_t rows = inputs_first ? a.inner : a.columns, width = (inputs_first ? a.columns : a.inner) * step;
  int64_t stride = width + d.below(3), bytes = ((rows - 1) * stride + width - step + 1) * sizes[a.type];
  a.inner_stride = inputs_first ? stride : step, a.column_stride = inputs_first ? step : stride;
  // An odd address in front of the end, as in a file.
  int64_t odd = (4 - bytes % 4) % 4;
  a.source = reinterpret_cast<const char*>(d.floats(1, (bytes + odd) / 4)) + odd;
}

void draw_args(draw& d, ik_evaluate_args& a) {
  a.count = d.rows() * d.columns(), a.function = static_cast<int32_t>(d.below(IK_F_SIGMOID + 1));
  a.x = d.floats(1, a.count), a.out = d.floats(1, a.count);
}

void draw_args(draw& d, ik_sparse_encode_args& a) {
  a.rows = d.rows(), a.columns = d.columns(), a.selection = static_cast<int32_t>(d.below(IK_BATCH_TOP_K + 1));
  int64_t inner = d.size(), limit = a.selection == IK_BATCH_TOP_K ? a.rows * a.columns : a.columns;
  a.k = d.below(limit + 1);
  if (a.selection == IK_GROUP_MAX && (a.k == 0 || a.columns % a.k != 0)) a.k = 1;
  a.w = d.weight(inner, a.columns), a.x = d.matrix(a.rows, inner), a.offset = d.floats_or_none(1, inner);
  int64_t features = a.columns;
  if (a.w.type != IK_I8 && d.chance(2)) {
    a.w.data = nullptr, a.direction_rows = features += d.below(3), a.directions = d.matrix(features, inner);
    if (features > 0 && d.chance(2)) a.chosen = d.integers(a.columns, 0, static_cast<int32_t>(features));
  }
  a.bias = d.floats_or_none(1, features), a.scale = d.floats_or_none(1, features);
  a.threshold = d.floats_or_none(1, features), a.pre = d.matrix_or_none(a.rows, a.columns);
  a.capacity = d.chance(2) ? a.rows * a.columns : d.below(a.rows * a.columns + 1);
  a.row_pointers = d.integers(a.rows + 1, 0, 9), a.indices = d.integers(a.capacity, 0, 9);
  a.values = d.floats(1, a.capacity);
}

ik_sparse_rows sparse(draw& d, int64_t rows, int64_t columns) {
  int64_t entries = columns == 0 ? 0 : rows * d.below(5), capacity = entries + d.below(4);
  int32_t* pointers = d.integers(rows + 1, 0, entries + 1);
  std::sort(pointers, pointers + rows + 1);
  pointers[0] = 0;
  return {pointers, d.integers(capacity, 0, columns), d.floats(1, capacity), rows, columns, capacity};
}

void draw_args(draw& d, ik_sparse_product_args& a) {
  int64_t rows = d.rows(), n = d.size();
  a.s = sparse(d, rows, n), a.columns = d.columns();
  a.order = d.chance(2) && a.s.capacity > 0 ? d.integers(a.s.capacity, 0, a.s.capacity) : nullptr;
  a.m = d.matrix(n, a.columns), a.bias = d.floats_or_none(1, a.columns), a.out = d.matrix(rows, a.columns);
  a.accumulate = a.bias == nullptr && d.chance(2), a.scale = 0.5f, a.offset = d.floats_or_none(1, a.columns);
  a.target = d.matrix_or_none(rows, a.columns);
  a.dots = a.order == nullptr && a.offset == nullptr ? d.floats_or_none(1, a.s.capacity) : nullptr;
}

void draw_args(draw& d, ik_column_statistics_args& a) {
  a.rows = d.rows(), a.columns = d.columns(), a.x = d.matrix(a.rows, a.columns);
  a.sums = d.floats(1, a.columns), a.deviations = d.floats_or_none(1, a.columns);
}

void draw_args(draw& d, ik_sign_step_args& a) {
  a.rows = d.rows(), a.columns = d.columns();
  for (ik_matrix* m : {&a.parameter, &a.gradient, &a.fast}) *m = d.matrix(a.rows, a.columns);
  a.rate = 0.1f, a.momentum = 0.95f, a.share = 0.5f;
}

void draw_args(draw& d, ik_sparse_dots_args& a) {
  int64_t rows = d.rows(), n = d.size();
  a.s = sparse(d, rows, n), a.columns = d.columns();
  a.x = d.matrix(rows, a.columns), a.m = d.matrix(n, a.columns), a.out = d.floats(1, a.s.capacity);
}

void draw_args(draw& d, ik_sparse_transpose_args& a) {
  a.s = sparse(d, d.rows(), d.size());
  a.row_pointers = d.integers(a.s.columns + 1, 0, 9);
  a.indices = d.integers(a.s.capacity, 0, 9), a.order = d.integers(a.s.capacity, 0, 9);
}

void draw_args(draw& d, ik_project_gradient_args& a) {
  a.rows = d.rows(), a.columns = d.columns(), a.project = d.chance(2), a.divide_epsilon = d.chance(2) ? -1.0f : 1e-6f;
  a.parameter = d.matrix(a.rows, a.columns), a.gradient = d.matrix(a.rows, a.columns), a.squares = d.floats(1, a.rows);
}

void draw_args(draw& d, ik_adam_step_args& a) {
  a.rows = d.rows(), a.columns = d.columns();
  for (ik_matrix* m : {&a.parameter, &a.gradient, &a.m, &a.v}) *m = d.matrix(a.rows, a.columns);
  a.gradient_scale = 1, a.step_size = 0.1f, a.beta1 = 0.9f, a.beta2 = 0.999f, a.inverse_root_correction = 2, a.epsilon = 1e-8f;
  a.normalize_epsilon = d.chance(2) ? -1.0f : 1e-8f;
}

// An op that is missing above does not compile here.
#define TRY(name)                                                                 \
  void try_##name(ik_context* context, uint32_t seed) {                           \
    draw d(seed);                                                                 \
    ik_##name##_args args{};                                                      \
    draw_args(d, args);                                                           \
    if (ik_##name(context, &args) != IK_OK) fail(#name, "refused a proper case"); \
  }
IK_OPS(TRY)
#undef TRY

void try_all(ik_context* context, uint32_t seed) {
#define TRY(name) try_##name(context, seed);
  IK_OPS(TRY)
#undef TRY
}

}  // namespace

int main(int count, char** arguments) {
  uint32_t cases = count > 1 ? static_cast<uint32_t>(std::atoi(arguments[1])) : 100;
  if (ik_context_create(1, IK_SCALAR, &draw::packer) != IK_OK) fail("context", "could not be created");
  for (int32_t isa = IK_SCALAR; isa <= IK_AMX; isa++) {
    if (!ik_isa_present(isa)) continue;
    for (int32_t threads : {1, 3}) {
      ik_context* context = nullptr;
      if (ik_context_create(threads, isa, &context) != IK_OK) fail("context", "could not be created");
      // With several threads two callers share the context, as its contract allows.
      std::thread other([&] {
        for (uint32_t seed = 0; threads > 1 && seed < cases; seed += 8) try_all(context, seed);
      });
      for (uint32_t seed = 0; seed < cases; seed++) try_all(context, seed);
      other.join();
      ik_context_destroy(context);
      std::printf("instruction set %d, %d threads: %u cases of each op\n", isa, threads, cases);
    }
  }
  ik_context_destroy(draw::packer);
  return 0;
}
