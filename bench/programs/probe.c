/* No program to be timed but what `npm run bench -- translator` asks a sandbox about itself with. */
#include "program.h"

enum { BYTES = 64 << 20, PAGE = 4096, LINE = 64 };

static u64 word = 42;
/** What a snapshot holds. */
static u8 arena[BYTES] __attribute__((aligned(4096)));

/** Reads at an address, which may be nobody's; at 0 a word of this program's own. */
unsigned long peek(unsigned long address) {
  return *(volatile u64 *)(address != 0 ? address : (u64)&word);
}

/** A byte in each page, so that all of them are there. */
unsigned long fill(void) {
  for (u64 at = 0; at < BYTES; at += PAGE) arena[at] = at >> 12;
  return BYTES;
}

/** A byte in each line of so many bytes. */
unsigned long dirty(unsigned long bytes) {
  for (u64 at = 0; at < bytes; at += LINE) arena[at]++;
  return bytes;
}

/** A sum over the same lines. */
unsigned long sum(unsigned long bytes) {
  u64 checksum = 0;
  for (u64 at = 0; at < bytes; at += LINE) checksum = mix(checksum, arena[at]);
  return checksum;
}
