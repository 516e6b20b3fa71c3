/* ExecuTorch by its C++ runtime (pytorch/executorch, runtime/executor), from the headers and libraries of its wheel.

   The runner is linked to libexecutorch and libexecutorch_threadpool; the library that it is told to load is a backend
   that registers itself, libexecutorch_backend_xnnpack. A part is one delegate, so no library of kernels is needed.

   The libraries are built with GNU's C++ library. Nothing here hands over one of its types, so that any compiler will
   do, with one thing to mind: a Program contains std::variant and std::optional, which another C++ library lays out
   otherwise inside of the same size. So what ExecuTorch returns is made in its place, and neither moved nor destroyed:
   the runner keeps what it opens until it ends. */
#include "runner.h"

#include <dlfcn.h>
#include <executorch/extension/data_loader/file_data_loader.h>
#include <executorch/extension/threadpool/threadpool_guard.h>
#include <executorch/runtime/core/exec_aten/util/dim_order_util.h>
#include <executorch/runtime/executor/method.h>
#include <executorch/runtime/executor/program.h>
#include <executorch/runtime/platform/runtime.h>

#include <cstdlib>
#include <cstring>
#include <new>

using namespace executorch::runtime;
using executorch::aten::ScalarType;
using executorch::aten::StridesType;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;
using executorch::extension::FileDataLoader;
using executorch::extension::threadpool::NoThreadPoolGuard;

static_assert(sizeof(Program) == 152 && sizeof(FreeableBuffer) == 40, "not the sizes in the libraries");

/* Named by destructors that nothing calls; here, so that no C++ library has to be linked. */
void operator delete(void *memory) noexcept { free(memory); }
void operator delete(void *memory, size_t) noexcept { free(memory); }

namespace {

constexpr char FORWARD[] = "forward";
constexpr uint8_t CHANNELS_LAST[] = {0, 2, 3, 1};
constexpr size_t ALIGNMENT = 64, MOST_BUFFERS = 4;
constexpr uint32_t METHOD_SIZE = 1 << 16; /* a method with one delegate takes less than 3 kB */

void check(Error error, const char *what, const char *which) {
  if (error != Error::Ok) fail("ExecuTorch cannot %s %s: %s", what, which, to_string(error));
}

template <typename T> T &made(Result<T> &result, const char *what, const char *which) {
  check(result.error(), what, which);
  return result.get();
}

uint8_t *room(size_t bytes, const char *which) {
  void *found = aligned_alloc(ALIGNMENT, (bytes / ALIGNMENT + 1) * ALIGNMENT);
  if (found == nullptr) fail("no memory for %s", which);
  return static_cast<uint8_t *>(found);
}

/* Fill in and return the memory that the method has planned for its tensors. */
Span<Span<uint8_t>> plan(const MethodMeta &meta, Span<uint8_t> *buffers, const part &part) {
  size_t count = meta.num_memory_planned_buffers();
  if (count > MOST_BUFFERS) fail("%s plans more than %zu buffers", part.file, MOST_BUFFERS);
  for (size_t i = 0; i < count; i++) {
    Result<int64_t> planned = meta.memory_planned_buffer_size(i);
    size_t bytes = static_cast<size_t>(made(planned, "plan the memory of", part.file));
    buffers[i] = {room(bytes, part.name), bytes};
  }
  return {buffers, count};
}

/* Return what the program says of a tensor. Maps are channels last inside of NCHW: in another order ExecuTorch would
   compute with the bytes as they come, without a word. */
TensorInfo described(Result<TensorInfo> result, const tensor &tensor, const part &part) {
  const TensorInfo &info = made(result, "find a tensor of", part.file);
  if (info.scalar_type() != ScalarType::Float || info.nbytes() != tensor.floats * sizeof(float))
    fail("%s has another %s than it should", part.file, tensor.name);
  if (info.sizes().size() == 4 && memcmp(info.dim_order().data(), CHANNELS_LAST, sizeof CHANNELS_LAST) != 0)
    fail("%s has %s in another order than channels last", part.file, tensor.name);
  return info;
}

/* What a method needs as long as it lives. */
struct Opened {
  explicit Opened(const part &part)
      : loader(FileDataLoader::from(part.file, ALIGNMENT)),
        program(Program::load(&made(loader, "open", part.file), Program::Verification::InternalConsistency)),
        meta(made(program, "read", part.file).method_meta(FORWARD)),
        planned(plan(made(meta, "find the method of", part.file), buffers, part)),
        internal(METHOD_SIZE, room(METHOD_SIZE, part.name)), memory(&internal, &planned),
        method(program->load_method(FORWARD, &memory)),
        info(described(meta->input_tensor_meta(0), part.input, part)),
        input(ScalarType::Float, static_cast<ssize_t>(info.sizes().size()), const_cast<int32_t *>(info.sizes().data()),
              part.input.data, const_cast<uint8_t *>(info.dim_order().data()), strides) {
    made(method, "prepare", part.file);
    dim_order_to_stride_nocheck(info.sizes().data(), info.dim_order().data(), info.sizes().size(), strides);
  }

  Result<FileDataLoader> loader;
  Result<Program> program;
  Result<MethodMeta> meta;
  Span<uint8_t> buffers[MOST_BUFFERS];
  HierarchicalAllocator planned;
  MemoryAllocator internal;
  MemoryManager memory;
  Result<Method> method;
  TensorInfo info;
  StridesType strides[MOST_DIMENSIONS];
  TensorImpl input;
};

} // namespace

void engine_start(const char *library, int threads) {
  if (threads != 1) fail("the ExecuTorch runner has one thread, not %d", threads);
  if (dlopen(library, RTLD_NOW | RTLD_GLOBAL) == nullptr) fail("%s", dlerror());
  runtime_init();
  NoThreadPoolGuard::set_enabled(true); /* of this thread, which is the only one: a pool is never made */
}

void engine_open(part *part) {
  Opened *opened = new (room(sizeof(Opened), part->name)) Opened(*part);
  if (opened->meta->num_outputs() != static_cast<size_t>(part->outputs))
    fail("%s has %zu outputs, not %d", part->file, opened->meta->num_outputs(), part->outputs);
  for (int i = 0; i < part->outputs; i++) {
    const tensor &output = part->output[i];
    size_t place = static_cast<size_t>(i), bytes = output.floats * sizeof(float);
    if (!described(opened->meta->output_tensor_meta(place), output, *part).is_memory_planned())
      check(opened->method->set_output_data_ptr(output.data, bytes, place), "write", output.name);
  }
  part->opened = opened;
}

void engine_run(part *part) {
  Opened *opened = static_cast<Opened *>(part->opened);
  Method &method = *opened->method;
  /* Copies where the program has planned memory for it, as ours have. */
  check(method.set_input(Tensor(&opened->input), 0), "take the input of", part->name);
  check(method.execute(), "run", part->name);
  for (int i = 0; i < part->outputs; i++) {
    const tensor &output = part->output[i];
    const void *found = method.get_output(static_cast<size_t>(i)).toTensor().const_data_ptr();
    if (found != output.data) memcpy(output.data, found, output.floats * sizeof(float));
  }
}
