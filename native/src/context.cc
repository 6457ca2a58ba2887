// The C entry points: instruction sets, contexts, weight memory, measurements, and one line for each op.
#include "context.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <system_error>

#if defined(__linux__)
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace {

#if defined(IK_HAVE_X86)
// Linux hands tile registers only to processes that ask, and only where the stacks of all signal handlers are
// large enough for them. For all threads, at any time.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long request_permission = 0x1023, tile_data = 18;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}

// Registers that the operating system saves at a context switch: XCR0. Called only where CPUID reports
// OSXSAVE.
uint64_t saved_registers() {
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

// Whether processor and operating system support an instruction set.
bool has_x86(int32_t isa) {
  constexpr uint32_t fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
  constexpr uint32_t avx2 = 1u << 5, avx512f = 1u << 16, avx512dq = 1u << 17, avx512bw = 1u << 30,
                     avx512vl = 1u << 31;
  constexpr uint32_t vnni = 1u << 11, avx512_bf16 = 1u << 5, amx_bf16 = 1u << 22, amx_tile = 1u << 24;
  constexpr uint64_t ymm = 0x6, zmm = 0xe6, tiles = 0x60000;
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return false;
  uint32_t first = fma | osxsave | avx | f16c;
  if ((c & first) != first) return false;
  uint64_t saved = saved_registers();
  if ((saved & ymm) != ymm) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  if (isa == IK_AVX2) return (b & avx2) != 0;
  uint32_t wide = avx2 | avx512f | avx512dq | avx512bw | avx512vl;
  if ((b & wide) != wide || (saved & zmm) != zmm) return false;
  if (isa == IK_AVX512) return true;
  bool matrix = (d & (amx_bf16 | amx_tile)) == (amx_bf16 | amx_tile) && (saved & tiles) == tiles;
  if ((c & vnni) == 0 || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || (a & avx512_bf16) == 0) return false;
  return isa == IK_AVX512_BF16 || (matrix && may_use_tiles());
}
#endif

// The kernels of an instruction set; none where it is not present.
std::optional<ik::kernel_table> find_kernels(int32_t isa) {
  switch (isa) {
    case IK_SCALAR:
      return ik::scalar::kernels;
#if defined(IK_HAVE_X86)
    case IK_AVX2:
      if (has_x86(isa)) return ik::avx2::kernels;
      break;
    case IK_AVX512:
    case IK_AVX512_BF16:
    case IK_AMX:
      if (has_x86(isa)) {
        ik::kernel_table table = ik::avx512::kernels;
        if (isa >= IK_AVX512_BF16) table.int8 = &ik::avx512_bf16::int8_product;
        if (isa == IK_AVX512_BF16) table.bf16 = &ik::avx512_bf16::bf16_product;
        if (isa == IK_AVX512_BF16) table.spend_bf16 = ik::avx512_bf16::spend_bf16;
        if (isa == IK_AMX) table.bf16 = &ik::amx::bf16_product;
        if (isa == IK_AMX) table.spend_bf16 = ik::amx::spend_bf16;
        return table;
      }
      break;
#endif
  }
  return std::nullopt;
}

double seconds() {
  auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

}  // namespace

extern "C" {

int32_t ik_abi_version(void) { return IK_ABI_VERSION; }

int64_t ik_struct_size(int32_t op) {
#define IK_SIZE(name) sizeof(ik_##name##_args),
  static constexpr int64_t sizes[] = {IK_OPS(IK_SIZE)};
#undef IK_SIZE
  constexpr int32_t count = sizeof sizes / sizeof sizes[0];
  return op >= 0 && op < count ? sizes[op] : -1;
}

int32_t ik_isa_present(int32_t isa) { return find_kernels(isa).has_value(); }

int32_t ik_available_threads(void) { return ik::available_threads(); }

ik_status ik_context_create(int32_t threads, int32_t isa, ik_context** context) {
  *context = nullptr;
  std::optional<ik::kernel_table> kernels = find_kernels(isa);
  if (!kernels) return IK_ISA_NOT_PRESENT;
  try {
    *context = new ik_context(threads > 0 ? threads : ik::available_threads(), *kernels);
    return IK_OK;
  } catch (const std::exception&) {
    return IK_OUT_OF_MEMORY;
  }
}

void ik_context_destroy(ik_context* context) { delete context; }

int32_t ik_context_threads(const ik_context* context) { return context->pool.threads(); }

void* ik_weight_allocate(int64_t bytes) {
  if (bytes == 0) bytes = 1;
#if defined(__linux__)
  // Zero pages straight from the system; huge ones where the weight fills some, for the sake of the TLB.
  constexpr int64_t huge = 2 << 20;
  bool large = bytes >= huge;
  size_t length = static_cast<size_t>(bytes) + (large ? huge : 0);
  char* memory =
      static_cast<char*>(mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (memory == MAP_FAILED) return nullptr;
  if (!large) return memory;
  size_t before = (huge - reinterpret_cast<uintptr_t>(memory) % huge) % huge;
  if (before > 0) munmap(memory, before);
  size_t page = 4096, kept = (static_cast<size_t>(bytes) + page - 1) / page * page;
  size_t after = (length + page - 1) / page * page - before - kept;
  if (after > 0) munmap(memory + before + kept, after);
  madvise(memory + before, kept, MADV_HUGEPAGE);
  return memory + before;
#else
  void* memory = ::operator new(bytes, std::align_val_t(64), std::nothrow);
  if (memory != nullptr) std::memset(memory, 0, bytes);
  return memory;
#endif
}

void ik_weight_free(void* memory, int64_t bytes) {
#if defined(__linux__)
  if (memory != nullptr) munmap(memory, bytes == 0 ? 1 : bytes);
#else
  (void)bytes;
  ::operator delete(memory, std::align_val_t(64));
#endif
}

ik_status ik_measure_flops(ik_context* context, int32_t type, double* gflops) {
  constexpr int64_t steps = 200000;
  double best = 0, end = seconds() + 0.3;
  int threads = context->pool.threads();
  struct work {
    ik_context* context;
    int32_t type;
    double flops;
  } state{context, type, 0};
  while (seconds() < end) {
    double begin = seconds();
    context->pool.run(
        threads,
        [](void* p, int64_t task) {
          float sink;
          auto* w = static_cast<work*>(p);
          const ik::kernel_table& kernels = w->context->kernels;
          double flops = w->type == IK_BF16 ? kernels.spend_bf16(steps) : kernels.spend_flops(steps, &sink);
          if (task == 0) w->flops = flops;
        },
        &state);
    double rate = state.flops * threads / (seconds() - begin) / 1e9;
    if (rate > best) best = rate;
  }
  *gflops = best;
  return IK_OK;
}

ik_status ik_measure_bandwidth(ik_context* context, double* gigabytes) {
  constexpr int64_t bytes = 256 << 20, chunk = 1 << 20;  // larger than the caches of most machines
  char* data = static_cast<char*>(ik_weight_allocate(bytes));
  if (data == nullptr) return IK_OUT_OF_MEMORY;
  std::memset(data, 1, bytes);
  struct work {
    ik_context* context;
    char* data;
    std::atomic<uint32_t> sink;
  } state{context, data, 0};
  double best = 0, end = seconds() + 0.25;
  while (seconds() < end) {
    double begin = seconds();
    context->pool.run(
        bytes / chunk,
        [](void* p, int64_t task) {
          auto* w = static_cast<work*>(p);
          const float* from = reinterpret_cast<const float*>(w->data + task * chunk);
          float sum = w->context->kernels.read(from, chunk / 4);
          uint32_t bits;
          std::memcpy(&bits, &sum, 4);
          w->sink += bits;
        },
        &state);
    double rate = bytes / (seconds() - begin) / 1e9;
    if (rate > best) best = rate;
  }
  ik_weight_free(data, bytes);
  *gigabytes = best;
  return IK_OK;
}

#define IK_DEFINE(name)                                                    \
  ik_status ik_##name(ik_context* context, const ik_##name##_args* args) { \
    return context->kernels.name(*context, *args);                         \
  }
IK_OPS(IK_DEFINE)
#undef IK_DEFINE

}  // extern "C"
