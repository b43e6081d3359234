// Runs an ExecuTorch .pte file on an emulated ARM core between marks, for counting its instructions.
//
//   executorch_runner FILE RUNS
//
// The counterpart of android_bench/native/runner.c --mark, with ExecuTorch's own libraries, out of its ARM wheel. Python
// is left out: the wheel's bindings need all of PyTorch, and the interpreter's instructions would count. Of the C++
// library only headers are used, as the wheel's libraries bring another one. One thread, random inputs; the last line
// on stdout is JSON with the first value of the score.
#include <sys/syscall.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include <executorch/extension/data_loader/file_data_loader.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/runtime.h>

#include "mark.h"

using namespace executorch::runtime;
using executorch::aten::Half, executorch::aten::ScalarType, executorch::aten::Tensor;

namespace executorch::extension::threadpool {
class ThreadPool {  // of the library; its header is not in the wheel
 public:
  bool _unsafe_reset_threadpool(uint32_t threads);
  size_t get_thread_count() const;
};
ThreadPool *get_threadpool();
}  // namespace executorch::extension::threadpool

namespace {

enum { MOST = 16 };  // planned buffers

[[noreturn]] void fail(const char *why) {
  fprintf(stderr, "ERROR: %s\n", why);
  exit(1);
}

void must(Error error, const char *step) {
  if (error == Error::Ok) return;
  fprintf(stderr, "ERROR: %s: %s\n", step, to_string(error));
  exit(1);
}

template <typename T>
T &must(Result<T> &&result, const char *step) {
  must(result.error(), step);
  return *new T(std::move(result.get()));
}

// Memory that is given back with the process.
class Heap final : public MemoryAllocator {
 public:
  Heap() : MemoryAllocator(0, nullptr) {}
  void *allocate(size_t size, size_t alignment) override { return aligned_alloc(alignment, (size + alignment) & -alignment); }
};

// Uniform in -1..1, the values of session.h.
template <typename T>
void fill(Tensor &tensor, uint32_t &seed) {
  for (T *value = tensor.mutable_data_ptr<T>(), *end = value + tensor.numel(); value < end; ++value) {
    seed = seed * 1664525u + 1013904223u;
    *value = static_cast<float>(seed >> 8) / (1 << 23) - 1;
  }
}

void fill_inputs(Method &method) {
  uint32_t seed = 0;
  for (size_t index = 0; index < method.inputs_size(); ++index) {
    Tensor tensor = method.get_input(index).toTensor();
    if (!tensor.const_data_ptr()) fail("an input has no planned memory");
    if (tensor.scalar_type() == ScalarType::Float) fill<float>(tensor, seed);
    else if (tensor.scalar_type() == ScalarType::Half) fill<Half>(tensor, seed);
    else fail("an input is neither float32 nor float16");
  }
}

// The first value of the first output, finite.
float score_of(Method &method) {
  Tensor tensor = method.get_output(0).toTensor();
  bool half = tensor.scalar_type() == ScalarType::Half;
  if (!half && tensor.scalar_type() != ScalarType::Float) fail("the output is neither float32 nor float16");
  float score = half ? static_cast<float>(*tensor.const_data_ptr<Half>()) : *tensor.const_data_ptr<float>();
  if (!std::isfinite(score)) fail("the output is not finite");
  return score;
}

}  // namespace

int main(int count, char **words) {
  if (count != 3) fail("expected FILE RUNS");
  runtime_init();
  auto *pool = executorch::extension::threadpool::get_threadpool();
  if (!pool->_unsafe_reset_threadpool(1) || pool->get_thread_count() != 1) fail("it does not compute in one thread");
  auto &file = must(executorch::extension::FileDataLoader::from(words[1]), "opening the file");
  auto &program = must(Program::load(&file), "loading the program");
  MethodMeta meta = must(program.method_meta("forward"), "reading its method");

  Heap lasting, temporary;
  Span<uint8_t> planned[MOST];
  size_t buffers = meta.num_memory_planned_buffers();
  if (buffers > MOST) fail("too many planned buffers");
  for (size_t index = 0; index < buffers; ++index) {
    size_t size = must(meta.memory_planned_buffer_size(index), "reading a buffer's size");
    planned[index] = {static_cast<uint8_t *>(lasting.allocate(size, 64)), size};
  }
  HierarchicalAllocator arena({planned, buffers});
  MemoryManager memory(&lasting, &arena, &temporary);
  auto &method = must(program.load_method("forward", &memory), "loading its method");

  for (int run = 0, runs = atoi(words[2]); run < runs; ++run) {
    fill_inputs(method);  // again: what a run computes may lie where its inputs did
    syscall(SYS_sched_yield, MARK);
    Error error = method.execute();
    syscall(SYS_sched_yield, MARK);
    must(error, "running it");
  }
  printf("{\"score\":%.9g}\n", score_of(method));
  return 0;
}
