import { describe, expect, it } from "vitest";
import { code, NvmeHost } from "../../../test/support/nvme-host.js";

const CREATE_SQ = 0x01;
const CREATE_CQ = 0x05;
const DELETE_SQ = 0x00;
const DELETE_CQ = 0x04;
const FLUSH = 0x00;

function ready(): NvmeHost {
  const host = new NvmeHost();
  host.enable();
  return host;
}

describe("creating and deleting queues (§5.3 to §5.6)", () => {
  it.each<[string, number, number, number, number]>([
    ["identifier 0", 0x101, 31 << 16, 1, 0],
    ["an identifier beyond the number of queues", 0x101, (31 << 16) | 17, 1, 0],
    ["one entry", 0x102, 1, 1, 0],
    ["more entries than MQES", 0x102, (1024 << 16) | 1, 1, 0],
    ["memory in pieces", 0x02, (31 << 16) | 1, 0, 0],
    ["an offset in the page", 0x13, (31 << 16) | 1, 1, 8],
    ["a vector while there is only the pin", 0x108, (31 << 16) | 1, (1 << 16) | 3, 0],
  ])("a completion queue with %s is refused", (_, status, dw10, dw11, offset) => {
    const host = ready();
    expect(code(host.admin(CREATE_CQ, { prp1: host.data.io + offset, dw10, dw11 }))).toBe(status);
  });

  it("checks the vector against MSI-X", () => {
    const host = ready();
    host.enableMsiX();
    const create = (id: number, vector: number, flags: number): number =>
      code(host.admin(CREATE_CQ, { prp1: host.data.io, dw10: (31 << 16) | id, dw11: vector * 65_536 + flags }));
    expect(create(1, 17, 3)).toBe(0x108);
    expect(create(1, 16, 3)).toBe(0);
    expect(create(2, 0xffff, 1)).toBe(0);
    expect(create(2, 0, 3)).toBe(0x101);
  });

  it.each<[string, number, number, number]>([
    ["identifier 0", 0x101, 31 << 16, (1 << 16) | 1],
    ["completion queue 0", 0x101, (31 << 16) | 1, 1],
    ["a completion queue that is not there", 0x100, (31 << 16) | 1, (2 << 16) | 1],
    ["one entry", 0x102, 1, (1 << 16) | 1],
    ["memory in pieces", 0x02, (31 << 16) | 1, 1 << 16],
  ])("a submission queue with %s is refused", (_, status, dw10, dw11) => {
    const host = ready();
    host.admin(CREATE_CQ, { prp1: host.data.io, dw10: (31 << 16) | 1, dw11: 1 });
    expect(code(host.admin(CREATE_SQ, { prp1: host.data.io + 65_536, dw10, dw11 }))).toBe(status);
  });

  it("refuses queues while CC does not state their entries' sizes", () => {
    const host = new NvmeHost();
    host.enable(32, 1);
    expect(code(host.admin(CREATE_CQ, { prp1: host.data.io, dw10: (31 << 16) | 1, dw11: 1 }))).toBe(0x102);
    host.write(0x14, 0x0046_0001);
    expect(code(host.admin(CREATE_CQ, { prp1: host.data.io, dw10: (31 << 16) | 1, dw11: 1 }))).toBe(0);
  });

  it("deletes a completion queue only after its submission queues", () => {
    const host = ready();
    host.createQueues(3);
    expect(code(host.admin(DELETE_CQ, { dw10: 3 }))).toBe(0x10c);
    expect(code(host.admin(DELETE_SQ, { dw10: 3 }))).toBe(0);
    expect(code(host.admin(DELETE_SQ, { dw10: 3 }))).toBe(0x101);
    expect(code(host.admin(DELETE_CQ, { dw10: 3 }))).toBe(0);
    expect(code(host.admin(DELETE_CQ, { dw10: 3 }))).toBe(0x101);
    expect([code(host.admin(DELETE_SQ, { dw10: 0 })), code(host.admin(DELETE_CQ, { dw10: 0 }))]).toEqual([
      0x101, 0x101,
    ]);
    host.createQueues(3);
    expect(host.command(3, FLUSH).status).toBe(0);
  });

  it("aborts what is at work when its submission queue goes", () => {
    const host = new NvmeHost({ latency: 1_000_000 });
    host.enable();
    host.createQueues(1);
    const ids = [host.enqueue(1, FLUSH), host.enqueue(1, FLUSH)];
    host.ring(1);
    host.rig.settle();
    expect(host.admin(DELETE_SQ, { dw10: 1 }).status).toBe(0);
    const aborted = host.reap(1);
    expect(aborted.map((completion) => [completion.id, code(completion)])).toEqual(ids.map((id) => [id, 0x08]));
    host.rig.pass(2_000_000);
    expect(host.reap(1)).toEqual([]);
  });
});

describe("rings (§4.1, §4.6)", () => {
  it("turns the phase tag at every pass and reports the submission queue's head", () => {
    const host = ready();
    host.createQueues(1, 4);
    for (let i = 0; i < 11; i++) {
      const completion = host.command(1, FLUSH);
      expect([completion.sqHead, completion.queue]).toEqual([(i + 1) % 4, 1]);
    }
  });

  it("holds commands back while the completion queue is full", () => {
    const host = ready();
    host.createQueues(1, 4);
    const first = [host.enqueue(1, FLUSH), host.enqueue(1, FLUSH), host.enqueue(1, FLUSH)];
    host.ring(1);
    host.rig.settle();
    expect(host.reap(1, false).map((completion) => completion.id)).toEqual(first);
    const second = [host.enqueue(1, FLUSH), host.enqueue(1, FLUSH)];
    host.ring(1);
    host.rig.settle();
    expect(host.reap(1, false)).toEqual([]);
    host.write(0x100c, 1);
    host.rig.settle();
    expect(host.reap(1, false).map((completion) => completion.id)).toEqual([second[0]]);
    host.write(0x100c, 3);
    host.rig.settle();
    expect(host.reap(1).map((completion) => completion.id)).toEqual([second[1]]);
    expect(host.rig.violations).toEqual([]);
  });

  it("lets several submission queues share a completion queue, in turns of a burst (§4.13.1)", () => {
    const host = ready();
    host.createQueues(1, 64);
    host.queues[2] = { ...host.allocate(64), cq: host.queues[1].cq };
    host.admin(CREATE_SQ, { prp1: host.queues[2].sq.io, dw10: (63 << 16) | 2, dw11: (1 << 16) | 1 });
    host.admin(0x09, { dw10: 1, dw11: 2 }); // bursts of 4
    for (let i = 0; i < 10; i++) host.enqueue(1, FLUSH);
    for (let i = 0; i < 10; i++) host.enqueue(2, FLUSH);
    host.ring(1);
    host.ring(2);
    host.rig.settle();
    const order = host
      .reap(1)
      .map((completion) => completion.queue)
      .join("");
    expect(order).toBe("11112222111122221122");
  });

  it("fetches nothing until the driver's access is over", () => {
    const host = ready();
    host.createQueues(1);
    host.enqueue(1, FLUSH);
    host.ring(1);
    expect(host.reap(1)).toEqual([]);
    host.rig.settle();
    expect(host.reap(1).length).toBe(1);
  });

  it("delays completions by the latency", () => {
    const host = new NvmeHost({ latency: 5000 });
    host.enable();
    host.createQueues(1);
    host.enqueue(1, FLUSH);
    host.ring(1);
    host.rig.pass(4999);
    expect(host.reap(1)).toEqual([]);
    host.rig.pass(1);
    expect(host.reap(1).length).toBe(1);
  });
});

describe("doorbells (§3.1.24, §3.1.25)", () => {
  it.each<[string, string, number, number, number]>([
    ["a queue that is not there", "doorbell-without-queue", 0x1048, 1, 0x0000],
    ["a tail beyond the queue", "doorbell-value", 0x1008, 32, 0x0100],
    ["a tail that does not move", "doorbell-value", 0x1008, 0, 0x0100],
    ["a head that does not move", "doorbell-value", 0x100c, 0, 0x0100],
    ["a head beyond what was posted", "doorbell-value", 0x100c, 1, 0x0100],
  ])("reports %s", (_, rule, offset, value, information) => {
    const host = ready();
    host.createQueues(1);
    const request = host.enqueue(0, 0x0c);
    host.ring(0);
    host.rig.settle();
    expect(host.reap(0)).toEqual([]);
    host.write(offset, value);
    expect(host.rig.violations.map((violation) => violation.rule)).toEqual([rule]);
    expect(host.reap(0)).toMatchObject([{ id: request, status: 0, result: 0x1_0000 | information }]);
    expect(host.command(1, FLUSH).status).toBe(0);
  });

  it("refuses more commands than there is room for", () => {
    const host = ready();
    host.createQueues(1, 4);
    for (let i = 0; i < 3; i++) host.enqueue(1, FLUSH);
    host.ring(1);
    host.rig.settle();
    host.reap(1, false);
    for (let i = 0; i < 2; i++) host.enqueue(1, FLUSH);
    host.ring(1);
    host.write(0x1008, 3);
    expect(host.rig.violations.map((violation) => violation.rule)).toEqual(["doorbell-value"]);
  });
});
