// The reader of type information on damaged and on made-up types: it says what is wrong, or what they are.
import assert from "node:assert/strict";
import { Btf, BtfError } from "../../dist/formats/btf.js";
import { KorralError } from "../../dist/util/errors.js";

export const name = "btf";

const HEADER_BYTES = 24;
/** Bytes that follow a type's three words, and bytes an item: by kind. */
// biome-ignore format: one line a kind
const SHAPES = [
  null, [4, 0], [0, 0], [12, 0], [0, 12], [0, 12], [0, 8], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 8],
  [4, 0], [0, 12], [0, 0], [4, 0], [0, 0], [0, 12],
];
const [INT, STRUCT, UNION, FUNC, PROTOTYPE] = [1, 4, 5, 12, 13];
const NAMED = [INT, 7, 8, FUNC, 14, 15, 16, 17, 18];
const EDGES = [0, 1, 2, 7, 8, 31, 32, 33, 64, 0x7f, 0xff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff];
const LONGEST_TEXT = 1 << 23;

export function run(rng) {
  const below = (bound) => rng() % bound;
  const pick = (list) => list[below(list.length)];

  const strings = ["", "a", "b", "c", "long unsigned int", "x.y", "\u00e9", "q".repeat(below(300))];
  const base = section(strings, 0, 1 + below(20), 1);
  const parsed = parse(() => Btf.parse(damaged(base), "fuzzed"));
  if (parsed === null) return;
  explore(parsed);
  const module = parse(() => parsed.split(damaged(section(["m", ""], 40, below(6), parsed.endId)), "module"));
  if (module !== null) explore(module);

  function section(texts, stringsBefore, count, firstId) {
    const encoded = new TextEncoder().encode(texts.map((text) => `${text}\0`).join(""));
    const words = [];
    const type = () => (below(300) === 0 ? pick(EDGES) : below(firstId + count));
    const text = () =>
      below(400) === 0
        ? pick(EDGES)
        : pick([0, 1, 3, 5, stringsBefore, stringsBefore + 1]) % (stringsBefore + encoded.length);
    for (let i = 0; i < count; i++) {
      // The first type is a prototype, so that there may be functions.
      const kind = i === 0 ? PROTOTYPE : 1 + below(19);
      const [fixed, item] = SHAPES[kind];
      const items = item === 0 ? below(3) : below(5);
      const flag = below(3) === 0 ? 0x80000000 : 0;
      const third = kind === FUNC ? firstId : [INT, STRUCT, UNION].includes(kind) ? pick([1, 2, 4, 8, 16, 64]) : type();
      const named = NAMED.includes(kind) && below(100) > 0;
      words.push(named ? Math.max(1, text()) : text(), (flag | (kind << 24) | items) >>> 0, third);
      if (kind === INT) words.push((below(8) << 24) | pick([8, 8, 3]));
      else for (let at = 0; at < fixed; at += 4) words.push(at === 8 ? pick(EDGES) : type());
      for (let at = 0; at < items; at++) {
        if (kind === STRUCT || kind === UNION)
          words.push(pick([0, 0, text()]), type(), pick([0, 8 * below(64), rng()]));
        else if (kind === PROTOTYPE) words.push(text(), type());
        else for (let word = 0; word < item; word += 4) words.push(Math.min(type(), text()));
      }
    }
    const bytes = new Uint8Array(HEADER_BYTES + 4 * words.length + encoded.length);
    const view = new DataView(bytes.buffer);
    const header = [0x0001eb9f, HEADER_BYTES, 0, 4 * words.length, 4 * words.length, encoded.length];
    for (const [i, word] of [...header, ...words].entries()) view.setUint32(4 * i, word, true);
    bytes.set(encoded, HEADER_BYTES + 4 * words.length);
    return bytes;
  }

  function damaged(bytes) {
    let file = bytes;
    for (let i = Math.max(0, below(6) - 3); i > 0 && file.length > 4; i--) {
      const at = below(file.length);
      const view = new DataView(file.buffer, file.byteOffset, file.length);
      switch (below(4)) {
        case 0:
          file[at] ^= 1 << below(8);
          break;
        case 1:
          view.setUint32((at & ~3) % (file.length & ~3), pick(EDGES), true);
          break;
        case 2:
          view.setUint32(4 * below(Math.min(6, file.length >> 2)), pick([...EDGES, 4 * below(200)]), true);
          break;
        default:
          file = file.slice(0, at);
      }
    }
    return file;
  }

  function parse(call) {
    return attempt(call) ?? null;
  }

  function explore(btf) {
    assert.ok(btf.endId >= btf.firstId);
    for (let id = 0; id < btf.endId; id++) {
      const size = attempt(() => btf.sizeOf(id));
      assert.ok(size === undefined || (Number.isInteger(size) && size >= 0 && size <= 0xffffffff), `size ${size}`);
      const text = attempt(() => btf.describe(id));
      assert.ok(text === undefined || text.length < LONGEST_TEXT, "text without bound");
      attempt(() => btf.prototype(id, { typedefs: pick(["keep", "expand"]) }));
      attempt(() => btf.enumerators(id));
      attempt(() => btf.variablesIn(id));
      const struct = attempt(() => btf.struct(id));
      for (const member of struct?.members ?? []) {
        assert.ok(member.bitOffset + member.bitSize <= struct.size * 8, "a member beyond its structure");
      }
      const found = attempt(() => btf.all(btf.nameOf(id)));
      assert.ok(
        found === undefined ||
          btf.nameOf(id) === "" ||
          btf.nameOf(id) === "void" ||
          btf.nameOf(id).includes("\ufffd") ||
          found.includes(id),
      );
    }
    for (const path of ["a.b", "b.a[1].c", "a[0][0]", "c", "struct a.q", "x.y", "m.a.b.c"])
      attempt(() => btf.field(path));
    for (const text of strings) {
      attempt(() => btf.type(text));
      attempt(() => btf.constant(text));
      attempt(() => btf.variable(text));
      attempt(() => btf.describe(text));
    }
  }
}

/** What a call returns; undefined if it is refused with an error of ours. */
function attempt(call) {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof KorralError)) throw error;
    if (error instanceof BtfError)
      assert.ok(Number.isInteger(error.offset) && error.offset >= 0, "damage at no offset");
    return undefined;
  }
}
