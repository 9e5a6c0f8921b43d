import { beforeEach, describe, expect, test } from "vitest";
import { HeldDisk } from "../../../test/support/held-disk.js";
import { atRest, failure, noise, type TestMachine, testMachine } from "../../../test/support/native.js";
import { Restriction } from "../../capability/capability.js";
import { AddressFault, ArgumentError, DriverDiedError, RightsError, VoidError } from "../../capability/errors.js";
import type { SpaceBankCapability } from "../../capability/space-bank.js";
import { NvmeController } from "../../devices/nvme.js";
import type { Machine } from "../../machine.js";
import { PinBoundError } from "../../memory/pin-budget.js";
import { FaultyDisk } from "../../ports/disk-faulty.js";
import { type DiskBackend, MemoryDisk } from "../../ports/disk-image.js";
import { randomBelow, seededRandom } from "../../util/random.js";
import { BlockClient, BlockLabel } from "../block-service.js";
import type { DriverDomain, DriverOptions } from "../driver-domain.js";
import { NvmeCommandError, NvmeDriver } from "./nvme-driver.js";

const DISK_BYTES = 4 * 1024 * 1024;
const PAGE = 4096;

interface Rig {
  readonly machine: Machine;
  readonly domain: DriverDomain;
  readonly driver: NvmeDriver;
  readonly client: BlockClient;
  /** The client's own bank. */
  readonly bank: SpaceBankCapability;
  end(): Promise<void>;
}

let test0: TestMachine;

beforeEach(async () => {
  test0 = await testMachine();
});

async function rig(
  disk: DiskBackend,
  options: DriverOptions & { latency?: number } = {},
  on: TestMachine = test0,
): Promise<Rig> {
  const { machine } = on;
  const slot = machine.plug("nvme", (host) => new NvmeController(host, { disk, latency: options.latency ?? 0 }));
  const domain = machine.domain("nvme", slot, options);
  const driver = await machine.run(NvmeDriver.start(domain));
  const bank = machine.bank.bank();
  return {
    machine,
    domain,
    driver,
    client: new BlockClient(domain.endpoint),
    bank,
    async end() {
      domain.kill("the test is over");
      await machine.bank.destroy(bank);
      await on.settled();
    },
  };
}

function filledDisk(size = DISK_BYTES, sectorSize: 512 | 4096 = 512): { disk: MemoryDisk; content: Uint8Array } {
  const disk = new MemoryDisk(size, { sectorSize });
  const content = noise(size, 7).slice();
  disk.write(0, [content], () => {});
  return { disk, content };
}

function onDisk(disk: MemoryDisk, position: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  disk.read(position, [bytes], () => {});
  return bytes;
}

describe("reads and writes", () => {
  test.each([512, 4096] as const)("of random places and lengths, %i-byte sectors", async (sectorSize) => {
    const { disk, content } = filledDisk(DISK_BYTES, sectorSize);
    const { machine, client, bank, end } = await rig(disk);
    const pages = 80;
    const region = bank.region({ pages });
    const model = new Uint8Array(pages * PAGE);
    const random = seededRandom(3);
    for (let round = 0; round < 150; round++) {
      const length = sectorSize * (1 + randomBelow(random, Math.floor(300_000 / sectorSize)));
      const offset = 4 * randomBelow(random, (pages * PAGE - length) / 4);
      const sector = randomBelow(random, (DISK_BYTES - length) / sectorSize);
      if (round % 2 === 0) {
        await machine.run(client.read(region, offset, sector, length));
        model.set(content.subarray(sector * sectorSize, sector * sectorSize + length), offset);
      } else {
        const bytes = noise(length, round);
        await region.write(offset, bytes);
        model.set(bytes, offset);
        await machine.run(client.write(region, offset, sector, length));
        content.set(bytes, sector * sectorSize);
      }
      expect(machine.budget.pool(0).pinned).toBe(0);
    }
    const inRegion = new Uint8Array(pages * PAGE);
    await region.read(0, inRegion);
    expect(Buffer.compare(inRegion, model)).toBe(0);
    expect(Buffer.compare(onDisk(disk, 0, DISK_BYTES), content)).toBe(0);
    expect(machine.statistics).toMatchObject({ zeroCopies: 150, copies: 0 });
    await end();
    expect(test0.faults).toEqual([]);
  });

  test("longer than one command can be: split, and still one request", async () => {
    const { disk, content } = filledDisk();
    const { machine, client, bank, end } = await rig(disk);
    const length = 3 * 1024 * 1024 + 512;
    const region = bank.region({ pages: Math.ceil(length / PAGE) + 1 });
    await machine.run(client.read(region, 516, 1, length));
    const got = new Uint8Array(length);
    await region.read(516, got);
    expect(Buffer.compare(got, content.subarray(512, 512 + length))).toBe(0);
    expect(machine.statistics.zeroCopies).toBe(1);
    await end();
  });

  test("hundreds at once, more than the queue holds", async () => {
    const { disk, content } = filledDisk();
    const { machine, client, bank, end } = await rig(disk, { latency: 50_000 });
    const region = bank.region({ pages: 600 });
    const reads = Array.from({ length: 600 }, (_, i) => client.read(region, i * PAGE, i * 8, PAGE));
    await machine.run(Promise.all(reads));
    const got = new Uint8Array(600 * PAGE);
    await region.read(0, got);
    expect(Buffer.compare(got, content.subarray(0, got.length))).toBe(0);
    await end();
  });

  test("from a read-only region, and from a weak one", async () => {
    const { disk } = filledDisk();
    const { machine, client, bank, end } = await rig(disk);
    const region = bank.region({ pages: 2 });
    const bytes = noise(2 * PAGE, 9);
    await region.write(0, bytes);
    await machine.run(client.write(region.restrict(Restriction.readOnly), 0, 0, 2 * PAGE));
    expect(onDisk(disk, 0, 2 * PAGE)).toEqual(bytes);
    await machine.run(client.write(region.restrict(Restriction.weak), PAGE, 100, PAGE));
    expect(onDisk(disk, 100 * 512, PAGE)).toEqual(bytes.slice(PAGE));
    await end();
  });

  test("flush, discard and write zeroes", async () => {
    const { disk, content } = filledDisk();
    const { machine, client, end } = await rig(disk);
    await machine.run(client.flush());
    await machine.run(client.writeZeroes(8, 1024 * 512));
    content.fill(0, 8 * 512, (8 + 1024) * 512);
    await machine.run(client.discard(4000, 512));
    content.fill(0, 4000 * 512, 4001 * 512);
    expect(Buffer.compare(onDisk(disk, 0, DISK_BYTES), content)).toBe(0);
    // A disk of sectors whose number no longer fits 16 bits: several commands.
    await machine.run(Promise.all(Array.from({ length: 500 }, (_, i) => client.discard(i, 512))));
    content.fill(0, 0, 500 * 512);
    expect(Buffer.compare(onDisk(disk, 0, DISK_BYTES), content)).toBe(0);
    await end();
  });

  test("write zeroes of more sectors than a command has", async () => {
    const disk = new MemoryDisk(40 * 1024 * 1024);
    for (const sector of [1, 65_536, 69_999, 70_000]) disk.write(sector * 512, [noise(512).slice()], () => {});
    const { machine, client, end } = await rig(disk);
    await machine.run(client.writeZeroes(1, (70_000 - 1) * 512));
    expect(Buffer.compare(onDisk(disk, 512, 69_999 * 512), new Uint8Array(69_999 * 512))).toBe(0);
    expect(onDisk(disk, 70_000 * 512, 512)).toEqual(noise(512));
    await end();
  });

  test("a read-only image is read, and refuses to be written", async () => {
    const disk = new MemoryDisk(DISK_BYTES, { readOnly: true });
    const { machine, client, bank, end } = await rig(disk);
    expect(await machine.run(client.info())).toEqual({ sectorSize: 512, sectors: DISK_BYTES / 512, readOnly: true });
    const region = bank.region({ pages: 1 });
    await machine.run(client.read(region, 0, 0, PAGE));
    expect(await failure(machine.run(client.write(region, 0, 0, PAGE)))).toBeInstanceOf(NvmeCommandError);
    expect(await failure(machine.run(client.writeZeroes(0, PAGE)))).toBeInstanceOf(NvmeCommandError);
    await end();
  });
});

describe("a request that cannot be is refused before any effect", () => {
  const cases: readonly [
    string,
    (client: BlockClient, bank: SpaceBankCapability) => Promise<unknown>,
    new (...args: never[]) => Error,
  ][] = [
    ["an offset that is not aligned", (c, b) => c.read(b.region({ pages: 2 }), 2, 0, 512), ArgumentError],
    ["a negative offset", (c, b) => c.read(b.region({ pages: 2 }), -4, 0, 512), ArgumentError],
    ["half a sector", (c, b) => c.read(b.region({ pages: 2 }), 0, 0, 256), ArgumentError],
    ["nothing", (c, b) => c.read(b.region({ pages: 2 }), 0, 0, 0), ArgumentError],
    ["behind the end of the disk", (c, b) => c.read(b.region({ pages: 2 }), 0, DISK_BYTES / 512, 512), ArgumentError],
    [
      "across the end of the disk",
      (c, b) => c.write(b.region({ pages: 2 }), 0, DISK_BYTES / 512 - 1, 1024),
      ArgumentError,
    ],
    ["a sector that is no number", (c, b) => c.read(b.region({ pages: 2 }), 0, Number.NaN, 512), ArgumentError],
    [
      "into read-only pages",
      (c, b) => c.read(b.region({ pages: 2 }).restrict(Restriction.readOnly), 0, 0, 512),
      RightsError,
    ],
    ["into weak pages", (c, b) => c.read(b.region({ pages: 2 }).restrict(Restriction.weak), 0, 0, 512), RightsError],
    ["a region that is partly missing", (c, b) => c.read(b.region({ pages: 2 }), PAGE, 0, 2 * PAGE), AddressFault],
    ["more than a space can have", (c, b) => c.read(b.region({ pages: 2 }), 2 ** 45, 0, 512), ArgumentError],
    ["larger than the bound", (c, b) => c.read(b.region({ pages: 90 }), 0, 0, 81 * PAGE), PinBoundError],
  ];
  test.each(cases)("%s", async (_, request, kind) => {
    const { disk, content } = filledDisk();
    const { machine, client, bank, end } = await rig(disk, { pinBound: 80 });
    expect(await failure(machine.run(request(client, bank)))).toBeInstanceOf(kind);
    expect(machine.budget.pool(0).pinned).toBe(0);
    expect(Buffer.compare(onDisk(disk, 0, DISK_BYTES), content)).toBe(0);
    await end();
  });
});

test("operations that do not exist, and requests without a space, are refused", async () => {
  const { machine, domain, end } = await rig(filledDisk().disk);
  const call = (label: number) =>
    machine.run((async () => domain.endpoint.call({ label, words: [0, 0, 512] }))()) as Promise<unknown>;
  expect(await failure(call(99))).toBeInstanceOf(ArgumentError);
  expect(await failure(call(BlockLabel.read))).toBeInstanceOf(ArgumentError);
  expect(domain.dead).toBe(null);
  await end();
});

test("requests beyond the bound wait in turn, and all complete", async () => {
  const { disk, content } = filledDisk();
  const { machine, client, bank, end } = await rig(disk, { pinBound: 80, latency: 10_000 });
  const order: number[] = [];
  const sizes = [70, 30, 50, 1, 80, 2];
  const regions = sizes.map((pages) => bank.region({ pages }));
  const reads = sizes.map((pages, i) =>
    client.read(regions[i], 0, 8 * i, pages * PAGE).then(() => {
      order.push(i);
    }),
  );
  expect(machine.budget.waiting).toBe(5);
  await machine.run(Promise.all(reads));
  expect(order).toEqual([0, 1, 2, 3, 4, 5].filter((i) => order.includes(i)));
  for (const [i, pages] of sizes.entries()) {
    const got = new Uint8Array(pages * PAGE);
    await regions[i].read(0, got);
    expect(Buffer.compare(got, content.subarray(8 * i * 512, 8 * i * 512 + got.length))).toBe(0);
  }
  expect(machine.budget.pool(0).peak).toBeLessThanOrEqual(80);
  await end();
});

test("a region that is destroyed while its request waits for the bound is not touched", async () => {
  const { disk } = filledDisk();
  const { machine, client, bank, end } = await rig(disk, { pinBound: 80, latency: 10_000 });
  const first = client.read(bank.region({ pages: 80 }), 0, 0, 80 * PAGE);
  const own = bank.bank();
  const second = client.read(own.region({ pages: 2 }), 0, 0, 2 * PAGE);
  expect(bank.destroy(own)).toBe(undefined);
  expect(await failure(machine.run(second))).toBeInstanceOf(VoidError);
  await machine.run(first);
  await end();
});

test("disk errors reach the client, and everything is unpinned", async () => {
  const { machine } = test0;
  const { disk, content } = filledDisk();
  const faulty = new FaultyDisk(disk, machine.clock, machine.random, {
    readError: 0.3,
    writeError: 0.3,
    flushError: 0.5,
    delay: 0.5,
    longestDelay: 1_000_000,
  });
  const { client, bank, domain, end } = await rig(faulty);
  const region = bank.region({ pages: 200 });
  const results = await machine.run(
    Promise.allSettled([
      ...Array.from({ length: 200 }, (_, i) => client.read(region, i * PAGE, i * 8, PAGE)),
      ...Array.from({ length: 20 }, () => client.flush()),
    ]),
  );
  const failed = results.filter((result) => result.status === "rejected");
  expect(failed.length).toBeGreaterThan(20);
  for (const { reason } of failed) {
    expect(reason).toBeInstanceOf(NvmeCommandError);
    expect(reason.status).toBeGreaterThan(0);
  }
  for (let i = 0; i < 200; i++) {
    if (results[i].status === "rejected") continue;
    const got = new Uint8Array(PAGE);
    await region.read(i * PAGE, got);
    expect(Buffer.compare(got, content.subarray(i * PAGE, (i + 1) * PAGE))).toBe(0);
  }
  expect(machine.budget.pool(0).pinned).toBe(0);
  expect(domain.dead).toBe(null);
  await end();
});

describe("destroying memory that a read is on its way to", () => {
  test.each(["latency", "disk"] as const)("waits for the completion (%s)", async (slow) => {
    const disk = slow === "disk" ? new HeldDisk(noise(DISK_BYTES).slice()) : filledDisk().disk;
    const { machine, client, bank, end } = await rig(disk, slow === "latency" ? { latency: 5_000_000 } : {});
    const own = bank.bank();
    const region = own.region({ pages: 8 });
    const free = machine.kernel.freeFrames;
    const read = client.read(region, 0, 0, 8 * PAGE);
    const answered = read.then(() => "read");
    if (disk instanceof HeldDisk) await atRest(machine);
    const destroyed = bank.destroy(own);
    expect(destroyed).toBeInstanceOf(Promise);
    expect(region.isVoid).toBe(true);
    expect(() => region.read(0, new Uint8Array(4))).toThrow(VoidError);
    const gone = Promise.resolve(destroyed).then(() => "destroyed");
    expect(machine.kernel.freeFrames).toBe(free);
    // Another client of the bank goes on.
    const other = bank.region({ pages: 4 });
    await other.write(0, new Uint8Array(4 * PAGE).fill(0x5a));
    expect(machine.kernel.freeFrames).toBe(free - 4);
    expect(await Promise.race([gone, answered, Promise.resolve("neither")])).toBe("neither");
    if (disk instanceof HeldDisk) disk.answer();
    const order: string[] = [];
    await machine.run(Promise.all([answered.then((x) => order.push(x)), gone.then((x) => order.push(x))]));
    expect(machine.kernel.freeFrames).toBe(free + 4);
    const bytes = new Uint8Array(4 * PAGE);
    await other.read(0, bytes);
    expect(bytes.every((byte) => byte === 0x5a)).toBe(true);
    await end();
    expect(test0.faults).toEqual([]);
  });
});

describe("the end of the driver", () => {
  test("in the middle of traffic: requests fail, nothing stays, and a new one starts on the same slot", async () => {
    const { machine } = test0;
    const disk = new HeldDisk(noise(DISK_BYTES).slice());
    const slot = machine.plug("nvme", (host) => new NvmeController(host, { disk }));
    const domain = machine.domain("nvme", slot, { pinBound: 80 });
    await machine.run(NvmeDriver.start(domain));
    const client = new BlockClient(domain.endpoint);
    const bank = machine.bank.bank();
    const region = bank.region({ pages: 200 });
    const mark = new Uint8Array(200 * PAGE).fill(0x77);
    await region.write(0, mark);
    const flying = [client.read(region, 0, 0, 70 * PAGE), client.flush(), client.discard(0, PAGE)];
    await atRest(machine);
    const waiting = [client.read(region, 70 * PAGE, 0, 60 * PAGE), client.read(region, 0, 0, 80 * PAGE)];
    expect(machine.budget.waiting).toBe(2);
    const deaths: string[] = [];
    domain.onDeath.push((why) => {
      deaths.push(why);
      expect(slot.dma.live).toBe(0);
      expect(slot.dma.busMaster).toBe(false);
      expect(machine.budget.pinned).toBe(0);
    });
    domain.kill("a test killed it");
    domain.kill("again");
    expect(deaths).toEqual(["a test killed it"]);
    for (const request of [...flying, ...waiting]) expect(await failure(request)).toBeInstanceOf(DriverDiedError);
    await atRest(machine);
    // The disk answers a controller that was reset: nothing may come of it.
    disk.answer();
    await atRest(machine);
    const bytes = new Uint8Array(200 * PAGE);
    await region.read(0, bytes);
    expect(Buffer.compare(bytes, mark)).toBe(0);
    expect(await failure(client.flush())).toBeInstanceOf(VoidError);
    expect(() => domain.device).toThrow(DriverDiedError);
    expect(() => domain.message("late")).toThrow(DriverDiedError);

    const next = machine.domain("nvme", slot);
    const starting = machine.run(NvmeDriver.start(next));
    await starting;
    const again = new BlockClient(next.endpoint).read(region, 0, 8, PAGE);
    await atRest(machine);
    disk.answer();
    await machine.run(again);
    const page = new Uint8Array(PAGE);
    await region.read(0, page);
    expect(Buffer.compare(page, onDisk(disk.memory, 8 * 512, PAGE))).toBe(0);
    next.kill("the test is over");
    await machine.bank.destroy(bank);
    await test0.settled();
    expect(test0.faults).toEqual([]);
  });

  test("a transfer that never ends: the watchdog ends the driver, and the destroy goes on", async () => {
    const disk = new HeldDisk(noise(DISK_BYTES).slice());
    const { machine, client, bank, domain, end } = await rig(disk, { watchdog: 1_000_000_000 });
    const own = bank.bank();
    const read = client.read(own.region({ pages: 4 }), 0, 0, 4 * PAGE);
    const destroyed = Promise.resolve(bank.destroy(own));
    expect(await failure(machine.run(read))).toBeInstanceOf(DriverDiedError);
    await machine.run(destroyed);
    expect(domain.dead).toMatch(/did not end in time/);
    expect(machine.clock.now()).toBeGreaterThanOrEqual(1_000_000_000);
    expect(machine.clock.now()).toBeLessThan(3_000_000_000);
    await end();
  });

  test.each(["flush", "discard", "writeZeroes"] as const)(
    "a %s that never ends is a transfer too",
    async (operation) => {
      const { machine, client, domain, end } = await rig(new HeldDisk(noise(DISK_BYTES).slice()), {
        watchdog: 1_000_000_000,
      });
      const request = operation === "flush" ? client.flush() : client[operation](0, 512);
      expect(await failure(machine.run(request))).toBeInstanceOf(DriverDiedError);
      expect(domain.dead).toMatch(/did not end in time/);
      await end();
    },
  );

  test("is not brought about by clients that ask for more than the disk can do in time", async () => {
    const { machine } = test0;
    const memory = new MemoryDisk(DISK_BYTES);
    let free = 0;
    /** One request after the other, 5 ms each. */
    const soon = (act: () => void): void => {
      free = Math.max(free, machine.clock.now()) + 5_000_000;
      machine.clock.timer(act).arm(free - machine.clock.now());
    };
    const disk: DiskBackend = {
      sectorSize: 512,
      sectors: memory.sectors,
      readOnly: false,
      read: (position, into, done) => soon(() => memory.read(position, into, done)),
      write: (position, from, done) => soon(() => memory.write(position, from, done)),
      flush: (done) => soon(() => memory.flush(done)),
      discard: (position, length, done) => soon(() => memory.discard(position, length, done)),
      writeZeroes: (position, length, done) => soon(() => memory.writeZeroes(position, length, done)),
    };
    const { client, bank, domain, end } = await rig(disk, { watchdog: 1_000_000_000 });
    const region = bank.region({ pages: 1 });
    await machine.run(
      Promise.all([
        ...Array.from({ length: 600 }, () => client.flush()),
        ...Array.from({ length: 600 }, () => client.read(region, 0, 0, PAGE)),
      ]),
    );
    expect(machine.clock.now()).toBeGreaterThan(5_000_000_000);
    expect(domain.dead).toBe(null);
    await end();
  });

  test("while it starts: the start fails and nothing stays", async () => {
    const { machine } = test0;
    const slot = machine.plug("nvme", (host) => new NvmeController(host, { disk: filledDisk().disk }));
    const domain = machine.domain("nvme", slot);
    const start = NvmeDriver.start(domain);
    domain.kill("changed my mind");
    expect(await failure(machine.run(start))).toBeInstanceOf(DriverDiedError);
    await test0.settled();
  });

  test("it cannot start for want of memory to pin: that is its end", async () => {
    const { machine } = test0;
    const slot = machine.plug("nvme", (host) => new NvmeController(host, { disk: filledDisk().disk }));
    const domain = machine.domain("nvme", slot, { pinBound: 20 });
    expect(await failure(machine.run(NvmeDriver.start(domain)))).toBeInstanceOf(PinBoundError);
    expect(domain.dead).not.toBe(null);
    await test0.settled();
  });

  test("a slot that nobody can drive: no controller answers", async () => {
    const { machine } = test0;
    const slot = machine.plug("nvme", (host) => new NvmeController(host, { disk: filledDisk().disk }));
    const domain = machine.domain("nvme", {
      dma: slot.dma,
      line: slot.line,
      read: (_bar, _offset, size) => (size === 4 ? 0xffff_ffff : 0xff),
      write: () => {},
      configRead: (offset, size) => slot.configRead(offset, size),
      configWrite: (offset, size, value) => slot.configWrite(offset, size, value),
      quiesce: () => slot.quiesce(),
    });
    expect(await failure(machine.run(NvmeDriver.start(domain)))).toMatchObject({ code: "nvme-not-ready" });
    await test0.settled();
  });
});

test("one device has one driver", async () => {
  const { machine, end } = await rig(filledDisk().disk);
  const slot = machine.pci.slots[0];
  expect(() => machine.domain("another", slot)).toThrow(expect.objectContaining({ code: "device-busy" }));
  await end();
  machine.domain("another", slot).kill("it was possible");
  await test0.settled();
});

test("a client's mistake is not the driver's end, the driver's own is", async () => {
  const { machine, domain, client, end } = await rig(filledDisk().disk);
  domain.serve(() => {
    throw new TypeError("a bug");
  });
  expect(await failure(client.flush())).toBeInstanceOf(DriverDiedError);
  expect(domain.dead).toBe("a bug");
  await machine.idle();
  await end();
});
