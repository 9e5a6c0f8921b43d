/* A table of stations as a bridge keeps one: hashed by address and VLAN, chained, entries from a free list. */
#include "program.h"

enum { BUCKETS = 1024, ENTRIES = 2048, STATIONS = 3072, OPERATIONS = 256 };

struct node {
  struct node *next;
  /** Whatever points at this node, so that it leaves its chain without a search. */
  struct node **pprev;
};

struct entry {
  struct node node;
  u64 address;
  u32 hits;
  u16 vlan;
  u16 port;
};

static struct entry entries[ENTRIES];
static struct node *buckets[BUCKETS];
static struct node *free_nodes;

static inline struct entry *entry_of(struct node *node) {
  return (struct entry *)((char *)node - __builtin_offsetof(struct entry, node));
}

static inline u32 bucket_of(u64 address, u16 vlan) {
  return (address * 0x61c8864680b583eb ^ vlan * 0x9e370001ul) >> 16 & (BUCKETS - 1);
}

static inline void chain(struct node *node, struct node **head) {
  struct node *first = *head;
  node->next = first;
  if (first != 0) first->pprev = &node->next;
  *head = node;
  node->pprev = head;
}

static inline void unchain(struct node *node) {
  struct node *next = node->next;
  *node->pprev = next;
  if (next != 0) next->pprev = node->pprev;
}

static struct entry *find(u64 address, u16 vlan) {
  for (struct node *node = buckets[bucket_of(address, vlan)]; node != 0; node = node->next) {
    struct entry *entry = entry_of(node);
    if (entry->address == address && entry->vlan == vlan) return entry;
  }
  return 0;
}

static struct entry *insert(u64 address, u16 vlan, u16 port) {
  struct node *node = free_nodes;
  if (node == 0) return 0;
  free_nodes = node->next;
  struct entry *entry = entry_of(node);
  entry->address = address;
  entry->vlan = vlan;
  entry->port = port;
  entry->hits = 0;
  chain(node, &buckets[bucket_of(address, vlan)]);
  return entry;
}

static void forget(struct entry *entry) {
  unchain(&entry->node);
  entry->node.next = free_nodes;
  free_nodes = &entry->node;
}

/** Stations that were not heard often go, as when a bridge ages its table. */
static u32 age(u32 from, u32 count) {
  u32 gone = 0;
  for (u32 i = from; i < from + count; i++) {
    struct node *node = buckets[i % BUCKETS];
    while (node != 0) {
      struct node *next = node->next;
      struct entry *entry = entry_of(node);
      if (entry->hits < 2) {
        forget(entry);
        gone++;
      } else {
        entry->hits >>= 1;
      }
      node = next;
    }
  }
  return gone;
}

unsigned long run(unsigned long iterations) {
  u32 random = 7;
  u64 checksum = 0;
  for (u32 i = 0; i < BUCKETS; i++) {
    buckets[i] = 0;
    BARRIER();
  }
  free_nodes = 0;
  for (u32 i = 0; i < ENTRIES; i++) {
    entries[i].node.next = free_nodes;
    free_nodes = &entries[i].node;
  }
  for (u64 i = 0; i < iterations; i++) {
    u64 heard = 0, learnt = 0, full = 0, removed = 0;
    for (u32 k = 0; k < OPERATIONS; k++) {
      u32 choice = next_random(&random);
      u32 station = (choice >> 8) % STATIONS;
      u64 address = 0x020000000000 + station * 0x10203ul;
      u16 vlan = station & 7;
      struct entry *entry = find(address, vlan);
      if (entry == 0) {
        entry = insert(address, vlan, choice & 15);
        if (entry == 0) full++;
        else learnt++;
      } else if ((choice & 0xf0) == 0) {
        forget(entry);
        removed++;
      } else {
        entry->hits++;
        heard += entry->port;
      }
    }
    u32 aged = age(i * 64, 64);
    checksum = mix(checksum, heard << 40 ^ learnt << 30 ^ full << 20 ^ removed << 10 ^ aged);
  }
  return checksum;
}
