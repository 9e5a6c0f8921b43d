/* The Internet checksum (RFC 1071) in words of 64 bits with carries, in words of 16 bits, and updated (RFC 1624). */
#include "program.h"

enum { BYTES = 2048 };

static u8 packet[BYTES] __attribute__((aligned(8)));

static inline u16 fold(u64 sum) {
  sum = (sum >> 32) + (sum & 0xffffffff);
  sum = (sum >> 32) + (sum & 0xffffffff);
  sum = (sum >> 16) + (sum & 0xffff);
  sum = (sum >> 16) + (sum & 0xffff);
  return sum;
}

static inline u64 add_with_carry(u64 sum, u64 word) {
  sum += word;
  return sum + (sum < word);
}

/** x86 reads words at any address. */
typedef u64 __attribute__((aligned(1), may_alias)) any_u64;
typedef u32 __attribute__((aligned(1), may_alias)) any_u32;
typedef u16 __attribute__((aligned(1), may_alias)) any_u16;

static CALLED u16 sum_wide(const u8 *at, u32 length) {
  u64 sum = 0;
  for (; length >= 32; length -= 32, at += 32) {
    sum = add_with_carry(sum, *(const any_u64 *)at);
    sum = add_with_carry(sum, *(const any_u64 *)(at + 8));
    sum = add_with_carry(sum, *(const any_u64 *)(at + 16));
    sum = add_with_carry(sum, *(const any_u64 *)(at + 24));
  }
  for (; length >= 8; length -= 8, at += 8) sum = add_with_carry(sum, *(const any_u64 *)at);
  if (length & 4) {
    sum = add_with_carry(sum, *(const any_u32 *)at);
    at += 4;
  }
  if (length & 2) {
    sum = add_with_carry(sum, *(const any_u16 *)at);
    at += 2;
  }
  if (length & 1) sum = add_with_carry(sum, *at);
  return fold(sum);
}

static CALLED u16 sum_narrow(const u8 *at, u32 length) {
  u32 sum = 0;
  while (length > 1) {
    sum += *(const any_u16 *)at;
    if (sum & 0x80000000) sum = (sum & 0xffff) + (sum >> 16);
    at += 2;
    length -= 2;
  }
  if (length != 0) sum += *at;
  return fold(sum);
}

/** With the addresses, the protocol and the length in front, as TCP and UDP want it. */
static u16 with_pseudo_header(u32 source, u32 destination, u8 protocol, u16 length, u16 sum) {
  return ~fold((u64)source + destination + (u32)(protocol << 8) + (u16)(length << 8 | length >> 8) + sum);
}

static u16 updated(u16 check, u16 before, u16 after) {
  return ~fold((u64)(u16)~check + (u16)~before + after);
}

unsigned long run(unsigned long iterations) {
  u32 random = 11;
  u64 checksum = 0;
  for (u32 i = 0; i < BYTES; i++) packet[i] = next_random(&random);
  for (u64 i = 0; i < iterations; i++) {
    u32 from = i % 6;
    u32 length = 40 + i * 53 % (BYTES - 48);
    u16 wide = sum_wide(packet + from, length);
    u16 narrow = sum_narrow(packet + from, length);
    u16 check = with_pseudo_header(0x0a000001, 0x0a000002 + i, 6, length, wide);
    u16 before = *(any_u16 *)(packet + from);
    u16 after = before + 1 + i;
    *(any_u16 *)(packet + from) = after;
    checksum = mix(checksum, (u64)wide << 48 ^ (u64)narrow << 32 ^ (u64)check << 16 ^ updated(check, before, after));
  }
  return checksum;
}
