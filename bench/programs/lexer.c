/* A lexer of a language like C, by switches: tables of jumps, tests of characters, few loads and stores. */
#include "program.h"

static const char source[] =
    "/* a ring of buffers */\n"
    "#define RING 0x100u\n"
    "static unsigned long total = 0, dropped = 0777;\n"
    "struct slot { int used; char name[16]; struct slot *next; };\n"
    "static int put(struct slot *at, const char *name, int length) {\n"
    "  if (at == 0 || length >= 16) { dropped += 1; return -1; }\n"
    "  for (int i = 0; i < length; ++i) at->name[i] = name[i] & 0x7f;\n"
    "  at->name[length] = '\\0'; // ends here\n"
    "  at->used = length != 0 ? length << 2 | 1 : 1;\n"
    "  while (total >> 12 > 1000000) total -= 4096L * 3 % 17;\n"
    "  switch (length & 7) {\n"
    "    case 0: total ^= 0xdeadbeef; break;\n"
    "    case 1: total |= 12345678; break;\n"
    "    case 2: total *= 31; break;\n"
    "    default: total = (total << 5) - total + length--;\n"
    "  }\n"
    "  return put(at->next, \"a \\\"name\\\"\\n\", 9) <= 0 && !at->used;\n"
    "}\n"
    "unsigned crc(unsigned char *p, unsigned n) {\n"
    "  unsigned c = ~0u; do { c ^= *p++; c >>= 1; } while (--n); return c;\n"
    "}\n";

static char text[sizeof source];

enum token {
  END, NAME, KEYWORD, NUMBER, STRING, CHARACTER, PUNCTUATION, ASSIGNMENT, COMPARISON, LOGIC, SHIFT, STEP, ARROW,
  DIRECTIVE, UNKNOWN, TOKENS
};

struct lexer {
  const char *at;
  u32 line;
  u32 hash;
  u64 value;
};

static inline int is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c >= '0' && c <= '9');
}

static int is_same(const char *a, const char *b, u32 length) {
  for (u32 i = 0; i < length; i++)
    if (a[i] != b[i]) return 0;
  return b[length] == 0;
}

static int is_keyword(const char *name, u32 length) {
  switch (name[0]) {
    case 'b': return is_same(name, "break", length);
    case 'c': return is_same(name, "case", length) || is_same(name, "char", length) || is_same(name, "const", length);
    case 'd': return is_same(name, "do", length) || is_same(name, "default", length);
    case 'f': return is_same(name, "for", length);
    case 'i': return is_same(name, "if", length) || is_same(name, "int", length);
    case 'l': return is_same(name, "long", length);
    case 'r': return is_same(name, "return", length);
    case 's':
      return is_same(name, "static", length) || is_same(name, "struct", length) || is_same(name, "switch", length);
    case 'u': return is_same(name, "unsigned", length);
    case 'w': return is_same(name, "while", length);
    default: return 0;
  }
}

static void read_number(struct lexer *lexer) {
  const char *at = lexer->at;
  u64 value = 0;
  u32 base = 10;
  if (*at == '0') {
    base = 8;
    if (at[1] == 'x') {
      base = 16;
      at += 2;
    }
  }
  for (;; at++) {
    u32 digit;
    switch (*at) {
      case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
        digit = *at - '0';
        break;
      case 'a': case 'b': case 'c': case 'd': case 'e': case 'f':
        digit = *at - 'a' + 10;
        break;
      default:
        while (*at == 'u' || *at == 'L') at++;
        lexer->at = at;
        lexer->value = value;
        return;
    }
    value = value * base + digit;
  }
}

static void read_quoted(struct lexer *lexer, char quote) {
  const char *at = lexer->at + 1;
  u32 hash = 5381;
  while (*at != quote && *at != 0) {
    char c = *at++;
    if (c == '\\') {
      switch (*at++) {
        case 'n': c = '\n'; break;
        case 't': c = '\t'; break;
        case '0': c = 0; break;
        default: c = at[-1];
      }
    }
    hash = hash * 33 + (u8)c;
  }
  lexer->hash = hash;
  lexer->at = *at != 0 ? at + 1 : at;
}

/** The second character of an operator, if it is `c`. */
static inline int follows(struct lexer *lexer, char c) {
  if (*lexer->at != c) return 0;
  lexer->at++;
  return 1;
}

static CALLED enum token next_token(struct lexer *lexer) {
  for (;;) {
    char c = *lexer->at;
    switch (c) {
      case 0: return END;
      case '\n': lexer->line++; lexer->at++; continue;
      case ' ': case '\t': lexer->at++; continue;
      case '#':
        while (*lexer->at != '\n' && *lexer->at != 0) lexer->at++;
        return DIRECTIVE;
      case '"': read_quoted(lexer, '"'); return STRING;
      case '\'': read_quoted(lexer, '\''); return CHARACTER;
      case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
        read_number(lexer);
        return NUMBER;
      case '(': case ')': case '[': case ']': case '{': case '}': case ';': case ',': case ':': case '?': case '~':
      case '.':
        lexer->at++;
        return PUNCTUATION;
      case '/':
        lexer->at++;
        if (follows(lexer, '/')) {
          while (*lexer->at != '\n' && *lexer->at != 0) lexer->at++;
          continue;
        }
        if (follows(lexer, '*')) {
          for (; *lexer->at != 0 && (lexer->at[0] != '*' || lexer->at[1] != '/'); lexer->at++)
            if (*lexer->at == '\n') lexer->line++;
          if (*lexer->at != 0) lexer->at += 2;
          continue;
        }
        return follows(lexer, '=') ? ASSIGNMENT : PUNCTUATION;
      case '+': case '-':
        lexer->at++;
        if (follows(lexer, c)) return STEP;
        if (c == '-' && follows(lexer, '>')) return ARROW;
        return follows(lexer, '=') ? ASSIGNMENT : PUNCTUATION;
      case '*': case '%': case '^':
        lexer->at++;
        return follows(lexer, '=') ? ASSIGNMENT : PUNCTUATION;
      case '&': case '|':
        lexer->at++;
        if (follows(lexer, c)) return LOGIC;
        return follows(lexer, '=') ? ASSIGNMENT : PUNCTUATION;
      case '<': case '>':
        lexer->at++;
        if (follows(lexer, c)) return follows(lexer, '=') ? ASSIGNMENT : SHIFT;
        follows(lexer, '=');
        return COMPARISON;
      case '=':
        lexer->at++;
        return follows(lexer, '=') ? COMPARISON : ASSIGNMENT;
      case '!':
        lexer->at++;
        return follows(lexer, '=') ? COMPARISON : LOGIC;
      default: {
        const char *start = lexer->at;
        u32 hash = 0;
        if (!is_name(c)) {
          lexer->at++;
          return UNKNOWN;
        }
        while (is_name(*lexer->at)) hash = hash * 65599 + (u8)*lexer->at++;
        lexer->hash = hash;
        return is_keyword(start, lexer->at - start) ? KEYWORD : NAME;
      }
    }
  }
}

unsigned long run(unsigned long iterations) {
  static u32 counts[TOKENS];
  u64 checksum = 0;
  for (u32 i = 0; i < sizeof source; i++) {
    text[i] = source[i];
    BARRIER();
  }
  for (u32 i = 0; i < TOKENS; i++) {
    counts[i] = 0;
    BARRIER();
  }
  for (u64 i = 0; i < iterations; i++) {
    struct lexer lexer = {.at = text, .line = 1, .hash = 0, .value = 0};
    enum token token;
    do {
      token = next_token(&lexer);
      counts[token]++;
      switch (token) {
        case NAME: case KEYWORD: case STRING: case CHARACTER: checksum = mix(checksum, lexer.hash); break;
        case NUMBER: checksum = mix(checksum, lexer.value); break;
        default: checksum += token * lexer.line;
      }
    } while (token != END);
    /* Another digit somewhere in the numbers, so that no pass is like the one before. */
    for (u32 k = i * 7 % (sizeof source - 1), left = 64; left > 0; left--, k = (k + 1) % (sizeof source - 1))
      if (text[k] >= '1' && text[k] <= '7') {
        text[k] = '1' + (text[k] - '1' + i) % 7;
        break;
      }
  }
  for (u32 i = 0; i < TOKENS; i++) checksum = mix(checksum, counts[i]);
  return checksum;
}
