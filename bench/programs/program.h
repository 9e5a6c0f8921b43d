/*
 * What every program of `npm run bench -- translator` shares. A program is one object file without imports: no library,
 * no floating point, all data its own. Each has
 *
 *   unsigned long run(unsigned long iterations);
 *
 * which starts from the same state every time and returns a checksum of everything that it computed.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef signed short s16;
typedef signed int s32;
typedef signed long s64;

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/** A real call with everything that a call does, as between the files of a driver. */
#define CALLED __attribute__((noipa))

/** What a driver puts between reading a status and what the status vouches for; in a loop it also keeps the compiler
 *  from making a call of memset or memcpy out of it. */
#define BARRIER() __asm__ volatile("" ::: "memory")

/** A checksum that depends on the order of its values. */
static inline u64 mix(u64 checksum, u64 value) {
  return ((checksum << 7 | checksum >> 57) ^ value) * 0x9e3779b97f4a7c15;
}

/** Marsaglia's xorshift of 32 bits; a state is not 0. */
static inline u32 next_random(u32 *state) {
  u32 x = *state;
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  return *state = x;
}
