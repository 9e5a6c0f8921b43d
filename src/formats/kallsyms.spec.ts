import { describe, expect, test } from "vitest";
import { type KallsymsStyle, type WrittenSymbol, writeKallsyms } from "../../test/support/kallsyms-writer.js";
import { noise } from "../../test/support/native.js";
import { ExitStatus, InputError, KorralError } from "../util/errors.js";
import { formatGuestAddress, type GuestAddress, guestAddress } from "../util/guest-address.js";
import { Kallsyms, SymbolLookupError } from "./kallsyms.js";

const TEXT = 0xffff_ffff_8100_0000n;

const SYMBOLS: WrittenSymbol[] = [
  { name: "fixed_percpu_data", type: "A", address: 0n },
  { name: "cpu_number", type: "A", address: 0x40n },
  { name: "_text", type: "T", address: TEXT },
  { name: "_stext", type: "T", address: TEXT },
  ...Array.from({ length: 3000 }, (_, i) => ({
    name: `${["net_", "pci_", "x"][i % 3]}register_device${i}`,
    type: i % 5 === 0 ? "T" : "t",
    address: TEXT + BigInt(16 * (i + 1)),
  })),
  { name: "same", type: "t", address: TEXT + 0x1_0000n },
  { name: "same", type: "T", address: TEXT + 0x1_0010n },
  { name: "same", type: "t", address: TEXT + 0x1_0020n },
  { name: `long${"y".repeat(400)}`, type: "t", address: TEXT + 0x1_0030n },
  { name: "_end", type: "B", address: 0xffff_ffff_ffff_ff00n },
];
const KERNEL_ONLY = SYMBOLS.filter(({ address }) => address >= TEXT);

const STYLES: [string, KallsymsStyle, WrittenSymbol[]][] = [
  ["of 6.1", { layout: "6.1", absolutePercpu: true }, SYMBOLS],
  ["of a stable 6.1", { layout: "6.1", absolutePercpu: true, sequence: true }, SYMBOLS],
  ["of 6.12", { layout: "6.5", absolutePercpu: true }, SYMBOLS],
  ["of 6.15, with plain offsets", { layout: "6.5", absolutePercpu: false }, KERNEL_ONLY],
  [
    "between other data",
    { layout: "6.5", absolutePercpu: true, before: noise(50_000), after: noise(9_999, 2) },
    SYMBOLS,
  ],
  [
    "behind zeroes",
    { layout: "6.1", absolutePercpu: true, before: new Uint8Array(4096), after: new Uint8Array(64) },
    SYMBOLS,
  ],
];

function refusal(call: () => unknown): KorralError {
  try {
    call();
  } catch (error) {
    if (error instanceof KorralError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

describe.each(STYLES)("tables %s", (_what, style, symbols) => {
  const kallsyms = Kallsyms.find(writeKallsyms(symbols, style), "image");

  test("hold every name, type and address", () => {
    expect(kallsyms.count).toBe(symbols.length);
    const found = symbols.map((_, i) => [kallsyms.name(i), kallsyms.type(i), formatGuestAddress(kallsyms.address(i))]);
    expect(found).toEqual(symbols.map((s) => [s.name, s.type, `0x${s.address.toString(16).padStart(16, "0")}`]));
  });

  test("find every name", () => {
    for (const [i, { name }] of symbols.entries()) if (name !== "same") expect(kallsyms.all(name)).toEqual([i]);
  });
});

const kallsyms = Kallsyms.find(writeKallsyms(SYMBOLS, { layout: "6.5", absolutePercpu: true }), "image");

describe("names", () => {
  test("of several symbols the global one counts", () => {
    const first = SYMBOLS.findIndex(({ name }) => name === "same");
    expect(kallsyms.all("same")).toEqual([first, first + 1, first + 2]);
    expect(kallsyms.find("same")).toBe(first + 1);
    expect(formatGuestAddress(kallsyms.addressOf("same"))).toBe("0xffffffff81010010");
  });

  test("that are not there", () => {
    expect([kallsyms.has("_text"), kallsyms.has("_tex"), kallsyms.has(""), kallsyms.find("T_text")]).toEqual([
      true,
      false,
      false,
      -1,
    ]);
    const error = refusal(() => kallsyms.addressOf("_texd"));
    expect(error).toBeInstanceOf(SymbolLookupError);
    expect(error).toMatchObject({ code: "no-such-symbol", exitStatus: ExitStatus.unsupported });
    expect(error.message).toBe('image has no symbol "_texd"; similar names: _text, _end, _stext');
  });
});

describe("addresses", () => {
  const at = (low: number): GuestAddress => guestAddress(0xffff_ffff, low);

  test.each([
    [at(0x8100_0000), "_text+0x0"],
    [at(0x8100_000f), "_text+0xf"],
    [at(0x8100_0010), "net_register_device0+0x0"],
    [at(0x8100_0021), "pci_register_device1+0x1"],
    [at(0xffff_ff00), "_end+0x0"],
    [at(0xffff_ffff), "_end+0xff"],
    [at(0x80ff_ffff), "0xffffffff80ffffff"],
    [0 as GuestAddress, "fixed_percpu_data+0x0"],
    [0x3f as GuestAddress, "fixed_percpu_data+0x3f"],
    [0x44 as GuestAddress, "cpu_number+0x4"],
  ])("%d is %s", (address, text) => {
    expect(kallsyms.describe(address)).toBe(text);
  });

  test("a symbol reaches up to the next address", () => {
    const extent = (name: string) => kallsyms.extent(kallsyms.find(name));
    expect(["_text", "_stext", "net_register_device0", "_end", "fixed_percpu_data", "cpu_number"].map(extent)).toEqual([
      16, 16, 16, 0, 0x40, 0,
    ]);
  });

  test("without small symbols, small addresses have none", () => {
    const plain = Kallsyms.find(writeKallsyms(KERNEL_ONLY, { layout: "6.5", absolutePercpu: false }), "image");
    expect(plain.at(5 as GuestAddress)).toBeNull();
    expect(plain.at(at(0x8100_0013))).toEqual({ index: 2, offset: 3 });
  });
});

describe("images that are no kernels, or broken", () => {
  const style: KallsymsStyle = { layout: "6.5", absolutePercpu: true };
  const good = writeKallsyms(SYMBOLS, style);

  test.each([
    ["nothing", new Uint8Array(0)],
    ["zeroes", new Uint8Array(100_000)],
    ["noise", noise(1 << 20)],
    ["few symbols", writeKallsyms(SYMBOLS.slice(0, 700), style)],
    ["a table that ends early", good.slice(0, good.length / 3)],
    [
      "a table without its count",
      (() => {
        const b = good.slice();
        b[1] ^= 0x40;
        return b;
      })(),
    ],
  ])("%s", (_what, bytes) => {
    const error = refusal(() => Kallsyms.find(bytes, "image"));
    expect(error).toBeInstanceOf(InputError);
    expect(error).toMatchObject({ code: "kallsyms-missing", exitStatus: ExitStatus.unusableInput });
  });

  test("addresses that do not ascend", () => {
    const swapped = SYMBOLS.slice();
    [swapped[20], swapped[30]] = [swapped[30], swapped[20]];
    expect(refusal(() => Kallsyms.find(writeKallsyms(swapped, style), "image"))).toMatchObject({
      code: "kallsyms-broken",
    });
  });

  test("names that are not where the markers say", () => {
    const broken = good.slice();
    // The first name is one letter shorter, and the next one, which begins with what is left, longer than all others.
    broken[8] -= 1;
    expect(refusal(() => Kallsyms.find(broken, "image"))).toMatchObject({ code: "kallsyms-broken" });
  });

  test("a name of more letters than the kernel allows", () => {
    const long = [...SYMBOLS];
    long[long.length - 1] = { name: "z".repeat(511), type: "t", address: 0xffff_ffff_ffff_ff00n };
    expect(refusal(() => Kallsyms.find(writeKallsyms(long, style), "image"))).toMatchObject({
      code: "kallsyms-broken",
    });
  });
});
