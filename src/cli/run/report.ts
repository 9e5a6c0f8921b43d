import type { FindingCollector } from "../../findings/collector.js";
import type { LinuxDomain } from "../../linux/domain.js";
import type { Leftovers } from "../../linux/driver.js";
import type { LinuxNetworkDriver } from "../../linux/network-driver.js";
import type { Machine } from "../../machine.js";
import { KorralError } from "../../util/errors.js";
import { type ClientSpec, type Clients, clientFigures, describeClient } from "../client.js";
import type { Netdev } from "../netdev.js";
import { bold } from "../output.js";

/** A run as far as it has come: null is what there is not yet. */
export interface Progress {
  readonly driver: string;
  readonly kernel: string | null;
  /** The model. */
  readonly device: string | null;
  readonly machine: Machine | null;
  readonly collector: FindingCollector | null;
  readonly netdev: Netdev | null;
  readonly domain: LinuxDomain | null;
  readonly network: LinuxNetworkDriver | null;
  readonly clients: Clients | null;
  readonly link: boolean;
  readonly linkMilliseconds: number | null;
  readonly left: Leftovers | null;
  /** Of the host's time, in milliseconds. */
  readonly elapsed: number;
}

export const NOTHING_YET: Progress = {
  driver: "",
  kernel: null,
  device: null,
  machine: null,
  collector: null,
  netdev: null,
  domain: null,
  network: null,
  clients: null,
  link: false,
  linkMilliseconds: null,
  left: null,
  elapsed: 0,
};

/** For programs. @param error what the run ended with, null if all went well */
export function documentOf(progress: Progress, error: unknown): object {
  const { driver, kernel, device, machine, collector, netdev, domain, network, clients } = progress;
  const adapter = network?.device ?? null;
  const services = domain?.services ?? null;
  return {
    driver,
    kernel,
    device,
    error: error === null ? null : describeError(error),
    link: progress.link,
    rx: adapter === null ? null : { packets: adapter.received, bytes: adapter.receivedBytes },
    tx:
      netdev === null ? null : { packets: netdev.figures.fromAdapter.frames, bytes: netdev.figures.fromAdapter.bytes },
    reads: services === null ? null : services.pci.reads,
    writes: services === null ? null : services.pci.writes,
    dma: services === null || machine === null ? null : dmaOf(services, machine),
    left: progress.left,
    dropped: network === null ? null : network.dropped,
    sent: adapter === null ? null : { copied: adapter.copied, zeroCopy: adapter.zeroCopy },
    clients: clients === null ? [] : clients.clients.map((client, i) => clientFigures(clients.specs[i], client)),
    netdev: netdev === null ? null : netdev.figures,
    findings: collector === null ? [] : collector.findings,
    linkMilliseconds: rounded(progress.linkMilliseconds),
    elapsed: rounded(progress.elapsed),
    machineTime: machine === null ? null : machine.clock.now(),
    instructions: domain === null ? null : domain.sandbox.runtime.executed,
  };
}

function dmaOf({ dma }: LinuxDomain["services"], { budget }: Machine): object {
  const { maps, unmaps, lent, refused } = dma.statistics;
  return { maps, unmaps, live: dma.live, lent, refused, pinnedPeak: budget.peak, pinBound: budget.bound };
}

/** An error in a document. */
export function describeError(error: unknown): { readonly code: string; readonly message: string } {
  const message = error instanceof Error ? error.message : String(error);
  return { code: error instanceof KorralError ? error.code : "internal", message };
}

const rounded = (milliseconds: number | null): number | null =>
  milliseconds === null ? null : Math.round(milliseconds);

/** What a run has that came to its end. */
export interface Ended {
  readonly machine: Machine;
  readonly collector: FindingCollector;
  readonly netdev: Netdev;
  readonly domain: LinuxDomain;
  readonly network: LinuxNetworkDriver;
  readonly clients: Clients;
  readonly specs: readonly ClientSpec[];
  readonly left: Leftovers;
}

/** For people. */
export function textOf(progress: Progress, ended: Ended): string {
  const { machine, collector, netdev, domain, network, clients, specs, left } = ended;
  const { dma } = domain.services;
  const { maps, unmaps, lent } = dma.statistics;
  const { received, receivedBytes, zeroCopy, copied } = network.device;
  const { frames, bytes } = netdev.figures.fromAdapter;
  const link = `link ${progress.link ? "up" : "down"} after ${rounded(progress.linkMilliseconds)} ms`;
  const lines = [
    `${bold(progress.driver)} of ${progress.kernel} on ${progress.device}: ${link}`,
    `  received ${received} frames (${receivedBytes} bytes), sent ${frames} (${bytes} bytes): ${zeroCopy} from where they lay, ${copied} copied; ${network.dropped} dropped`,
    `  DMA: ${maps} maps (${lent} of clients' memory), ${unmaps} unmaps, ${dma.live} live; at most ${machine.budget.peak} of ${machine.budget.bound} frames pinned`,
    `  left behind: ${leftText(left)}`,
    ...specs.flatMap((spec, i) => describeClient(spec, clients.clients[i]).map((line) => `  ${line}`)),
    `  ${collector.findings.length} findings; ${rounded(progress.elapsed)} ms`,
  ];
  return `${lines.join("\n")}\n`;
}

function leftText(left: Leftovers): string {
  const some = Object.entries(left).filter(([, count]) => count !== 0);
  return some.length === 0 ? "nothing" : some.map(([what, count]) => `${count} ${what}`).join(", ");
}
