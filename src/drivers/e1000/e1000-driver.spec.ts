import { beforeEach, describe, expect, test } from "vitest";
import { atRest, failure, noise, type TestMachine, testMachine } from "../../../test/support/native.js";
import { KeepingWire, recordedFrames, TestSession, udp } from "../../../test/support/network.js";
import { Restriction } from "../../capability/capability.js";
import { AddressFault, ArgumentError, DriverDiedError, RightsError, VoidError } from "../../capability/errors.js";
import { I82540em } from "../../devices/i82540em.js";
import type { Wire } from "../../devices/wire.js";
import { FilterSyntaxError } from "../../filter/errors.js";
import { PinBoundError } from "../../memory/pin-budget.js";
import { LoopWire } from "../../ports/wire-end.js";
import { KorralError } from "../../util/errors.js";
import { seededRandom } from "../../util/random.js";
import type { DeviceAccess, DriverOptions } from "../driver-domain.js";
import { LinkDownError, NetworkClient } from "../network-service.js";
import { E1000Driver } from "./e1000-driver.js";

const PAGE = 4096;
const MAC = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
let on: TestMachine;

beforeEach(async () => {
  on = await testMachine();
});

async function rig<W extends Wire>(wire: W, options: DriverOptions = {}) {
  const { machine } = on;
  const slot = machine.plug("e1000", (host) => new I82540em(host, { wire, macAddress: Uint8Array.from(MAC) }));
  const domain = machine.domain("e1000", slot, options);
  const driver = await machine.run(E1000Driver.start(domain));
  const client = new NetworkClient(domain.endpoint);
  const end = async () => {
    domain.kill("the test is over");
    await on.settled();
    expect(on.faults).toEqual([]);
  };
  return { machine, wire, slot, domain, driver, client, end };
}

test("says who it is", async () => {
  const { machine, client, end } = await rig(new KeepingWire());
  expect(await machine.run(client.info())).toEqual({
    macAddress: Uint8Array.from(MAC),
    linkUp: true,
    longestFrame: 1518,
  });
  await end();
});

describe("receiving", () => {
  test("each frame goes to the first session whose filter accepts it, and what none accepts to the default", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const web = await TestSession.open(machine, client, { filter: "udp port 80" });
    const low = await TestSession.open(machine, client, { filter: "udp portrange 1-100" });
    wire.arrive(udp(9999, 60, 1));
    await machine.idle();
    expect(machine.statistics.unclaimed).toBe(1);
    const other = await TestSession.open(machine, client, { filter: "udp port 7777", isDefault: true });
    for (const [i, port] of [80, 53, 9999, 7777, 80].entries()) wire.arrive(udp(port, 60, i));
    await machine.idle();
    expect(web.take()).toEqual([udp(80, 60, 0), udp(80, 60, 4)]);
    expect(low.take()).toEqual([udp(53, 60, 1)]);
    expect(other.take()).toEqual([udp(9999, 60, 2), udp(7777, 60, 3)]);
    // When the first one leaves, the second has what it had.
    await web.close();
    expect(() => web.ring.peek()).toThrow(VoidError);
    wire.arrive(udp(80, 60, 9));
    await machine.idle();
    expect(low.take()).toEqual([udp(80, 60, 9)]);
    await other.close();
    wire.arrive(udp(9999, 60, 10));
    await machine.idle();
    expect(machine.statistics.unclaimed).toBe(2);
    for (const session of [web, low, other]) await session.leave();
    await end();
  });

  test("a full ring loses its own frames, counts them, and holds up nobody", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const lazy = await TestSession.open(machine, client, { filter: "udp port 1", slots: 4 });
    const keen = await TestSession.open(machine, client, { filter: "udp port 2" });
    for (let i = 0; i < 10; i++) {
      wire.arrive(udp(1, 60, i));
      wire.arrive(udp(2, 60, i));
    }
    await machine.idle();
    expect(keen.take().length).toBe(10);
    expect(lazy.ring.counters).toEqual({ delivered: 4, bytes: 240, full: 6, gone: 0, cut: 0 });
    expect(machine.statistics.dropped).toBe(6);
    expect(lazy.take()).toEqual([0, 1, 2, 3].map((i) => udp(1, 60, i)));
    wire.arrive(udp(1, 60, 11));
    await machine.idle();
    expect(lazy.take()).toEqual([udp(1, 60, 11)]);
    for (const session of [lazy, keen]) await session.leave();
    await end();
  });

  test("frames longer than a slot are cut to it", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const session = await TestSession.open(machine, client, { slots: 3, slotBytes: 100, offset: 4000 });
    const long = udp(1, 1500);
    wire.arrive(long);
    wire.arrive(udp(1, 100, 5));
    await machine.idle();
    expect(session.take()).toEqual([long.slice(0, 100), udp(1, 100, 5)]);
    expect(session.ring.counters).toMatchObject({ delivered: 2, cut: 1 });
    await session.leave();
    await end();
  });

  test("a client that waits is woken, and learns when its session is over", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const session = await TestSession.open(machine, client);
    const first = Promise.resolve(session.ring.wait());
    wire.arrive(udp(1));
    await machine.run(first);
    expect(session.ring.wait()).toBe(undefined);
    session.take();
    const second = Promise.resolve(session.ring.wait());
    second.catch(() => {});
    await session.close();
    expect(await failure(second)).toBeInstanceOf(VoidError);
    await session.leave();
    await end();
  });

  test.each(["destroyed", "pages rescinded", "space rescinded"] as const)(
    "memory that is %s gets nothing any more",
    async (how) => {
      const { machine, wire, client, end } = await rig(new KeepingWire());
      const session = await TestSession.open(machine, client, { slots: 8 });
      const other = await TestSession.open(machine, client, { filter: "udp port 2", slots: 8 });
      wire.arrive(udp(1));
      await machine.idle();
      const first = session.space.getSlot(0);
      if (first === null) throw new Error("the region begins with no page");
      if (how === "destroyed") expect(machine.bank.destroy(session.bank)).toBe(undefined);
      else if (how === "pages rescinded") session.bank.rescind(first);
      else session.bank.rescind(session.space);
      // Whoever has the frames now must not see a packet in them.
      const heir = machine.bank.bank();
      const memory = how === "destroyed" ? heir.region({ pages: 8 }) : null;
      for (let i = 0; i < 3; i++) wire.arrive(udp(1, 1000, i));
      await machine.idle();
      if (memory !== null) {
        const bytes = new Uint8Array(8 * PAGE);
        await memory.read(0, bytes);
        expect(bytes.every((byte) => byte === 0)).toBe(true);
      }
      const { delivered, gone } = session.ring.counters;
      expect(delivered + gone).toBe(4);
      expect(gone).toBeGreaterThanOrEqual(how === "pages rescinded" ? 1 : 3);
      expect(other.ring.counters.delivered).toBe(0);
      await session.close();
      if (how !== "destroyed") await session.leave();
      await other.leave();
      await machine.bank.destroy(heir);
      await end();
    },
  );

  test("two rings of one client in the same memory do no harm to others", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const a = await TestSession.open(machine, client, { filter: "udp port 1", slots: 2 });
    const ring = await machine.run(client.open({ space: a.space, offset: 0, slots: 2, slotBytes: 2048, filter: "" }));
    wire.arrive(udp(1, 60, 1));
    wire.arrive(udp(2, 60, 2));
    await machine.idle();
    expect([a.ring.peek(), ring.peek()]).toEqual([60, 60]);
    await a.leave();
    await end();
  });

  const bad: readonly [string, (client: NetworkClient, session: TestSession) => Promise<unknown>, unknown][] = [
    ["a filter with an error", (c, s) => c.open({ ...req(s), filter: "tcp prt 80" }), FilterSyntaxError],
    ["no slots", (c, s) => c.open({ ...req(s), slots: 0 }), ArgumentError],
    ["half a slot", (c, s) => c.open({ ...req(s), slots: 0.5 }), ArgumentError],
    ["too many slots", (c, s) => c.open({ ...req(s), slots: 65_537 }), ArgumentError],
    ["slots too small", (c, s) => c.open({ ...req(s), slotBytes: 59 }), ArgumentError],
    ["slots too large", (c, s) => c.open({ ...req(s), slotBytes: 65_537 }), ArgumentError],
    ["a negative offset", (c, s) => c.open({ ...req(s), offset: -1 }), ArgumentError],
    ["memory that is not there", (c, s) => c.open({ ...req(s), offset: 63 * 2048 }), AddressFault],
    ["memory that cannot be", (c, s) => c.open({ ...req(s), slots: 65_536, slotBytes: 65_536 }), KorralError],
    [
      "memory that it may not write",
      (c, s) => c.open({ ...req(s), space: s.space.restrict(Restriction.readOnly) }),
      RightsError,
    ],
    ["a session that is not there", (c, s) => c.close(s.ring).then(() => c.close(s.ring)), VoidError],
  ];
  const req = (session: TestSession) => ({ space: session.space, offset: 0, slots: 2, slotBytes: 2048, filter: "" });
  test.each(bad)("%s: refused, and nothing has changed", async (_, request, kind) => {
    const { machine, wire, client, domain, end } = await rig(new KeepingWire());
    const session = await TestSession.open(machine, client);
    const quota = machine.bank.available;
    expect(await failure(machine.run(request(client, session)))).toBeInstanceOf(kind);
    expect(domain.dead).toBe(null);
    if (kind !== VoidError) {
      expect(machine.bank.available).toBe(quota);
      wire.arrive(udp(5));
      await machine.idle();
      expect(session.take()).toEqual([udp(5)]);
    }
    await session.leave();
    await end();
  });

  test("the number of sessions has a bound", async () => {
    const { machine, client, end } = await rig(new KeepingWire());
    const session = await TestSession.open(machine, client);
    const request = { space: session.space, offset: 0, slots: 1, slotBytes: 64, filter: "udp port 1" };
    const rings = [];
    for (let i = 1; i < 256; i++) rings.push(await machine.run(client.open(request)));
    expect(await failure(machine.run(client.open(request)))).toBeInstanceOf(ArgumentError);
    await machine.run(client.close(rings[7]));
    await machine.run(client.open(request));
    await session.leave();
    await end();
  });

  test("thousands of frames arrive whole and in order", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const session = await TestSession.open(machine, client, { slots: 200 });
    const random = seededRandom(9);
    const recorded = recordedFrames();
    let frames = 0;
    for (let burst = 0; burst < 60; burst++) {
      const sent: Uint8Array[] = [];
      for (let i = 0; i < 100; i++) {
        const frame = burst % 2 === 0 ? recorded[random() % recorded.length] : noise(60 + (random() % 1459), random());
        sent.push(frame);
        wire.arrive(frame);
      }
      await machine.idle();
      const got = session.take();
      frames += got.length;
      expect(Buffer.compare(Buffer.concat(got.map(padded)), Buffer.concat(sent.map(padded)))).toBe(0);
    }
    expect(frames).toBe(6000);
    expect(machine.statistics).toMatchObject({ copies: 6000, dropped: 0, unclaimed: 0 });
    await session.leave();
    await end();
  });
});

/** Short frames are padded on their way through hardware. */
function padded(frame: Uint8Array): Uint8Array {
  if (frame.length >= 60) return frame;
  const longer = new Uint8Array(60);
  longer.set(frame);
  return longer;
}

describe("sending", () => {
  test("thousands of frames from a client's own memory, without a copy", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const bank = machine.bank.bank();
    const pages = 64;
    const space = bank.region({ pages });
    const memory = noise(pages * PAGE, 4);
    await space.write(0, memory);
    const random = seededRandom(2);
    const expected: Uint8Array[] = [];
    const sends: Promise<void>[] = [];
    for (let batch = 0; batch < 20; batch++) {
      const frames = Array.from({ length: 1 + (random() % 400) }, () => {
        const length = 14 + (random() % 1505);
        return { offset: random() % (pages * PAGE - length), length };
      });
      for (const { offset, length } of frames) expected.push(memory.slice(offset, offset + length));
      sends.push(client.send(space.restrict(Restriction.readOnly), frames));
    }
    await machine.run(Promise.all(sends));
    expect(wire.sent.length).toBe(expected.length);
    expect(Buffer.compare(Buffer.concat(wire.sent.map(padded)), Buffer.concat(expected.map(padded)))).toBe(0);
    expect(machine.statistics).toMatchObject({ copies: 0, zeroCopies: 20 });
    expect(machine.budget.pool(0).pinned).toBe(0);
    await machine.bank.destroy(bank);
    await end();
  });

  test("by value, more than there are buffers: all leave, in order", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const frames = Array.from({ length: 500 }, (_, i) => udp(1, 60 + i, i));
    await machine.run(Promise.all(frames.map((frame) => client.sendCopy(frame))));
    await machine.idle();
    expect(Buffer.compare(Buffer.concat(wire.sent), Buffer.concat(frames))).toBe(0);
    expect(machine.statistics.copies).toBe(500);
    await end();
  });

  test("by value and by reference together: first come, first served", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const bank = machine.bank.bank();
    const space = bank.region({ pages: 1 });
    await space.write(0, udp(2, 100));
    const sends: Promise<void>[] = [];
    for (let i = 0; i < 200; i++) {
      sends.push(client.sendCopy(udp(1, 60, i)));
      sends.push(
        client.send(
          space,
          Array.from({ length: 5 }, () => ({ offset: 0, length: 100 })),
        ),
      );
    }
    await machine.run(Promise.all(sends));
    await machine.idle();
    const lengths = wire.sent.map((frame) => frame.length);
    expect(lengths).toEqual(Array.from({ length: 200 }, () => [60, 100, 100, 100, 100, 100]).flat());
    await machine.bank.destroy(bank);
    await end();
  });

  test("through a loop: what is sent is received", async () => {
    const { machine, client, end } = await rig(new LoopWire());
    const session = await TestSession.open(machine, client, { slots: 128 });
    const bank = machine.bank.bank();
    const space = bank.region({ pages: 50 });
    for (let round = 0; round < 30; round++) {
      const bytes = noise(100 * 1518, round + 1);
      await space.write(0, bytes);
      const frames = Array.from({ length: 100 }, (_, i) => ({ offset: 1518 * i, length: 60 + 14 * i + (round % 14) }));
      await machine.run(client.send(space, frames));
      await machine.idle();
      const sent = frames.map(({ offset, length }) => bytes.slice(offset, offset + length));
      expect(Buffer.compare(Buffer.concat(session.take()), Buffer.concat(sent))).toBe(0);
    }
    for (const one of [bank, session.bank]) await machine.bank.destroy(one);
    await end();
  });

  const range = (offset: number, length: number) => [{ offset, length }];
  const bad: readonly [string, (c: NetworkClient, s: TestSession) => Promise<unknown>, unknown][] = [
    ["no frames", (c, s) => c.send(s.space, []), ArgumentError],
    ["half a pair", (c, s) => c.sendPairs(s.space, Uint32Array.of(0, 60, 0)), ArgumentError],
    ["a frame too short", (c, s) => c.send(s.space, range(0, 13)), ArgumentError],
    ["a frame too long", (c, s) => c.send(s.space, range(0, 1519)), ArgumentError],
    ["one bad frame among good ones", (c, s) => c.send(s.space, [...range(0, 60), ...range(60, 5)]), ArgumentError],
    ["an offset beyond the region", (c, s) => c.send(s.space, range(64 * 2048, 60)), AddressFault],
    ["a frame across its end", (c, s) => c.send(s.space, range(64 * 2048 - 30, 60)), AddressFault],
    ["a negative offset", (c, s) => c.send(s.space, range(-4096, 60)), AddressFault],
    ["more pairs than a string holds", (c, s) => c.sendPairs(s.space, new Uint32Array(16_386)), ArgumentError],
    ["an empty copy", (c) => c.sendCopy(new Uint8Array(0)), ArgumentError],
    ["a copy too long", (c) => c.sendCopy(new Uint8Array(1519)), ArgumentError],
  ];
  test.each(bad)("%s: refused, and nothing was sent", async (_, request, kind) => {
    const { machine, wire, client, domain, end } = await rig(new KeepingWire());
    const session = await TestSession.open(machine, client);
    expect(await failure(machine.run(request(client, session)))).toBeInstanceOf(kind);
    expect(domain.dead).toBe(null);
    await machine.idle();
    expect(wire.sent).toEqual([]);
    await session.leave();
    await end();
  });

  test("frames that lie too far apart for the bound are refused at once", async () => {
    const { machine, client, end } = await rig(new KeepingWire(), { pinBound: 170 });
    const session = await TestSession.open(machine, client, { slots: 600 });
    const frames = [...range(0, 60), ...range(599 * 2048, 60)];
    expect(await failure(machine.run(client.send(session.space, frames)))).toBeInstanceOf(PinBoundError);
    await session.leave();
    await end();
  });

  test("without a link: what waits fails, what comes is refused, and with the link all is well again", async () => {
    const { machine, wire, client, driver, domain, end } = await rig(new KeepingWire());
    const bank = machine.bank.bank();
    const space = bank.region({ pages: 1 });
    await space.write(0, udp(1, 100));
    const frames = Array.from({ length: 300 }, () => ({ offset: 0, length: 100 }));
    await machine.run(client.send(space, frames));
    wire.setCarrier(false);
    const waiting = [client.send(space, frames), client.sendCopy(udp(2))];
    for (const send of waiting) send.catch(() => {});
    await machine.idle();
    expect(driver.linkUp).toBe(false);
    expect((await machine.run(client.info())).linkUp).toBe(false);
    expect(await failure(machine.run(waiting[0]))).toBeInstanceOf(LinkDownError);
    expect(await failure(machine.run(client.send(space, frames)))).toBeInstanceOf(LinkDownError);
    expect(await failure(machine.run(client.sendCopy(udp(3))))).toBeInstanceOf(LinkDownError);
    expect(machine.budget.pool(0).pinned).toBe(0);
    expect(domain.dead).toBe(null);
    wire.setCarrier(true);
    await machine.idle();
    expect(driver.linkUp).toBe(true);
    wire.sent.length = 0;
    await machine.run(Promise.all([client.send(space, frames), client.sendCopy(udp(4))]));
    await machine.idle();
    expect(wire.sent.length).toBe(301);
    await machine.bank.destroy(bank);
    await end();
  });
});

describe("the end of the driver", () => {
  test("in the middle of traffic, both ways: nothing stays, a new one starts on the same slot", async () => {
    const { machine, wire, slot, domain, client } = await rig(new KeepingWire());
    const session = await TestSession.open(machine, client, { slots: 600 });
    const waiting = Promise.resolve(session.ring.wait());
    const frames = Array.from({ length: 2000 }, () => ({ offset: 0, length: 1000 }));
    const sends = [client.send(session.space, frames), client.sendCopy(udp(1)), client.send(session.space, frames)];
    const interrupts = slot.line;
    domain.kill("killed");
    for (const send of [sends[0], sends[2]]) expect(await failure(send)).toBeInstanceOf(DriverDiedError);
    await sends[1].catch(() => {});
    expect(await failure(waiting)).toBeInstanceOf(VoidError);
    expect(slot.dma.live).toBe(0);
    expect(interrupts.asserted).toBe(false);
    const before = wire.sent.length;
    wire.arrive(udp(1));
    await machine.idle();
    expect(wire.sent.length).toBe(before);
    await session.leave();
    await on.settled();

    const next = machine.domain("e1000", slot);
    await machine.run(E1000Driver.start(next));
    const again = await TestSession.open(machine, new NetworkClient(next.endpoint));
    wire.arrive(udp(9, 99, 9));
    await machine.idle();
    expect(again.take()).toEqual([udp(9, 99, 9)]);
    await machine.run(again.client.send(again.space, [{ offset: 0, length: 99 }]));
    expect(wire.sent.at(-1)).toEqual(udp(9, 99, 9));
    next.kill("over");
    await again.leave();
    await on.settled();
    expect(on.faults).toEqual([]);
  });

  test("a batch that the adapter never takes: the watchdog ends the driver", async () => {
    const { machine, slot, client, domain, end } = await rig(new KeepingWire(), { watchdog: 1_000_000_000 });
    const bank = machine.bank.bank();
    const space = bank.region({ pages: 1 });
    // Somebody switches the transmitter off behind the driver's back.
    slot.write(0, 0x0400, 4, 0);
    expect(await failure(machine.run(client.send(space, [{ offset: 0, length: 60 }])))).toBeInstanceOf(DriverDiedError);
    expect(domain.dead).toMatch(/did not end in time/);
    await machine.bank.destroy(bank);
    await end();
  });

  test("so does a frame by value that the adapter never takes", async () => {
    const { machine, slot, client, domain, end } = await rig(new KeepingWire(), { watchdog: 1_000_000_000 });
    slot.write(0, 0x0400, 4, 0);
    await machine.run(client.sendCopy(udp(1)));
    await machine.idle();
    expect(domain.dead).toMatch(/did not end in time/);
    await end();
  });

  test("what its interrupt handler throws ends the driver, and the machine goes on", async () => {
    const { machine } = on;
    const wire = new KeepingWire();
    const slot = machine.plug("e1000", (host) => new I82540em(host, { wire }));
    let broken = false;
    const device: DeviceAccess = {
      dma: slot.dma,
      line: slot.line,
      read: (bar, offset, size) => {
        if (broken && offset === 0x00c0) throw new TypeError("a bug in the handler");
        return slot.read(bar, offset, size);
      },
      write: (bar, offset, size, value) => slot.write(bar, offset, size, value),
      configRead: (offset, size) => slot.configRead(offset, size),
      configWrite: (offset, size, value) => slot.configWrite(offset, size, value),
      quiesce: () => slot.quiesce(),
    };
    const domain = machine.domain("e1000", device);
    await machine.run(E1000Driver.start(domain));
    broken = true;
    wire.arrive(udp(1));
    await machine.idle();
    expect(domain.dead).toBe("a bug in the handler");
    await on.settled();
  });
});

describe("an adapter that lies", () => {
  /** Has the model fill a descriptor as the test wants it, by writing behind its back. */
  async function lying(change: (words: Uint32Array) => void) {
    const found = await rig(new KeepingWire());
    const { slot, machine } = found;
    const ring = slot.read(0, 0x2800, 4) + slot.read(0, 0x2804, 4) * 2 ** 32;
    const session = await TestSession.open(machine, found.client);
    const descriptor = new Uint8Array(16);
    expect(slot.dma.read(ring, descriptor, 0, 16)).toBe(true);
    change(new Uint32Array(descriptor.buffer));
    expect(slot.dma.write(ring, descriptor, 0, 16)).toBe(true);
    // Any interrupt will do.
    slot.write(0, 0x00c8, 4, 0x80);
    await machine.idle();
    return { ...found, session };
  }

  test("about the length: a client never sees what lies behind the buffer", async () => {
    const { session, end } = await lying((words) => {
      words[2] = 60_000;
      words[3] = 3;
    });
    expect(session.ring.peek()).toBe(-1);
    await session.leave();
    await end();
  });

  test("about the end of a frame: pieces are not taken for frames", async () => {
    const { session, slot, machine, end } = await lying((words) => {
      words[2] = 2048;
      words[3] = 1;
    });
    const ring = slot.read(0, 0x2800, 4) + slot.read(0, 0x2804, 4) * 2 ** 32;
    const descriptor = new Uint8Array(16);
    expect(slot.dma.read(ring + 16, descriptor, 0, 16)).toBe(true);
    new Uint32Array(descriptor.buffer).set([100, 3], 2);
    expect(slot.dma.write(ring + 16, descriptor, 0, 16)).toBe(true);
    slot.write(0, 0x00c8, 4, 0x80);
    await machine.idle();
    expect(session.ring.peek()).toBe(-1);
    await session.leave();
    await end();
  });
});

test("the driver's own memory is all that stays pinned between requests", async () => {
  const { machine, client, end } = await rig(new KeepingWire());
  const { pinned } = machine.budget;
  const session = await TestSession.open(machine, client);
  await machine.run(client.send(session.space, [{ offset: 0, length: 60 }]));
  await atRest(machine);
  expect(machine.budget.pinned).toBe(pinned);
  await session.leave();
  await end();
});
