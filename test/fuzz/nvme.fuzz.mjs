// The NVMe controller under a driver that is right, wrong or mad, over disks that are quick, late or failing. For the
// right commands of a driver that is not mad a small model says what must come of them; everybody else must only never
// make the controller throw, run away, or complete what was not submitted.
import assert from "node:assert/strict";
import { Clock } from "../../dist/bus/clock.js";
import { InterruptController } from "../../dist/bus/interrupts.js";
import { IoMmu } from "../../dist/bus/io-mmu.js";
import { PciBus } from "../../dist/bus/pci-bus.js";
import { NvmeController } from "../../dist/devices/nvme.js";
import { frameOffset, PhysicalMemory } from "../../dist/memory/physical-memory.js";
import { DmaAccess } from "../../dist/memory/pin.js";
import { PinBudget, PinPool } from "../../dist/memory/pin-budget.js";
import { FaultyDisk } from "../../dist/ports/disk-faulty.js";
import { MemoryDisk } from "../../dist/ports/disk-image.js";
import { InputError } from "../../dist/util/errors.js";
import { damage, PAGE } from "./world.mjs";

export const name = "nvme";

const DATA_PAGES = 6;
const SLOTS = 24;
/** No driver's access may keep the machine busy for more rounds than this. */
const MOST_ROUNDS = 5000;
const LONG = 1_000_000_000;
const QUEUES = 3;
const OP = { flush: 0, write: 1, read: 2, compare: 5, zeroes: 8, dsm: 9 };

export function run(rng) {
  new Session(rng).run();
}

class Session {
  constructor(rng) {
    this.rng = rng;
    this.mad = this.chance(4);
    this.clock = new Clock();
    this.interrupts = new InterruptController();
    this.iommu = new IoMmu(new PhysicalMemory());
    this.bank = this.iommu.memory.addBank(4 * 1024 * 1024);
    this.authority = new PinBudget(this.iommu.memory, { bound: 4096, reserved: 2048 }).authority("fuzz");
    const bus = new PciBus(this.clock, this.interrupts, this.iommu);
    this.makeDisk();
    const options = { disk: this.disk, queues: QUEUES, latency: this.chance(3) ? this.below(5000) : 0 };
    this.slot = bus.plug("nvme", (host) => new NvmeController(host, options));
    this.slot.configWrite(4, 2, 6);
    this.rings = [];
    this.kept = [];
    /** `queue:identifier` → commands submitted and not completed. */
    this.submitted = new Map();
    this.outstanding = 0;
    this.serial = 0;
    this.slots = Array.from({ length: SLOTS }, () => ({ ...this.buffer(DATA_PAGES + 2), busy: false }));
    this.scratch = this.buffer(4);
  }

  below(bound) {
    return this.rng() % bound;
  }

  chance(oneIn) {
    return this.below(oneIn) === 0;
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  /** A disk and the model of what is on it, sector by sector. */
  makeDisk() {
    const sectorSize = this.chance(3) ? 4096 : 512;
    this.sectors = 1 + this.below(200);
    this.sectorSize = sectorSize;
    const memory = new MemoryDisk(this.sectors * sectorSize, { sectorSize });
    this.faulty = this.chance(3);
    const late = this.chance(2);
    const faults = this.faulty ? { readError: 0.1, writeError: 0.1, flushError: 0.1, tornWrite: 0.1 } : {};
    if (late) Object.assign(faults, { delay: 0.7, longestDelay: 20_000 });
    this.disk = this.faulty || late ? new FaultyDisk(memory, this.clock, this.rng, faults) : memory;
    this.content = new Uint8Array(this.sectors * sectorSize);
    /** Not known; or never to be known again, as a forgotten write may still arrive. */
    this.unknown = new Uint8Array(this.sectors);
    this.tainted = new Uint8Array(this.sectors);
    this.version = new Uint32Array(this.sectors);
    this.flux = new Uint16Array(this.sectors);
  }

  buffer(pages) {
    const frames = Array.from({ length: pages }, () => this.bank.allocate());
    const pin = this.authority.tryPin(frames, 0, pages * PAGE, DmaAccess.both, PinPool.reserved);
    const io = this.slot.dma.map(pin, 0, pages * PAGE, DmaAccess.both, "fuzz");
    const start = frameOffset(frames[0]);
    const bytes = this.bank.bytes.subarray(start, start + pages * PAGE);
    return { io, bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
  }

  run() {
    this.enable();
    const steps = 20 + this.below(120);
    for (let i = 0; i < steps; i++) this.step();
    if (!this.mad) this.finish();
  }

  step() {
    const what = this.below(20);
    if (what < 9) this.submitSome();
    else if (what < 13) this.reap();
    else if (what < 16) this.pass(this.below(8000));
    else if (what === 16) this.wrongAccess();
    else if (what === 17) this.admin();
    else if (what === 18) this.snapshot();
    else if (this.chance(4)) this.restart();
  }

  write(offset, value) {
    this.slot.write(0, offset, 4, value >>> 0);
  }

  settle() {
    for (let round = 0; this.interrupts.dispatch() + this.clock.runDue() > 0; round++) {
      assert(round < MOST_ROUNDS, "the controller never comes to rest");
    }
  }

  pass(nanoseconds) {
    const end = this.clock.now() + nanoseconds;
    this.settle();
    for (let round = 0; this.clock.nextDeadline() <= end; round++) {
      assert(round < MOST_ROUNDS, "the controller never comes to rest");
      this.clock.skipToNextTimer();
      this.settle();
    }
    this.clock.advance(Math.max(0, end - this.clock.now()));
  }

  // Life cycle

  ring(id) {
    const size = 2 + this.below(id === 0 ? 30 : 60);
    return { id, size, sq: this.buffer(1), cq: this.buffer(1), tail: 0, sqHead: 0, head: 0, phase: 1 };
  }

  enable() {
    const admin = this.rings[0] ?? this.ring(0);
    this.rings = [admin];
    Object.assign(admin, { tail: 0, sqHead: 0, head: 0, phase: 1 });
    admin.cq.bytes.fill(0);
    this.write(0x24, ((admin.size - 1) << 16) | (admin.size - 1));
    this.wide(0x28, admin.sq.io);
    this.wide(0x30, admin.cq.io);
    this.write(0x14, 0x0046_0001);
    this.pass(1_000_000);
    if (this.mad) return;
    assert.equal(this.slot.read(0, 0x1c, 4) & ~0x10, 1, "the controller is not ready");
    for (let id = 1; id <= 1 + this.below(QUEUES); id++) this.createQueue(id);
  }

  wide(offset, value) {
    this.write(offset, value % 2 ** 32);
    this.write(offset + 4, Math.floor(value / 2 ** 32));
  }

  createQueue(id) {
    this.kept[id] ??= this.ring(id);
    const ring = this.kept[id];
    Object.assign(ring, { tail: 0, sqHead: 0, head: 0, phase: 1 });
    ring.cq.bytes.fill(0);
    for (const [opcode, memory, flags] of [
      [5, ring.cq, 1 | (this.below(2) << 1)],
      [1, ring.sq, (id << 16) | 1],
    ]) {
      const words = this.words(opcode);
      this.prp(words, memory.io, 0);
      words[10] = ((ring.size - 1) << 16) | id;
      words[11] = flags;
      this.submit(0, words, { must: true });
      this.settle();
      this.reap();
    }
    this.rings[id] = ring;
  }

  /** Controller reset, subsystem reset or power cycle: all commands are forgotten. */
  restart() {
    const way = this.below(4);
    if (way === 0) this.slot.device.reset();
    else if (way === 1) this.write(0x20, 0x4e56_4d65);
    else this.write(0x14, way === 2 ? 0x0046_8001 : 0);
    if (way === 2) {
      this.pass(LONG);
      this.write(0x14, 0);
    }
    this.forget();
    this.pass(1_000_000);
    this.enable();
  }

  forget() {
    for (const list of this.submitted.values()) {
      for (const command of list) {
        for (const slot of [command.slot, ...(command.more ?? [])]) if (slot) slot.busy = false;
        this.leaveFlux(command, false);
        if (command.changes) for (const sector of this.range(command)) this.tainted[sector] = 1;
      }
    }
    this.submitted.clear();
    this.outstanding = 0;
  }

  // Submission

  words(opcode) {
    const words = new Uint32Array(16);
    words[0] = opcode | ((this.serial++ & 0xffff) << 16);
    return words;
  }

  prp(words, first, second) {
    words[6] = first % 2 ** 32;
    words[7] = Math.floor(first / 2 ** 32);
    words[8] = second % 2 ** 32;
    words[9] = Math.floor(second / 2 ** 32);
  }

  /** Puts an entry into a queue and rings, if there is room. */
  submit(queue, words, command) {
    const ring = this.rings[queue];
    if (ring === undefined || (ring.tail + 1) % ring.size === ring.sqHead) return false;
    for (let i = 0; i < 16; i++) ring.sq.view.setUint32(ring.tail * 64 + 4 * i, words[i], true);
    ring.tail = (ring.tail + 1) % ring.size;
    const key = `${queue}:${words[0] >>> 16}`;
    const list = this.submitted.get(key) ?? [];
    list.push(command);
    this.submitted.set(key, list);
    this.outstanding++;
    this.enterFlux(command);
    this.write(0x1000 + 8 * queue, ring.tail);
    return true;
  }

  submitSome() {
    for (let count = 1 + this.below(6); count > 0; count--) {
      const queue = 1 + this.below(QUEUES);
      if (this.rings[queue] === undefined) continue;
      if (this.mad || this.chance(5)) this.submitWrong(queue);
      else this.submitRight(queue);
    }
    if (this.chance(2)) this.settle();
  }

  submitRight(queue) {
    const slot = this.slots.find((one) => !one.busy);
    if (slot === undefined) return;
    const op = this.pick([OP.read, OP.read, OP.write, OP.write, OP.compare, OP.zeroes, OP.flush, OP.dsm]);
    const words = this.words(op);
    words[1] = 1;
    const most = Math.min(this.sectors, Math.floor(((DATA_PAGES - 1) * PAGE) / this.sectorSize));
    const blocks = 1 + this.below(most);
    const first = this.below(this.sectors - blocks + 1);
    const command = { op, first, blocks, right: true };
    if (op === OP.read || op === OP.write || op === OP.compare) {
      words[10] = first;
      words[12] = (blocks - 1) | (this.chance(4) ? 2 ** 30 : 0);
      command.slot = slot;
      command.pieces = this.chance(2)
        ? this.layPrps(slot, words, blocks * this.sectorSize)
        : this.laySgl(slot, words, blocks * this.sectorSize, op === OP.read);
      command.data = new Uint8Array(blocks * this.sectorSize);
      const words32 = new Uint32Array(command.data.buffer);
      for (let i = 0, value = this.rng(); i < words32.length; i++) words32[i] = value += 0x9e37_79b9;
      if (op === OP.compare && this.chance(2)) {
        command.data.set(this.content.subarray(first * this.sectorSize, (first + blocks) * this.sectorSize));
        if (this.chance(2)) command.data[this.below(command.data.length)] ^= 1 << this.below(8);
      }
      this.scatter(command);
    } else if (op === OP.zeroes) {
      words[10] = first;
      words[12] = blocks - 1;
      command.data = new Uint8Array(blocks * this.sectorSize);
    } else if (op === OP.dsm) {
      words[10] = 0;
      words[11] = 4;
      command.slot = slot;
      slot.view.setUint32(4, blocks, true);
      slot.view.setUint32(8, first, true);
      slot.view.setUint32(12, 0, true);
      this.prp(words, slot.io, 0);
    }
    command.changes = op === OP.write || op === OP.zeroes || op === OP.dsm;
    if (command.slot) slot.busy = true;
    if (!this.submit(queue, words, command)) slot.busy = false;
  }

  /** PRPs over the slot's pages in any order; the list anywhere in its two pages. @returns [offset, length] pieces */
  layPrps(slot, words, length) {
    const offset = this.below(PAGE / 4) * 4;
    const pages = this.shuffled(DATA_PAGES);
    const pieces = [[pages[0] * PAGE + offset, Math.min(length, PAGE - offset)]];
    let left = length - pieces[0][1];
    for (let i = 1; left > 0; i++) {
      pieces.push([pages[i] * PAGE, Math.min(left, PAGE)]);
      left -= Math.min(left, PAGE);
    }
    const address = (piece) => slot.io + piece[0];
    let second = pieces.length > 1 ? address(pieces[1]) : 0;
    if (pieces.length > 2) {
      const entries = pieces.slice(1);
      const page = DATA_PAGES * PAGE;
      const places = 1 + this.below(8);
      let at = page + PAGE - 8 * places;
      second = slot.io + at;
      entries.forEach((piece, i) => {
        if (i === places - 1 && entries.length > places) {
          this.put(slot, at, slot.io + page + PAGE);
          at = page + PAGE;
        }
        this.put(slot, at, address(piece));
        at += 8;
      });
    }
    this.prp(words, address(pieces[0]), second);
    return pieces;
  }

  /** An SGL of data blocks in up to two segments, with bit buckets that drop bytes of a read. */
  laySgl(slot, words, length, toHost) {
    words[0] |= 0x4000;
    const pieces = [];
    const descriptors = [];
    let at = 0;
    for (let left = length; left > 0; ) {
      const size = Math.min(left, 1 + this.below(3000));
      if (toHost && this.chance(5)) {
        pieces.push([-1, size]);
        descriptors.push([0, size, 0x10]);
      } else {
        pieces.push([at, size]);
        descriptors.push([slot.io + at, size, 0]);
        at += size;
      }
      left -= size;
    }
    const list = DATA_PAGES * PAGE;
    const put = (base, index, [address, size, type]) => {
      this.put(slot, base + 16 * index, address);
      slot.view.setUint32(base + 16 * index + 8, size, true);
      slot.view.setUint32(base + 16 * index + 12, type << 24, true);
    };
    let lead = [slot.io + list, 16 * descriptors.length, 0x30];
    const split = 1 + this.below(descriptors.length);
    if (split < descriptors.length) {
      for (let i = split; i < descriptors.length; i++) put(list + PAGE, i - split, descriptors[i]);
      descriptors.splice(split, descriptors.length, [slot.io + list + PAGE, 16 * (descriptors.length - split), 0x30]);
      lead = [slot.io + list, 16 * descriptors.length, 0x20];
    }
    for (let i = 0; i < descriptors.length; i++) put(list, i, descriptors[i]);
    if (pieces.length === 1 && pieces[0][0] >= 0) lead = descriptors[0];
    words[6] = lead[0] % 2 ** 32;
    words[7] = Math.floor(lead[0] / 2 ** 32);
    words[8] = lead[1];
    words[9] = lead[2] << 24;
    return pieces;
  }

  put(slot, at, value) {
    slot.view.setUint32(at, value % 2 ** 32, true);
    slot.view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
  }

  shuffled(count) {
    const list = Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const k = this.below(i + 1);
      [list[i], list[k]] = [list[k], list[i]];
    }
    return list;
  }

  scatter({ slot, pieces, data }) {
    let done = 0;
    for (const [offset, length] of pieces) {
      if (offset >= 0) slot.bytes.set(data.subarray(done, done + length), offset);
      done += length;
    }
  }

  /** A command that is wrong, or right by accident; its data lies in memory that nothing else uses. */
  submitWrong(queue) {
    const { io, bytes } = this.scratch;
    for (let i = 0; i < 64; i++) {
      const address = this.pick([io, io + PAGE, io + 4 * this.below(4096), this.rng()]);
      this.put(this.scratch, 8 * this.below(bytes.length / 8), address);
    }
    const address = () => this.pick([io, io, io + 8 * this.below(2048), io + 4 * PAGE, this.rng() * 2 ** 21, 0]);
    const words = this.words(this.pick([0, 1, 2, 2, 5, 8, 9, this.below(256)]));
    if (this.chance(4)) words[0] |= this.below(256) << 8;
    if (this.chance(6) && this.serial > 4) words[0] = (words[0] & 0xffff) | ((this.serial - 1 - this.below(4)) << 16);
    words[1] = this.pick([1, 1, 1, 0, 2, 0xffff_ffff, this.rng()]);
    this.prp(words, address(), address());
    if (this.chance(3)) words[9] = this.rng();
    words[10] = this.pick([this.below(this.sectors + 2), this.below(this.sectors), this.rng()]);
    if (this.chance(6)) words[11] = this.rng();
    words[12] = this.pick([this.below(8), this.below(0x1_0000), this.rng()]);
    const op = words[0] & 0xff;
    const changes = op === OP.write || op === OP.zeroes || op === OP.dsm;
    this.submit(queue, words, { op, first: 0, blocks: this.sectors, changes });
  }

  admin() {
    if (this.mad && this.chance(2)) {
      this.submitWrong(0);
      return;
    }
    const words = this.words(this.pick([0x02, 0x02, 0x06, 0x06, 0x08, 0x08, 0x08, 0x09, 0x0a, 0x0c, 0x10, 0x7f, 0x03]));
    const op = words[0] & 0xff;
    words[1] = this.pick([0, 1, 0xffff_ffff]);
    this.prp(words, this.pick([this.scratch.io, this.scratch.io + 512, 0x1000]), this.scratch.io + PAGE);
    words[10] = this.below(0x10) | (this.below(8) << 8);
    if (op === 0x02) words[10] = (this.below(64) << 16) | this.below(8);
    if (op === 0x08) {
      const [queue, id] = this.pick([...this.submitted.keys(), "1:9"])
        .split(":")
        .map(Number);
      words[10] = queue | (id << 16);
    }
    // Queues stay as many as they are, and coalescing would only hide completions from nobody.
    if (op === 0x09) words[10] = this.pick([1, 4, 6, 8, 9, 0x0a, 0x0b, 0x80]) | (this.below(2) << 31);
    words[11] = this.below(1 << 17);
    this.submit(0, words, { held: op === 0x0c });
  }

  // Completion

  reap() {
    this.settle();
    for (const ring of this.rings) {
      if (ring === undefined) continue;
      let found = 0;
      for (const limit = this.mad ? this.below(4) : 1 + this.below(64); found < limit; found++) {
        const last = ring.cq.view.getUint32(ring.head * 16 + 12, true);
        if (((last >>> 16) & 1) !== ring.phase) break;
        const middle = ring.cq.view.getUint32(ring.head * 16 + 8, true);
        if (++ring.head === ring.size) {
          ring.head = 0;
          ring.phase ^= 1;
        }
        if (!this.mad) this.completed(ring, middle >>> 16, middle & 0xffff, last & 0xffff, last >>> 17);
      }
      if (found > 0) this.write(0x1004 + 8 * ring.id, ring.head);
    }
  }

  completed(ring, queue, sqHead, id, field) {
    const key = `${queue}:${id}`;
    const list = this.submitted.get(key);
    assert.equal(queue, ring.id, "a completion in another queue's ring");
    assert(list !== undefined, `completion of ${key}, which was not submitted or has completed`);
    assert(sqHead < ring.size, "a submission queue head beyond the queue");
    ring.sqHead = sqHead;
    const alone = list.length === 1;
    const command = list.shift();
    if (list.length === 0) this.submitted.delete(key);
    this.outstanding--;
    const status = field & 0x7ff;
    const aborted = status === 0x07 || status === 0x08;
    if (alone) {
      for (const slot of [command.slot, ...(command.more ?? [])]) if (slot) slot.busy = false;
    } else {
      // Which of two commands with the same identifier it was cannot be told.
      list[0].more = [command.slot, ...(command.more ?? []), ...(list[0].more ?? [])];
      for (const one of [command, ...list]) {
        one.right = false;
        if (one.changes) for (const sector of this.range(one)) this.tainted[sector] = 1;
      }
    }
    const right = command.right === true && alone;
    if (command.must) assert.equal(status, 0, "a queue could not be created");
    if (right && !this.faulty && !aborted && command.op !== OP.compare) {
      assert.equal(status, 0, `status ${status.toString(16)} for a command of opcode ${command.op} that is right`);
    }
    if (right && status === 0 && command.op === OP.read) this.checkRead(command);
    if (right && command.op === OP.compare) this.checkCompare(command, status);
    this.leaveFlux(command, right && status === 0);
    if (command.changes && aborted) for (const sector of this.range(command)) this.tainted[sector] = 1;
  }

  *range({ first, blocks }) {
    for (let sector = first; sector < first + blocks; sector++) yield sector;
  }

  enterFlux(command) {
    if (command.first === undefined) return;
    command.versions = [];
    for (const sector of this.range(command)) {
      if (command.changes) {
        this.flux[sector]++;
        this.version[sector]++;
      }
      command.versions.push(this.version[sector]);
      command.restless ||= this.flux[sector] > (command.changes ? 1 : 0);
    }
  }

  leaveFlux(command, known) {
    if (!command.changes) return;
    const size = this.sectorSize;
    let i = 0;
    for (const sector of this.range(command)) {
      const sole = this.version[sector] === command.versions[i] && this.flux[sector] === 1;
      this.flux[sector]--;
      this.version[sector]++;
      if (known && sole && !command.restless && command.data !== undefined) {
        this.unknown[sector] = 0;
        this.content.set(command.data.subarray(i * size, (i + 1) * size), sector * size);
      } else {
        this.unknown[sector] = 1;
      }
      i++;
    }
  }

  /** Whether the model knows what was in a sector all the time that the command was at work. */
  isKnown(command, sector) {
    if (this.unknown[sector] !== 0 || this.tainted[sector] !== 0 || this.flux[sector] !== 0) return false;
    return this.version[sector] === command.versions[sector - command.first];
  }

  checkRead(command) {
    const { slot, pieces, first } = command;
    let position = 0;
    for (const [offset, length] of pieces) {
      for (let i = 0; i < length; i++, position++) {
        const sector = first + Math.floor(position / this.sectorSize);
        if (offset < 0 || !this.isKnown(command, sector)) continue;
        const expected = this.content[first * this.sectorSize + position];
        assert.equal(slot.bytes[offset + i], expected, `byte ${position} of a read of sector ${first}`);
      }
    }
  }

  checkCompare(command, status) {
    const { data, first, blocks } = command;
    for (const sector of this.range(command)) if (!this.isKnown(command, sector)) return;
    const stored = this.content.subarray(first * this.sectorSize, (first + blocks) * this.sectorSize);
    const equal = Buffer.compare(stored, data) === 0;
    if (status === 0) assert(equal, "a comparison of different data succeeded");
    if (status === 0x285) assert(!equal, "a comparison of equal data failed");
  }

  // What a driver should not do

  wrongAccess() {
    if (!this.mad) {
      const offset = this.pick([0x00, 0x08, 0x38, 0x3c, 0x50, 0xe00, 0x1000 + 8 * 9]);
      this.write(offset, this.rng());
      this.slot.write(0, this.below(0x2000), this.pick([1, 2]), this.rng());
      this.slot.read(0, this.below(0x4000), this.pick([1, 2, 4]));
      return;
    }
    for (let i = 0; i < 4; i++) {
      const offset = this.pick([
        0x14,
        0x24,
        0x28,
        0x2c,
        0x30,
        0x34,
        0x1000 + 4 * this.below(10),
        4 * this.below(0x1000),
      ]);
      const small = this.pick([0x0046_0001, 0x0046_4001, 0, this.below(70), this.rng()]);
      this.slot.write(0, offset, this.pick([4, 4, 4, 1, 2]), small);
      this.slot.read(0, this.below(0x4100), this.pick([1, 2, 4]));
    }
    if (this.chance(8)) this.slot.configWrite(this.below(256), this.pick([1, 2, 4]), this.rng());
    if (this.chance(4)) this.slot.configWrite(4, 2, 6);
  }

  snapshot() {
    const state = structuredClone(this.slot.device.snapshot());
    if (this.mad && this.chance(2)) damage(state, this.rng);
    try {
      this.slot.device.restore(state);
    } catch (error) {
      assert(this.mad && error instanceof InputError, error);
      return;
    }
    // What the disk is still at is executed once more; the first execution may end at any time.
    for (const list of this.submitted.values()) {
      for (const command of list) {
        if (command.changes) for (const sector of this.range(command)) this.tainted[sector] = 1;
      }
    }
  }

  finish() {
    for (let i = 0; i < 400 && this.remaining() > 0; i++) {
      this.pass(LONG);
      this.reap();
    }
    assert.equal(this.remaining(), 0, "commands have never completed");
  }

  /** Commands that must complete: all but event requests. */
  remaining() {
    let count = 0;
    for (const list of this.submitted.values()) for (const command of list) if (!command.held) count++;
    return count;
  }
}
