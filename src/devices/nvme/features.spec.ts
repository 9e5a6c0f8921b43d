import { describe, expect, it } from "vitest";
import { type Completion, code, NvmeHost } from "../../../test/support/nvme-host.js";

const SET = 0x09;
const GET = 0x0a;
const SAVE = 2 ** 31;
const DEFAULT = 1 << 8;
const SAVED = 2 << 8;
const CAPABILITIES = 3 << 8;

function ready(): NvmeHost {
  const host = new NvmeHost();
  host.enable();
  return host;
}

function get(host: NvmeHost, dw10: number, dw11 = 0, nsid = 0): number {
  const completion = host.admin(GET, { dw10, dw11, nsid });
  expect(completion.status).toBe(0);
  return completion.result;
}

function set(host: NvmeHost, dw10: number, dw11: number, nsid = 0): Completion {
  return host.admin(SET, { dw10, dw11, nsid });
}

function reset(host: NvmeHost): void {
  host.write(0x14, 0);
  host.rig.pass(1_000_000);
  host.enable();
}

describe("features (§5.13, §5.21)", () => {
  it("have current, default and saved values", () => {
    const host = ready();
    expect([get(host, 6), get(host, 6 | DEFAULT), get(host, 6 | SAVED)]).toEqual([1, 1, 1]);
    set(host, 6, 0);
    expect([get(host, 6), get(host, 6 | DEFAULT), get(host, 6 | SAVED)]).toEqual([0, 1, 1]);
    reset(host);
    expect(get(host, 6)).toBe(1);
    set(host, 6 + SAVE, 0);
    expect([get(host, 6), get(host, 6 | DEFAULT), get(host, 6 | SAVED)]).toEqual([0, 1, 0]);
    reset(host);
    expect(get(host, 6)).toBe(0);
    host.controller.reset();
    host.enable();
    expect(get(host, 6)).toBe(0);
  });

  it("state what can be done with them", () => {
    const host = ready();
    expect([get(host, 6 | CAPABILITIES), get(host, 7 | CAPABILITIES), get(host, 5 | CAPABILITIES, 0, 1)]).toEqual([
      5, 4, 7,
    ]);
    expect(code(set(host, 7 + SAVE, 0))).toBe(0x10d);
  });

  it("number of queues: what is granted, before any exists (§5.21.1.7)", () => {
    const host = ready();
    expect(get(host, 7)).toBe(0x000f_000f);
    expect(set(host, 7, 0x0003_0003)).toMatchObject({ status: 0, result: 0x0003_0003 });
    expect(set(host, 7, 0x00ff_00ff).result).toBe(0x000f_000f);
    expect(code(set(host, 7, 0xffff))).toBe(0x02);
    expect(code(set(host, 7, 0xffff_0000))).toBe(0x02);
    set(host, 7, 0);
    expect(code(host.admin(0x05, { prp1: host.data.io, dw10: (7 << 16) | 2, dw11: 1 }))).toBe(0x101);
    host.createQueues(1);
    expect(code(set(host, 7, 0x0003_0003))).toBe(0x0c);
    reset(host);
    expect(get(host, 7)).toBe(0x000f_000f);
  });

  it("temperature thresholds, over and under", () => {
    const host = ready();
    expect([get(host, 4), get(host, 4, 1 << 20)]).toEqual([343, 0]);
    set(host, 4, 350);
    set(host, 4, (1 << 20) | 270);
    expect([get(host, 4), get(host, 4, 1 << 20), get(host, 4 | DEFAULT)]).toEqual([350, 270, 343]);
    for (const dw11 of [1 << 16, 2 << 20]) {
      expect(code(set(host, 4, dw11))).toBe(0x02);
      expect(code(host.admin(GET, { dw10: 4, dw11 }))).toBe(0x02);
    }
  });

  it("interrupt vectors: without coalescing or with", () => {
    const host = ready();
    set(host, 9, (1 << 16) | 3);
    expect([get(host, 9, 3), get(host, 9, 2)]).toEqual([0x1_0003, 2]);
    expect(code(set(host, 9, 17))).toBe(0x02);
    expect(code(host.admin(GET, { dw10: 9, dw11: 17 }))).toBe(0x02);
  });

  it("the timestamp runs (§5.21.1.14)", () => {
    const host = ready();
    const { bytes, view, io } = host.data;
    bytes.fill(0, 0, 16);
    view.setUint32(0, 5000, true);
    view.setUint16(4, 0x0190, true);
    expect(host.admin(SET, { dw10: 0x0e, prp1: io }).status).toBe(0);
    host.rig.pass(3_000_000);
    expect(host.admin(GET, { dw10: 0x0e, prp1: io + 8 }).status).toBe(0);
    expect([view.getUint32(8, true), view.getUint16(12, true), bytes[14]]).toEqual([5003, 0x0190, 2]);
    expect(code(host.admin(SET, { dw10: 0x0e, prp1: 0x1000 }))).toBe(0x04);
  });

  it.each<[string, number, number, number, number]>([
    ["an unknown feature", 0x02, 0x55, 0, 0],
    ["the host memory buffer", 0x02, 0x0d, 1, 0],
    ["keep alive", 0x02, 0x0f, 0, 0],
    ["a power state that is not there", 0x02, 0x02, 1, 0],
    ["errors of deallocated blocks", 0x02, 0x05, 1 << 16, 1],
    ["a controller's feature of a namespace", 0x10f, 0x06, 0, 1],
    ["a namespace's feature of none", 0x0b, 0x05, 0, 0],
    ["a namespace that is not there", 0x0b, 0x05, 0, 2],
  ])("setting %s is refused", (_, status, id, dw11, nsid) => {
    expect(code(set(ready(), id, dw11, nsid))).toBe(status);
  });

  it("getting is refused likewise", () => {
    const host = ready();
    const refused = (dw10: number, nsid = 0): number => code(host.admin(GET, { dw10, nsid }));
    expect([refused(0x55), refused(6 | (4 << 8)), refused(5), refused(5, 0xffff_ffff)]).toEqual([
      0x02, 0x02, 0x0b, 0x0b,
    ]);
  });
});
