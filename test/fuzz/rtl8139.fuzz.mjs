// The RTL8139 of either revision between a driver, frames and memory that refuses: memory is touched only through the
// bus, work stays bounded, nothing is thrown, and an adapter restored from a snapshot behaves the same from then on.
import assert from "node:assert/strict";
import { Cpcr, Cr, Register } from "../../dist/devices/rtl8139/registers.js";
import { Rtl8139, Rtl8139Revision } from "../../dist/devices/rtl8139.js";
import { InputError } from "../../dist/util/errors.js";
import { AdapterWorld, damage, MEMORY, PAGE } from "./world.mjs";

export const name = "rtl8139";

/** Low enough for the addresses of C mode. */
const LOW = 0x7001_0000;
const HIGH = 0x5_0001_0000;
const RX_RING = 0x2000;
const TX_RING = 0x2400;
const HIGH_RING = 0x2800;
const STATISTICS = 0x3000;
const BUFFERS = 0x4000;
const RX_BUFFER = 0x10000;
const MOST_ACCESSES = 100_000;
const MOST_ROUNDS = 1000;
/** A large send that is not cut, with a tag. */
const LONGEST_WIRE_FRAME = 65_535 + 22;

class World extends AdapterWorld {
  nic;

  constructor(options, base) {
    super(LONGEST_WIRE_FRAME, base);
    this.options = options;
    this.base = base;
    this.nic = new Rtl8139(this.host, { wire: this.wire, ...options });
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
  const plus = chance(2);
  const base = plus ? HIGH : LOW;
  const options = { revision: plus || chance(4) ? Rtl8139Revision.cPlus : Rtl8139Revision.c, exactFcs: chance(2) };
  const worlds = [new World(options, base)];

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
  const set = (register, size, value) => all(({ nic }) => nic.write(1, register, size, value >>> 0));
  const get = (register, size) => all(({ nic }) => nic.read(1, register, size));
  const set64 = (register, address) => {
    set(register, 4, address % 2 ** 32);
    set(register + 4, 4, Math.floor(address / 2 ** 32));
  };
  const poke = (at, value) => all(({ view }) => view.setUint32(at, value >>> 0, true));
  const bytes = (length) => Uint8Array.from({ length }, () => rng());
  const place = () => (tame || !chance(8) ? base + BUFFERS + below(0x8000) : below(2 ** 32) * pick([1, 7]));
  const slots = { tx: 0, rx: 0 };

  const descriptor = (ring, index, command, tag) => {
    const at = ring + index * 16;
    const address = place();
    poke(at + 4, tag);
    poke(at + 8, address % 2 ** 32);
    poke(at + 12, Math.floor(address / 2 ** 32));
    poke(at, command);
  };
  const postReceive = () => {
    const end = slots.rx === 31 ? 0x4000_0000 : 0;
    descriptor(RX_RING, slots.rx, 0x8000_0000 + end + pick([1536, 1536, 100, 7, below(0x2000)]), 0);
    slots.rx = (slots.rx + 1) % 32;
  };
  const postTransmit = (position, length) => {
    const end = slots.tx === 15 ? 0x4000_0000 : 0;
    const offload = pick([0, 0, 0x5_0000, 0x6_0000, 0x4_0000, 0x0800_0000 + (pick([1, 500, 1460, 0]) << 16)]);
    const command = tame || !chance(10) ? 0x8000_0000 + end + position + offload + length : rng();
    descriptor(chance(8) ? HIGH_RING : TX_RING, slots.tx, command, pick([0, 0, 0x2_0000 | (rng() & 0xffff), rng()]));
    slots.tx = (slots.tx + 1) % 16;
  };
  const startPlus = () => {
    set(Register.CR, 1, Cr.RST);
    set(Register.CPCR, 2, Cpcr.TX | Cpcr.RX | Cpcr.DAC | (rng() & (Cpcr.RX_CHECKSUM | Cpcr.RX_VLAN)));
    set64(Register.THPDS, base + HIGH_RING);
    set64(Register.RDSAR, base + RX_RING);
    set64(Register.TNPDS, base + TX_RING);
    set(Register.CR, 1, Cr.RE | Cr.TE);
    slots.tx = 0;
    slots.rx = 0;
    for (let i = 0; i < 32; i++) postReceive();
  };
  const startClassic = () => {
    set(Register.CR, 1, Cr.RST);
    set(Register.RBSTART, 4, base + RX_BUFFER);
    set(Register.CR, 1, Cr.RE | Cr.TE);
    for (let i = 0; i < 4; i++) set(Register.TSAD0 + 4 * i, 4, base + BUFFERS + i * 2048);
    slots.tx = 0;
  };
  const modes = () => {
    set(Register.RCR, 4, pick([0x0a, 0x0f, 0x2e, 0x8a, rng() & 0xffff]));
    set(Register.TCR, 4, pick([0x0300_0600, 0x0300_0600, 0x0306_0000, 0x0301_0000]));
    set(Register.IMR, 2, pick([0xffff, 0x807f, rng()]));
    set(Register.MAR0 + 4 * below(2), 4, rng());
  };
  const start = () => {
    if (plus) startPlus();
    else startClassic();
    modes();
  };
  const frame = () => {
    const content = bytes(pick([0, 13, 14, 42, 60, 61, 300, 1514, 1518, 4114, 4115, below(2000)]));
    if (content.length < 20) return content;
    if (!chance(3)) content.set(pick([new Array(6).fill(255), [0x52, 0x54, 0, 0x12, 0x34, 0x56]]));
    const type = pick([0x0800, 0x0800, 0x8100, 0x8808, 0x0806]);
    content[12] = type >>> 8;
    content[13] = type;
    if (type === 0x0800 && content.length > 34) {
      content[14] = 0x45 + below(3);
      content[16] = (content.length - 14) >>> 8;
      content[17] = content.length - 14;
      content[20] = pick([0, 0x40, rng()]);
      content[23] = pick([6, 17, 1]);
    }
    if (type === 0x8808) {
      content.set([0x01, 0x80, 0xc2, 0, 0, 1]);
      content.set([0, pick([1, 1, 2]), 0, below(9)], 14);
    }
    return content;
  };

  const actions = [
    start,
    modes,
    () => {
      if (!plus) {
        const length = pick([60, 60, 1514, 42, 0, below(2048), tame ? 100 : 8191]);
        set(Register.TSD0 + 4 * slots.tx, 4, length);
        slots.tx = (slots.tx + 1) % 4;
        return;
      }
      for (let i = below(4); i >= 0; i--) {
        if (chance(2)) postTransmit(0x3000_0000, pick([60, 1514, 42, 5000, below(2048)]));
        else {
          postTransmit(0x2000_0000, 54);
          for (let j = below(3); j > 0; j--) postTransmit(0, below(2000));
          if (!chance(6)) postTransmit(0x1000_0000, 1 + below(1000));
        }
      }
      set(Register.TPPOLL, 1, pick([0x40, 0x40, 0xc0, 0x80]));
    },
    () => {
      for (let i = below(10); i >= 0; i--) {
        const content = frame();
        all(({ arrive }) => arrive(content.slice(), 0, content.length));
      }
    },
    () => {
      if (plus) for (let i = below(20); i >= 0; i--) postReceive();
      else set(Register.CAPR, 2, chance(6) ? rng() : get(Register.CBR, 2) - 16);
    },
    () => set(Register.ISR, 2, pick([0xffff, rng()])),
    () =>
      get(pick([Register.CR, Register.ISR, Register.BMSR, Register.TSAD, Register.CSCR, below(252)]), pick([1, 2, 4])),
    () => {
      const nanoseconds = pick([0, 1, 1000, below(1_000_000), 10_000_000]);
      all((world) => world.pass(nanoseconds));
    },
    () => {
      set(Register.TSD0 + 4, 4, Math.floor(base / 2 ** 32));
      set(Register.TSD0, 4, (base % 2 ** 32) + (tame ? STATISTICS : below(MEMORY)) + 8);
    },
    () => {
      set(Register.TIMERINT, 4, pick([0, 1, 1000, rng()]));
      set(Register.TCTR, 4, 0);
    },
    () => {
      set(Register.CR9346, 1, 0x88);
      for (let i = below(80); i >= 0; i--)
        set(Register.CR9346, 1, chance(60) ? 0x80 : 0x88 | ((i & 1) << 2) | pick([0, 2]));
      set(Register.CR9346, 1, pick([0, 0, 0xc0, 0x40]));
    },
    () => set(pick([Register.BMCR, Register.ANAR, Register.CSCR, Register.CONFIG1, Register.CONFIG4]), 2, rng()),
    () => {
      const up = !chance(3);
      all((world) => {
        world.carrier = up;
        world.carrierChanged(up);
        if (up) world.pass(6_000_000);
      });
    },
    () => {
      const page = below(MEMORY / PAGE);
      const refuse = chance(tame ? 20 : 3);
      for (const { refused } of worlds) if (refuse) refused.add(page);
      if (!refuse) for (const { refused } of worlds) refused.clear();
    },
    () => {
      // Bus mastering and the power state, mostly put right again.
      const [offset, value] = [pick([4, 0x10, 0x14, 0x54]), rng() & (chance(2) || tame ? 7 : 0xffff)];
      all(({ nic }) => nic.config.write(offset, 2, value));
      if (chance(8)) return;
      all(({ nic }) => nic.config.write(4, 2, 7));
      all(({ nic }) => nic.config.write(0x54, 2, 0));
    },
    () => {
      if (tame) return;
      const [offset, size, value] = [below(256), pick([1, 2, 4]), rng()];
      all(({ nic }) =>
        nic.write(below(2) & 0, offset, size, size === 4 ? value : value & (size === 2 ? 0xffff : 0xff)),
      );
    },
    () => {
      if (chance(6)) all(({ nic }) => nic.reset());
    },
  ];

  start();
  const content = bytes(64);
  all(({ memory }) => {
    for (let i = BUFFERS; i < MEMORY; i++) memory[i] = content[(i * 7) & 63];
    // Headers that offloads find.
    for (let at = BUFFERS; at < BUFFERS + 0x8000; at += 2048)
      memory.set([8, 0, 0x45, 0, 4, 0, 0, 1, 0, 0, 64, 6], at + 12);
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
  const twin = new World(world.options, world.base);
  twin.copyFrom(world);
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

function tryDamaged(state, { options, base }, rng) {
  damage(state, rng);
  const world = new World(options, base);
  try {
    world.nic.restore(state);
  } catch (error) {
    assert.ok(error instanceof InputError, String(error));
  }
  world.nic.write(1, Register.CR, 1, Cr.RE | Cr.TE);
  world.nic.write(1, Register.TSD0, 4, 60);
  world.nic.write(1, Register.TPPOLL, 1, 0xc0);
  world.arrive(new Uint8Array(60).fill(255), 0, 60);
  world.pass(10_000_000);
}
