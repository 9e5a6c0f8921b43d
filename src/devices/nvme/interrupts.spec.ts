import { describe, expect, it } from "vitest";
import { NvmeHost } from "../../../test/support/nvme-host.js";

const FLUSH = 0x00;
const INTMS = 0x0c;
const INTMC = 0x10;

function submit(host: NvmeHost, queue: number, count = 1): void {
  for (let i = 0; i < count; i++) host.enqueue(queue, FLUSH);
  host.ring(queue);
  host.rig.settle();
}

describe("the pin (§7.5.1.1)", () => {
  const pin = (host: NvmeHost): boolean => host.slot.line.asserted;

  it("is asserted while completions wait, and shown in the status register", () => {
    const host = new NvmeHost();
    host.enable();
    host.createQueues(1);
    expect(pin(host)).toBe(false);
    submit(host, 1, 2);
    expect(pin(host)).toBe(true);
    expect(host.slot.configRead(6, 2) & 8).toBe(8);
    host.reap(1);
    expect(pin(host)).toBe(false);
    expect(host.slot.configRead(6, 2) & 8).toBe(0);
  });

  it("is masked by INTMS until INTMC", () => {
    const host = new NvmeHost();
    host.enable();
    host.createQueues(1);
    submit(host, 1);
    host.write(INTMS, 1);
    expect([pin(host), host.read(INTMS), host.read(INTMC)]).toEqual([false, 1, 1]);
    host.write(INTMC, 1);
    expect([pin(host), host.read(INTMS)]).toEqual([true, 0]);
  });

  it("follows the command register's interrupt disable, and a reset", () => {
    const host = new NvmeHost();
    host.enable();
    host.createQueues(1);
    submit(host, 1);
    host.slot.configWrite(4, 2, 0x0406);
    expect(pin(host)).toBe(false);
    host.slot.configWrite(4, 2, 0x0006);
    expect(pin(host)).toBe(true);
    host.write(0x14, 0);
    expect(pin(host)).toBe(false);
  });

  it("is silent for a queue without interrupts", () => {
    const host = new NvmeHost();
    host.enable();
    host.createQueues(1, 32, 0, false);
    submit(host, 1);
    expect(pin(host)).toBe(false);
  });
});

describe("MSI-X (§7.5.1.4)", () => {
  function ready(): NvmeHost {
    const host = new NvmeHost();
    host.enableMsiX();
    host.enable();
    host.createQueues(1, 32, 1);
    host.createQueues(2, 32, 5);
    host.signalled.fill(0);
    return host;
  }

  it("signals the vector of the queue, once for what is posted together", () => {
    const host = ready();
    submit(host, 1, 5);
    submit(host, 2);
    expect(host.signalled.slice(0, 6)).toEqual([0, 1, 0, 0, 0, 1]);
    expect(host.slot.line.asserted).toBe(false);
  });

  it("keeps a masked vector pending", () => {
    const host = ready();
    host.write(0x200c + 16 * 5, 1);
    submit(host, 2);
    expect([host.signalled[5], host.read(0x3000)]).toEqual([0, 1 << 5]);
    host.write(0x200c + 16 * 5, 0);
    host.rig.settle();
    expect([host.signalled[5], host.read(0x3000)]).toEqual([1, 0]);
  });

  it("reports use of INTMS", () => {
    const host = ready();
    host.write(INTMS, 1);
    expect(host.rig.violations.map((violation) => violation.rule)).toEqual(["interrupt-mask-with-msix"]);
  });

  it("coalesces up to the threshold or the time (§5.21.1.8)", () => {
    const host = ready();
    host.admin(0x09, { dw10: 8, dw11: (2 << 8) | 3 });
    host.signalled.fill(0);
    submit(host, 1, 3);
    expect(host.signalled[1]).toBe(0);
    submit(host, 1, 1);
    expect(host.signalled[1]).toBe(1);
    submit(host, 1, 1);
    host.rig.pass(199_999);
    expect(host.signalled[1]).toBe(1);
    host.rig.pass(1);
    expect(host.signalled[1]).toBe(2);
  });

  it("does not coalesce the admin queue, nor a vector that is exempt", () => {
    const host = ready();
    host.admin(0x09, { dw10: 8, dw11: (2 << 8) | 3 });
    host.admin(0x09, { dw10: 9, dw11: (1 << 16) | 1 });
    host.signalled.fill(0);
    submit(host, 1);
    submit(host, 0);
    expect([host.signalled[0], host.signalled[1]]).toEqual([1, 1]);
  });

  it("carries what was gathered across a snapshot", () => {
    const host = ready();
    host.admin(0x09, { dw10: 8, dw11: (2 << 8) | 3 });
    host.signalled.fill(0);
    submit(host, 1);
    const state = structuredClone(host.controller.snapshot());
    host.controller.restore(state);
    host.rig.pass(200_000);
    expect(host.signalled[1]).toBe(1);
  });
});
