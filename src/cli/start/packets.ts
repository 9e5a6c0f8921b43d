import type { AddressSpaceCapability } from "../../capability/address-space.js";
import { VoidError } from "../../capability/errors.js";
import type { SpaceBankCapability } from "../../capability/space-bank.js";
import { I82540em } from "../../devices/i82540em.js";
import { KorralNic } from "../../devices/korral-nic.js";
import { E1000Driver } from "../../drivers/e1000/e1000-driver.js";
import { KorralNicDriver } from "../../drivers/korral-nic/korral-nic-driver.js";
import { NetworkClient } from "../../drivers/network-service.js";
import { requireEthernet } from "../../formats/capture.js";
import type { CaptureWriter } from "../../formats/capture-packet.js";
import type { Machine } from "../../machine.js";
import { createCaptureFile, type OpenCapture, openCaptureFile } from "../../node/capture-file.js";
import { CaptureWire } from "../../ports/capture-wire.js";
import type { PacketRingCapability } from "../../transfer/packet-ring.js";
import { PAGE_SIZE } from "../../util/brand.js";
import { onInterrupt } from "../interrupt.js";
import { stderr } from "../output.js";
import type { CaseReport } from "./report.js";

/** Who receives. */
export interface ClientSpec {
  readonly name: string;
  /** A pcap filter expression; empty: everything. */
  readonly filter: string;
  /** Where what it receives is written, or null. */
  readonly out: string | null;
}

/** Where frames come from and go to. */
export interface Traffic {
  /** Capture that is replayed. */
  readonly rx: string;
  /** Where what is sent is recorded, or null. */
  readonly tx: string | null;
  /** Files that are read: none of them may be written. */
  readonly inputs: readonly string[];
}

const SLOTS = 128;
/** Frames that are replayed at once when time is real: nobody should wait for a capture's own pace. */
const BURST = 32;
const SLOT_BYTES = 2048;

/** Case 3 by way of the e1000, and case 2 for what is sent: the first client sends every frame back from where it lies. */
export async function receivedPackets(
  machine: Machine,
  { rx, tx, inputs }: Traffic,
  clients: readonly ClientSpec[],
): Promise<CaseReport> {
  using session = openSession(machine, rx, tx, inputs);
  const { wire } = session;
  const slot = machine.plug("e1000", (host) => new I82540em(host, { wire }));
  const domain = machine.domain("e1000", slot);
  await machine.run(E1000Driver.start(domain), "e1000 start");
  const receivers = await openClients(machine, domain.endpoint, clients, inputs);
  const report = await replay(machine, wire, receivers);
  domain.kill("the case is over");
  const { frames, unclaimed } = report;
  return {
    key: "received",
    title: "Case 3: unsolicited, demultiplexed to clients by their filters (Intel 82540EM)",
    lines: [
      `${frames} frames replayed; ${report.sentBack} sent back without a copy, ${unclaimed} that nobody wanted`,
      ...receivers.map(describe),
    ],
    figures: { ...report, clients: receivers.map(figuresOf) },
  };
}

/** Case 3b: the same on a board that filters, and writes straight into the clients' pinned buffers. */
export async function offloadedPackets(
  machine: Machine,
  { rx, inputs }: Traffic,
  clients: readonly ClientSpec[],
): Promise<CaseReport> {
  using session = openSession(machine, rx, null, inputs);
  const { wire } = session;
  const slot = machine.plug("korral-nic", (host) => new KorralNic(host, { wire }));
  const domain = machine.domain("korral-nic", slot);
  await machine.run(KorralNicDriver.start(domain), "korral-nic start");
  const before = machine.statistics.copies;
  const offloaded = clients.map((client) => ({ ...client, out: null }));
  const receivers = await openClients(machine, domain.endpoint, offloaded, inputs);
  const report = await replay(machine, wire, receivers);
  const copies = machine.statistics.copies - before;
  const peak = machine.budget.pool(1).peak;
  domain.kill("the case is over");
  return {
    key: "offloaded",
    title: "Case 3b: the filter runs on the board, frames land in pinned client buffers (Korral K1)",
    lines: [
      `${report.frames} frames replayed; ${copies} copies by the driver; ${peak} frames pinned for posted buffers at the peak`,
      ...receivers.map(describe),
    ],
    figures: { ...report, copies, clients: receivers.map(figuresOf) },
  };
}

/** A client: an async function with a space of its own, a ring in it, and what it counts. */
class Receiver {
  readonly #machine: Machine;
  readonly #bank: SpaceBankCapability;
  readonly #space: AddressSpaceCapability;
  readonly #network: NetworkClient;
  readonly #writer: CaptureWriter | null;
  #ring: PacketRingCapability | null = null;
  sentBack = 0;
  figures = { delivered: 0, bytes: 0, full: 0, gone: 0, cut: 0 };

  constructor(
    machine: Machine,
    readonly spec: ClientSpec,
    network: NetworkClient,
    inputs: readonly string[],
  ) {
    this.#machine = machine;
    this.#network = network;
    this.#bank = machine.bank.bank();
    this.#space = this.#bank.region({ pages: (SLOTS * SLOT_BYTES) / PAGE_SIZE });
    this.#writer = spec.out === null ? null : interruptible(createCaptureFile(spec.out, {}, inputs));
  }

  async open(): Promise<void> {
    const { filter } = this.spec;
    this.#ring = await this.#network.open({
      space: this.#space,
      offset: 0,
      slots: SLOTS,
      slotBytes: SLOT_BYTES,
      filter,
    });
  }

  /** Takes frames until the session is closed. @param sendBack whether it sends each one back from where it lies */
  async run(sendBack: boolean): Promise<void> {
    try {
      while (this.#ring !== null) {
        await this.#ring.wait();
        for (let length = this.#ring.peek(); length >= 0; length = this.#ring.peek()) {
          await this.#take(this.#ring.offset, length, sendBack);
          this.#ring.shift();
        }
      }
    } catch (error) {
      if (!(error instanceof VoidError)) throw error;
    } finally {
      this.#writer?.close();
    }
  }

  async close(): Promise<void> {
    if (this.#ring === null) return;
    this.figures = this.#ring.counters;
    await this.#network.close(this.#ring);
  }

  async leave(): Promise<void> {
    await this.#machine.bank.destroy(this.#bank);
  }

  async #take(offset: number, length: number, sendBack: boolean): Promise<void> {
    if (this.#writer !== null) {
      const frame = new Uint8Array(length);
      await this.#space.read(offset, frame);
      const now = this.#machine.clock.now();
      this.#writer.write(frame, 0, length, Math.floor(now / 1e9), Math.floor(now % 1e9));
    }
    if (!sendBack) return;
    // The slot stays ours until the device has read it.
    await this.#network.send(this.#space, [{ offset, length }]);
    this.sentBack++;
  }
}

/** A capture that is complete to the last frame also when the user interrupts the command. */
function interruptible(writer: CaptureWriter): CaptureWriter {
  onInterrupt(() => writer.close());
  return writer;
}

interface Session extends Disposable {
  readonly wire: CaptureWire;
}

function openSession(machine: Machine, rx: string, tx: string | null, inputs: readonly string[]): Session {
  const capture: OpenCapture = openCaptureFile(rx);
  let record: CaptureWriter | null = null;
  const close = (): void => {
    capture.close();
    record?.close();
  };
  try {
    const reader = requireEthernet(capture.reader);
    record = tx === null ? null : interruptible(createCaptureFile(tx, {}, inputs));
    const wire = new CaptureWire({
      replay: reader,
      clock: machine.clock,
      ...(record === null ? {} : { record }),
    });
    wire.events.on("warning", ({ message }) => stderr(`korral: ${message}\n`));
    return { wire, [Symbol.dispose]: close };
  } catch (error) {
    close();
    throw error;
  }
}

async function openClients(
  machine: Machine,
  endpoint: NetworkClient["endpoint"],
  clients: readonly ClientSpec[],
  inputs: readonly string[],
): Promise<Receiver[]> {
  const network = new NetworkClient(endpoint);
  const receivers: Receiver[] = [];
  for (const spec of clients) {
    const receiver = new Receiver(machine, spec, network, inputs);
    await machine.run(receiver.open(), `session of ${spec.name}`);
    receivers.push(receiver);
  }
  return receivers;
}

interface Replayed {
  readonly frames: number;
  readonly bytes: number;
  readonly sentBack: number;
  readonly recorded: number;
  readonly unclaimed: number;
}

async function replay(machine: Machine, wire: CaptureWire, receivers: readonly Receiver[]): Promise<Replayed> {
  const before = machine.statistics.unclaimed;
  const clients = Promise.all(receivers.map((receiver, i) => receiver.run(i === 0)));
  // A client that fails is heard when all is over, not in the middle of somebody else's turn.
  clients.catch(() => {});
  if (machine.clock.isVirtual) {
    wire.playByTime();
    await machine.idle();
  } else {
    while (wire.pump(BURST) > 0) await machine.idle();
  }
  const report = {
    ...wire.replayed,
    sentBack: receivers.reduce((sum, receiver) => sum + receiver.sentBack, 0),
    recorded: wire.recorded.frames,
    unclaimed: machine.statistics.unclaimed - before,
  };
  await machine.run(Promise.all(receivers.map((receiver) => receiver.close())), "close session");
  await machine.run(clients, "clients");
  await machine.run(Promise.all(receivers.map((receiver) => receiver.leave())), "destroy");
  if (wire.error !== null) {
    stderr(`${report.frames} frames before the damage were replayed\n`);
    throw wire.error;
  }
  return report;
}

function describe(receiver: Receiver): string {
  const { delivered, bytes, full, gone, cut } = receiver.figures;
  const { name, filter } = receiver.spec;
  const lost = full + gone;
  return `${name.padEnd(10)} ${String(delivered).padStart(6)} frames ${String(bytes).padStart(9)} bytes  ${lost} dropped, ${cut} cut   filter: ${filter === "" ? "(everything else)" : filter}`;
}

function figuresOf(receiver: Receiver): object {
  return { name: receiver.spec.name, filter: receiver.spec.filter, ...receiver.figures };
}
