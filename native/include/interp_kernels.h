// The C ABI of InterpEngine's CPU kernels: one shared library, no C++ types, nothing thrown.
//
// What each op computes, and in which order it sums, is written in src/InterpEngine.Kernels/Ops/*.cs; the
// caller has checked the arguments. Rows may have any stride; a null `data` means "not given". Results are
// bitwise the same for every number of threads and, but for products with BF16 weights, for every instruction
// set.
#ifndef INTERP_KERNELS_H
#define INTERP_KERNELS_H

#include <stdint.h>

#if defined(_WIN32)
#define IK_API __declspec(dllexport)
#else
#define IK_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

// Raised whenever a struct or the meaning of an argument changes.
#define IK_ABI_VERSION 6

typedef enum ik_status {
  IK_OK = 0,
  IK_OUT_OF_MEMORY = 1,       // scratch memory or a thread could not be had
  IK_ISA_NOT_PRESENT = 2,     // this machine or this build lacks the instruction set
  IK_INDEX_OUT_OF_RANGE = 3,  // an id, a position or a target lies past its table
} ik_status;

// As InterpEngine.Kernels.InstructionSet.
typedef enum ik_isa {
  IK_SCALAR = 0,
  IK_AVX2 = 1,
  IK_AVX512 = 2,
  IK_AVX512_BF16 = 3,  // with VNNI: Zen 4, Sapphire Rapids
  IK_AMX = 4,          // with AMX-BF16
} ik_isa;

// As InterpEngine.Kernels.Activation.
typedef enum ik_activation {
  IK_NONE = 0,
  IK_RELU,
  IK_GELU,
  IK_GELU_TANH,
  IK_QUICK_GELU,
  IK_SILU,
  IK_RELU_SQUARED,
  IK_TANH,
  IK_SIGMOID,
} ik_activation;

// Row r begins at data + r * stride.
typedef struct ik_matrix {
  float* data;
  int64_t stride;
} ik_matrix;

// Numbers as InterpEngine.Kernels.ElementType.
typedef enum ik_type { IK_F32 = 0, IK_F64 = 1, IK_F16 = 2, IK_BF16 = 3, IK_I8 = 4 } ik_type;

// A packed weight [inner K, columns N]: panels of 16 columns, zeros past the last column and the last k,
// aligned to 64 bytes. The same on every instruction set.
//   F32:  [ceil(N / 16)][K][16]
//   BF16: [ceil(N / 16)][ceil(K / 32)][16 pairs of k][16][2]
//   I8:   [ceil(N / 16)][ceil(K / 32)] blocks of 576 bytes: [8 fours of k][16][4] of value + 128, then the
//         fp32 scales of the 16 columns
typedef struct ik_weight {
  void* data;
  int64_t inner;
  int64_t columns;
  int32_t type;
  int32_t reserved;
} ik_weight;

typedef enum ik_rotary_pairing { IK_HALVES, IK_INTERLEAVED, IK_INTERLEAVED_TO_HALVES } ik_rotary_pairing;

// How the heads of a row are rotated: by the angles at positions[row], a row of the tables, or not where that
// is negative. No positions: not at all.
typedef struct ik_rotation {
  const int32_t* positions;
  const float* cos;
  const float* sin;
  int64_t head_size, pairs, table_rows;
  int32_t pairing;  // ik_rotary_pairing
  int32_t start;    // first rotated channel of a head
} ik_rotation;

typedef struct ik_matmul_args {
  ik_matrix x;
  ik_weight w;
  const float* bias;
  ik_matrix multiply, residual, pre, delta, out;
  int64_t rows, inner, columns, inner_start, column_start;
  ik_rotation rotation;               // of out; with column_start 0
  const struct ik_matmul_args* next;  // another product of the same x, rows, inner length and start, and weight type
  int32_t activation;
  float scale, soft_cap;  // no cap: 0
  int32_t reserved;
} ik_matmul_args;

typedef struct ik_matmul_transposed_args {
  ik_matrix x;
  ik_weight w;
  ik_matrix out;
  int64_t rows;
} ik_matmul_transposed_args;

typedef struct ik_norm_args {
  ik_matrix x;
  const float* gain;
  const float* bias;
  const float* given_scale;
  ik_matrix given_normalized, residual;
  float* scale;
  ik_matrix normalized, delta, out;
  int64_t rows, columns;
  int32_t rms;  // else layer norm
  float epsilon;
} ik_norm_args;

typedef struct ik_attention_args {
  const float* q;
  const float* k;
  const float* v;
  const int32_t* spans;
  const float* given_scores;
  const float* given_pattern;
  const float* slopes;
  const float* sinks;
  float* scores;
  float* pattern;
  float* z;
  int64_t batch, queries, heads, kv_heads, head_size, value_size, capacity, keys, window;
  float scale, soft_cap;
  int32_t causal, reserved;
} ik_attention_args;

typedef struct ik_rotary_args {
  const float* x;
  float* out;
  ik_rotation rotation;
  int64_t tokens, heads;
} ik_rotary_args;

typedef struct ik_embed_args {
  const int32_t* ids;
  ik_weight table;
  ik_matrix out;
  int64_t tokens;
} ik_embed_args;

typedef struct ik_add_args {
  ik_matrix a, b, out;
  int64_t rows, columns;
} ik_add_args;

typedef struct ik_activate_args {
  ik_matrix x, multiply, out;
  int64_t rows, columns;
  int32_t activation, reserved;
} ik_activate_args;

typedef enum ik_map_kind { IK_SCALE, IK_SOFT_CAP, IK_CLAMP } ik_map_kind;

typedef struct ik_map_args {
  ik_matrix x, out;
  int64_t rows, columns;
  int32_t kind;
  float parameter;
} ik_map_args;

typedef struct ik_copy_args {
  ik_matrix from, to;
  int64_t rows, columns;
} ik_copy_args;

typedef struct ik_fill_args {
  ik_matrix out;
  int64_t rows, columns;
  float value;
  int32_t reserved;
} ik_fill_args;

typedef struct ik_repeat_heads_args {
  ik_matrix x;
  float* out;
  int64_t tokens, heads, columns;
} ik_repeat_heads_args;

typedef struct ik_sum_heads_args {
  const float* x;
  const float* bias;
  ik_matrix out;
  int64_t tokens, heads, columns;
} ik_sum_heads_args;

typedef struct ik_log_probability_args {
  ik_matrix x;
  const int32_t* targets;
  float* out;
  int64_t rows, columns, count;
} ik_log_probability_args;

typedef struct ik_log_softmax_args {
  ik_matrix x, out;
  int64_t rows, columns;
} ik_log_softmax_args;

typedef struct ik_top_k_args {
  ik_matrix x;
  float* values;
  int32_t* indices;
  int64_t rows, columns, k;
} ik_top_k_args;

typedef struct ik_route_args {
  ik_matrix logits;
  const float* choice_bias;
  int32_t* indices;
  float* weights;
  int64_t rows, experts, k, groups, chosen_groups;
  int32_t sigmoid;  // else softmax
  int32_t renormalize;
  float factor;
  int32_t reserved;
} ik_route_args;

typedef struct ik_gather_rows_args {
  ik_matrix from, out;
  const int32_t* indices;
  int64_t from_rows, rows, columns;
} ik_gather_rows_args;

typedef struct ik_combine_rows_args {
  ik_matrix x, residual, delta, out;
  const int32_t* indices;
  const float* weights;
  int64_t from_rows, rows, columns, k;
} ik_combine_rows_args;

typedef struct ik_clamped_swiglu_args {
  ik_matrix gate, up, out;
  int64_t rows, columns;
  float alpha, limit;
} ik_clamped_swiglu_args;

typedef struct ik_pack_args {
  const void* source;  // need not be aligned
  ik_weight weight;
  int64_t inner, columns, inner_stride, column_stride, inner_start, column_start;
  int32_t type;
  int32_t alone;  // the calling thread does it all: others may be packing meanwhile
} ik_pack_args;

// As InterpEngine.Kernels.Selection.
typedef enum ik_selection { IK_THRESHOLD = 0, IK_TOP_K, IK_TOP_MAGNITUDE, IK_GROUP_MAX, IK_BATCH_TOP_K } ik_selection;

// Without directions w is a packed weight. With them its inner length and type alone are read: its columns are the directions, or
// those of them that are chosen.
typedef struct ik_sparse_encode_args {
  ik_matrix x;
  const float* offset;
  ik_weight w;
  ik_matrix directions;
  const int32_t* chosen;
  const float* bias;
  const float* scale;
  const float* threshold;
  ik_matrix pre;
  int32_t* row_pointers;
  int32_t* indices;
  float* values;
  int64_t rows, columns, direction_rows, capacity, k;
  int32_t selection, reserved;
} ik_sparse_encode_args;

// Row r has the entries from row_pointers[r] to row_pointers[r + 1].
typedef struct ik_sparse_rows {
  const int32_t* row_pointers;
  const int32_t* indices;
  const float* values;
  int64_t rows, columns, capacity;
} ik_sparse_rows;

typedef struct ik_sparse_product_args {
  ik_sparse_rows s;
  const int32_t* order;
  ik_matrix m;
  const float* offset;
  const float* bias;
  ik_matrix target, out;
  float* dots;
  int64_t columns;
  int32_t accumulate;
  float scale;
} ik_sparse_product_args;

typedef struct ik_sparse_dots_args {
  ik_matrix x;
  ik_sparse_rows s;
  ik_matrix m;
  float* out;
  int64_t columns;
} ik_sparse_dots_args;

typedef struct ik_sparse_transpose_args {
  ik_sparse_rows s;
  int32_t* row_pointers;
  int32_t* indices;
  int32_t* order;
} ik_sparse_transpose_args;

typedef struct ik_column_statistics_args {
  ik_matrix x;
  float* sums;
  float* deviations;
  int64_t rows, columns;
} ik_column_statistics_args;

typedef struct ik_project_gradient_args {
  ik_matrix parameter, gradient;
  float* squares;
  int64_t rows, columns;
  int32_t project;
  float divide_epsilon;  // negative for no division
} ik_project_gradient_args;

typedef struct ik_adam_step_args {
  ik_matrix parameter, gradient, m, v;
  int64_t rows, columns;
  float gradient_scale, step_size, beta1, beta2, inverse_root_correction, epsilon;
  float normalize_epsilon;  // negative for rows left as they are
  int32_t reserved;
} ik_adam_step_args;

typedef struct ik_sign_step_args {
  ik_matrix parameter, gradient, fast;
  int64_t rows, columns;
  float rate, momentum, share;
  int32_t reserved;
} ik_sign_step_args;

typedef enum ik_function { IK_EXP = 0, IK_LOG, IK_F_TANH, IK_ERF, IK_F_SIGMOID, IK_EXP_BESIDE_1 } ik_function;

// One elementary function on many numbers: for the accuracy tests.
typedef struct ik_evaluate_args {
  const float* x;
  float* out;
  int64_t count;
  int32_t function, reserved;
} ik_evaluate_args;

// Every op, in the order in which ik_struct_size numbers their arguments.
#define IK_OPS(OP)      \
  OP(matmul)            \
  OP(matmul_transposed) \
  OP(norm)              \
  OP(attention)         \
  OP(rotary)            \
  OP(embed)             \
  OP(add)               \
  OP(activate)          \
  OP(map)               \
  OP(copy)              \
  OP(fill)              \
  OP(repeat_heads)      \
  OP(sum_heads)         \
  OP(log_probability)   \
  OP(log_softmax)       \
  OP(top_k)             \
  OP(route)             \
  OP(gather_rows)       \
  OP(combine_rows)      \
  OP(clamped_swiglu)    \
  OP(pack)              \
  OP(evaluate)          \
  OP(sparse_encode)     \
  OP(sparse_product)    \
  OP(sparse_dots)       \
  OP(sparse_transpose)  \
  OP(column_statistics) \
  OP(project_gradient)  \
  OP(adam_step)         \
  OP(sign_step)

// The threads and the instruction set to compute with. Several threads may use one context at the same time.
typedef struct ik_context ik_context;

IK_API int32_t ik_abi_version(void);

// Bytes of the argument struct of the op with that number in IK_OPS; -1 past the last.
IK_API int64_t ik_struct_size(int32_t op);

// Whether this build has kernels for the instruction set, and the processor and the operating system support
// it.
IK_API int32_t ik_isa_present(int32_t isa);

// CPUs that this process may use: its affinity mask, bounded by the control group's quota.
IK_API int32_t ik_available_threads(void);

// threads: 0 for ik_available_threads().
IK_API ik_status ik_context_create(int32_t threads, int32_t isa, ik_context** context);
IK_API void ik_context_destroy(ik_context* context);
IK_API int32_t ik_context_threads(const ik_context* context);

// Zeroed memory for a packed weight, null where there is none. It costs address space until it is written.
IK_API void* ik_weight_allocate(int64_t bytes);
IK_API void ik_weight_free(void* memory, int64_t bytes);

// Each about 0.3 s on the context's threads: multiply-adds of F32 or BF16 numbers in GFLOP/s, and memory reads
// in GB/s.
IK_API ik_status ik_measure_flops(ik_context* context, int32_t type, double* gflops);
IK_API ik_status ik_measure_bandwidth(ik_context* context, double* gigabytes);

#define IK_DECLARE(name) IK_API ik_status ik_##name(ik_context* context, const ik_##name##_args* args);
IK_OPS(IK_DECLARE)
#undef IK_DECLARE

#ifdef __cplusplus
}
#endif

#endif
