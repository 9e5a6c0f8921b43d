/*
 * A program as a process of its own. For each line "ITERATIONS" on standard input it runs and answers
 * {"nanoseconds": …, "checksum": "…"} on a line.
 */
#include <stdio.h>
#include <time.h>

unsigned long run(unsigned long iterations);

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(void) {
  unsigned long iterations;
  while (scanf("%lu", &iterations) == 1) {
    double start = now();
    unsigned long checksum = run(iterations);
    printf("{\"nanoseconds\": %.0f, \"checksum\": \"%lu\"}\n", now() - start, checksum);
    fflush(stdout);
  }
  return 0;
}
