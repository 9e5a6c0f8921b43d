import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { VMEMMAP, VMEMMAP_END } from "../../src/linux/layout.js";
import type { LentRange } from "../../src/linux/lent-frames.js";
import { frameOffset } from "../../src/memory/physical-memory.js";
import { DmaAccess, type Pin } from "../../src/memory/pin.js";
import { PinPool } from "../../src/memory/pin-budget.js";
import type { FrameNumber } from "../../src/util/brand.js";
import type { GuestAddress } from "../../src/util/guest-address.js";
import { difference, frameOf, framesOfSizes, PEER_ADDRESS } from "../support/frames.js";
import { BOOT_PATIENCE, LinuxRig, linuxKernel, NOTHING_LEFT } from "../support/linux-driver.js";

const TO_DEVICE = 1;
const FROM_DEVICE = 2;
const BIDIRECTIONAL = 0;
const MAPPING_ERROR = -1;
const TRANSMIT_TAIL = 0x3818;

const kernel = linuxKernel("6.1");

/** Has the adapter hear nothing of frames to be sent. @returns what ends that, with the next frame */
function holdTransmitter({ slot }: LinuxRig): () => void {
  const write = slot.write.bind(slot);
  let held: (() => void) | null = null;
  slot.write = (bar, offset, size, value) => {
    if (offset === TRANSMIT_TAIL) held = () => write(bar, offset, size, value);
    else write(bar, offset, size, value);
  };
  return () => {
    slot.write = write;
    held?.();
  };
}

describe.skipIf(typeof kernel === "string")("what a driver may map for its device", () => {
  let rig: LinuxRig;
  let pinned: Pin;
  const frames: FrameNumber[] = [];
  beforeAll(async () => {
    if (typeof kernel === "string") return;
    rig = await LinuxRig.up(await kernel, "e1000");
    // Frames of a client, pinned for a request of its.
    const bank = rig.machine.memory.bank(0);
    for (let i = 0; i < 3; i++) frames.push(bank.allocate());
    pinned = rig.machine.budget.authority("client").tryPin(frames, 0, 3 * 4096, DmaAccess.both, PinPool.solicited);
    expect(pinned.live).toBe(true);
  }, BOOT_PATIENCE);
  afterAll(() => rig?.[Symbol.asyncDispose]());

  const services = () => rig.driver.domain.services;
  const device = (): number => {
    const { pciFunction } = rig.driver;
    return (pciFunction.device ?? 0) + services().guest.offset("pci_dev.dev");
  };
  /** As a driver calls it. */
  const map = (page: number, offset: number, length: number, direction: number): number =>
    services().execution.call("dma_map_page_attrs", device(), page, offset, length, direction, 0);
  const unmap = (address: number, length: number, direction: number): void => {
    services().execution.call("dma_unmap_page_attrs", device(), address, length, direction, 0);
  };
  const lend = (offset: number, length: number, access: LentRange["access"] = DmaAccess.read): LentRange =>
    services().lent.lend(frames, offset, length, access, () => {});
  const pageBytes = (): number => services().guest.sizeOf("page");
  /** The rules that were broken meanwhile. */
  const findings = (work: () => void): string[] => {
    const before = rig.collector.findings.map(({ rule, count }) => ({ rule, count }));
    work();
    return rig.collector.findings.flatMap(({ rule, count }, i) => (count > (before[i]?.count ?? 0) ? [rule] : []));
  };
  const refused = (page: number, offset: number, length: number, direction: number): string[] =>
    findings(() => {
      const { live } = rig.slot.dma;
      expect(map(page, offset, length, direction)).toBe(MAPPING_ERROR);
      expect(rig.slot.dma.live).toBe(live);
    });

  test("bytes that are lent, in the direction that they are lent for", () => {
    const range = lend(100, 5000);
    const bank = rig.machine.memory.bankOf(frames[0]);
    bank.bytes.fill(7, frameOffset(frames[0]), frameOffset(frames[0]) + 3 * 4096);
    expect(
      findings(() => {
        const address = map(range.page, 100, 5000, TO_DEVICE);
        expect(address).not.toBe(MAPPING_ERROR);
        const got = new Uint8Array(5000);
        expect(rig.slot.dma.read(address as never, got, 0, 5000)).toBe(true);
        expect(got.every((byte) => byte === 7)).toBe(true);
        unmap(address, 5000, TO_DEVICE);
        const second = map(range.page + pageBytes(), 0, 1004, TO_DEVICE);
        expect(second).not.toBe(MAPPING_ERROR);
        unmap(second, 1004, TO_DEVICE);
      }),
    ).toEqual([]);
    services().lent.end(range);
  });

  test("not beside them, and not to their other side", () => {
    const range = lend(100, 5000);
    const beside = [
      [0, 99, 5],
      [0, 99, 5001],
      [0, 100, 5001],
      [1, 1003, 2],
      [1, 1004, 1],
      [0, 100, 0],
      [0, 0, 1],
    ];
    for (const [page, offset, length] of beside) {
      expect([page, offset, refused(range.page + page * pageBytes(), offset, length, TO_DEVICE)]).toEqual([
        page,
        offset,
        ["dma-map-foreign"],
      ]);
    }
    for (const direction of [FROM_DEVICE, BIDIRECTIONAL, 3, 77]) {
      expect(refused(range.page, 100, 5000, direction)).toEqual(["dma-map-foreign"]);
    }
    services().lent.end(range);
  });

  test("bytes that are lent to be written may not be read", () => {
    const range = lend(0, 4096, DmaAccess.write);
    expect(refused(range.page, 0, 4096, TO_DEVICE)).toEqual(["dma-map-foreign"]);
    services().lent.end(range);
  });

  test("a device reaches the bytes that are mapped, and none beside them", () => {
    const range = lend(100, 200);
    const address = map(range.page, 100, 200, TO_DEVICE);
    const { dma } = rig.slot;
    expect(findings(() => expect(dma.read((address - 1) as never, new Uint8Array(8), 0, 8)).toBe(false))).toHaveLength(
      1,
    );
    expect(
      findings(() => expect(dma.read((address + 193) as never, new Uint8Array(8), 0, 8)).toBe(false)),
    ).toHaveLength(1);
    expect(findings(() => expect(dma.write(address as never, new Uint8Array(8), 0, 8)).toBe(false))).toHaveLength(1);
    unmap(address, 200, TO_DEVICE);
    services().lent.end(range);
  });

  test("no frame of another client, whose request lends it on its own", () => {
    const own = lend(0, 4096);
    const other = services().lent.lend([frames[2]], 0, 4096, DmaAccess.read, () => {});
    expect(refused(own.page, 0, 8192, TO_DEVICE)).toEqual(["dma-map-foreign"]);
    services().lent.end(own);
    services().lent.end(other);
  });

  test("nothing once the request is over", () => {
    const range = lend(0, 4096);
    services().lent.end(range);
    expect(refused(range.page, 0, 4096, TO_DEVICE)).toEqual(["dma-map-foreign"]);
  });

  test("a mapping that outlives its request is taken away", () => {
    const range = lend(0, 4096);
    const { live } = rig.slot.dma;
    const held = rig.machine.budget.pinned;
    const address = map(range.page, 0, 4096, TO_DEVICE);
    expect(rig.slot.dma.live).toBe(live + 1);
    expect(findings(() => services().lent.end(range))).toEqual(["dma-free-mapped"]);
    expect(rig.slot.dma.live).toBe(live);
    expect(rig.machine.budget.pinned).toBe(held);
    expect(
      findings(() => expect(rig.slot.dma.read(address as never, new Uint8Array(4), 0, 4)).toBe(false)),
    ).toHaveLength(1);
  });

  test("no forged page", () => {
    const { guest } = services();
    const forged = [
      VMEMMAP_END - pageBytes(),
      VMEMMAP_END - 5 * pageBytes() + 8,
      VMEMMAP - pageBytes(),
      guest.symbol("init_task"),
      0,
      0x1234,
    ];
    for (const page of forged) expect(refused(page, 0, 64, TO_DEVICE)).toHaveLength(1);
  });

  test("no memory of its own that nothing has allocated", () => {
    const { heap, pages } = services();
    const memory = heap.allocate(100);
    const page = pages.pageOf(memory);
    const offset = memory & 4095;
    const address = map(page, offset, 100, TO_DEVICE);
    expect(address).not.toBe(MAPPING_ERROR);
    unmap(address, 100, TO_DEVICE);
    expect(refused(page, offset, 101, TO_DEVICE)).toEqual(["dma-map-invalid"]);
    heap.free(memory);
    expect(refused(page, offset, 100, TO_DEVICE)).toEqual(["dma-map-invalid"]);
  });

  test("what is unmapped has to be mapped, and as it was", () => {
    const { heap, pages } = services();
    const memory = heap.allocate(512);
    const mapped = (): number => map(pages.pageOf(memory), memory & 4095, 512, TO_DEVICE);
    expect(findings(() => unmap(mapped(), 511, TO_DEVICE))).toEqual(["dma-unmap-size"]);
    expect(findings(() => unmap(mapped(), 512, FROM_DEVICE))).toEqual(["dma-unmap-direction"]);
    const address = mapped();
    unmap(address, 512, TO_DEVICE);
    expect(findings(() => unmap(address, 512, TO_DEVICE))).toEqual(["dma-unmap-unknown"]);
    heap.free(memory);
  });

  test("after all that, frames pass", async () => {
    const sent = framesOfSizes(PEER_ADDRESS, 20, 60, 1514);
    expect(difference(await rig.send(sent), sent)).toBeNull();
  });

  test("who touches lent bytes that are not lent to be read ends", () => {
    const { guest, lent, execution } = services();
    const range = lend(100, 200);
    const window = (at: number): GuestAddress => {
      const index = (range.page - VMEMMAP) / pageBytes();
      return (index * 4096 + at - 0x8000_0000) as GuestAddress;
    };
    const into = services().heap.allocate(64);
    execution.call("memcpy", into, window(100), 64);
    expect(guest.bytes(into, 64).every((byte) => byte === 7)).toBe(true);
    expect(() => execution.call("memcpy", into, window(99), 8)).toThrow(/clients' memory/);
    expect(() => execution.call("memcpy", into, window(293), 8)).toThrow(/clients' memory/);
    expect(() => execution.call("memset", window(100), 0, 8)).toThrow(/clients' memory/);
    lent.end(range);
    expect(() => execution.call("memcpy", into, window(100), 8)).toThrow(/clients' memory/);
  });
});

describe.skipIf(typeof kernel === "string")("a client's memory and a frame in flight", () => {
  let rig: LinuxRig;
  beforeAll(async () => {
    if (typeof kernel !== "string") rig = await LinuxRig.up(await kernel, "e1000");
  }, BOOT_PATIENCE);
  afterAll(() => rig?.[Symbol.asyncDispose]());

  test("destroying it waits for the frame, which leaves as it was", async () => {
    const { machine, client } = rig;
    const bank = machine.bank.bank();
    const space = bank.region({ pages: 4 });
    const frame = frameOf({ to: PEER_ADDRESS, length: 1514, seed: 5 });
    await machine.run(Promise.resolve(space.write(3000, frame)));
    const go = holdTransmitter(rig);
    rig.wire.sent.length = 0;
    let isSent = false;
    const sending = client.send(space, [{ offset: 3000, length: frame.length }]).then(() => {
      isSent = true;
    });
    await rig.pass();
    let isDestroyed = false;
    const destroying = Promise.resolve(machine.bank.destroy(bank)).then(() => {
      isDestroyed = true;
    });
    await rig.pass(1_000_000_000);
    expect([isSent, isDestroyed, rig.wire.sent.length]).toEqual([false, false, 0]);
    go();
    await machine.run(Promise.all([sending, destroying]));
    expect(difference(rig.wire.sent, [frame])).toBeNull();
    expect(rig.device.zeroCopy).toBe(1);
    expect(rig.findings).toEqual([]);
    expect(await rig.unload()).toEqual(NOTHING_LEFT);
  });
});

describe.skipIf(typeof kernel === "string")("the bound on pins", () => {
  test(
    "is a mapping error to the driver, which drops frames and goes on",
    async () => {
      if (typeof kernel === "string") return;
      // Requests have eight frames to themselves.
      await using rig = await LinuxRig.up(await kernel, "e1000", {
        machine: { pinBudget: { bound: 1032, posted: 768, reserved: 256, paging: 0 } },
      });
      const go = holdTransmitter(rig);
      const frames = framesOfSizes(PEER_ADDRESS, 48, 1514, 1514);
      for (const frame of frames) expect(rig.device.send(frame, 0, frame.length)).toBe("sent");
      await rig.pass();
      const { statistics } = rig.driver.domain.services.dma;
      expect(statistics.refused).toBeGreaterThan(0);
      go();
      await rig.pass();
      expect(rig.wire.sent.length).toBe(frames.length - statistics.refused);
      expect(rig.wire.sent.length).toBeGreaterThan(0);
      expect(rig.machine.budget.pool(PinPool.solicited).peak).toBeLessThanOrEqual(8);
      const later = framesOfSizes(PEER_ADDRESS, 4, 1000, 1514);
      rig.wire.sent.length = 0;
      for (const frame of later) {
        rig.device.send(frame, 0, frame.length);
        await rig.pass();
      }
      expect(difference(rig.wire.sent, later)).toBeNull();
      expect(rig.findings).toEqual([]);
      expect(await rig.unload()).toEqual(NOTHING_LEFT);
    },
    BOOT_PATIENCE,
  );
});

describe.skipIf(typeof kernel === "string")("who copies", () => {
  test.each([
    { name: "e1000", gathers: true },
    { name: "virtio_net", gathers: true },
    { name: "8139cp", gathers: true },
    { name: "pcnet32", gathers: false },
    { name: "8139too", gathers: false },
  ])(
    "$name: a frame leaves from where it lies: $gathers",
    async ({ name, gathers }) => {
      if (typeof kernel === "string") return;
      await using rig = await LinuxRig.up(await kernel, name);
      // The first frame may show that a driver copies by itself.
      const first = framesOfSizes(PEER_ADDRESS, 1, 1514, 1514);
      expect(difference(await rig.send(first), first)).toBeNull();
      const { statistics } = rig.machine;
      const before = { ...statistics };
      const frames = framesOfSizes(PEER_ADDRESS, 20, 600, 1514);
      expect(difference(await rig.send(frames), frames)).toBeNull();
      expect(statistics.zeroCopies - before.zeroCopies).toBe(gathers ? 20 : 0);
      const bytes = frames.reduce((sum, { length }) => sum + length, 0);
      expect(statistics.copiedBytes - before.copiedBytes).toBe(gathers ? 20 * 128 : bytes);
      expect(rig.findings).toEqual([]);
      expect(await rig.unload()).toEqual(NOTHING_LEFT);
    },
    BOOT_PATIENCE,
  );
});
