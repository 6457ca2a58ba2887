#include "thread_pool.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace ik {
namespace {

// Long enough to bridge the gap between two ops of one forward pass, short enough to leave the CPU to others.
constexpr auto spin_time = std::chrono::microseconds(40);

void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until the value differs from `old`, then sleeps until it is notified.
template <class T>
void await_change(const std::atomic<T>& value, T old) {
  auto begin = std::chrono::steady_clock::now();
  for (int i = 1; value.load() == old; i++) {
    pause();
    if (i % 16 == 0 && std::chrono::steady_clock::now() - begin > spin_time) value.wait(old);
  }
}

}  // namespace

thread_pool::thread_pool(int threads) {
  try {
    workers_.reserve(threads - 1);
    for (int i = 1; i < threads; i++) {
      workers_.emplace_back([this] { work(); });
#if defined(__linux__)
      pthread_setname_np(workers_.back().native_handle(), "interp-cpu");
#endif
    }
  } catch (...) {
    stop();
    throw;
  }
}

thread_pool::~thread_pool() { stop(); }

void thread_pool::stop() {
  stopping_ = true;
  epoch_++;
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void thread_pool::run(int64_t tasks, function f, void* state) {
  if (tasks <= 1 || workers_.empty()) {
    for (int64_t i = 0; i < tasks; i++) f(state, i);
    return;
  }

  std::lock_guard<std::mutex> turn(turn_);
  function_ = f;
  state_ = state;
  tasks_ = tasks;
  next_ = 0;
  open_ = true;
  epoch_++;
  if (tasks - 1 < static_cast<int64_t>(workers_.size())) {
    for (int64_t i = 1; i < tasks; i++) epoch_.notify_one();
  } else {
    epoch_.notify_all();
  }

  take_tasks();

  // No task is left to take; a worker that comes late finds the loop closed, and the others are waited for.
  // Both sides write, then read, in one total order: either the worker sees the loop closed or we see it
  // inside.
  open_ = false;
  for (int32_t inside = inside_; inside != 0; inside = inside_) await_change(inside_, inside);
}

void thread_pool::take_tasks() {
  for (int64_t task = next_++; task < tasks_; task = next_++) function_(state_, task);
}

void thread_pool::work() {
#if defined(__linux__)
  pthread_setname_np(pthread_self(), "interp-cpu");
#endif
  uint32_t seen = 0;
  while (!stopping_) {
    await_change(epoch_, seen);
    seen = epoch_;
    inside_++;
    if (open_) take_tasks();
    if (--inside_ == 0) inside_.notify_one();
  }
}

namespace {

class scratch {
 public:
  ~scratch() { ::operator delete(data_, std::align_val_t(64)); }

  float* grow(int64_t floats) {
    if (floats > floats_) {
      ::operator delete(data_, std::align_val_t(64));
      floats_ = 0;
      data_ = static_cast<float*>(::operator new(floats * sizeof(float), std::align_val_t(64), std::nothrow));
      if (data_ != nullptr) floats_ = floats;
    }
    return data_;
  }

  void rest() {
#if defined(__linux__)
    constexpr uintptr_t page = 4096;
    uintptr_t begin = (reinterpret_cast<uintptr_t>(data_) + page - 1) / page * page;
    uintptr_t end = (reinterpret_cast<uintptr_t>(data_) + floats_ * sizeof(float)) / page * page;
    if (end >= begin + (1 << 20)) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
#endif
  }

 private:
  float* data_ = nullptr;
  int64_t floats_ = 0;
};

}  // namespace

float* thread_scratch(int64_t floats) {
  static thread_local scratch memory;
  return memory.grow(floats);
}

static scratch& memory_of_call() {
  static thread_local scratch memory;
  return memory;
}

float* call_scratch(int64_t floats) { return memory_of_call().grow(floats); }

void rest_call_scratch() { memory_of_call().rest(); }

float* product_scratch(int64_t floats) {
  static thread_local scratch memory;
  return memory.grow(floats);
}

int available_threads() {
  int count = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
  if (FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    long long quota, period;
    if (std::fscanf(file, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0) {
      int bound = static_cast<int>((quota + period - 1) / period);
      if (bound < count) count = bound;
    }
    std::fclose(file);
  }
#endif
  return count < 1 ? 1 : count;
}

}  // namespace ik
