import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { SpaceBankCapability } from "../../src/capability/space-bank.js";
import type { NetworkClient } from "../../src/drivers/network-service.js";
import { MemorySource, openCapture } from "../../src/formats/capture.js";
import type { Machine } from "../../src/machine.js";
import { WireEnd } from "../../src/ports/wire-end.js";
import type { PacketRingCapability } from "../../src/transfer/packet-ring.js";

/** A wire that keeps what the adapter sends. */
export class KeepingWire extends WireEnd {
  readonly sent: Uint8Array[] = [];
  /** Somebody else holds the medium. */
  busy = false;

  override send(bytes: Uint8Array, offset: number, length: number): void {
    if (this.carrier) this.sent.push(bytes.slice(offset, offset + length));
  }

  /** Has a frame arrive. */
  arrive(frame: Uint8Array): void {
    this.deliver(frame, 0, frame.length);
  }
}

/** The frames of the recorded session. */
export function recordedFrames(): Uint8Array[] {
  const file = fileURLToPath(new URL("../captures/guest-session.pcap", import.meta.url));
  const frames: Uint8Array[] = [];
  for (const packet of openCapture(new MemorySource(readFileSync(file)), file)) frames.push(packet.data.slice());
  return frames;
}

/** A UDP packet to a port, of so many bytes, with a number in its last four. */
export function udp(port: number, length = 60, number = 0): Uint8Array {
  const frame = new Uint8Array(length);
  const view = new DataView(frame.buffer);
  frame.fill(2, 0, 6);
  frame.fill(4, 6, 12);
  view.setUint16(12, 0x0800);
  frame[14] = 0x45;
  view.setUint16(16, length - 14);
  frame[23] = 17;
  view.setUint16(34, 1000);
  view.setUint16(36, port);
  view.setUint32(length - 4, number);
  return frame;
}

export interface SessionOptions {
  filter?: string;
  slots?: number;
  slotBytes?: number;
  isDefault?: boolean;
  /** Of the ring in the space. */
  offset?: number;
}

/** A client's receiving end: its own bank, its own memory, its ring. */
export class TestSession {
  private constructor(
    readonly machine: Machine,
    readonly bank: SpaceBankCapability,
    readonly space: ReturnType<SpaceBankCapability["region"]>,
    readonly ring: PacketRingCapability,
    readonly client: NetworkClient,
  ) {}

  static async open(machine: Machine, client: NetworkClient, options: SessionOptions = {}): Promise<TestSession> {
    const { filter = "", slots = 64, slotBytes = 2048, isDefault = false, offset = 0 } = options;
    const bank = machine.bank.bank();
    const space = bank.region({ pages: Math.ceil((offset + slots * slotBytes) / 4096) });
    try {
      const ring = await machine.run(client.open({ space, offset, slots, slotBytes, filter, isDefault }));
      return new TestSession(machine, bank, space, ring, client);
    } catch (error) {
      await machine.bank.destroy(bank);
      throw error;
    }
  }

  /** Takes all frames that wait. */
  take(): Uint8Array[] {
    const frames: Uint8Array[] = [];
    for (let length = this.ring.peek(); length >= 0; length = this.ring.peek()) {
      const frame = new Uint8Array(length);
      void this.space.read(this.ring.offset, frame);
      frames.push(frame);
      this.ring.shift();
    }
    return frames;
  }

  async close(): Promise<void> {
    await this.machine.run(this.client.close(this.ring));
  }

  async leave(): Promise<void> {
    await this.machine.run(Promise.resolve(this.machine.bank.destroy(this.bank)));
  }
}
