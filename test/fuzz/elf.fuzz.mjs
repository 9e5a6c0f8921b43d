// The ELF and module readers and the loader on damaged files: they say what is wrong and where, or read on, never
// anything else.
import assert from "node:assert/strict";
import { ElfFile } from "../../dist/formats/elf.js";
import { applyRelocations } from "../../dist/formats/elf-relocations.js";
import { KernelModule } from "../../dist/formats/kernel-module.js";
import { placeObject, planObject } from "../../dist/translator/load-object.js";
import { KorralError } from "../../dist/util/errors.js";

export const name = "elf";

const EDGES = [
  0, 1, 2, 3, 4, 8, 16, 23, 24, 25, 40, 56, 63, 64, 65, 0xff, 0xfeff, 0xff00, 0xfff1, 0xfff2, 0xffff, 0x10000, 0x200000,
  0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff,
];
const MAGIC = new TextEncoder().encode("~Module signature appended~\n");
const MOST_STEPS = 100_000;

export function run(rng) {
  const below = (bound) => rng() % bound;
  const pick = (list) => list[below(list.length)];

  const bytes = damaged(below(3) === 0 ? executable() : module());
  const whole = outcome(bytes);
  // Where the bytes lie in a larger buffer makes no difference.
  const moved = new Uint8Array(bytes.length + 32);
  moved.set(bytes, 16);
  assert.deepEqual(outcome(moved.subarray(16, 16 + bytes.length)), whole);

  function damaged(file) {
    for (let i = below(5); i > 0 && file.length > 8; i--) {
      const view = new DataView(file.buffer, file.byteOffset, file.length);
      const headers = view.getUint32(40, true);
      // Mostly where the structure is: the header, the section headers, and any entry of a table.
      const near = [below(64), headers + below(64 * 12), below(file.length), below(file.length)][below(4)];
      const at = Math.min((near >>> 2) * 4, file.length - 8);
      switch (below(6)) {
        case 0:
          file[at + below(4)] ^= 1 << below(8);
          break;
        case 1:
          view.setUint32(at, pick(EDGES), true);
          break;
        case 2:
          view.setUint16(at + 2 * below(2), pick(EDGES) & 0xffff, true);
          break;
        case 3:
          view.setUint32(at, below(file.length + 64), true);
          break;
        case 4:
          file = file.slice(0, below(file.length));
          break;
        default:
          file.copyWithin(at, below(file.length) & ~3, file.length - below(4));
      }
      if (file.length < 64) break;
    }
    return file;
  }

  function executable() {
    const text = Uint8Array.from({ length: 64 }, () => rng());
    const high = pick([0, 0xffffffff]);
    const names = strings("main", "helper", "data");
    const symbols = [0, 1, 2, 3].map((i) =>
      symbol(i === 0 ? 0 : names.at(i - 1), pick([1, 2, 0x12]), i === 0 ? 0 : pick([1, 0xfff1]), 16 * i, high, 16),
    );
    const relocations = Array.from({ length: below(4) }, () =>
      words(0x401000 + below(64), 0, pick([1, 6, 7, 8, 37, 5]), below(5), 0x400000 + below(0x3000), high),
    );
    return file(pick([2, 3]), [
      { name: ".text", type: 1, flags: 6, data: text, address: 0x401000, high },
      { name: ".bss", type: 8, flags: 3, data: new Uint8Array(0), size: 4096, address: 0x402000, high },
      { name: ".symtab", type: 2, data: join(...symbols), link: 4, info: 1, entry: 24 },
      { name: ".strtab", type: 3, data: names.bytes },
      { name: ".rela.dyn", type: 4, flags: 2, data: join(...relocations), link: 3, entry: 24 },
    ]);
  }

  function module() {
    const names = strings("init_module", "kfree", "mine", "__ksymtab_mine");
    const information = new TextEncoder().encode(
      "license=GPL\0parm=debug:Level\0parmtype=debug:int\0depends=mii\0name=fuzz\0",
    );
    const versions = new Uint8Array(64 * (1 + below(2)));
    versions.set(new TextEncoder().encode("kfree"), 8);
    const relocations = [];
    for (let i = below(6); i > 0; i--)
      relocations.push(
        words(
          below(64),
          0,
          pick([1, 2, 3, 4, 9, 10, 11, 24, 25, 26, 31, 42, 99]),
          below(5),
          rng(),
          pick([0, 0xffffffff]),
        ),
      );
    const exported = [0, 1, 2].map((i) => words(4 * i, 0, 2, i === 0 ? 3 : 5, i === 1 ? 7 : 0, 0));
    const parameter = words(0, 0, 1, 5, 1, 0);
    const symbols = [
      symbol(0, 0, 0, 0, 0, 0),
      symbol(names.at(0), 0x12, 1, 0, 0, 16),
      symbol(names.at(1), 0x10, 0, 0, 0, 0),
      symbol(names.at(2), 0x12, 1, 16, 0, 16),
      symbol(names.at(3), 0, 5, 0, 0, 0),
      symbol(0, 3, 10, 0, 0, 0),
    ];
    const extended = words(0, 1, 0, 1, 5, 10);
    const elf = file(1, [
      { name: ".text", type: 1, flags: 6, data: Uint8Array.from({ length: 64 }, () => rng()) },
      { name: ".rela.text", type: 4, data: join(...relocations), link: 11, info: 1, entry: 24 },
      { name: ".modinfo", type: 1, flags: 2, data: information },
      { name: "__versions", type: 1, flags: 2, data: versions },
      { name: "__ksymtab", type: 1, flags: 2, data: new Uint8Array(12) },
      { name: ".rela__ksymtab", type: 4, data: join(...exported), link: 11, info: 5, entry: 24 },
      { name: "__kcrctab", type: 1, flags: 2, data: words(rng()) },
      { name: "__param", type: 1, flags: 3, data: new Uint8Array(40) },
      { name: ".rela__param", type: 4, data: parameter, link: 11, info: 8, entry: 24 },
      { name: ".rodata", type: 1, flags: 2, data: new TextEncoder().encode("\0debug\0mine\0") },
      { name: ".symtab", type: 2, data: join(...symbols), link: 12, info: 1, entry: 24 },
      { name: ".strtab", type: 3, data: names.bytes },
      { name: ".shndx", type: 18, data: extended, link: 11, entry: 4 },
    ]);
    return below(2) === 0 ? elf : signed(elf);
  }

  function signed(elf) {
    const value = Uint8Array.from({ length: below(80) }, () => rng());
    const inner = pick([value, nested(value)]);
    const trailer = new Uint8Array(12);
    trailer[2] = pick([2, 2, 1, 0, 3]);
    new DataView(trailer.buffer).setUint32(8, pick([inner.length, inner.length, below(2000)]));
    return join(elf, inner, trailer, MAGIC);
  }

  function nested(value) {
    let content = value;
    for (let depth = below(9); depth > 0; depth--) {
      content = join(
        Uint8Array.of(pick([0x30, 0x30, 0x31, 0xa0, 4, 2, 6]), pick([content.length & 0x7f, 0x80, 0x81, 0x84])),
        content,
      );
    }
    return content;
  }
}

function outcome(bytes) {
  const seen = [];
  for (const use of [walk, loadModule, place]) {
    try {
      use(bytes, seen);
    } catch (error) {
      if (!(error instanceof KorralError)) throw error;
      if ("offset" in error) {
        assert.ok(error.offset >= 0 && error.offset <= bytes.length, `damage at ${error.offset} of ${bytes.length}`);
      }
      assert.ok(error.exitStatus === 4 || error.exitStatus === 5, `status ${error.exitStatus}`);
      seen.push(error.message);
    }
  }
  return seen;
}

function walk(bytes, seen) {
  const elf = ElfFile.parse(bytes, "fuzzed");
  seen.push(elf.type, elf.entry);
  assert.ok(64 * elf.sections.length <= bytes.length, "more sections than the file can hold");
  for (const section of elf.sections) {
    assert.ok(section.data.length <= bytes.length);
    seen.push(
      attempt(() => section.name),
      section.size,
      section.address,
    );
  }
  for (const segment of elf.segments) seen.push(segment.data.length, segment.address);
  const { symbols } = elf;
  if (symbols === null) return;
  assert.ok(symbols.ordered.length <= symbols.count);
  for (let symbol = 0; symbol < symbols.count; symbol++) {
    const found = attempt(() => symbols.name(symbol));
    if (typeof found === "string" && found !== "" && symbol > 0 && !found.includes("\ufffd")) {
      assert.ok([...symbols.named(found)].includes(symbol), "a symbol that is not found by its name");
    }
    seen.push(
      found,
      attempt(() => symbols.value(symbol)),
      attempt(() => symbols.section(symbol)),
    );
    seen.push(attempt(() => symbols.at(symbols.value(symbol), symbols.section(symbol))));
  }
  let steps = 0;
  for (const list of elf.relocations()) {
    steps += list.count;
    assert.ok(steps < MOST_STEPS);
    const place = list.target?.data.slice() ?? new Uint8Array(0);
    seen.push(
      attempt(() => applyRelocations(list, place, -0x40000000, () => -0x40000000)),
      place.length,
    );
  }
}

function loadModule(bytes, seen) {
  const module = KernelModule.parse(bytes, "fuzzed");
  seen.push(module.info, module.depends, module.parameters, module.imports, module.exports, module.init, module.exit);
  seen.push(module.signature?.signer, module.versions.size);
}

function place(bytes, seen) {
  const plan = planObject(bytes, "fuzzed");
  const loaded = placeObject(plan, plan.space, plan.address, (name) => (name === "kfree" ? plan.address : null));
  let copied = 0;
  let end = plan.address;
  for (const segment of loaded.segments) {
    assert.ok(segment.address >= end && segment.bytes.length <= segment.size, "segments on top of each other");
    end = segment.address + segment.size;
    if (segment.name !== "imports") copied += segment.bytes.length;
  }
  assert.ok(end <= plan.address + plan.size, "more than was planned");
  assert.ok(copied <= 2 * bytes.length, "more than the file has");
  for (const { address, size } of loaded.functions) {
    const home = loaded.segments.find((one) => address >= one.address && address + size <= one.address + one.size);
    assert.ok(size > 0 && home?.execute === true, "a function that is no code");
  }
  for (const one of loaded.imports) assert.equal(loaded.importAt(one.address), one);
  for (const name of ["init_module", "mine", "main"]) seen.push(attempt(() => loaded.symbols.get(name)));
  seen.push(loaded.functions, loaded.codeReferences, loaded.imports, loaded.entry, loaded.segments);
}

/** A value, or what is wrong with it. */
function attempt(action) {
  try {
    return action();
  } catch (error) {
    if (error instanceof KorralError) return { error: error.message };
    throw error;
  }
}

function file(type, given) {
  const names = strings(...given.map((section) => section.name), ".shstrtab");
  const sections = [...given, { name: ".shstrtab", type: 3, data: names.bytes }];
  const parts = [];
  let at = 64;
  const headers = [new Uint8Array(64)];
  for (const [i, section] of sections.entries()) {
    const { data, flags = 0, address = 0, high = 0, link = 0, info = 0, entry = 0, size = data.length } = section;
    headers.push(words(names.at(i), section.type, flags, 0, address, high, at, 0, size, 0, link, info, 4, 0, entry, 0));
    const padded = new Uint8Array((data.length + 7) & ~7);
    padded.set(data);
    parts.push(padded);
    at += padded.length;
  }
  const segments = type === 1 ? 0 : 1;
  const segment = words(1, 5, 64, 0, 0x401000, 0, 0x401000, 0, 64, 0, 8192, 0, 4096, 0);
  const header = new Uint8Array(64);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  const view = new DataView(header.buffer);
  view.setUint16(16, type, true);
  view.setUint16(18, 62, true);
  view.setUint32(32, segments > 0 ? at + 64 * headers.length : 0, true);
  view.setUint32(40, at, true);
  for (const [i, value] of [64, 56, segments, 64, headers.length, sections.length].entries()) {
    view.setUint16(52 + 2 * i, value, true);
  }
  return join(header, ...parts, ...headers, ...(segments > 0 ? [segment] : []));
}

function symbol(nameAt, info, section, value, high, size) {
  return words(nameAt, info | (section << 16), value, high, size, 0);
}

function strings(...texts) {
  const starts = [];
  let all = "\0";
  for (const text of texts) {
    starts.push(all.length);
    all += `${text}\0`;
  }
  return { bytes: new TextEncoder().encode(all), at: (i) => starts[i] };
}

function words(...values) {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  for (const [i, value] of values.entries()) view.setUint32(4 * i, value, true);
  return new Uint8Array(view.buffer);
}

function join(...parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
