import { describe, expect, test } from "vitest";
import { HeldDisk } from "../test/support/held-disk.js";
import { atRest, balance, failure, noise, testMachine } from "../test/support/native.js";
import { KeepingWire, recordedFrames, TestSession, udp } from "../test/support/network.js";
import type { DmaFault } from "./bus/io-mmu.js";
import { PciCommand, PciRegister } from "./bus/pci-config.js";
import { DriverDiedError } from "./capability/errors.js";
import { I82540em } from "./devices/i82540em.js";
import { KorralNic } from "./devices/korral-nic.js";
import { NvmeController } from "./devices/nvme.js";
import { Uart16550 } from "./devices/uart16550.js";
import { BlockClient } from "./drivers/block-service.js";
import { E1000Driver } from "./drivers/e1000/e1000-driver.js";
import { KorralNicDriver } from "./drivers/korral-nic/korral-nic-driver.js";
import { NetworkClient } from "./drivers/network-service.js";
import { NvmeDriver } from "./drivers/nvme/nvme-driver.js";
import { TerminalClient } from "./drivers/terminal-service.js";
import { UartDriver } from "./drivers/uart-driver.js";
import { Machine, StuckError } from "./machine.js";
import { DmaAccess } from "./memory/pin.js";
import { MemoryDisk } from "./ports/disk-image.js";
import { ScriptedTerminal } from "./ports/terminal.js";
import { ObjectPager } from "./transfer/object-pager.js";
import type { IoAddress } from "./util/brand.js";
import { KorralError } from "./util/errors.js";

const PAGE = 4096;

/** All four devices with their drivers. */
async function fullMachine() {
  const on = await testMachine({ memory: "32MiB" });
  const { machine } = on;
  const line = new ScriptedTerminal();
  const disk = new MemoryDisk(1024 * 1024);
  disk.write(0, [noise(1024 * 1024).slice()], () => {});
  const ethernet = new KeepingWire();
  const boardWire = new KeepingWire();
  const slots = {
    uart: machine.wire("uart16550", (host) => new Uart16550(host, { line })),
    nvme: machine.plug("nvme", (host) => new NvmeController(host, { disk, latency: 20_000 })),
    e1000: machine.plug("e1000", (host) => new I82540em(host, { wire: ethernet })),
    board: machine.plug("korral-nic", (host) => new KorralNic(host, { wire: boardWire })),
  };
  const start = async () => {
    const domains = {
      uart: machine.domain("uart", slots.uart),
      nvme: machine.domain("nvme", slots.nvme),
      e1000: machine.domain("e1000", slots.e1000),
      board: machine.domain("korral-nic", slots.board),
    };
    UartDriver.start(domains.uart);
    const nvme = await machine.run(NvmeDriver.start(domains.nvme));
    await machine.run(E1000Driver.start(domains.e1000));
    await machine.run(KorralNicDriver.start(domains.board));
    return { domains, nvme };
  };
  return { ...on, line, disk, ethernet, boardWire, slots, start };
}

describe("options that cannot be", () => {
  test.each([
    [{ memory: Number.NaN }, "bad-size"],
    [{ memory: -4096 }, "bad-size"],
    [{ memory: "1e9" }, "bad-size"],
    [{ memory: 0 }, "bank-size"],
    [{ memory: "4GiB" }, "bank-size"],
    [{ memory: "4KiB" }, "pin-budget"],
    [{ seed: Number.NaN }, "bad-seed"],
    [{ seed: 0.5 }, "bad-seed"],
    [{ pinBudget: Number.NaN }, "pin-budget"],
    [{ pinBudget: -1 }, "pin-budget"],
    [{ pinBudget: 1.5 }, "pin-budget"],
    [{ pinBudget: { bound: 100, posted: 60, reserved: 40, paging: 0 } }, "pin-budget"],
    [{ pinBudget: { bound: 100, posted: -1 } }, "pin-budget"],
    [{ pinBudget: { bound: 100, paging: Number.NaN } }, "pin-budget"],
  ])("%j: %s", async (options, code) => {
    await expect(Machine.create(options)).rejects.toMatchObject({ code, exitStatus: 2 });
  });

  test.each([0, -1, Number.NaN])("a watchdog of %d ns", async (watchdog) => {
    const { machine } = await testMachine();
    const slot = machine.plug("nvme", (host) => new NvmeController(host, { disk: new MemoryDisk(4096) }));
    expect(() => machine.domain("nvme", slot, { watchdog })).toThrow(expect.objectContaining({ code: "watchdog" }));
    machine.domain("nvme", slot).kill("enough");
  });
});

describe("a whole machine", () => {
  test("all drivers at work at once, round after round: in the end it has what it began with", async () => {
    const on = await fullMachine();
    const { machine, line, ethernet, boardWire, disk } = on;
    const recorded = recordedFrames().slice(0, 60);
    for (let round = 0; round < 3; round++) {
      const { domains, nvme } = await on.start();
      const bank = machine.bank.bank();
      const pager = new ObjectPager(machine.kernel, bank, nvme, 256, machine.statistics);
      nvme.onPaged = (id, error) => pager.complete(id, error);
      domains.nvme.onDeath.push((why) => pager.driverGone(why));
      const region = bank.region({ pages: 100 });
      const block = new BlockClient(domains.nvme.endpoint);
      const terminal = new TerminalClient(domains.uart.endpoint);
      const sessions = [
        await TestSession.open(machine, new NetworkClient(domains.e1000.endpoint)),
        await TestSession.open(machine, new NetworkClient(domains.board.endpoint)),
      ];
      line.type("a line\r");
      for (const frame of recorded) {
        ethernet.arrive(frame);
        boardWire.arrive(frame);
      }
      const pages = Array.from({ length: 40 }, (_, i) => pager.page(i));
      await machine.run(
        Promise.all([
          terminal.read().then((bytes) => terminal.write(bytes)),
          ...Array.from({ length: 20 }, (_, i) => block.read(region, 5 * i * PAGE, 40 * i, 5 * PAGE)),
          ...pages.map(async (page) => page.read(0, new Uint8Array(8))),
          ...sessions.map(({ client, space }) => client.send(space, [{ offset: 0, length: 60 }])),
        ]),
      );
      await machine.idle();
      for (const session of sessions) expect(session.take().length).toBe(60);
      const got = new Uint8Array(100 * PAGE);
      await region.read(0, got);
      const expected = new Uint8Array(100 * PAGE);
      disk.read(0, [expected], () => {});
      expect(Buffer.compare(got, expected)).toBe(0);
      for (const session of sessions) await session.leave();
      for (const domain of Object.values(domains)) domain.kill("the round is over");
      await machine.bank.destroy(bank);
      await on.settled();
    }
    expect(on.faults).toEqual([]);
    expect(machine.iommu.faults).toBe(0);
  });

  test("switched off in the middle of everything", async () => {
    const on = await fullMachine();
    const { machine } = on;
    const pending: Promise<unknown>[] = [];
    {
      await using off = machine;
      const { domains } = await on.start();
      const session = await TestSession.open(off, new NetworkClient(domains.board.endpoint));
      const region = session.space;
      pending.push(new BlockClient(domains.nvme.endpoint).read(region, 0, 0, 8 * PAGE));
      pending.push(new TerminalClient(domains.uart.endpoint).read());
      pending.push(new NetworkClient(domains.e1000.endpoint).send(region, [{ offset: 0, length: 60 }]));
      for (const promise of pending) promise.catch(() => {});
    }
    for (const promise of pending) expect(await failure(promise)).toBeInstanceOf(DriverDiedError);
    expect(machine.budget.pinned).toBe(0);
    expect(balance(machine)).toMatchObject({ mappings: 0, vectors: 207 });
  });

  test("the death of one driver leaves the others alone", async () => {
    const on = await fullMachine();
    const { machine, ethernet } = on;
    const { domains } = await on.start();
    const session = await TestSession.open(machine, new NetworkClient(domains.e1000.endpoint));
    const bank = machine.bank.bank();
    const read = new BlockClient(domains.nvme.endpoint).read(bank.region({ pages: 4 }), 0, 0, 4 * PAGE);
    const lost = new TerminalClient(domains.uart.endpoint).read();
    domains.uart.kill("one");
    domains.board.kill("two");
    expect(await failure(machine.run(lost))).toBeInstanceOf(DriverDiedError);
    ethernet.arrive(udp(1));
    await machine.run(read);
    await machine.idle();
    expect(session.take()).toEqual([udp(1)]);
    expect([domains.nvme.dead, domains.e1000.dead]).toEqual([null, null]);
    for (const domain of Object.values(domains)) domain.kill("over");
    await session.leave();
    await machine.bank.destroy(bank);
    await on.settled();
  });

  test("the same seed and the same input: the same run", async () => {
    const run = async () => {
      const on = await fullMachine();
      const { domains } = await on.start();
      const session = await TestSession.open(on.machine, new NetworkClient(domains.e1000.endpoint));
      for (const frame of recordedFrames()) on.ethernet.arrive(frame);
      await on.machine.idle();
      const now = on.machine.clock.now();
      return { now, counters: session.ring.counters, statistics: { ...on.machine.statistics } };
    };
    expect(await run()).toEqual(await run());
  });
});

describe("running", () => {
  test("work that nothing can finish is reported, not waited for", async () => {
    const { machine } = await testMachine();
    expect(await failure(machine.run(new Promise(() => {}), "a riddle"))).toBeInstanceOf(StuckError);
    expect(await failure(machine.run(Promise.reject(new Error("of its own"))))).toMatchObject({
      message: "of its own",
    });
    expect(await machine.run(Promise.resolve(5))).toBe(5);
  });

  test.each([
    [{ memory: 100 }, "bank-size"],
    [{ memory: "8GiB" }, "bank-size"],
    [{ memory: "lots" }, "bad-size"],
    [{ pinBudget: 0 }, "pin-budget"],
    [{ pinBudget: { bound: 10, posted: 10 } }, "pin-budget"],
  ])("a machine that cannot be: %j", async (options, code) => {
    expect(await failure(Machine.create(options))).toMatchObject({ code });
  });

  test("a bound for a driver that cannot be costs nothing", async () => {
    const { machine, settled } = await testMachine();
    const slot = machine.wire("uart16550", (host) => new Uart16550(host, { line: new ScriptedTerminal() }));
    expect(() => machine.domain("uart", slot, { pinBound: 0 })).toThrow(KorralError);
    await settled();
  });
});

describe("what a device may not reach is refused and reported", () => {
  /** A disk controller in the middle of a read, whose driver does something wrong before the data moves. */
  async function wrong(misdeed: (slot: Awaited<ReturnType<typeof setUp>>) => void) {
    const on = await setUp();
    const { machine, client, region } = on;
    const read = client.read(region, 0, 0, 4 * PAGE);
    read.catch(() => {});
    await atRest(machine);
    const mark = new Uint8Array(16 * PAGE).fill(0x77);
    await region.write(0, mark);
    misdeed(on);
    on.disk.answer();
    await atRest(machine);
    const bytes = new Uint8Array(16 * PAGE);
    await region.read(0, bytes);
    expect(Buffer.compare(bytes, mark)).toBe(0);
    return { ...on, read };
  }

  async function setUp() {
    const on = await testMachine();
    const { machine } = on;
    const disk = new HeldDisk(noise(1024 * 1024).slice());
    const slot = machine.plug("nvme", (host) => new NvmeController(host, { disk }));
    const domain = machine.domain("nvme", slot);
    const maps: { io: IoAddress; length: number }[] = [];
    const { map } = slot.dma;
    slot.dma.map = (pin, offset, length, ...rest) => {
      const io = map.call(slot.dma, pin, offset, length, ...rest);
      maps.push({ io, length });
      return io;
    };
    await machine.run(NvmeDriver.start(domain));
    const region = machine.bank.region({ pages: 16 });
    return { ...on, disk, slot, domain, client: new BlockClient(domain.endpoint), region, maps };
  }

  test("a driver that unmaps too early", async () => {
    const { faults, slot, client, read, machine, maps, domain } = await wrong(({ slot, maps }) => {
      slot.dma.unmap(maps[maps.length - 1].io, "nvme, too early");
    });
    const { io } = maps[maps.length - 1];
    expect(faults).toHaveLength(1);
    expect(faults[0]).toMatchObject<Partial<DmaFault>>({
      reason: "after-unmap",
      device: slot.dma.device,
      address: io,
      access: DmaAccess.write,
    });
    expect(faults[0].mapping).toMatchObject({ site: "nvme read", unmapSite: "nvme, too early" });
    // Its own unmap now fails, and that is its end: the client learns it, the machine goes on.
    expect(await failure(machine.run(read))).toBeInstanceOf(DriverDiedError);
    expect(domain.dead).toMatch(/too early/);
    expect(await failure(client.flush())).toBeInstanceOf(KorralError);
    expect(machine.budget.pinned).toBe(0);
  });

  test("bus mastering switched off", async () => {
    const { faults, machine, domain } = await wrong(({ slot }) => {
      slot.configWrite(PciRegister.command, 2, PciCommand.memorySpace);
    });
    expect(faults[0]).toMatchObject({ reason: "bus-master-off", access: DmaAccess.write });
    domain.kill("enough");
    expect(machine.budget.pinned).toBe(0);
  });

  /** Tells a controller to read a sector to an address that is not its own. */
  async function forged(address: (on: Awaited<ReturnType<typeof setUp>>) => number, opcode = 2) {
    const on = await setUp();
    const { machine, slot, domain, disk } = on;
    disk.holding = false;
    const target = address(on);
    // The next entry of the I/O submission queue (mapped after the admin queue and the identify page) is written as a
    // broken driver would.
    const queue = on.maps[2].io;
    const entry = new Uint32Array(16);
    entry.set([opcode | (5 << 16), 1]);
    entry[6] = target;
    entry[7] = target / 2 ** 32;
    expect(slot.dma.write(queue, new Uint8Array(entry.buffer), 0, 64)).toBe(true);
    on.faults.length = 0;
    slot.write(0, 0x1000 + 8, 4, 1);
    await atRest(machine);
    domain.kill("enough");
    expect(machine.budget.pinned).toBe(0);
    return on;
  }

  test("an address that was never mapped", async () => {
    const { faults } = await forged(() => 0x1234_5000);
    expect(faults[0]).toMatchObject({
      reason: "unmapped",
      address: 0x1234_5000,
      access: DmaAccess.write,
      mapping: null,
    });
  });

  test("another device's address", async () => {
    const { faults, machine } = await forged((on) => {
      const other = on.machine.plug("e1000", (host) => new I82540em(host, { wire: new KeepingWire() }));
      const authority = on.machine.budget.authority("another driver");
      const frame = on.machine.kernel.allocateFrame();
      const pin = authority.tryPin([frame], 0, PAGE, DmaAccess.both, 0);
      const io = other.dma.map(pin, 0, PAGE, DmaAccess.both, "another driver's buffer");
      on.domain.onDeath.push(() => {
        other.dma.unmap(io, "test");
        authority.unpin(pin);
      });
      return io;
    });
    expect(faults[0]).toMatchObject({ reason: "other-device" });
    expect(faults[0].mapping?.site).toBe("another driver's buffer");
    expect(machine.iommu.faults).toBe(1);
  });

  test("the wrong direction, and bytes behind the end", async () => {
    const mapped = (bytes: number) => (on: Awaited<ReturnType<typeof setUp>>) => {
      const pin = on.domain.pins.tryPin({ space: on.region, offset: 0, length: PAGE, access: DmaAccess.read });
      return on.slot.dma.map(pin, 0, bytes, DmaAccess.read, "for reading only");
    };
    const toMemory = await forged(mapped(PAGE));
    expect(toMemory.faults[0]).toMatchObject({ reason: "wrong-direction", access: DmaAccess.write });
    const behind = await forged(mapped(500), 1);
    expect(behind.faults[0]).toMatchObject({ reason: "out-of-bounds", access: DmaAccess.read, length: 512 });
    const bytes = new Uint8Array(512);
    behind.disk.memory.read(0, [bytes], () => {});
    expect(bytes).toEqual(noise(512).slice());
  });
});
