import { describe, expect, test } from "vitest";
import { BROADCAST, counting, ethernet, internetChecksum, ipFrame, PEER, STATION } from "../../test/support/e1000.js";
import {
  ALL_NET_FEATURES,
  CONTROL,
  EVENT_INDEX,
  INDIRECT,
  PACKED,
  RX,
  TX,
  VirtioNetRig,
} from "../../test/support/virtio-net.js";
import { InputError } from "../util/errors.js";
import { DeviceStatus } from "./virtio/device-core.js";
import { NetFeature } from "./virtio-net/features.js";
import { VirtioNet } from "./virtio-net.js";

const LIVE = DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER | DeviceStatus.FEATURES_OK | DeviceStatus.DRIVER_OK;
const NEEDS_CSUM = 1;
const DATA_VALID = 2;
const MULTICAST = Uint8Array.of(0x01, 0x00, 0x5e, 0, 0, 5);

function started(features: readonly number[] = [], options = {}, messages = true): VirtioNetRig {
  const rig = new VirtioNetRig(options, { features: [...ALL_NET_FEATURES, ...features], messages });
  rig.driver.start();
  return rig;
}

/** Quicker than comparing element by element. */
const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("latin1");
const texts = (frames: readonly Uint8Array[]): string[] => frames.map(text);

const without = (...bits: number[]): number[] => ALL_NET_FEATURES.filter((bit) => !bits.includes(bit));

describe.each([
  ["split", [], false, 1, true],
  ["split, event index", [EVENT_INDEX], false, 2, true],
  ["split, indirect, event index", [EVENT_INDEX, INDIRECT], true, 3, true],
  ["split, pin", [], false, 2, false],
  ["packed", [PACKED], false, 1, true],
  ["packed, event index", [PACKED, EVENT_INDEX], false, 3, true],
  ["packed, indirect", [PACKED, INDIRECT], true, 3, true],
  ["packed, event index, pin", [PACKED, EVENT_INDEX], false, 2, false],
] as const)("%s", (_, features, indirect, pieces, messages) => {
  const vector = (queue: number): number => (messages ? 1 + queue : -1);

  test("frames of all sizes leave as they were queued, several times round the ring", () => {
    const rig = started(features, {}, messages);
    rig.tx.listen();
    for (let i = 0; i < 700; i++) {
      const frame = ethernet(PEER, 0x0800, (i * 37) % 1501, i);
      const token = rig.queue(frame, {}, pieces, indirect);
      expect(texts(rig.kick())).toEqual([text(frame)]);
      expect(rig.tx.take()).toEqual({ token, written: 0 });
      expect(rig.driver.takeInterrupts(vector(TX))).toBe(1);
      rig.tx.listen();
    }
    expect(rig.rules).toEqual([]);
  });

  test("a lot of frames makes one interrupt, and none when the driver wants none", () => {
    const rig = started(features, {}, messages);
    rig.tx.listen();
    const frames = Array.from({ length: 40 }, (__, i) => ethernet(PEER, 0x0800, 60 + i, i));
    for (const frame of frames) rig.queue(frame, {}, pieces, indirect);
    expect(texts(rig.kick())).toEqual(texts(frames));
    expect(rig.driver.takeInterrupts(vector(TX))).toBe(1);
    while (rig.tx.take() !== null);
    rig.tx.silence();
    for (const frame of frames) rig.queue(frame, {}, pieces, indirect);
    expect(texts(rig.kick())).toEqual(texts(frames));
    expect(rig.driver.takeInterrupts(vector(TX))).toBe(0);
    expect(rig.rules).toEqual([]);
  });

  test("frames come in, also through small buffers", () => {
    const rig = started(features, {}, messages);
    for (let i = 0; i < 600; i++) {
      const size = i % 3 === 0 ? 1536 : 200;
      const frame = ethernet(STATION, 0x0800, (i * 41) % 1501, i);
      const buffers = Math.max(1, Math.ceil((12 + frame.length) / size));
      rig.post(buffers, size, pieces, indirect);
      rig.rx.listen();
      const received = rig.receive(frame);
      expect(received).toMatchObject({ flags: 0, buffers });
      expect(text(received?.bytes)).toBe(text(frame));
      expect(rig.driver.takeInterrupts(vector(RX))).toBe(1);
    }
    expect(rig.nic.dropped).toBe(0);
    expect(rig.rules).toEqual([]);
  });

  test("frames for which there is no buffer wait for one", () => {
    const rig = started(features, {}, messages);
    const frames = Array.from({ length: 30 }, (__, i) => ethernet(STATION, 0x0800, 1000 + i, i));
    rig.post(3, 800, pieces, indirect);
    for (const frame of frames) rig.wire.deliver(frame);
    expect(text(rig.take()?.bytes)).toBe(text(frames[0]));
    expect(rig.take()).toBeNull();
    for (const frame of frames.slice(1)) {
      rig.post(2, 800, pieces, indirect);
      expect(text(rig.take()?.bytes)).toBe(text(frame));
    }
    expect(rig.nic.dropped).toBe(0);
  });

  test("commands are answered", () => {
    const rig = started(features, {}, messages);
    expect(rig.control(0, 0, [1])).toBe(0);
    expect(rig.control(0, 9, [1])).toBe(1);
    expect(rig.rules).toEqual(["virtio-net-control"]);
  });

  test("a device restored from a snapshot goes on where it was", () => {
    const rig = started(features, {}, messages);
    rig.post(1, 1536, pieces, indirect);
    for (let i = 0; i < 3; i++) rig.wire.deliver(ethernet(STATION, 0x0800, 100, i));
    rig.queue(ethernet(PEER, 0x0800, 80), {}, pieces, indirect);
    const state = structuredClone(rig.nic.snapshot());
    rig.nic.reset();
    rig.nic.restore(state);
    expect(rig.nic.snapshot()).toEqual(state);
    expect(rig.kick()).toHaveLength(1);
    expect(rig.take()?.bytes).toEqual(ethernet(STATION, 0x0800, 100, 0));
    rig.post(2, 1536, pieces, indirect);
    expect(rig.take()?.bytes).toEqual(ethernet(STATION, 0x0800, 100, 1));
    expect(rig.take()?.bytes).toEqual(ethernet(STATION, 0x0800, 100, 2));
  });
});

describe("features and configuration", () => {
  test("what the driver can read", () => {
    const rig = started([], { macAddress: PEER, mtu: 1400 });
    expect([0, 1, 2, 3, 4, 5].map((i) => rig.config(i, 1))).toEqual([...PEER]);
    expect([rig.config(6, 2), rig.config(8, 2), rig.config(10, 2)]).toEqual([1, 1, 1400]);
    expect([rig.config(12, 4), rig.config(16, 1)]).toEqual([10_000, 1]);
    expect(rig.driver.status).toBe(LIVE);
  });

  test.each([
    ["in order", 35, {}, false],
    ["access platform", 33, {}, true],
    ["packed", 34, {}, true],
    ["packed, not wanted", 34, { packed: false }, false],
    ["mergeable", NetFeature.MRG_RXBUF, {}, true],
    ["mergeable, not wanted", NetFeature.MRG_RXBUF, { mergeable: false }, false],
    ["MTU, if there is one", NetFeature.MTU, { mtu: 9000 }, true],
    ["MTU", NetFeature.MTU, {}, false],
    ["multiqueue", NetFeature.MQ, {}, false],
    ["multiqueue, if wanted", NetFeature.MQ, { queuePairs: 2 }, true],
    ["large receive", 7, {}, false],
  ])("%s: feature %d", (_, bit, options, offered) => {
    expect(new VirtioNetRig(options).driver.offers(bit)).toBe(offered);
  });

  test.each([
    ["a legacy driver", [33, 5], "virtio-version-1"],
    ["a driver that passes physical addresses", [32, 5], "virtio-access-platform"],
    ["segmentation without checksums", [32, 33, NetFeature.HOST_TSO4], "virtio-features"],
    ["commands without a queue for them", [32, 33, NetFeature.CTRL_RX], "virtio-features"],
  ])("%s is refused at FEATURES_OK", (_, bits, rule) => {
    const rig = new VirtioNetRig();
    expect(rig.driver.negotiate(bits)).toBe(false);
    expect(rig.rules).toEqual([rule]);
    rig.driver.status |= DeviceStatus.DRIVER_OK;
    expect(rig.driver.status & DeviceStatus.DRIVER_OK).toBe(0);
  });

  test("the link comes and goes with the carrier", () => {
    const rig = started();
    rig.driver.get(0x15, 1);
    rig.wire.setCarrier(false);
    expect(rig.driver.takeInterrupts(0)).toBe(1);
    const before = rig.driver.get(0x15, 1);
    expect(rig.config(6, 2)).toBe(0);
    expect(rig.driver.get(0x15, 1)).not.toBe(before);
    rig.wire.setCarrier(true);
    expect(rig.driver.takeInterrupts(0)).toBe(1);
    expect(rig.config(6, 2)).toBe(1);
  });

  test("a link change by the pin shows in the ISR status", () => {
    const rig = started([], {}, false);
    rig.wire.setCarrier(false);
    expect(rig.slot.line.asserted).toBe(true);
    expect(rig.slot.configRead(6, 2) & 8).toBe(8);
    expect(rig.slot.read(0, 0x1000, 1)).toBe(2);
    expect(rig.slot.line.asserted).toBe(false);
    expect(rig.slot.read(0, 0x1000, 1)).toBe(0);
  });

  test.each([
    [{ macAddress: new Uint8Array(5) }],
    [{ macAddress: MULTICAST }],
    [{ mtu: 67 }],
    [{ mtu: 0 }],
    [{ queueSize: 100 }],
    [{ queueSize: 32 }],
    [{ queuePairs: 0 }],
    [{ queuePairs: 9 }],
  ])("options that cannot be: %o", (options) => {
    expect(() => new VirtioNetRig(options)).toThrow(/is|must|has/);
  });
});

describe("transmission", () => {
  const tcpPacket = (version: 4 | 6, payload: number, flags = 0x10, vlan?: number): Uint8Array =>
    ipFrame({ version, protocol: 6, payload: counting(payload), flags, ...(vlan === undefined ? {} : { vlan }) });

  /** Leaves the sum of the pseudo header in the checksum field, as a driver that offloads does. */
  function pseudo(frame: Uint8Array, link: number, version: 4 | 6): Uint8Array {
    const partial = frame.slice();
    const transport = link + (version === 4 ? 20 : 40);
    const addresses = version === 4 ? frame.subarray(link + 12, link + 20) : frame.subarray(link + 8, link + 40);
    const length = frame.length - transport;
    const sum = 0xffff - internetChecksum(addresses, Uint8Array.of(0, 6, length >>> 8, length & 0xff));
    partial[transport + 16] = sum >>> 8;
    partial[transport + 17] = sum & 0xff;
    return partial;
  }

  test.each([4, 6] as const)("IPv%d checksums are completed", (version) => {
    const rig = started();
    for (const payload of [0, 1, 100, 1399]) {
      const frame = tcpPacket(version, payload);
      rig.queue(pseudo(frame, 14, version), {
        flags: NEEDS_CSUM,
        checksumStart: version === 4 ? 34 : 54,
        checksumOffset: 16,
      });
      expect(rig.kick()).toEqual([frame]);
    }
    expect(rig.rules).toEqual([]);
  });

  test.each([
    [4, 1, 5000, undefined],
    [4, 1, 60_000, undefined],
    [4, 1, 1000, undefined],
    [4, 1, 3000, 77],
    [6, 4, 5000, undefined],
    [6, 4, 60_001, 5],
  ] as const)("IPv%d segmentation (type %d) of %d bytes, VLAN %s", (version, gsoType, payload, vlan) => {
    const rig = started();
    const link = vlan === undefined ? 14 : 18;
    const header = link + (version === 4 ? 20 : 40) + 20;
    const mss = 1448;
    // FIN and PSH belong to the last segment, CWR to the first.
    const packet = tcpPacket(version, payload, 0x99, vlan);
    rig.queue(pseudo(packet, link, version), {
      flags: NEEDS_CSUM,
      gsoType: gsoType | 0x80,
      gsoSize: mss,
      checksumStart: header - 20,
      checksumOffset: 16,
    });
    const segments = rig.kick();
    expect(segments).toHaveLength(Math.ceil(payload / mss));
    segments.forEach((segment, i) => {
      const last = i === segments.length - 1;
      const first = i === 0;
      const expected = ipFrame({
        version,
        protocol: 6,
        payload: counting(payload).subarray(i * mss, (i + 1) * mss),
        flags: 0x10 | (last ? 0x09 : 0) | (first ? 0x80 : 0),
        identification: 0x1234 + i,
        sequence: 1 + i * mss,
        ...(vlan === undefined ? {} : { vlan }),
      });
      expect(text(segment)).toBe(text(expected));
    });
    expect(rig.rules).toEqual([]);
  });

  test.each([
    ["no checksum is asked for", { flags: 0 }],
    ["a type that was not offered", { gsoType: 3 }],
    ["segments of no bytes", { gsoSize: 0 }],
    ["another version of IP", { gsoType: 4 }],
    ["no TCP at csum_start", { checksumStart: 30 }],
    ["a header beyond the packet", { checksumStart: 5000 }],
    ["another checksum than TCP's", { checksumOffset: 6 }],
    ["segments beyond any frame", { gsoSize: 0xffff }],
  ])("segmentation is refused: %s", (_, fields) => {
    const rig = started();
    const header = { flags: NEEDS_CSUM, gsoType: 1, gsoSize: 1448, checksumStart: 34, checksumOffset: 16, ...fields };
    rig.queue(tcpPacket(4, 3000), header);
    expect(rig.kick()).toEqual([]);
    expect(rig.rules).toEqual(["virtio-net-gso"]);
    expect(rig.tx.take()).not.toBeNull();
    expect(rig.driver.status).toBe(LIVE);
  });

  test.each([
    ["no Ethernet frame", 13, {}, "virtio-net-runt"],
    ["too long", 17_000, {}, "virtio-net-packet-length"],
    ["beyond all bounds", 70_000, {}, "virtio-net-packet-length"],
    ["a checksum outside", 100, { flags: NEEDS_CSUM, checksumStart: 90, checksumOffset: 10 }, "virtio-net-checksum"],
  ])("%s: dropped", (_, length, header, rule) => {
    const rig = started();
    rig.queue(counting(length), header);
    expect(rig.kick()).toEqual([]);
    expect(rig.rules).toEqual([rule]);
    expect(rig.driver.status).toBe(LIVE);
  });

  test("a buffer without room for the header breaks the queue", () => {
    const rig = started();
    rig.tx.add([{ address: rig.transmitMemory.io, length: 11, writable: false }]);
    expect(rig.kick()).toEqual([]);
    expect(rig.rules).toEqual(["virtio-net-header"]);
    expect(rig.driver.status).toBe(LIVE | DeviceStatus.NEEDS_RESET);
    expect(rig.driver.takeInterrupts(0)).toBe(1);
  });

  test("more than a burst goes on from the machine loop", () => {
    const rig = started([], { queueSize: 1024 });
    const packet = pseudo(tcpPacket(4, 1500), 14, 4);
    const header = { flags: NEEDS_CSUM, gsoType: 1, gsoSize: 10, checksumStart: 34, checksumOffset: 16 };
    for (let i = 0; i < 100; i++) rig.queue(packet, header);
    const first = rig.kick().length;
    expect(first).toBeGreaterThan(4000);
    expect(first).toBeLessThan(5000);
    rig.settle();
    expect(first + rig.wire.sent.length).toBe(15_000);
  });
});

describe("reception", () => {
  test.each([4, 6] as const)("right IPv%d checksums are marked, wrong ones are not", (version) => {
    const rig = started();
    rig.post(8);
    for (const protocol of [6, 17] as const) {
      const frame = ipFrame({ version, protocol, payload: counting(333) });
      expect(rig.receive(frame)).toEqual({ bytes: frame, flags: DATA_VALID, buffers: 1 });
      frame[frame.length - 1] ^= 1;
      expect(rig.receive(frame)).toEqual({ bytes: frame, flags: 0, buffers: 1 });
    }
    expect(rig.control(5, 0, [0, 0, 0, 0, 0, 0, 0, 0])).toBe(0);
    expect(rig.receive(ipFrame({ version, protocol: 6, payload: counting(40) }))?.flags).toBe(0);
    expect(rig.control(5, 0, [2, 0, 0, 0, 0, 0, 0, 0])).toBe(0);
    expect(rig.receive(ipFrame({ version, protocol: 6, payload: counting(40) }))?.flags).toBe(DATA_VALID);
  });

  test("without GUEST_CSUM nothing is marked", () => {
    const rig = new VirtioNetRig({}, { features: without(NetFeature.GUEST_CSUM) });
    rig.driver.start();
    rig.post(1);
    expect(rig.receive(ipFrame({ version: 4, protocol: 6, payload: counting(10) }))?.flags).toBe(0);
  });

  test("without merging a frame must fit one buffer", () => {
    const rig = started([], { mergeable: false });
    rig.post(2, 512);
    expect(rig.receive(ethernet(STATION, 0x0800, 512 - 12 - 14 + 1))).toBeNull();
    expect(rig.nic.dropped).toBe(1);
    const frame = ethernet(STATION, 0x0800, 512 - 12 - 14);
    expect(rig.receive(frame)).toEqual({ bytes: frame, flags: 0, buffers: 1 });
  });

  test("with an MTU longer frames do not come in", () => {
    const rig = started([], { mtu: 1000 });
    rig.post(3);
    expect(rig.receive(ethernet(STATION, 0x0800, 1005))).toBeNull();
    expect(rig.receive(ethernet(STATION, 0x0800, 1000))?.bytes).toHaveLength(1014);
  });

  test("what the backlog cannot take is counted", () => {
    const rig = started();
    for (let i = 0; i < 100; i++) rig.wire.deliver(ethernet(STATION, 0x0800, 986, i));
    expect(rig.nic.dropped).toBe(100 - Math.floor(65_536 / 1004));
  });

  test("a frame that needs more than the whole queue is dropped, and the next one comes in", () => {
    const rig = started([], { queueSize: 64 });
    rig.post(64, 13);
    expect(rig.receive(ethernet(STATION, 0x0800, 1000))).toBeNull();
    expect(rig.nic.dropped).toBe(1);
    const frame = ethernet(STATION, 0x0800, 20);
    expect(rig.receive(frame)).toMatchObject({ bytes: frame });
  });

  test.each([
    ["without room for the header", 11],
    ["that the device may not write", 0],
  ])("a buffer %s breaks the queue", (_, room) => {
    const rig = started();
    rig.rx.add([{ address: rig.receiveMemory.io, length: 100, writable: false }]);
    if (room > 0) rig.rx.add([{ address: rig.receiveMemory.io, length: room, writable: true }]);
    rig.wire.deliver(ethernet(STATION, 0x0800, 50));
    expect(rig.rules).toEqual(["virtio-net-receive-buffer"]);
    expect(rig.driver.status).toBe(LIVE | DeviceStatus.NEEDS_RESET);
  });

  test("only wanted frames come in", () => {
    const rig = started();
    rig.post(20);
    const to = (address: Uint8Array): boolean => rig.receive(ethernet(address, 0x0800, 50)) !== null;
    expect([to(STATION), to(PEER), to(MULTICAST), to(BROADCAST)]).toEqual([true, false, false, true]);
    expect(rig.control(0, 1, [1])).toBe(0);
    expect([to(STATION), to(PEER), to(MULTICAST), to(BROADCAST)]).toEqual([true, false, true, true]);
    expect(rig.control(0, 1, [0])).toBe(0);
    expect(rig.control(0, 0, [1])).toBe(0);
    expect([to(PEER), to(MULTICAST)]).toEqual([true, true]);
    expect(rig.control(0, 0, [0])).toBe(0);
    expect(rig.control(1, 0, [1, 0, 0, 0, ...PEER, 1, 0, 0, 0, ...MULTICAST])).toBe(0);
    expect([to(STATION), to(PEER), to(MULTICAST)]).toEqual([true, true, true]);
    expect(rig.control(1, 0, [0, 0, 0, 0, 0, 0, 0, 0])).toBe(0);
    expect([to(STATION), to(PEER), to(MULTICAST)]).toEqual([true, false, false]);
    expect(rig.control(1, 1, PEER)).toBe(0);
    expect([to(STATION), to(PEER)]).toEqual([false, true]);
    expect([0, 1, 2, 3, 4, 5].map((i) => rig.config(i, 1))).toEqual([...PEER]);
    expect(rig.rules).toEqual([]);
  });

  test("more addresses than the table takes let their kind through", () => {
    const rig = started();
    rig.post(4);
    const many = Array.from({ length: 65 }, (_, i) => [3, 0, 0, 0, 1, i]).flat();
    expect(rig.control(1, 0, [0, 0, 0, 0, 65, 0, 0, 0, ...many])).toBe(0);
    expect(rig.receive(ethernet(MULTICAST, 0x0800, 50))).not.toBeNull();
    expect(rig.receive(ethernet(PEER, 0x0800, 50))).toBeNull();
  });

  test("tagged frames come in when their VLAN was added", () => {
    const rig = started();
    rig.post(4);
    const tagged = ipFrame({ version: 4, protocol: 17, payload: counting(20), vlan: 100 });
    expect(rig.receive(tagged)).toBeNull();
    expect(rig.control(2, 0, [100, 0])).toBe(0);
    expect(rig.receive(tagged)).toMatchObject({ bytes: tagged, flags: DATA_VALID });
    expect(rig.control(2, 1, [100, 0])).toBe(0);
    expect(rig.receive(tagged)).toBeNull();
    expect(rig.receive(ethernet(STATION, 0x0800, 50))).not.toBeNull();
  });

  test("a driver without receive modes gets everything", () => {
    const rig = new VirtioNetRig({}, { features: without(NetFeature.CTRL_RX) });
    rig.driver.start();
    rig.post(1);
    expect(rig.receive(ethernet(PEER, 0x0800, 50))).not.toBeNull();
  });

  test.each([
    [0, 0, [1, 0]],
    [0, 2, [1]],
    [1, 0, [2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0]],
    [1, 0, [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]],
    [1, 0, [0, 0, 0, 0]],
    [1, 1, [1, 2, 3, 4, 5, 6]],
    [1, 2, [0, 0, 0, 0, 0, 0, 0, 0]],
    [2, 0, [0, 16]],
    [2, 2, [1, 0]],
    [3, 0, []],
    [4, 0, [1, 0]],
    [5, 0, [0x80, 0, 0, 0, 0, 0, 0, 0]],
  ])("class %d, command %d, data %j is refused", (kind, command, data) => {
    const rig = started();
    expect(rig.control(kind, command, data)).toBe(1);
    expect(rig.rules).toEqual(["virtio-net-control"]);
    expect(rig.driver.status).toBe(LIVE);
  });

  test("a command without room for its answer breaks the queue", () => {
    const rig = started();
    rig.driver.queues[CONTROL].add([{ address: rig.controlMemory.io, length: 3, writable: false }]);
    rig.driver.kick(CONTROL);
    expect(rig.driver.status).toBe(LIVE | DeviceStatus.NEEDS_RESET);
    expect(rig.rules).toEqual(["virtio-net-control"]);
  });
});

describe("several pairs of queues", () => {
  test("a flow comes in by the pair by which it went out", () => {
    const rig = started([], { queuePairs: 4 });
    const [, , , tx1, , , , , control] = rig.driver.queues;
    expect(control.size).toBe(64);
    expect(rig.config(8, 2)).toBe(4);
    expect(rig.control(4, 0, [5, 0], 8)).toBe(1);
    expect(rig.control(4, 0, [2, 0], 8)).toBe(0);
    const frame = ipFrame({ version: 4, protocol: 6, payload: counting(20) });
    rig.transmitMemory.bytes.set(frame, 12);
    tx1.add([{ address: rig.transmitMemory.io, length: 12 + frame.length, writable: false }]);
    rig.driver.notify(3);
    rig.post(1);
    rig.driver.queues[2].add([{ address: rig.receiveMemory.io + 8192, length: 1536, writable: true }]);
    rig.wire.deliver(frame);
    expect(rig.driver.queues[2].take()).toMatchObject({ written: 12 + frame.length });
    expect(rig.rx.take()).toBeNull();
  });

  test("a driver without multiqueue finds the control queue behind the first pair", () => {
    const rig = new VirtioNetRig({ queuePairs: 2 }, { features: without(NetFeature.MQ) });
    rig.driver.start();
    expect(rig.control(0, 0, [1])).toBe(0);
    rig.driver.notify(3);
    expect(rig.rules).toEqual(["virtio-net-queue"]);
  });
});

describe("memory that refuses", () => {
  test.each([
    ["split", []],
    ["packed", [PACKED]],
  ] as const)("%s: a packet outside of any mapping", (_, features) => {
    const rig = started(features);
    rig.tx.add([{ address: 0x1234_5000, length: 100, writable: false }]);
    expect(rig.kick()).toEqual([]);
    expect(rig.faults).toHaveLength(1);
    expect(rig.rules).toEqual([]);
    expect(rig.driver.status).toBe(LIVE | DeviceStatus.NEEDS_RESET);
    expect(rig.driver.takeInterrupts(0)).toBe(1);
    rig.post(1);
    rig.wire.deliver(ethernet(STATION, 0x0800, 50));
    expect(rig.take()).toBeNull();
    expect(rig.faults).toHaveLength(1);
    rig.driver.start();
    rig.queue(ethernet(PEER, 0x0800, 50));
    expect(rig.kick()).toHaveLength(1);
  });

  test("a receive buffer for the other direction", () => {
    const rig = started();
    const readOnly = rig.dmaBuffer(rig.slot, 2048, 1);
    rig.rx.add([{ address: readOnly.io, length: 2048, writable: true }]);
    rig.wire.deliver(ethernet(STATION, 0x0800, 50));
    expect(rig.faults.map(({ reason }) => reason)).toEqual(["wrong-direction"]);
    expect(rig.driver.status).toBe(LIVE | DeviceStatus.NEEDS_RESET);
  });
});

describe("snapshots", () => {
  test("one of another device is refused, and the device is as after power-on", () => {
    const rig = started();
    const state = { ...rig.nic.snapshot(), status: 300 };
    expect(() => rig.nic.restore(state)).toThrow(InputError);
    expect(rig.driver.status).toBe(0);
    expect(() => rig.nic.restore({})).toThrow(InputError);
  });

  test("what was learnt of the driver is kept", () => {
    const rig = started();
    rig.control(0, 1, [1]);
    rig.control(2, 0, [7, 0]);
    rig.control(1, 1, PEER);
    rig.control(5, 0, [0, 0, 0, 0, 0, 0, 0, 0]);
    const other = new VirtioNetRig();
    other.nic.restore(structuredClone(rig.nic.snapshot()));
    expect(other.nic.snapshot()).toEqual(rig.nic.snapshot());
    expect(other.nic).toBeInstanceOf(VirtioNet);
  });
});
