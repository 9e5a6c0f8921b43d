// The Am79C970A between a driver, frames and memory that refuses: memory is touched only through the bus, work stays
// bounded, nothing is thrown, and an adapter restored from a snapshot behaves the same from then on.
import assert from "node:assert/strict";
import { Bcr, Csr, Csr0, Csr4, Csr5 } from "../../dist/devices/pcnet/registers.js";
import { Pcnet } from "../../dist/devices/pcnet.js";
import { InputError } from "../../dist/util/errors.js";
import { AdapterWorld, damage, MEMORY, PAGE } from "./world.mjs";

export const name = "pcnet";

/** Low enough for 24-bit addresses. */
const BASE = 0x71_0000;
const BLOCK = 0;
const RX_RING = 0x1000;
const TX_RING = 0x2000;
const BUFFERS = 0x4000;
const MOST_ACCESSES = 20_000;
const MOST_ROUNDS = 1000;
const LONGEST_WIRE_FRAME = 16_110;

class World extends AdapterWorld {
  nic;

  constructor(options) {
    super(LONGEST_WIRE_FRAME, BASE);
    this.options = options;
    this.busy = false;
    Object.defineProperty(this.wire, "busy", { get: () => this.busy });
    this.nic = new Pcnet(this.host, { wire: this.wire, ...options });
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

export function run(rng) {
  const below = (bound) => rng() % bound;
  const pick = (list) => list[below(list.length)];
  const chance = (oneIn) => below(oneIn) === 0;
  /** A driver that keeps to the data sheet mostly, or one that does anything. */
  const tame = !chance(4);
  const style = pick([0, 2, 2, 3]);
  const stride = style === 0 ? 8 : 16;
  const worlds = [new World({ exactFcs: chance(2) })];
  const dwio = chance(4);

  const all = (action) => {
    const results = worlds.map((world) => {
      world.accesses = 0;
      const result = action(world);
      assert.ok(world.accesses <= MOST_ACCESSES, `${world.accesses} bus accesses`);
      const { pin, violations } = world;
      return { result, level: pin.level, violations: violations.splice(0) };
    });
    for (const result of results) assert.deepEqual(result, results[0]);
    return results[0].result;
  };
  const out = (offset, value) => all(({ nic }) => nic.write(0, offset, dwio ? 4 : 2, value));
  const into = (offset) => all(({ nic }) => nic.read(0, offset, dwio ? 4 : 2));
  const select = (register) => out(dwio ? 0x14 : 0x12, register);
  const setCsr = (register, value) => {
    select(register);
    out(0x10, value & 0xffff);
  };
  const setBcr = (register, value) => {
    select(register);
    out(dwio ? 0x1c : 0x16, value & 0xffff);
  };
  const poke = (at, value) => all(({ view }) => view.setUint32(at, value >>> 0, true));
  const bytes = (length) => Uint8Array.from({ length }, () => rng());
  const place = () => (tame || !chance(8) ? BASE + BUFFERS + below(0x8000) : below(2 ** 32));
  const slots = { tx: 0, rx: 0, txLength: 1, rxLength: 1 };

  const descriptor = (ring, index, status, count) => {
    const at = ring + index * stride;
    const address = place();
    const length = -count & 0xffff;
    if (style === 0) {
      poke(at + 4, length);
      poke(at, (address & 0xff_ffff) | ((status >>> 8) << 24));
      return;
    }
    poke(at + (style === 3 ? 8 : 0), address);
    poke(at + (style === 3 ? 0 : 8), rng());
    poke(at + 4, length | (status << 16));
  };
  const postReceive = () => {
    descriptor(RX_RING, slots.rx, 0x8000, pick([1542, 1542, 64, 4096, 1 + below(4096)]));
    slots.rx = (slots.rx + 1) % slots.rxLength;
  };
  const postTransmit = (flags, count) => {
    descriptor(TX_RING, slots.tx, tame || !chance(8) ? 0x8000 | flags : rng() & 0xffff, count);
    slots.tx = (slots.tx + 1) % slots.txLength;
  };
  const start = () => {
    into(dwio ? 0x18 : 0x14);
    setBcr(Bcr.SWS, style);
    const [rx, tx] = [below(6), below(5)];
    slots.rxLength = 1 << rx;
    slots.txLength = 1 << tx;
    slots.rx = 0;
    slots.tx = 0;
    const mode = pick([0, 0, 0x80, 0x8000, 0x8000, 0x44, 0x08, tame ? 0 : rng() & 0xffff]);
    const address = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const filter = bytes(8);
    all(({ memory, view }) => {
      view.setUint16(BLOCK, mode, true);
      if (style !== 0) view.setUint16(BLOCK + 2, (tx << 12) | (rx << 4), true);
      memory.set(address, BLOCK + (style === 0 ? 2 : 4));
      memory.set(filter, BLOCK + (style === 0 ? 8 : 12));
    });
    poke(BLOCK + (style === 0 ? 16 : 20), BASE + RX_RING + (style === 0 ? rx * 2 ** 29 : 0));
    poke(BLOCK + (style === 0 ? 20 : 24), BASE + TX_RING + (style === 0 ? tx * 2 ** 29 : 0));
    setCsr(Csr.IADR_LOW, BASE & 0xffff);
    setCsr(Csr.IADR_HIGH, BASE >>> 16);
    setCsr(Csr.TEST, pick([0x0915, 0x0115, Csr4.ASTRP_RCV]));
    setCsr(Csr.STATUS, Csr0.INIT);
    for (let i = 0; i < slots.rxLength; i++) postReceive();
    for (let i = 0; i < slots.txLength; i++) descriptor(TX_RING, i, 0, 1);
    setCsr(Csr.STATUS, Csr0.STRT | Csr0.IENA);
  };

  const actions = [
    start,
    () => {
      for (let i = below(4); i >= 0; i--) {
        if (!chance(3)) postTransmit(0x0300, pick([60, 60, 1514, 42, 1518, 1 + below(4096)]));
        else {
          postTransmit(0x0200, 14);
          for (let j = below(3); j > 0; j--) postTransmit(0, 1 + below(2000));
          if (!chance(6)) postTransmit(0x0100, 1 + below(1000));
        }
      }
      setCsr(Csr.STATUS, Csr0.TDMD | Csr0.IENA);
    },
    () => {
      for (let i = below(10); i >= 0; i--) {
        const content = bytes(pick([0, 13, 14, 42, 60, 61, 300, 1514, 4091, 4092, below(2000)]));
        if (content.length > 20 && !chance(3)) {
          content.set(pick([new Array(6).fill(255), [0x52, 0x54, 0, 0x12, 0x34, 0x56], [1, 0, 0x5e, 0, 0, rng()]]));
          if (chance(4)) content.set([0, below(60)], 12);
        }
        all(({ arrive }) => arrive(content.slice(), 0, content.length));
      }
    },
    () => {
      for (let i = below(20); i >= 0; i--) postReceive();
    },
    () => setCsr(Csr.STATUS, pick([0x7f00, 0x7f40, Csr0.STOP, Csr0.STRT | Csr0.IENA, tame ? Csr0.IENA : rng()])),
    () => setCsr(pick([Csr.MASK, Csr.TEST]), rng()),
    () => setCsr(Csr.EXTENDED, pick([Csr5.SPND, 0, 0, Csr5.TOKINTD | Csr5.LTINTEN, tame ? 0 : rng()])),
    () => setCsr(tame ? pick([8, 9, 10, 11, 12, 58]) : below(128), tame ? style : rng()),
    () => setBcr(tame ? pick([2, 4, 5, 6, 7, 9]) : below(128), rng()),
    () => {
      select(below(128));
      into(0x10);
      into(dwio ? 0x1c : 0x16);
    },
    () => {
      const nanoseconds = pick([0, 1, 1000, below(1_000_000), 10_000_000]);
      all((world) => world.pass(nanoseconds));
    },
    () => {
      const up = !chance(3);
      const busy = chance(4);
      all((world) => {
        world.carrier = up;
        world.busy = busy;
        world.carrierChanged(up);
      });
    },
    () => {
      const page = below(MEMORY / PAGE);
      const refuse = chance(tame ? 20 : 3);
      for (const { refused } of worlds) if (refuse) refused.add(page);
      if (!refuse) for (const { refused } of worlds) refused.clear();
    },
    () => {
      const [offset, size, value] = [below(40), pick([1, 2, 4]), rng() & 0xff];
      if (tame && size === 4 && offset === 16) return;
      all(({ nic }) => nic.read(0, offset, size));
      if (!tame) all(({ nic }) => nic.write(1, offset, size, value));
    },
    () => {
      if (!chance(6)) return;
      all(({ nic }) => nic.reset());
      if (dwio) all(({ nic }) => nic.write(0, 0x10, 4, 0));
    },
  ];

  if (dwio) all(({ nic }) => nic.write(0, 0x10, 4, 0));
  start();
  const content = bytes(64);
  all(({ memory }) => {
    for (let i = BUFFERS; i < MEMORY; i++) memory[i] = content[(i * 7) & 63];
  });

  const steps = 20 + below(60);
  const twinAt = below(steps);
  for (let step = 0; step < steps; step++) {
    if (step === twinAt) worlds.push(twinOf(worlds[0], rng));
    pick(actions)();
  }
  all((world) => world.pass(100_000_000));
  const [original, twin] = worlds;
  assert.deepEqual(twin.memory, original.memory);
  assert.deepEqual(twin.sent, original.sent);
  assert.deepEqual(twin.nic.snapshot(), original.nic.snapshot());
}

/** Another adapter in the same state, with memory, wire and bus of its own; on the way a damaged snapshot is tried. */
function twinOf(world, rng) {
  const twin = new World(world.options);
  twin.copyFrom(world);
  twin.busy = world.busy;
  twin.sent = [...world.sent];
  const state = world.nic.snapshot();
  assert.deepEqual(structuredClone(state), state);
  if (rng() % 2 === 0) tryDamaged(structuredClone(state), world, rng);
  twin.nic.restore(structuredClone(state));
  assert.deepEqual(twin.nic.snapshot(), state);
  assert.equal(twin.pin.level, world.pin.level);
  twin.violations.length = 0;
  return twin;
}

function tryDamaged(state, { options }, rng) {
  damage(state, rng);
  const world = new World(options);
  try {
    world.nic.restore(state);
  } catch (error) {
    assert.ok(error instanceof InputError, String(error));
  }
  world.nic.write(0, 0x12, 2, 0);
  world.nic.write(0, 0x10, 2, Csr0.STRT | Csr0.TDMD | Csr0.IENA);
  world.arrive(new Uint8Array(60).fill(255), 0, 60);
  world.pass(10_000_000);
}
