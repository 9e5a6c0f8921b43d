// The finder of a kernel's symbols on images that are damaged, or made to look like its tables.
import assert from "node:assert/strict";
import { Kallsyms } from "../../dist/formats/kallsyms.js";
import { KorralError } from "../../dist/util/errors.js";

export const name = "kallsyms";

const TOKENS = 256;
const COUNT = 1100;
const BASE = 0x81000000;
const EDGES = [0, 1, 0x7f, 0x80, 0xff, 255, 256, 257, 512, 1024, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];
const letters = "abcdefghijklmnopqrstuvwxyz_ABTDtd";

export function run(rng) {
  const below = (bound) => rng() % bound;
  const pick = (list) => list[below(list.length)];

  const bytes = damaged(image());
  const kallsyms = attempt(() => Kallsyms.find(bytes, "fuzzed"));
  if (kallsyms === undefined) return;
  assert.ok(kallsyms.count > 0 && kallsyms.count * 2 < bytes.length, "more symbols than bytes");
  for (let i = 0; i < 40; i++) {
    const index = below(kallsyms.count);
    const text = kallsyms.name(index);
    assert.ok(text.length < 512 && kallsyms.type(index).length <= 1, "a name without bound");
    if (!text.includes("\ufffd") && !kallsyms.type(index).includes("\ufffd")) {
      assert.ok(kallsyms.all(text).includes(index), "a symbol that its name does not find");
      assert.ok(kallsyms.has(text));
    }
    const address = kallsyms.address(index);
    assert.ok(Number.isSafeInteger(address), "an address that is not exact");
    const place = kallsyms.at(address);
    assert.ok(place !== null && place.offset === 0 && place.index <= index, "an address that its symbol does not hold");
    assert.ok(kallsyms.extent(index) >= 0);
    kallsyms.describe((BASE | 0) + below(0x100000));
  }
  attempt(() => kallsyms.addressOf("no_such_symbol"));

  function image() {
    const late = below(2) === 0;
    const out = [];
    const align = () => {
      while (out.length % 8 !== 0) out.push(0);
    };
    const words = (values, size = 4) => {
      align();
      for (const value of values) for (let i = 0; i < size; i++) out.push((value / 2 ** (8 * i)) & 0xff);
    };
    const percpu = below(20);
    const offsets = () => {
      words(Array.from({ length: COUNT }, (_, i) => (i < percpu ? i * 8 : -1 - (i - percpu) * 16) >>> 0));
      words([BASE, 0xffffffff]);
    };
    for (let i = below(3) * 64; i > 0; i--) out.push(below(3) === 0 ? rng() & 0xff : 0);
    if (!late) offsets();
    words([COUNT]);
    align();
    const names = out.length;
    const markers = [];
    for (let i = 0; i < COUNT; i++) {
      if (i % 256 === 0) markers.push(out.length - names);
      const length = 2 + below(12);
      out.push(length);
      for (let k = 0; k < length; k++) out.push(below(TOKENS));
    }
    words(markers);
    if (!late) words(Array(3 * COUNT).fill(7), 1);
    align();
    const tokens = out.length;
    const starts = [];
    for (let token = 0; token < TOKENS; token++) {
      starts.push(out.length - tokens);
      for (let k = 1 + below(3); k > 0; k--) out.push(letters.charCodeAt(below(letters.length)));
      out.push(0);
    }
    words(starts, 2);
    if (late) offsets();
    align();
    return Uint8Array.from(out);
  }

  function damaged(bytes) {
    let file = bytes;
    for (let i = below(5); i > 0 && file.length > 8; i--) {
      const at = below(file.length);
      const view = new DataView(file.buffer, file.byteOffset, file.length);
      switch (below(5)) {
        case 0:
          file[at] ^= 1 << below(8);
          break;
        case 1:
          view.setUint32((at & ~3) % (file.length & ~3), pick(EDGES), true);
          break;
        case 2: {
          // Runs that may be markers, and one of them ever longer.
          const step = 512 + below(3) * 256;
          for (let k = 0, to = at & ~7; k < 60 && to + 4 <= file.length; k++, to += 4)
            view.setUint32(to, k * step, true);
          break;
        }
        case 3:
          file = file.slice(below(4) * 8, Math.max(8, at));
          break;
        default:
          file.copyWithin(at, below(file.length), Math.min(file.length, at + below(600)));
      }
    }
    return file;
  }
}

/** What a call returns; undefined if it is refused with an error of ours. */
function attempt(call) {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof KorralError)) throw error;
    return undefined;
  }
}
