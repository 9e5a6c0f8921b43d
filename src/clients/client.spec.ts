import { describe, expect, test } from "vitest";
import { concat, frame, pcapHeader, pcapRecord } from "../../test/formats/capture-bytes.js";
import { arpRequest, HOST, payloadOf, ping } from "../../test/support/internet.js";
import { KeepingWire, udp } from "../../test/support/network.js";
import { I82540em } from "../devices/i82540em.js";
import { E1000Driver } from "../drivers/e1000/e1000-driver.js";
import { createCaptureWriter, MemorySink, MemorySource, openCapture } from "../formats/capture.js";
import { Machine } from "../machine.js";
import { Client, type ClientOptions } from "./client.js";

async function adapter(options: ClientOptions) {
  const machine = await Machine.create();
  const wire = new KeepingWire();
  const macAddress = Uint8Array.of(2, 0, 0, 0, 0, 1);
  const slot = machine.plug("e1000", (host) => new I82540em(host, { wire, macAddress }));
  const domain = machine.domain("e1000", slot);
  await machine.run(E1000Driver.start(domain));
  const client = new Client(machine, domain.endpoint, options);
  await machine.run(client.open());
  return { machine, wire, domain, client };
}

const capture = (...records: Uint8Array[]) => openCapture(new MemorySource(concat(pcapHeader(), ...records)), "x.pcap");
const everything = { filter: "", post: 128 };

describe("receiving", () => {
  test("records what its filter accepts, dated by the machine", async () => {
    const sink = new MemorySink();
    const record = createCaptureWriter(sink, "pcap");
    const { machine, wire, client } = await adapter({ receive: { filter: "udp port 5", post: 4 }, record });
    const receiving = client.receive();
    machine.clock.advance(3e9);
    for (const port of [5, 6, 5]) wire.arrive(udp(port, 100, port));
    await machine.idle();
    await machine.run(client.close());
    await machine.run(receiving);
    record.close();
    const packets = [...openCapture(new MemorySource(sink.bytes), "x")].map(({ seconds }) => seconds);
    expect(packets).toEqual([3, 3]);
    expect(client.received).toMatchObject({ delivered: 2, bytes: 200, full: 0 });
  });

  test("posts as many buffers as it was told; what comes beyond is dropped", async () => {
    const { machine, wire, client } = await adapter({ receive: { filter: "", post: 3 } });
    for (let i = 0; i < 5; i++) wire.arrive(udp(5));
    await machine.idle();
    expect([client.received.delivered, client.received.full, client.waiting]).toEqual([3, 2, 3]);
    const receiving = client.receive();
    await machine.idle();
    expect(client.waiting).toBe(0);
    await machine.run(client.close());
    await machine.run(receiving);
  });

  test("gives all its memory back", async () => {
    const { machine, client, domain } = await adapter({ receive: everything, address: { address: HOST, prefix: 24 } });
    const before = machine.budget.pinned;
    const receiving = client.receive();
    await machine.run(client.close());
    await machine.run(receiving);
    await machine.run(client.leave());
    expect(machine.budget.pinned).toBe(before);
    domain.kill("over");
  });
});

describe("sending a capture", () => {
  test("all frames, in order, from its own pages", async () => {
    const frames = Array.from({ length: 500 }, (_, i) => frame(60 + ((i * 37) % 1455), i));
    const { machine, wire, client } = await adapter({
      receive: null,
      replay: capture(...frames.map((bytes) => pcapRecord(bytes))),
    });
    const copies = machine.statistics.copies;
    await machine.run(client.send());
    expect(wire.sent).toEqual(frames);
    expect(client.sent).toMatchObject({ frames: 500, linkDown: 0 });
    expect(machine.statistics.copies).toBe(copies);
  });

  test("frames that no adapter takes are left out; a broken capture is sent up to the damage", async () => {
    const records = [pcapRecord(frame(13)), pcapRecord(frame(60)), pcapRecord(frame(17_000)), pcapRecord(frame(61))];
    const { machine, wire, client } = await adapter({
      receive: null,
      replay: capture(...records, new Uint8Array(5)),
    });
    await expect(machine.run(client.send())).rejects.toMatchObject({ code: "capture-truncated", exitStatus: 5 });
    expect(wire.sent.map(({ length }) => length)).toEqual([60, 61]);
    expect(client.sent).toMatchObject({ frames: 2, tooShort: 1, tooLong: 1 });
  });

  test("waits for a link, for as long as it was told", async () => {
    const { machine, wire, client } = await adapter({
      receive: null,
      replay: capture(pcapRecord(frame(60))),
      patience: 1e9,
    });
    wire.setCarrier(false);
    await machine.idle();
    machine.clock.timer(() => wire.setCarrier(true)).arm(0.5e9);
    await machine.run(client.send());
    expect(wire.sent.length).toBe(1);

    const other = await adapter({ receive: null, replay: capture(pcapRecord(frame(60))), patience: 1e9 });
    other.wire.setCarrier(false);
    await other.machine.idle();
    await expect(other.machine.run(other.client.send())).rejects.toMatchObject({ code: "link-down" });
    expect(other.machine.clock.now()).toBeGreaterThanOrEqual(1e9);
  });
});

describe("a host", () => {
  test("answers through the adapter with the adapter's address", async () => {
    const { machine, wire, client } = await adapter({ receive: everything, address: { address: HOST, prefix: 24 } });
    const receiving = client.receive();
    const data = Uint8Array.from({ length: 1000 }, (_, i) => i & 0xff);
    wire.arrive(arpRequest());
    for (let i = 0; i < 100; i++) wire.arrive(ping(data));
    await machine.idle();
    expect(wire.sent.length).toBe(101);
    expect(wire.sent.slice(1).every((reply) => Buffer.compare(payloadOf(reply, 1).slice(8), data) === 0)).toBe(true);
    expect(client.answered).toEqual({ frames: 101, bytes: 42 + 100 * 1042, full: 0, linkDown: 0 });
    wire.setCarrier(false);
    await machine.run(client.close());
    await machine.run(receiving);
  });

  test("answers that cannot leave are counted, and it goes on", async () => {
    const { machine, wire, client } = await adapter({ receive: everything, address: { address: HOST, prefix: 24 } });
    const receiving = client.receive();
    wire.arrive(ping(new Uint8Array(10)));
    wire.setCarrier(false);
    await machine.idle();
    expect(client.answered).toMatchObject({ frames: 0, linkDown: 1 });
    wire.setCarrier(true);
    await machine.idle();
    wire.arrive(ping(new Uint8Array(10)));
    await machine.idle();
    expect(client.answered).toMatchObject({ frames: 1, linkDown: 1 });
    await machine.run(client.close());
    await machine.run(receiving);
  });

  test("the driver's death ends it", async () => {
    const { machine, domain, client } = await adapter({ receive: everything, address: { address: HOST, prefix: 24 } });
    const receiving = client.receive();
    domain.kill("test");
    await machine.run(receiving);
    expect(client.waiting).toBe(0);
  });
});
