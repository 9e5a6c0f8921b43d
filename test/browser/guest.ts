/** What the guest of the browser runs: integers, loops, vectors, strings, calls through pointers, and ways to fail. */
export const GUEST = `
typedef unsigned char u8; typedef unsigned u32; typedef unsigned long u64;

static u32 table[256];
u64 checksum(const u8 *p, u64 n) {
  for (u32 i = 0; i < 256; i++) {
    u32 c = i;
    for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
    table[i] = c;
  }
  u32 crc = ~0u;
  for (u64 i = 0; i < n; i++) crc = crc >> 8 ^ table[(crc ^ p[i]) & 255];
  return ~crc;
}

__attribute__((noinline)) u64 fibonacci(u64 n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

volatile u64 sink;
__attribute__((noinline, optimize("O1"))) u64 depth(u64 n) { sink = n; return n == 0 ? 0 : 1 + depth(n - 1); }

void sort(u32 *p, u64 n) {
  for (u64 i = 1; i < n; i++) {
    u32 x = p[i];
    u64 j = i;
    for (; j > 0 && p[j - 1] > x; j--) p[j] = p[j - 1];
    p[j] = x;
  }
}

typedef u32 vector __attribute__((vector_size(16)));
u64 vectors(const u32 *p, u64 n) {
  vector sum = { 1, 2, 3, 4 };
  for (u64 i = 0; i + 4 <= n; i += 4) {
    vector x;
    __builtin_memcpy(&x, p + i, 16);
    sum = (sum ^ x) + (x << 3) + (sum >> 5);
  }
  return ((u64)(sum[0] ^ sum[1]) << 32) + (sum[2] ^ sum[3]);
}

u64 wide(u64 a, u64 b) {
  unsigned __int128 product = (unsigned __int128)a * b;
  return (u64)(product >> 64) ^ (u64)product ^ a / (b | 1) ^ a % (b | 1);
}

u64 copied(u8 *p, u64 n) {
  u8 *to = p + n; u64 count = n;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(p), "+c"(count) :: "memory");
  return to[-1];
}

static u64 twice(u64 x) { return 2 * x; }
static u64 square(u64 x) { return x * x; }
typedef u64 operation(u64);
operation *operations[] = { twice, square, fibonacci };
u64 through(u64 x) { u64 sum = 0; for (u64 i = 0; i < 9; i++) sum = sum * 3 + operations[(x + i) % 3](i); return sum; }

extern u64 outside(u64 a, u64 b);
__attribute__((noinline)) u64 doorbell(u64 i) { __asm__ volatile(""); return i + 1; }
u64 rings(u64 n) { u64 sum = 0; for (u64 i = 0; i < n; i++) sum += outside(i, doorbell(i)); return sum; }

u64 device(volatile u32 *registers, u64 n) {
  for (u64 i = 0; i < n; i++) registers[1] = registers[0] + i;
  return registers[2];
}

struct object { u64 a, b; struct object *next; };
__attribute__((noinline)) static u64 follow(struct object *o) { return o->next->b; }
u64 chase(struct object *o) { return follow(o) + 1; }
u64 overrun(u8 *p, u64 n) { for (u64 i = 0; i < n; i++) p[i] = i; return n; }
u64 quotient(u64 a, u64 b) { return a / b; }
u64 endless(void) { for (volatile u64 i = 0;; i++) if (i == ~0ul) return i; }
`;
