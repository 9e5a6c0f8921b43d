import { expect } from "vitest";
import type { InterruptLine } from "../../src/bus/interrupts.js";
import { MESSAGE_WINDOW } from "../../src/bus/interrupts.js";
import {
  ARM,
  Completion,
  Control,
  Load,
  Queue,
  Receive,
  Region,
  Register,
  State,
  Verdict,
} from "../../src/devices/korral-nic/registers.js";
import { KorralNic } from "../../src/devices/korral-nic.js";
import * as bpf from "../../src/filter/bpf.js";
import { DmaAccess } from "../../src/memory/pin.js";
import { WireEnd } from "../../src/ports/wire-end.js";
import { type DmaBuffer, Rig } from "./rig.js";

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

export const SIZE = 3;
export const ENTRIES = 1 << SIZE;
export const BUFFER_BYTES = 2048;
export const TRANSMIT = Region.transmit;
export const receive = (n: number): number => Region.receive + 0x100 * n;

/** A driver's end of one queue: rings in memory, and what it believes of their indexes. */
export class Rings {
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

/** A K1 in its slot with a wire, and what a test needs of a driver. */
export class Bench {
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

export const instruction = (code: number, k = 0, jt = 0, jf = 0): bpf.BpfInstruction => ({ code, jt, jf, k });
export const ACCEPT = [instruction(bpf.RET | bpf.K, 0xffff)];
export const etherType = (type: number): bpf.BpfProgram => [
  instruction(bpf.LD | bpf.H | bpf.ABS, 12),
  instruction(bpf.JMP | bpf.JEQ | bpf.K, type, 0, 1),
  instruction(bpf.RET | bpf.K, 0xffff),
  instruction(bpf.RET | bpf.K, 0),
];

export function frame(length: number, type = 0x0800, fill = 1): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, i) => (i * 7 + fill) & 0xff);
  bytes.set([0x02, 0x4b, 0x31, 0, 0, 1], 0);
  if (length >= 14) bytes.set([type >>> 8, type & 0xff], 12);
  return bytes;
}
