/* LiteRT by its C API (google-ai-edge/LiteRT, litert/c), from the libLiteRt of its wheel, opened at run time.

   Of that API only what is called here is declared, so that neither headers nor the library are needed to compile. */
#define _GNU_SOURCE
#include "runner.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

typedef struct opaque *handle;

/* LiteRtRankedTensorType, which is part of the stable ABI: 72 bytes. */
struct ranked {
  int32_t element; /* 1: float32 */
  uint32_t rank : 7, has_strides : 1;
  int32_t dimensions[8];
  uint32_t strides[8];
};

enum { FLOAT32 = 1, CPU = 1 };

static struct {
  int (*CreateEnvironment)(int, const void *, handle *);
  int (*CreateModelFromFile)(handle, const char *, handle *);
  int (*GetModelSignature)(handle, size_t, handle *);
  int (*GetSignatureOutputName)(handle, size_t, const char **);
  int (*CreateOptions)(handle *);
  int (*SetOptionsHardwareAccelerators)(handle, int);
  int (*CreateCompiledModel)(handle, handle, handle, handle *);
  int (*CreateTensorBufferFromHostMemory)(const struct ranked *, void *, size_t, void (*)(void *), handle *);
  int (*RunCompiledModel)(handle, size_t, size_t, handle *, size_t, handle *);
} call;

static handle environment, options;

struct opened {
  handle model, input, output[MOST_OUTPUTS]; /* outputs in the order of the signature */
};

static void *symbol(void *library, const char *name) {
  void *found = dlsym(library, name);
  if (found == NULL) fail("the LiteRT library has no %s", name);
  return found;
}

static void check(int status, const char *what, const char *which) {
  if (status != 0) fail("LiteRT cannot %s %s: status %d", what, which, status);
}

void engine_start(const char *library, int threads) {
  if (threads != 1) fail("the LiteRT runner has one thread, not %d", threads);
  void *loaded = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (loaded == NULL) fail("%s", dlerror());
#define FIND(name) call.name = (__typeof__(call.name))symbol(loaded, "LiteRt" #name)
  FIND(CreateEnvironment);
  FIND(CreateModelFromFile);
  FIND(GetModelSignature);
  FIND(GetSignatureOutputName);
  FIND(CreateOptions);
  FIND(SetOptionsHardwareAccelerators);
  FIND(CreateCompiledModel);
  FIND(CreateTensorBufferFromHostMemory);
  FIND(RunCompiledModel);
  check(call.CreateEnvironment(0, NULL, &environment), "start", library);
  check(call.CreateOptions(&options), "start", library);
  check(call.SetOptionsHardwareAccelerators(options, CPU), "use the CPU of", library);
}

/* Return what LiteRT knows the runner's own memory by, which it reads and writes without a copy. */
static handle buffer(const struct tensor *tensor) {
  struct ranked type = {.element = FLOAT32, .rank = (uint32_t)tensor->rank};
  handle made;
  for (int i = 0; i < tensor->rank; i++) type.dimensions[i] = (int32_t)tensor->shape[i];
  check(call.CreateTensorBufferFromHostMemory(&type, tensor->data, tensor->floats * sizeof(float), NULL, &made),
        "take the memory of", tensor->name);
  return made;
}

void engine_open(struct part *part) {
  struct opened *opened = calloc(1, sizeof *opened);
  handle model, signature;
  if (opened == NULL) fail("no memory for %s", part->name);
  check(call.CreateModelFromFile(environment, part->file, &model), "read", part->file);
  check(call.GetModelSignature(model, 0, &signature), "find the signature of", part->file);
  check(call.CreateCompiledModel(environment, model, options, &opened->model), "prepare", part->file);
  opened->input = buffer(&part->input);
  for (int i = 0; i < part->outputs; i++) {
    const char *name;
    int place = 0;
    check(call.GetSignatureOutputName(signature, (size_t)i, &name), "name an output of", part->file);
    while (strcmp(part->output[place].name, name) != 0)
      if (++place == part->outputs) fail("%s has an output %s", part->file, name);
    opened->output[i] = buffer(&part->output[place]);
  }
  part->opened = opened;
}

void engine_run(struct part *part) {
  struct opened *opened = part->opened;
  check(call.RunCompiledModel(opened->model, 0, 1, &opened->input, (size_t)part->outputs, opened->output), "run",
        part->name);
}
