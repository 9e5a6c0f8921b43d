import { describe, expect, it } from "vitest";
import { code, NvmeHost } from "../../test/support/nvme-host.js";
import { MemoryDisk } from "../ports/disk-image.js";
import { NvmeController } from "./nvme.js";

const RDY = 1;
const CFS = 2;

describe("controller registers (§3.1)", () => {
  it("states its capabilities and version", () => {
    const host = new NvmeHost();
    const [low, high] = [host.read(0), host.read(4)];
    expect(low & 0xffff).toBe(1023); // MQES
    expect((low >>> 16) & 1).toBe(1); // CQR
    expect(low >>> 24).toBe(20); // TO
    expect(high & 15).toBe(0); // DSTRD
    expect((high >>> 4) & 1).toBe(1); // NSSRS
    expect((high >>> 5) & 0xff).toBe(1); // CSS
    expect([(high >>> 16) & 15, (high >>> 20) & 15]).toEqual([0, 4]); // MPSMIN, MPSMAX
    expect(host.read(8)).toBe(0x10400);
    expect([host.read(0x38), host.read(0x3c), host.read(0xe00)]).toEqual([0, 0, 0]); // no CMB, no PMR
  });

  it("is an NVMe function with MSI-X, power management and PCI Express", () => {
    const host = new NvmeHost();
    expect(host.slot.configRead(0, 4)).toBe(0x0010_1b36);
    expect(host.slot.configRead(8, 4) >>> 8).toBe(0x010802);
    for (const id of [0x01, 0x11, 0x10]) expect(host.capability(id)).toBeGreaterThan(0);
    expect(host.slot.configRead(host.capability(0x11) + 2, 2)).toBe(16);
  });

  it("takes 4-byte accesses only, and reports others", () => {
    const host = new NvmeHost();
    expect(host.slot.read(0, 10, 2)).toBe(1);
    host.slot.write(0, 0x14, 1, 1);
    expect(host.read(0x14)).toBe(0);
    expect(host.rig.violations.map((violation) => violation.rule)).toEqual([
      "register-access-size",
      "register-access-size",
    ]);
  });

  it("keeps its registers where a sleeping or unknown offset is touched", () => {
    const host = new NvmeHost();
    host.write(0x00, 0xffff_ffff);
    host.write(0x50, 1);
    expect(host.read(0)).not.toBe(0xffff_ffff);
    expect(host.rig.violations.length).toBe(2);
  });
});

describe("life cycle (§7.3, §7.6)", () => {
  it("becomes ready some time after CC.EN, and unready after it is cleared", () => {
    const host = new NvmeHost();
    expect(host.read(0x1c)).toBe(0);
    host.enable();
    expect(host.read(0x1c)).toBe(RDY);
    host.write(0x14, 0x0046_0000);
    expect(host.read(0x1c)).toBe(RDY);
    host.rig.pass(1_000_000);
    expect(host.read(0x1c)).toBe(0);
    expect(host.read(0x24)).toBe(0x001f_001f);
  });

  it.each([
    ["MPS beyond MPSMAX", 0x0046_0281],
    ["an I/O command set that is not there", 0x0046_0011],
    ["weighted arbitration", 0x0046_0801],
  ])("fails with %s", (_, cc) => {
    const host = new NvmeHost();
    expect(host.enable(32, cc)).toBe(CFS);
    expect(host.rig.violations.at(-1)?.rule).toBe("controller-configuration");
  });

  it("fails with an admin queue of one entry", () => {
    const host = new NvmeHost();
    expect(host.enable(1)).toBe(CFS);
  });

  it("fails when a queue cannot be reached, and lives again after a reset", () => {
    const host = new NvmeHost();
    host.enable();
    host.write(0x14, 0);
    host.rig.pass(1_000_000);
    host.write(0x28, 0x1000);
    host.write(0x2c, 0x7777);
    host.write(0x14, 0x0046_0001);
    host.rig.pass(1_000_000);
    host.write(0x1000, 1);
    host.rig.settle();
    expect(host.read(0x1c)).toBe(RDY | CFS);
    expect(host.rig.faults.length).toBe(1);
    host.write(0x14, 0);
    host.rig.pass(1_000_000);
    expect(host.read(0x1c)).toBe(0);
    expect(host.enable()).toBe(RDY);
    expect(host.admin(0x06, { prp1: host.data.io, dw10: 1 }).status).toBe(0);
  });

  it("fails when a completion cannot be written", () => {
    const host = new NvmeHost();
    host.enable();
    host.slot.dma.unmap(host.queues[0].cq.io, "test");
    host.enqueue(0, 0x06, { prp1: host.data.io, dw10: 1 });
    host.ring(0);
    host.rig.settle();
    expect(host.read(0x1c)).toBe(RDY | CFS);
  });

  it("shuts down: what is at work is finished, then everything is flushed", () => {
    const host = new NvmeHost({ latency: 300_000 });
    host.enable();
    host.createQueues(1);
    host.enqueue(1, 0x02, { prp1: host.data.io });
    host.ring(1);
    host.rig.settle();
    host.write(0x14, 0x0046_4001);
    expect((host.read(0x1c) >>> 2) & 3).toBe(1);
    host.rig.pass(200_000);
    expect((host.read(0x1c) >>> 2) & 3).toBe(1);
    host.rig.pass(200_000);
    expect((host.read(0x1c) >>> 2) & 3).toBe(2);
    expect(host.reap(1).length).toBe(1);
    host.enqueue(1, 0x02, { prp1: host.data.io });
    host.ring(1);
    host.rig.pass(1_000_000);
    expect(host.reap(1)).toEqual([]);
    expect(host.rig.violations.at(-1)?.rule).toBe("doorbell-after-shutdown");
  });

  it("an abrupt shutdown does not wait", () => {
    const host = new NvmeHost({ latency: 300_000 });
    host.enable();
    host.createQueues(1);
    host.enqueue(1, 0x02, { prp1: host.data.io });
    host.ring(1);
    host.rig.settle();
    host.write(0x14, 0x0046_8001);
    host.rig.pass(10);
    expect((host.read(0x1c) >>> 2) & 3).toBe(2);
  });

  it("resets the subsystem by NSSR and keeps the mark until it is cleared", () => {
    const host = new NvmeHost();
    host.enable();
    host.write(0x20, 0x4e56_4d65);
    expect([host.read(0x14), host.read(0x1c), host.read(0x24)]).toEqual([0, 0x10, 0]);
    host.write(0x1c, 0x10);
    expect(host.read(0x1c)).toBe(0);
  });

  it("resets by function level reset", () => {
    const host = new NvmeHost();
    host.enable();
    host.slot.configWrite(host.capability(0x10) + 8, 2, 0x8000);
    expect(host.slot.configRead(4, 2)).toBe(0);
    host.rig.enable(host.slot);
    expect([host.read(0x14), host.read(0x1c)]).toEqual([0, 0]);
    expect(host.slot.configRead(host.capability(0x10) + 8, 2) & 0x8000).toBe(0);
  });

  it("counts power cycles and unsafe shutdowns", () => {
    const host = new NvmeHost();
    host.enable();
    host.slot.device.reset();
    host.enable();
    host.write(0x14, 0x0046_4001);
    host.rig.pass(1_000_000);
    host.slot.device.reset();
    host.enable();
    host.admin(0x02, { prp1: host.data.io, dw10: (127 << 16) | 2 });
    expect(host.data.view.getUint32(112, true)).toBe(3);
    expect(host.data.view.getUint32(144, true)).toBe(1);
  });

  it("ignores doorbells while it is not ready", () => {
    const host = new NvmeHost();
    host.write(0x1000, 1);
    host.rig.settle();
    expect(host.rig.violations[0].rule).toBe("doorbell-not-ready");
    expect(host.rig.faults).toEqual([]);
  });
});

describe("the steps of Linux's driver", () => {
  it("probe, input and output, remove, probe again", () => {
    const host = new NvmeHost();
    const { io, view } = host.data;
    for (let life = 0; life < 2; life++) {
      expect(host.read(0x1c)).not.toBe(0xffff_ffff);
      host.enableMsiX(1);
      host.write(0x14, host.read(0x14) & ~0xc001);
      host.rig.pass(1_000_000);
      expect(host.read(0x1c) & RDY).toBe(0);
      expect(host.enable(32, 0x0046_0001)).toBe(RDY);
      expect(host.admin(0x06, { prp1: io, dw10: 1 }).status).toBe(0);
      expect(view.getUint8(77)).toBe(8);
      // A second CNS that 1.4 does not know, then the effects, the clock and the health of the controller.
      expect(code(host.admin(0x06, { prp1: io, dw10: 6 }))).toBe(0x02);
      expect(host.admin(0x02, { prp1: io, dw10: (1023 << 16) | 5 }).status).toBe(0);
      expect(host.admin(0x09, { prp1: io, dw10: 0x0e }).status).toBe(0);
      expect(host.admin(0x02, { prp1: io, nsid: 0xffff_ffff, dw10: (127 << 16) | 2 }).status).toBe(0);
      expect(host.admin(0x09, { dw10: 7, dw11: 0x0001_0001 }).result).toBe(0x0001_0001);
      // Its one vector is given back, and as many asked for as there are queues.
      host.slot.configWrite(host.capability(0x11) + 2, 2, 0);
      host.enableMsiX(3);
      host.createQueues(1, 1024, 1);
      host.createQueues(2, 1024, 2);
      expect(host.admin(0x09, { dw10: 0x0b, dw11: 0x100 }).status).toBe(0);
      host.enqueue(0, 0x0c);
      host.ring(0);
      expect(host.admin(0x06, { prp1: io, dw10: 2 }).status).toBe(0);
      expect(host.admin(0x06, { prp1: io, nsid: 1, dw10: 3 }).status).toBe(0);
      expect(host.admin(0x06, { prp1: io, nsid: 1, dw10: 0 }).status).toBe(0);
      const before = [...host.signalled];
      expect(host.command(2, 0x02, { prp1: io, prp2: io + 4096, dw12: 15 }).status).toBe(0);
      expect(host.signalled.map((count, vector) => count - before[vector])).toEqual([0, 0, 1]);
      for (const opcode of [0x00, 0x04]) {
        for (const queue of [2, 1]) expect(host.admin(opcode, { dw10: queue }).status).toBe(0);
      }
      host.write(0x14, 0x0046_4001);
      host.rig.pass(1_000_000);
      expect((host.read(0x1c) >>> 2) & 3).toBe(2);
      host.slot.configWrite(host.capability(0x11) + 2, 2, 0);
      expect(host.slot.line.asserted).toBe(false);
    }
    expect(host.rig.violations).toEqual([]);
    expect(host.rig.faults).toEqual([]);
  });
});

describe("options", () => {
  it("refuses what Identify cannot state", () => {
    const disk = new MemoryDisk(512);
    for (const options of [
      { serial: "" },
      { serial: "x".repeat(21) },
      { model: "ä" },
      { firmware: "123456789" },
      { queues: 0 },
      { latency: -1 },
    ]) {
      expect(() => new NvmeHost({ disk, ...options })).toThrow(/NVMe/);
    }
  });

  it("is called nvme", () => {
    expect(new NvmeHost().slot.device).toBeInstanceOf(NvmeController);
    expect(new NvmeHost().slot.device.model).toBe("nvme");
  });
});

describe("snapshot", () => {
  it("goes on in another machine where the first one stopped", () => {
    const host = new NvmeHost({ latency: 1000 });
    host.enable();
    host.createQueues(1);
    host.data.bytes.fill(7, 0, 512);
    const ids = [0, 1, 2].map((i) =>
      host.enqueue(1, i === 1 ? 0x01 : 0x02, { prp1: host.data.io + 4096 * i, dw10: i }),
    );
    host.ring(1);
    host.rig.settle();
    const state = structuredClone(host.controller.snapshot());
    expect(state.engine.commandCount).toBe(3);
    host.controller.restore(state);
    expect(host.controller.snapshot()).toEqual(state);
    host.rig.pass(2000);
    expect(host.reap(1).map((completion) => completion.id)).toEqual(ids);
    expect(host.command(1, 0x02, { prp1: host.data.io }, 2000).status).toBe(0);
  });

  it("fits another machine with another time", () => {
    const [first, second] = [0, 1].map(() => {
      const host = new NvmeHost({ latency: 1000 });
      host.enable();
      host.createQueues(1);
      return host;
    });
    second.rig.pass(777_777);
    second.controller.reset();
    first.admin(0x09, { dw10: 6, dw11: 0 });
    const id = first.enqueue(1, 0x00);
    first.ring(1);
    first.rig.pass(400);
    second.controller.restore(structuredClone(first.controller.snapshot()));
    second.rig.bank.bytes.set(first.rig.bank.bytes);
    second.rig.pass(599);
    expect(second.reap(1)).toEqual([]);
    second.rig.pass(1);
    expect(second.reap(1).map((completion) => completion.id)).toEqual([id]);
    for (let i = 0; i < 2; i++) {
      const { tail, head, phase } = first.queues[i];
      Object.assign(second.queues[i], i === 0 ? { tail, head, phase } : { tail });
    }
    expect(second.admin(0x0a, { dw10: 6 }).result).toBe(0);
    expect(second.command(1, 0x02, { prp1: second.data.io }, 2000).status).toBe(0);
  });

  it("carries a running enable across", () => {
    const host = new NvmeHost();
    host.enable();
    host.write(0x14, 0);
    host.rig.pass(1_000_000);
    host.write(0x14, 0x0046_0001);
    const state = structuredClone(host.controller.snapshot());
    host.controller.reset();
    host.controller.restore(state);
    expect(host.read(0x1c)).toBe(0);
    host.rig.pass(1_000_000);
    expect(host.read(0x1c)).toBe(RDY);
  });

  it("names what does not fit, and is reset then", () => {
    const host = new NvmeHost();
    host.enable();
    const good = host.controller.snapshot();
    const bad = structuredClone(good);
    bad.queues.submissions[0].head = 99;
    expect(() => host.controller.restore(bad)).toThrow(/submissions 0: head/);
    expect(host.read(0x1c)).toBe(0);
    expect(() => host.controller.restore({ ...good, sectors: 5 })).toThrow(/sectors/);
    expect(() => host.controller.restore({})).toThrow(/nvme/);
    host.controller.restore(good);
    expect(code(host.admin(0x06, { prp1: host.data.io, dw10: 1 }))).toBe(0);
  });
});
