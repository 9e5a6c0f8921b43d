import { describe, expect, it } from "vitest";
import { counting, ethernet, PEER, TestWire } from "../../test/support/e1000.js";
import { Rig } from "../../test/support/rig.js";
import type { DeviceHost, PciDevice } from "../bus/device.js";
import { PciConfigSpace } from "../bus/pci-config.js";
import { DmaAccess } from "../memory/pin.js";
import { InputError } from "../util/errors.js";
import { seededRandom } from "../util/random.js";
import {
  type FaultKind,
  type FaultOptions,
  type FaultyPciDevice,
  withFaults,
  withRegisterFaults,
} from "./fault-injector.js";
import { I82540em } from "./i82540em.js";

/** A device that does what the test says, and remembers what reached it. */
class Puppet implements PciDevice {
  readonly model = "puppet";
  readonly config = new PciConfigSpace({ vendorId: 1, deviceId: 2, classCode: 0, interruptPin: 1 });
  readonly written: number[] = [];
  resets = 0;

  constructor(readonly host: DeviceHost) {
    this.config.addBar(0, "memory32", 4096);
  }

  read(_bar: number, offset: number): number {
    return offset;
  }

  write(_bar: number, _offset: number, _size: number, value: number): void {
    this.written.push(value);
  }

  reset(): void {
    this.resets++;
    this.host.interrupt.set(false);
  }

  snapshot(): object {
    return { written: [...this.written] };
  }

  restore(state: object): void {
    this.written.splice(0, this.written.length, ...(state as { written: number[] }).written);
  }
}

function puppet(options: FaultOptions, seed = 1) {
  const rig = new Rig();
  const slot = rig.pci.plug(
    "puppet",
    withFaults((host) => new Puppet(host), options, seededRandom(seed)),
  );
  rig.enable(slot);
  const buffer = rig.dmaBuffer(slot, 8192);
  buffer.bytes.set(counting(8192));
  return { rig, slot, device: slot.device, puppet: slot.device.device, host: slot.device.device.host, buffer };
}

const counts = (device: FaultyPciDevice<Puppet>, kind: FaultKind) => device.faults.counts[kind] ?? 0;
const differingBits = (a: Uint8Array, b: Uint8Array) =>
  a.reduce((sum, byte, i) => sum + (byte ^ b[i]).toString(2).replaceAll("0", "").length, 0);

describe("fault injector", () => {
  it("without faults hands through host and device as they are, and draws no random number", () => {
    const draws: number[] = [];
    let seen: DeviceHost | null = null;
    const rig = new Rig();
    let given: DeviceHost | null = null;
    rig.pci.plug("puppet", (host) => {
      given = host;
      const inner = (faulty: DeviceHost) => {
        seen = faulty;
        return new Puppet(faulty);
      };
      return withFaults(inner, { dmaStray: 0 }, () => draws.push(0))(host);
    });
    const [a, b] = [given, seen] as unknown as [DeviceHost, DeviceHost];
    for (const part of ["clock", "dma", "interrupt", "message", "violation"] as const) expect(b[part]).toBe(a[part]);
    expect(draws).toEqual([]);
  });

  it("without faults an adapter's whole life is the same, byte by byte", () => {
    const live = (faulty: boolean) => {
      const rig = new Rig();
      const wire = new TestWire();
      const factory = (host: DeviceHost) => new I82540em(host, { wire });
      const slot = faulty
        ? rig.pci.plug<PciDevice>("e1000", withFaults(factory, {}, seededRandom(3)))
        : rig.pci.plug<PciDevice>("e1000", factory);
      rig.enable(slot);
      const memory = rig.dmaBuffer(slot, 64 * 1024);
      const random = seededRandom(9);
      const reads: number[] = [];
      for (let i = 0; i < 64; i++) {
        memory.view.setUint32(i * 16, (memory.io % 2 ** 32) + 4096 + i * 256, true);
        memory.view.setUint32(i * 16 + 4, Math.floor(memory.io / 2 ** 32), true);
        memory.view.setUint32(i * 16 + 8, 0x8b000000 | 100, true);
      }
      const write = (offset: number, value: number) => slot.write(0, offset, 4, value);
      write(0, 0x40);
      for (const base of [0x2800, 0x3800]) {
        write(base, memory.io % 2 ** 32);
        write(base + 4, Math.floor(memory.io / 2 ** 32));
        write(base + 8, 1024);
      }
      write(0x3820, 10);
      write(0xd0, 0xffff);
      write(0x400, 2);
      write(0x100, 0x8002);
      for (let i = 0; i < 300; i++) {
        write([0x3818, 0x2818, 0xc8, 0x2820][random() % 4], random() % 64);
        wire.deliver(ethernet(random() % 2 === 0 ? PEER : new Uint8Array(6).fill(255), 0x800, 60));
        rig.pass(random() % 20_000);
        reads.push(slot.read(0, [0xc0, 8, 0x4074, 0x2810, 0x3810][random() % 5], 4), slot.line.delivered);
      }
      return { reads, memory: [...memory.bytes], sent: wire.sent, faults: rig.faults.length };
    };
    expect(live(true)).toEqual(live(false));
  });

  it("breaks register reads and writes", () => {
    const dead = puppet({ readOnes: 1 });
    expect([1, 2, 4].map((size) => dead.slot.read(0, 8, size as 1 | 2 | 4))).toEqual([0xff, 0xffff, 0xffffffff]);
    const flipped = puppet({ readFlip: 0.5, writeFlip: 0.5 });
    for (let i = 0; i < 200; i++) {
      const difference = (flipped.slot.read(0, 0x100, 2) ^ 0x100) >>> 0;
      expect(difference & (difference - 1)).toBe(0);
      flipped.slot.write(0, 0, 4, 0x80000000);
      const arrived = ((flipped.puppet.written.at(-1) ?? 0) ^ 0x80000000) >>> 0;
      expect((arrived & (arrived - 1)) >>> 0).toBe(0);
    }
    for (const kind of ["readFlip", "writeFlip"] as const) {
      expect(counts(flipped.device, kind)).toBeGreaterThan(60);
      expect(counts(flipped.device, kind)).toBeLessThan(140);
    }
    const dropping = puppet({ writeDrop: 0.5 });
    for (let i = 0; i < 200; i++) dropping.slot.write(0, 0, 4, i);
    expect(dropping.puppet.written.length + counts(dropping.device, "writeDrop")).toBe(200);
    expect(counts(dropping.device, "writeDrop")).toBeGreaterThan(60);
  });

  it("loses, delays and repeats INTx", () => {
    const lost = puppet({ interruptLose: 1 });
    lost.host.interrupt.set(true);
    expect(lost.slot.line.asserted).toBe(false);
    lost.host.interrupt.set(false);
    const late = puppet({ interruptDelay: 1, longestDelay: 1000 });
    late.host.interrupt.set(true);
    expect(late.slot.line.asserted).toBe(false);
    late.rig.pass(1000);
    expect(late.slot.line.asserted).toBe(true);
    late.host.interrupt.set(false);
    expect(late.slot.line.asserted).toBe(false);
    late.host.interrupt.set(true);
    late.host.interrupt.set(false);
    late.rig.pass(1000);
    expect(late.slot.line.asserted).toBe(false);
    const again = puppet({ interruptRepeat: 1 });
    let handled = 0;
    again.slot.line.attach(() => {
      handled++;
      again.host.interrupt.set(false);
      return true;
    });
    again.host.interrupt.set(true);
    again.rig.settle();
    expect(handled).toBe(2);
    expect(again.slot.line.asserted).toBe(false);
    expect(counts(again.device, "interruptRepeat")).toBe(1);
  });

  it("loses, delays and repeats messages", () => {
    const deliveries = (options: FaultOptions): number => {
      const test = puppet(options);
      const line = test.rig.interrupts.message("test");
      let handled = 0;
      line.attach(() => {
        handled++;
        return true;
      });
      const before = handled;
      test.host.message(0xfee00000, line.vector);
      test.rig.settle();
      const prompt = handled - before;
      test.rig.pass(2_000_000);
      return prompt * 10 + (handled - before);
    };
    expect(deliveries({ interruptLose: 1 })).toBe(0);
    expect(deliveries({ interruptDelay: 1 })).toBe(1);
    // Two raises before the delivery are one interrupt.
    expect(deliveries({ interruptRepeat: 1 })).toBe(11);
  });

  it("damages one bit of what the device reads or writes, by copy or by span", () => {
    const { host, buffer, rig } = puppet({ dmaReadFlip: 1, dmaWriteFlip: 1 });
    const original = buffer.bytes.slice();
    const into = new Uint8Array(100);
    host.dma.read(buffer.io + 50, into, 0, 100);
    expect(differingBits(into, original.subarray(50, 150))).toBe(1);
    const [span] = host.dma.spans(buffer.io, 200, DmaAccess.read) ?? [];
    expect(differingBits(span, original)).toBe(1);
    expect(buffer.bytes).toEqual(original);
    const from = counting(64, 77);
    host.dma.write(buffer.io, from, 0, 64);
    expect(from).toEqual(counting(64, 77));
    expect(differingBits(buffer.bytes.subarray(0, 64), from)).toBe(1);
    const [lent] = host.dma.spans(buffer.io + 4096, 64, DmaAccess.write) ?? [];
    lent.set(from);
    rig.settle();
    expect(differingBits(buffer.bytes.subarray(4096, 4160), from)).toBe(1);
  });

  it("refuses accesses, and writes where it should not", () => {
    const refused = puppet({ dmaRefuse: 1 });
    expect(refused.host.dma.read(refused.buffer.io, new Uint8Array(4), 0, 4)).toBe(false);
    expect(refused.host.dma.write(refused.buffer.io, new Uint8Array(4), 0, 4)).toBe(false);
    expect(refused.host.dma.spans(refused.buffer.io, 4, DmaAccess.read)).toBeNull();
    expect(refused.rig.faults).toEqual([]);
    const stray = puppet({ dmaStray: 1 });
    expect(stray.host.dma.read(stray.buffer.io, new Uint8Array(4), 0, 4)).toBe(true);
    expect(stray.rig.faults.map((fault) => fault.reason)).toEqual(["unmapped"]);
    expect(stray.device.faults.entries[0]).toMatchObject({ at: 0, kind: "dmaStray" });
  });

  it("does the same for the same seed, and another thing for another", () => {
    const play = (seed: number) => {
      const test = puppet({ readFlip: 0.3, dmaWriteFlip: 0.3, interruptDelay: 0.5 }, seed);
      for (let i = 0; i < 50; i++) {
        test.slot.read(0, i * 4, 4);
        test.host.dma.write(test.buffer.io, counting(10), 0, 10);
        test.host.interrupt.set(i % 2 === 0);
      }
      return test.device.faults.entries;
    };
    expect(play(5)).toEqual(play(5));
    expect(play(5)).not.toEqual(play(6));
  });

  it("keeps a bounded log", () => {
    const { slot, device } = puppet({ readOnes: 1 });
    for (let i = 0; i < 12_000; i++) slot.read(0, 0, 4);
    expect(device.faults.entries.length).toBe(10_000);
    expect(counts(device, "readOnes")).toBe(12_000);
  });

  it("snapshots itself with its device, and a late interrupt comes after restoring too", () => {
    const a = puppet({ interruptDelay: 1, longestDelay: 1000 });
    a.slot.write(0, 0, 4, 5);
    const line = a.rig.interrupts.message("test");
    a.host.interrupt.set(true);
    a.host.message(0xfee00000, line.vector);
    const state = structuredClone(a.device.snapshot());
    const b = puppet({ interruptDelay: 1, longestDelay: 1000 });
    const other = b.rig.interrupts.message("test");
    b.device.restore(state);
    expect(b.puppet.written).toEqual([5]);
    expect(b.device.snapshot()).toEqual(state);
    expect(b.slot.line.asserted).toBe(false);
    b.rig.pass(1000);
    expect([b.slot.line.asserted, other.asserted]).toEqual([true, true]);
    expect(() => b.device.restore({})).toThrow(InputError);
    b.device.reset();
    expect([b.puppet.resets, b.slot.line.asserted]).toEqual([1, false]);
  });

  it("goes around devices that are not on PCI too", () => {
    const { host } = puppet({});
    const device = withRegisterFaults((inner) => new Puppet(inner), { writeDrop: 1 }, seededRandom(1))(host);
    device.write(0, 0, 4, 1);
    expect([device.model, device.device.written, device.faults.counts.writeDrop]).toEqual(["puppet", [], 1]);
  });
});
