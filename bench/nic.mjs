// The native e1000 driver on the 82540EM model, packets/s in both directions, every frame hashed at its far side.
import { I82540em } from "../dist/devices/i82540em.js";
import { E1000Driver } from "../dist/drivers/e1000/e1000-driver.js";
import { NetworkClient } from "../dist/drivers/network-service.js";
import { Machine } from "../dist/machine.js";
import { HashWire, mixFrame } from "../dist/ports/wire-hash.js";
import { row } from "./measure.mjs";

const LENGTHS = [60, 1514];
const ROUNDS = 5;
// Not a power of two: frames at such strides would compete for few cache sets.
const SLOT = 1600;
const LOT = 200;

export async function benchNic() {
  const rows = [];
  for (const length of LENGTHS) {
    const packets = length < 1000 ? 400_000 : 150_000;
    let sent = Number.POSITIVE_INFINITY;
    let received = Number.POSITIVE_INFINITY;
    const bench = await NicBench.open(length);
    for (let round = 0; round < ROUNDS; round++) {
      sent = Math.min(sent, await bench.transmit(packets));
      received = Math.min(received, await bench.receive(packets));
    }
    await bench.machine[Symbol.asyncDispose]();
    const aim = length === 60 ? "aim >= 4" : "";
    rows.push(
      row(`e1000 native, transmit ${length} bytes (zero copy)`, 1000 / sent, "M packets/s", aim),
      row(`e1000 native, receive ${length} bytes (filter, copy-out)`, 1000 / received, "M packets/s", aim),
    );
  }
  return rows;
}

class NicBench {
  static async open(length) {
    const machine = await Machine.create({ memory: "64MiB" });
    const wire = new HashWire();
    const slot = machine.plug("e1000", (host) => new I82540em(host, { wire }));
    const domain = machine.domain("e1000", slot);
    await machine.run(E1000Driver.start(domain));
    const client = new NetworkClient(domain.endpoint);
    const space = machine.bank.region({ pages: 256 });
    const slots = 256;
    const filter = "udp dst port 9";
    const ring = await machine.run(client.open({ space, offset: 0, slots, slotBytes: SLOT, filter }));
    return new NicBench(machine, wire, client, space, ring, length);
  }

  constructor(machine, wire, client, space, ring, length) {
    Object.assign(this, { machine, wire, client, space, ring, length });
    this.frame = udpFrame(length);
    this.view = new DataView(this.frame.buffer);
  }

  /** Nanoseconds a frame: from the client's memory to the wire, which hashes it. */
  async transmit(packets) {
    const { machine, client, wire } = this;
    const space = machine.bank.region({ pages: Math.ceil((LOT * SLOT) / 4096) });
    const pairs = new Uint32Array(2 * LOT);
    let expected = wire.digest;
    for (let i = 0; i < LOT; i++) {
      this.view.setUint32(this.length - 4, i);
      await space.write(i * SLOT, this.frame);
      pairs.set([i * SLOT, this.length], 2 * i);
    }
    const before = wire.frames;
    const start = process.hrtime.bigint();
    const senders = async () => {
      // Two lots in flight keep the ring busy.
      let last = Promise.resolve();
      for (let done = 0; done < packets; done += LOT) {
        const next = client.sendPairs(space, pairs);
        await last;
        last = next;
      }
      await last;
    };
    await machine.run(senders());
    const elapsed = Number(process.hrtime.bigint() - start);
    const sent = wire.frames - before;
    if (sent !== Math.ceil(packets / LOT) * LOT) throw new Error(`${sent} of ${packets} frames arrived`);
    for (let i = 0; i < sent; i++) {
      this.view.setUint32(this.length - 4, i % LOT);
      expected = mixFrame(expected, this.view, 0, this.length);
    }
    if (expected !== wire.digest) throw new Error("the frames that arrived are not those that were sent");
    await machine.bank.destroyRegion(space);
    return elapsed / sent;
  }

  /** Nanoseconds a frame: from the wire to the client's memory, where the client hashes it. */
  async receive(packets) {
    const { machine, wire, ring, length, frame, view } = this;
    const copy = new Uint8Array(length);
    const copyView = new DataView(copy.buffer);
    let produced = 0;
    let consumed = 0;
    let gotHash = 0;
    // The far end sends a lot, and the next when that has been taken: nothing is to be dropped.
    const source = machine.clock.timer(() => {
      for (let i = 0; i < LOT && produced < packets; i++, produced++) {
        view.setUint32(length - 4, produced);
        wire.deliver(frame, 0, length);
      }
    });
    const client = async () => {
      while (consumed < packets) {
        source.arm(0);
        const wait = ring.wait();
        if (wait !== undefined) await wait;
        while (ring.take(copy) >= 0) {
          gotHash = mixFrame(gotHash, copyView, 0, length);
          consumed++;
        }
      }
    };
    const start = process.hrtime.bigint();
    await machine.run(client());
    const elapsed = Number(process.hrtime.bigint() - start);
    let sentHash = 0;
    for (let i = 0; i < packets; i++) {
      view.setUint32(length - 4, i);
      sentHash = mixFrame(sentHash, view, 0, length);
    }
    if (sentHash !== gotHash) throw new Error("the frames that arrived are not those that were sent");
    return elapsed / packets;
  }
}

function udpFrame(length) {
  const frame = new Uint8Array(length);
  const view = new DataView(frame.buffer);
  frame.set([0x52, 0x54, 0x00, 0x12, 0x34, 0x56, 0x52, 0x54, 0x00, 0xab, 0xcd, 0xef, 0x08, 0x00, 0x45, 0x00]);
  view.setUint16(16, length - 14);
  frame.set([64, 17], 22);
  frame.set([192, 0, 2, 1, 192, 0, 2, 2], 26);
  view.setUint16(34, 1024);
  view.setUint16(36, 9);
  view.setUint16(38, length - 34);
  return frame;
}
