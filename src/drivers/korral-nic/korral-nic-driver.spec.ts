import { beforeEach, describe, expect, test } from "vitest";
import { failure, noise, type TestMachine, testMachine } from "../../../test/support/native.js";
import { KeepingWire, recordedFrames, TestSession, udp } from "../../../test/support/network.js";
import { Restriction } from "../../capability/capability.js";
import { AddressFault, ArgumentError, DriverDiedError, RightsError, VoidError } from "../../capability/errors.js";
import { Queue, Receive, Region, Register } from "../../devices/korral-nic/registers.js";
import { KorralNic, type KorralNicOptions } from "../../devices/korral-nic.js";
import type { Wire } from "../../devices/wire.js";
import { FilterSyntaxError } from "../../filter/errors.js";
import { PinBusyError } from "../../memory/pin-budget.js";
import { LoopWire } from "../../ports/wire-end.js";
import { seededRandom } from "../../util/random.js";
import type { DeviceAccess, DriverOptions } from "../driver-domain.js";
import { LinkDownError, NetworkClient } from "../network-service.js";
import { receiveBlock } from "./board-queue.js";
import { KorralNicDriver } from "./korral-nic-driver.js";

const PAGE = 4096;
let on: TestMachine;

beforeEach(async () => {
  on = await testMachine();
});

/** @param intercept what the driver's accesses go through */
async function rig<W extends Wire>(
  wire: W,
  options: DriverOptions & Partial<KorralNicOptions> = {},
  intercept: (device: DeviceAccess) => DeviceAccess = (device) => device,
) {
  const { machine } = on;
  const { queues = 16 } = options;
  const slot = machine.plug("korral-nic", (host) => new KorralNic(host, { wire, queues }));
  const domain = machine.domain("korral-nic", intercept(slot), options);
  await machine.run(KorralNicDriver.start(domain));
  const client = new NetworkClient(domain.endpoint);
  const end = async () => {
    domain.kill("the test is over");
    await on.settled();
    expect(on.faults).toEqual([]);
  };
  return { machine, wire, slot, domain, client, end };
}

const posted = (): number => on.machine.budget.pool(1).pinned;

describe("receiving", () => {
  test("the board decides whose a frame is, and no frame is copied by the driver", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const web = await TestSession.open(machine, client, { filter: "udp port 80" });
    const low = await TestSession.open(machine, client, { filter: "udp portrange 1-100" });
    const other = await TestSession.open(machine, client, { filter: "udp port 7777", isDefault: true });
    for (const [i, port] of [80, 53, 9999, 7777, 80].entries()) wire.arrive(udp(port, 60, i));
    await machine.idle();
    expect(web.take()).toEqual([udp(80, 60, 0), udp(80, 60, 4)]);
    expect(low.take()).toEqual([udp(53, 60, 1)]);
    expect(other.take()).toEqual([udp(9999, 60, 2), udp(7777, 60, 3)]);
    expect(machine.statistics).toMatchObject({ copies: 0, zeroCopies: 5, zeroCopyBytes: 300 });
    await web.close();
    wire.arrive(udp(80, 60, 9));
    await machine.idle();
    expect(low.take()).toEqual([udp(80, 60, 9)]);
    for (const session of [web, low, other]) await session.leave();
    await end();
  });

  test("thousands of frames arrive whole and in order", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const session = await TestSession.open(machine, client, { slots: 200 });
    const random = seededRandom(9);
    const recorded = recordedFrames();
    for (let burst = 0; burst < 40; burst++) {
      const sent: Uint8Array[] = [];
      for (let i = 0; i < 100; i++) {
        const frame = burst % 2 === 0 ? recorded[random() % recorded.length] : noise(60 + (random() % 1900), random());
        sent.push(frame);
        wire.arrive(frame);
      }
      await machine.idle();
      expect(Buffer.compare(Buffer.concat(session.take()), Buffer.concat(sent))).toBe(0);
    }
    expect(machine.statistics).toMatchObject({ copies: 0, zeroCopies: 4000 });
    await session.leave();
    await end();
  });

  test("a full ring loses its own frames and holds up nobody; long frames are cut", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const lazy = await TestSession.open(machine, client, { filter: "udp port 1", slots: 4, slotBytes: 100 });
    const keen = await TestSession.open(machine, client, { filter: "udp port 2" });
    for (let i = 0; i < 10; i++) {
      wire.arrive(udp(1, 200, i));
      wire.arrive(udp(2, 200, i));
      await machine.idle();
    }
    expect(keen.take().length).toBe(10);
    expect(lazy.take()).toEqual([0, 1, 2, 3].map((i) => udp(1, 200, i).slice(0, 100)));
    expect(lazy.ring.counters).toMatchObject({ delivered: 4, cut: 4 });
    wire.arrive(udp(1, 90, 11));
    await machine.idle();
    expect(lazy.take()).toEqual([udp(1, 90, 11)]);
    for (const session of [lazy, keen]) await session.leave();
    await end();
  });

  test("posted buffers stay below their ceiling, whatever a client asks for", async () => {
    on = await testMachine({ pinBudget: { bound: 1000, posted: 20, reserved: 500, paging: 0 } });
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const greedy = await TestSession.open(machine, client, { filter: "udp port 1", slots: 500 });
    expect(posted()).toBe(20);
    const second = { filter: "udp port 2", slots: 4 };
    expect(await failure(TestSession.open(machine, client, second))).toBeInstanceOf(PinBusyError);
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 40; i++) wire.arrive(udp(1, 60, i));
      await machine.idle();
      expect(greedy.take()).toEqual(Array.from({ length: 40 }, (_, i) => udp(1, 60, i)));
      expect(posted()).toBeLessThanOrEqual(20);
    }
    await greedy.close();
    expect(posted()).toBe(0);
    const modest = await TestSession.open(machine, client, second);
    wire.arrive(udp(2, 60, 1));
    await machine.idle();
    expect(modest.take()).toEqual([udp(2, 60, 1)]);
    await modest.leave();
    expect(machine.budget.pool(1).peak).toBe(20);
    await greedy.leave();
    await end();
  });

  test("a session that ran dry while others held the ceiling gets its turn when they leave", async () => {
    on = await testMachine({ pinBudget: { bound: 1000, posted: 20, reserved: 500, paging: 0 } });
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const small = await TestSession.open(machine, client, { filter: "udp port 1", slots: 8 });
    const greedy = await TestSession.open(machine, client, { filter: "udp port 2", slots: 500 });
    // Both are at the ceiling; what the small one gives back is taken by the greedy one first.
    for (let i = 0; i < 8; i++) wire.arrive(udp(1, 60, i));
    for (let i = 0; i < 8; i++) wire.arrive(udp(2, 60, i));
    await machine.idle();
    greedy.take();
    expect(small.take().length).toBe(8);
    for (let i = 0; i < 20; i++) wire.arrive(udp(1, 60, i));
    await machine.idle();
    small.take();
    await greedy.close();
    expect(posted()).toBe(4);
    wire.arrive(udp(1, 60, 77));
    await machine.idle();
    expect(small.take()).toEqual([udp(1, 60, 77)]);
    for (const session of [small, greedy]) await session.leave();
    await end();
  });

  test("session close returns all pins, the queue and the board's filter memory", async () => {
    const { machine, client, slot, end } = await rig(new KeepingWire(), { queues: 2 });
    const before = { pinned: machine.budget.pinned, mapped: slot.dma.live };
    for (let round = 0; round < 40; round++) {
      const session = await TestSession.open(machine, client, { slots: 64, isDefault: true });
      expect(posted()).toBe(32);
      await session.close();
      expect(machine.budget.pinned).toBe(before.pinned);
      expect(slot.dma.live).toBe(before.mapped);
      expect(slot.read(0, Register.DEFAULT, 4)).toBe(0);
      expect(slot.read(0, receiveBlock(round % 2) + Receive.VERDICT, 4)).toBe(0);
      await session.leave();
    }
    await end();
  });

  test("a queue that was the default's is not when somebody else has it", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire(), { queues: 1 });
    const first = await TestSession.open(machine, client, { filter: "udp port 1", isDefault: true });
    await first.close();
    const second = await TestSession.open(machine, client, { filter: "udp port 2" });
    wire.arrive(udp(3));
    await machine.idle();
    expect(second.take()).toEqual([]);
    for (const session of [first, second]) await session.leave();
    await end();
  });

  test("queues run out: refused, until a session is closed", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire(), { queues: 4 });
    const sessions: TestSession[] = [];
    for (let i = 1; i <= 4; i++) {
      sessions.push(await TestSession.open(machine, client, { filter: `udp port ${i}`, slots: 4 }));
    }
    const fifth = { filter: "udp port 5", slots: 4 };
    expect(await failure(TestSession.open(machine, client, fifth))).toBeInstanceOf(ArgumentError);
    await sessions[1].close();
    sessions.push(await TestSession.open(machine, client, fifth));
    for (let i = 1; i <= 5; i++) wire.arrive(udp(i, 60, i));
    await machine.idle();
    for (const i of [0, 2, 3, 4]) expect(sessions[i].take()).toEqual([udp(i + 1, 60, i + 1)]);
    for (const session of sessions) await session.leave();
    await end();
  });

  test("a filter that the board refuses surfaces as an error, and nothing has changed", async () => {
    let refuse = false;
    const { machine, wire, client, slot, domain, end } = await rig(new KeepingWire(), {}, (device) => ({
      dma: device.dma,
      line: device.line,
      read: (bar, offset, size) => device.read(bar, offset, size),
      write: (bar, offset, size, value) =>
        device.write(bar, offset, size, refuse && offset === Region.receive + Receive.COUNT ? 5000 : value),
      configRead: (offset, size) => device.configRead(offset, size),
      configWrite: (offset, size, value) => device.configWrite(offset, size, value),
      quiesce: () => device.quiesce(),
    }));
    const bank = machine.bank.bank();
    const space = bank.region({ pages: 4 });
    const request = { space, offset: 0, slots: 4, slotBytes: 2048, filter: "udp port 1" };
    const before = { quota: machine.bank.available, pinned: machine.budget.pinned };
    refuse = true;
    expect(await failure(machine.run(client.open(request)))).toMatchObject({ code: "board-refuses-filter" });
    expect({ quota: machine.bank.available, pinned: machine.budget.pinned }).toEqual(before);
    expect(slot.read(0, Region.receive + Queue.ENABLE, 4)).toBe(0);
    refuse = false;
    const ring = await machine.run(client.open(request));
    wire.arrive(udp(1));
    await machine.idle();
    expect(ring.peek()).toBe(60);
    expect(domain.dead).toBe(null);
    await machine.run(client.close(ring));
    await machine.bank.destroy(bank);
    await end();
  });

  test("a filter that is too long for the board is refused by it", async () => {
    const { machine, client, domain, end } = await rig(new KeepingWire());
    const before = { quota: machine.bank.available, pinned: machine.budget.pinned };
    const filter = Array.from({ length: 1500 }, (_, i) => `ether[${i % 1400}:4] = ${i + 1}`).join(" or ");
    expect(await failure(TestSession.open(machine, client, { filter }))).toMatchObject({
      code: "board-refuses-filter",
    });
    expect({ quota: machine.bank.available, pinned: machine.budget.pinned }).toEqual(before);
    expect(domain.dead).toBe(null);
    await end();
  });

  const req = (session: TestSession) => ({ space: session.space, offset: 0, slots: 2, slotBytes: 2048, filter: "" });
  const bad: readonly [string, (c: NetworkClient, s: TestSession) => Promise<unknown>, unknown][] = [
    ["a filter with an error", (c, s) => c.open({ ...req(s), filter: "tcp prt 80" }), FilterSyntaxError],
    ["no slots", (c, s) => c.open({ ...req(s), slots: 0 }), ArgumentError],
    [
      "slots larger than a descriptor says",
      (c, s) => c.open({ ...req(s), slots: 1, slotBytes: 65_536 }),
      ArgumentError,
    ],
    ["memory that is not there", (c, s) => c.open({ ...req(s), offset: 63 * 2048 }), AddressFault],
    [
      "memory that it may not write",
      (c, s) => c.open({ ...req(s), space: s.space.restrict(Restriction.weak) }),
      RightsError,
    ],
    ["a session twice closed", (c, s) => c.close(s.ring).then(() => c.close(s.ring)), VoidError],
    ["a copy", (c) => c.sendCopy(udp(1)), ArgumentError],
  ];
  test.each(bad)("%s: refused, and nothing has changed", async (_, request, kind) => {
    const { machine, wire, client, domain, end } = await rig(new KeepingWire());
    const session = await TestSession.open(machine, client);
    const before = { quota: machine.bank.available, pinned: machine.budget.pinned };
    expect(await failure(machine.run(request(client, session)))).toBeInstanceOf(kind);
    expect(domain.dead).toBe(null);
    if (kind !== VoidError) {
      expect({ quota: machine.bank.available, pinned: machine.budget.pinned }).toEqual(before);
      wire.arrive(udp(5));
      await machine.idle();
      expect(session.take()).toEqual([udp(5)]);
    }
    await session.leave();
    await end();
  });
});

describe("destroying memory that is posted", () => {
  test("the board gives it back first, then the destroy resolves, and nobody writes there any more", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const session = await TestSession.open(machine, client, { filter: "udp port 1", slots: 16 });
    const other = await TestSession.open(machine, client, { filter: "udp port 2", slots: 16 });
    wire.arrive(udp(1, 60, 1));
    await machine.idle();
    const waiting = Promise.resolve(session.ring.wait()).then(() => session.take() && session.ring.wait());
    const free = machine.kernel.freeFrames;
    const destroyed = machine.bank.destroy(session.bank);
    expect(destroyed).toBeInstanceOf(Promise);
    expect(session.space.isVoid).toBe(true);
    await machine.run(Promise.resolve(destroyed));
    expect(machine.kernel.freeFrames).toBeGreaterThanOrEqual(free + 8);
    expect(await failure(machine.run(waiting))).toBeInstanceOf(VoidError);
    expect(posted()).toBe(8);
    const heir = machine.bank.bank();
    const memory = heir.region({ pages: 8 });
    for (let i = 0; i < 20; i++) {
      wire.arrive(udp(1, 1500, i));
      wire.arrive(udp(2, 60, i));
      await machine.idle();
      expect(other.take().length).toBe(1);
    }
    const bytes = new Uint8Array(8 * PAGE);
    await memory.read(0, bytes);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    await machine.bank.destroy(heir);
    await other.leave();
    await end();
  });

  test("one page of many is enough", async () => {
    const { machine, client, end } = await rig(new KeepingWire());
    const session = await TestSession.open(machine, client, { slots: 16 });
    const page = session.space.getSlot(3);
    if (page === null) throw new Error("the region has no fourth page");
    await machine.run(Promise.resolve(session.bank.destroy(page)));
    await machine.idle();
    expect(posted()).toBe(0);
    await session.leave();
    await end();
  });

  test("a board that never gives it back: the watchdog ends the driver, and the destroy resolves", async () => {
    const { machine, client, domain, end } = await rig(new KeepingWire(), { watchdog: 1_000_000_000 }, (device) => ({
      dma: device.dma,
      line: device.line,
      read: (bar, offset, size) => device.read(bar, offset, size),
      write: (bar, offset, size, value) => {
        if (offset !== Region.receive + Receive.WITHDRAW) device.write(bar, offset, size, value);
      },
      configRead: (offset, size) => device.configRead(offset, size),
      configWrite: (offset, size, value) => device.configWrite(offset, size, value),
      quiesce: () => device.quiesce(),
    }));
    const session = await TestSession.open(machine, client, { slots: 16 });
    const free = machine.kernel.freeFrames;
    await session.leave();
    expect(domain.dead).toMatch(/did not end in time/);
    expect(machine.kernel.freeFrames).toBeGreaterThanOrEqual(free + 8);
    await end();
  });
});

describe("sending", () => {
  test("through a loop: what is sent is received, without a copy either way", async () => {
    const { machine, client, end } = await rig(new LoopWire());
    const session = await TestSession.open(machine, client, { slots: 128 });
    const bank = machine.bank.bank();
    const space = bank.region({ pages: 50 });
    for (let round = 0; round < 20; round++) {
      const bytes = noise(50 * PAGE, round + 1);
      await space.write(0, bytes);
      const frames = Array.from({ length: 120 }, (_, i) => ({ offset: 1518 * i, length: 14 + 15 * i + (round % 14) }));
      await machine.run(client.send(space, frames));
      await machine.idle();
      const sent = frames.map(({ offset, length }) => bytes.slice(offset, offset + length));
      expect(Buffer.compare(Buffer.concat(session.take()), Buffer.concat(sent))).toBe(0);
    }
    expect(machine.statistics.copies).toBe(0);
    for (const one of [bank, session.bank]) await machine.run(Promise.resolve(machine.bank.destroy(one)));
    await end();
  });

  test("batches larger than the ring", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const bank = machine.bank.bank();
    const space = bank.region({ pages: 8 });
    await space.write(0, noise(8 * PAGE));
    const sends = [3000, 1, 8000].map((count) =>
      client.send(
        space,
        Array.from({ length: count }, (_, i) => ({ offset: i, length: 60 })),
      ),
    );
    await machine.run(Promise.all(sends));
    expect(wire.sent.length).toBe(11_001);
    expect(wire.sent[3001 + 7999]).toEqual(noise(8 * PAGE).slice(7999, 8059));
    await machine.bank.destroy(bank);
    await end();
  });

  test("without a link frames are lost, and the client learns of it", async () => {
    const { machine, wire, client, end } = await rig(new KeepingWire());
    const bank = machine.bank.bank();
    const space = bank.region({ pages: 1 });
    wire.setCarrier(false);
    await machine.idle();
    const frames = [{ offset: 0, length: 60 }];
    expect((await machine.run(client.info())).linkUp).toBe(false);
    expect(await failure(machine.run(client.send(space, frames)))).toBeInstanceOf(LinkDownError);
    wire.setCarrier(true);
    await machine.idle();
    await machine.run(client.send(space, frames));
    expect(wire.sent.length).toBe(1);
    await machine.bank.destroy(bank);
    await end();
  });
});

describe("the end of the driver", () => {
  test("in the middle of traffic: nothing stays posted, a new one starts on the same slot", async () => {
    const { machine, wire, slot, domain, client } = await rig(new KeepingWire());
    const session = await TestSession.open(machine, client, { slots: 64 });
    const waiting = Promise.resolve(session.ring.wait());
    const frames = Array.from({ length: 3000 }, () => ({ offset: 0, length: 1000 }));
    const sends = [client.send(session.space, frames), client.send(session.space, frames)];
    domain.kill("killed");
    for (const send of sends) expect(await failure(send)).toBeInstanceOf(DriverDiedError);
    expect(await failure(waiting)).toBeInstanceOf(VoidError);
    expect(posted()).toBe(0);
    const mark = noise(64 * 2048);
    await session.space.write(0, mark);
    for (let i = 0; i < 5; i++) wire.arrive(udp(1, 1000, i));
    await machine.idle();
    const bytes = new Uint8Array(mark.length);
    await session.space.read(0, bytes);
    expect(Buffer.compare(bytes, mark)).toBe(0);
    await session.leave();
    await on.settled();

    const next = machine.domain("korral-nic", slot);
    await machine.run(KorralNicDriver.start(next));
    const again = await TestSession.open(machine, new NetworkClient(next.endpoint));
    wire.arrive(udp(9, 99, 9));
    await machine.idle();
    expect(again.take()).toEqual([udp(9, 99, 9)]);
    next.kill("over");
    await again.leave();
    await on.settled();
    expect(on.faults).toEqual([]);
  });

  test("no vector is lost however often one starts", async () => {
    const { machine } = on;
    const slot = machine.plug("korral-nic", (host) => new KorralNic(host, { wire: new KeepingWire(), queues: 64 }));
    for (let round = 0; round < 8; round++) {
      const domain = machine.domain("korral-nic", slot);
      await machine.run(KorralNicDriver.start(domain));
      domain.kill("next");
    }
    await on.settled();
  });

  test("a board that is not there", async () => {
    const { machine } = on;
    const slot = machine.plug("korral-nic", (host) => new KorralNic(host, { wire: new KeepingWire() }));
    const domain = machine.domain("korral-nic", {
      dma: slot.dma,
      line: slot.line,
      read: () => 0xffff_ffff,
      write: () => {},
      configRead: () => 0xffff_ffff,
      configWrite: () => {},
      quiesce: () => slot.quiesce(),
    });
    expect(await failure(machine.run(KorralNicDriver.start(domain)))).toMatchObject({ code: "no-korral-nic" });
    await on.settled();
  });

  test.each([
    ["another cookie", 0, 0xdead],
    ["more bytes than the buffer has", 1, 0xffff],
  ])("a board that completes %s ends the driver, not the machine", async (_, word, value) => {
    const { machine, wire, slot, client, domain, end } = await rig(new KeepingWire());
    const session = await TestSession.open(machine, client, { slots: 8 });
    const low = slot.read(0, Region.receive + Queue.COMPLETIONS, 4);
    const high = slot.read(0, Region.receive + Queue.COMPLETIONS_HIGH, 4);
    const completions = high * 2 ** 32 + low;
    wire.arrive(udp(1));
    // The interrupt has not been delivered yet: the completion is changed on its way.
    expect(slot.dma.write(completions + 4 * word, new Uint8Array(Uint32Array.of(value).buffer), 0, 4)).toBe(true);
    await machine.idle();
    expect(domain.dead).toMatch(/the board/);
    await session.leave();
    await end();
  });
});
