import type { Command } from "commander";
import { type Finding, FindingCollector } from "../findings/collector.js";
import type { LinuxDomain } from "../linux/domain.js";
import { LinuxDriver } from "../linux/driver.js";
import { Machine } from "../machine.js";
import { GuestFailure } from "../translator/sandbox.js";
import { EnvironmentError, ExitStatus, KorralError, UsageError } from "../util/errors.js";
import { type ClientSpec, Clients, checkInputs, checkNames, checkOutputs, clientFiles, parseClient } from "./client.js";
import { parseDuration } from "./duration.js";
import { takeInterrupt } from "./interrupt.js";
import { KERNEL_HELP, KERNEL_OPTION, kernelFor } from "./kernel-module.js";
import { filesOf, isInteractive, type Netdev, type NetdevSpec, openNetdev, parseNetdev } from "./netdev.js";
import { once } from "./option-list.js";
import { stderr, stdout } from "./output.js";
import { printable } from "./printable.js";
import { busModules, type DeviceChoice, modelFor, parseDevice } from "./run/models.js";
import { play } from "./run/play.js";
import { documentOf, NOTHING_YET, type Progress, textOf } from "./run/report.js";
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
    .option(
      "--device <MODEL,key=value>",
      "the device (default: the model that the driver binds to)",
      once("run: --device"),
    )
    .option(
      "--netdev <pcap,rx=F,tx=F | stream,… | dgram,…>",
      "where the wire leads to (default: nowhere)",
      once("run: --netdev"),
    )
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
      const status = await new Run(driver, options).run(parameters);
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

/** One run, and what it has come to. */
class Run {
  readonly #started = performance.now();
  readonly #isJson: boolean;
  readonly #status: StatusLine;
  #progress: Progress;
  #loaded: LinuxDriver | null = null;
  #isReported = false;

  constructor(
    private readonly given: string,
    private readonly options: RunOptions,
  ) {
    this.#isJson = options.json === true;
    this.#status = new StatusLine(!this.#isJson && process.stderr.isTTY === true);
    this.#progress = { ...NOTHING_YET, driver: given };
  }

  /** @throws whatever it ends with; with `--json` there is a document all the same */
  async run(parameters: readonly string[]): Promise<ExitStatus> {
    try {
      return await this.#run(planOf(this.given, parameters, this.options));
    } catch (error) {
      if (this.#isJson && !this.#isReported) this.#document(error);
      throw error;
    }
  }

  async #run(plan: Plan): Promise<ExitStatus> {
    const kernel = await kernelFor(this.options.kernel);
    this.#know({ kernel: kernel.release });
    const driver = driverFor(this.given, kernel);
    this.#know({ driver: driver.source.name });
    const choice = plan.device ?? modelFor(driver.source.name, driver.aliases);
    this.#know({ device: choice.model });
    const before = busModules(kernel, choice, driver.aliases);
    const { parameters } = plan;
    // Before any output is opened, or the kernel says anything.
    const prepared = LinuxDriver.prepare(kernel, driver.source, { parameters, before });
    await using machine = await Machine.create({
      memory: this.options.memory,
      seed: plan.seed,
      ...(plan.pinBound === null ? {} : { pinBudget: plan.pinBound }),
      ...(isInteractive(plan.netdev) ? { realTime: () => performance.now() * 1e6 } : {}),
    });
    const collector = new FindingCollector(machine);
    collector.onFinding = tellFinding;
    this.#know({ machine, collector });
    const netdev = await openNetdev(machine, plan.netdev, plan.inputs);
    this.#know({ netdev });
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
        parameters,
        checks: plan.checks,
        before,
        prepared,
        onDomain: (domain) => this.#listen(domain, collector),
      });
      this.#loaded = loaded;
      return await this.#drive(plan, machine, collector, netdev, loaded, asked);
    } catch (error) {
      await this.#failed(error, collector);
      throw error;
    } finally {
      forget();
      this.#status.end();
      await netdev.close();
    }
  }

  /** Brings the network up, lets frames come and go, unloads the driver and tells. */
  async #drive(
    plan: Plan,
    machine: Machine,
    collector: FindingCollector,
    netdev: Netdev,
    loaded: LinuxDriver,
    asked: Promise<void>,
  ): Promise<ExitStatus> {
    const { domain } = loaded;
    const network = await loaded.startNetwork();
    this.#know({ network });
    // At the other end of a socket there may be nobody yet.
    const linkUp = isInteractive(plan.netdev) ? network.device.linkUp : await loaded.link();
    this.#know({ link: linkUp, linkMilliseconds: performance.now() - this.#started });
    const clients = await Clients.open(machine, loaded.access.endpoint, plan.clients, plan.inputs, null, true);
    this.#know({ clients });
    this.#status.show(() => {
      const { dma } = domain.services;
      const { pinned, bound } = machine.budget;
      return `${network.device.received} received, ${network.device.sent} sent, ${dma.statistics.maps} maps (${dma.live} live), ${pinned} of ${bound} frames pinned, ${network.dropped} dropped, ${collector.findings.length} findings`;
    });
    try {
      await play(machine, netdev, clients, network.device, { ...plan, asked });
      await clients.close();
    } catch (error) {
      // What the driver died of says more than what its clients hear of it.
      if (domain.dead === null) throw error;
    }
    this.#status.end();
    this.#know({ link: linkUp || network.device.linkUp });
    const diedOf = domain.dead;
    // A capture that cannot be written is nobody's fault here.
    const isForeign = diedOf instanceof EnvironmentError;
    if (diedOf !== null && !isForeign) collector.failure(diedOf, domain);
    const left = diedOf === null ? await loaded.unload() : loaded.leftovers();
    this.#loaded = null;
    this.#know({ left });
    if (this.#isJson) this.#document(diedOf ?? netdev.error);
    else {
      this.#know({ elapsed: performance.now() - this.#started });
      const ended = { machine, collector, netdev, domain, network, clients, specs: plan.clients, left };
      stdout(textOf(this.#progress, ended));
    }
    if (netdev.error !== null) throw netdev.error;
    if (diedOf !== null && (isForeign || !(diedOf instanceof KorralError))) throw diedOf;
    return collector.findings.length > 0 ? ExitStatus.findings : ExitStatus.fine;
  }

  #listen(domain: LinuxDomain, collector: FindingCollector): void {
    this.#know({ domain });
    collector.watch(domain);
    domain.services.events.on("console", ({ time, text }) => {
      this.#status.clear();
      stderr(`[${(time / 1e9).toFixed(6).padStart(12)}] ${printable(text)}\n`);
    });
  }

  /** The driver goes in order if it still can; if not, what it died of is a finding. */
  async #failed(error: unknown, collector: FindingCollector): Promise<void> {
    const { domain } = this.#progress;
    if (domain === null) return;
    if (domain.dead === null && this.#loaded !== null) {
      try {
        this.#know({ left: await this.#loaded.unload() });
      } catch {
        // The first error says more.
      }
    }
    if (!(error instanceof GuestFailure)) return;
    // It is told once: as the error.
    collector.onFinding = () => {};
    collector.failure(error, domain);
  }

  #know(more: Partial<Progress>): void {
    this.#progress = { ...this.#progress, ...more };
  }

  #document(error: unknown): void {
    this.#isReported = true;
    this.#know({ elapsed: performance.now() - this.#started });
    stdout(`${JSON.stringify(documentOf(this.#progress, error))}\n`);
  }
}

function tellFinding({ rule, message, symbol, module }: Finding): void {
  const where = symbol === null ? "" : ` (${symbol}${module === null ? "" : ` [${module}]`})`;
  stderr(`${printable(`finding ${rule}: ${message}${where}`)}\n`);
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

/**
 * Finds what is wrong with the command line, and with the files that it names, before anything happens.
 * @throws UsageError, InputError, UnsupportedError, EnvironmentError
 */
function planOf(given: string, params: readonly string[], options: RunOptions): Plan {
  if (given === "") throw new UsageError("run: no driver is named");
  const parameters = parseParameters(params);
  const device = options.device === undefined ? null : parseDevice(options.device);
  const netdev = parseNetdev(options.netdev ?? "pcap");
  const clients = (options.client ?? [DEFAULT_CLIENT]).map(parseClient);
  checkNames("run", clients);
  const files = [filesOf(netdev), clientFiles(clients)];
  const inputs = files.flatMap(({ inputs }) => inputs);
  if (options.checks !== "on" && options.checks !== "off") {
    throw new UsageError("run: --checks is on or off");
  }
  const hasReplay = netdev.kind === "pcap" && netdev.rx !== null;
  const hasSender = clients.some(({ send }) => send !== null);
  const plan = {
    parameters,
    device,
    netdev,
    clients,
    inputs,
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
  checkInputs("run", inputs);
  checkOutputs(
    "run",
    files.flatMap(({ outputs }) => outputs),
    inputs,
  );
  return plan;
}

function wholeNumber(option: string, text: string): number {
  if (WHOLE.test(text)) return Number(text);
  throw new UsageError(`run: ${option} ${text}: it must be a whole number from 0 to 999999999`);
}

function collect(value: string, earlier: string[] | undefined): string[] {
  return [...(earlier ?? []), value];
}
