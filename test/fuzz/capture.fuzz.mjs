// The capture parsers on damaged captures: they say what is wrong, or read on; never anything else.
import assert from "node:assert/strict";
import {
  createCaptureWriter,
  MemorySink,
  MemorySource,
  openCapture,
  requireEthernet,
} from "../../dist/formats/capture.js";
import { KorralError } from "../../dist/util/errors.js";

export const name = "capture";

const MOST_BUFFERED = 1 << 21;
/** Numbers at which parsers go wrong. */
const EDGES = [
  0,
  1,
  3,
  4,
  7,
  8,
  11,
  12,
  13,
  15,
  16,
  20,
  27,
  28,
  32,
  0x7f,
  0xff,
  0xffff,
  0x10000,
  262_144,
  262_145,
  1 << 20,
  0x7fffffff,
  0x80000000,
  0xfffffffc,
  0xfffffffe,
  0xffffffff,
];
const WORDS = [0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34, 0x0a0d0d0a, 0x1a2b3c4d, 0x4d3c2b1a, 1, 2, 3, 6];

export function run(rng) {
  const below = (bound) => rng() % bound;
  const pick = (list) => list[below(list.length)];

  const bytes = damaged();
  const whole = outcome(bytes, Number.POSITIVE_INFINITY);
  // How the source cuts the bytes must make no difference.
  assert.deepEqual(outcome(bytes, 1 + below(50)), whole);
  roundTrip(whole.packets, pick(["pcap", "pcapng"]));

  function damaged() {
    let file = below(2) === 0 ? pcap() : pcapng();
    for (let i = below(6); i > 0 && file.length > 0; i--) {
      const at = below(file.length);
      const view = new DataView(file.buffer, file.byteOffset, file.length);
      const aligned = at & ~3;
      switch (below(6)) {
        case 0:
          file[at] ^= 1 << below(8);
          break;
        case 1:
          if (aligned + 4 <= file.length) view.setUint32(aligned, pick(EDGES), below(2) === 0);
          break;
        case 2:
          if (aligned + 4 <= file.length) view.setUint32(aligned, pick(WORDS), below(2) === 0);
          break;
        case 3:
          file = file.slice(0, at);
          break;
        case 4:
          file = join(file.subarray(0, at), file.subarray(below(file.length)));
          break;
        default:
          file = join(file.subarray(0, aligned), file.subarray(Math.min(file.length, aligned + 4 * below(10))));
      }
    }
    return file;
  }

  function pcap() {
    const little = below(2) === 0;
    const snapLength = pick([262_144, 65_535, 96, 0, 0xffffffff]);
    const parts = [
      words(
        little,
        pick([0xa1b2c3d4, 0xa1b23c4d]),
        2 * (little ? 1 : 65_536) + pick([2, 3, 4]) * (little ? 65_536 : 1),
        0,
        0,
        snapLength,
        pick([1, 1, 1, 113]),
      ),
    ];
    for (let i = below(6); i > 0; i--) {
      const length = below(120);
      parts.push(words(little, rng(), below(2_000_000_000), length, length + below(3)), data(length));
    }
    return join(...parts);
  }

  function pcapng() {
    const parts = [];
    let little = true;
    for (let i = 1 + below(10); i > 0; i--) {
      const kind = parts.length === 0 ? 0 : below(8);
      if (kind === 0) {
        little = below(2) === 0;
        parts.push(block(little, 0x0a0d0d0a, words(little, 0x1a2b3c4d, little ? 1 : 65_536, 0xffffffff, 0xffffffff)));
        if (below(8) === 0) continue;
      }
      const length = below(100);
      const frame = data((length + 3) & ~3);
      if (kind <= 1) {
        const resolution = pick([0, 6, 9, 12, 19, 0x80, 0x94, 0xbf, rng() & 0xff]) * (little ? 1 : 0x1000000);
        const head = (code, size) => (little ? code | (size << 16) : (code << 16) | size) >>> 0;
        const options =
          below(2) === 0 ? new Uint8Array(0) : words(little, head(9, 1), resolution, head(14, 8), rng(), rng());
        parts.push(
          block(
            little,
            1,
            join(words(little, pick([1, 1, 101]) * (little ? 1 : 65_536), pick([0, 262_144, 96])), options),
          ),
        );
      } else if (kind <= 4) {
        parts.push(block(little, pick([6, 6, 2]), join(words(little, below(3), rng(), rng(), length, length), frame)));
      } else if (kind === 5) {
        parts.push(block(little, 3, join(words(little, length), frame)));
      } else {
        parts.push(block(little, pick([4, 5, 0x0bad, rng()]), frame));
      }
    }
    return join(...parts);
  }

  function data(length) {
    return Uint8Array.from({ length }, () => rng());
  }
}

function outcome(bytes, most) {
  const packets = [];
  let failure = null;
  let reader = null;
  try {
    reader = openCapture(new MemorySource(bytes, most), "fuzzed");
    for (const packet of bytes.length % 2 === 0 ? reader : requireEthernet(reader)) {
      assert.ok(packet.bytes.length <= MOST_BUFFERED, "the buffer grows without bound");
      assert.ok(
        packet.capturedLength <= 262_144 && packet.data.length === packet.capturedLength,
        "a view beyond its buffer",
      );
      assert.ok(
        packet.nanoseconds >= 0 && packet.nanoseconds < 1e9 && Number.isInteger(packet.nanoseconds),
        "nanoseconds",
      );
      assert.ok(Number.isInteger(packet.seconds), "seconds");
      packets.push(packet.copy());
      assert.ok(packets.length * 12 <= bytes.length, "more packets than the file can hold");
    }
    assert.equal(reader.next(), null);
  } catch (error) {
    if (!(error instanceof KorralError)) throw error;
    if ("offset" in error) {
      assert.ok(error.offset >= 0 && error.offset <= bytes.length, `damage at ${error.offset} of ${bytes.length}`);
      if (reader !== null) assert.throws(() => reader.next(), error);
    }
    failure = error.message;
  }
  return { packets, failure };
}

/** What was read can be written, and reads the same again. */
function roundTrip(packets, format) {
  const usual = packets.filter((packet) => packet.seconds >= 0 && packet.seconds < 2 ** 32);
  const sink = new MemorySink();
  const writer = createCaptureWriter(sink, format, { fineTimes: true });
  for (const { bytes, offset, capturedLength, seconds, nanoseconds, originalLength } of usual) {
    writer.write(bytes, offset, capturedLength, seconds, nanoseconds, originalLength);
  }
  writer.close();
  const again = outcome(sink.bytes.slice(), Number.POSITIVE_INFINITY);
  assert.equal(again.failure, null);
  const shown = (packet) => [
    packet.seconds,
    packet.nanoseconds,
    packet.originalLength,
    Buffer.from(packet.data).toString("hex"),
  ];
  assert.deepEqual(again.packets.map(shown), usual.map(shown));
}

function words(little, ...values) {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  for (const [i, value] of values.entries()) view.setUint32(4 * i, value, little);
  return new Uint8Array(view.buffer);
}

function block(little, type, body) {
  return join(words(little, type, body.length + 12), body, words(little, body.length + 12));
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
