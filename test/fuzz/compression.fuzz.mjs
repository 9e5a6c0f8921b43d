// Compressed files, packages and kernel images, damaged: they unpack to what was packed, or it is said what is wrong.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { compressionOf, decompress, decompressPieces } from "../../dist/formats/compression.js";
import { isDebianPackage, openDebianPackage } from "../../dist/formats/deb.js";
import { openKernelImage } from "../../dist/formats/vmlinuz.js";
import { KorralError } from "../../dist/util/errors.js";

export const name = "compression";

const LIMIT = 1 << 20;
/** Where the boot protocol keeps a byte or word that counts. */
const HEADER_FIELDS = [0x1f1, 0x1fe, 0x202, 0x206, 0x20e, 0x236, 0x248, 0x249, 0x24b, 0x24c, 0x24d, 0x24f];
const EDGES = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff];

const seeds = Object.entries(JSON.parse(readFileSync(new URL("./compressed-seeds.json", import.meta.url), "utf8"))).map(
  ([file, text]) => ({ file, bytes: new Uint8Array(Buffer.from(text, "base64")) }),
);
const plain = seeds.find(({ file }) => file === "plain").bytes;
const archive = seeds.find(({ file }) => file === "p.deb").bytes;
const compressed = seeds.filter(({ bytes }) => bytes !== plain && bytes !== archive);
/** Of these each byte but the magic is covered by some check. */
const CHECKED = new Set(["a.xz", "b.xz", "a.zst", "c.zst", "c.lz4"]);

export function run(rng) {
  const below = (bound) => rng() % bound;
  const pick = (list) => list[below(list.length)];

  const target = below(4);
  if (target === 0) flipped(pick(compressed));
  else if (target === 1) unpacked(damaged(pick(compressed).bytes));
  else if (target === 2) listed(damaged(archive));
  else booted();

  /** One bit: what comes out all the same is what went in. */
  function flipped({ file, bytes }) {
    const copy = bytes.slice();
    copy[below(copy.length)] ^= 1 << below(8);
    const result = unpacked(copy);
    if (result === undefined || !CHECKED.has(file) || compressionOf(copy) === undefined) return;
    // A bit of a zstd header can turn the check itself off, or a frame into one that is skipped.
    if (!file.endsWith(".zst")) assert.deepEqual(result, plain, file);
  }

  function unpacked(bytes) {
    return allowed(() => {
      const whole = decompress(bytes, "x", LIMIT);
      if (compressionOf(bytes) === undefined) return whole;
      assert.ok(whole.length <= LIMIT, "the limit holds");
      const pieces = [];
      for (const piece of decompressPieces(bytes, "x", LIMIT)) pieces.push(piece.slice());
      assert.deepEqual(new Uint8Array(Buffer.concat(pieces)), new Uint8Array(whole));
      return whole;
    });
  }

  function listed(bytes) {
    allowed(() => {
      if (!isDebianPackage(bytes)) return;
      for (const entry of openDebianPackage(bytes, "x").entries(LIMIT)) {
        for (const path of [entry.path, entry.target ?? ""]) {
          assert.ok(!path.startsWith("/") && !path.split("/").includes(".."), "a path leads out of the tree");
        }
        if (below(2) === 0) assert.equal(entry.read().length, entry.size);
      }
    });
  }

  function booted() {
    const image = new Uint8Array(2048 + below(2));
    const view = new DataView(image.buffer);
    image[0x1f1] = 1;
    view.setUint16(0x1fe, 0xaa55, true);
    view.setUint32(0x202, 0x53726448, true);
    view.setUint16(0x206, 0x20f, true);
    view.setUint16(0x236, 1, true);
    const { bytes } = pick(compressed);
    image.set(bytes, 1024);
    view.setUint32(0x248, 0, true);
    view.setUint32(0x24c, bytes.length + 4, true);
    view.setUint32(1024 + bytes.length, plain.length, true);
    for (let i = below(4); i > 0; i--) image[pick(HEADER_FIELDS)] = pick(EDGES);
    const cut = below(4) === 0 ? image.subarray(0, below(image.length)) : image;
    allowed(() => openKernelImage(cut, "x").vmlinux(LIMIT));
  }

  function damaged(bytes) {
    let file = bytes.slice();
    for (let i = 1 + below(4); i > 0 && file.length > 0; i--) {
      const at = below(file.length);
      const how = below(6);
      if (how === 0) file[at] ^= 1 << below(8);
      else if (how === 1) file[at] = pick(EDGES);
      else if (how === 2) file = file.slice(0, at);
      else if (how === 3) file = joined(file.subarray(0, at), file.subarray(Math.max(0, at - below(40))));
      else if (how === 4) file = joined(file, pick(seeds).bytes);
      else file = joined(file.subarray(0, at), pick(seeds).bytes.subarray(below(40)));
    }
    return file;
  }
}

function joined(...parts) {
  return new Uint8Array(Buffer.concat(parts));
}

/** @returns undefined for an error that is meant for people */
function allowed(action) {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof KorralError)) throw error;
    assert.ok([4, 5].includes(error.exitStatus), `status ${error.exitStatus}`);
    return undefined;
  }
}
