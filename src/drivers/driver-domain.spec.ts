import { beforeEach, describe, expect, test } from "vitest";
import { atRest, failure, type TestMachine, testMachine } from "../../test/support/native.js";
import type { PciSlot } from "../bus/pci-bus.js";
import { ArgumentError, DriverDiedError, VoidError } from "../capability/errors.js";
import { NvmeController } from "../devices/nvme.js";
import { DmaAccess } from "../memory/pin.js";
import { PinAuthorityEndedError } from "../memory/pin-budget.js";
import { MemoryDisk } from "../ports/disk-image.js";
import { ReservedMemory } from "../transfer/reserved-memory.js";
import { KorralError } from "../util/errors.js";
import type { DeviceAccess, DriverDomain } from "./driver-domain.js";

let on: TestMachine;
let slot: PciSlot;

beforeEach(async () => {
  on = await testMachine();
  slot = on.machine.plug("nvme", (host) => new NvmeController(host, { disk: new MemoryDisk(4096) }));
});

/** A domain on a device that writes down what is done to it. */
function domainWithLog(): { domain: DriverDomain; log: string[] } {
  const log: string[] = [];
  const device: DeviceAccess = {
    dma: slot.dma,
    line: slot.line,
    read: (bar, offset, size) => slot.read(bar, offset, size),
    write: (bar, offset, size, value) => slot.write(bar, offset, size, value),
    configRead: (offset, size) => slot.configRead(offset, size),
    configWrite: (offset, size, value) => slot.configWrite(offset, size, value),
    quiesce: () => {
      log.push(`quiesced with ${slot.dma.live} mapped, ${on.machine.budget.pinned} pinned`);
      slot.quiesce();
    },
  };
  const { teardown } = slot.dma;
  slot.dma.teardown = (site) => {
    log.push(`torn down with ${on.machine.budget.pinned} pinned`);
    teardown.call(slot.dma, site);
  };
  const domain = on.machine.domain("test driver", device);
  domain.onDeath.push(() => log.push(`dead with ${slot.dma.live} mapped, ${on.machine.budget.pinned} pinned`));
  return { domain, log };
}

test("death: the device is quiesced, then the I/O MMU torn down, then the pins dropped", async () => {
  const { domain, log } = domainWithLog();
  new ReservedMemory(domain, 3 * 4096, "rings");
  new ReservedMemory(domain, 100, "buffers");
  domain.kill("a test");
  domain.kill("a test");
  expect(log).toEqual(["quiesced with 2 mapped, 4 pinned", "torn down with 4 pinned", "dead with 0 mapped, 0 pinned"]);
  await on.settled();
});

test("afterwards nothing that it had works any more", async () => {
  const { domain } = domainWithLog();
  const { irq } = domain.message("late");
  const space = on.machine.bank.bank();
  const region = space.region({ pages: 1 });
  domain.kill("a test");
  expect(() => domain.device).toThrow(DriverDiedError);
  expect(() => domain.message("more")).toThrow(DriverDiedError);
  expect(() => domain.bank.page()).toThrow(VoidError);
  expect(() => domain.pins.pin({ space: region, offset: 0, length: 1, access: DmaAccess.read })).toThrow(VoidError);
  expect(() => irq.attach(() => true)).toThrow(VoidError);
  expect(() => domain.endpoint.call({ label: 0 })).toThrow(VoidError);
  expect(await failure(domain.sleep(1))).toBeInstanceOf(DriverDiedError);
  await on.machine.bank.destroy(space);
  await on.settled();
});

test("who sleeps is woken by its end, and no timer stays", async () => {
  const { domain } = domainWithLog();
  const sleeping = domain.sleep(1e15);
  domain.kill("a test");
  expect(await failure(sleeping)).toBeInstanceOf(DriverDiedError);
  await on.settled();
});

test("requests that wait for the bound fail", async () => {
  const domain = on.machine.domain("test driver", slot, { pinBound: 4 });
  const bank = on.machine.bank.bank();
  const region = bank.region({ pages: 8 });
  const request = { space: region, offset: 0, length: 4 * 4096, access: DmaAccess.read };
  void domain.pins.pin(request);
  const waiting = Promise.resolve(domain.pins.pin({ ...request, offset: 4 * 4096 }));
  domain.kill("a test");
  expect(await failure(waiting)).toBeInstanceOf(PinAuthorityEndedError);
  await on.machine.bank.destroy(bank);
  await on.settled();
});

describe("what a server does", () => {
  test.each([
    [
      "throws of the project's own reaches the caller",
      () => {
        throw new ArgumentError("test", "no");
      },
      ArgumentError,
      null,
    ],
    [
      "rejects with of the project's own, too",
      () => Promise.reject(new ArgumentError("test", "no")),
      ArgumentError,
      null,
    ],
    [
      "throws otherwise is its end",
      () => {
        throw new RangeError("a bug");
      },
      DriverDiedError,
      "a bug",
    ],
    ["rejects with otherwise, too", () => Promise.reject(new RangeError("a bug")), DriverDiedError, "a bug"],
  ] as const)("what it %s", async (_, server, kind, dead) => {
    const { domain } = domainWithLog();
    domain.serve(server);
    const call = (async () => domain.endpoint.call({ label: 1 }))();
    expect(await failure(on.machine.run(call))).toBeInstanceOf(kind);
    expect(domain.dead).toBe(dead);
    domain.kill("over");
    await on.settled();
  });

  test("replies after its end goes nowhere", async () => {
    const { domain } = domainWithLog();
    let reply: (label: number) => void = () => {};
    domain.serve(
      () =>
        new Promise((resolve) => {
          reply = (label) => resolve({ label });
        }),
    );
    const call = (async () => domain.endpoint.call({ label: 1 }))();
    domain.kill("too slow");
    reply(5);
    expect(await failure(call)).toMatchObject({ message: "test driver died: too slow" });
    await on.settled();
  });
});

describe("starting", () => {
  test("that fails is the end, and says why", async () => {
    const { domain } = domainWithLog();
    const start = domain.start(async () => {
      new ReservedMemory(domain, 4096, "rings");
      throw new KorralError("broken", "the device is broken", 1);
    });
    expect(await failure(start)).toMatchObject({ code: "broken" });
    expect(domain.dead).toBe("it did not start: the device is broken");
    await on.settled();
  });

  test("that never ends is ended by killing it", async () => {
    const { domain } = domainWithLog();
    const start = domain.start(() => new Promise(() => {}));
    await atRest(on.machine);
    domain.kill("too slow");
    expect(await failure(start)).toBeInstanceOf(DriverDiedError);
    await on.settled();
  });
});
