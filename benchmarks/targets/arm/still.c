/* Loaded before everything else on an emulated core: the time of day stands still there.

   ONNX Runtime reads it in every run, and what it does with memory then differs by some instructions from one process to
   the next. A clock that measures how long something takes goes on. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
  if (clock != CLOCK_REALTIME) return (int)syscall(SYS_clock_gettime, clock, time);
  time->tv_sec = 1000000;
  time->tv_nsec = 0;
  return 0;
}
