/* Doubly linked rings with a head, as kernels have them: requests queued, moved, split, joined, sorted and recycled. */
#include "program.h"

enum { REQUESTS = 1024, QUEUES = 8, MOVES = 512 };

struct link {
  struct link *next, *previous;
};

struct request {
  u32 sector;
  u16 queue;
  u16 priority;
  struct link link;
  u64 served;
};

static struct request requests[REQUESTS];
static struct link queues[QUEUES], idle;

static inline struct request *request_of(struct link *link) {
  return (struct request *)((char *)link - __builtin_offsetof(struct request, link));
}

static inline void empty(struct link *head) {
  head->next = head;
  head->previous = head;
}

static inline void put_between(struct link *link, struct link *before, struct link *after) {
  after->previous = link;
  link->next = after;
  link->previous = before;
  before->next = link;
}

static inline void append(struct link *link, struct link *head) {
  put_between(link, head->previous, head);
}

static inline void take_out(struct link *link) {
  link->next->previous = link->previous;
  link->previous->next = link->next;
}

/** All of `from` goes to the end of `to`. */
static void join(struct link *from, struct link *to) {
  if (from->next == from) return;
  from->next->previous = to->previous;
  to->previous->next = from->next;
  from->previous->next = to;
  to->previous = from->previous;
  empty(from);
}

/** As an elevator does: behind the last request of a lower sector. */
static void insert_sorted(struct request *request, struct link *head) {
  struct link *at = head->previous;
  while (at != head && request_of(at)->sector > request->sector) at = at->previous;
  put_between(&request->link, at, at->next);
}

static int by_sector(const struct request *a, const struct request *b) {
  return (a->sector > b->sector) - (a->sector < b->sector);
}

static int by_priority(const struct request *a, const struct request *b) {
  if (a->priority != b->priority) return a->priority < b->priority ? -1 : 1;
  return (a->served > b->served) - (a->served < b->served);
}

typedef int compare(const struct request *a, const struct request *b);

/** Chains that end in 0, linked by `next` only. */
static struct link *merge(struct link *a, struct link *b, compare *order) {
  struct link *first = 0, **tail = &first;
  while (a != 0 && b != 0) {
    if (order(request_of(a), request_of(b)) <= 0) {
      *tail = a;
      tail = &a->next;
      a = a->next;
    } else {
      *tail = b;
      tail = &b->next;
      b = b->next;
    }
  }
  *tail = a != 0 ? a : b;
  return first;
}

/** Merges chains of 1, 2, 4, … like a counter that carries. */
static CALLED void sort(struct link *head, compare *order) {
  struct link *pending[16] = {0};
  u32 used = 0;
  struct link *rest = head->next;
  head->previous->next = 0;
  if (rest == head) rest = 0;
  while (rest != 0) {
    struct link *chain = rest;
    rest = rest->next;
    chain->next = 0;
    u32 i = 0;
    for (; i < used && pending[i] != 0; i++) {
      chain = merge(pending[i], chain, order);
      pending[i] = 0;
    }
    pending[i] = chain;
    if (i == used) used++;
  }
  struct link *all = 0;
  for (u32 i = 0; i < used; i++) all = merge(pending[i], all, order);
  empty(head);
  while (all != 0) {
    struct link *next = all->next;
    append(all, head);
    all = next;
  }
}

static u64 digest(u64 checksum, struct link *head) {
  for (struct link *at = head->next; at != head; at = at->next) checksum = checksum * 31 + request_of(at)->sector;
  return checksum;
}

unsigned long run(unsigned long iterations) {
  u32 random = 99;
  u64 checksum = 0;
  empty(&idle);
  for (u32 i = 0; i < QUEUES; i++) empty(&queues[i]);
  for (u32 i = 0; i < REQUESTS; i++) {
    requests[i].served = 0;
    append(&requests[i].link, &idle);
  }
  for (u64 i = 0; i < iterations; i++) {
    for (u32 k = 0; k < MOVES; k++) {
      u32 choice = next_random(&random);
      struct link *taken = idle.next;
      if (taken == &idle) break;
      take_out(taken);
      struct request *request = request_of(taken);
      request->sector = choice >> 4 & 0xfffff;
      request->priority = choice & 15;
      request->queue = choice >> 28 & (QUEUES - 1);
      struct link *queue = &queues[request->queue];
      if (request->queue == 0) insert_sorted(request, queue);
      else append(taken, queue);
    }
    join(&queues[1], &queues[2]);
    sort(&queues[2], by_sector);
    sort(&queues[3], by_priority);
    for (u32 q = 0; q < QUEUES; q++) {
      checksum = digest(checksum, &queues[q]);
      struct link *next;
      for (struct link *at = queues[q].next; at != &queues[q]; at = next) {
        struct request *request = request_of(at);
        next = at->next;
        if ((request->sector & 3) == 0 && request->priority != 0) {
          request->priority--;
          continue;
        }
        request->served++;
        take_out(at);
        append(at, &idle);
      }
    }
    checksum = mix(checksum, i);
  }
  return checksum;
}
