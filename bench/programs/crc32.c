/* CRC-32 of frames with one table of 256 words: a load that depends on the load before, for each byte. */
#include "program.h"

enum { BYTES = 4096 };

static u32 table[256];
static u8 frame[BYTES];

static void fill_table(void) {
  for (u32 i = 0; i < 256; i++) {
    u32 rest = i;
    for (int bit = 0; bit < 8; bit++) rest = rest & 1 ? rest >> 1 ^ 0xedb88320 : rest >> 1;
    table[i] = rest;
  }
}

static u32 crc32(u32 crc, const u8 *bytes, u32 length) {
  crc = ~crc;
  while (length-- != 0) crc = table[(crc ^ *bytes++) & 0xff] ^ crc >> 8;
  return ~crc;
}

unsigned long run(unsigned long iterations) {
  u32 random = 1;
  u64 checksum = 0;
  fill_table();
  for (u32 i = 0; i < BYTES; i++) frame[i] = next_random(&random);
  for (u64 i = 0; i < iterations; i++) {
    u32 length = 60 + i * 37 % (BYTES - 60);
    u32 crc = crc32(0, frame + i % 16, length - i % 16);
    frame[i % BYTES] ^= crc;
    checksum = mix(checksum, crc);
  }
  return checksum;
}
