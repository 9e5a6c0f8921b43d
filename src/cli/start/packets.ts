import { I82540em } from "../../devices/i82540em.js";
import { KorralNic } from "../../devices/korral-nic.js";
import { E1000Driver } from "../../drivers/e1000/e1000-driver.js";
import { KorralNicDriver } from "../../drivers/korral-nic/korral-nic-driver.js";
import type { Machine } from "../../machine.js";
import { type ClientSpec, Clients, clientFigures, describeClient } from "../client.js";
import { type CapturesNetdev, type Netdev, type NetdevSpec, openCaptures, openNetdev } from "../netdev.js";
import { stderr } from "../output.js";
import type { CaseReport } from "./report.js";

/** Where frames come from and go to. */
export interface Traffic {
  readonly netdev: NetdevSpec;
  /** Files that are read: none of them may be written. */
  readonly inputs: readonly string[];
  /** Nanoseconds after which a wire that leads to a socket is unplugged; Infinity: when its peer hangs up. */
  readonly duration: number;
}

/** Frames that are replayed at once when time is real: nobody should wait for a capture's own pace. */
const BURST = 32;

/**
 * Case 3 by way of the e1000, and case 2 for what is sent. While a capture is replayed, the first client sends every
 * frame back from where it lies.
 */
export async function receivedPackets(
  machine: Machine,
  { netdev: spec, inputs, duration }: Traffic,
  specs: readonly ClientSpec[],
): Promise<CaseReport> {
  const isReplay = spec.kind === "pcap";
  const captures = isReplay ? await openCaptures(machine, spec.rx, spec.tx, inputs) : null;
  const netdev = captures ?? (await openNetdev(machine, spec, inputs));
  try {
    const { wire, macAddress } = netdev;
    const slot = machine.plug(
      "e1000",
      (host) => new I82540em(host, macAddress === null ? { wire } : { wire, macAddress }),
    );
    const domain = machine.domain("e1000", slot);
    await machine.run(E1000Driver.start(domain), "e1000 start");
    const sendsBack = specs.find(({ receives, address }) => receives && address === null) ?? null;
    const clients = await Clients.open(machine, domain.endpoint, specs, inputs, isReplay ? sendsBack : null);
    const report = await play(machine, netdev, clients, () =>
      captures === null ? untilHangup(machine, netdev, clients, duration) : replay(machine, captures),
    );
    domain.kill("the case is over");
    return {
      key: "received",
      title: "Case 3: unsolicited, demultiplexed to clients by their filters (Intel 82540EM)",
      lines: [
        isReplay
          ? `${report.frames} frames replayed; ${report.sentBack} sent back without a copy, ${report.unclaimed} that nobody wanted`
          : `${report.frames} frames came from the other end of the wire, ${report.recorded} went there; ${report.unclaimed} that nobody wanted`,
        ...describe(clients),
      ],
      figures: { ...report, clients: figuresOf(clients) },
    };
  } finally {
    await netdev.close();
  }
}

/** Case 3b: the same on a board that filters, and writes straight into the clients' pinned buffers. */
export async function offloadedPackets(
  machine: Machine,
  rx: string | null,
  inputs: readonly string[],
  specs: readonly ClientSpec[],
): Promise<CaseReport> {
  const netdev = await openCaptures(machine, rx, null, inputs);
  try {
    const { wire } = netdev;
    const slot = machine.plug("korral-nic", (host) => new KorralNic(host, { wire }));
    const domain = machine.domain("korral-nic", slot);
    await machine.run(KorralNicDriver.start(domain), "korral-nic start");
    const before = machine.statistics.copies;
    const unrecorded = specs.map((spec) => ({ ...spec, out: null }));
    const sendsBack = unrecorded.find(({ receives, address }) => receives && address === null) ?? null;
    const clients = await Clients.open(machine, domain.endpoint, unrecorded, inputs, sendsBack);
    const report = await play(machine, netdev, clients, () => replay(machine, netdev));
    const copies = machine.statistics.copies - before;
    const peak = machine.budget.pool(1).peak;
    domain.kill("the case is over");
    return {
      key: "offloaded",
      title: "Case 3b: the filter runs on the board, frames land in pinned client buffers (Korral K1)",
      lines: [
        `${report.frames} frames replayed; ${copies} copies by the driver; ${peak} frames pinned for posted buffers at the peak`,
        ...describe(clients),
      ],
      figures: { ...report, copies, clients: figuresOf(clients) },
    };
  } finally {
    await netdev.close();
  }
}

interface Played {
  /** To the adapter. */
  readonly frames: number;
  readonly bytes: number;
  readonly sentBack: number;
  /** From the adapter. */
  readonly recorded: number;
  readonly unclaimed: number;
}

/** @param traffic lets frames come and go, until no more are wanted */
async function play(machine: Machine, netdev: Netdev, clients: Clients, traffic: () => Promise<void>): Promise<Played> {
  const before = machine.statistics.unclaimed;
  await traffic();
  const { toAdapter, fromAdapter, ...odd } = netdev.figures;
  const report = {
    ...toAdapter,
    ...odd,
    sentBack: clients.clients.reduce((sum, client) => sum + client.sentBack, 0),
    recorded: fromAdapter.frames,
    unclaimed: machine.statistics.unclaimed - before,
  };
  await clients.close();
  if (netdev.error !== null) {
    stderr(`${report.frames} frames before the damage were replayed\n`);
    throw netdev.error;
  }
  return report;
}

async function replay(machine: Machine, { wire, record }: CapturesNetdev): Promise<void> {
  record();
  if (machine.clock.isVirtual) {
    wire.playByTime();
    await machine.idle();
  } else {
    while (wire.pump(BURST) > 0) await machine.idle();
  }
}

async function untilHangup(machine: Machine, netdev: Netdev, clients: Clients, duration: number): Promise<void> {
  netdev.start();
  const late = new Promise<void>((resolve) => machine.clock.timer(resolve).arm(duration));
  await machine.run(Promise.race([netdev.ended, late]), "network");
  await clients.settle();
}

function describe({ specs, clients }: Clients): string[] {
  return clients.flatMap((client, i) => describeClient(specs[i], client));
}

function figuresOf({ specs, clients }: Clients): object[] {
  return clients.map((client, i) => clientFigures(specs[i], client));
}
