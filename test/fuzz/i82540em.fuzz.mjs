// The 82540EM between a driver, frames and memory that refuses: memory is touched only through the bus, work stays
// bounded, the statistics add up, and an adapter restored from a snapshot behaves the same from then on.
import assert from "node:assert/strict";
import { Ctrl, Rctl, Register, Statistic } from "../../dist/devices/i82540em/registers.js";
import { I82540em } from "../../dist/devices/i82540em.js";
import { InputError } from "../../dist/util/errors.js";
import { AdapterWorld, BASE, damage, MEMORY, PAGE } from "./world.mjs";

export const name = "i82540em";

const TX_RING = 0;
const RX_RING = 0x4000;
const BUFFERS = 0x8000;
const MOST_ACCESSES = 300_000;
/** A whole ring of the longest descriptors, in bursts. */
const MOST_ROUNDS = 1100;
const LONGEST_WIRE_FRAME = 16_110;

/** An adapter in its surroundings. */
class World extends AdapterWorld {
  nic;

  constructor() {
    super(LONGEST_WIRE_FRAME + 4);
    this.nic = new I82540em(this.host, { wire: this.wire });
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
  /** A driver that keeps to the manual mostly, or one that does anything. */
  const tame = !chance(4);
  const worlds = [new World()];

  const all = (action) => {
    const results = worlds.map((world) => {
      world.accesses = 0;
      const result = action(world);
      assert.ok(world.accesses <= MOST_ACCESSES, `${world.accesses} bus accesses`);
      const { pin, messages, violations } = world;
      return { result, level: pin.level, messages: messages.splice(0), violations: violations.splice(0) };
    });
    for (const result of results) assert.deepEqual(result, results[0]);
    return results[0].result;
  };
  const set = (word, value) => all(({ nic }) => nic.write(0, word * 4, 4, value >>> 0));
  const get = (word) => all(({ nic }) => nic.read(0, word * 4, 4));
  const poke = (at, value) => all(({ view }) => view.setUint32(at, value >>> 0, true));

  const address = () =>
    tame || !chance(8) ? BASE + BUFFERS + below(MEMORY - BUFFERS - 2048) : below(2 ** 32) * pick([1, 7]);
  const bytes = (length) => Uint8Array.from({ length }, () => rng());
  const ring = { tx: { at: TX_RING, size: 0, tail: 0 }, rx: { at: RX_RING, size: 0, tail: 0 } };
  let cleared = false;

  const setUp = (end, low) => {
    end.size = tame || !chance(6) ? 8 * (1 + below(16)) : below(70_000);
    end.tail = 0;
    const base = tame || !chance(8) ? BASE + end.at : rng() * pick([1, 3]);
    set(low, base % 2 ** 32);
    set(low + 1, Math.floor(base / 2 ** 32));
    set(low + 2, end.size * 16);
    set(low + 4, tame || !chance(6) ? 0 : below(1 << 17));
    set(low + 6, 0);
  };
  const descriptor = (end, words) => {
    const at = end.at + (end.tail % 256) * 16;
    for (let i = 0; i < 4; i++) poke(at + 4 * i, words[i]);
    end.tail = end.size === 0 ? 0 : (end.tail + 1) % end.size;
  };
  const transmitDescriptor = () => {
    const to = address();
    const low = to % 2 ** 32;
    const high = Math.floor(to / 2 ** 32);
    const flags = pick([0x0b, 0x0b, 0x8b, 0x02, 0x4b, 0x0f, rng()]) << 24;
    const length = pick([0, 1, 42, 60, 300, 1514, below(2048), tame ? 100 : rng() & 0xfffff]);
    switch (below(6)) {
      case 0: {
        const header = pick([54, 54, 74, below(256)]);
        const mss = pick([100, 1448, 9000, chance(30) ? below(3) : 536]);
        const start = 0x0d_0e | ((header - 20) << 24);
        poke(0x7000, start);
        return descriptor(ring.tx, [
          pick([0x0021180e, 0x0000180e, rng()]),
          pick([0x00003222, 0x00003c36, rng()]),
          0x2000_0000 | (pick([4, 5, 6, 7, 7]) << 24) | pick([1000, 5000, below(0x100000)]),
          (header << 8) | (mss << 16),
        ]);
      }
      case 1:
      case 2:
        return descriptor(ring.tx, [
          low,
          high,
          flags | 0x2010_0000 | (length & 0xfffff),
          (below(4) << 8) | (rng() << 16),
        ]);
      case 3:
        return tame ? undefined : descriptor(ring.tx, [rng(), rng(), rng(), rng()]);
      default:
        return descriptor(ring.tx, [
          low,
          high,
          flags | (below(40) << 16) | (length & 0xffff),
          (below(60) << 8) | (rng() << 16),
        ]);
    }
  };
  const frame = () => {
    const content = bytes(pick([0, 13, 14, 42, 60, 61, 300, 1514, 1515, 1518, 9000, below(2000)]));
    if (content.length < 20) return content;
    if (!chance(3))
      content.set(
        pick([
          [255, 255, 255, 255, 255, 255],
          [0x52, 0x54, 0, 0x12, 0x34, 0x56],
        ]),
      );
    const type = pick([0x0800, 0x0800, 0x86dd, 0x8100, 0x8808, 0x0806, content.length - 14]);
    content[12] = type >>> 8;
    content[13] = type;
    if (type === 0x0800 && content.length > 34) {
      content[14] = 0x45 + below(3);
      content[16] = (content.length - 14) >>> 8;
      content[17] = content.length - 14;
      content[20] = pick([0, 0x40, rng()]);
      content[23] = pick([6, 17, 1]);
    }
    if (type === 0x86dd && content.length > 54) {
      content[14] = 0x60;
      content[18] = (content.length - 54) >>> 8;
      content[19] = content.length - 54;
      content[20] = pick([6, 17, 0]);
    }
    if (type < 1536) content.set([0xaa, 0xaa, 3, 0, 0, 0].slice(0, content.length - 14), 14);
    if (type === 0x8808) {
      content.set([0x01, 0x80, 0xc2, 0, 0, 1]);
      content.set([0, pick([1, 1, 2]), 0, below(9)], 14);
    }
    return content;
  };
  const statistics = (first, last) => {
    let sum = 0;
    for (let word = first; word <= last; word++) sum += get(word);
    return sum;
  };
  /** The counters add up, whatever happened since they were read last. */
  const audit = () => {
    const counted = { good: get(Statistic.GPRC), total: get(Statistic.TPR), sent: get(Statistic.GPTC) };
    const bySize = statistics(Statistic.PRC64, Statistic.PRC1522);
    const sentBySize = statistics(Statistic.PTC64, Statistic.PTC1522);
    const lost = get(Statistic.MPC) + get(Statistic.ROC);
    const octets = get(Statistic.GOTCL) + get(Statistic.GOTCH) * 2 ** 32;
    assert.equal(bySize, counted.good, "received frames by size are the good ones");
    assert.ok(counted.good + lost <= counted.total, "no more good and missed frames than came in");
    assert.equal(sentBySize, counted.sent, "sent frames by size are those sent");
    assert.equal(get(Statistic.TPT), counted.sent);
    const [{ sent }] = worlds;
    if (!cleared && !looped) {
      assert.equal(counted.sent, sent.length - audited.frames, "each frame on the wire is counted");
      const onWire = sent.slice(audited.frames).reduce((sum, each) => sum + each.length + 4, 0);
      assert.equal(octets, onWire, "and its octets");
    }
    audited.frames = sent.length;
    cleared = false;
  };
  /** Frames may have come back instead of reaching the wire. */
  let looped = false;
  const audited = { frames: 0 };

  const actions = [
    () => setUp(ring.tx, Register.TDBAL),
    () => setUp(ring.rx, Register.RDBAL),
    () => {
      for (let i = below(12); i >= 0; i--) transmitDescriptor();
      set(Register.TDT, tame || !chance(8) ? ring.tx.tail : rng());
    },
    () => {
      for (let i = below(20); i >= 0; i--) {
        const to = address();
        descriptor(ring.rx, [to % 2 ** 32, Math.floor(to / 2 ** 32), 0, 0]);
      }
      set(Register.RDT, tame || !chance(8) ? ring.rx.tail : rng());
    },
    () => {
      for (let i = below(10); i >= 0; i--) {
        const content = frame();
        all(({ arrive }) => arrive(content.slice(), 0, content.length));
      }
    },
    () => {
      const content = bytes(1514).fill(255, 0, 6);
      for (let i = below(60); i >= 0; i--) all(({ arrive }) => arrive(content, 0, content.length));
    },
    () => set(Register.TCTL, pick([0xa, 0xa, 2, 0, rng()])),
    () => {
      const loop = chance(10) ? 1 << Rctl.LBM_SHIFT : 0;
      if (loop !== 0) looped = true;
      const size = (below(4) << Rctl.BSIZE_SHIFT) | (chance(2) ? Rctl.BSEX : 0);
      const modes = pick([0, Rctl.UPE, Rctl.MPE | Rctl.LPE, Rctl.VFE, Rctl.SECRC, Rctl.SECRC | Rctl.LPE | Rctl.SBP]);
      set(
        Register.RCTL,
        Rctl.EN | Rctl.BAM | size | modes | loop | (below(4) << Rctl.RDMTS_SHIFT) | (below(4) << Rctl.MO_SHIFT),
      );
    },
    () => set(Register.CTRL, Ctrl.SLU | Ctrl.FD | (rng() & (Ctrl.VME | Ctrl.RFCE | Ctrl.FRCSPD | Ctrl.FRCDPLX))),
    () => set(pick([Register.IMS, Register.IMC, Register.ICS, Register.ICR]), rng()),
    () => set(pick([Register.ITR, Register.RDTR, Register.RADV, Register.TIDV, Register.TADV]), below(200)),
    () =>
      set(pick([Register.RXCSUM, Register.RSRPD, Register.TXDCTL, Register.PBA, Register.FCT, Register.VET]), rng()),
    () => set(pick([Register.VET, Register.FCT]), pick([0x8100, 0x8808])),
    () => set(pick([Register.MTA, Register.VFTA]) + below(128), pick([-1, rng()])),
    () => set(Register.RA + below(32), rng()),
    () =>
      get(
        pick([Register.ICR, Register.STATUS, Register.RDH, Register.TDH, Register.EECD, Register.MDIC, below(0x8000)]),
      ),
    () => {
      const nanoseconds = pick([0, 1, 1000, below(1_000_000), 10_000_000]);
      all((world) => world.pass(nanoseconds));
    },
    () => {
      looped = true;
      set(
        Register.MDIC,
        ((1 + below(2)) << 26) | (pick([1, 1, below(32)]) << 21) | (below(32) << 16) | (rng() & 0xffff),
      );
    },
    () => set(Register.EERD, (rng() & 0xff00) | 1),
    () => set(Register.CTRL_EXT, rng()),
    () => {
      // Requested and selected, mostly, with the clock and the data going up and down.
      set(Register.EECD, 0x42);
      for (let i = below(150); i >= 0; i--) set(Register.EECD, chance(60) ? 0x40 : 0x42 | ((i & 1) | pick([0, 4])));
    },
    () => {
      const up = !chance(3);
      all((world) => {
        world.carrier = up;
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
      const [offset, value] = [pick([0, 4, below(64)]), chance(2) ? below(0x6000) & ~3 : rng()];
      cleared = true;
      looped = true;
      all(({ nic }) => nic.write(2, offset, 4, value));
    },
    () => {
      const [offset, size, value] = [below(0x20000), pick([1, 2]), rng()];
      cleared = true;
      all(({ nic }) => nic.read(0, offset, size));
      all(({ nic }) => nic.write(0, offset, size, value));
    },
    () => {
      // The command register, BARs, power management, and MSI.
      const [offset, value] = [pick([4, 0x10, 0x18, 0xe0, 0xf2, 0xf4]), rng() & (chance(2) || tame ? 7 : 0xffff)];
      all(({ nic }) => nic.config.write(offset, 2, value));
    },
    () => {
      if (!chance(4)) return;
      cleared = true;
      if (chance(2)) set(Register.CTRL, Ctrl.RST);
      else all(({ nic }) => nic.reset());
    },
    () => {
      if (tame) return;
      cleared = true;
      looped = true;
      const word = below(0x2800);
      if (word !== Register.TDT) set(word, rng());
    },
    audit,
  ];

  // Up first, so that most cases move frames.
  set(Register.CTRL, Ctrl.SLU | Ctrl.FD);
  set(Register.VET, 0x8100);
  setUp(ring.tx, Register.TDBAL);
  setUp(ring.rx, Register.RDBAL);
  set(Register.RCTL, Rctl.EN | Rctl.BAM);
  set(Register.TCTL, 0xa);
  if (chance(2)) {
    set(Register.FCAL, 0x00c28001);
    set(Register.FCAH, 0x0100);
    set(Register.FCT, 0x8808);
    set(Register.CTRL, Ctrl.SLU | Ctrl.FD | Ctrl.RFCE);
  }
  if (chance(2)) for (const word of [Register.TIDV, Register.TADV, Register.RDTR, Register.RADV]) set(word, below(60));
  if (chance(2)) set(Register.RXCSUM, 0x300 | below(60));
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
  audit();
  const [original, twin] = worlds;
  assert.deepEqual(twin.memory, original.memory);
  assert.deepEqual(twin.sent, original.sent);
  for (const [key, value] of Object.entries(original.nic.snapshot()))
    assert.deepEqual(twin.nic.snapshot()[key], value, key);
}

/** Another adapter in the same state, with memory, wire and bus of its own; on the way a damaged snapshot is tried. */
function twinOf(world, rng) {
  const twin = new World();
  twin.copyFrom(world);
  twin.sent = [...world.sent];
  const state = world.nic.snapshot();
  assert.deepEqual(structuredClone(state), state);
  if (rng() % 2 === 0) tryDamaged(structuredClone(state), rng);
  twin.nic.restore(structuredClone(state));
  assert.deepEqual(twin.nic.snapshot(), state);
  assert.equal(twin.pin.level, world.pin.level);
  twin.violations.length = 0;
  twin.messages.length = 0;
  return twin;
}

function tryDamaged(state, rng) {
  damage(state, rng);
  const world = new World();
  try {
    world.nic.restore(state);
  } catch (error) {
    assert.ok(error instanceof InputError, String(error));
  }
  world.nic.write(0, Register.TCTL * 4, 4, 0xa);
  world.nic.write(0, Register.TDT * 4, 4, rng() & 63);
  world.nic.write(0, Register.RDT * 4, 4, rng() & 63);
  world.arrive(new Uint8Array(60).fill(255), 0, 60);
  world.pass(10_000_000);
}
