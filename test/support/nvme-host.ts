import { MESSAGE_WINDOW } from "../../src/bus/interrupts.js";
import type { PciSlot } from "../../src/bus/pci-bus.js";
import type { DiskBackend } from "../../src/devices/disk-backend.js";
import { NvmeController, type NvmeOptions } from "../../src/devices/nvme.js";
import { MemoryDisk } from "../../src/ports/disk-image.js";
import { type DmaBuffer, Rig } from "./rig.js";

export interface Completion {
  result: number;
  sqHead: number;
  queue: number;
  id: number;
  /** The status field without the phase tag. */
  status: number;
}

/** The status field without More and Do Not Retry: status code type × 256 + status code. */
export function code(completion: Completion): number {
  return completion.status & 0x7ff;
}

interface QueuePair {
  sq: DmaBuffer;
  cq: DmaBuffer;
  size: number;
  tail: number;
  head: number;
  phase: number;
}

/** A host for tests of the NVMe model: rings of its own, commands word by word, nothing hidden. */
export class NvmeHost {
  readonly rig = new Rig();
  readonly slot: PciSlot<NvmeController>;
  readonly disk: DiskBackend;
  readonly queues: QueuePair[] = [];
  /** How often each vector was signalled. */
  readonly signalled: number[] = [];
  data: DmaBuffer;
  #nextId = 1;

  constructor(options: Partial<NvmeOptions> = {}) {
    this.disk = options.disk ?? new MemoryDisk(8 * 1024 * 1024);
    this.slot = this.rig.pci.plug("nvme", (host) => new NvmeController(host, { ...options, disk: this.disk }));
    this.rig.enable(this.slot);
    this.data = this.rig.dmaBuffer(this.slot, 2 * 1024 * 1024);
  }

  get controller(): NvmeController {
    return this.slot.device;
  }

  read(offset: number): number {
    return this.slot.read(0, offset, 4);
  }

  write(offset: number, value: number): void {
    this.slot.write(0, offset, 4, value >>> 0);
  }

  /** Sets the admin queue up and CC.EN, and waits for CSTS. @returns CSTS */
  enable(size = 32, cc = 0x0046_0001): number {
    this.queues[0] = this.allocate(size, size);
    const { sq, cq } = this.queues[0];
    this.write(0x24, ((size - 1) << 16) | (size - 1));
    this.#wide(0x28, sq.io);
    this.#wide(0x30, cq.io);
    this.write(0x14, cc);
    this.rig.pass(1_000_000);
    return this.read(0x1c);
  }

  allocate(entries: number, completions = entries): QueuePair {
    const sq = this.rig.dmaBuffer(this.slot, Math.max(4096, entries * 64));
    const cq = this.rig.dmaBuffer(this.slot, Math.max(4096, completions * 16));
    return { sq, cq, size: entries, tail: 0, head: 0, phase: 1 };
  }

  /** Vector table and capability: each vector gets a line of its own that counts. */
  enableMsiX(vectors = 17): void {
    for (let vector = 0; vector < vectors; vector++) {
      const line = this.rig.interrupts.message(`vector ${vector}`);
      this.signalled[vector] = 0;
      line.attach(() => {
        this.signalled[vector]++;
        return true;
      });
      this.write(0x2000 + 16 * vector, MESSAGE_WINDOW);
      this.write(0x2004 + 16 * vector, 0);
      this.write(0x2008 + 16 * vector, line.vector);
      this.write(0x200c + 16 * vector, 0);
    }
    const capability = this.capability(0x11);
    this.slot.configWrite(capability + 2, 2, 0x8000);
  }

  capability(id: number): number {
    let at = this.slot.configRead(0x34, 1);
    while (at !== 0 && this.slot.configRead(at, 1) !== id) at = this.slot.configRead(at + 1, 1);
    return at;
  }

  /** Creates an I/O queue pair. */
  createQueues(id: number, size = 32, vector = 0, interrupts = true): void {
    const pair = this.allocate(size);
    this.queues[id] = pair;
    const cq = this.admin(0x05, {
      prp1: pair.cq.io,
      dw10: ((size - 1) << 16) | id,
      dw11: (vector << 16) | (interrupts ? 3 : 1),
    });
    const sq = this.admin(0x01, { prp1: pair.sq.io, dw10: ((size - 1) << 16) | id, dw11: (id << 16) | 1 });
    if (cq.status !== 0 || sq.status !== 0) throw new Error(`queue ${id}: status ${cq.status} and ${sq.status}`);
  }

  /** Writes an entry without ringing the doorbell. @returns its command identifier */
  enqueue(queue: number, opcode: number, fields: Fields = {}): number {
    const pair = this.queues[queue];
    const id = fields.id ?? this.#nextId++ & 0xfff;
    const at = pair.tail * 64;
    const { view } = pair.sq;
    for (let i = 0; i < 64; i += 4) view.setUint32(at + i, 0, true);
    view.setUint32(at, (opcode | ((fields.flags ?? 0) << 8) | (id << 16)) >>> 0, true);
    view.setUint32(at + 4, fields.nsid ?? (queue === 0 ? 0 : 1), true);
    const words = [fields.prp1 ?? 0, fields.prp2 ?? 0];
    for (let i = 0; i < 2; i++) {
      view.setUint32(at + 24 + 8 * i, words[i] % 2 ** 32, true);
      view.setUint32(at + 28 + 8 * i, Math.floor(words[i] / 2 ** 32), true);
    }
    if (fields.sgl !== undefined)
      for (let i = 0; i < 4; i++) view.setUint32(at + 24 + 4 * i, fields.sgl[i] >>> 0, true);
    const dwords = [fields.dw10, fields.dw11, fields.dw12, fields.dw13];
    for (let i = 0; i < 4; i++) view.setUint32(at + 40 + 4 * i, (dwords[i] ?? 0) >>> 0, true);
    pair.tail = (pair.tail + 1) % pair.size;
    return id;
  }

  ring(queue: number): void {
    this.write(0x1000 + 8 * queue, this.queues[queue].tail);
  }

  /** Takes the completions that are there. @param acknowledge rings the head doorbell */
  reap(queue: number, acknowledge = true): Completion[] {
    const pair = this.queues[queue];
    const found: Completion[] = [];
    for (;;) {
      const at = pair.head * 16;
      const { view } = pair.cq;
      const last = view.getUint32(at + 12, true);
      if (((last >>> 16) & 1) !== pair.phase) break;
      const middle = view.getUint32(at + 8, true);
      found.push({
        result: view.getUint32(at, true),
        sqHead: middle & 0xffff,
        queue: middle >>> 16,
        id: last & 0xffff,
        status: last >>> 17,
      });
      if (++pair.head === pair.size) {
        pair.head = 0;
        pair.phase ^= 1;
      }
    }
    if (acknowledge && found.length > 0) this.write(0x1004 + 8 * queue, pair.head);
    return found;
  }

  /** One command from start to completion; `pass` nanoseconds may go by. */
  command(queue: number, opcode: number, fields: Fields = {}, pass = 0): Completion {
    const id = this.enqueue(queue, opcode, fields);
    this.ring(queue);
    this.rig.settle();
    if (pass > 0) this.rig.pass(pass);
    const found = this.reap(queue).find((completion) => completion.id === id);
    if (found === undefined) throw new Error(`command ${opcode} on queue ${queue} did not complete`);
    return found;
  }

  admin(opcode: number, fields: Fields = {}): Completion {
    return this.command(0, opcode, fields);
  }

  #wide(offset: number, value: number): void {
    this.write(offset, value % 2 ** 32);
    this.write(offset + 4, Math.floor(value / 2 ** 32));
  }
}

export interface Fields {
  id?: number;
  /** Byte 1: FUSE 1:0, PSDT 7:6. */
  flags?: number;
  nsid?: number;
  prp1?: number;
  prp2?: number;
  sgl?: number[];
  dw10?: number;
  dw11?: number;
  dw12?: number;
  dw13?: number;
}
