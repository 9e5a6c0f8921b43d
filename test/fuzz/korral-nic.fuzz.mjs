// The K1 between a driver, frames and memory that refuses: a buffer is written only while it is posted, each posted
// buffer completes once, each frame is counted once and goes where the programs say, work stays bounded, and a board that
// was restored from a snapshot behaves the same from then on.
import assert from "node:assert/strict";
import * as k1 from "../../dist/devices/korral-nic/registers.js";
import { KorralNic } from "../../dist/devices/korral-nic.js";
import { LONGEST_FRAME_BYTES } from "../../dist/devices/wire.js";
import * as bpf from "../../dist/filter/bpf.js";
import { interpret } from "../../dist/filter/interpret.js";
import { verifyProgram } from "../../dist/filter/verify.js";
import { InputError } from "../../dist/util/errors.js";
import { AdapterWorld, BASE, damage, MEMORY, PAGE } from "./world.mjs";

export const name = "korral-nic";

const PROGRAM_AT = 0x8000;
const BUFFERS_AT = 0xc000;
const BUFFER = 512;
const BUFFERS = (MEMORY - BUFFERS_AT) / BUFFER;
const MOST_ACCESSES = 30_000;
const { Queue, Receive, Register, Statistic } = k1;
const FATES = 7;

/** A board in its surroundings. */
class World extends AdapterWorld {
  nic;

  constructor(queues) {
    super(LONGEST_FRAME_BYTES);
    this.nic = new KorralNic(this.host, { wire: this.wire, queues });
  }
}

export function run(rng) {
  const below = (bound) => rng() % bound;
  const pick = (list) => list[below(list.length)];
  const chance = (oneIn) => below(oneIn) === 0;

  const queues = pick([1, 2, 4]);
  /** A driver that keeps to the data sheet, or one that does anything. */
  const tame = !chance(4);
  const worlds = [new World(queues)];
  const first = worlds[0];

  const all = (action) => {
    const results = worlds.map((world) => {
      world.accesses = 0;
      const result = action(world);
      assert.ok(world.accesses <= MOST_ACCESSES, `${world.accesses} bus accesses`);
      return result;
    });
    for (const result of results) assert.deepEqual(result, results[0]);
    return results[0];
  };
  const set = (offset, value) => all(({ nic }) => nic.write(0, offset, 4, value >>> 0));
  const get = (offset) => all(({ nic }) => nic.read(0, offset, 4));
  const poke = (at, value) => all(({ view }) => view.setUint32(at, value, true));
  const setAddress = (offset, at) => {
    set(offset, (BASE + at) % 2 ** 32);
    set(offset + 4, Math.floor((BASE + at) / 2 ** 32));
  };
  const counters = () => Array.from({ length: FATES }, (_, i) => get(k1.Region.statistics + 8 * i));

  /** What the driver knows; the transmit queue is the last. */
  const ends = Array.from({ length: queues + 1 }, (_, i) => ({
    block: i < queues ? k1.Region.receive + k1.QUEUE_BLOCK * i : k1.Region.transmit,
    transmits: i === queues,
    ring: 0x1000 * i,
    completions: 0x1000 * i + 0x800,
    size: 0,
    tail: 0,
    next: 0,
    phase: 1,
    enabled: false,
    /** Receive: cookie → buffer that the board holds. Transmit: cookies of frames under way. */
    held: new Map(),
    program: null,
  }));
  const receivers = ends.slice(0, queues);
  const transmitter = ends[queues];
  const free = Array.from({ length: BUFFERS }, (_, i) => i);
  const owner = Array(BUFFERS).fill(null);
  let cookies = 1;
  let frame = null;
  let lastStored = -1;

  const entries = (end) => 1 << end.size;
  const letGo = (end) => {
    for (const buffer of end.held.values()) {
      if (end.transmits) continue;
      owner[buffer.index] = null;
      free.push(buffer.index);
    }
    end.held.clear();
  };

  /** The board wrote to memory: into a posted buffer, or a completion, and nowhere else. */
  function onWrite(at, length) {
    if (at >= BUFFERS_AT) {
      const index = Math.floor((at - BUFFERS_AT) / BUFFER);
      const buffer = owner[index];
      assert.ok(buffer !== null, `buffer ${index} is written, but nobody posted it`);
      assert.equal(at, BUFFERS_AT + index * BUFFER + buffer.skip);
      assert.equal(length, Math.min(frame.length, buffer.length));
      lastStored = index;
      return;
    }
    const end = ends[Math.floor(at / 0x1000)];
    assert.ok(end?.enabled && length === 16 && at >= end.completions && at < end.completions + 16 * entries(end));
    const cookie = first.view.getUint32(at, true);
    const stored = first.view.getUint16(at + 4, true);
    const flags = first.view.getUint32(at + 12, true);
    const buffer = end.held.get(cookie);
    assert.ok(buffer !== undefined, `cookie ${cookie} completes, but is not posted, or completed before`);
    end.held.delete(cookie);
    if (end.transmits) return;
    owner[buffer.index] = null;
    free.push(buffer.index);
    if ((flags & (k1.Completion.WITHDRAWN | k1.Completion.ERROR)) !== 0) return;
    assert.equal(buffer.index, lastStored);
    assert.equal(stored, Math.min(frame.length, buffer.length));
    const start = BUFFERS_AT + buffer.index * BUFFER + buffer.skip;
    assert.deepEqual(first.memory.subarray(start, start + stored), frame.bytes.subarray(0, stored));
  }
  if (tame) first.onWrite = onWrite;

  /** After a completion that was refused, the board has let go of everything. */
  function noticeErrors() {
    for (const end of ends) {
      const state = get(end.block + Queue.STATE);
      if ((state & k1.State.ERROR) === 0) continue;
      if (end.transmits || state >>> k1.State.CODE_SHIFT === k1.ErrorCode.COMPLETION) letGo(end);
    }
  }

  function disable(end) {
    set(end.block + Queue.ENABLE, 0);
    assert.equal(get(end.block + Queue.POSTED), 0);
    letGo(end);
    end.enabled = false;
  }

  function enable(end) {
    if (end.enabled) disable(end);
    end.size = 1 + below(6);
    setAddress(end.block + Queue.RING, end.ring);
    setAddress(end.block + Queue.COMPLETIONS, end.completions);
    set(end.block + Queue.SIZE, end.size);
    all(({ memory }) => memory.fill(0, end.completions, end.completions + 16 * entries(end)));
    set(end.block + Queue.ENABLE, 1);
    assert.equal(get(end.block + Queue.STATE), k1.State.ENABLED);
    Object.assign(end, { enabled: true, tail: 0, next: 0, phase: 1 });
  }

  function room(end) {
    const unread = (get(end.block + Queue.WRITTEN) - end.next) & (entries(end) - 1);
    return entries(end) - 1 - unread - get(end.block + Queue.POSTED);
  }

  function usable(end) {
    return end.enabled && (get(end.block + Queue.STATE) & k1.State.ERROR) === 0;
  }

  function descriptor(end, address, lengthAndFlags, cookie) {
    const at = end.ring + 16 * end.tail;
    poke(at, address % 2 ** 32);
    poke(at + 4, Math.floor(address / 2 ** 32));
    poke(at + 8, lengthAndFlags);
    poke(at + 12, cookie);
    end.tail = (end.tail + 1) & (entries(end) - 1);
  }

  function post() {
    const end = pick(receivers);
    if (!usable(end)) return;
    for (let left = Math.min(room(end), 1 + below(8)); left > 0 && free.length > 0; left--) {
      const index = free.splice(below(free.length), 1)[0];
      const skip = below(8);
      const length = chance(20) ? 0 : 1 + below(BUFFER - skip);
      const buffer = { index, skip, length };
      owner[index] = buffer;
      end.held.set(cookies, buffer);
      descriptor(end, BASE + BUFFERS_AT + index * BUFFER + skip, length, cookies++);
    }
    const before = cookies;
    set(end.block + Queue.TAIL, end.tail);
    noticeErrors();
    // Descriptors that the board could not read are the driver's again.
    const left = (end.tail - get(end.block + Queue.HEAD)) & (entries(end) - 1);
    for (let cookie = before - left; cookie < before; cookie++) {
      const buffer = end.held.get(cookie);
      if (buffer === undefined) continue;
      end.held.delete(cookie);
      owner[buffer.index] = null;
      free.push(buffer.index);
    }
  }

  function transmit() {
    const end = transmitter;
    if (!usable(end)) return;
    for (let left = Math.min(room(end), 1 + below(6)); left > 0; left--) {
      const last = chance(2) ? k1.DESCRIPTOR_LAST : 0;
      if (last !== 0) end.held.set(cookies, null);
      const length = chance(10) ? below(65_536) : below(300);
      descriptor(end, BASE + below(MEMORY), length | last, cookies++);
    }
    set(end.block + Queue.TAIL, end.tail);
    noticeErrors();
  }

  function take() {
    const end = pick(ends);
    if (!end.enabled) return;
    for (let most = below(20); most > 0; most--) {
      const flags = first.view.getUint32(end.completions + 16 * end.next + 12, true);
      if ((flags & k1.Completion.PHASE) !== end.phase) break;
      end.next = (end.next + 1) & (entries(end) - 1);
      if (end.next === 0) end.phase ^= 1;
    }
    set(end.block + Queue.TAKEN, end.next + (chance(2) ? k1.ARM : 0));
  }

  function withdraw() {
    const end = pick(receivers);
    const before = end.held.size;
    if (chance(2)) {
      const cookie = chance(4) ? below(cookies) : (pick([...end.held.keys()]) ?? 0);
      const posted = end.held.has(cookie);
      set(end.block + Receive.COOKIE, cookie);
      set(end.block + Receive.WITHDRAW, k1.Withdraw.ONE);
      noticeErrors();
      const state = get(end.block + Queue.STATE) >>> k1.State.CODE_SHIFT;
      if (state === 0) assert.equal(get(end.block + Receive.WITHDRAWN), posted ? 1 : 0);
      assert.ok(!end.held.has(cookie));
    } else {
      set(end.block + Receive.WITHDRAW, k1.Withdraw.ALL);
      noticeErrors();
      assert.equal(end.held.size, 0);
      assert.ok(get(end.block + Receive.WITHDRAWN) <= before);
    }
    assert.equal(get(end.block + Queue.POSTED), end.held.size);
  }

  function load() {
    const end = pick(receivers);
    if (chance(6)) {
      set(end.block + Receive.LOAD, k1.Load.CLEAR);
      end.program = null;
      return;
    }
    const program = chance(3) ? anything() : sensible();
    const bytes = bpf.encodeProgram(program);
    all(({ memory }) => memory.set(bytes, PROGRAM_AT));
    const short = chance(10) ? below(program.length + 1) : program.length;
    setAddress(end.block + Receive.PROGRAM, PROGRAM_AT);
    set(end.block + Receive.COUNT, short);
    set(end.block + Receive.LOAD, k1.Load.VERIFY);
    const verdict = get(end.block + Receive.VERDICT) & 0xff;
    const readable = !first.refused.has(PROGRAM_AT / PAGE);
    const verified = readable && verifies(program.slice(0, short));
    assert.equal(verdict === k1.Verdict.ACCEPTED, verified);
    if (verified) end.program = program.slice(0, short);
  }

  function sensible() {
    const load = chance(4) ? bpf.LD | bpf.B | bpf.ABS : bpf.LD | bpf.H | bpf.ABS;
    return [
      { code: load, jt: 0, jf: 0, k: pick([0, 4, 12, 12, 12, 14, 58, 70]) },
      {
        code: bpf.JMP | pick([bpf.JEQ, bpf.JGT, bpf.JSET]) | bpf.K,
        jt: below(2),
        jf: below(2),
        k: pick([0, 1, 0x45, 0x800, 0x806]),
      },
      { code: bpf.RET | bpf.K, jt: 0, jf: 0, k: below(2) },
      { code: bpf.RET | bpf.K, jt: 0, jf: 0, k: below(2) },
    ];
  }

  function anything() {
    return Array.from({ length: 1 + below(12) }, (_, i) => ({
      code: chance(8)
        ? below(0x10000)
        : pick([0x28, 0x30, 0x48, 0x15, 0x25, 0x45, 0x06, 0x16, 0x02, 0x60, 0x07, 0x87, 0x0c, 0x3c, 0xb1, 0x47]),
      jt: below(i < 8 ? 4 : 2),
      jf: pick([0, 1, 4, 6]),
      k: pick([0, 1, 12, 14, 15, 16, 0x800, 0xffffffff]),
    }));
  }

  function arrive() {
    const length = pick([0, 13, 14, 60, 60, 60, 61, 64, 128, 129, 1514, 16_110, 16_111]);
    const bytes = new Uint8Array(length);
    for (let i = 0; i < Math.min(length, 80); i++) bytes[i] = rng();
    bytes.set([0x02, 0x4b, 0x31, 0, 0, chance(8) ? 2 : 1].slice(0, length));
    if (length >= 15) bytes.set([0x08, pick([0, 6]), 0x45], 12);
    frame = { bytes, length };
    const offset = below(5);
    const lent = new Uint8Array(length + offset);
    lent.set(bytes, offset);
    const before = counters();
    const failed = receivers.map(({ block }) => (get(block + Queue.STATE) & k1.State.ERROR) !== 0);
    all((world) => world.arrive(lent, offset, length));
    const after = counters();
    const fates = after.map((count, i) => count - before[i]);
    assert.equal(
      fates.reduce((sum, count) => sum + count),
      1,
      `a frame has the fates ${fates}`,
    );
    if (tame) checkFate(fates.indexOf(1), failed);
    noticeErrors();
  }

  function checkFate(fate, failed) {
    const stored = lastStored >= 0;
    lastStored = -1;
    assert.equal(stored, fate === Statistic.RX_FRAMES);
    const passed = [Statistic.RX_UNCLAIMED, Statistic.RX_NO_BUFFER, Statistic.RX_FRAMES, Statistic.RX_FAULT];
    if (!passed.includes(fate)) return;
    const { bytes, length } = frame;
    let end = receivers.find(
      ({ enabled, program }) => enabled && program !== null && interpret(program, bytes, 0, length, length) !== 0,
    );
    const fallback = get(Register.DEFAULT);
    if (end === undefined && fallback >>> 31 === 1) {
      const chosen = receivers[fallback & k1.DEFAULT_QUEUE];
      if (chosen.enabled) end = chosen;
    }
    assert.equal(fate === Statistic.RX_UNCLAIMED, end === undefined);
    if (end === undefined) return;
    if (failed[receivers.indexOf(end)]) assert.equal(fate, Statistic.RX_NO_BUFFER);
    end.frames = (end.frames ?? 0) + (stored ? 1 : 0);
    end.drops = (end.drops ?? 0) + (fate === Statistic.RX_NO_BUFFER ? 1 : 0);
    assert.equal(get(end.block + Receive.FRAMES), end.frames);
    assert.equal(get(end.block + Receive.DROPS), end.drops);
  }

  function refuse() {
    const page = pick(
      [pick(ends).ring, PROGRAM_AT, BUFFERS_AT + below(MEMORY - BUFFERS_AT)].map((at) => Math.floor(at / PAGE)),
    );
    const on = chance(2);
    all(({ refused }) => (on ? refused.add(page).size : refused.delete(page)));
  }

  function control() {
    const value = chance(6) ? below(64) & ~1 : k1.Control.RXEN | k1.Control.TXEN | (below(8) << 3);
    set(Register.CONTROL, value);
    noticeErrors();
    if (chance(2)) set(Register.DEFAULT, k1.VALID + below(queues + 1));
    set(Register.MASK, below(8));
    set(Register.CAUSE, below(8));
  }

  function carrier() {
    const up = chance(2);
    all((world) => {
      world.carrier = up;
      world.carrierChanged(up);
    });
  }

  function vectors() {
    const entry = k1.Region.msixTable + 16 * below(queues + 3);
    set(entry, 0xfee0_0000);
    set(entry + 8, below(256));
    set(entry + 12, below(2));
    const capability = 0x48;
    all(({ nic }) => nic.config.write(capability + 2, 2, pickless(first.messages.length)));
  }
  const pickless = (count) => [0x8000, 0xc000, 0x8000, 0][count & 3];

  function anyAccess() {
    const offset = chance(2)
      ? pick([0, 0x80, 0x100, 0x800, 0x1000, 0x1100, 0xe000, 0xf000]) + below(0x90)
      : below(0x10010) - 8;
    const size = pick([1, 2, 4, 4, 4, 4]);
    const at = chance(4) ? offset : offset & ~3;
    const value = chance(2) ? below(16) : rng();
    const bar = chance(50) ? 1 : 0;
    if (chance(3)) all(({ nic }) => nic.read(bar, at, size));
    else all(({ nic }) => nic.write(bar, at, size, value));
  }

  /** Rings and programs at plausible places, the rest left to chance. */
  function wildSetUp() {
    const end = pick(ends);
    set(end.block + Queue.ENABLE, below(2));
    setAddress(end.block + Queue.RING, 16 * below(MEMORY / 16));
    setAddress(end.block + Queue.COMPLETIONS, 16 * below(MEMORY / 16));
    set(end.block + Queue.SIZE, below(15));
    set(end.block + Queue.ENABLE, 1);
    set(end.block + Queue.TAIL, below(20));
    set(end.block + Queue.TAKEN, below(20) + (chance(2) ? k1.ARM : 0));
  }

  function scribble() {
    const at = 4 * below(MEMORY / 4 - 2);
    const value = chance(2) ? BASE + below(MEMORY) : rng();
    poke(at, value % 2 ** 32);
    poke(at + 4, Math.floor(value / 2 ** 32));
    poke(at + 8, rng());
  }

  const tameActions = [
    post,
    post,
    post,
    arrive,
    arrive,
    arrive,
    arrive,
    take,
    take,
    withdraw,
    transmit,
    load,
    refuse,
    control,
    carrier,
    vectors,
  ];
  tameActions.push(() => (chance(3) ? enable : disable)(pick(ends)));
  const wildActions = [anyAccess, anyAccess, anyAccess, wildSetUp, scribble, arrive, arrive, vectors, carrier, refuse];

  set(Register.CONTROL, k1.Control.RXEN | k1.Control.TXEN | k1.Control.PROMISCUOUS);
  for (const end of ends) enable(end);
  load();
  const steps = 10 + below(60);
  const forkAt = below(steps);
  for (let step = 0; step < steps; step++) {
    if (step === forkAt) fork();
    pick(tame ? tameActions : wildActions)();
  }
  for (const { violations } of worlds) assert.ok(violations.every((rule) => rule.startsWith("korral-nic-")));
  const compared = worlds.slice(1);
  for (const world of compared) {
    assert.deepEqual(world.memory, first.memory);
    assert.deepEqual(world.nic.snapshot(), first.nic.snapshot());
    assert.deepEqual(world.sent, first.sent.slice(first.sent.length - world.sent.length));
    assert.deepEqual(world.messages, first.messages.slice(first.messages.length - world.messages.length));
  }

  function fork() {
    const state = structuredClone(first.nic.snapshot());
    const world = new World(queues);
    world.copyFrom(first);
    world.nic.restore(state);
    assert.deepEqual(world.nic.snapshot(), state);
    worlds.push(world);
    refuseDamaged(state);
  }

  /** A damaged snapshot is refused by name, or is one that the board can go on from. */
  function refuseDamaged(state) {
    const damaged = structuredClone(state);
    damage(damaged, rng);
    const world = new World(queues);
    try {
      world.nic.restore(damaged);
    } catch (error) {
      assert.ok(error instanceof InputError, error.stack);
      return;
    }
    world.arrive(new Uint8Array(60), 0, 60);
    for (const { block } of ends) {
      world.nic.write(0, block + Queue.TAIL, 4, 1);
      world.nic.write(0, block + Receive.WITHDRAW, 4, k1.Withdraw.ALL);
    }
    assert.ok(world.accesses <= MOST_ACCESSES);
  }
}

function verifies(program) {
  try {
    verifyProgram(program);
  } catch {
    return false;
  }
  return true;
}
