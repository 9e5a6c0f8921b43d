import { describe, expect, test } from "vitest";
import type { PciSlot } from "../../src/bus/pci-bus.js";
import { type FaultOptions, withFaults, withRegisterFaults } from "../../src/devices/fault-injector.js";
import { I82540em } from "../../src/devices/i82540em.js";
import { KorralNic } from "../../src/devices/korral-nic.js";
import { NvmeController } from "../../src/devices/nvme.js";
import { Uart16550 } from "../../src/devices/uart16550.js";
import { BlockClient } from "../../src/drivers/block-service.js";
import type { DriverDomain } from "../../src/drivers/driver-domain.js";
import { E1000Driver } from "../../src/drivers/e1000/e1000-driver.js";
import { KorralNicDriver } from "../../src/drivers/korral-nic/korral-nic-driver.js";
import { NetworkClient } from "../../src/drivers/network-service.js";
import { NvmeDriver } from "../../src/drivers/nvme/nvme-driver.js";
import { TerminalClient } from "../../src/drivers/terminal-service.js";
import { UartDriver } from "../../src/drivers/uart-driver.js";
import type { Machine } from "../../src/machine.js";
import { MemoryDisk } from "../../src/ports/disk-image.js";
import { ScriptedTerminal } from "../../src/ports/terminal.js";
import { KorralError } from "../../src/util/errors.js";
import { type Random, randomBelow, seededRandom } from "../../src/util/random.js";
import { noise, testMachine } from "../support/native.js";
import { KeepingWire, TestSession, udp } from "../support/network.js";

const PAGE = 4096;
const WATCHDOG = 100_000_000;

// biome-ignore format: a table
const FAULTS: readonly (readonly [string, FaultOptions])[] = [
  ["lost interrupts",          { interruptLose: 0.2 }],
  ["late, repeated interrupts", { interruptDelay: 0.3, interruptRepeat: 0.3, longestDelay: 200_000 }],
  ["registers that lie",       { readFlip: 0.01, readOnes: 0.01 }],
  ["writes that get lost",     { writeDrop: 0.02, writeFlip: 0.02 }],
  ["memory read wrong",        { dmaReadFlip: 0.05 }],
  ["memory written wrong",     { dmaWriteFlip: 0.05 }],
  ["refused and stray access", { dmaRefuse: 0.05, dmaStray: 0.05 }],
  ["everything at once",       { readFlip: 0.003, writeFlip: 0.003, interruptLose: 0.02, interruptDelay: 0.1, dmaReadFlip: 0.01, dmaWriteFlip: 0.01, dmaRefuse: 0.01, dmaStray: 0.02 }],
];

/** A bystander's memory: whatever a device does, these bytes stay as they are. */
function bystander(machine: Machine) {
  const bank = machine.bank.bank();
  const region = bank.region({ pages: 64 });
  const mark = noise(64 * PAGE, 99);
  void region.write(0, mark);
  return {
    untouched(): boolean {
      const bytes = new Uint8Array(64 * PAGE);
      void region.read(0, bytes);
      return Buffer.compare(bytes, mark) === 0;
    },
    leave: () => machine.bank.destroy(bank),
  };
}

/** Every request of a client has to come back, with a reply or an error of the project's own. */
async function settle(machine: Machine, requests: readonly (() => Promise<unknown>)[]): Promise<void> {
  const results = await machine.run(Promise.allSettled(requests.map((request) => request())), "requests");
  for (const result of results) if (result.status === "rejected") expect(result.reason).toBeInstanceOf(KorralError);
}

/** Resolves when so much machine time has passed. */
function passing(machine: Machine, nanoseconds: number): Promise<void> {
  return new Promise((resolve) => machine.clock.timer(resolve).arm(nanoseconds));
}

interface Subject {
  readonly name: string;
  play(machine: Machine, faults: FaultOptions, random: Random): Promise<DriverDomain>;
}

const disk: Subject = {
  name: "nvme",
  async play(machine, faults, random) {
    const slot: PciSlot = machine.plug(
      "nvme",
      withFaults((host) => new NvmeController(host, { disk: new MemoryDisk(1 << 20), latency: 1000 }), faults, random),
    );
    const domain = machine.domain("nvme", slot, { watchdog: WATCHDOG });
    await settle(machine, [() => NvmeDriver.start(domain)]);
    const client = new BlockClient(domain.endpoint);
    const banks = Array.from({ length: 4 }, () => machine.bank.bank());
    const regions = banks.map((bank) => bank.region({ pages: 16 }));
    const requests = Array.from({ length: 60 }, () => {
      const region = regions[randomBelow(random, 4)];
      const length = 512 * (1 + randomBelow(random, 60));
      const offset = 4 * randomBelow(random, 1000);
      const sector = randomBelow(random, 1900);
      const act = randomBelow(random, 5);
      if (act === 0) return () => client.flush();
      if (act === 1) return () => client.discard(sector, length);
      return () =>
        act === 2 ? client.write(region, offset, sector, length) : client.read(region, offset, sector, length);
    });
    const work = settle(machine, requests);
    const gone = Promise.resolve(machine.bank.destroy(banks[0]));
    await work;
    await machine.run(gone, "destroy");
    for (const bank of banks.slice(1)) await machine.run(Promise.resolve(machine.bank.destroy(bank)), "destroy");
    return domain;
  },
};

function network(
  name: string,
  make: (faults: FaultOptions, random: Random, wire: KeepingWire) => (machine: Machine) => PciSlot,
  start: (domain: DriverDomain) => Promise<unknown>,
): Subject {
  return {
    name,
    async play(machine, faults, random) {
      const wire = new KeepingWire();
      const domain = machine.domain(name, make(faults, random, wire)(machine), { watchdog: WATCHDOG });
      await settle(machine, [() => start(domain)]);
      const client = new NetworkClient(domain.endpoint);
      const sessions: TestSession[] = [];
      for (const filter of ["udp port 1", "udp port 2", ""]) {
        await settle(machine, [
          async () => sessions.push(await TestSession.open(machine, client, { filter, slots: 32 })),
        ]);
      }
      const bank = machine.bank.bank();
      const space = bank.region({ pages: 8 });
      for (let round = 0; round < 12; round++) {
        for (let i = 0; i < 10; i++) wire.arrive(udp(1 + (i % 3), 60 + randomBelow(random, 1400), i));
        const frames = Array.from({ length: 1 + randomBelow(random, 40) }, () => ({
          offset: randomBelow(random, 20_000),
          length: 14 + randomBelow(random, 1500),
        }));
        await settle(machine, [() => client.send(space, frames), () => client.sendCopy(udp(3))]);
        for (const session of sessions) if (!session.ring.isVoid) session.take();
        if (round === 5 && sessions.length > 0) await sessions[0].leave();
        if (round === 8 && sessions.length > 1) await settle(machine, [() => sessions[1].close()]);
      }
      for (const session of sessions.slice(1)) await session.leave();
      await machine.run(Promise.resolve(machine.bank.destroy(bank)), "destroy");
      return domain;
    },
  };
}

const terminal: Subject = {
  name: "uart",
  async play(machine, faults, random) {
    const line = new ScriptedTerminal();
    const slot = machine.wire(
      "uart",
      withRegisterFaults((host) => new Uart16550(host, { line }), faults, random),
    );
    const domain = machine.domain("uart", slot);
    await settle(machine, [async () => UartDriver.start(domain)]);
    const client = new TerminalClient(domain.endpoint);
    const requests = [client.read(), client.write(new Uint8Array(3000)), client.drain(), client.read(10)];
    for (const request of requests) request.catch(() => {});
    for (let i = 0; i < 10; i++) {
      line.type(noise(100, i + 1).slice());
      await machine.run(passing(machine, 50_000_000));
    }
    domain.kill("enough");
    await settle(
      machine,
      requests.map((request) => () => request),
    );
    return domain;
  },
};

const subjects: readonly Subject[] = [
  disk,
  network(
    "e1000",
    (faults, random, wire) => (machine) =>
      machine.plug(
        "e1000",
        withFaults((host) => new I82540em(host, { wire }), faults, random),
      ),
    (domain) => E1000Driver.start(domain),
  ),
  network(
    "korral-nic",
    (faults, random, wire) => (machine) =>
      machine.plug(
        "korral-nic",
        withFaults((host) => new KorralNic(host, { wire }), faults, random),
      ),
    (domain) => KorralNicDriver.start(domain),
  ),
  terminal,
];

describe.each(subjects)("$name on a device with faults", (subject) => {
  test.each(FAULTS)("%s: every request comes back, nothing leaks, nobody else is hurt", async (_, faults) => {
    for (let seed = 1; seed <= 6; seed++) {
      const on = await testMachine({ seed });
      const other = bystander(on.machine);
      const domain = await subject.play(on.machine, faults, seededRandom(seed));
      domain.kill("the test is over");
      expect(other.untouched()).toBe(true);
      await other.leave();
      await on.settled();
    }
  });
});
