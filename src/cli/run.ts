import type { Command } from "commander";
import { FindingCollector } from "../findings/collector.js";
import { LinuxDriver } from "../linux/driver.js";
import { Machine } from "../machine.js";
import { ExitStatus, KorralError, UsageError } from "../util/errors.js";
import {
  type ClientSpec,
  Clients,
  checkNames,
  checkOutputs,
  clientFigures,
  clientFiles,
  describeClient,
  parseClient,
} from "./client.js";
import { parseDuration } from "./duration.js";
import { takeInterrupt } from "./interrupt.js";
import { KERNEL_HELP, KERNEL_OPTION, kernelFor } from "./kernel-module.js";
import { filesOf, isInteractive, type NetdevSpec, openNetdev, parseNetdev } from "./netdev.js";
import { bold, stderr, stdout } from "./output.js";
import { printable } from "./printable.js";
import { busModules, type DeviceChoice, modelFor, parseDevice } from "./run/models.js";
import { play } from "./run/play.js";
import { driverFor, parseParameters } from "./run/source.js";
import { StatusLine } from "./run/status.js";

interface RunOptions {
  readonly device?: string;
  readonly netdev?: string;
  readonly client?: readonly string[];
  readonly kernel?: string;
  readonly duration?: string;
  readonly packets?: string;
  readonly memory: string;
  readonly pinBound?: string;
  readonly seed: string;
  readonly checks: string;
  readonly json?: true;
}

export function addRun(program: Command): void {
  program
    .command("run")
    .description("Run an unmodified Linux driver on a model of its device.")
    .argument("<driver>", "a module of the kernel (e1000), or a path to a .ko")
    .argument("[param=value...]", "parameters of the module")
    .option("--device <MODEL,key=value>", "the device (default: the model that the driver binds to)")
    .option("--netdev <pcap,rx=F,tx=F | stream,… | dgram,…>", "where the wire leads to (default: nowhere)")
    .option(
      "--client <NAME,filter=EXPR,out=F,send=F,post=N,ip=ADDRESS/PREFIX>",
      "who receives and sends; repeatable",
      collect,
    )
    .option(KERNEL_OPTION, KERNEL_HELP)
    .option("--duration <time>", "end after so long")
    .option("--packets <n>", "end after so many frames, received and sent")
    .option("--memory <size>", "RAM of the machine", "64MiB")
    .option("--pin-bound <frames>", "frames that may be pinned (default: half of the RAM)")
    .option("--seed <n>", "same seed, same run", "1")
    .option("--checks <on|off>", "check every access of the driver to memory", "on")
    .option("--json", "print one JSON document")
    .action(async (driver: string, parameters: string[], options: RunOptions) => {
      const status = await run(driver, parameters, options);
      if (status !== ExitStatus.fine) throw new RunEnded(status);
    });
}

/** All has been said; only the status is left. */
export class RunEnded extends Error {
  constructor(readonly exitStatus: ExitStatus) {
    super("ended");
  }
}

const WHOLE = /^\d{1,9}$/;

async function run(given: string, params: readonly string[], options: RunOptions): Promise<ExitStatus> {
  const plan = planOf(given, params, options);
  const started = performance.now();
  const kernel = await kernelFor(options.kernel);
  const driver = driverFor(given, kernel);
  const choice = plan.device ?? modelFor(driver.source.name, driver.aliases);
  await using machine = await Machine.create({
    memory: options.memory,
    seed: plan.seed,
    ...(plan.pinBound === null ? {} : { pinBudget: plan.pinBound }),
    ...(isInteractive(plan.netdev) ? { realTime: () => performance.now() * 1e6 } : {}),
  });
  const collector = new FindingCollector(machine);
  collector.onFinding = ({ rule, message, symbol, module }) => {
    const where = symbol === null ? "" : ` (${symbol}${module === null ? "" : ` [${module}]`})`;
    stderr(`${printable(`finding ${rule}: ${message}${where}`)}\n`);
  };
  const netdev = await openNetdev(machine, plan.netdev, plan.inputs);
  const status = new StatusLine(options.json !== true && process.stderr.isTTY === true);
  let stop: () => void = () => {};
  const asked = new Promise<void>((resolve) => {
    stop = resolve;
  });
  const forget = takeInterrupt(() => {
    machine.loop.wake();
    stop();
  });
  try {
    const slot = machine.plug(choice.model, choice.make(netdev));
    const loaded = await LinuxDriver.load(machine, kernel, driver.source, slot, {
      parameters: plan.parameters,
      checks: plan.checks,
      before: busModules(kernel, choice, driver.aliases),
      onDomain: (domain) => {
        collector.watch(domain);
        domain.services.events.on("console", ({ time, text }) => {
          status.clear();
          stderr(`[${(time / 1e9).toFixed(6).padStart(12)}] ${printable(text)}\n`);
        });
      },
    });
    const network = await loaded.startNetwork();
    // At the other end of a socket there may be nobody yet.
    const linkUp = isInteractive(plan.netdev) ? network.device.linkUp : await loaded.link();
    const linkMilliseconds = performance.now() - started;
    const clients = await Clients.open(machine, loaded.access.endpoint, plan.clients, plan.inputs);
    status.show(() => {
      const { dma } = loaded.domain.services;
      const { pinned, bound } = machine.budget;
      return `${network.device.received} received, ${network.device.sent} sent, ${dma.statistics.maps} maps (${dma.live} live), ${pinned} of ${bound} frames pinned, ${network.dropped} dropped, ${collector.findings.length} findings`;
    });
    try {
      await play(machine, netdev, clients, network.device, { ...plan, asked });
      await clients.close();
    } catch (error) {
      // What the driver died of says more than what its clients hear of it.
      if (loaded.domain.dead === null) throw error;
    }
    status.end();
    const linkAtEnd = network.device.linkUp;
    const failed = loaded.domain.dead;
    if (failed !== null) collector.failure(failed, loaded.domain);
    const left = failed === null ? await loaded.unload() : loaded.leftovers();
    const { services } = loaded.domain;
    const report = {
      driver: driver.source.name,
      kernel: kernel.release,
      device: choice.model,
      link: linkUp || linkAtEnd,
      rx: { packets: network.device.received, bytes: network.device.receivedBytes },
      tx: { packets: netdev.figures.fromAdapter.frames, bytes: netdev.figures.fromAdapter.bytes },
      reads: services.pci.reads,
      writes: services.pci.writes,
      dma: {
        maps: services.dma.statistics.maps,
        unmaps: services.dma.statistics.unmaps,
        live: services.dma.live,
        lent: services.dma.statistics.lent,
        refused: services.dma.statistics.refused,
        pinnedPeak: machine.budget.peak,
        pinBound: machine.budget.bound,
      },
      left,
      dropped: network.dropped,
      sent: { copied: network.device.copied, zeroCopy: network.device.zeroCopy },
      clients: clients.clients.map((client, i) => clientFigures(plan.clients[i], client)),
      netdev: netdev.figures,
      findings: collector.findings,
      linkMilliseconds: Math.round(linkMilliseconds),
      elapsed: Math.round(performance.now() - started),
      machineTime: machine.clock.now(),
      instructions: loaded.domain.sandbox.runtime.executed,
    };
    if (options.json === true) stdout(`${JSON.stringify(report)}\n`);
    else stdout(textOf(report, plan.clients, clients));
    if (netdev.error !== null) throw netdev.error;
    if (failed !== null && !(failed instanceof KorralError)) throw failed;
    return collector.findings.length > 0 ? ExitStatus.findings : ExitStatus.fine;
  } finally {
    forget();
    status.end();
    await netdev.close();
  }
}

interface Plan {
  readonly parameters: Readonly<Record<string, string>>;
  readonly device: DeviceChoice | null;
  readonly netdev: NetdevSpec;
  readonly clients: readonly ClientSpec[];
  readonly inputs: readonly string[];
  readonly duration: number | null;
  readonly packets: number | null;
  readonly seed: number;
  readonly pinBound: number | null;
  readonly checks: boolean;
  /** Whether anything comes in or goes out by itself, which ends. */
  readonly hasInputs: boolean;
}

/** Without `--client`, somebody takes what comes. */
const DEFAULT_CLIENT = "all";

/** Finds what is wrong with the command line before anything happens. @throws UsageError */
function planOf(given: string, params: readonly string[], options: RunOptions): Plan {
  if (given === "") throw new UsageError("run: no driver is named");
  const parameters = parseParameters(params);
  const device = options.device === undefined ? null : parseDevice(options.device);
  const netdev = parseNetdev(options.netdev ?? "pcap");
  const clients = (options.client ?? [DEFAULT_CLIENT]).map(parseClient);
  checkNames("run", clients);
  const files = [filesOf(netdev), clientFiles(clients)];
  checkOutputs(
    "run",
    files.flatMap(({ outputs }) => outputs),
  );
  if (options.checks !== "on" && options.checks !== "off") {
    throw new UsageError("run: --checks is on or off");
  }
  const hasReplay = netdev.kind === "pcap" && netdev.rx !== null;
  const hasSender = clients.some(({ send }) => send !== null);
  return {
    parameters,
    device,
    netdev,
    clients,
    inputs: files.flatMap(({ inputs }) => inputs),
    duration: options.duration === undefined ? null : parseDuration("--duration", options.duration),
    packets: options.packets === undefined ? null : wholeNumber("--packets", options.packets),
    seed: wholeNumber("--seed", options.seed),
    pinBound: options.pinBound === undefined ? null : wholeNumber("--pin-bound", options.pinBound),
    checks: options.checks === "on",
    hasInputs:
      hasReplay ||
      hasSender ||
      isInteractive(netdev) ||
      (options.duration === undefined && options.packets === undefined),
  };
}

function wholeNumber(option: string, text: string): number {
  if (WHOLE.test(text)) return Number(text);
  throw new UsageError(`run: ${option} ${text}: it must be a whole number from 0 to 999999999`);
}

interface Report {
  readonly driver: string;
  readonly kernel: string;
  readonly device: string;
  readonly link: boolean;
  readonly rx: { readonly packets: number; readonly bytes: number };
  readonly tx: { readonly packets: number; readonly bytes: number };
  readonly dma: {
    readonly maps: number;
    readonly unmaps: number;
    readonly live: number;
    readonly lent: number;
    readonly pinnedPeak: number;
    readonly pinBound: number;
  };
  readonly sent: { readonly copied: number; readonly zeroCopy: number };
  readonly left: object;
  readonly dropped: number;
  readonly findings: FindingCollector["findings"];
  readonly linkMilliseconds: number;
  readonly elapsed: number;
}

function textOf(report: Report, specs: readonly ClientSpec[], clients: Clients): string {
  const { rx, tx, dma, sent } = report;
  const lines = [
    `${bold(report.driver)} of ${report.kernel} on ${report.device}: link ${report.link ? "up" : "down"} after ${report.linkMilliseconds} ms`,
    `  received ${rx.packets} frames (${rx.bytes} bytes), sent ${tx.packets} (${tx.bytes} bytes): ${sent.zeroCopy} from where they lay, ${sent.copied} copied; ${report.dropped} dropped`,
    `  DMA: ${dma.maps} maps (${dma.lent} of clients' memory), ${dma.unmaps} unmaps, ${dma.live} live; at most ${dma.pinnedPeak} of ${dma.pinBound} frames pinned`,
    `  left behind: ${leftText(report.left)}`,
    ...specs.flatMap((spec, i) => describeClient(spec, clients.clients[i]).map((line) => `  ${line}`)),
    `  ${report.findings.length} findings; ${report.elapsed} ms`,
  ];
  return `${lines.join("\n")}\n`;
}

function leftText(left: object): string {
  const some = Object.entries(left).filter(([, count]) => count !== 0);
  return some.length === 0 ? "nothing" : some.map(([what, count]) => `${count} ${what}`).join(", ");
}

function collect(value: string, earlier: string[] | undefined): string[] {
  return [...(earlier ?? []), value];
}
