import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { HostRig, type SentSegment, segmentOf, type TcpFields, tcp } from "../../../test/support/internet.js";
import { seededRandom } from "../../util/random.js";
import { TcpFlag } from "./tcp-connection.js";

const { fin, syn, rst, psh, ack } = TcpFlag;
const MSS_1000 = Uint8Array.of(1, 1, 1, 1, 2, 4, 1000 >> 8, 1000 & 0xff);
const data = (length: number, start = 0) => Uint8Array.from({ length }, (_, i) => ((start + i) * 7) & 0xff);
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** A peer that is written out segment by segment. */
class Peer {
  readonly rig = new HostRig();
  sequence = 0xffff_fff0;
  heard = 0;

  constructor(readonly port = 9) {}

  /** Opens the connection. */
  open(options = MSS_1000, window = 65_535): this {
    const [greeting, ...rest] = this.send({ flags: syn, options, window });
    expect(rest).toEqual([]);
    expect(greeting).toMatchObject({ flags: syn | ack, from: this.port, to: 40_000, window: 65_535 });
    this.sequence = (this.sequence + 1) >>> 0;
    expect(greeting.acknowledgement).toBe(this.sequence);
    this.heard = (greeting.sequence + 1) >>> 0;
    expect(this.send({ window })).toEqual([]);
    return this;
  }

  segment(fields: Partial<TcpFields> = {}): Uint8Array {
    return tcp({ to: this.port, flags: ack, sequence: this.sequence, acknowledgement: this.heard, ...fields });
  }

  send(...all: Partial<TcpFields>[]): SentSegment[] {
    return this.rig.hear(...all.map((fields) => this.segment(fields))).map(segmentOf);
  }

  /** Sends what comes next in the stream. */
  say(bytes: Uint8Array, flags = ack | psh): SentSegment[] {
    const sequence = this.sequence;
    this.sequence = (sequence + bytes.length + (flags & fin)) >>> 0;
    return this.send({ flags, sequence, data: bytes });
  }

  wait(): SentSegment[] {
    return this.rig.wait().map(segmentOf);
  }

  get transfers() {
    return this.rig.host.transfers;
  }
}

describe("opening", () => {
  test("is answered, with our segment size; once more if the answer got lost", () => {
    const peer = new Peer();
    const first = peer.rig.hear(peer.segment({ flags: syn }));
    expect([...first[0].slice(54)]).toEqual([2, 4, 1460 >> 8, 1460 & 0xff, 1, 1, 1, 1]);
    const again = peer.rig.hear(peer.segment({ flags: syn }));
    expect(segmentOf(again[0])).toEqual(segmentOf(first[0]));
    expect(peer.wait()).toEqual([segmentOf(first[0])]);
  });

  test("a port that nobody serves resets", () => {
    const peer = new Peer(80);
    expect(peer.send({ flags: syn, acknowledgement: 0 })).toMatchObject([
      { flags: rst | ack, acknowledgement: 0xffff_fff1 },
    ]);
    expect(peer.send({ flags: ack, acknowledgement: 77 })).toMatchObject([{ flags: rst, sequence: 77 }]);
    expect(peer.send({ flags: rst })).toEqual([]);
    expect(peer.rig.host.tcp.counters.refused).toBe(2);
  });

  test("no frame needs padding, which some peers take for data", () => {
    const peer = new Peer(7);
    const lengths = peer.rig.hear(peer.segment({ flags: syn })).map(({ length }) => length);
    const other = new Peer(7).open();
    for (const count of [0, 1, 6, 7, 8]) {
      const sequence = other.sequence;
      other.sequence = (sequence + count) >>> 0;
      const sent = other.rig.hear(
        other.segment({ sequence: count === 0 ? sequence - 1 : sequence, data: data(count) }),
      );
      lengths.push(...sent.map(({ length }) => length));
    }
    expect(lengths.length).toBe(6);
    expect(Math.min(...lengths)).toBe(62);
  });

  test("whoever does not know our number gets nowhere", () => {
    const peer = new Peer();
    const [greeting] = peer.send({ flags: syn });
    peer.sequence = (peer.sequence + 1) >>> 0;
    const guess = (greeting.sequence + 2) >>> 0;
    const answers = peer.send({ acknowledgement: guess, data: data(10) });
    expect(answers).toMatchObject([{ flags: rst, sequence: guess }]);
    peer.rig.host.close();
    expect(peer.transfers).toEqual([]);
  });

  test("one that is never finished is given up, and leaves nothing", () => {
    const peer = new Peer();
    peer.send({ flags: syn });
    let segments = 0;
    for (let sent = peer.wait(); sent.length > 0; sent = peer.wait()) segments += sent.length;
    expect(segments).toBe(9);
    expect(peer.send({ flags: ack })[0].flags & rst).toBe(rst);
    expect(peer.transfers).toEqual([]);
  });

  test("256 at a time; the next one has to wait, until one was silent for a minute", () => {
    const peer = new Peer();
    for (let from = 1000; from < 1256; from++) {
      const [greeting] = peer.send({ flags: syn, from });
      peer.send({ from, sequence: (peer.sequence + 1) >>> 0, acknowledgement: (greeting.sequence + 1) >>> 0 });
    }
    expect(peer.send({ flags: syn, from: 2000 })).toEqual([]);
    expect(peer.rig.host.tcp.counters).toMatchObject({ accepted: 256, crowdedOut: 1 });
    peer.rig.clock.advance(60e9);
    const flags = peer.send({ flags: syn, from: 2000 }).map((segment) => segment.flags);
    expect(flags).toEqual([rst | ack, syn | ack]);
    expect(peer.transfers).toMatchObject([{ peer: "10.0.2.15:1000", end: "timed-out" }]);
  });
});

describe("taking in", () => {
  test("what comes in order is counted and hashed; one acknowledgement for what came in a row", () => {
    const peer = new Peer().open();
    const start = peer.sequence;
    const pieces = [0, 1, 2].map((i) => ({ sequence: (start + 100 * i) >>> 0, data: data(100, 100 * i) }));
    const sent = peer.send(...pieces);
    expect(sent).toMatchObject([{ flags: ack, acknowledgement: (start + 300) >>> 0, window: 65_535 }]);
    peer.sequence = (start + 300) >>> 0;
    const [last] = peer.say(new Uint8Array(0), ack | fin);
    expect(last).toMatchObject({ flags: ack | fin, acknowledgement: peer.sequence });
    expect(peer.transfers).toEqual([]);
    peer.heard = (last.sequence + 1) >>> 0;
    expect(peer.send({})).toEqual([]);
    expect(peer.transfers).toEqual([
      { protocol: "tcp", port: 9, peer: "10.0.2.15:40000", bytes: 300, sha256: sha256(data(300)), end: "closed" },
    ]);
    expect(peer.wait()).toEqual([]);
  });

  test("what comes twice, or overlaps, counts once; what comes early is asked for", () => {
    const peer = new Peer().open();
    const start = peer.sequence;
    const at = (offset: number) => (start + offset) >>> 0;
    peer.send({ sequence: at(0), data: data(100) });
    const early = peer.send({ sequence: at(200), data: data(100, 200) });
    expect(early).toMatchObject([{ flags: ack, acknowledgement: at(100) }]);
    peer.send({ sequence: at(0), data: data(100) });
    peer.send({ sequence: at(50), data: data(150, 50) });
    peer.send({ sequence: at(150), data: data(150, 150) });
    peer.send({ flags: ack | fin, sequence: at(250), data: data(100, 250) });
    peer.rig.host.close();
    expect(peer.transfers).toMatchObject([{ bytes: 350, sha256: sha256(data(350)) }]);
    expect(peer.rig.host.tcp.counters.outOfOrder).toBe(1);
  });

  test("data in the segment that closes, and a close that is said twice", () => {
    const peer = new Peer().open();
    const sequence = peer.sequence;
    const [close] = peer.say(data(10), ack | fin);
    expect(close.flags).toBe(ack | fin);
    expect(peer.send({ flags: ack | fin, sequence, data: data(10) })).toMatchObject([
      { acknowledgement: peer.sequence },
    ]);
    expect(peer.wait()).toMatchObject([{ flags: ack | fin, sequence: close.sequence }]);
    peer.heard = (close.sequence + 1) >>> 0;
    peer.send({});
    expect(peer.transfers).toMatchObject([{ bytes: 10, end: "closed" }]);
  });
});

describe("echoing", () => {
  test("what comes goes back, in segments that the peer takes, and the end of it, too", () => {
    const peer = new Peer(7).open();
    const sent = peer.say(data(1460), ack | fin);
    expect(sent.map(({ data, flags }) => [data.length, flags])).toEqual([
      [1000, ack | psh],
      [460, ack | psh],
      [0, ack | fin],
    ]);
    expect(Uint8Array.from(sent.flatMap(({ data }) => [...data]))).toEqual(data(1460));
    peer.heard = (sent[2].sequence + 1) >>> 0;
    expect(peer.send({})).toEqual([]);
    expect(peer.transfers).toMatchObject([{ port: 7, bytes: 1460, end: "closed" }]);
  });

  test("a segment that got lost is sent again after a while, ever more seldom, then given up", () => {
    const peer = new Peer(7).open();
    const [lost] = peer.say(data(100));
    const times: number[] = [];
    for (;;) {
      const [again] = peer.wait();
      if ((again.flags & rst) !== 0) break;
      expect(again).toMatchObject({ sequence: lost.sequence, data: data(100) });
      times.push(peer.rig.clock.now() / 1e6);
    }
    expect(times).toEqual([250, 750, 1750, 3750, 7750, 15_750, 23_750, 31_750]);
    expect(peer.transfers).toMatchObject([{ end: "timed-out" }]);
  });

  test("three duplicate acknowledgements: at once", () => {
    const peer = new Peer(7).open();
    const sent = [...peer.say(data(1000)), ...peer.say(data(1000, 1000)), ...peer.say(data(1000, 2000))];
    const first = sent[0].sequence;
    expect([peer.send({}), peer.send({})]).toEqual([[], []]);
    const again = peer.send({});
    expect(again.map(({ sequence }) => sequence - first)).toEqual([0, 1000]);
  });

  test("what is not acknowledged fills the buffer: the peer is told to stop, and to go on", () => {
    const peer = new Peer(7).open();
    let window = 65_535;
    for (let i = 0; window > 0 && i < 100; i++) window = peer.say(data(1000, i * 1000)).at(-1)?.window ?? window;
    const left = peer.say(data(1000));
    expect(left.at(-1)?.window).toBe(0);
    // 10,000 bytes are in flight: the first congestion window.
    peer.heard = (peer.heard + 10_000) >>> 0;
    const more = peer.send({});
    expect(more.length).toBeGreaterThan(9);
    expect(more.at(-1)?.window).toBe(10_000);
  });

  test("a peer's closed window is probed, and nothing is lost when it opens", () => {
    const peer = new Peer(7).open(MSS_1000, 0);
    expect(peer.send({ data: data(50), window: 0 })).toMatchObject([{ data: new Uint8Array(0) }]);
    peer.sequence = (peer.sequence + 50) >>> 0;
    expect(peer.send({ window: 0 })).toEqual([]);
    for (let i = 0; i < 20; i++) {
      expect(peer.wait()).toMatchObject([{ data: data(1) }]);
      expect(peer.send({ window: 0 })).toEqual([]);
    }
    expect(peer.send({ window: 1000 })).toMatchObject([{ data: data(50) }]);
  });

  test("a segment size of zero does not make segments without bytes", () => {
    const peer = new Peer(7).open(Uint8Array.of(2, 4, 0, 0));
    expect(peer.say(data(128)).map(({ data }) => data.length)).toEqual([128]);
    const small = new Peer(7).open(Uint8Array.of(2, 4, 0, 1));
    expect(small.say(data(128)).map(({ data }) => data.length)).toEqual([64, 64]);
  });
});

describe("what nobody should send", () => {
  test("only the exact next number resets", () => {
    const peer = new Peer().open();
    const at = (offset: number) => (peer.sequence + offset) >>> 0;
    expect(peer.send({ flags: rst, sequence: at(1) })).toMatchObject([{ flags: ack }]);
    expect(peer.send({ flags: rst, sequence: at(-1) })).toEqual([]);
    peer.say(data(5));
    expect(peer.send({ flags: rst })).toEqual([]);
    expect(peer.transfers).toMatchObject([{ bytes: 5, end: "reset" }]);
  });

  test("acknowledgements of what was never sent, and SYNs in the middle, change nothing", () => {
    const peer = new Peer(7).open();
    expect(peer.send({ acknowledgement: (peer.heard + 1) >>> 0, data: data(5) })).toMatchObject([{ flags: ack }]);
    expect(peer.send({ flags: syn, sequence: 5 })).toMatchObject([{ flags: ack }]);
    expect(peer.say(data(5))).toMatchObject([{ data: data(5) }]);
  });

  test("headers that cannot be", () => {
    const peer = new Peer().open();
    for (const offset of [0, 4, 6, 15]) {
      const frame = peer.segment();
      const at = 14 + 20;
      const old = frame[at + 12];
      frame[at + 12] = offset << 4;
      // The checksum counts the byte as the high half of a word.
      const sum = ((frame[at + 16] << 8) | frame[at + 17]) + (old << 8) - (frame[at + 12] << 8);
      const folded = sum < 0 ? sum + 0xffff : sum > 0xffff ? sum - 0xffff : sum;
      frame[at + 16] = folded >> 8;
      frame[at + 17] = folded & 0xff;
      expect(peer.rig.hear(frame)).toEqual([]);
    }
    expect(peer.rig.host.tcp.counters.malformed).toBe(4);
    expect(peer.rig.host.counters.badChecksum).toBe(0);
  });

  test.each([
    [Uint8Array.of(2, 0, 0, 0)],
    [Uint8Array.of(2, 1, 0, 0)],
    [Uint8Array.of(2, 200, 0, 0)],
    [Uint8Array.of(1, 1, 1, 2)],
    [Uint8Array.of(0, 2, 4, 5)],
    [Uint8Array.of(99, 4, 5, 6)],
  ])("options %j: the usual segment size", (options) => {
    const peer = new Peer(7).open(options);
    expect(peer.say(data(600)).map(({ data }) => data.length)).toEqual([536, 64]);
  });
});

test.each([1, 2, 3, 4, 5])("a file there and back over a bad wire (seed %i): all of it, in order", (seed) => {
  const random = seededRandom(seed);
  const file = data(200_000, seed);
  const peer = new Peer(7).open();
  const first = peer.sequence;
  const echoed: number[] = [];
  let acknowledged = 0;
  let next = 0;
  let expected = peer.heard;
  let closed = false;
  const lost = () => random() % 20 === 0;
  const hear = (frames: SentSegment[]) => {
    for (const segment of frames) {
      if (lost()) continue;
      acknowledged = Math.max(acknowledged, (segment.acknowledgement - first) | 0);
      if (segment.sequence !== expected) continue;
      echoed.push(...segment.data);
      expected = (expected + segment.data.length + (segment.flags & fin)) >>> 0;
      closed ||= (segment.flags & fin) !== 0;
    }
    peer.heard = expected;
  };
  for (let round = 0; peer.transfers.length === 0 && round < 5000; round++) {
    if (round % 8 === 0) next = Math.min(acknowledged, file.length);
    const bytes = file.slice(next, Math.min(next + 1460, file.length));
    const last = next + bytes.length === file.length;
    const frame = { flags: last ? ack | fin : ack, sequence: (first + next) >>> 0, data: bytes };
    next += bytes.length;
    if (!lost()) hear(peer.send(frame));
    if (round % 8 === 7) hear(peer.wait());
  }
  expect(closed).toBe(true);
  expect(peer.transfers).toMatchObject([{ bytes: file.length, sha256: sha256(file), end: "closed" }]);
  expect(Buffer.compare(Uint8Array.from(echoed), file)).toBe(0);
  expect(peer.rig.host.tcp.counters.retransmissions).toBeGreaterThan(3);
});
