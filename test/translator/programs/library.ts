/** Programs written by hand, each a function of two numbers; see `programs.spec.ts`. */
export const LIBRARY = `
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long u64;
typedef int s32; typedef long s64; typedef unsigned __int128 u128; typedef __int128 s128;

static u32 table[512];
static u8 text[1024];

static void fill(u64 seed) {
  for (u32 i = 0; i < 512; i++) { seed = seed * 6364136223846793005ul + 1442695040888963407ul; table[i] = seed >> 33; }
  for (u32 i = 0; i < 1024; i++) text[i] = "the quick brown fox jumps over the lazy dog. "[(i * seed >> 7) % 45];
}
static u64 digest(const void *p, u64 n) {
  const u8 *bytes = p; u64 h = 14695981039346656037ul;
  for (u64 i = 0; i < n; i++) h = (h ^ bytes[i]) * 1099511628211ul;
  return h;
}

void *copy(void *to, const void *from, u64 n) { u8 *t = to; const u8 *f = from; while (n--) *t++ = *f++; return to; }
void *copyUp(void *to, const void *from, u64 n) { void *t = to; asm volatile("rep movsb" : "+D"(t), "+S"(from), "+c"(n) :: "memory"); return to; }
void *fillWith(void *to, int c, u64 n) { void *t = to; asm volatile("rep stosb" : "+D"(t), "+c"(n) : "a"(c) : "memory"); return to; }
u64 lengthOf(const char *s) { u64 n = 0; while (s[n]) n++; return n; }
int compareTexts(const char *a, const char *b) { while (*a && *a == *b) a++, b++; return (u8)*a - (u8)*b; }

static int partition(u32 *a, int lo, int hi) {
  u32 pivot = a[(lo + hi) / 2];
  for (;;) {
    while (a[lo] < pivot) lo++;
    while (a[hi] > pivot) hi--;
    if (lo >= hi) return hi;
    u32 t = a[lo]; a[lo] = a[hi]; a[hi] = t; lo++; hi--;
  }
}
static void quickSort(u32 *a, int lo, int hi) { if (lo < hi) { int p = partition(a, lo, hi); quickSort(a, lo, p); quickSort(a, p + 1, hi); } }
static void sink(u32 *a, u32 i, u32 n) {
  for (u32 child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && a[child + 1] > a[child]) child++;
    if (a[i] >= a[child]) return;
    u32 t = a[i]; a[i] = a[child]; a[child] = t;
  }
}
static int byValue(const u32 *a, const u32 *b) { return *a < *b ? -1 : *a > *b; }
static int byLowByte(const u32 *a, const u32 *b) { return (int)(*a & 255) - (int)(*b & 255); }
static void insertionSort(u32 *a, u32 n, int (*order)(const u32 *, const u32 *)) {
  for (u32 i = 1; i < n; i++) { u32 x = a[i]; u32 j = i; for (; j && order(&x, &a[j - 1]) < 0; j--) a[j] = a[j - 1]; a[j] = x; }
}

u64 quickSorted(u64 seed, u64 n) { fill(seed); quickSort(table, 0, (int)(n & 511)); return digest(table, sizeof table); }
u64 heapSorted(u64 seed, u64 n) {
  fill(seed); n = n & 511;
  for (u32 i = n / 2; i-- > 0;) sink(table, i, n);
  for (u32 i = n; i-- > 1;) { u32 t = table[0]; table[0] = table[i]; table[i] = t; sink(table, 0, i); }
  return digest(table, sizeof table);
}
u64 insertionSorted(u64 seed, u64 n) { fill(seed); insertionSort(table, n & 127, seed & 1 ? byValue : byLowByte); return digest(table, sizeof table); }

u64 crc(u64 seed, u64 n) {
  u32 c = ~0u; fill(seed);
  for (u64 i = 0; i < (n & 1023); i++) { c ^= text[i]; for (int k = 0; k < 8; k++) c = c >> 1 ^ (0xedb88320 & -(c & 1)); }
  return ~c;
}
u64 hashes(u64 seed, u64 n) {
  struct { u32 key, value; } slots[256]; fillWith(slots, 0, sizeof slots); fill(seed);
  for (u32 i = 0; i < 200; i++) { u32 k = table[i] | 1, at = k * 2654435761u >> 24; while (slots[at].key && slots[at].key != k) at = (at + 1) & 255; slots[at].key = k; slots[at].value += i; }
  return digest(slots, sizeof slots) + n;
}
u64 sipHash(u64 k0, u64 k1) {
  u64 v0 = k0 ^ 0x736f6d6570736575, v1 = k1 ^ 0x646f72616e646f6d, v2 = k0 ^ 0x6c7967656e657261, v3 = k1 ^ 0x7465646279746573;
  #define ROTATE(x, b) ((x) << (b) | (x) >> (64 - (b)))
  for (int i = 0; i < 64; i++) {
    v3 ^= i; v0 += v1; v1 = ROTATE(v1, 13) ^ v0; v0 = ROTATE(v0, 32); v2 += v3; v3 = ROTATE(v3, 16) ^ v2;
    v0 += v3; v3 = ROTATE(v3, 21) ^ v0; v2 += v1; v1 = ROTATE(v1, 17) ^ v2; v2 = ROTATE(v2, 32); v0 ^= i;
  }
  return v0 ^ v1 ^ v2 ^ v3;
}
u64 texts(u64 seed, u64 n) {
  char a[80], b[80]; fill(seed); copy(a, text, 79); copyUp(b, text + (n & 63), 79); a[79] = b[79] = 0; a[n % 79] = 0;
  u64 words = 0; for (u64 i = 0; b[i]; i++) if (b[i] != ' ' && (i == 0 || b[i - 1] == ' ')) words++;
  return lengthOf(a) * 1000 + words + (u64)(s64)compareTexts(a, b) * 1000000;
}
u64 bits(u64 a, u64 b) {
  u64 x = a - (a >> 1 & 0x5555555555555555); x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
  x = (x + (x >> 4) & 0x0f0f0f0f0f0f0f0f) * 0x0101010101010101 >> 56;
  u64 r = 0; for (int i = 0; i < 64; i++) r |= (b >> i & 1) << (63 - i);
  u64 gray = a ^ a >> 1; u64 parity = __builtin_parityl(b);
  u64 swapped = __builtin_bswap64(a) ^ __builtin_bswap32((u32)b) ^ __builtin_bswap16((u16)a);
  u64 low = b & -b, next = b + low; next |= low ? ((b ^ next) / low) >> 2 : 0;
  return x + r * 3 + gray * 5 + parity * 7 + swapped * 11 + next * 13 + (a ? __builtin_ctzl(a) : 64) + (b ? __builtin_clzl(b) : 64);
}
u64 wide(u64 a, u64 b) {
  u128 x = (u128)a * b, y = (u128)b << 64 | a; s128 z = (s128)(s64)a * (s64)b;
  for (u32 i = 0; i < 130; i += 13) { x = (x << (i & 127)) ^ y; y = y >> 3 | x << 125; z -= (s128)x; z = z >> 7 ^ (s128)y; x += (u128)z * 10; if (x < y) y -= x; }
  return (u64)x ^ (u64)(x >> 64) ^ (u64)z ^ (u64)((u128)z >> 64) ^ (u64)y;
}
u64 greatestDivisor(u64 a, u64 b) { while (b) { u64 t = a % b; a = b; b = t; } return a; }
u64 fibonacci(u64 n, u64 m) { return n < 2 ? n : (fibonacci(n - 1, m) + fibonacci(n - 2, m)) % m; }
u64 primes(u64 seed, u64 n) { fillWith(text, 1, 1024); u64 sum = seed; for (u32 i = 2; i < 1024; i++) if (text[i]) { sum = sum * 31 + i; for (u32 j = i * i; j < 1024; j += i) text[j] = 0; } return sum + n; }
u64 moved(u64 seed, u64 n) {
  fill(seed); u64 from = n & 255, to = n >> 8 & 255, size = n >> 16 & 511;
  copy(text + to, text + from, size); copyUp(text + from, text + to, size); fillWith(text + size, (int)seed, to);
  asm volatile("std\\n rep movsb\\n cld" :: "D"(text + 1000), "S"(text + 900), "c"(100) : "memory");
  return digest(text, sizeof text);
}
u64 queens(u64 n, u64 row) {
  static u32 columns, up, down; u64 found = 0;
  if (row == (n & 7)) return 1;
  for (u32 c = 0; c < (n & 7); c++) {
    if (columns >> c & 1 || up >> (row + c) & 1 || down >> (row + 8 - c) & 1) continue;
    columns ^= 1u << c; up ^= 1u << (row + c); down ^= 1u << (row + 8 - c);
    found += queens(n, row + 1);
    columns ^= 1u << c; up ^= 1u << (row + c); down ^= 1u << (row + 8 - c);
  }
  return found;
}
u64 interpreted(u64 seed, u64 n) {
  static const void *labels[] = { &&add, &&sub, &&mul, &&swap, &&jump, &&shift, &&load, &&done };
  u64 a = seed, b = n, pc = 0, left = 2000; fill(seed);
  #define NEXT if (--left == 0) goto done; goto *labels[table[pc++ & 511] % 7]
  NEXT;
  add: a += b; NEXT; sub: b -= a; NEXT; mul: a *= b | 1; NEXT; swap: { u64 t = a; a = b; b = t; } NEXT;
  jump: if (a & 1) pc += b & 15; NEXT; shift: a = a >> (b & 31) | a << 7; NEXT; load: b ^= table[a & 511]; NEXT;
  done: return a ^ b;
}
`;

export const NAMES = [
  "quickSorted",
  "heapSorted",
  "insertionSorted",
  "crc",
  "hashes",
  "sipHash",
  "texts",
  "bits",
  "wide",
  "greatestDivisor",
  "primes",
  "moved",
  "interpreted",
] as const;
