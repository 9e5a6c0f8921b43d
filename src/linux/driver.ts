import type { InterruptController } from "../bus/interrupts.js";
import type { PciSlot } from "../bus/pci-bus.js";
import type { DeviceAccess, DriverDomain, DriverOptions } from "../drivers/driver-domain.js";
import { crc32 } from "../formats/crc.js";
import { KernelModule } from "../formats/kernel-module.js";
import type { Kept } from "../formats/packed-arrays.js";
import type { Sandbox } from "../translator/sandbox.js";
import { KorralError, UsageError } from "../util/errors.js";
import type { GuestAddress } from "../util/guest-address.js";
import { bootKey } from "./boot.js";
import { LinuxDomain, type LinuxHost } from "./domain.js";
import { KernelImage } from "./image.js";
import type { KernelPackage } from "./kernel-package.js";
import { matchesAlias } from "./kernel-package-alias.js";
import { checkModules, type ModuleToLoad } from "./module-checks.js";
import { NetDevice } from "./net.js";
import { LinuxNetworkDriver } from "./network-driver.js";
import type { PciFunction } from "./pci.js";
import { NetDeviceError } from "./rtnl.js";
import { seamSubjects } from "./seams/index.js";
import { aliasOf } from "./slot-alias.js";

/** How long a driver may take until its device has a link. Nanoseconds of machine time. */
const LINK_PATIENCE = 10_000_000_000;
const LINK_CHECK = 1_000_000;
/** Features, by their names in the kernel, with which frames do not arrive as they were: without their tags, or merged. */
const ALTERING_FEATURES = ["rx-vlan-hw-parse", "rx-gro", "rx-lro"];

/** The machine that a driver is loaded into. */
export interface LinuxMachine extends LinuxHost {
  readonly interrupts: InterruptController;
  domain(driver: string, device: DeviceAccess, options?: DriverOptions): DriverDomain;
  run<T>(work: Promise<T>, what?: string): Promise<T>;
}

/** What is loaded: a module of the kernel's package, or a file of one's own. */
export interface DriverSource {
  /** With underscores. */
  readonly name: string;
  /** Of a module that is not the package's: its bytes and what they are called. */
  readonly file: { readonly bytes: Uint8Array; readonly name: string } | null;
}

export interface LinuxDriverOptions extends DriverOptions {
  readonly parameters?: Readonly<Record<string, string>>;
  readonly checks?: boolean;
  /**
   * What has to be there besides what the driver depends on, of buses between device and driver: modules, or names of
   * those that are part of the image.
   */
  readonly before?: readonly string[];
  /** Told of the domain before anything runs in it: to listen to its console and findings. */
  readonly onDomain?: (domain: LinuxDomain) => void;
  /** What {@link LinuxDriver.prepare} made of the same kernel, driver and parameters. */
  readonly prepared?: PreparedDriver;
}

/** A kernel and modules that fit each other. */
export interface PreparedDriver {
  readonly image: KernelImage;
  /** In the order of loading. */
  readonly files: readonly ModuleToLoad[];
}

/** To be changed with what translated code looks like. */
const TRANSLATIONS_FORMAT = 2;

/** The driver's initialisation or probe failed. */
export class DriverFailedError extends KorralError {
  constructor(code: string, message: string) {
    super(code, message, 1);
  }
}

function keptWith({ files }: KernelPackage): Kept {
  return (key, make, isUsable) => files.derived(key, make, isUsable);
}

/** What is left behind after a driver was unloaded. */
export interface Leftovers {
  readonly maps: number;
  readonly interrupts: number;
  readonly timers: number;
  readonly work: number;
  readonly ioMappings: number;
  readonly lent: number;
}

/** An unmodified driver with the devices that it drives. */
export class LinuxDriver {
  network: LinuxNetworkDriver | null = null;

  private constructor(
    private readonly machine: LinuxMachine,
    readonly domain: LinuxDomain,
    /** The capabilities of the driver: its endpoint, its end. */
    readonly access: DriverDomain,
    readonly pciFunction: PciFunction,
    /** What the driver says that it is for. */
    private readonly aliases: readonly string[],
    private readonly translations: DriverTranslations,
  ) {}

  /**
   * Finds what is wrong with a driver before anything runs: modules that are missing or do not fit the kernel, parameters
   * that the driver has not.
   * @throws ModuleMismatchError, UnsupportedError, InputError, UsageError
   */
  static prepare(
    kernel: KernelPackage,
    source: DriverSource,
    { parameters = {}, before = [] }: Pick<LinuxDriverOptions, "parameters" | "before"> = {},
  ): PreparedDriver {
    const files = filesOf(kernel, source, before);
    const image = KernelImage.parse(kernel.vmlinux(), `the kernel of ${kernel.name}`, keptWith(kernel));
    checkModules(image, files, source.name, parameters);
    return { image, files };
  }

  /**
   * Boots a kernel beside a device, and loads a driver with all that it depends on.
   * @throws DriverFailedError, and what `prepare` throws
   */
  static async load(
    machine: LinuxMachine,
    kernel: KernelPackage,
    source: DriverSource,
    slot: PciSlot,
    options: LinuxDriverOptions = {},
  ): Promise<LinuxDriver> {
    const { parameters = {}, checks, before = [], onDomain, prepared, ...driverOptions } = options;
    const { image, files } = prepared ?? LinuxDriver.prepare(kernel, source, { parameters, before });
    const translations = new DriverTranslations(kernel, files, checks !== false);
    const access = machine.domain(source.name, slot, driverOptions);
    try {
      const domain = new LinuxDomain(machine, image, {
        name: source.name,
        ...(checks === undefined ? {} : { checks }),
        ...(driverOptions.pinBound === undefined ? {} : { pinBound: driverOptions.pinBound }),
        translations: translations.read(),
      });
      access.onDeath.push((why) => domain.end(why));
      domain.onDeath = (error) => access.kill(error instanceof Error ? error.message : String(error));
      onDomain?.(domain);
      domain.guarded(() => {
        domain.boot(keptWith(kernel));
        domain.scanPci([slot]);
      });
      if (domain.dead !== null) throw domain.dead;
      for (const name of before) if (kernel.builtin.has(name)) await machine.run(domain.initialise(name), name);
      for (const { name, bytes, fileName } of files) {
        const isDriver = name === source.name;
        const { result } = await machine.run(
          domain.load(bytes, fileName, isDriver ? parameters : {}),
          `initialisation of ${name}`,
        );
        if (result !== 0) {
          throw new DriverFailedError("driver-init", `${name} does not start: its initialisation returned ${result}`);
        }
      }
      const [fn] = domain.services.pci.functions;
      const own = domain.modules.loaded.get(source.name)?.file.all("alias") ?? [];
      return new LinuxDriver(machine, domain, access, fn, own, translations);
    } catch (error) {
      access.kill(`it did not start: ${error instanceof Error ? error.message : String(error)}`);
      throw error;
    }
  }

  /** The name of the driver that bound to the device, null if none did. */
  get bound(): string | null {
    const { guest } = this.domain.services;
    const device = this.pciFunction.device;
    if (device === null) return null;
    const driver = guest.field("pci_dev.driver").pointer(device);
    return driver === 0 ? null : guest.text(guest.field("pci_driver.name").pointer(driver));
  }

  /** The network devices that hang on the device. */
  networkDevices(): NetDevice[] {
    const { pci } = this.domain.services;
    return NetDevice.all(this.domain).filter(
      ({ parent }) => parent !== 0 && pci.functionOf(parent) === this.pciFunction,
    );
  }

  /** Brings the network device up and serves the driver's endpoint. @throws DriverFailedError, NetDeviceError */
  async startNetwork(): Promise<LinuxNetworkDriver> {
    const [device] = this.networkDevices();
    if (device === undefined) {
      throw new DriverFailedError(
        "driver-no-network",
        `${this.access.driver} registered no network device${this.bound === null ? `: ${this.#whyUnbound()}` : ""}`,
      );
    }
    await this.#up(device);
    await this.machine.run(device.setPromiscuous(true), "promiscuous mode");
    for (const feature of ALTERING_FEATURES) {
      if (device.ethtool.canChange(feature)) await this.machine.run(device.ethtool.set(feature, false), feature);
    }
    const { machine, domain } = this;
    this.network = LinuxNetworkDriver.serve(domain, this.access, machine.memory, device);
    return this.network;
  }

  async #up(device: NetDevice): Promise<void> {
    const { statistics } = this.domain.services.dma;
    const before = statistics.refused;
    try {
      await this.machine.run(device.up(), "network device up");
    } catch (error) {
      const refused = statistics.refused - before;
      if (!(error instanceof NetDeviceError) || refused === 0) throw error;
      throw new DriverFailedError(
        "driver-dma-refused",
        `${error.message}, and ${refused} of its DMA mappings were refused: raise the bound on pinned frames`,
      );
    }
  }

  #whyUnbound(): string {
    const { slot } = this.pciFunction;
    const patterns = this.aliases.filter((alias) => alias.startsWith("pci:"));
    if (patterns.length === 0 || patterns.some((pattern) => matchesAlias(pattern, aliasOf(slot)))) {
      return "it has not bound to the device: its probe failed, and the console may say why";
    }
    return `it has not bound to the device at ${slot.address}, as it is for others: give it one of those`;
  }

  /** Waits for a link. @returns whether there is one */
  async link(patience = LINK_PATIENCE): Promise<boolean> {
    const { clock } = this.machine;
    const device = this.network?.device;
    if (device === undefined) throw new UsageError("the network device is not up", "network-down");
    const end = clock.now() + patience;
    while (!device.linkUp && clock.now() < end && this.domain.dead === null) {
      await this.machine.run(new Promise<void>((resolve) => clock.timer(resolve).arm(LINK_CHECK)), "link");
    }
    return device.linkUp;
  }

  /** Takes the network device down, unloads all modules, and says what they left behind. */
  async unload(): Promise<Leftovers> {
    const { machine, domain } = this;
    if (domain.dead === null && this.network !== null)
      await machine.run(this.network.device.down(), "network device down");
    // Modules take their code with them.
    if (domain.dead === null) this.translations.keep(domain.sandbox);
    for (const module of [...domain.modules.loaded.values()].reverse()) {
      if (domain.dead !== null) break;
      await machine.run(domain.unload(module), `unloading ${module.name}`);
    }
    await this.#unbind();
    const left = this.leftovers();
    this.access.kill("it was unloaded");
    return left;
  }

  /** Drivers of buses may be part of the kernel, which nothing unloads. */
  async #unbind(): Promise<void> {
    const { machine, domain, pciFunction } = this;
    if (domain.dead !== null || pciFunction.device === null || this.bound === null) return;
    const device = pciFunction.device + domain.services.guest.offset("pci_dev.dev");
    await machine.run(domain.run("unbind", "device_release_driver", device), `unbinding ${this.bound}`);
    domain.settle();
  }

  leftovers(): Leftovers {
    const { dma, interrupts, time, work, pci, lent } = this.domain.services;
    const isOurs = (address: GuestAddress): boolean => this.domain.modules.nameAt(address) !== null;
    return {
      maps: dma.live,
      interrupts: interrupts.requested.length,
      timers: time.functions.filter(isOurs).length,
      work: work.leftovers.filter(isOurs).length,
      ioMappings: pci.mapped,
      lent: lent.live,
    };
  }
}

/** What was translated for a driver, kept with its kernel: the next run need not translate it again. */
class DriverTranslations {
  readonly #key: string;
  #isKept = false;

  constructor(
    private readonly kernel: KernelPackage,
    files: readonly ModuleToLoad[],
    checks: boolean,
  ) {
    const sums = files.map(({ name, bytes }) => [name, bytes.length, crc32(bytes)]);
    const identity = JSON.stringify([TRANSLATIONS_FORMAT, bootKey(), [...seamSubjects().keys()], sums, checks]);
    this.#key = `translations-${crc32(new TextEncoder().encode(identity)).toString(16)}`;
  }

  /** Null if there are none yet. */
  read(): Uint8Array | null {
    try {
      const bytes = this.kernel.files.derived(this.#key, () => {
        throw NOT_KEPT;
      });
      this.#isKept = true;
      return bytes;
    } catch (error) {
      if (error === NOT_KEPT) return null;
      throw error;
    }
  }

  keep(sandbox: Sandbox): void {
    if (this.#isKept) return;
    this.kernel.files.derived(this.#key, () => sandbox.keepTranslations());
    this.#isKept = true;
  }
}

const NOT_KEPT = new Error("no translations are kept");

/** In the order of loading: what the driver depends on, and it. */
function filesOf(kernel: KernelPackage, source: DriverSource, before: readonly string[]): ModuleToLoad[] {
  const { file } = source;
  const own = (name: string): ModuleToLoad => ({
    name,
    bytes: kernel.moduleBytes(name),
    fileName: kernel.path(name),
  });
  const first = before.filter((name) => kernel.has(name)).flatMap((name) => kernel.loadOrder(name));
  if (file === null) return [...new Set([...first, ...kernel.loadOrder(source.name)])].map(own);
  const { depends } = KernelModule.parse(file.bytes, file.name);
  const needed = new Set([...first, ...depends.flatMap((name) => kernel.loadOrder(name))]);
  return [...[...needed].map(own), { name: source.name, bytes: file.bytes, fileName: file.name }];
}
