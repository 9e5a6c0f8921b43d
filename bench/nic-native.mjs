// The native e1000 driver on the 82540EM model: frames out of a client's memory to a wire that hashes them, and frames from
// the wire through a filter into a client's memory, where the client hashes them.
import { I82540em } from "../dist/devices/i82540em.js";
import { E1000Driver } from "../dist/drivers/e1000/e1000-driver.js";
import { NetworkClient } from "../dist/drivers/network-service.js";
import { Machine } from "../dist/machine.js";
import { HashWire, mixFrame } from "../dist/ports/wire-hash.js";
import { checkDigest, NumberedFrame } from "./nic-frames.mjs";

// Not a power of two: frames at such strides would compete for few cache sets.
const SLOT = 1600;
const SLOTS = 256;
const LOT = 200;

export class NativeNic {
  static async open(length) {
    const machine = await Machine.create({ memory: "64MiB" });
    const wire = new HashWire();
    const slot = machine.plug("e1000", (host) => new I82540em(host, { wire }));
    const domain = machine.domain("e1000", slot);
    await machine.run(E1000Driver.start(domain));
    const client = new NetworkClient(domain.endpoint);
    const space = machine.bank.region({ pages: 256 });
    const filter = "udp dst port 9";
    const ring = await machine.run(client.open({ space, offset: 0, slots: SLOTS, slotBytes: SLOT, filter }));
    return new NativeNic(machine, wire, client, ring, length);
  }

  constructor(machine, wire, client, ring, length) {
    Object.assign(this, { machine, wire, client, ring, length });
    this.frame = new NumberedFrame(length);
  }

  /** @returns nanoseconds a frame */
  async transmit(packets) {
    const { machine, client, wire, frame, length } = this;
    const space = machine.bank.region({ pages: Math.ceil((LOT * SLOT) / 4096) });
    const pairs = new Uint32Array(2 * LOT);
    const digest = wire.digest;
    for (let i = 0; i < LOT; i++) {
      frame.number(i);
      await space.write(i * SLOT, frame.bytes);
      pairs.set([i * SLOT, length], 2 * i);
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
    checkDigest(wire.digest, frame.digest(digest, sent, LOT));
    await machine.bank.destroyRegion(space);
    return elapsed / sent;
  }

  /** @returns nanoseconds a frame */
  async receive(packets) {
    const { machine, wire, ring, length, frame } = this;
    const copy = new Uint8Array(length);
    const view = new DataView(copy.buffer);
    let produced = 0;
    let consumed = 0;
    let digest = 0;
    // The far end sends a lot, and the next when that has been taken: nothing is to be dropped.
    const source = machine.clock.timer(() => {
      for (let i = 0; i < LOT && produced < packets; i++, produced++) {
        frame.number(produced);
        wire.deliver(frame.bytes, 0, length);
      }
    });
    const client = async () => {
      while (consumed < packets) {
        source.arm(0);
        const wait = ring.wait();
        if (wait !== undefined) await wait;
        while (ring.take(copy) >= 0) {
          digest = mixFrame(digest, view, 0, length);
          consumed++;
        }
      }
    };
    const start = process.hrtime.bigint();
    await machine.run(client());
    const elapsed = Number(process.hrtime.bigint() - start);
    checkDigest(digest, frame.digest(0, packets));
    return elapsed / packets;
  }

  async close() {
    await this.machine[Symbol.asyncDispose]();
  }
}
