import { fileURLToPath } from "node:url";
import { type Command, InvalidArgumentError } from "commander";
import type { DmaFault } from "../bus/io-mmu.js";
import type { KernelPackage } from "../linux/kernel-package.js";
import { Machine } from "../machine.js";
import { OutOfMemoryError } from "../memory/physical-memory.js";
import { PIN_POOL_NAMES, PinBoundError, PinBusyError, type PinPool } from "../memory/pin-budget.js";
import { EnvironmentError, UsageError } from "../util/errors.js";
import { type ClientSpec, checkInputs, checkNames, checkOutputs, clientFiles, parseClient } from "./client.js";
import { parseDuration } from "./duration.js";
import { KERNEL_HELP, KERNEL_OPTION, kernelFor } from "./kernel-module.js";
import { filesOf, isInteractive, type NetdevSpec, parseNetdev } from "./netdev.js";
import { once } from "./option-list.js";
import { bold, stderr, stdout } from "./output.js";
import { printable } from "./printable.js";
import { describeError } from "./run/report.js";
import { diskCase } from "./start/disk.js";
import { linuxPackets } from "./start/linux.js";
import { offloadedPackets, receivedPackets, type Traffic } from "./start/packets.js";
import { refusalsCase } from "./start/refusals.js";
import type { CaseReport } from "./start/report.js";
import { terminalCase } from "./start/terminal.js";

interface StartOptions {
  netdev?: string;
  duration?: string;
  client?: string[];
  image?: string;
  terminal?: string;
  memory: string;
  pinBound?: number;
  seed: number;
  kernel?: string;
  json?: true;
}

const RECORDED_SESSION = fileURLToPath(new URL("../../test/captures/guest-session.pcap", import.meta.url));

/** Without `--client`: three with filters that share out the recorded session. */
const DEFAULT_CLIENTS = ["web,filter=tcp port 80", "names,filter=port domain or port bootps", "rest"];

export function addStart(program: Command): void {
  program
    .command("start")
    .description("Run a stock Linux driver on real input, and play all driver-DMA cases with native ones.")
    .option(
      "--netdev <pcap,rx=F,tx=F | stream,connect=ADDR | stream,listen=ADDR | dgram,local=ADDR,remote=ADDR>",
      "replay capture F into the wire and record what is sent, or lead the wire to a socket in QEMU's framing; ADDR is unix:/path or HOST:PORT (default: the recorded session)",
      once("start: --netdev"),
    )
    .option(
      "--duration <time>",
      "unplug a socket after so long (default: when the peer hangs up)",
      once("start: --duration"),
    )
    .option(
      "--client <NAME,filter=EXPR,out=F,send=F,post=N,ip=ADDRESS/PREFIX>",
      "who receives, sends a capture, or answers as a host; repeatable, earlier ones first",
      collect,
    )
    .option(
      "--image <file>",
      "raw disk image; its content is left as it is (default: a scratch image)",
      once("start: --image"),
    )
    .option(KERNEL_OPTION, `${KERNEL_HELP}; none: only native drivers`)
    .option(
      "--terminal <tty|tcp:HOST:PORT>",
      "where the terminal line ends (default: a script)",
      once("start: --terminal"),
    )
    .option("--memory <size>", "RAM of the machine", "64MiB")
    .option("--pin-bound <frames>", "frames that may be pinned (default: half of the RAM)", wholeNumber)
    .option("--seed <n>", "same seed, same run", wholeNumber, 1)
    .option("--json", "print one JSON document")
    .action(async (options: StartOptions) => {
      const reports: CaseReport[] = [];
      try {
        await start(options, reports);
      } catch (error) {
        const why = explained(error, options);
        if (options.json === true) stdout(`${JSON.stringify({ ...figuresOf(reports), error: describeError(why) })}\n`);
        throw why;
      }
    });
}

/** @param reports gets what the cases have to say, as far as they come */
async function start(options: StartOptions, reports: CaseReport[]): Promise<void> {
  const clients = (options.client ?? DEFAULT_CLIENTS).map(parseClient);
  const traffic = checkedTraffic(options, clients);
  await using machine = await Machine.create({
    memory: options.memory,
    seed: options.seed,
    ...(options.pinBound === undefined ? {} : { pinBudget: options.pinBound }),
    ...(options.terminal === undefined && !isInteractive(traffic.netdev)
      ? {}
      : { realTime: () => performance.now() * 1e6 }),
  });
  const refused: DmaFault[] = [];
  machine.iommu.events.on("fault", (fault) => refused.push(fault));
  const show = (report: CaseReport): void => {
    reports.push(report);
    if (options.json !== true) stdout(`${bold(report.title)}\n${report.lines.map((line) => `  ${line}\n`).join("")}`);
  };
  show(await terminalCase(machine, options.terminal));
  for (const report of await diskCase(machine, options.image)) show(report);
  const kernel = await kernelAtHand(options.kernel);
  if (kernel !== null) show(await linuxPackets(machine, kernel, traffic, clients));
  // There is one peer, and files are written once: the first adapter had them.
  if (kernel === null) show(await receivedPackets(machine, traffic, clients));
  else if (traffic.netdev.kind === "pcap")
    show(await receivedPackets(machine, unrecorded(traffic), clients.map(unrecordedClient)));
  if (traffic.netdev.kind === "pcap") {
    show(await offloadedPackets(machine, traffic.netdev.rx, traffic.inputs, clients));
  }
  const faults = refused.length;
  show(refusalsCase(machine));
  const summary = summarise(machine, faults);
  if (options.json === true) {
    stdout(`${JSON.stringify({ ...figuresOf(reports), ...summary, error: null })}\n`);
    return;
  }
  const { pins, transfers, iommu } = summary;
  const pools = pins.pools.map(({ name, peak, bound }) => `${name} ${peak} of ${bound}`).join(", ");
  stdout(
    `${bold("Machine")}\n` +
      `  frames pinned: ${pins.pinned} now, ${pins.peak} at the peak, bound ${pins.bound} (peaks: ${pools})\n` +
      `  copies made: ${transfers.copies} (${transfers.copiedBytes} bytes), zero-copy transfers: ${transfers.zeroCopies} (${transfers.zeroCopyBytes} bytes)\n` +
      `  frames dropped: ${transfers.dropped} for want of a client's buffer, ${transfers.unclaimed} that nobody wanted\n` +
      `  I/O MMU: ${iommu.maps} maps, ${iommu.unmaps} unmaps, ${iommu.live} live, ${iommu.faults} accesses refused\n`,
  );
}

function figuresOf(reports: readonly CaseReport[]): object {
  return Object.fromEntries(reports.map((report) => [report.key, report.figures]));
}

/** The kernel for the stock driver; null, and said why, if there is none. */
async function kernelAtHand(ref: string | undefined): Promise<KernelPackage | null> {
  if (ref === "none") return null;
  try {
    return await kernelFor(ref);
  } catch (error) {
    if (ref !== undefined || !(error instanceof EnvironmentError)) throw error;
    stderr(`korral: no stock driver is run: ${printable(error.message)}\n`);
    return null;
  }
}

function unrecorded(traffic: Traffic): Traffic {
  const { netdev } = traffic;
  return netdev.kind === "pcap" ? { ...traffic, netdev: { ...netdev, tx: null } } : traffic;
}

const unrecordedClient = (client: ClientSpec): ClientSpec => ({ ...client, out: null });

/** @param faults refused accesses of the cases; those of the demonstration are not among them */
function summarise(machine: Machine, faults: number) {
  const { budget, statistics, pci } = machine;
  const pools = PIN_POOL_NAMES.map((name, pool) => ({ name, ...budget.pool(pool as PinPool) }));
  const total = (field: "maps" | "unmaps" | "live") => pci.slots.reduce((sum, slot) => sum + slot.dma[field], 0);
  return {
    pins: { pinned: budget.pinned, peak: budget.peak, bound: budget.bound, pools },
    transfers: { ...statistics },
    iommu: { maps: total("maps"), unmaps: total("unmaps"), live: total("live"), faults },
  };
}

/** A machine that is too small for what is asked of it was asked for on the command line. */
function explained(error: unknown, { memory, pinBound }: StartOptions): unknown {
  const isPinBound = error instanceof PinBoundError || error instanceof PinBusyError;
  if (isPinBound && pinBound !== undefined)
    return new UsageError(`--pin-bound ${pinBound} is too low: ${error.message}`);
  // The bound is half of the memory, unless it is given.
  if (isPinBound || error instanceof OutOfMemoryError) {
    return new UsageError(`--memory ${memory} is too little: ${error.message}`);
  }
  return error;
}

/** Finds what is wrong with the input before anything happens. */
function checkedTraffic(options: StartOptions, clients: readonly ClientSpec[]): Traffic {
  const asked = parseNetdev(options.netdev ?? "pcap");
  const netdev: NetdevSpec = asked.kind === "pcap" ? { ...asked, rx: asked.rx ?? RECORDED_SESSION } : asked;
  if (options.duration !== undefined && !isInteractive(netdev)) {
    throw new UsageError("start: --duration is for sockets: a capture ends by itself");
  }
  checkNames("start", clients);
  const files = [filesOf(netdev), clientFiles(clients)];
  const captures = files.flatMap(({ inputs }) => inputs);
  const outputs = files.flatMap(({ outputs }) => outputs);
  if ([...captures, ...outputs].includes("-")) {
    throw new UsageError(
      "start: '-' is possible nowhere: captures are replayed twice, and the report goes to the output",
    );
  }
  checkInputs("start", captures);
  const inputs = options.image === undefined ? captures : [...captures, options.image];
  checkOutputs("start", outputs, inputs);
  return {
    netdev,
    inputs,
    duration: options.duration === undefined ? Number.POSITIVE_INFINITY : parseDuration("--duration", options.duration),
  };
}

function collect(value: string, earlier: string[] | undefined): string[] {
  return [...(earlier ?? []), value];
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("it must be a whole number from 0 to 999999999.");
  return Number(text);
}
