/* What the runner asks of a library that executes artifacts. One engine is linked into each runner. */
#ifndef EDGE_MOE_RUNNER_H
#define EDGE_MOE_RUNNER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { MOST_DIMENSIONS = 8, MOST_OUTPUTS = 4, NAME_SIZE = 128 };

/* A float32 tensor of a part, as the manifest has it. */
struct tensor {
  char name[NAME_SIZE];
  int rank;
  int64_t shape[MOST_DIMENSIONS];
  size_t floats;
  float *data; /* the runner's own, aligned to 64 bytes */
};

/* One artifact: one input, up to MOST_OUTPUTS outputs. */
struct part {
  char name[NAME_SIZE];
  char file[NAME_SIZE];
  struct tensor input;
  int outputs;
  struct tensor output[MOST_OUTPUTS];
  void *opened; /* the engine's */
};

/* Load the library. */
void engine_start(const char *library, int threads);

/* Open an artifact; its tensors are known, and their memory stays where it is. */
void engine_open(struct part *part);

/* Run it: from input.data to every output.data. */
void engine_run(struct part *part);

/* Say on stderr what went wrong, in one line, and end with exit code 1. */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#ifdef __cplusplus
}
#endif
#endif
