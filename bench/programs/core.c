/*
 * A mix of small-machine work as benchmarks of embedded processors have it: a list that is searched, turned round and
 * sorted through functions which compare, products of small matrices with fields of bits, a machine of states over
 * numbers as text, and a CRC over all results. It is no version of such a benchmark, and its numbers are nobody else's.
 */
#include "program.h"

enum { ITEMS = 96, N = 9, TEXT = 512 };

/** The polynomial x^16 + x^15 + x^2 + 1 bit by bit, the lowest bit first. */
static u16 crc_of_byte(u8 byte, u16 crc) {
  for (u32 bit = 0; bit < 8; bit++) {
    u32 differs = (byte ^ crc) & 1;
    byte >>= 1;
    crc >>= 1;
    if (differs) crc ^= 0xa001;
  }
  return crc;
}

static u16 crc_of_half(u16 half, u16 crc) {
  return crc_of_byte(half >> 8, crc_of_byte(half, crc));
}

static u16 crc_of_word(u32 word, u16 crc) {
  return crc_of_half(word >> 16, crc_of_half(word, crc));
}

/* Numbers as text. */

enum state { START, SIGN, ZERO, DIGITS, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, POWER, WRONG, STATES };

static char text[TEXT + 1];
static u32 text_length;

static void fill_text(u32 seed) {
  static const char *const numbers[] = {
      "5012",   "-874",     "+6912",    "0",        "35.54400", ".1234500", "-110.700", "+0.64400",
      "5.5e+3", "-.123e-2", "-87e+832", "+0.6e-12", "T0.3e-1F", "-T.T++Tq", "1T3.4e4z", "34.0e-T^",
  };
  u32 random = seed, at = 0;
  for (;;) {
    u32 choice = next_random(&random);
    const char *number = numbers[choice & 7 ? choice >> 8 & 7 : 8 + (choice >> 8 & 7)];
    u32 length = 0;
    while (number[length] != 0) length++;
    if (at + length + 1 > TEXT) break;
    for (u32 i = 0; i < length; i++) {
      text[at++] = number[i];
      BARRIER();
    }
    text[at++] = ',';
  }
  text[at] = 0;
  text_length = at;
}

static inline int is_digit(char c) {
  return c >= '0' && c <= '9';
}

/** Reads one number and the comma behind it; counts how often each state is left for another. */
static enum state read_number(const char **input, u32 *changes) {
  const char *at = *input;
  enum state state = START;
  for (; *at != 0 && state != WRONG; at++) {
    char c = *at;
    enum state before = state;
    if (c == ',') {
      at++;
      break;
    }
    switch (state) {
      case START:
        if (c == '0') state = ZERO;
        else if (is_digit(c)) state = DIGITS;
        else if (c == '+' || c == '-') state = SIGN;
        else if (c == '.') state = POINT;
        else state = WRONG;
        break;
      case SIGN:
        if (c == '0') state = ZERO;
        else if (is_digit(c)) state = DIGITS;
        else state = c == '.' ? POINT : WRONG;
        break;
      case ZERO:
      case DIGITS:
        if (c == '.') state = POINT;
        else if (c == 'e' || c == 'E') state = EXPONENT;
        else state = is_digit(c) && state == DIGITS ? DIGITS : WRONG;
        break;
      case POINT:
        state = is_digit(c) ? FRACTION : WRONG;
        break;
      case FRACTION:
        if (c == 'e' || c == 'E') state = EXPONENT;
        else if (!is_digit(c)) state = WRONG;
        break;
      case EXPONENT:
        if (c == '+' || c == '-') state = EXPONENT_SIGN;
        else state = is_digit(c) ? POWER : WRONG;
        break;
      case EXPONENT_SIGN:
      case POWER:
        state = is_digit(c) ? POWER : WRONG;
        break;
      default:
        break;
    }
    if (state != before) changes[before]++;
  }
  if (state == WRONG)
    while (*at != 0 && at[-1] != ',') at++;
  *input = at;
  return state;
}

static CALLED u16 read_all(u32 spoil, u32 step, u16 crc) {
  u32 ends[STATES] = {0}, changes[STATES] = {0};
  for (u32 pass = 0; pass < 2; pass++) {
    const char *at = text;
    while (*at != 0) ends[read_number(&at, changes)]++;
    /* No comma comes or goes, so that the second pass undoes what the first did. */
    for (u32 i = 0; i < text_length; i += step)
      if (text[i] != ',' && text[i] != (',' ^ (char)spoil)) text[i] ^= spoil;
  }
  for (u32 i = 0; i < STATES; i++) crc = crc_of_word(changes[i], crc_of_word(ends[i], crc));
  return crc;
}

/* Matrices. */

static s16 left[N * N], right[N * N];
static s32 product[N * N];

static void fill_matrices(u32 seed) {
  u32 random = seed;
  for (u32 i = 0; i < N * N; i++) {
    left[i] = next_random(&random) & 0xff;
    right[i] = next_random(&random) & 0xfff;
  }
}

static inline u32 field(s32 value, u32 from, u32 bits) {
  return (u32)value >> from & ((1u << bits) - 1);
}

static void add(s16 value) {
  for (u32 i = 0; i < N * N; i++) left[i] += value;
}

static void times_constant(s16 value) {
  for (u32 i = 0; i < N * N; i++) product[i] = (s32)left[i] * value;
}

static void times_vector(void) {
  for (u32 i = 0; i < N; i++) {
    product[i] = 0;
    for (u32 j = 0; j < N; j++) product[i] += (s32)left[i * N + j] * right[j];
  }
}

static void times_matrix(void) {
  for (u32 i = 0; i < N; i++)
    for (u32 j = 0; j < N; j++) {
      s32 sum = 0;
      for (u32 k = 0; k < N; k++) sum += (s32)left[i * N + k] * right[k * N + j];
      product[i * N + j] = sum;
    }
}

static void times_matrix_fields(void) {
  for (u32 i = 0; i < N; i++)
    for (u32 j = 0; j < N; j++) {
      u32 sum = 0;
      for (u32 k = 0; k < N; k++) {
        s32 value = (s32)left[i * N + k] * right[k * N + j];
        sum += field(value, 3, 4) * field(value, 6, 7);
      }
      product[i * N + j] = sum;
    }
}

/** A sum that starts again above a limit, and a point for each value larger than the one before. */
static u16 digest(s32 limit) {
  s32 sum = 0, before = 0;
  u16 points = 0;
  for (u32 i = 0; i < N * N; i++) {
    s32 value = product[i];
    sum += value & 0xffff;
    if (sum > limit) {
      points += 10;
      sum = 0;
    } else {
      points += value > before;
    }
    before = value;
  }
  return points;
}

static CALLED u16 multiply_all(s16 value, u16 crc) {
  add(value);
  times_constant(value);
  crc = crc_of_half(digest(0x4000 | value), crc);
  times_vector();
  crc = crc_of_half(digest(0x4000 | value), crc);
  times_matrix();
  crc = crc_of_half(digest(0x4000 | value), crc);
  times_matrix_fields();
  crc = crc_of_half(digest(0x4000 | value), crc);
  add(-value);
  return crc;
}

/* The list. */

enum { KNOWN = 0x8000 };

struct value {
  /** Which work gives this value its rank, and with what; once that is known, `KNOWN` and the rank. */
  u16 data;
  u16 place;
};

struct item {
  struct item *next;
  struct value *value;
};

struct context {
  u16 crc;
  u32 works;
};

static struct item items[ITEMS];
static struct value values[ITEMS];

typedef s32 compare(struct value *a, struct value *b, struct context *context);

static u16 rank(struct value *value, struct context *context) {
  u16 data = value->data;
  if (data & KNOWN) return data & 0xff;
  u16 argument = data >> 4 & 0x1f, result;
  switch (data & 7) {
    case 0: result = read_all(argument | 1, 7 + argument, context->crc); break;
    case 1: result = multiply_all(argument, context->crc); break;
    default: result = crc_of_half(data, 0); break;
  }
  context->crc = crc_of_half(result, context->crc);
  context->works++;
  value->data = KNOWN | (data & 0x7f00) | (result & 0xff);
  return result & 0xff;
}

static CALLED s32 by_rank(struct value *a, struct value *b, struct context *context) {
  s32 first = rank(a, context);
  return first - rank(b, context);
}

static CALLED s32 by_place(struct value *a, struct value *b, struct context *context) {
  (void)context;
  return (s32)a->place - b->place;
}

static struct item *find_place(struct item *list, u16 place) {
  while (list != 0 && list->value->place != place) list = list->next;
  return list;
}

static struct item *find_data(struct item *list, u16 low) {
  while (list != 0 && (list->value->data & 0xff) != low) list = list->next;
  return list;
}

static struct item *reversed(struct item *list) {
  struct item *result = 0;
  while (list != 0) {
    struct item *next = list->next;
    list->next = result;
    result = list;
    list = next;
  }
  return result;
}

/** Cuts the list behind `count` items; @returns what follows them. */
static struct item *cut(struct item *list, u32 count) {
  while (list != 0 && --count > 0) list = list->next;
  if (list == 0) return 0;
  struct item *rest = list->next;
  list->next = 0;
  return rest;
}

static CALLED struct item *sorted(struct item *list, compare *order, struct context *context) {
  for (u32 width = 1;; width *= 2) {
    struct item *rest = list, **tail = &list;
    u32 merges = 0;
    while (rest != 0) {
      struct item *a = rest, *b = cut(a, width);
      rest = cut(b, width);
      merges++;
      while (a != 0 && b != 0) {
        struct item **smaller = order(a->value, b->value, context) <= 0 ? &a : &b;
        *tail = *smaller;
        tail = &(*tail)->next;
        *smaller = *tail;
      }
      *tail = a != 0 ? a : b;
      while (*tail != 0) tail = &(*tail)->next;
    }
    if (merges <= 1) return list;
  }
}

static u16 list_work(u32 round, u16 crc) {
  struct context context = {.crc = crc, .works = 0};
  struct item *list = items;
  u32 random = 77 + round;
  u16 found = 0, missed = 0;
  for (u32 i = 0; i < ITEMS; i++) {
    u32 choice = next_random(&random);
    u32 kind = i % 16 == 3 ? 0 : i % 16 == 9 ? 1 : 2 + (choice & 3);
    values[i] = (struct value){.data = (choice & 0x7ff0) | kind, .place = i};
    items[i].value = &values[i];
    items[i].next = i + 1 < ITEMS ? &items[i + 1] : 0;
  }
  for (u32 i = 0; i < 24; i++) {
    struct item *item = i & 1 ? find_place(list, i * 5) : find_data(list, (i * 11 + round) & 0xff);
    list = reversed(list);
    if (item == 0) {
      missed++;
      continue;
    }
    found += item->value->data >> 9 & 1;
    if (item->next != 0 && item->next->next != 0) {
      struct item *moved = item->next;
      item->next = moved->next;
      moved->next = list->next;
      list->next = moved;
    }
  }
  context.crc = crc_of_half(found * 4 - missed, context.crc);
  list = sorted(list, by_rank, &context);
  struct item *removed = list->next;
  list->next = removed->next;
  for (struct item *at = list; at != 0; at = at->next) context.crc = crc_of_half(at->value->data, context.crc);
  removed->next = list->next;
  list->next = removed;
  list = sorted(list, by_place, &context);
  for (struct item *at = list; at != 0; at = at->next) context.crc = crc_of_half(at->value->data, context.crc);
  return crc_of_word(context.works, context.crc);
}

unsigned long run(unsigned long iterations) {
  u64 checksum = 0;
  u16 crc = 0;
  fill_text(2024);
  fill_matrices(31);
  for (u64 i = 0; i < iterations; i++) {
    crc = list_work(i, crc);
    checksum = mix(checksum, crc);
  }
  return checksum;
}
