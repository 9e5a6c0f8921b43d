import { describe, expect, test } from "vitest";
import { BtfWriter } from "../../test/support/btf-writer.js";
import { ExitStatus, InputError, KorralError } from "../util/errors.js";
import { Btf, BtfError, BtfKind, BtfLookupError, type BtfTypeId } from "./btf.js";

/** One or more of every kind, numbered as they are returned. */
function example() {
  const w = new BtfWriter();
  const int = w.int("int", 4, 32, 0, 1);
  const ulong = w.int("long unsigned int", 8);
  const char = w.int("char", 1, 8, 0, 1);
  const bool = w.int("_Bool", 1, 8, 0, 4);
  const u64 = w.typedef("u64", ulong);
  const size_t = w.typedef("size_t", ulong);
  const constChar = w.const(char);
  const text = w.pointer(constChar);
  const counters = w.struct("counters", 16, [
    { name: "rx", type: u64, bit: 0 },
    { name: "tx", type: w.volatile(u64), bit: 64 },
  ]);
  const atomic = w.typedef("atomic_t", w.struct("", 4, [{ name: "counter", type: int, bit: 0 }]));
  const inner = w.union("", 8, [
    { name: "word", type: ulong, bit: 0 },
    {
      name: "",
      type: w.struct("", 8, [
        { name: "low", type: int, bit: 0 },
        { name: "high", type: int, bit: 32 },
      ]),
      bit: 0,
    },
  ]);
  const device = w.forward("device");
  const card = w.struct("card", 96, [
    { name: "name", type: w.array(char, int, 16), bit: 0 },
    { name: "", type: inner, bit: 128 },
    { name: "stats", type: w.typedef("counters_t", w.const(counters)), bit: 192 },
    { name: "ready", type: bool, bit: 320, width: 1 },
    { name: "mode", type: int, bit: 321, width: 5 },
    { name: "parent", type: w.pointer(device), bit: 384 },
    { name: "ring", type: w.array(w.array(atomic, int, 3), int, 2), bit: 448 },
    { name: "tail", type: w.array(u64, int, 0), bit: 768 },
  ]);
  const state = w.enum("state", { DOWN: 0, UP: 1, BROKEN: -1 }, true);
  w.enum("", { LIMIT: 0xffff_ffff });
  w.enum64("wide", { TOP: 1n << 63n, ONE: 1n });
  w.enum64("below", { LEAST: -(1n << 63n) }, true);
  const handler = w.pointer(
    w.prototype(w.typedef("irqreturn_t", state), [
      ["irq", int],
      ["data", w.pointer(0)],
    ]),
  );
  const handler_t = w.typedef("handler_t", handler);
  const open = w.prototype(int, [
    ["card", w.pointer(card)],
    ["label", w.const(text)],
    ["handler", handler_t],
  ]);
  w.func("card_open", open);
  w.func(
    "card_log",
    w.prototype(0, [
      ["format", w.restrict(text)],
      ["", 0],
    ]),
    1,
  );
  w.func("card_name", w.prototype(text, []));
  w.func(
    "card_alloc",
    w.prototype(w.pointer(0), [
      ["size", size_t],
      ["flags", w.typedef("gfp_t", w.int("unsigned int", 4))],
    ]),
  );
  w.func("card_row", w.prototype(w.pointer(w.array(int, int, 4)), [["counter", w.pointer(atomic)]]));
  const current = w.variable("current_card", w.pointer(card));
  w.section(".data..percpu", 24, [[current, 16, 8]]);
  w.float("double", 8);
  w.declarationTag("kfunc", card, 0);
  w.pointer(w.typeTag("user", card));
  return w;
}

const btf = Btf.parse(example().bytes(), "image");

/** The error of one class that a call throws. */
function refusal(call: () => unknown): KorralError {
  try {
    call();
  } catch (error) {
    if (error instanceof KorralError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

describe("layout", () => {
  test("sizes of every kind of type", () => {
    const sizes = [
      "int",
      "unsigned long",
      "long unsigned int",
      "u64",
      "card",
      "struct counters",
      "counters_t",
      "state",
      "wide",
      "double",
    ];
    expect(sizes.map((name) => btf.sizeOf(name))).toEqual([4, 8, 8, 8, 96, 16, 16, 4, 8, 8]);
    expect(btf.sizeOf(btf.field("card.ring").type)).toBe(24);
    expect(btf.sizeOf(btf.field("card.parent").type)).toBe(8);
  });

  test("members with their offsets in bits", () => {
    const { kind, name, size, members } = btf.struct("card");
    expect({ kind, name, size }).toEqual({ kind: "struct", name: "card", size: 96 });
    expect(members.map((m) => [m.name, m.bitOffset, m.bitSize, m.bitField])).toEqual([
      ["name", 0, 128, false],
      ["", 128, 64, false],
      ["stats", 192, 128, false],
      ["ready", 320, 1, true],
      ["mode", 321, 5, true],
      ["parent", 384, 64, false],
      ["ring", 448, 192, false],
      ["tail", 768, 0, false],
    ]);
    expect(btf.struct("atomic_t")).toMatchObject({ kind: "struct", name: "", size: 4 });
    expect(btf.struct(members[1].type).kind).toBe("union");
  });

  test.each([
    ["card.name[3]", 3],
    ["card.word", 16],
    ["card.high", 20],
    ["card.stats.tx", 32],
    ["struct card.ring[1][2].counter", 76],
    ["card.tail[5]", 136],
    ["counters_t.tx", 8],
    ["card", 0],
  ])("%s is at byte %d", (path, offset) => {
    expect(btf.offsetOf(path)).toBe(offset);
    expect(btf.hasField(path)).toBe(true);
  });

  test.each(["card.nothing", "crad.name", "card.parent.name", "device.name", "card.ring[2]"])(
    "there is no %s",
    (path) => {
      expect(btf.hasField(path)).toBe(false);
    },
  );

  test("bit fields have an offset in bits alone", () => {
    expect(btf.field("card.mode")).toEqual({ bitOffset: 321, bitSize: 5, type: btf.type("int"), bitField: true });
    expect(refusal(() => btf.offsetOf("card.mode"))).toMatchObject({ code: "bit-field" });
  });

  test("without the kind flag, bit fields are those of odd integers", () => {
    const w = new BtfWriter();
    const three = w.int("unsigned int", 4, 3, 5);
    w.struct("old", 8, [
      { name: "a", type: three, bit: 32 },
      { name: "b", type: w.int("int", 4), bit: 0 },
    ]);
    const { members } = Btf.parse(w.bytes(), "old").struct("old");
    expect(members.map((m) => [m.bitOffset, m.bitSize, m.bitField])).toEqual([
      [37, 3, true],
      [0, 32, false],
    ]);
  });
});

describe("names", () => {
  test("the first of several types counts, and all can be had", () => {
    const w = new BtfWriter();
    const first = w.struct("twin", 4, []);
    w.func("twin", w.prototype(0, []));
    const second = w.struct("twin", 8, []);
    const union = w.union("pair", 2, []);
    const structure = w.struct("pair", 1, []);
    const twins = Btf.parse(w.bytes(), "twins");
    expect([twins.sizeOf("twin"), twins.type("twin")]).toEqual([4, first]);
    expect(twins.all("twin").map((id) => twins.kind(id))).toEqual([BtfKind.struct, BtfKind.function, BtfKind.struct]);
    expect(twins.all("twin", BtfKind.struct)).toEqual([first, second]);
    expect(twins.all("none")).toEqual([]);
    expect([twins.type("pair"), twins.type("struct pair"), twins.type("union pair")]).toEqual([
      union,
      structure,
      union,
    ]);
    expect(twins.prototype("twin")).toBe("void (void)");
  });

  test("a definition counts and not its declaration", () => {
    const w = new BtfWriter();
    w.forward("later");
    w.struct("later", 12, []);
    expect(Btf.parse(w.bytes(), "later").sizeOf("later")).toBe(12);
    expect(btf.hasType("device")).toBe(false);
    expect(refusal(() => btf.sizeOf("device"))).toMatchObject({ code: "incomplete-type" });
    expect(refusal(() => btf.sizeOf("handler_t_"))).toMatchObject({ code: "no-such-type", similar: ["handler_t"] });
  });

  test("constants of all enumerations", () => {
    expect(btf.enumerators("state")).toEqual([
      { name: "DOWN", value: 0n },
      { name: "UP", value: 1n },
      { name: "BROKEN", value: -1n },
    ]);
    expect(["LIMIT", "TOP", "LEAST", "ONE"].map((name) => btf.constant(name))).toEqual([
      0xffff_ffffn,
      1n << 63n,
      -(1n << 63n),
      1n,
    ]);
    expect(refusal(() => btf.constant("LIMITS"))).toMatchObject({ code: "no-such-constant", similar: ["LIMIT"] });
    expect(refusal(() => btf.enumerators("card"))).toMatchObject({ code: "no-such-type" });
  });

  test("variables with their places", () => {
    const variable = btf.variable("current_card");
    expect(variable).toMatchObject({ section: ".data..percpu", offset: 16, size: 8 });
    expect(btf.describe(variable.type)).toBe("struct card *");
    expect(btf.variablesIn(".data..percpu")).toEqual([variable]);
    expect(refusal(() => btf.variablesIn(".data"))).toMatchObject({ code: "no-such-variable" });
    expect(refusal(() => btf.variable("current_cards"))).toMatchObject({
      code: "no-such-variable",
      similar: ["current_card"],
    });
  });

  test.each([
    [() => btf.struct("crad"), "no-such-type", ["card", "char"]],
    [() => btf.struct("int"), "no-such-type", []],
    [() => btf.offsetOf("card.nam"), "no-such-member", ["name"]],
    [() => btf.offsetOf("card.hihg"), "no-such-member", ["high", "ring"]],
    [() => btf.offsetOf("card.stats.ry"), "no-such-member", ["rx"]],
    [() => btf.offsetOf("card.parent.name"), "no-such-member", []],
    [() => btf.offsetOf("card.name.x"), "no-such-member", []],
    [() => btf.offsetOf("card.word[1]"), "no-such-member", []],
    [() => btf.offsetOf("card.ring[2]"), "no-such-member", []],
    [() => btf.offsetOf("card..x"), "no-such-member", []],
    [() => btf.offsetOf("card[x]"), "no-such-member", []],
    [() => btf.offsetOf(""), "no-such-member", []],
    [() => btf.prototype("card_opne"), "no-such-function", ["card_open"]],
    [() => btf.prototype("card"), "no-such-function", ["card_log", "card_row", "card_name"]],
    [() => btf.sizeOf("enum card"), "no-such-type", []],
    [() => btf.sizeOf(""), "no-such-type", []],
    [() => btf.sizeOf(0 as BtfTypeId), "incomplete-type", []],
    [() => btf.kind(btf.endId as BtfTypeId), "no-such-type", []],
    [() => btf.nameOf(-1 as BtfTypeId), "no-such-type", []],
    [() => btf.sizeOf(Number.NaN as BtfTypeId), "no-such-type", []],
  ])("%s is refused with %s", (call, code, similar) => {
    const error = refusal(call);
    expect(error).toBeInstanceOf(BtfLookupError);
    expect(error).toMatchObject({ code, similar, exitStatus: ExitStatus.unsupported });
    expect(error.message).toContain("image");
  });
});

describe("text", () => {
  test.each([
    [
      "card_open",
      "int (struct card *, const char *, handler_t)",
      "int (struct card *, const char *, enum state (*)(int, void *))",
    ],
    ["card_log", "void (const char *, ...)", "void (const char *, ...)"],
    ["card_name", "const char *(void)", "const char *(void)"],
    ["card_alloc", "void *(size_t, gfp_t)", "void *(unsigned long, unsigned int)"],
    ["card_row", "int (*(atomic_t *))[4]", "int (*(atomic_t *))[4]"],
  ])("the prototype of %s", (name, kept, expanded) => {
    expect([btf.prototype(name), btf.prototype(name, { typedefs: "expand" })]).toEqual([kept, expanded]);
  });

  test.each([
    ["u64", "typedef unsigned long u64;"],
    ["handler_t", "typedef irqreturn_t (*handler_t)(int irq, void *data);"],
    ["state", "enum state {\n  DOWN = 0,\n  UP = 1,\n  BROKEN = -1,\n};"],
    ["card_open", "int card_open(struct card *card, const char *const label, handler_t handler);"],
    ["card_log", "void card_log(const char *restrict format, ...);"],
    ["card_row", "int (*card_row(atomic_t *counter))[4];"],
    ["current_card", "struct card *current_card;"],
    ["device", "struct device;"],
    ["int", "int"],
    ["double", "double"],
    [".data..percpu", "/* section .data..percpu */\nstruct card *current_card; /* at 16 */\n"],
    ["kfunc", '__attribute__((btf_decl_tag("kfunc")))'],
    ["user", '__attribute__((btf_type_tag("user"))) struct card'],
    [
      "card",
      `struct card {
  char name[16];
  union {
    unsigned long word;
    struct {
      int low;
      int high;
    };
  };
  counters_t stats;
  _Bool ready : 1;
  int mode : 5;
  struct device *parent;
  atomic_t ring[2][3];
  u64 tail[0];
};`,
    ],
  ])("the declaration of %s", (name, text) => {
    expect(btf.describe(name)).toBe(text);
  });

  test("integers have one spelling", () => {
    const w = new BtfWriter();
    const names = [
      "long long unsigned int",
      "short int",
      "unsigned char",
      "signed char",
      "__int128 unsigned",
      "unsigned int",
      "u8",
    ];
    for (const name of names) w.int(name, 8);
    const integers = Btf.parse(w.bytes(), "integers");
    expect(names.map((name) => integers.describe(name))).toEqual([
      "unsigned long long",
      "short",
      "unsigned char",
      "signed char",
      "unsigned __int128",
      "unsigned int",
      "u8",
    ]);
  });
});

describe("split", () => {
  test("a module's types stand on those of its kernel", () => {
    const base = example();
    const w = new BtfWriter(base);
    const own = w.struct("adapter", 104, [
      { name: "card", type: btf.type("card"), bit: 0 },
      { name: "used", type: btf.type("u64"), bit: 768 },
    ]);
    w.struct("counters", 1, []);
    w.func(
      "adapter_probe",
      w.prototype(btf.type("int"), [
        ["adapter", w.pointer(own)],
        ["x", btf.type("size_t")],
      ]),
    );
    const module = btf.split(w.bytes(), "module");
    expect([module.firstId, module.base]).toEqual([btf.endId, btf]);
    expect(module.type("adapter")).toBe(btf.endId);
    expect([module.offsetOf("adapter.card.stats.tx"), module.offsetOf("adapter.used")]).toEqual([32, 96]);
    expect(module.prototype("adapter_probe")).toBe("int (struct adapter *, size_t)");
    expect(module.prototype("card_name")).toBe(btf.prototype("card_name"));
    expect(module.sizeOf("counters")).toBe(16);
    expect(module.all("counters").map((id) => module.sizeOf(id))).toEqual([16, 1]);
    expect(module.constant("TOP")).toBe(1n << 63n);
    expect(btf.hasType("adapter")).toBe(false);
  });

  test("a module without strings or types of its own", () => {
    expect(btf.split(new BtfWriter(example()).bytes(), "empty").endId).toBe(btf.endId);
  });
});

describe("damage", () => {
  const good = example().bytes();
  const view = (bytes: Uint8Array) => new DataView(bytes.buffer);
  const patched = (at: number, value: number): Uint8Array => {
    const bytes = good.slice();
    view(bytes).setUint32(at, value, true);
    return bytes;
  };
  const written = (write: (w: BtfWriter) => void): Uint8Array => {
    const w = new BtfWriter();
    write(w);
    return w.bytes();
  };

  test.each([
    ["too short for a header", good.slice(0, 23), "btf-header", 0],
    ["of another magic", patched(0, 0x1234), "btf-header", 0],
    ["with a short header", patched(4, 20), "btf-header", 4],
    ["with a header beyond the end", patched(4, good.length + 1), "btf-header", 4],
    ["with types beyond the end", patched(12, 0xffff_fffc), "btf-header", 8],
    ["with types at an odd place", patched(8, 2), "btf-header", 8],
    ["with strings beyond the end", patched(20, good.length), "btf-header", 16],
    ["with types that end in one", patched(12, 20), "btf-type", 40],
    ["with a name out of range", patched(24, 0xffff_fff0), "btf-string-range", 24],
    ["with an unknown kind", written((w) => w.raw(0, 20 << 24, 0)), "btf-kind", 28],
    ["with kind 0", written((w) => w.raw(0, 0, 0)), "btf-kind", 28],
    ["with a type out of range", written((w) => w.pointer(2)), "btf-type-range", 32],
    ["with an element out of range", written((w) => w.array(9, 0, 1)), "btf-type-range", 36],
    ["with an index out of range", written((w) => w.array(0, 9, 1)), "btf-type-range", 40],
    [
      "with a member out of range",
      written((w) => w.struct("s", 4, [{ name: "m", type: 7, bit: 0 }])),
      "btf-type-range",
      40,
    ],
    ["with a parameter out of range", written((w) => w.prototype(0, [["p", 3]])), "btf-type-range", 40],
    ["with a variable out of range", written((w) => w.section("s", 8, [[5, 0, 8]])), "btf-type-range", 36],
    ["with more members than bytes", written((w) => w.raw(0, (4 << 24) | 2, 8, 0, 0, 0)), "btf-type", 24],
    ["with an integer too wide", written((w) => w.int("i", 4, 33)), "btf-integer", 24],
    ["with an integer of 3 bytes", written((w) => w.int("i", 3)), "btf-integer", 24],
    ["with an integer of no bits", written((w) => w.int("i", 4, 0)), "btf-integer", 24],
    ["with a function of no prototype", written((w) => w.func("f", w.int("i", 4))), "btf-type", 48],
    ["with a typedef without a name", written((w) => w.typedef("", 0)), "btf-name", 24],
    [
      "without the empty string",
      (() => {
        const b = good.slice();
        b[24 + view(b).getUint32(16, true)] = 65;
        return b;
      })(),
      "btf-strings",
      null,
    ],
    [
      "with a string without an end",
      (() => {
        const b = good.slice();
        b[b.length - 1] = 65;
        return b;
      })(),
      "btf-strings",
      good.length - 1,
    ],
  ])("%s", (_what, bytes, code, offset) => {
    const error = refusal(() => Btf.parse(bytes, "image"));
    expect(error).toBeInstanceOf(BtfError);
    expect(error).toBeInstanceOf(InputError);
    expect(error.code).toBe(code);
    if (offset !== null) expect(error).toMatchObject({ offset });
  });

  test("another version and byte order are not supported", () => {
    expect(refusal(() => Btf.parse(patched(0, 0x0002_eb9f), "image"))).toMatchObject({
      code: "btf-version",
      exitStatus: 4,
    });
    expect(refusal(() => Btf.parse(patched(0, 0x0100_9feb), "image"))).toMatchObject({
      code: "btf-byte-order",
      exitStatus: 4,
    });
  });

  test.each<[string, (w: BtfWriter) => number, string]>([
    ["a typedef of itself", (w) => w.typedef("t", 1), "btf-cycle"],
    ["volatile of const of volatile", (w) => w.volatile(w.const(1) + 1), "btf-cycle"],
    ["an array of itself", (w) => w.array(1, 0, 2), "btf-cycle"],
    ["an array of void", (w) => w.array(0, 0, 2), "btf-array"],
    ["an array of 2^34 bytes", (w) => w.array(w.int("int", 4), 1, 2 ** 32 - 1), "btf-array"],
  ])("%s has no size", (_what, write, code) => {
    const w = new BtfWriter();
    const id = write(w) as BtfTypeId;
    expect(refusal(() => Btf.parse(w.bytes(), "image").sizeOf(id))).toMatchObject({ code, exitStatus: 5 });
  });

  test.each<[string, (w: BtfWriter, int: number) => { type: number; bit: number; width?: number }]>([
    ["beyond its structure", (_w, int) => ({ type: int, bit: 40 })],
    ["that is wider than its type", (_w, int) => ({ type: int, bit: 0, width: 33 })],
    ["that is void", () => ({ type: 0, bit: 0 })],
    ["that is a function", (w) => ({ type: w.prototype(0, []), bit: 0 })],
    ["between bytes", (_w, int) => ({ type: int, bit: 3 })],
  ])("a member %s", (_what, member) => {
    const w = new BtfWriter();
    w.struct("s", 8, [{ name: "m", ...member(w, w.int("int", 4)) }]);
    expect(refusal(() => Btf.parse(w.bytes(), "image").struct("s"))).toMatchObject({
      code: "btf-member",
      exitStatus: 5,
    });
  });

  test("structures that hold themselves, pointers without an end, and types that explode", () => {
    const w = new BtfWriter();
    w.struct("", 8, [
      { name: "", type: 1, bit: 0 },
      { name: "", type: 1, bit: 0 },
    ]);
    w.typedef("self", 1);
    w.pointer(3);
    w.typedef("endless", 3);
    let type = w.struct("", 1, []);
    for (let depth = 0; depth < 31; depth++) {
      const member = { name: "", type, bit: 0 };
      type = w.struct("", 1, [member, member, member]);
    }
    w.typedef("bomb", type);
    const hostile = Btf.parse(w.bytes(), "image");
    for (const name of ["self", "endless", "bomb"]) {
      expect(refusal(() => hostile.describe(name))).toMatchObject({ code: "btf-cycle", exitStatus: 5 });
    }
    expect(refusal(() => hostile.offsetOf("self.x"))).toMatchObject({ code: "no-such-member" });
    expect(refusal(() => hostile.offsetOf("bomb.x"))).toMatchObject({ code: "no-such-member" });
  });
});
