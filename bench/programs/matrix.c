/* Matrices of whole numbers: products of 16 and 32 bits, by rows and by columns, and powers modulo a prime. */
#include "program.h"

enum { N = 40 };

static s16 a[N][N], b[N][N];
static s32 c[N][N];
static u32 m[N][N], power[N][N], square[N][N];

static void multiply(void) {
  for (u32 i = 0; i < N; i++)
    for (u32 j = 0; j < N; j++) {
      s32 sum = 0;
      for (u32 k = 0; k < N; k++) sum += a[i][k] * b[k][j];
      c[i][j] = sum;
    }
}

static void multiply_transposed(void) {
  for (u32 i = 0; i < N; i++)
    for (u32 j = 0; j < N; j++) {
      s32 sum = 0;
      for (u32 k = 0; k < N; k++) sum += a[i][k] * b[j][k];
      c[i][j] ^= sum;
    }
}

static CALLED void multiply_modulo(u32 (*to)[N], u32 (*x)[N], u32 (*y)[N]) {
  for (u32 i = 0; i < N; i++)
    for (u32 j = 0; j < N; j++) {
      u64 sum = 0;
      for (u32 k = 0; k < N; k++) sum += (u64)x[i][k] * y[k][j];
      to[i][j] = sum % 1000003;
    }
}

static void add_constant(s16 value) {
  for (u32 i = 0; i < N; i++)
    for (u32 j = 0; j < N; j++) a[i][j] += value;
}

static u64 digest(u64 checksum) {
  for (u32 i = 0; i < N; i++) {
    s32 largest = c[i][0];
    u32 at = 0;
    for (u32 j = 1; j < N; j++)
      if (c[i][j] > largest) {
        largest = c[i][j];
        at = j;
      }
    checksum = mix(checksum, (u64)(u32)largest << 8 | at);
  }
  return checksum;
}

unsigned long run(unsigned long iterations) {
  u32 random = 3;
  u64 checksum = 0;
  for (u32 i = 0; i < N; i++)
    for (u32 j = 0; j < N; j++) {
      u32 value = next_random(&random);
      a[i][j] = value & 0xfff;
      b[i][j] = value >> 12 & 0xfff;
      m[i][j] = value % 1000003;
      power[i][j] = i == j;
    }
  for (u64 i = 0; i < iterations; i++) {
    multiply();
    multiply_transposed();
    add_constant(i & 0xff);
    checksum = digest(checksum);
    multiply_modulo(square, power, m);
    multiply_modulo(power, square, square);
    checksum = mix(checksum, power[i % N][(i >> 3) % N]);
  }
  return checksum;
}
