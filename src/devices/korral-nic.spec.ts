import { beforeEach, describe, expect, it } from "vitest";
import { type DmaBuffer, Rig } from "../../test/support/rig.js";
import type { InterruptLine } from "../bus/interrupts.js";
import { MESSAGE_WINDOW } from "../bus/interrupts.js";
import * as bpf from "../filter/bpf.js";
import { DmaAccess } from "../memory/pin.js";
import { WireEnd } from "../ports/wire-end.js";
import {
  ARM,
  Cause,
  Completion,
  Control,
  DESCRIPTOR_LAST,
  ErrorCode,
  Load,
  Queue,
  Receive,
  Region,
  Register,
  State,
  Statistic,
  Verdict,
  Withdraw,
} from "./korral-nic/registers.js";
import { KorralNic } from "./korral-nic.js";

class TestWire extends WireEnd {
  readonly sent: Uint8Array[] = [];
  override send(bytes: Uint8Array, offset: number, length: number): void {
    this.sent.push(bytes.slice(offset, offset + length));
  }
}

interface Seen {
  cookie: number;
  stored: number;
  wire: number;
  flags: number;
  code: number;
}

const SIZE = 3;
const ENTRIES = 1 << SIZE;
const BUFFER_BYTES = 2048;
const TRANSMIT = Region.transmit;
const receive = (n: number): number => Region.receive + 0x100 * n;

/** A driver's end of one queue: rings in memory, and what it believes of their indexes. */
class Rings {
  readonly ring: DmaBuffer;
  readonly completions: DmaBuffer;
  tail = 0;
  #next = 0;
  #phase = 1;

  constructor(
    readonly board: Bench,
    readonly block: number,
    readonly size = SIZE,
  ) {
    this.ring = board.buffer(16 << size);
    this.completions = board.buffer(16 << size);
    board.set(block + Queue.RING, this.ring.io % 2 ** 32);
    board.set(block + Queue.RING_HIGH, Math.floor(this.ring.io / 2 ** 32));
    board.set(block + Queue.COMPLETIONS, this.completions.io % 2 ** 32);
    board.set(block + Queue.COMPLETIONS_HIGH, Math.floor(this.completions.io / 2 ** 32));
    board.set(block + Queue.SIZE, size);
    board.set(block + Queue.ENABLE, 1);
  }

  /** Writes a descriptor without ringing the doorbell. */
  put(address: number, lengthAndFlags: number, cookie: number): void {
    const at = 16 * this.tail;
    this.ring.view.setUint32(at, address % 2 ** 32, true);
    this.ring.view.setUint32(at + 4, Math.floor(address / 2 ** 32), true);
    this.ring.view.setUint32(at + 8, lengthAndFlags, true);
    this.ring.view.setUint32(at + 12, cookie, true);
    this.tail = (this.tail + 1) % (1 << this.size);
  }

  doorbell(): void {
    this.board.set(this.block + Queue.TAIL, this.tail);
  }

  post(address: number, lengthAndFlags: number, cookie: number): void {
    this.put(address, lengthAndFlags, cookie);
    this.doorbell();
  }

  /** Reads what is new, and takes it unless told otherwise. */
  poll(arm = false): Seen[] {
    const seen: Seen[] = [];
    for (;;) {
      const at = 16 * this.#next;
      const view = this.completions.view;
      const flags = view.getUint32(at + 12, true);
      if ((flags & Completion.PHASE) !== this.#phase) break;
      seen.push({
        cookie: view.getUint32(at, true),
        stored: view.getUint16(at + 4, true),
        wire: view.getUint16(at + 6, true),
        flags: flags & 0xfe,
        code: (flags >>> Completion.CODE_SHIFT) & 0xff,
      });
      this.#next = (this.#next + 1) % (1 << this.size);
      if (this.#next === 0) this.#phase ^= 1;
    }
    this.board.set(this.block + Queue.TAKEN, (this.#next | (arm ? ARM : 0)) >>> 0);
    return seen;
  }

  get state(): number {
    return this.board.get(this.block + Queue.STATE);
  }

  /** The code of the error state, 0 if it is not in it. */
  get errorState(): number {
    return (this.state & State.ERROR) !== 0 ? this.state >>> State.CODE_SHIFT : 0;
  }
}

class Bench {
  readonly rig = new Rig();
  readonly wire = new TestWire();
  readonly slot;
  readonly nic: KorralNic;

  constructor(queues = 4) {
    this.slot = this.rig.pci.plug("korral-nic", (host) => new KorralNic(host, { wire: this.wire, queues }));
    this.nic = this.slot.device;
    this.rig.enable(this.slot);
    this.set(Register.CONTROL, Control.RXEN | Control.TXEN | Control.PROMISCUOUS);
  }

  get = (offset: number): number => this.slot.read(0, offset, 4);
  set = (offset: number, value: number): void => this.slot.write(0, offset, 4, value);

  buffer(length: number, access = DmaAccess.both as 1 | 2 | 3): DmaBuffer {
    return this.rig.dmaBuffer(this.slot, length, access);
  }

  /** Routes a vector to an interrupt line, and enables MSI-X. */
  vector(vector: number): InterruptLine {
    const line = this.rig.interrupts.message(`vector ${vector}`);
    const entry = Region.msixTable + 16 * vector;
    this.set(entry, MESSAGE_WINDOW);
    this.set(entry + 8, line.vector);
    this.set(entry + 12, 0);
    let at = this.slot.configRead(0x34, 1);
    while (this.slot.configRead(at, 1) !== 0x11) at = this.slot.configRead(at + 1, 1);
    this.slot.configWrite(at + 2, 2, 0x8000);
    line.attach(() => true);
    return line;
  }

  load(queue: number, program: bpf.BpfProgram | Uint8Array, count?: number): number {
    const bytes = program instanceof Uint8Array ? program : bpf.encodeProgram(program);
    const memory = this.buffer(Math.max(bytes.length, 8));
    memory.bytes.set(bytes);
    this.set(receive(queue) + Receive.PROGRAM, memory.io % 2 ** 32);
    this.set(receive(queue) + Receive.PROGRAM_HIGH, Math.floor(memory.io / 2 ** 32));
    this.set(receive(queue) + Receive.COUNT, count ?? bytes.length / 8);
    this.set(receive(queue) + Receive.LOAD, Load.VERIFY);
    return this.get(receive(queue) + Receive.VERDICT);
  }

  /** A queue with its rings, a program, and posted buffers with the cookies 1, 2 … */
  open(queue: number, program: bpf.BpfProgram, posted = 0): { rings: Rings; buffers: DmaBuffer[] } {
    const rings = new Rings(this, receive(queue));
    expect(this.load(queue, program) & 0xff).toBe(Verdict.ACCEPTED);
    const buffers = Array.from({ length: posted }, () => this.buffer(BUFFER_BYTES));
    buffers.forEach((buffer, i) => {
      rings.put(buffer.io, BUFFER_BYTES, i + 1);
    });
    rings.doorbell();
    return { rings, buffers };
  }

  counter(which: number): number {
    return this.get(Region.statistics + 8 * which);
  }

  arrive(bytes: Uint8Array): void {
    const lent = new Uint8Array(bytes.length + 7);
    lent.set(bytes, 7);
    this.wire.deliver(lent, 7, bytes.length);
    lent.fill(0xee);
  }
}

const instruction = (code: number, k = 0, jt = 0, jf = 0): bpf.BpfInstruction => ({ code, jt, jf, k });
const ACCEPT = [instruction(bpf.RET | bpf.K, 0xffff)];
const etherType = (type: number): bpf.BpfProgram => [
  instruction(bpf.LD | bpf.H | bpf.ABS, 12),
  instruction(bpf.JMP | bpf.JEQ | bpf.K, type, 0, 1),
  instruction(bpf.RET | bpf.K, 0xffff),
  instruction(bpf.RET | bpf.K, 0),
];

function frame(length: number, type = 0x0800, fill = 1): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, i) => (i * 7 + fill) & 0xff);
  bytes.set([0x02, 0x4b, 0x31, 0, 0, 1], 0);
  if (length >= 14) bytes.set([type >>> 8, type & 0xff], 12);
  return bytes;
}

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});

describe("filters on the board", () => {
  it("puts a frame straight into the next buffer of the first queue that accepts it", () => {
    const one = bench.open(1, etherType(0x0800), 2);
    const two = bench.open(2, ACCEPT, 2);
    const frames = [frame(60, 0x0800, 1), frame(1514, 0x86dd, 2), frame(61, 0x0800, 3)];
    for (const each of frames) bench.arrive(each);
    expect(one.rings.poll()).toEqual([
      { cookie: 1, stored: 60, wire: 60, flags: 0, code: 0 },
      { cookie: 2, stored: 61, wire: 61, flags: 0, code: 0 },
    ]);
    expect(two.rings.poll()).toEqual([{ cookie: 1, stored: 1514, wire: 1514, flags: 0, code: 0 }]);
    expect(one.buffers[0].bytes.subarray(0, 60)).toEqual(frames[0]);
    expect(one.buffers[1].bytes.subarray(0, 61)).toEqual(frames[2]);
    expect(two.buffers[0].bytes.subarray(0, 1514)).toEqual(frames[1]);
    expect(two.buffers[0].bytes.subarray(1514).every((byte) => byte === 0)).toBe(true);
    expect(bench.counter(Statistic.RX_FRAMES)).toBe(3);
    expect(bench.counter(Statistic.RX_BYTES)).toBe(60 + 1514 + 61);
    expect(bench.get(receive(1) + Receive.FRAMES)).toBe(2);
  });

  it("drops on the accepting queue when that has no buffer, and never goes on to another", () => {
    const one = bench.open(0, etherType(0x0800), 1);
    const two = bench.open(1, ACCEPT, 3);
    for (let i = 0; i < 3; i++) bench.arrive(frame(60));
    expect(one.rings.poll().length).toBe(1);
    expect(two.rings.poll()).toEqual([]);
    expect(bench.get(receive(0) + Receive.DROPS)).toBe(2);
    expect(bench.counter(Statistic.RX_NO_BUFFER)).toBe(2);
  });

  it("gives what nobody accepts to the default queue, else to nobody", () => {
    const one = bench.open(3, etherType(0x0806), 2);
    bench.arrive(frame(60));
    expect(bench.counter(Statistic.RX_UNCLAIMED)).toBe(1);
    bench.set(Register.DEFAULT, 0x8000_0003);
    bench.arrive(frame(60));
    expect(one.rings.poll().length).toBe(1);
    bench.set(receive(3) + Queue.ENABLE, 0);
    bench.arrive(frame(60));
    expect(bench.counter(Statistic.RX_UNCLAIMED)).toBe(2);
    bench.set(Register.DEFAULT, 0x8000_0004);
    expect(bench.get(Register.DEFAULT)).toBe(4);
    expect(bench.rig.violations.map(({ rule }) => rule)).toEqual(["korral-nic-default"]);
  });

  it.each([
    ["nothing", new Uint8Array(8), 0, Verdict.LENGTH, 0xffff],
    ["too much", new Uint8Array(8), 4097, Verdict.LENGTH, 0xffff],
    ["what it cannot read", new Uint8Array(8), 4096, Verdict.REFUSED_READ, 0xffff],
    ["a jump out of the program", [instruction(0x15, 0, 0, 9), ...ACCEPT], undefined, Verdict.INSTRUCTION, 0],
    [
      "an unknown operation",
      [...etherType(1).slice(0, 2), instruction(0xffff), ...ACCEPT],
      undefined,
      Verdict.INSTRUCTION,
      2,
    ],
    ["no way to return", [instruction(bpf.LD | bpf.IMM)], undefined, Verdict.INSTRUCTION, 0],
    ["a scratch word that is not there", [instruction(bpf.ST, 16), ...ACCEPT], undefined, Verdict.INSTRUCTION, 0],
    [
      "too many header chains",
      [...Array(33).fill(instruction(bpf.MISC | bpf.CHAIN, 14, 0, 4)), ...ACCEPT],
      undefined,
      Verdict.CHAINS,
      32,
    ],
  ])("refuses %s, and keeps the program before", (_, program, count, verdict, at) => {
    const { rings } = bench.open(0, etherType(0x0800), 3);
    expect(bench.load(0, program, count)).toBe(((at << 16) | verdict) >>> 0);
    bench.arrive(frame(60, 0x0800));
    bench.arrive(frame(60, 0x86dd));
    expect(rings.poll().length).toBe(1);
  });

  it("has a filter memory that is full some time, and free again after a clear", () => {
    const long = [...Array(4095).fill(instruction(bpf.JMP | bpf.JEQ | bpf.K, 1)), instruction(bpf.RET | bpf.K, 1)];
    bench = new Bench(8);
    for (let queue = 4; queue < 8; queue++) expect(bench.load(queue, long) & 0xff).toBe(Verdict.ACCEPTED);
    expect(bench.load(0, ACCEPT)).toBe(((0xffff << 16) | Verdict.MEMORY) >>> 0);
    expect(bench.load(4, long) & 0xff).toBe(Verdict.ACCEPTED);
    bench.set(receive(7) + Receive.LOAD, Load.CLEAR);
    const { rings } = bench.open(7, ACCEPT, 1);
    const before = bench.open(4, long, 1);
    bench.arrive(frame(60));
    expect(before.rings.poll().length).toBe(1);
    bench.set(receive(4) + Queue.ENABLE, 0);
    bench.arrive(frame(60));
    expect(rings.poll().length).toBe(1);
  });

  it.each([14, 15, 63, 64, 127, 128, 129, 130, 16_110])(
    "sees every byte of a frame of %i bytes, and none beyond",
    (length) => {
      const last = instruction(bpf.LD | bpf.B | bpf.ABS, length - 1);
      const beyond = instruction(bpf.LD | bpf.B | bpf.ABS, length);
      const { rings } = bench.open(0, [beyond, ...ACCEPT], 1);
      const other = bench.open(
        1,
        [last, instruction(bpf.JMP | bpf.JEQ | bpf.K, 0xa5, 0, 1), ...ACCEPT, instruction(bpf.RET | bpf.K, 0)],
        1,
      );
      const bytes = frame(length);
      bytes[length - 1] = 0xa5;
      bench.arrive(new Uint8Array(16_110).fill(0xa5));
      rings.poll();
      bench.arrive(bytes);
      expect(rings.poll().length).toBe(0);
      expect(other.rings.poll().length).toBe(1);
    },
  );

  it("replaces and clears programs between two frames", () => {
    const { rings } = bench.open(0, etherType(0x0800), 4);
    expect(bench.load(0, etherType(0x0806)) & 0xff).toBe(Verdict.ACCEPTED);
    bench.arrive(frame(60, 0x0800));
    expect(rings.poll()).toEqual([]);
    bench.arrive(frame(60, 0x0806));
    expect(rings.poll().length).toBe(1);
    bench.set(receive(0) + Receive.LOAD, Load.CLEAR);
    expect(bench.get(receive(0) + Receive.VERDICT)).toBe(Verdict.NONE);
    bench.arrive(frame(60, 0x0806));
    expect(rings.poll()).toEqual([]);
  });
});

describe("withdrawal", () => {
  it("acknowledges one buffer by its cookie, and keeps the order of the others", () => {
    const { rings, buffers } = bench.open(0, ACCEPT, 5);
    bench.set(receive(0) + Receive.COOKIE, 3);
    bench.set(receive(0) + Receive.WITHDRAW, Withdraw.ONE);
    expect(bench.get(receive(0) + Receive.WITHDRAWN)).toBe(1);
    expect(rings.poll()).toEqual([{ cookie: 3, stored: 0, wire: 0, flags: Completion.WITHDRAWN, code: 0 }]);
    for (let i = 0; i < 5; i++) bench.arrive(frame(60));
    expect(rings.poll().map(({ cookie }) => cookie)).toEqual([1, 2, 4, 5]);
    expect(buffers[2].bytes.every((byte) => byte === 0)).toBe(true);
    expect(bench.get(receive(0) + Receive.DROPS)).toBe(1);
  });

  it("says when the buffer is not posted any more", () => {
    const { rings } = bench.open(0, ACCEPT, 2);
    bench.arrive(frame(60));
    bench.set(receive(0) + Receive.COOKIE, 1);
    bench.set(receive(0) + Receive.WITHDRAW, Withdraw.ONE);
    expect(bench.get(receive(0) + Receive.WITHDRAWN)).toBe(0);
    expect(rings.poll()).toEqual([{ cookie: 1, stored: 60, wire: 60, flags: 0, code: 0 }]);
    expect(bench.get(receive(0) + Queue.POSTED)).toBe(1);
  });

  it("takes all back, around the end of the circle too, with one signal", () => {
    const line = bench.vector(2);
    const { rings, buffers } = bench.open(0, ACCEPT, 6);
    for (let i = 0; i < 6; i++) bench.arrive(frame(60));
    rings.poll(true);
    buffers.forEach((buffer, i) => {
      rings.post(buffer.io, BUFFER_BYTES, 100 + i);
    });
    bench.set(receive(0) + Receive.WITHDRAW, Withdraw.ALL);
    expect(bench.get(receive(0) + Receive.WITHDRAWN)).toBe(6);
    bench.rig.settle();
    expect(line.delivered).toBe(1);
    expect(rings.poll().map(({ cookie, flags }) => [cookie, flags])).toEqual(
      [100, 101, 102, 103, 104, 105].map((cookie) => [cookie, Completion.WITHDRAWN]),
    );
    expect(bench.get(receive(0) + Queue.POSTED)).toBe(0);
  });

  it("lets go of everything when the queue is disabled", () => {
    const { buffers } = bench.open(0, ACCEPT, 5);
    bench.set(receive(0) + Queue.ENABLE, 0);
    expect(bench.get(receive(0) + Queue.POSTED)).toBe(0);
    bench.arrive(frame(60));
    expect(buffers.every(({ bytes }) => bytes.every((byte) => byte === 0))).toBe(true);
  });
});

describe("rings", () => {
  it("go round many times, with the phase telling what is new", () => {
    const { rings, buffers } = bench.open(0, ACCEPT, 0);
    const memory = bench.buffer(BUFFER_BYTES);
    expect(buffers).toEqual([]);
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < 5; i++) rings.post(memory.io, BUFFER_BYTES, round * 5 + i);
      for (let i = 0; i < 5; i++) bench.arrive(frame(60 + i));
      expect(rings.poll().map(({ cookie, stored }) => [cookie, stored])).toEqual(
        [0, 1, 2, 3, 4].map((i) => [round * 5 + i, 60 + i]),
      );
    }
  });

  it("cut a frame to its buffer, and say so", () => {
    const { rings } = bench.open(0, ACCEPT, 0);
    const memory = bench.buffer(BUFFER_BYTES);
    rings.post(memory.io + 100, 20, 7);
    bench.arrive(frame(60));
    expect(rings.poll()).toEqual([{ cookie: 7, stored: 20, wire: 60, flags: Completion.CUT, code: 0 }]);
    expect(memory.bytes.subarray(100, 120)).toEqual(frame(60).subarray(0, 20));
    expect(memory.bytes[120]).toBe(0);
    expect(bench.get(receive(0) + Receive.CUTS)).toBe(1);
  });

  it("give an empty descriptor back at once", () => {
    const { rings } = bench.open(0, ACCEPT, 0);
    rings.post(0, 0, 9);
    expect(rings.poll()).toEqual([{ cookie: 9, stored: 0, wire: 0, flags: Completion.ERROR, code: ErrorCode.EMPTY }]);
    expect(rings.errorState).toBe(0);
  });

  it("take as much as there is room for, completions counted, and fail beyond", () => {
    const { rings } = bench.open(0, ACCEPT, ENTRIES - 1);
    bench.arrive(frame(60));
    expect(rings.errorState).toBe(0);
    rings.post(0, 64, 99);
    expect(rings.errorState).toBe(ErrorCode.OVERRUN);
    expect(bench.rig.violations.map(({ rule }) => rule)).toEqual(["korral-nic-overrun"]);
    bench.set(receive(0) + Receive.WITHDRAW, Withdraw.ALL);
    expect(rings.poll().length).toBe(ENTRIES - 1);
  });

  it("ignore indexes that cannot be", () => {
    const { rings } = bench.open(0, ACCEPT, 2);
    bench.set(receive(0) + Queue.TAIL, ENTRIES);
    bench.set(receive(0) + Queue.TAKEN, 1);
    bench.set(receive(0) + Queue.TAKEN, ENTRIES);
    expect(bench.rig.violations.map(({ rule }) => rule)).toEqual(Array(3).fill("korral-nic-index"));
    bench.arrive(frame(60));
    expect(rings.poll().length).toBe(1);
  });

  it.each([
    [Queue.SIZE, 0],
    [Queue.SIZE, 13],
    [Queue.RING, 8],
    [Queue.COMPLETIONS, 0x1004],
  ])("do not start with register %i = %i", (register, value) => {
    bench.set(receive(1) + Queue.SIZE, SIZE);
    bench.set(receive(1) + register, value);
    bench.set(receive(1) + Queue.ENABLE, 1);
    expect(bench.get(receive(1) + Queue.ENABLE)).toBe(0);
    expect(bench.get(receive(1) + Queue.STATE)).toBe(ErrorCode.SETUP << State.CODE_SHIFT);
  });

  it("cannot be moved while they are in use", () => {
    const { rings } = bench.open(0, ACCEPT, 1);
    const before = bench.get(receive(0) + Queue.RING);
    bench.set(receive(0) + Queue.RING, 0);
    expect(bench.get(receive(0) + Queue.RING)).toBe(before);
    expect(bench.rig.violations.map(({ rule }) => rule)).toEqual(["korral-nic-busy"]);
    bench.arrive(frame(60));
    expect(rings.poll().length).toBe(1);
  });
});

describe("interrupts", () => {
  it("come once for each arming, at once if something waits already", () => {
    const line = bench.vector(3);
    const { rings } = bench.open(1, ACCEPT, 6);
    bench.arrive(frame(60));
    bench.rig.settle();
    expect(line.delivered).toBe(0);
    bench.set(receive(1) + Queue.TAKEN, ARM);
    bench.rig.settle();
    expect(line.delivered).toBe(1);
    rings.poll(true);
    for (let i = 0; i < 3; i++) {
      bench.arrive(frame(60));
      bench.rig.settle();
    }
    expect(line.delivered).toBe(2);
  });

  it("tell of the link, behind a mask", () => {
    const line = bench.vector(0);
    expect(bench.get(Register.STATUS)).toBe(1);
    bench.wire.setCarrier(false);
    bench.rig.settle();
    expect(line.delivered).toBe(0);
    expect(bench.get(Register.STATUS)).toBe(0);
    expect(bench.get(Register.CAUSE)).toBe(Cause.LINK);
    bench.set(Register.MASK, Cause.LINK);
    bench.rig.settle();
    expect(line.delivered).toBe(1);
    bench.set(Register.CAUSE, Cause.LINK);
    expect(bench.get(Register.CAUSE)).toBe(0);
    bench.wire.setCarrier(true);
    bench.rig.settle();
    expect(line.delivered).toBe(2);
  });
});

describe("refused accesses", () => {
  it("put one queue into the error state, and the others go on", () => {
    const line = bench.vector(0);
    bench.set(Register.MASK, Cause.RXERROR);
    const bad = bench.open(0, etherType(0x0800), 0);
    const good = bench.open(1, ACCEPT, 2);
    bad.rings.post(0xdead_0000, 2048, 1);
    bad.rings.post(bench.buffer(BUFFER_BYTES).io, BUFFER_BYTES, 2);
    bench.arrive(frame(60));
    expect(bad.rings.errorState).toBe(ErrorCode.DATA);
    expect(bench.get(receive(0) + Queue.FAULT)).toBe(0xdead_0000);
    expect(bench.get(Register.ERRORS)).toBe(1);
    expect(bench.get(Register.STATUS) & 2).toBe(2);
    bench.rig.settle();
    expect(line.delivered).toBe(1);
    bench.arrive(frame(60));
    bench.arrive(frame(60, 0x86dd));
    expect(good.rings.poll().length).toBe(1);
    expect(bench.counter(Statistic.RX_FAULT)).toBe(1);
    expect(bench.counter(Statistic.RX_NO_BUFFER)).toBe(1);

    bench.set(receive(0) + Receive.WITHDRAW, Withdraw.ALL);
    expect(bad.rings.poll().map(({ cookie, flags, code }) => [cookie, flags, code])).toEqual([
      [1, Completion.ERROR, ErrorCode.DATA],
      [2, Completion.WITHDRAWN, 0],
    ]);
    bench.set(receive(0) + Queue.ENABLE, 0);
    expect(bench.get(Register.ERRORS)).toBe(0);
    const again = bench.open(0, etherType(0x0800), 1);
    bench.arrive(frame(60));
    expect(again.rings.poll().length).toBe(1);
  });

  it("of a descriptor leave it, and those behind it, to the driver", () => {
    const { rings } = bench.open(0, ACCEPT, 2);
    bench.slot.dma.unmap(rings.ring.io, "test");
    rings.doorbell();
    rings.tail = 3;
    rings.doorbell();
    expect(rings.errorState).toBe(ErrorCode.DESCRIPTOR);
    expect(bench.get(receive(0) + Queue.HEAD)).toBe(2);
    expect(bench.rig.faults[0].reason).toBe("after-unmap");
  });

  it("of a completion make the board let go of everything", () => {
    const { rings, buffers } = bench.open(0, ACCEPT, 3);
    bench.slot.dma.unmap(rings.completions.io, "test");
    bench.arrive(frame(60));
    expect(rings.errorState).toBe(ErrorCode.COMPLETION);
    expect(bench.get(receive(0) + Queue.POSTED)).toBe(0);
    bench.arrive(frame(60));
    expect(buffers[1].bytes.every((byte) => byte === 0)).toBe(true);
    bench.set(receive(0) + Receive.WITHDRAW, Withdraw.ALL);
    expect(bench.get(receive(0) + Receive.WITHDRAWN)).toBe(0);
  });

  it("happen when bus mastering is off", () => {
    const { rings } = bench.open(0, ACCEPT, 1);
    bench.slot.configWrite(4, 2, 2);
    bench.arrive(frame(60));
    expect(rings.errorState).toBe(ErrorCode.COMPLETION);
    expect(bench.rig.faults.every(({ reason }) => reason === "bus-master-off")).toBe(true);
  });
});

describe("address filter", () => {
  it.each([
    [[0x02, 0x4b, 0x31, 0, 0, 1], 0, true],
    [[0x02, 0x4b, 0x31, 0, 0, 2], 0, false],
    [[0x02, 0x4b, 0x31, 0, 0, 2], Control.PROMISCUOUS, true],
    [[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 0, false],
    [[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Control.ALLMULTI, false],
    [[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Control.BROADCAST, true],
    [[0x01, 0, 0x5e, 0, 0, 0xfb], Control.BROADCAST, false],
    [[0x01, 0, 0x5e, 0, 0, 0xfb], Control.ALLMULTI, true],
    [[0x33, 0x33, 0, 0, 0, 1], 0, true],
    [[0, 0, 0, 0, 0, 0], 0, false],
  ])("passes %j with control %i: %s", (destination, control, passes) => {
    const { rings } = bench.open(0, ACCEPT, 1);
    bench.set(Region.addresses + 8 * 5, 0x0000_3333);
    bench.set(Region.addresses + 8 * 5 + 4, 0x8000_0100);
    bench.set(Register.CONTROL, Control.RXEN | control);
    const bytes = frame(60);
    bytes.set(destination);
    bench.arrive(bytes);
    expect(rings.poll().length).toBe(passes ? 1 : 0);
    expect(bench.counter(Statistic.RX_FOREIGN)).toBe(passes ? 0 : 1);
  });

  it("does not see what cannot be a frame, or comes while the receiver is off", () => {
    bench.open(0, ACCEPT, 3);
    bench.arrive(frame(13));
    bench.arrive(new Uint8Array(16_111));
    bench.set(Register.CONTROL, Control.PROMISCUOUS);
    bench.arrive(frame(60));
    expect(bench.counter(Statistic.RX_BAD)).toBe(2);
    expect(bench.counter(Statistic.RX_OFF)).toBe(1);
  });
});

describe("transmit queue", () => {
  it("gathers a frame from several descriptors, over doorbells", () => {
    const rings = new Rings(bench, TRANSMIT);
    const memory = bench.buffer(4096);
    const whole = frame(200);
    memory.bytes.set(whole.subarray(0, 14), 10);
    memory.bytes.set(whole.subarray(14), 2000);
    rings.post(memory.io + 10, 14, 1);
    rings.post(memory.io, 0, 2);
    expect(rings.poll()).toEqual([]);
    rings.post(memory.io + 2000, 186 | DESCRIPTOR_LAST, 3);
    expect(bench.wire.sent).toEqual([whole]);
    expect(rings.poll()).toEqual([{ cookie: 3, stored: 200, wire: 200, flags: 0, code: 0 }]);
    expect(bench.counter(Statistic.TX_BYTES)).toBe(200);
  });

  it("waits for TXEN", () => {
    bench.set(Register.CONTROL, Control.RXEN);
    const rings = new Rings(bench, TRANSMIT);
    rings.post(bench.buffer(64).io, 60 | DESCRIPTOR_LAST, 1);
    expect(bench.get(TRANSMIT + Queue.POSTED)).toBe(1);
    expect(bench.wire.sent.length).toBe(0);
    bench.set(Register.CONTROL, Control.TXEN);
    expect(bench.wire.sent.length).toBe(1);
    expect(bench.get(TRANSMIT + Queue.POSTED)).toBe(0);
  });

  it("sends no frame of a length that cannot be, and goes on", () => {
    const rings = new Rings(bench, TRANSMIT);
    const memory = bench.buffer(16_384);
    rings.post(memory.io, 13 | DESCRIPTOR_LAST, 1);
    rings.post(memory.io, 16_000, 2);
    rings.post(memory.io, 111 | DESCRIPTOR_LAST, 3);
    rings.post(memory.io, 16_110 | DESCRIPTOR_LAST, 4);
    expect(rings.poll().map(({ cookie, code }) => [cookie, code])).toEqual([
      [1, ErrorCode.LENGTH],
      [3, ErrorCode.LENGTH],
      [4, 0],
    ]);
    expect(bench.wire.sent.map(({ length }) => length)).toEqual([16_110]);
  });

  it("loses frames without link, and says so", () => {
    const rings = new Rings(bench, TRANSMIT);
    bench.wire.setCarrier(false);
    rings.post(bench.buffer(64).io, 60 | DESCRIPTOR_LAST, 1);
    expect(rings.poll()).toEqual([{ cookie: 1, stored: 0, wire: 60, flags: Completion.NOLINK, code: 0 }]);
  });

  it("stops at memory that it may not read, with HEAD there", () => {
    const rings = new Rings(bench, TRANSMIT);
    const memory = bench.buffer(64, DmaAccess.write);
    rings.put(bench.buffer(64).io, 60 | DESCRIPTOR_LAST, 1);
    rings.put(memory.io, 60 | DESCRIPTOR_LAST, 2);
    rings.put(memory.io, 60 | DESCRIPTOR_LAST, 3);
    rings.doorbell();
    expect(rings.errorState).toBe(ErrorCode.DATA);
    expect(bench.get(TRANSMIT + Queue.HEAD)).toBe(1);
    expect(rings.poll().map(({ cookie }) => cookie)).toEqual([1]);
    expect(bench.get(Register.CAUSE)).toBe(Cause.TXERROR);
    expect(bench.rig.faults[0].reason).toBe("wrong-direction");
  });
});

describe("registers", () => {
  it("identify the board", () => {
    expect(bench.slot.configRead(0, 4)).toBe(0x4b31_1209);
    expect(bench.slot.configRead(8, 4)).toBe(0x0200_0001);
    expect(bench.get(Register.ID)).toBe(0x4b31_0001);
    expect(bench.get(Register.CAPS)).toBe(0x1000_0c04);
    expect(bench.slot.read(0, 2, 2)).toBe(0x4b31);
    expect(bench.slot.read(0, 3, 1)).toBe(0x4b);
    expect(bench.slot.read(0, 2, 4)).toBe(0xffff_ffff);
    expect(bench.get(receive(4))).toBe(0);
  });

  it("take whole words only", () => {
    bench.slot.write(0, Register.MASK, 1, 7);
    bench.slot.write(0, Register.MASK + 2, 2, 7);
    expect(bench.get(Register.MASK)).toBe(0);
    expect(bench.rig.violations.map(({ rule }) => rule)).toEqual(["korral-nic-width", "korral-nic-width"]);
  });

  it("come back to power-on values by RESET, with all buffers let go", () => {
    const { buffers } = bench.open(0, ACCEPT, 2);
    bench.set(Register.DEFAULT, 0x8000_0000);
    bench.set(Register.CONTROL, Control.RESET | Control.RXEN);
    const all = (): number[] => Array.from({ length: 0x5000 / 4 }, (_, i) => bench.get(4 * i));
    const after = all();
    bench = new Bench();
    bench.set(Register.CONTROL, 0);
    expect(after).toEqual(all());
    expect(buffers[0].bytes.every((byte) => byte === 0)).toBe(true);
  });
});

describe("making one", () => {
  it.each([0, 3, 128, 1.5])("refuses %d queues", (queues) => {
    expect(() => new Bench(queues)).toThrow("power of two");
  });
});

describe("snapshot", () => {
  it("goes on where it was, in another board", () => {
    const { rings } = bench.open(0, etherType(0x0800), 5);
    const transmit = new Rings(bench, TRANSMIT);
    const half = bench.buffer(64);
    half.bytes.fill(0x55);
    transmit.post(half.io, 30, 1);
    bench.arrive(frame(60));
    rings.poll();
    const saved = structuredClone(bench.nic.snapshot());
    bench.nic.reset();
    bench.arrive(frame(60));
    expect(rings.poll()).toEqual([]);

    bench.nic.restore(saved);
    expect(bench.nic.snapshot()).toEqual(saved);
    bench.arrive(frame(61));
    transmit.post(half.io, 31 | DESCRIPTOR_LAST, 2);
    expect(rings.poll().map(({ cookie, stored }) => [cookie, stored])).toEqual([[2, 61]]);
    expect(bench.wire.sent.map(({ length }) => length)).toEqual([61]);
  });

  it.each([
    [(state: Record<string, unknown>) => ({ ...state, receive: [] }), "receive"],
    [(state: Record<string, unknown>) => ({ ...state, statistics: [1] }), "statistics"],
    [
      (state: Record<string, unknown>) => ({ ...state, filters: Array(64).fill({ program: [0xffff, 0, 0, 0] }) }),
      "filters 0: program",
    ],
    [
      (state: Record<string, unknown>) => ({ ...state, transmit: { ...(state.transmit as object), enabled: true } }),
      "setup",
    ],
    [(state: Record<string, unknown>) => ({ ...state, config: null }), "config"],
  ])("refuses one that does not fit, by name", (change, name) => {
    bench.open(0, ACCEPT, 5);
    const state = bench.nic.snapshot() as Record<string, unknown>;
    expect(() => bench.nic.restore(change(state))).toThrow(name);
    expect(bench.get(receive(0) + Queue.POSTED)).toBe(0);
  });
});
