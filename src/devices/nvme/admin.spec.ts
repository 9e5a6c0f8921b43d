import { describe, expect, it } from "vitest";
import { code, NvmeHost } from "../../../test/support/nvme-host.js";
import { MemoryDisk } from "../../ports/disk-image.js";

const GET_LOG_PAGE = 0x02;
const IDENTIFY = 0x06;
const ABORT = 0x08;
const EVENT_REQUEST = 0x0c;

function ready(options: ConstructorParameters<typeof NvmeHost>[0] = {}): NvmeHost {
  const host = new NvmeHost(options);
  host.enable();
  return host;
}

function text(host: NvmeHost, offset: number, length: number): string {
  return String.fromCharCode(...host.data.bytes.subarray(offset, offset + length));
}

describe("Identify (§5.15)", () => {
  it("describes the controller", () => {
    const host = ready({ serial: "S-1", model: "Test disk", firmware: "7.2" });
    host.data.bytes.fill(0xaa, 0, 4096);
    expect(host.admin(IDENTIFY, { prp1: host.data.io, dw10: 1 }).status).toBe(0);
    const { view } = host.data;
    expect(view.getUint16(0, true)).toBe(0x1b36);
    expect(text(host, 4, 20)).toBe("S-1".padEnd(20));
    expect(text(host, 24, 40)).toBe("Test disk".padEnd(40));
    expect(text(host, 64, 8)).toBe("7.2".padEnd(8));
    expect(view.getUint8(77)).toBe(8); // MDTS
    expect(view.getUint32(80, true)).toBe(0x10400);
    expect(view.getUint16(256, true)).toBe(0); // OACS
    expect([view.getUint8(512), view.getUint8(513)]).toEqual([0x66, 0x44]);
    expect(view.getUint32(516, true)).toBe(1);
    expect(view.getUint16(520, true)).toBe(0x5d);
    expect(view.getUint8(525) & 1).toBe(1);
    expect(view.getUint32(536, true) & 3).toBe(1);
    expect(view.getUint32(280, true)).toBe(8 * 1024 * 1024);
    expect(text(host, 768, 69)).toMatch(
      /^nqn\.2014-08\.org\.nvmexpress:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\0/,
    );
  });

  it.each([
    [512, 9],
    [4096, 12],
  ] as const)("describes a namespace of %i-byte blocks", (sectorSize, shift) => {
    const host = ready({ disk: new MemoryDisk(1024 * 1024, { sectorSize, readOnly: sectorSize === 4096 }) });
    expect(host.admin(IDENTIFY, { prp1: host.data.io, nsid: 1, dw10: 0 }).status).toBe(0);
    const { view } = host.data;
    for (const at of [0, 8, 16]) expect(view.getUint32(at, true)).toBe((1024 * 1024) / sectorSize);
    expect([view.getUint8(25), view.getUint8(26)]).toEqual([0, 0]);
    expect([view.getUint16(128, true), view.getUint8(130)]).toEqual([0, shift]);
    expect(view.getUint8(99)).toBe(sectorSize === 4096 ? 1 : 0);
  });

  it("lists the active namespaces above an identifier", () => {
    const host = ready();
    host.admin(IDENTIFY, { prp1: host.data.io, nsid: 0, dw10: 2 });
    expect([host.data.view.getUint32(0, true), host.data.view.getUint32(4, true)]).toEqual([1, 0]);
    host.admin(IDENTIFY, { prp1: host.data.io, nsid: 1, dw10: 2 });
    expect(host.data.view.getUint32(0, true)).toBe(0);
    expect(code(host.admin(IDENTIFY, { prp1: host.data.io, nsid: 0xffff_fffe, dw10: 2 }))).toBe(0x0b);
  });

  it("names the namespace by EUI64, NGUID and UUID, which follow from the serial number", () => {
    const names = (serial: string): string => {
      const host = ready({ serial });
      expect(host.admin(IDENTIFY, { prp1: host.data.io, nsid: 1, dw10: 3 }).status).toBe(0);
      const { bytes } = host.data;
      expect([bytes[0], bytes[1], bytes[12], bytes[13], bytes[32], bytes[33], bytes[52]]).toEqual([
        1, 8, 2, 16, 3, 16, 0,
      ]);
      return bytes.subarray(0, 52).join();
    };
    expect(names("A")).toBe(names("A"));
    expect(names("A")).not.toBe(names("B"));
  });

  it.each([
    [0x00, 0, 0x0b],
    [0x00, 2, 0x0b],
    [0x00, 0xffff_ffff, 0x0b],
    [0x03, 2, 0x0b],
    [0x04, 0, 0x02],
    [0x05, 1, 0x02],
    [0x06, 0, 0x02],
    [0x10, 0, 0x02],
    [0xff, 0, 0x02],
  ])("CNS %i of namespace %i is refused", (cns, nsid, status) => {
    const host = ready();
    host.data.bytes.fill(0xaa, 0, 4096);
    expect(code(host.admin(IDENTIFY, { prp1: host.data.io, nsid, dw10: cns }))).toBe(status);
    expect(host.data.bytes[0]).toBe(0xaa);
  });
});

describe("log pages (§5.14.1)", () => {
  it("counts what was read and written", () => {
    const host = ready();
    host.createQueues(1);
    for (let i = 0; i < 3; i++) host.command(1, 0x02, { prp1: host.data.io, dw12: 7 });
    host.command(1, 0x01, { prp1: host.data.io });
    host.command(1, 0x02, { prp1: host.data.io, dw10: 0xffff_ffff });
    expect(host.admin(GET_LOG_PAGE, { prp1: host.data.io, nsid: 0xffff_ffff, dw10: (127 << 16) | 2 }).status).toBe(0);
    const { view } = host.data;
    expect(view.getUint16(1, true)).toBe(308);
    expect([32, 48, 64, 80, 112, 176].map((at) => view.getUint32(at, true))).toEqual([1, 1, 3, 1, 1, 1]);
  });

  it("keeps the newest 64 errors, newest first", () => {
    const host = ready();
    for (let i = 0; i < 70; i++) host.admin(0x7f, { id: i });
    host.admin(GET_LOG_PAGE, { prp1: host.data.io, dw10: (1023 << 16) | 1 });
    const { view } = host.data;
    expect([view.getUint32(0, true), view.getUint16(8, true), view.getUint16(10, true)]).toEqual([70, 0, 69]);
    expect(view.getUint16(12, true) >>> 1).toBe(0x6001);
    expect(view.getUint32(63 * 64, true)).toBe(7);
  });

  it("gives parts by offset, and zeroes behind the end", () => {
    const host = ready();
    host.data.bytes.fill(0xaa, 0, 1024);
    expect(host.admin(GET_LOG_PAGE, { prp1: host.data.io, dw10: (1 << 16) | 3, dw12: 8 }).status).toBe(0);
    expect(text(host, 0, 8)).toBe("1.0".padEnd(8));
    expect(host.data.bytes[8]).toBe(0xaa);
    expect(host.admin(GET_LOG_PAGE, { prp1: host.data.io, dw10: (3 << 16) | 3, dw12: 508 }).status).toBe(0);
    expect([...host.data.bytes.subarray(0, 17)]).toEqual([...new Array(16).fill(0), 0xaa]);
  });

  it("states which commands there are and what they do", () => {
    const host = ready();
    host.admin(GET_LOG_PAGE, { prp1: host.data.io, dw10: (1023 << 16) | 5 });
    const { view } = host.data;
    expect([0x06, 0x80].map((opcode) => view.getUint32(4 * opcode, true))).toEqual([1, 0]);
    expect([0x00, 0x01, 0x02, 0x04].map((opcode) => view.getUint32(1024 + 4 * opcode, true))).toEqual([1, 3, 1, 0]);
  });

  it.each<[string, number, Record<string, number>]>([
    ["an unknown page", 0x109, { dw10: 0x7f }],
    ["an offset that is not a doubleword", 0x02, { dw10: 2, dw12: 2 }],
    ["an offset behind the end", 0x02, { dw10: 2, dw12: 516 }],
    ["an offset beyond 2^32", 0x02, { dw10: 2, dw13: 1 }],
    ["one namespace only", 0x02, { dw10: 2, nsid: 1 }],
    ["more than MDTS", 0x02, { dw10: 0xffff_0002, dw11: 0xffff }],
  ])("refuses %s", (_, status, fields) => {
    const host = ready();
    expect(code(host.admin(GET_LOG_PAGE, { prp1: host.data.io, ...fields }))).toBe(status);
  });
});

describe("asynchronous events (§5.2)", () => {
  const log = (page: number, retain = false): number => page | (retain ? 1 << 15 : 0);

  it("keeps as many requests as AERL states", () => {
    const host = ready();
    for (let i = 0; i < 4; i++) host.enqueue(0, EVENT_REQUEST, { id: 100 + i });
    host.enqueue(0, EVENT_REQUEST, { id: 104 });
    host.enqueue(0, 0x7f, { id: 100 });
    host.ring(0);
    host.rig.settle();
    expect(host.reap(0).map((completion) => [completion.id, code(completion)])).toEqual([
      [104, 0x105],
      [100, 0x03],
    ]);
  });

  it("reports a namespace change once until its log page has been read", () => {
    const host = ready();
    for (let i = 0; i < 3; i++) host.enqueue(0, EVENT_REQUEST);
    host.ring(0);
    host.rig.settle();
    host.controller.namespaceChanged();
    expect(host.reap(0)).toEqual([]);
    host.admin(0x09, { dw10: 0x0b, dw11: 1 << 8 });
    host.controller.namespaceChanged();
    host.controller.namespaceChanged();
    expect(host.reap(0).map((completion) => completion.result)).toEqual([0x04_0002]);
    host.admin(GET_LOG_PAGE, { prp1: host.data.io, dw10: log(4, true) });
    expect(host.data.view.getUint32(0, true)).toBe(1);
    host.controller.namespaceChanged();
    expect(host.reap(0)).toEqual([]);
    host.enqueue(0, GET_LOG_PAGE, { prp1: host.data.io, dw10: log(4) });
    host.ring(0);
    host.rig.settle();
    expect(host.reap(0).map((completion) => completion.result)).toEqual([0x04_0002, 0]);
    host.admin(GET_LOG_PAGE, { prp1: host.data.io, dw10: log(4) });
    expect(host.data.view.getUint32(0, true)).toBe(0);
  });

  it("reports a temperature beyond a threshold, also one that is moved", () => {
    const host = ready();
    for (let i = 0; i < 2; i++) host.enqueue(0, EVENT_REQUEST);
    host.ring(0);
    host.rig.settle();
    host.admin(0x09, { dw10: 0x0b, dw11: 2 });
    host.controller.temperature = 342;
    expect(host.reap(0)).toEqual([]);
    host.controller.temperature = 343;
    expect(host.reap(0).map((completion) => completion.result)).toEqual([0x02_0101]);
    host.admin(GET_LOG_PAGE, { prp1: host.data.io, dw10: (127 << 16) | log(2) });
    expect([host.data.bytes[0], host.data.view.getUint16(1, true)]).toEqual([2, 343]);
    host.controller.temperature = 300;
    host.enqueue(0, 0x09, { dw10: 4, dw11: (1 << 20) | 310 });
    host.ring(0);
    host.rig.settle();
    expect(host.reap(0).map((completion) => completion.result)).toContain(0x02_0101);
  });

  it("keeps events until there is a request, and until there is room", () => {
    const host = ready();
    host.admin(0x09, { dw10: 0x0b, dw11: 1 << 8 });
    host.controller.namespaceChanged();
    const id = host.enqueue(0, EVENT_REQUEST);
    host.ring(0);
    host.rig.settle();
    expect(host.reap(0)).toMatchObject([{ id, result: 0x04_0002 }]);

    host.write(0x14, 0);
    host.rig.pass(1_000_000);
    host.enable(4);
    for (let i = 0; i < 3; i++) host.enqueue(0, i === 0 ? EVENT_REQUEST : 0x7f);
    host.ring(0);
    host.rig.settle();
    host.enqueue(0, 0x7f);
    host.ring(0);
    host.rig.settle();
    host.write(0x1048, 1);
    expect(host.reap(0).map((completion) => completion.result)).toEqual([0, 0, 0]);
    expect(host.reap(0).map((completion) => completion.result)).toEqual([0x01_0000]);
  });

  it("forgets requests at a reset", () => {
    const host = ready();
    host.enqueue(0, EVENT_REQUEST);
    host.ring(0);
    host.rig.settle();
    host.write(0x14, 0);
    host.rig.pass(1_000_000);
    host.enable();
    host.write(0x1048, 1);
    expect(host.reap(0)).toEqual([]);
  });
});

describe("Abort (§5.1)", () => {
  it("takes an event request back", () => {
    const host = ready();
    const request = host.enqueue(0, EVENT_REQUEST);
    const abort = host.enqueue(0, ABORT, { dw10: request * 65_536 });
    host.ring(0);
    host.rig.settle();
    expect(host.reap(0).map((completion) => [completion.id, code(completion), completion.result])).toEqual([
      [request, 0x07, 0],
      [abort, 0, 0],
    ]);
  });

  it("takes a command at work back", () => {
    const host = ready({ latency: 1000 });
    host.createQueues(1);
    const id = host.enqueue(1, 0x00);
    host.ring(1);
    host.rig.settle();
    expect(host.admin(ABORT, { dw10: id * 65_536 + 1 }).result).toBe(0);
    expect(host.reap(1).map((completion) => [completion.id, code(completion)])).toEqual([[id, 0x07]]);
    host.rig.pass(2000);
    expect(host.reap(1)).toEqual([]);
  });

  it("marks a command that was not fetched yet", () => {
    const host = ready();
    host.createQueues(1, 4);
    for (let i = 0; i < 3; i++) host.enqueue(1, 0x00);
    host.ring(1);
    host.rig.settle();
    host.reap(1, false);
    const ids = [host.enqueue(1, 0x00), host.enqueue(1, 0x00)];
    host.ring(1);
    host.rig.settle();
    expect(host.admin(ABORT, { dw10: ids[1] * 65_536 + 1 }).result).toBe(0);
    host.write(0x100c, 3);
    host.rig.settle();
    expect(host.reap(1).map((completion) => [completion.id, code(completion)])).toEqual([
      [ids[0], 0],
      [ids[1], 0x07],
    ]);
  });

  it("says so when there is nothing to abort", () => {
    const host = ready();
    expect(host.admin(ABORT, { dw10: 0x1234_0000 })).toMatchObject({ status: 0, result: 1 });
    expect(host.admin(ABORT, { dw10: 9 })).toMatchObject({ status: 0, result: 1 });
  });
});

describe("commands that are not offered", () => {
  it.each([0x0d, 0x10, 0x11, 0x14, 0x18, 0x19, 0x1c, 0x7c, 0x80, 0x81, 0x82, 0xc0])(
    "opcode %i is invalid",
    (opcode) => {
      expect(code(ready().admin(opcode))).toBe(0x01);
    },
  );
});
