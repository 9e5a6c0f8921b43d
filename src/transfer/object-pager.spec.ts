import { describe, expect, test } from "vitest";
import { HeldDisk } from "../../test/support/held-disk.js";
import { atRest, failure, noise, type TestMachine, testMachine } from "../../test/support/native.js";
import { ObjectIoError, VoidError } from "../capability/errors.js";
import { NvmeController } from "../devices/nvme.js";
import { BlockClient } from "../drivers/block-service.js";
import { NvmeDriver } from "../drivers/nvme/nvme-driver.js";
import type { MachineOptions } from "../machine.js";
import { OutOfMemoryError } from "../memory/physical-memory.js";
import { DmaAccess } from "../memory/pin.js";
import { FaultyDisk } from "../ports/disk-faulty.js";
import { type DiskBackend, MemoryDisk } from "../ports/disk-image.js";
import { randomBelow, seededRandom } from "../util/random.js";
import { type DiskPageRequest, ObjectPager, type PagingDriver } from "./object-pager.js";

const PAGE = 4096;
const BLOCKS = 256;

interface RigOptions extends MachineOptions {
  latency?: number;
  wrap?: (disk: MemoryDisk, on: TestMachine) => DiskBackend;
  watchdog?: number;
}

/** A machine with a store on an NVMe disk. */
async function rig(options: RigOptions = {}) {
  const on = await testMachine(options);
  const { machine } = on;
  const content = noise(BLOCKS * PAGE, 11).slice();
  const disk = new MemoryDisk(BLOCKS * PAGE);
  disk.write(0, [content], () => {});
  const backend = options.wrap === undefined ? disk : options.wrap(disk, on);
  const { latency = 0 } = options;
  const slot = machine.plug("nvme", (host) => new NvmeController(host, { disk: backend, latency }));
  const start = async () => {
    const domain = machine.domain("nvme", slot, options.watchdog === undefined ? {} : { watchdog: options.watchdog });
    const driver = await machine.run(NvmeDriver.start(domain));
    return { domain, driver };
  };
  const { domain, driver } = await start();
  const bank = machine.bank.bank();
  const pager = new ObjectPager(machine.kernel, bank, driver, BLOCKS, machine.statistics);
  const serve = (now: { domain: typeof domain; driver: NvmeDriver }): void => {
    now.driver.onPaged = (id, error) => pager.complete(id, error);
    now.domain.onDeath.push((why) => pager.driverGone(why));
  };
  serve({ domain, driver });
  const onDisk = (block: number): Uint8Array => {
    const bytes = new Uint8Array(PAGE);
    disk.read(block * PAGE, [bytes], () => {});
    return bytes;
  };
  return { ...on, slot, domain, driver, bank, pager, content, disk, onDisk, start, serve };
}

type Rig = Awaited<ReturnType<typeof rig>>;

async function readPage(on: Rig, block: number, length = PAGE): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  await on.pager.page(block).read(0, bytes);
  return bytes;
}

async function end(on: Rig): Promise<void> {
  on.domain.kill("the test is over");
  await on.machine.bank.destroy(on.bank);
  await on.settled();
  expect(on.faults).toEqual([]);
}

/** A store on a disk that answers when it is told to. */
async function heldRig(options: RigOptions = {}) {
  const held = new HeldDisk(noise(BLOCKS * PAGE, 11).slice());
  return { ...(await rig({ ...options, wrap: () => held })), held };
}

describe("absent pages", () => {
  test("are fetched when they are used, once for all who wait", async () => {
    const on = await rig({ latency: 100_000 });
    const { machine, pager, content } = on;
    const free = machine.kernel.freeFrames;
    const page = pager.page(7);
    expect(machine.kernel.freeFrames).toBe(free);
    const readers = Array.from({ length: 10 }, async (_, i) => {
      const bytes = new Uint8Array(10);
      await page.read(i * 10, bytes);
      return bytes;
    });
    expect(pager.inFlight).toBe(1);
    const got = await machine.run(Promise.all(readers));
    expect(Buffer.compare(Buffer.concat(got), content.subarray(7 * PAGE, 7 * PAGE + 100))).toBe(0);
    expect(machine.statistics).toMatchObject({ fetched: 1, zeroCopies: 0, copies: 0 });
    // Now it is there: no waiting.
    expect(page.read(0, new Uint8Array(4))).toBe(undefined);
    await end(on);
  });

  test("whose fetch fails give everybody the error, are absent again, and can be fetched later", async () => {
    let failing = 1;
    const on = await rig({
      wrap: (disk, { machine }) =>
        new FaultyDisk(disk, machine.clock, machine.random, {
          get readError() {
            return failing;
          },
        }),
    });
    const { machine, pager, content } = on;
    const free = machine.kernel.freeFrames;
    const page = pager.page(3);
    const reads = [1, 2, 3].map(async () => page.read(0, new Uint8Array(4)));
    for (const read of reads) expect(await failure(machine.run(read))).toBeInstanceOf(ObjectIoError);
    expect(pager.residentPages).toBe(0);
    expect(machine.kernel.freeFrames).toBe(free);
    expect(machine.statistics.pagingErrors).toBe(1);
    failing = 0;
    expect(await machine.run(readPage(on, 3))).toEqual(content.slice(3 * PAGE, 4 * PAGE));
    await end(on);
  });

  test("that do not exist on the disk are refused", async () => {
    const on = await rig();
    for (const block of [-1, BLOCKS, 0.5, Number.NaN]) expect(() => on.pager.page(block)).toThrow(ObjectIoError);
    await end(on);
  });

  test("destroyed while they are fetched: invokers learn it, the frame comes back only with the completion", async () => {
    const on = await heldRig();
    const { machine, pager, bank, held } = on;
    const free = machine.kernel.freeFrames;
    const page = pager.page(9);
    const read = Promise.resolve(page.read(0, new Uint8Array(4)));
    await atRest(machine);
    const destroyed = bank.destroy(page);
    expect(destroyed).toBeInstanceOf(Promise);
    expect(await failure(read)).toBeInstanceOf(VoidError);
    expect(machine.kernel.freeFrames).toBe(free - 1);
    held.answer();
    await machine.run(Promise.resolve(destroyed));
    expect(machine.kernel.freeFrames).toBe(free);
    expect(pager.inFlight).toBe(0);
    await end(on);
  });

  test("a fetch that never ends: the watchdog ends the driver, the invokers learn it", async () => {
    const on = await heldRig({ watchdog: 1_000_000_000 });
    const { machine, pager, domain } = on;
    expect(await failure(machine.run(readPage(on, 1)))).toBeInstanceOf(ObjectIoError);
    expect(domain.dead).toMatch(/did not end in time/);
    expect(pager.inFlight).toBe(0);
    await end(on);
  });
});

describe("the driver", () => {
  test("dies in the middle of a fetch: an error, no frame lost; the next driver fetches it", async () => {
    const on = await heldRig();
    const { machine, pager, domain, held, content } = on;
    const free = machine.kernel.freeFrames;
    const reads = [1, 2, 3].map((block) => readPage(on, block));
    await atRest(machine);
    expect(pager.inFlight).toBe(3);
    domain.kill("killed");
    for (const read of reads) expect(await failure(machine.run(read))).toBeInstanceOf(ObjectIoError);
    expect(pager.inFlight).toBe(0);
    expect(await failure(machine.run(readPage(on, 4)))).toBeInstanceOf(ObjectIoError);
    await atRest(machine);
    expect(machine.kernel.freeFrames).toBeGreaterThanOrEqual(free);
    held.answer();
    held.holding = false;
    const next = await on.start();
    on.serve(next);
    pager.attach(next.driver);
    expect(await machine.run(readPage(on, 1))).toEqual(content.slice(PAGE, 2 * PAGE));
    next.domain.kill("over");
    await end(on);
  });

  test("reports a request that is not in flight: that is its end, the store goes on", async () => {
    const on = await rig();
    expect(() => on.pager.complete(99, null)).toThrow(ObjectIoError);
    const { driver, pager, machine, domain } = on;
    driver.onPaged = (id) => pager.complete(id + 1, null);
    const read = readPage(on, 1);
    expect(await failure(machine.run(read))).toBeInstanceOf(ObjectIoError);
    expect(domain.dead).toMatch(/not in flight/);
    await end(on);
  });

  test("that refuses every request does so for thousands that wait", async () => {
    const on = await testMachine({ memory: "1MiB", pinBudget: { bound: 100, paging: 4 } });
    const { machine } = on;
    const slot = machine.plug("nvme", (host) => new NvmeController(host, { disk: new MemoryDisk(PAGE) }));
    const driver: PagingDriver = {
      dma: slot.dma,
      submit: () => {
        throw new Error("no");
      },
    };
    const bank = machine.bank.bank();
    const pager = new ObjectPager(machine.kernel, bank, driver, 20_000, machine.statistics);
    const reads = Array.from({ length: 20_000 }, async (_, i) => pager.page(i).read(0, new Uint8Array(1)));
    const results = await machine.run(Promise.allSettled(reads));
    expect(results.every(({ status }) => status === "rejected")).toBe(true);
    expect(pager.inFlight).toBe(0);
    await machine.bank.destroy(bank);
    await on.settled();
  });
});

describe("changed pages", () => {
  test("are written back by sync, and only those", async () => {
    const on = await rig();
    const { machine, pager, onDisk, content } = on;
    await machine.run(Promise.all(Array.from({ length: 20 }, (_, i) => readPage(on, i))));
    const bytes = noise(PAGE, 77).slice();
    await pager.page(5).write(0, bytes);
    await pager.page(6).write(100, bytes.subarray(0, 10));
    await machine.run(pager.sync());
    expect(machine.statistics.cleaned).toBe(2);
    expect(onDisk(5)).toEqual(bytes);
    content.set(bytes.subarray(0, 10), 6 * PAGE + 100);
    expect(onDisk(6)).toEqual(content.slice(6 * PAGE, 7 * PAGE));
    await machine.run(pager.sync());
    expect(machine.statistics.cleaned).toBe(2);
    await end(on);
  });

  test("stay changed when writing them back fails, and can be written later", async () => {
    let failing = 1;
    const on = await rig({
      wrap: (disk, { machine }) =>
        new FaultyDisk(disk, machine.clock, machine.random, {
          get writeError() {
            return failing;
          },
        }),
    });
    const { machine, pager, onDisk } = on;
    await machine.run(readPage(on, 5));
    const bytes = noise(PAGE, 78).slice();
    await pager.page(5).write(0, bytes);
    expect(await failure(machine.run(pager.sync()))).toBeInstanceOf(ObjectIoError);
    expect(pager.evictOne()).toBe(false);
    failing = 0;
    await machine.run(pager.sync());
    expect(onDisk(5)).toEqual(bytes);
    await end(on);
  });

  test("changed again while they are written are written again", async () => {
    const on = await heldRig();
    const { machine, pager, held } = on;
    held.holding = false;
    await machine.run(readPage(on, 5));
    held.holding = true;
    await pager.page(5).write(0, Uint8Array.of(1));
    const sync = pager.sync();
    await atRest(machine);
    await pager.page(5).write(1, Uint8Array.of(2));
    held.answer();
    await machine.run(sync);
    expect(pager.evictOne()).toBe(false);
    held.holding = false;
    await machine.run(pager.sync());
    const bytes = new Uint8Array(2);
    held.memory.read(5 * PAGE, [bytes], () => {});
    expect([...bytes]).toEqual([1, 2]);
    await end(on);
  });

  test("that wait for their turn to be written are neither evicted nor mixed up", async () => {
    // One page at a time may be pinned for paging: sixty wait, unpinned and no longer marked as changed.
    const on = await rig({ pinBudget: { bound: 400, paging: 1 }, latency: 10_000 });
    const { machine, pager, onDisk } = on;
    const blocks = Array.from({ length: 60 }, (_, i) => i);
    for (const block of blocks) {
      await machine.run(readPage(on, block));
      await pager.page(block).write(0, noise(PAGE, 100 + block));
    }
    const sync = pager.sync();
    // Somebody needs memory meanwhile, and gets nothing from these pages.
    expect(pager.evictOne()).toBe(false);
    await machine.run(sync);
    for (const block of blocks) expect(onDisk(block)).toEqual(noise(PAGE, 100 + block).slice());
    expect(pager.evictOne()).toBe(true);
    await end(on);
  });

  test("destroyed while sync writes them are no error", async () => {
    const on = await heldRig();
    const { machine, pager, bank, held } = on;
    held.holding = false;
    await machine.run(Promise.all([readPage(on, 1), readPage(on, 2)]));
    held.holding = true;
    await pager.page(1).write(0, Uint8Array.of(1));
    await pager.page(2).write(0, Uint8Array.of(1));
    const sync = pager.sync();
    await atRest(machine);
    const destroyed = Promise.resolve(bank.destroy(pager.page(1)));
    held.answer();
    await machine.run(Promise.all([sync, destroyed]));
    await end(on);
  });
});

describe("under memory pressure", () => {
  /** A machine with room for the driver and some sixty pages. */
  const small: RigOptions = { memory: 170 * PAGE, pinBudget: { bound: 160, reserved: 100, paging: 8, posted: 0 } };

  test("clean pages make room, and every read is right", async () => {
    const on = await rig(small);
    const { machine, pager, content } = on;
    for (let round = 0; round < 3; round++) {
      for (let block = 0; block < BLOCKS; block++) {
        const bytes = await machine.run(readPage(on, block));
        expect(Buffer.compare(bytes, content.subarray(block * PAGE, (block + 1) * PAGE))).toBe(0);
      }
    }
    expect(pager.residentPages).toBeLessThan(100);
    expect(machine.statistics.fetched).toBeGreaterThan(600);
    await end(on);
  });

  test("many clients at once, who read and write: nothing is lost", async () => {
    const on = await rig({ ...small, latency: 20_000 });
    const { machine, pager, content, onDisk } = on;
    const client = async (seed: number): Promise<void> => {
      const random = seededRandom(seed);
      for (let step = 0; step < 100; step++) {
        // Each client has bytes of its own in every page.
        const block = randomBelow(random, BLOCKS);
        const at = seed * 64;
        if (step % 2 === 0) {
          const bytes = noise(64, random());
          await pager.page(block).write(at, bytes);
          content.set(bytes, block * PAGE + at);
        } else {
          const bytes = new Uint8Array(64);
          await pager.page(block).read(at, bytes);
          expect(Buffer.compare(bytes, content.subarray(block * PAGE + at, block * PAGE + at + 64))).toBe(0);
        }
      }
    };
    await machine.run(Promise.all(Array.from({ length: 40 }, (_, i) => client(i))));
    await machine.run(pager.sync());
    for (let block = 0; block < BLOCKS; block++) {
      expect(Buffer.compare(onDisk(block), content.subarray(block * PAGE, (block + 1) * PAGE))).toBe(0);
    }
    expect(machine.statistics.cleaned).toBeGreaterThan(500);
    await end(on);
  });

  test("more invokers than frames: they take turns", async () => {
    const on = await rig({ ...small, latency: 20_000 });
    const { machine, content } = on;
    const all = await machine.run(Promise.all(Array.from({ length: BLOCKS }, (_, i) => readPage(on, i))));
    expect(Buffer.compare(Buffer.concat(all), content)).toBe(0);
    await end(on);
  });

  test("frames that others hold for good: an error, and no hang", async () => {
    const on = await rig(small);
    const { machine } = on;
    const hog = machine.bank.bank();
    while (machine.kernel.freeFrames > 0) hog.page();
    // The last frames are the reserve of fetching.
    const held = [];
    for (let i = 0; i < 16; i++) held.push(machine.kernel.allocateFetchFrame());
    expect(await failure(machine.run(readPage(on, 0)))).toBeInstanceOf(OutOfMemoryError);
    for (const frame of held) machine.memory.bankOf(frame).release(frame);
    await machine.run(readPage(on, 0));
    await machine.bank.destroy(hog);
    await end(on);
  });

  test("a client that buys memory drives clean pages out; changed ones are written for the next attempt", async () => {
    const on = await rig(small);
    const { machine, pager, onDisk } = on;
    const blocks = Array.from({ length: 40 }, (_, i) => i);
    for (const block of blocks) {
      await machine.run(readPage(on, block));
      await pager.page(block).write(0, Uint8Array.of(block));
    }
    const buyer = machine.bank.bank();
    while (machine.kernel.freeFrames > 0) buyer.page();
    expect(() => buyer.page()).toThrow(OutOfMemoryError);
    await machine.idle();
    buyer.page();
    expect(blocks.filter((block) => onDisk(block)[0] === block).length).toBeGreaterThan(0);
    await machine.bank.destroy(buyer);
    await end(on);
  });
});

describe("pinning", () => {
  test("a range of absent pages faults all of them in first", async () => {
    const on = await rig({ latency: 50_000 });
    const { machine, pager, bank, domain, content } = on;
    const space = bank.space();
    for (let i = 0; i < 5; i++) space.setSlot(i, pager.page(20 + i));
    const pinning = domain.pins.pin({ space, offset: 100, length: 4 * PAGE, access: DmaAccess.read });
    expect(pinning).toBeInstanceOf(Promise);
    const pin = await machine.run(Promise.resolve(pinning));
    expect(pin.frames.length).toBe(5);
    const bytes = pin.frames.map((frame) => machine.memory.frameBytes(frame).slice());
    expect(Buffer.compare(Buffer.concat(bytes), content.subarray(20 * PAGE, 25 * PAGE))).toBe(0);
    while (pager.evictOne());
    expect(pager.residentPages).toBe(5);
    domain.pins.unpin(pin);
    while (pager.evictOne());
    expect(pager.residentPages).toBe(0);
    await end(on);
  });

  test("a disk read into pages of the store: they are changed by it, and reach their own blocks", async () => {
    const on = await rig();
    const { machine, pager, bank, domain, content, onDisk } = on;
    const space = bank.space();
    for (let i = 0; i < 4; i++) space.setSlot(i, pager.page(50 + i));
    await machine.run(new BlockClient(domain.endpoint).read(space, 0, 8 * 100, 4 * PAGE));
    expect(pager.evictOne()).toBe(false);
    await machine.run(pager.sync());
    for (let i = 0; i < 4; i++) expect(onDisk(50 + i)).toEqual(content.slice((100 + i) * PAGE, (101 + i) * PAGE));
    await end(on);
  });

  test("a page written back while a device may still write it is written again afterwards", async () => {
    const on = await rig();
    const { machine, pager, bank, domain, onDisk } = on;
    const space = bank.space();
    space.setSlot(0, pager.page(60));
    const request = { space, offset: 0, length: PAGE, access: DmaAccess.write };
    const pin = await machine.run(Promise.resolve(domain.pins.pin(request)));
    await machine.run(pager.sync());
    machine.memory.frameBytes(pin.frames[0]).fill(7);
    domain.pins.unpin(pin);
    expect(pager.evictOne()).toBe(false);
    await machine.run(pager.sync());
    expect(onDisk(60)).toEqual(new Uint8Array(PAGE).fill(7));
    await end(on);
  });

  test("one page of the range cannot be read: nothing is pinned", async () => {
    const on = await rig({
      wrap: (disk) => {
        const failing = new HeldDisk(new Uint8Array(BLOCKS * PAGE));
        failing.read = (position, into, done) => disk.read(position === 22 * PAGE ? 2 ** 50 : position, into, done);
        return failing;
      },
    });
    const { machine, pager, bank, domain } = on;
    const space = bank.space();
    for (let i = 0; i < 5; i++) space.setSlot(i, pager.page(20 + i));
    const before = machine.budget.pinned;
    const pinning = Promise.resolve(domain.pins.pin({ space, offset: 0, length: 5 * PAGE, access: DmaAccess.both }));
    expect(await failure(machine.run(pinning))).toBeInstanceOf(ObjectIoError);
    expect(machine.budget.pinned).toBe(before);
    await end(on);
  });
});

test("two stores: memory comes from either", async () => {
  const on = await rig({ memory: 170 * PAGE, pinBudget: { bound: 160, reserved: 100, paging: 8, posted: 0 } });
  const { machine, pager, domain, driver } = on;
  const requests: DiskPageRequest[] = [];
  const bank = machine.bank.bank();
  const second = new ObjectPager(
    machine.kernel,
    bank,
    { dma: driver.dma, submit: (request) => requests.push(request) },
    10,
    machine.statistics,
  );
  for (let block = 0; block < BLOCKS; block++) await machine.run(readPage(on, block));
  const resident = pager.residentPages;
  const reads = Array.from({ length: 8 }, async (_, i) => second.page(i).read(0, new Uint8Array(1)));
  await atRest(machine);
  for (const { requestId } of requests) second.complete(requestId, null);
  await machine.run(Promise.all(reads));
  for (let i = 0; i < 16; i++) bank.page();
  expect(pager.residentPages).toBeLessThan(resident);
  expect(domain.dead).toBe(null);
  await machine.bank.destroy(bank);
  await end(on);
});
