// Persistent worker threads that share the tasks of one parallel loop at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace ik {

class thread_pool {
 public:
  using function = void (*)(void* state, int64_t task);

  // Starts threads - 1 workers: the caller of `run` works too. Throws std::system_error where a thread cannot
  // start.
  explicit thread_pool(int threads);
  ~thread_pool();
  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls f(state, 0) … f(state, tasks - 1), each once, in any order, on any of the threads; returns when all
  // are done. Callers on other threads wait for their turn. Must not be called from inside a task.
  void run(int64_t tasks, function f, void* state);

 private:
  void work();
  void take_tasks();
  void stop();

  std::mutex turn_;  // one loop at a time

  // The loop that is open. Written before `open_` is set, read after it is seen.
  function function_ = nullptr;
  void* state_ = nullptr;
  int64_t tasks_ = 0;
  alignas(64) std::atomic<int64_t> next_{0};

  alignas(64) std::atomic<bool> open_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<int32_t> inside_{0};              // workers that may be reading the loop
  alignas(64) std::atomic<uint32_t> epoch_{0};  // counts the loops opened: what idle workers wait on
  std::vector<std::thread> workers_;
};

// Memory of the calling thread for the length of one task, aligned to 64 bytes; kept and grown from call to
// call. Null where there is none.
float* thread_scratch(int64_t floats);

// The same for the length of a whole op, whose tasks may use thread_scratch.
float* call_scratch(int64_t floats);

// Hands the pages of call_scratch, if they are many, back to the system until it is used again: between two encodings of a dictionary's
// training others need memory.
void rest_call_scratch();

// The same for a product, which ops that have call_scratch of their own call.
float* product_scratch(int64_t floats);

// CPUs in this process's affinity mask, bounded by its control group's quota; at least 1.
int available_threads();

}  // namespace ik
