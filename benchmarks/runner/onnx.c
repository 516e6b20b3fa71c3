/* ONNX Runtime by its C API (microsoft/onnxruntime, onnxruntime_c_api.h), from the libonnxruntime of its wheel, opened
   at run time.

   That API is a struct of functions, to which releases only append: what is called here is taken by its place in it, so
   that neither the header nor the library is needed to compile. All of it is as old as the API's version 1. */
#define _GNU_SOURCE
#include "runner.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

typedef struct opaque *handle;

/* NULL, or what went wrong. */
typedef handle status;

enum { API_VERSION = 1, ERRORS_ONLY = 3, ARENA_ALLOCATOR = 1, DEFAULT_MEMORY = 0, FLOAT32 = 1 };

/* Places in OrtApi. */
enum {
  GetErrorMessage = 2,
  CreateEnv = 3,
  CreateSession = 7,
  Run = 9,
  CreateSessionOptions = 10,
  SetIntraOpNumThreads = 24,
  SetInterOpNumThreads = 25,
  CreateTensorWithDataAsOrtValue = 49,
  CreateCpuMemoryInfo = 69
};

static struct {
  const char *(*GetErrorMessage)(status);
  status (*CreateEnv)(int, const char *, handle *);
  status (*CreateSession)(handle, const char *, handle, handle *);
  status (*Run)(handle, handle, const char *const *, const handle *, size_t, const char *const *, size_t, handle *);
  status (*CreateSessionOptions)(handle *);
  status (*SetIntraOpNumThreads)(handle, int);
  status (*SetInterOpNumThreads)(handle, int);
  status (*CreateTensorWithDataAsOrtValue)(handle, void *, size_t, const int64_t *, size_t, int, handle *);
  status (*CreateCpuMemoryInfo)(int, int, handle *);
} call;

struct base {
  void *const *(*GetApi)(uint32_t version);
  const char *(*GetVersionString)(void);
};

static handle environment, options, memory;

struct opened {
  handle session, input, output[MOST_OUTPUTS];
  const char *name[MOST_OUTPUTS];
};

static void check(status status, const char *what, const char *which) {
  if (status == NULL) return;
  const char *message = call.GetErrorMessage(status);
  fail("ONNX Runtime cannot %s %s: %.*s", what, which, (int)strcspn(message, "\n"), message); /* its first line */
}

void engine_start(const char *library, int threads) {
  if (threads != 1) fail("the ONNX Runtime runner has one thread, not %d", threads);
  /* From 1.29 on it reports to Microsoft by default, from a thread of its own. A wish of the user's stays. */
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
  void *loaded = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (loaded == NULL) fail("%s", dlerror());
  const struct base *(*base)(void) = (__typeof__(base))dlsym(loaded, "OrtGetApiBase");
  if (base == NULL) fail("%s", dlerror());
  void *const *api = base()->GetApi(API_VERSION);
  if (api == NULL) fail("ONNX Runtime %s has no version %d of its API", base()->GetVersionString(), API_VERSION);
#define FIND(name) call.name = (__typeof__(call.name))api[name]
  FIND(GetErrorMessage);
  FIND(CreateEnv);
  FIND(CreateSession);
  FIND(Run);
  FIND(CreateSessionOptions);
  FIND(SetIntraOpNumThreads);
  FIND(SetInterOpNumThreads);
  FIND(CreateTensorWithDataAsOrtValue);
  FIND(CreateCpuMemoryInfo);
  check(call.CreateEnv(ERRORS_ONLY, "runner", &environment), "start", library);
  /* All else as it is by default, and so as the backend has it: every optimisation of the graph, one operator after the
     other. Without a second thread there is none that could spin. */
  check(call.CreateSessionOptions(&options), "start", library);
  check(call.SetIntraOpNumThreads(options, threads), "set the threads of", library);
  check(call.SetInterOpNumThreads(options, 1), "set the threads of", library);
  check(call.CreateCpuMemoryInfo(ARENA_ALLOCATOR, DEFAULT_MEMORY, &memory), "use the memory of", library);
}

/* Return a value that lies in the runner's own memory. */
static handle value(const struct tensor *tensor) {
  handle made;
  check(call.CreateTensorWithDataAsOrtValue(memory, tensor->data, tensor->floats * sizeof(float), tensor->shape,
                                            (size_t)tensor->rank, FLOAT32, &made),
        "make a tensor for", tensor->name);
  return made;
}

void engine_open(struct part *part) {
  struct opened *opened = calloc(1, sizeof *opened);
  if (opened == NULL) fail("no memory for %s", part->name);
  check(call.CreateSession(environment, part->file, options, &opened->session), "open", part->file);
  opened->input = value(&part->input);
  for (int i = 0; i < part->outputs; i++) {
    opened->output[i] = value(&part->output[i]);
    opened->name[i] = part->output[i].name;
  }
  part->opened = opened;
}

void engine_run(struct part *part) {
  struct opened *opened = part->opened;
  const char *name = part->input.name;
  check(call.Run(opened->session, NULL, &name, &opened->input, 1, opened->name, (size_t)part->outputs, opened->output),
        "run", part->name);
}
