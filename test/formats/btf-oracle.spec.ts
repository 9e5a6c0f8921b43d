// What the compiler says of a C file, and what libbpf and the compiler say of what is read from its type information.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Btf } from "../../src/formats/btf.js";
import { typesOfImage } from "../../src/formats/btf-image.js";
import { ElfFile } from "../../src/formats/elf.js";
import { isInstalled, run, Workshop } from "../support/binutils.js";
import { differences, dumpTypes } from "../support/bpftool.js";

const SOURCE = `
typedef unsigned long long u64;
typedef unsigned char u8;
typedef struct { int counter; } atomic_t;
enum state { DOWN, UP = 5, BROKEN = -3 };
struct list { struct list *next, **back; };
struct device;
union word { u64 whole; struct { unsigned low, high; }; u8 bytes[8]; };
struct flags {
  u8 a : 1, b : 3;
  unsigned int : 4;
  unsigned int c : 17;
  _Bool d : 1;
  enum state e : 4;
  u64 f : 40;
};
struct __attribute__((packed)) tight { u8 kind; u64 value; short half; };
struct card {
  char name[13];
  union word word;
  struct { struct { atomic_t uses; union { void *data; long number; }; }; double weight; };
  const struct tight tight[2][3];
  struct flags flags;
  struct list list;
  volatile struct device *const *restrict devices;
  int (*open)(struct card *, const char *name, ...);
  void (*(*pick)(int))(void);
  int (*row)[4];
  signed char sign;
  long double precise;
  __int128 huge;
  u8 tail[];
};
typedef int (*handler_t)(int irq, void *data);
typedef void (*const table_t[4])(enum state);

int card_open(struct card *card, const char *label, handler_t handler) { return card && label && handler; }
const char *card_name(const struct card *const card) { return card->name; }
void card_log(const char *format, ...) {}
int (*card_row(struct card *card))[4] { return card->row; }
handler_t card_handler(const volatile u8 kind, union word word, struct tight tight) { return 0; }
unsigned long long int card_mix(unsigned char a, short b, long c, atomic_t *d, enum state e, _Bool f) { return 0; }
void (*(*card_pick(void (*callback)(void)))(int))(void) { return 0; }
table_t the_table;
__attribute__((unused)) static struct card here;
struct card *keep(void) { return &here; }
`;

// biome-ignore format: a table
const PATHS = [
  "list.back", "union word.high", "word.bytes[3]", "tight.value", "tight.half", "card.word.low", "card.word.bytes[7]",
  "card.uses.counter", "card.data", "card.number", "card.weight", "card.tight[1][2].half", "card.flags", "card.list.back",
  "card.devices", "card.open", "card.pick", "card.row", "card.sign", "card.precise", "card.huge", "card.tail",
];
// biome-ignore format: a table
const SIZES = [
  "u64", "atomic_t", "enum state", "struct list", "union word", "struct flags", "struct tight", "struct card",
  "handler_t", "unsigned long", "long double", "short", "char",
];
// biome-ignore format: a table
const FUNCTIONS = ["card_open", "card_name", "card_log", "card_row", "card_handler", "card_mix", "card_pick", "keep"];
const TYPES = ["u64", "atomic_t", "state", "list", "flags", "word", "handler_t"];

const workshop = new Workshop();
afterAll(() => workshop.close());

describe.skipIf(!["gcc", "pahole", "bpftool"].every(isInstalled))("types of a C file", () => {
  let object = "";
  let btf: Btf;

  beforeAll(() => {
    object = workshop.gcc("card.o", "card.c", SOURCE, "-g", "-c");
    run("pahole", ["-J", object]);
    btf = typesOfImage(ElfFile.parse(workshop.read(object), "card.o"));
  });

  /** What a program that knows the same types prints. */
  function printed(name: string, statements: readonly string[]): string[] {
    const text = `${SOURCE}\n#include <stdio.h>\n#include <stddef.h>\nint main(void) {\n${statements.join("\n")}\nreturn 0; }\n`;
    return run(workshop.gcc(name, `${name}.c`, text, "-Wno-all"), [])
      .trim()
      .split("\n");
  }

  test("are those that libbpf reads", () => {
    expect(differences(btf, dumpTypes(object))).toEqual([]);
  });

  test("have the sizes and offsets that the compiler gives them", () => {
    const sizes = SIZES.map((type) => `printf("%zu\\n", sizeof(${type}));`);
    expect(SIZES.map((type) => String(btf.sizeOf(type)))).toEqual(printed("sizes", sizes));
    const offsets = PATHS.map((path) => {
      const [, type, member] = /^((?:union )?\w+)\.(.*)$/.exec(path) ?? [];
      const tagged = type.includes(" ") ? type : type === "word" ? "union word" : `struct ${type}`;
      return `printf("%zu\\n", offsetof(${tagged}, ${member}));`;
    });
    // Encoders make one dimension of several.
    expect(PATHS.map((path) => String(btf.offsetOf(path.replace("[1][2]", "[5]"))))).toEqual(
      printed("offsets", offsets),
    );
  });

  test("have their bit fields where the compiler has them", () => {
    const names = ["a", "b", "c", "d", "e", "f"];
    const statements = names.map((name) => {
      const find = `for (int i = 0; i < 8 * (int)sizeof x; i++) if (p[i / 8] >> i % 8 & 1) n++, first = first < 0 ? i : first;`;
      return `{ struct flags x = {0}; u8 *p = (u8 *)&x; int n = 0, first = -1; x.${name} = -1; ${find} printf("%d %d\\n", first, n); }`;
    });
    const fields = names.map((name) => btf.field(`card.flags.${name}`));
    const start = btf.offsetOf("card.flags") * 8;
    const ours = fields.map(({ bitOffset, bitSize }) => `${bitOffset - start} ${bitSize}`);
    expect(ours).toEqual(printed("fields", statements));
  });

  test.each(["keep", "expand"] as const)(
    "have prototypes that the compiler finds the same: typedefs %s",
    (typedefs) => {
      const same = FUNCTIONS.map((name) => {
        const prototype = btf.prototype(name, { typedefs });
        return `_Static_assert(__builtin_types_compatible_p(__typeof__(${name}), ${prototype}), "${name}");`;
      });
      expect(() => workshop.gcc("same.o", "same.c", `${SOURCE}\n${same.join("\n")}\n`, "-c")).not.toThrow();
      const other = same[0].replace("struct card *", "struct list *");
      expect(() => workshop.gcc("other.o", "other.c", `${SOURCE}\n${other}\n`, "-c")).toThrow();
    },
  );

  test("have declarations that compile to the same layout", () => {
    const known = "typedef unsigned char u8;\n";
    const text = TYPES.map((name) => btf.describe(name)).join("\n");
    const checks = ["atomic_t", "enum state", "struct list", "struct flags", "union word", "handler_t"].map((type) => {
      return `_Static_assert(sizeof(${type}) == ${btf.sizeOf(type)}, "${type}");`;
    });
    checks.push(`_Static_assert(__builtin_offsetof(union word, high) == ${btf.offsetOf("union word.high")}, "high");`);
    expect(() => workshop.gcc("again.o", "again.c", `${known}${text}\n${checks.join("\n")}\n`, "-c")).not.toThrow();
  });
});
