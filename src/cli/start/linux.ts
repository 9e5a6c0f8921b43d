import { FindingCollector } from "../../findings/collector.js";
import { LinuxDriver } from "../../linux/driver.js";
import type { KernelPackage } from "../../linux/kernel-package.js";
import type { Machine } from "../../machine.js";
import { type ClientSpec, Clients, clientFigures, describeClient } from "../client.js";
import { openNetdev } from "../netdev.js";
import { parseDevice } from "../run/models.js";
import { play } from "../run/play.js";
import type { Traffic } from "./packets.js";
import type { CaseReport } from "./report.js";

const DRIVER = "e1000";
const NEVER = new Promise<void>(() => {});

/** The distribution's own driver, untouched, on the same adapter: pins that it never asked for, and an I/O MMU. */
export async function linuxPackets(
  machine: Machine,
  kernel: KernelPackage,
  { netdev: spec, inputs, duration }: Traffic,
  specs: readonly ClientSpec[],
): Promise<CaseReport> {
  const collector = new FindingCollector(machine);
  const netdev = await openNetdev(machine, spec, inputs);
  try {
    const choice = parseDevice(DRIVER);
    const slot = machine.plug(choice.model, choice.make(netdev));
    const started = performance.now();
    const driver = await LinuxDriver.load(machine, kernel, { name: DRIVER, file: null }, slot, {
      onDomain: (domain) => collector.watch(domain),
    });
    const { device } = await driver.startNetwork();
    const linkUp = await driver.link();
    const milliseconds = Math.round(performance.now() - started);
    const sendsBack =
      spec.kind === "pcap" ? (specs.find(({ receives, address }) => receives && address === null) ?? null) : null;
    const clients = await Clients.open(machine, driver.access.endpoint, specs, inputs, sendsBack, true);
    await play(machine, netdev, clients, device, {
      netdev: spec,
      duration: Number.isFinite(duration) ? duration : null,
      packets: null,
      hasInputs: true,
      asked: NEVER,
    });
    await clients.close();
    const left = await driver.unload();
    const { dma, pci } = driver.domain.services;
    const figures = {
      driver: DRIVER,
      kernel: kernel.release,
      link: linkUp,
      milliseconds,
      received: device.received,
      sent: device.sent,
      copied: device.copied,
      zeroCopy: device.zeroCopy,
      maps: dma.statistics.maps,
      unmaps: dma.statistics.unmaps,
      live: dma.live,
      reads: pci.reads,
      writes: pci.writes,
      left,
      findings: [...collector.findings],
      clients: clients.clients.map((client, i) => clientFigures(specs[i], client)),
    };
    const nothingLeft = Object.values(left).every((count) => count === 0);
    return {
      key: "linux",
      title: `The unmodified ${DRIVER}.ko of ${kernel.release}, on the same adapter`,
      lines: [
        `link ${linkUp ? "up" : "down"} after ${milliseconds} ms; ${device.received} frames received, ${device.sent} sent: ${device.zeroCopy} from where they lay, ${device.copied} copied`,
        `${figures.maps} DMA mappings made by the driver, each a pin and an entry of the I/O MMU; ${figures.live} live now; ${figures.reads + figures.writes} accesses to registers`,
        `unloaded, and ${nothingLeft ? "nothing" : JSON.stringify(left)} left behind; ${collector.findings.length} findings`,
        ...clients.clients.flatMap((client, i) => describeClient(specs[i], client)),
      ],
      figures,
    };
  } finally {
    await netdev.close();
  }
}
