import { describe, expect, test } from "vitest";
import { frame } from "../../test/formats/capture-bytes.js";
import { Clock } from "../bus/clock.js";
import { seededRandom } from "../util/random.js";
import { type FrameStream, StreamWire } from "./frame-socket.js";
import { DatagramWire } from "./frame-socket-datagram.js";
import { FrameReader, LONGEST_PACKET_BYTES } from "./frame-socket-reader.js";

function framed(...frames: Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(frames.reduce((sum, one) => sum + 4 + one.length, 0));
  let at = 0;
  for (const one of frames) {
    new DataView(bytes.buffer).setUint32(at, one.length);
    bytes.set(one, at + 4);
    at += 4 + one.length;
  }
  return bytes;
}

function announced(length: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, length);
  return bytes;
}

function drain(reader: FrameReader): Uint8Array[] {
  const got: Uint8Array[] = [];
  while (reader.next((bytes, offset, length) => got.push(bytes.slice(offset, offset + length)))) {}
  return got;
}

describe("FrameReader", () => {
  const frames = [14, 60, 1514, 16_110, 61, 15].map((length, i) => frame(length, i));

  test("takes frames out of chunks that end anywhere", () => {
    const stream = framed(...frames);
    const random = seededRandom(3);
    for (const most of [1, 2, 3, 5, 64, 1000, 100_000]) {
      const reader = new FrameReader();
      const got: Uint8Array[] = [];
      for (let at = 0; at < stream.length; ) {
        const end = Math.min(stream.length, at + 1 + (random() % most));
        reader.push(stream.slice(at, end));
        got.push(...drain(reader));
        at = end;
      }
      expect(got).toEqual(frames);
      expect([reader.partial, reader.buffered]).toEqual([false, 0]);
    }
  });

  test("leaves out what no adapter takes, and stays in step", () => {
    const reader = new FrameReader();
    const odd = [0, 1, 13, 16_111, LONGEST_PACKET_BYTES].map((length) => new Uint8Array(length));
    const stream = framed(frames[0], ...odd, frames[1]);
    for (let at = 0; at < stream.length; at += 1009) reader.push(stream.slice(at, at + 1009));
    expect(drain(reader)).toEqual([frames[0], frames[1]]);
    expect([reader.tooShort, reader.tooLong, reader.badLength]).toEqual([3, 2, null]);
  });

  test.each([LONGEST_PACKET_BYTES + 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff])("%i bytes end it", (length) => {
    const reader = new FrameReader();
    reader.push(framed(frames[0]));
    reader.push(announced(length));
    reader.push(framed(frames[1]));
    expect(drain(reader)).toEqual([frames[0]]);
    expect(reader.badLength).toBe(length);
    reader.push(framed(frames[1]));
    expect(drain(reader)).toEqual([]);
    expect(reader.buffered).toBe(0);
  });

  test("knows when it stands in the middle of a frame", () => {
    const reader = new FrameReader();
    const stream = framed(frames[1]);
    for (let at = 0; at < stream.length; at++) {
      expect(reader.partial).toBe(at > 0);
      reader.push(stream.slice(at, at + 1));
      drain(reader);
    }
    expect(reader.partial).toBe(false);
    reader.push(announced(20_000));
    drain(reader);
    expect(reader.partial).toBe(true);
  });
});

class Peer implements FrameStream {
  readonly bytes: number[] = [];
  unsent = 0;
  held = false;
  closed = false;

  write(bytes: Uint8Array): void {
    this.bytes.push(...bytes);
  }

  hold(on: boolean): void {
    this.held = on;
  }

  close(): void {
    this.closed = true;
  }
}

function stream() {
  const clock = new Clock();
  let wakes = 0;
  const wire = new StreamWire({ clock, wake: () => wakes++ });
  const got: { at: number; bytes: Uint8Array }[] = [];
  const carrier: boolean[] = [];
  const told: string[] = [];
  wire.onFrame((bytes, offset, length) => got.push({ at: clock.now(), bytes: bytes.slice(offset, offset + length) }));
  wire.onCarrier((up) => carrier.push(up));
  wire.events.on("violation", ({ message }) => told.push(message));
  wire.events.on("detached", ({ frames }) => told.push(`detached after ${frames}`));
  const idle = () => {
    do clock.runDue();
    while (clock.skipToNextTimer());
  };
  return { wire, clock, got, carrier, told, idle, wakes: () => wakes };
}

describe("StreamWire", () => {
  test("has carrier while a peer is attached", () => {
    const { wire, carrier, told, idle, wakes } = stream();
    expect(wire.carrier).toBe(false);
    wire.send(frame(60), 0, 60);
    wire.attach(new Peer());
    expect([wire.carrier, wakes()]).toEqual([true, 1]);
    wire.detach();
    idle();
    expect([carrier, told, wire.unplugged]).toEqual([[true, false], ["detached after 0"], 1]);
  });

  test("sends frames with their length in front, those of one moment in one piece", () => {
    const { wire, idle } = stream();
    const peer = new Peer();
    wire.attach(peer);
    wire.send(frame(100), 10, 60);
    wire.send(frame(1514), 0, 1514);
    expect([peer.bytes.length, wire.unsent]).toEqual([0, 1582]);
    idle();
    expect(Uint8Array.from(peer.bytes)).toEqual(framed(frame(100).slice(10, 70), frame(1514)));
    expect(wire.sent).toEqual({ frames: 2, bytes: 1574 });
  });

  test("a peer that does not read loses frames, and the machine goes on", () => {
    const { wire, idle } = stream();
    const peer = new Peer();
    wire.attach(peer);
    peer.unsent = (1 << 20) - 100;
    wire.send(frame(60), 0, 60);
    wire.send(frame(60), 0, 60);
    idle();
    expect([wire.sent.frames, wire.congested]).toEqual([1, 1]);
    peer.unsent = 0;
    wire.send(frame(61), 0, 61);
    idle();
    expect(Uint8Array.from(peer.bytes)).toEqual(framed(frame(60), frame(61)));
  });

  test("frames arrive no faster than over a gigabit wire, in bursts that adapters have room for", () => {
    const { wire, got, idle } = stream();
    wire.attach(new Peer());
    const frames = Array.from({ length: 200 }, (_, i) => frame(1514, i));
    wire.receive(framed(...frames));
    expect(got).toEqual([]);
    idle();
    expect(got.map(({ bytes }) => bytes)).toEqual(frames);
    const bursts = new Map<number, number>();
    for (const { at } of got) bursts.set(at, (bursts.get(at) ?? 0) + 1);
    expect(Math.max(...bursts.values())).toBe(16);
    expect(got[0].at).toBe(10e6);
    expect(got[199].at).toBe(10e6 + 12 * 16 * 1538 * 8);
  });

  test("what comes before the adapter is ready waits, and so does the carrier's end", () => {
    const clock = new Clock();
    const wire = new StreamWire({ clock, wake: () => {}, waits: true });
    const idle = () => {
      do clock.runDue();
      while (clock.skipToNextTimer());
    };
    const got: number[] = [];
    wire.onFrame((_bytes, _offset, length) => got.push(length));
    wire.attach(new Peer());
    wire.receive(framed(frame(60), frame(61)));
    wire.detach();
    idle();
    expect([got, wire.carrier]).toEqual([[], true]);
    wire.start();
    idle();
    expect([got, wire.carrier]).toEqual([[60, 61], false]);
  });

  test("lets the peer wait while much has come, and lets it go on", () => {
    const { wire, got, idle } = stream();
    const peer = new Peer();
    wire.attach(peer);
    const one = framed(frame(1514));
    for (let i = 0; i < 172; i++) wire.receive(one.slice());
    expect(peer.held).toBe(false);
    for (let i = 0; i < 10; i++) wire.receive(one.slice());
    expect(peer.held).toBe(true);
    idle();
    expect([peer.held, got.length]).toEqual([false, 182]);
  });

  test("a length that cannot be: what came before arrives, then the peer is disconnected, and counted", () => {
    const { wire, got, carrier, told, idle } = stream();
    const peer = new Peer();
    wire.attach(peer);
    wire.receive(framed(frame(60), frame(61)));
    wire.receive(announced(0x4745_5420));
    wire.receive(framed(frame(62)));
    idle();
    expect(got.map(({ bytes }) => bytes.length)).toEqual([60, 61]);
    expect([peer.closed, wire.violations, wire.attached]).toEqual([true, 1, false]);
    expect(carrier).toEqual([true, false]);
    expect(told).toEqual([expect.stringContaining("1195725856 bytes"), "detached after 2"]);
    wire.detach();
    wire.attach(new Peer());
    wire.receive(framed(frame(63)));
    idle();
    expect(got.at(-1)?.bytes.length).toBe(63);
  });

  test("what a peer sent before it left still arrives; half a frame does not", () => {
    const { wire, got, carrier, idle } = stream();
    wire.attach(new Peer());
    wire.receive(framed(...Array.from({ length: 40 }, () => frame(60))));
    wire.receive(framed(frame(60)).slice(0, 30));
    wire.detach();
    expect(wire.carrier).toBe(true);
    idle();
    expect([got.length, wire.brokenOff, carrier]).toEqual([40, 1, [true, false]]);
  });

  test("another peer takes over at once: the carrier goes and comes, and nothing of the first is left", () => {
    const { wire, got, carrier, idle } = stream();
    wire.attach(new Peer());
    wire.receive(framed(frame(60), frame(60)).slice(0, 100));
    wire.attach(new Peer());
    wire.receive(framed(frame(61)));
    idle();
    expect([got.map(({ bytes }) => bytes.length), carrier]).toEqual([[61], [true, false, true]]);
    expect([wire.peers, wire.brokenOff]).toEqual([2, 1]);
  });

  test("closed: what was sent is written, nothing arrives any more", () => {
    const { wire, got, idle } = stream();
    const peer = new Peer();
    wire.attach(peer);
    wire.send(frame(60), 0, 60);
    wire.receive(framed(frame(60)));
    wire.close();
    idle();
    expect(Uint8Array.from(peer.bytes)).toEqual(framed(frame(60)));
    expect([peer.closed, got.length, wire.carrier]).toEqual([true, 0, false]);
  });
});

describe("DatagramWire", () => {
  const datagrams = () => {
    const clock = new Clock();
    const port = { sent: [] as Uint8Array[], unsent: 0, send: (bytes: Uint8Array) => port.sent.push(bytes) };
    const wire = new DatagramWire(port, { clock, wake: () => {} });
    const got: Uint8Array[] = [];
    wire.onFrame((bytes, offset, length) => got.push(bytes.slice(offset, offset + length)));
    const idle = () => {
      do clock.runDue();
      while (clock.skipToNextTimer());
    };
    return { wire, port, got, idle };
  };

  test("a frame a datagram, both ways", () => {
    const { wire, port, got, idle } = datagrams();
    wire.send(frame(100), 10, 60);
    for (const length of [13, 14, 1514, 16_110, 16_111]) wire.receive(frame(length));
    idle();
    expect(port.sent).toEqual([frame(100).slice(10, 70)]);
    expect(got).toEqual([14, 1514, 16_110].map((length) => frame(length)));
    expect([wire.tooShort, wire.tooLong, wire.received.frames]).toEqual([1, 1, 3]);
  });

  test("what comes too fast, or cannot leave, is dropped and counted", () => {
    const { wire, port, got, idle } = datagrams();
    for (let i = 0; i < 1100; i++) wire.receive(frame(60, i));
    idle();
    expect([got.length, wire.overrun]).toEqual([1024, 76]);
    expect(got[1023]).toEqual(frame(60, 1023));
    for (let i = 0; i < 3000; i++) wire.receive(frame(60, i));
    port.unsent = 1 << 20;
    wire.send(frame(60), 0, 60);
    expect([port.sent.length, wire.congested]).toEqual([0, 1]);
    wire.close();
    idle();
    wire.send(frame(60), 0, 60);
    expect([got.length, wire.unplugged]).toEqual([1024, 1]);
  });
});
