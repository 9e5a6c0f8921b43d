/* Code that does little but call: leaves, recursion, arguments on the stack, tables of functions, jumps for calls. */
#include "program.h"

enum { NODES = 511 };

static CALLED u32 next_index(u32 index, u32 count) {
  return ++index == count ? 0 : index;
}

static CALLED u64 rotate(u64 value, u32 by) {
  return value << (by & 63) | value >> (-by & 63);
}

static CALLED u64 sum_of_eight(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f, u64 g, u64 h) {
  return a + 3 * b + 5 * c + 7 * d + 11 * e + 13 * f + (g ^ h);
}

static CALLED u32 fibonacci(u32 n) {
  return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static CALLED u32 ackermann(u32 m, u32 n) {
  if (m == 0) return n + 1;
  if (n == 0) return ackermann(m - 1, 1);
  return ackermann(m - 1, ackermann(m, n - 1));
}

static u32 is_odd(u32 n);

static CALLED u32 is_even(u32 n) {
  return n == 0 ? 1 : is_odd(n - 1);
}

static CALLED u32 is_odd(u32 n) {
  return n == 0 ? 0 : is_even(n - 1);
}

struct node {
  struct node *left, *right;
  u32 key;
  u32 visits;
};

static struct node nodes[NODES];

static struct node *build(u32 low, u32 high) {
  if (low >= high) return 0;
  u32 middle = low + (high - low) / 2;
  struct node *node = &nodes[middle];
  node->key = middle * 17;
  node->visits = 0;
  node->left = build(low, middle);
  node->right = build(middle + 1, high);
  return node;
}

typedef u64 visit(struct node *node, u64 carried);

static CALLED u64 walk(struct node *node, visit *each, u64 carried) {
  if (node == 0) return carried;
  carried = walk(node->left, each, carried);
  carried = each(node, carried);
  return walk(node->right, each, carried);
}

static u64 count_visit(struct node *node, u64 carried) {
  node->visits++;
  return carried + node->key;
}

static u64 hash_visit(struct node *node, u64 carried) {
  return rotate(carried, 5) ^ node->key ^ node->visits;
}

/** A device as its driver's framework sees one. */
struct port;
struct operations {
  u32 (*read)(struct port *port, u32 offset);
  void (*write)(struct port *port, u32 offset, u32 value);
  int (*poll)(struct port *port, int budget);
};
struct port {
  const struct operations *operations;
  u32 registers[16];
  u32 pending;
  u32 accesses;
};

static u32 plain_read(struct port *port, u32 offset) {
  port->accesses++;
  return port->registers[offset & 15];
}

static void plain_write(struct port *port, u32 offset, u32 value) {
  port->accesses++;
  port->registers[offset & 15] = value;
}

static u32 swapped_read(struct port *port, u32 offset) {
  return __builtin_bswap32(plain_read(port, offset));
}

static void swapped_write(struct port *port, u32 offset, u32 value) {
  plain_write(port, offset, __builtin_bswap32(value));
}

static int drain(struct port *port, int budget) {
  int done = 0;
  while (done < budget && port->pending != 0) {
    u32 value = port->operations->read(port, done);
    port->operations->write(port, done + 1, value * 5 + done);
    port->pending--;
    done++;
  }
  return done;
}

static int drain_all(struct port *port, int budget) {
  int done = 0;
  do done += drain(port, budget);
  while (port->pending != 0);
  return done;
}

static const struct operations plain = {.read = plain_read, .write = plain_write, .poll = drain};
static const struct operations swapped = {.read = swapped_read, .write = swapped_write, .poll = drain_all};
static struct port ports[4];

unsigned long run(unsigned long iterations) {
  u64 checksum = 0;
  u32 index = 0;
  struct node *root = build(0, NODES);
  for (u32 i = 0; i < LENGTH(ports); i++) {
    struct port *port = &ports[i];
    port->operations = i & 1 ? &swapped : &plain;
    port->pending = port->accesses = 0;
    for (u32 k = 0; k < LENGTH(port->registers); k++) port->registers[k] = i * 100 + k;
  }
  for (u64 i = 0; i < iterations; i++) {
    for (u32 k = 0; k < 256; k++) {
      index = next_index(index, 100);
      checksum = sum_of_eight(checksum, index, k, i, checksum >> 7, 1, rotate(checksum, k), k * 9);
    }
    checksum = mix(checksum, fibonacci(12 + (i & 3)));
    checksum = mix(checksum, ackermann(2, 4 + (i & 7)));
    checksum = mix(checksum, is_even(64 + (i & 15)));
    checksum = mix(checksum, walk(root, i & 1 ? count_visit : hash_visit, checksum));
    for (u32 k = 0; k < LENGTH(ports); k++) {
      struct port *port = &ports[k];
      port->pending += 40;
      checksum = mix(checksum, port->operations->poll(port, 32));
      checksum = mix(checksum, port->operations->read(port, i) ^ port->accesses);
    }
  }
  return checksum;
}
