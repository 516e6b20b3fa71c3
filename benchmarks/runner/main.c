/* Runs parts of a bundle in the order that it is told, without Python: on a board, a phone or an emulated core.

     runner WORK        WORK is a text file; what it names lies relative to the current folder

   Its lines, in this order of kinds; words are separated by one space:

     library FILE                      that executes the artifacts
     threads N
     part NAME FILE                    an artifact, followed by its tensors:
     input NAME DIM...                   its one input
     output NAME DIM...                  each of its outputs, in the artifact's order
     feed PART FROM OUTPUT             PART reads an output of part FROM; one that is fed by none reads `given`
     given FILE                        float32, the inputs of all runs, one after the other
     keep FILE                         where the outputs of every part that runs are written, in the order of the runs
     marks                             tell the emulator where each run begins and ends
     details                           see below
     for SECONDS                       repeat the runs that follow, in their order, for so long; see below
     each INDEX PART...                run PARTs on input INDEX, each in an interval of its own
     whole INDEX PART...               the same, in one interval

   For each interval it prints the nanoseconds that it took, in a line; with details, before all others those that it
   took from the start of the program until the library was there, and of each part to be opened, and after all others
   the most memory in bytes that it ever had. Where runs are repeated, the nanoseconds since the first began come before
   those of each. An emulator's clock means nothing: there the
   marks, system calls that no kernel has, let a plugin count. There is no exit rule here: who routes says what runs. */
#define _GNU_SOURCE
#include "runner.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_PARTS = 1024, LINE_SIZE = 1 << 16, MARK = 57568 };

struct feed {
  struct part *from;
  int output;
};

static struct part *parts[MOST_PARTS];
static struct feed feeds[MOST_PARTS];
static int count, marks, details;
static int64_t began, repeat_s, first_run;
static long repeat_from;
static FILE *given, *keep;

void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

static int place(const char *name) {
  for (int i = 0; i < count; i++)
    if (strcmp(parts[i]->name, name) == 0) return i;
  fail("there is no part %s", name);
}

static void copy_name(char *into, const char *name) {
  if (name == NULL || strlen(name) >= NAME_SIZE) fail("a name is missing, or longer than %d", NAME_SIZE - 1);
  strcpy(into, name);
}

static char *word(char **rest) { return strsep(rest, " "); }

static void read_tensor(struct tensor *tensor, char *rest) {
  copy_name(tensor->name, word(&rest));
  tensor->floats = 1;
  for (char *size; (size = word(&rest)) != NULL;) {
    if (tensor->rank == MOST_DIMENSIONS) fail("%s has more than %d dimensions", tensor->name, MOST_DIMENSIONS);
    tensor->shape[tensor->rank++] = atoll(size);
    tensor->floats *= (size_t)atoll(size);
  }
  /* A whole number of cache lines, and a vector more, which some kernels read past the end. */
  size_t bytes = (tensor->floats * sizeof(float) + 127) / 64 * 64;
  tensor->data = aligned_alloc(64, bytes);
  if (tensor->data == NULL) fail("no memory for %s", tensor->name);
  memset(tensor->data, 0, bytes);
}

static void new_part(char *rest) {
  if (count == MOST_PARTS) fail("more than %d parts", MOST_PARTS);
  struct part *part = parts[count++] = calloc(1, sizeof *part);
  if (part == NULL) fail("no memory for another part");
  copy_name(part->name, word(&rest));
  copy_name(part->file, word(&rest));
}

static void new_output(char *rest) {
  struct part *part = parts[count - 1];
  if (part->outputs == MOST_OUTPUTS) fail("%s has more than %d outputs", part->name, MOST_OUTPUTS);
  read_tensor(&part->output[part->outputs++], rest);
}

static void new_feed(char *rest) {
  struct feed *feed = &feeds[place(word(&rest))];
  feed->from = parts[place(word(&rest))];
  while (strcmp(feed->from->output[feed->output].name, rest) != 0)
    if (++feed->output == feed->from->outputs) fail("%s has no output %s", feed->from->name, rest);
}

static FILE *opened(const char *file, const char *how) {
  FILE *found = fopen(file, how);
  if (found == NULL) fail("%s: %s", file, strerror(errno));
  return found;
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void mark(long what) {
  if (marks) syscall(MARK, what);
}

static void say(int64_t number) { printf("%lld\n", (long long)number); }

/* Let the part take over what it reads, and run it. */
static void run_part(int index) {
  struct part *part = parts[index];
  const struct feed *feed = &feeds[index];
  if (feed->from != NULL)
    memcpy(part->input.data, feed->from->output[feed->output].data, part->input.floats * sizeof(float));
  engine_run(part);
}

static void run(char *rest, int whole) {
  char *name = word(&rest);
  int which[MOST_PARTS], number = 0;
  long input = name == NULL ? 0 : atol(name);
  while ((name = word(&rest)) != NULL) which[number++] = place(name);
  for (int i = 0; i < number; i++) {
    struct tensor *tensor = &parts[which[i]]->input;
    if (feeds[which[i]].from != NULL) continue;
    if (given == NULL || fseek(given, input * (long)(tensor->floats * sizeof(float)), SEEK_SET) != 0 ||
        fread(tensor->data, sizeof(float), tensor->floats, given) != tensor->floats)
      fail("there is no input %ld", input);
  }
  int64_t start = 0;
  for (int i = 0; i < number; i++) {
    if (i == 0 || !whole) {
      start = now();
      mark(1);
    }
    run_part(which[i]);
    if (i == number - 1 || !whole) {
      mark(0);
      int64_t took = now() - start;
      if (repeat_s > 0) say(start - first_run);
      say(took);
    }
  }
  for (int i = 0; keep != NULL && i < number; i++)
    for (int j = 0; j < parts[which[i]]->outputs; j++) {
      const struct tensor *tensor = &parts[which[i]]->output[j];
      if (fwrite(tensor->data, sizeof(float), tensor->floats, keep) != tensor->floats)
        fail("the outputs cannot be written: %s", strerror(errno));
    }
  fflush(stdout);
}

static void get_ready(const char *library, int threads) {
  engine_start(library, threads);
  int64_t start = now();
  if (details) say(start - began);
  for (int i = 0; i < count; i++) {
    engine_open(parts[i]);
    if (details) say(now() - start);
    start = now();
  }
}

/* The most memory that this program ever had, in bytes; 0 where the system does not tell. */
static int64_t peak(void) {
  char line[256];
  long long kilobytes = 0;
  FILE *status = fopen("/proc/self/status", "r");
  while (status != NULL && fgets(line, sizeof line, status) != NULL) sscanf(line, "VmHWM: %lld", &kilobytes);
  if (status != NULL) fclose(status);
  return kilobytes * 1024;
}

int main(int argc, char **argv) {
  static char line[LINE_SIZE];
  char library[NAME_SIZE] = "";
  int threads = 1, ready = 0;
  began = now();
  if (argc != 2) fail("usage: %s WORK", argv[0]);
  FILE *work = opened(argv[1], "r");
  for (;;) {
    if (ready && repeat_s > 0 && now() - first_run >= repeat_s * INT64_C(1000000000)) break;
    if (fgets(line, sizeof line, work) == NULL) {
      if (repeat_s == 0 || fseek(work, repeat_from, SEEK_SET) != 0) break;
      continue;
    }
    char *rest = line;
    line[strcspn(line, "\n")] = 0;
    const char *kind = word(&rest);
    if (strcmp(kind, "library") == 0) copy_name(library, rest);
    else if (strcmp(kind, "threads") == 0) threads = atoi(rest);
    else if (strcmp(kind, "part") == 0) new_part(rest);
    else if (strcmp(kind, "input") == 0 && count) read_tensor(&parts[count - 1]->input, rest);
    else if (strcmp(kind, "output") == 0 && count) new_output(rest);
    else if (strcmp(kind, "feed") == 0) new_feed(rest);
    else if (strcmp(kind, "given") == 0) given = opened(rest, "rb");
    else if (strcmp(kind, "keep") == 0) keep = opened(rest, "wb");
    else if (strcmp(kind, "marks") == 0) marks = 1;
    else if (strcmp(kind, "details") == 0) details = 1;
    else if (strcmp(kind, "for") == 0) {
      repeat_s = atoll(rest);
      repeat_from = ftell(work);
    }
    else if (strcmp(kind, "each") == 0 || strcmp(kind, "whole") == 0) {
      if (!ready) {
        get_ready(library, threads);
        first_run = now();
        ready = 1;
      }
      run(rest, strcmp(kind, "whole") == 0);
    } else fail("a line of %s begins with %s", argv[1], kind);
  }
  if (keep != NULL && fclose(keep) != 0) fail("the outputs cannot be written: %s", strerror(errno));
  if (details) say(peak());
  if (fflush(stdout) != 0 || ferror(stdout)) fail("what was measured cannot be written: %s", strerror(errno));
  return 0;
}
