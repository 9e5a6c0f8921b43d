/* Quicksort of numbers and heapsort of records: branches that nobody predicts, and swaps. */
#include "program.h"

enum { NUMBERS = 4096, RECORDS = 1024, FEW = 12 };

struct record {
  u64 key;
  u32 value;
  u32 origin;
};

static s32 numbers[NUMBERS];
static struct record records[RECORDS];

static void insertion_sort(s32 *first, s32 *last) {
  for (s32 *at = first + 1; at <= last; at++) {
    s32 value = *at;
    s32 *hole = at;
    for (; hole > first && hole[-1] > value; hole--) *hole = hole[-1];
    *hole = value;
  }
}

static inline s32 median(s32 a, s32 b, s32 c) {
  if (a < b) return b < c ? b : a < c ? c : a;
  return a < c ? a : b < c ? c : b;
}

static CALLED void quicksort(s32 *first, s32 *last) {
  while (last - first >= FEW) {
    s32 pivot = median(*first, first[(last - first) / 2], *last);
    s32 *low = first, *high = last;
    while (low <= high) {
      while (*low < pivot) low++;
      while (*high > pivot) high--;
      if (low > high) break;
      s32 value = *low;
      *low++ = *high;
      *high-- = value;
    }
    if (high - first < last - low) {
      quicksort(first, high);
      first = low;
    } else {
      quicksort(low, last);
      last = high;
    }
  }
  insertion_sort(first, last);
}

static inline int is_before(const struct record *a, const struct record *b) {
  return a->key != b->key ? a->key < b->key : a->origin < b->origin;
}

static void sift_down(struct record *heap, u32 root, u32 length) {
  struct record moved = heap[root];
  for (;;) {
    u32 child = 2 * root + 1;
    if (child >= length) break;
    if (child + 1 < length && is_before(&heap[child], &heap[child + 1])) child++;
    if (!is_before(&moved, &heap[child])) break;
    heap[root] = heap[child];
    root = child;
  }
  heap[root] = moved;
}

static CALLED void heapsort(struct record *heap, u32 length) {
  for (u32 i = length / 2; i-- > 0;) sift_down(heap, i, length);
  for (u32 end = length - 1; end > 0; end--) {
    struct record top = heap[0];
    heap[0] = heap[end];
    heap[end] = top;
    sift_down(heap, 0, end);
  }
}

unsigned long run(unsigned long iterations) {
  u32 random = 5;
  u64 checksum = 0;
  for (u64 i = 0; i < iterations; i++) {
    for (u32 k = 0; k < NUMBERS; k++) numbers[k] = next_random(&random);
    for (u32 k = 0; k < RECORDS; k++) {
      u32 value = next_random(&random);
      records[k] = (struct record){.key = (u64)(value & 0x3ff) << 32 | value >> 24, .value = value, .origin = k};
    }
    quicksort(numbers, numbers + NUMBERS - 1);
    heapsort(records, RECORDS);
    u64 disorder = 0;
    for (u32 k = 1; k < NUMBERS; k++) disorder += numbers[k - 1] > numbers[k];
    for (u32 k = 1; k < RECORDS; k++) disorder += is_before(&records[k], &records[k - 1]);
    checksum = mix(checksum, disorder);
    for (u32 k = 0; k < NUMBERS; k += 64) checksum = mix(checksum, numbers[k]);
    for (u32 k = 0; k < RECORDS; k += 64) checksum = mix(checksum, records[k].value ^ records[k].origin);
  }
  return checksum;
}
