// The virtio network device between a driver that is right or mad, frames, and memory that refuses. A right driver gets
// each frame just as it was, both ways and in order; a mad one only never makes the device throw, run away, reach beyond
// the bus, or behave differently once it is restored from a snapshot.
import assert from "node:assert/strict";
import { VirtioNet } from "../../dist/devices/virtio-net.js";
import { InputError } from "../../dist/util/errors.js";
import { AdapterWorld, BASE, damage, MEMORY, PAGE } from "./world.mjs";

export const name = "virtio-net";

const SIZE = 64;
const RX = 0;
const TX = 1;
const CONTROL = 2;
const QUEUES = 3;
const AREA_BYTES = 0x800;
/** Behind the queues: an indirect table for each descriptor, a command, then buffers. */
const TABLES = QUEUES * 3 * AREA_BYTES;
const TABLE_BYTES = 64;
const COMMAND = TABLES + QUEUES * SIZE * TABLE_BYTES;
const BUFFERS = COMMAND + 512;
const HEADER = 12;
/** A whole queue of the longest chains. */
const MOST_ACCESSES = 50_000;
const MOST_ROUNDS = 200;
const LONGEST_WIRE_FRAME = 16_110;
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const AVAILABLE = 1 << 7;
const USED = 1 << 15;
const NOTIFY = 0x3000;
const MSIX_TABLE = 0x4000;
const NEEDS_RESET = 64;
/** CSUM, GUEST_CSUM, offloads, MTU, MAC, TSO4, TSO6, ECN, merging, status, control, modes, VLAN, own address, speed. */
const NET_BITS = [0, 1, 2, 3, 5, 11, 12, 13, 15, 16, 17, 18, 19, 23, 63];

export function run(rng) {
  new Session(rng).run();
}

class World extends AdapterWorld {
  constructor(options) {
    super(LONGEST_WIRE_FRAME);
    this.nic = new VirtioNet(this.host, { wire: this.wire, queueSize: SIZE, ...options });
    // Bus mastering and memory are on; the slot that would look at that is not here.
    this.nic.config.write(4, 2, 6);
  }

  pass(nanoseconds) {
    const end = this.clock.now() + nanoseconds;
    for (;;) {
      let rounds = 0;
      while (this.clock.runDue() > 0) assert.ok(rounds++ < MOST_ROUNDS, "timers keep each other busy");
      if (this.clock.nextDeadline() > end) break;
      this.clock.skipToNextTimer();
    }
    this.clock.advance(Math.max(0, end - this.clock.now()));
  }
}

/** The driver's side of a queue, in the memory of all worlds. */
class Queue {
  constructor(session, index) {
    Object.assign(this, { session, index, next: 0, wrap: true, used: 0, usedWrap: true });
    this.areas = [0, 1, 2].map((area) => (3 * index + area) * AREA_BYTES);
    /** Identifier → its descriptors, and what belongs to it. */
    this.pending = new Map();
    this.free = Array.from({ length: SIZE }, (_, i) => i);
    for (const area of this.areas) session.all(({ memory }) => memory.fill(0, area, area + AREA_BYTES));
  }

  get packed() {
    return this.session.packed;
  }

  room(count) {
    return this.free.length >= count;
  }

  /** @param elements `[offset in memory, length, writable]` */
  add(elements, indirect, what) {
    const { session } = this;
    let parts = elements.map(([at, length, writable]) => [BASE + at, length, writable ? WRITE : 0]);
    if (indirect) {
      const table = TABLES + (this.index * SIZE + this.free[0]) * TABLE_BYTES;
      parts.forEach(([address, length, flags], i) => {
        const more = this.packed || i === parts.length - 1 ? 0 : NEXT;
        session.descriptor(table + 16 * i, address, length, flags | more, i + 1, this.packed);
      });
      parts = [[BASE + table, 16 * parts.length, INDIRECT]];
    }
    const indices = this.free.splice(0, parts.length);
    const id = indices[0];
    parts.forEach(([address, length, flags], i) => {
      const more = i === parts.length - 1 ? 0 : NEXT;
      if (this.packed) {
        const phase = this.wrap ? AVAILABLE : USED;
        session.descriptor(this.areas[0] + 16 * this.next, address, length, flags | more | phase, id, true);
        this.next = (this.next + 1) % SIZE;
        if (this.next === 0) this.wrap = !this.wrap;
      } else {
        session.descriptor(this.areas[0] + 16 * indices[i], address, length, flags | more, indices[i + 1] ?? 0, false);
      }
    });
    if (!this.packed) {
      session.put16(this.areas[1] + 4 + 2 * (this.next % SIZE), id);
      this.next = (this.next + 1) & 0xffff;
      session.put16(this.areas[1] + 2, this.next);
    }
    this.pending.set(id, { indices, elements, what });
  }

  /** The next buffer that was used, or null. */
  reap() {
    const { view } = this.session.worlds[0];
    let id;
    let written;
    if (this.packed) {
      const at = this.areas[0] + 16 * this.used;
      const flags = view.getUint16(at + 14, true);
      const used = (flags & USED) !== 0;
      if (used !== ((flags & AVAILABLE) !== 0) || used !== this.usedWrap) return null;
      id = view.getUint16(at + 12, true);
      written = (flags & WRITE) === 0 ? 0 : view.getUint32(at + 8, true);
    } else {
      if (view.getUint16(this.areas[2] + 2, true) === (this.used & 0xffff)) return null;
      const at = this.areas[2] + 4 + 8 * (this.used % SIZE);
      id = view.getUint32(at, true);
      written = view.getUint32(at + 4, true);
    }
    const buffer = this.pending.get(id);
    assert.ok(buffer !== undefined, `buffer ${id} of queue ${this.index} was used, but not available`);
    this.pending.delete(id);
    this.free.push(...buffer.indices);
    this.used += this.packed ? buffer.indices.length : 1;
    if (this.packed && this.used >= SIZE) {
      this.used -= SIZE;
      this.usedWrap = !this.usedWrap;
    }
    return { ...buffer, written };
  }

  mustNotify(before) {
    const { view } = this.session.worlds[0];
    if (this.packed) return (view.getUint16(this.areas[2] + 2, true) & 3) !== 1;
    if (!this.session.eventIndex) return (view.getUint16(this.areas[2], true) & 1) === 0;
    const event = view.getUint16(this.areas[2] + 4 + 8 * SIZE, true);
    return ((this.next - event - 1) & 0xffff) < ((this.next - before) & 0xffff);
  }
}

class Session {
  constructor(rng) {
    this.rng = rng;
    this.mad = this.chance(3);
    this.options = { mergeable: !this.chance(3), ...(this.chance(3) ? { mtu: 1500 } : {}) };
    this.worlds = [new World(this.options)];
    this.start();
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

  /** Does the same in all worlds, and wants the same of it. */
  all(action) {
    const results = this.worlds.map((world) => {
      world.accesses = 0;
      const result = action(world);
      assert.ok(world.accesses <= MOST_ACCESSES, `${world.accesses} bus accesses`);
      const { pin, messages, violations } = world;
      return { result, level: pin.level, messages: messages.splice(0), violations: violations.splice(0) };
    });
    for (const result of results.slice(1)) assert.deepEqual(result, results[0]);
    if (!this.mad) assert.deepEqual(results[0].violations, [], "a right driver violated something");
    return results[0].result;
  }

  set(offset, size, value) {
    this.all(({ nic }) => nic.write(0, offset, size, size === 4 ? value >>> 0 : value));
  }

  get(offset, size) {
    return this.all(({ nic }) => nic.read(0, offset, size));
  }

  put16(at, value) {
    for (const { view } of this.worlds) view.setUint16(at, value, true);
  }

  descriptor(at, address, length, flags, number, packed) {
    for (const { view } of this.worlds) {
      view.setUint32(at, address % 2 ** 32, true);
      view.setUint32(at + 4, Math.floor(address / 2 ** 32), true);
      view.setUint32(at + 8, length, true);
      view.setUint16(at + 12, packed ? number : flags, true);
      view.setUint16(at + 14, packed ? flags : number, true);
    }
  }

  bytes(length) {
    const content = new Uint8Array(length);
    for (let i = 0, value = this.rng(); i < length; i++) {
      content[i] = value >>> 16;
      value = Math.imul(value, 0x9e37_79b1) + 1;
    }
    return content;
  }

  /** From reset to DRIVER_OK. */
  start() {
    this.set(0x14, 1, 0);
    assert.equal(this.get(0x14, 1), 0);
    this.packed = this.chance(2);
    this.eventIndex = this.chance(2);
    this.indirect = this.chance(2);
    // Without modes (18) and what they are for, all frames are wanted.
    this.modes = this.chance(2);
    const leftOut = [...(this.modes ? [] : [18, 19]), ...(this.chance(4) ? [15] : []), ...(this.chance(4) ? [1] : [])];
    const bits = [32, 33, ...NET_BITS.filter((bit) => !leftOut.includes(bit))];
    if (this.packed) bits.push(34);
    if (this.eventIndex) bits.push(29);
    if (this.indirect) bits.push(28);
    for (const status of [1, 3]) this.set(0x14, 1, status);
    const accepted = [0, 1].map((word) => {
      let mask = 0;
      for (const bit of bits) if (bit >>> 5 === word) mask |= 1 << (bit & 31);
      this.set(0x00, 4, word);
      const taken = (mask & this.get(0x04, 4)) >>> 0;
      this.set(0x08, 4, word);
      this.set(0x0c, 4, taken);
      return taken;
    });
    this.merging = (accepted[0] & (1 << 15)) !== 0;
    this.set(0x14, 1, 11);
    assert.equal(this.get(0x14, 1), 11, "right features were refused");
    this.queues = [];
    for (let index = 0; index < QUEUES; index++) {
      const queue = new Queue(this, index);
      this.queues.push(queue);
      this.set(0x16, 2, index);
      this.set(0x18, 2, SIZE);
      queue.areas.forEach((area, i) => {
        this.set(0x20 + 8 * i, 4, (BASE + area) % 2 ** 32);
        this.set(0x24 + 8 * i, 4, Math.floor((BASE + area) / 2 ** 32));
      });
      this.set(0x1a, 2, this.pick([0xffff, index + 1]));
      this.set(0x1c, 2, 1);
    }
    for (let vector = 0; vector < 4; vector++) {
      this.set(MSIX_TABLE + 16 * vector, 4, 0xfee0_0000);
      this.set(MSIX_TABLE + 16 * vector + 8, 4, vector);
      this.set(MSIX_TABLE + 16 * vector + 12, 4, this.chance(4) ? 1 : 0);
    }
    const messages = this.chance(2) ? 0x8000 : 0;
    this.all(({ nic }) => nic.config.write(0x42, 2, messages));
    this.set(0x10, 2, this.pick([0, 0xffff]));
    this.set(0x14, 1, 15);
    this.expected = [];
    this.sent = [];
    this.checked = 0;
    this.places = { rx: 0, tx: 0 };
    for (const world of this.worlds) world.sent.length = 0;
    if (this.modes) this.command([0, 0, 1], 0);
  }

  run() {
    const steps = 20 + this.below(80);
    const twinAt = this.below(steps);
    for (let step = 0; step < steps; step++) {
      if (step === twinAt) this.worlds.push(this.twinOf(this.worlds[0]));
      this.step();
    }
    if (!this.mad) this.finish();
    const [original, twin] = this.worlds;
    assert.deepEqual(twin.memory, original.memory);
    assert.deepEqual(twin.sent, original.sent);
    assert.deepEqual(twin.nic.snapshot(), original.nic.snapshot());
  }

  step() {
    const what = this.below(this.mad ? 16 : 10);
    if (what < 3) this.send();
    else if (what < 5) this.post();
    else if (what < 7) this.arrive();
    else if (what === 7) this.reapAll();
    else if (what === 8) this.sundry();
    else if (what === 9) {
      if (this.chance(8)) this.start();
    } else if (what < 13) this.scribble();
    else this.wrongAccess();
  }

  notify(index, before) {
    if (this.queues[index].mustNotify(before)) this.set(NOTIFY + 4 * index, 2, index);
    else assert.equal(index, RX, `queue ${index} does not want to be notified`);
  }

  /** Cuts a range into elements. */
  pieces(at, length, writable, most) {
    const elements = [];
    const count = 1 + this.below(most);
    for (let i = 0, start = 0; i < count && start < length; i++) {
      const end = i === count - 1 ? length : start + 1 + this.below(length - start);
      elements.push([at + start, end - start, writable]);
      start = end;
    }
    return elements;
  }

  send() {
    const queue = this.queues[TX];
    const before = queue.next;
    for (let count = 1 + this.below(8); count > 0; count--) {
      if (!this.mad) while (queue.reap() !== null);
      if (!queue.room(4)) break;
      const frame = this.bytes(this.pick([14, 60, 61, 300, 1514, 14 + this.below(1500)]));
      const at = BUFFERS + (this.places.tx++ % 16) * 1536;
      const header = new Uint8Array(HEADER);
      if (this.mad && this.chance(2)) header.set([this.below(4), this.pick([0, 1, 4, 0x81, this.below(256)])]);
      if (this.mad) header.set(this.bytes(8), 2);
      for (const { memory } of this.worlds) {
        memory.set(header, at);
        memory.set(frame, at + HEADER);
      }
      queue.add(this.pieces(at, HEADER + frame.length, false, 4), this.indirect && this.chance(2));
      // The place is used again after 16 frames.
      if (!this.mad) this.notify(TX, before);
      this.sent.push(Buffer.from(frame).toString("latin1"));
    }
    if (this.mad) this.set(NOTIFY + 4, 2, TX);
    else this.checkSent();
  }

  checkSent() {
    const { sent } = this.worlds[0];
    assert.equal(sent.length, this.sent.length, "not as many frames were sent as were queued");
    for (; this.checked < sent.length; this.checked++) {
      assert.equal(sent[this.checked], this.sent[this.checked], "what was sent is not what was queued");
    }
  }

  post() {
    const queue = this.queues[RX];
    const before = queue.next;
    for (let count = this.below(20); count > 0 && queue.room(4); count--) {
      // As many places as buffers can be pending.
      const at = BUFFERS + 16 * 1536 + (this.places.rx++ % SIZE) * 1536;
      if (at + 1536 > MEMORY) continue;
      if ([...queue.pending.values()].some(({ what }) => what === at)) continue;
      const length = this.merging ? 100 + this.below(1400) : 1526 + this.below(10);
      queue.add(this.pieces(at, length, true, 3), this.indirect && this.chance(2), at);
    }
    if (this.mad) this.set(NOTIFY, 2, RX);
    else this.notify(RX, before);
  }

  arrive() {
    for (let count = 1 + this.below(20); count > 0; count--) {
      const length = this.mad ? this.below(3000) : 14 + this.below(1500);
      const content = this.bytes(length);
      // Not tagged, so that no filter looks at it.
      if (length > 13) content.set([0x08, 0x06], 12);
      const before = this.worlds[0].nic.dropped;
      this.all(({ arrive }) => arrive(content.slice(), 0, length));
      if (this.mad) continue;
      const waiting = this.expected.reduce((sum, frame) => sum + frame.length + 4, 0);
      const dropped = this.worlds[0].nic.dropped - before;
      assert.ok(dropped === 0 || waiting > 40_000, "a frame was dropped for which there was room");
      if (dropped === 0) this.expected.push(Buffer.from(content).toString("latin1"));
    }
    this.reapReceived();
  }

  reapAll() {
    if (this.mad) return;
    while (this.queues[TX].reap() !== null);
    this.reapReceived();
  }

  reapReceived() {
    if (this.mad) return;
    const { memory } = this.worlds[0];
    const queue = this.queues[RX];
    for (let first = queue.reap(); first !== null; first = queue.reap()) {
      const parts = [this.stored(first, memory)];
      const buffers = parts[0].readUInt16LE(10);
      assert.ok(buffers >= 1 && (this.merging || buffers === 1));
      for (let i = 1; i < buffers; i++) {
        const next = queue.reap();
        assert.ok(next !== null, "a frame was shown in part");
        parts.push(this.stored(next, memory));
      }
      const frame = Buffer.concat(parts).subarray(HEADER).toString("latin1");
      assert.equal(frame, this.expected.shift(), "a frame did not come in as it was");
    }
  }

  stored({ elements, written }, memory) {
    const all = Buffer.concat(elements.map(([at, length]) => memory.subarray(at, at + length)));
    assert.ok(written <= all.length, "more is said to be written than there is room for");
    return all.subarray(0, written);
  }

  /** Gives a command; the answer must be `expected`. */
  command(data, expected) {
    const queue = this.queues[CONTROL];
    const at = COMMAND;
    const before = queue.next;
    for (const { memory } of this.worlds) {
      memory.set(data, at);
      memory[at + data.length] = 0xff;
    }
    if (!queue.room(2)) return;
    queue.add(
      [
        [at, data.length, false],
        [at + data.length, 1, true],
      ],
      false,
    );
    if (this.mad) {
      this.set(NOTIFY + 4 * CONTROL, 2, CONTROL);
      return;
    }
    this.notify(CONTROL, before);
    assert.equal(this.worlds[0].memory[at + data.length], expected);
    assert.equal(queue.reap()?.written, 1);
  }

  sundry() {
    switch (this.below(6)) {
      case 0: {
        const up = this.chance(2);
        this.all((world) => {
          world.carrier = up;
          world.carrierChanged(up);
        });
        assert.ok(this.mad || this.get(0x2006, 2) === (up ? 1 : 0));
        break;
      }
      case 1:
        this.get(0x1000, 1);
        break;
      case 2:
        this.all((world) => world.pass(this.below(2) * 1000));
        break;
      case 3:
        this.command([1, 1, 2, ...this.bytes(5)], 0);
        break;
      case 4:
        if (this.modes || this.mad) this.command([2, this.below(2), this.below(256), this.below(16)], 0);
        break;
      default:
        if (this.mad) this.command([this.below(7), this.below(3), ...this.bytes(this.below(40))], 0);
        // What the driver wants to be notified of.
        for (const { areas } of this.queues) {
          this.put16(areas[1] + (this.packed ? 2 : 0), this.packed ? this.pick([0, 1]) : 0);
          if (!this.packed && this.eventIndex) this.put16(areas[1] + 4 + 2 * SIZE, this.rng() & 0xffff);
        }
    }
  }

  // What a driver should not do

  scribble() {
    if (this.chance(4)) {
      const page = this.below(MEMORY / PAGE);
      const refuse = this.chance(2);
      for (const { refused } of this.worlds) {
        if (refuse) refused.add(page);
        else refused.clear();
      }
    }
    for (let i = 0; i < 8; i++) {
      const at = this.chance(2) ? this.below(BUFFERS) : this.below(3 * QUEUES) * AREA_BYTES + this.below(16);
      const value = this.pick([0, 1, 2, 3, 5, 0x80, 0x81, 0x8000, SIZE, this.rng()]) & 0xffff;
      this.put16(at & ~1, value);
    }
    if (this.chance(3)) {
      const low = BASE % 2 ** 32;
      const flags = this.below(8) | this.pick([0, AVAILABLE, USED]);
      const address = this.pick([BASE, BASE + TABLES, BASE + this.below(MEMORY), low, this.rng() * 2 ** 20]);
      const length = this.pick([16, 64, 1024, this.below(70_000), this.rng()]);
      const at = this.pick([0, 3, 6]) * AREA_BYTES + 16 * this.below(SIZE);
      this.descriptor(at, address, length, flags, this.below(SIZE + 2), this.packed);
    }
    if ((this.get(0x14, 1) & NEEDS_RESET) !== 0 && this.chance(2)) this.start();
  }

  wrongAccess() {
    const size = this.pick([1, 2, 4]);
    const value = this.pick([0, 1, 2, 3, 0x40, 0xff, this.rng()]);
    const offset = this.pick([this.below(0x40), this.below(0x40), NOTIFY + this.below(16), this.below(0x8000 - 4)]);
    this.get(offset, size);
    this.set(offset, size, size === 4 ? value : value & (size === 2 ? 0xffff : 0xff));
    if (this.chance(3)) this.set(NOTIFY + 4 * this.below(4), 2, this.below(4));
    if (this.chance(4)) {
      const at = this.below(256);
      this.all(({ nic }) => nic.config.write(at, size, value >>> 0));
      this.all(({ nic }) => nic.config.read(at, size));
    }
    if (this.chance(3)) this.start();
  }

  /** Another device in the same state; on the way a damaged snapshot is tried. */
  twinOf(world) {
    const twin = new World(this.options);
    twin.copyFrom(world);
    twin.sent = [...world.sent];
    const state = world.nic.snapshot();
    assert.deepEqual(structuredClone(state), state);
    if (this.chance(2)) this.tryDamaged(structuredClone(state), world);
    twin.nic.restore(structuredClone(state));
    assert.deepEqual(twin.nic.snapshot(), state);
    assert.equal(twin.pin.level, world.pin.level);
    twin.violations.length = 0;
    twin.messages.length = 0;
    return twin;
  }

  tryDamaged(state, original) {
    damage(state, this.rng);
    const world = new World(this.options);
    world.copyFrom(original);
    try {
      world.nic.restore(state);
    } catch (error) {
      assert.ok(error instanceof InputError, String(error));
    }
    for (let queue = 0; queue < QUEUES; queue++) world.nic.write(0, NOTIFY + 4 * queue, 2, queue);
    world.arrive(new Uint8Array(60).fill(255), 0, 60);
    world.pass(1_000_000);
    world.nic.snapshot();
  }

  finish() {
    this.arrive();
    for (let i = 0; i < 100 && this.expected.length > 0; i++) {
      this.post();
      this.reapReceived();
    }
    assert.equal(this.expected.length, 0, "frames never came in");
  }
}
