import type { AccessSize, DeviceHost, PciDevice } from "../bus/device.js";
import { PciConfigSpace, type PciConfigState } from "../bus/pci-config.js";
import { MsiX, type MsiXState } from "../bus/pci-msix.js";
import { hex } from "../util/bytes.js";
import { UsageError } from "../util/errors.js";
import { StateReader } from "../util/state-reader.js";
import type { DiskBackend } from "./disk-backend.js";
import { AdminCommands } from "./nvme/admin.js";
import { AsyncEvents, type AsyncEventsState, EventType, HealthEvent, NoticeEvent } from "./nvme/async-events.js";
import { ControllerRegisters, type ControllerRegistersState } from "./nvme/controller-registers.js";
import { Doorbells } from "./nvme/doorbells.js";
import { Engine, type EngineState } from "./nvme/engine.js";
import { EventConfiguration, Features, type FeaturesState } from "./nvme/features.js";
import { Health, type HealthState } from "./nvme/health.js";
import { Identify, type Identity, PCI_DEVICE, PCI_SUBSYSTEM, PCI_VENDOR } from "./nvme/identify.js";
import { Interrupts, type InterruptsState } from "./nvme/interrupts.js";
import { LogPages } from "./nvme/log-pages.js";
import { NvmCommands } from "./nvme/nvm-commands.js";
import { PcieFunction } from "./nvme/pcie-function.js";
import { QueueCommands } from "./nvme/queue-commands.js";
import { QueueTable, type QueueTableState } from "./nvme/queues.js";
import { BAR_BYTES, LogPage, MSIX_PENDING, MSIX_TABLE, Register } from "./nvme/registers.js";
import { Transfer } from "./nvme/transfer.js";

const MODEL = "nvme";
/** Mass storage, non-volatile memory, NVM Express (§2.1.5). */
const CLASS_CODE = 0x01_0802;
const DEFAULT_QUEUES = 16;
const MAX_QUEUES = 64;

export interface NvmeOptions {
  disk: DiskBackend;
  /** At most 20 characters; different for the disks of a machine, as the namespace's names follow from it. */
  serial?: string;
  /** At most 40 characters. */
  model?: string;
  /** At most 8 characters. */
  firmware?: string;
  /** I/O queues of each kind, 1 to 64; 16 if left out. */
  queues?: number;
  /** Nanoseconds that an I/O command takes; 0 if left out. */
  latency?: number;
}

/**
 * Plain-state twin of the controller, without the content of the disk. Commands that were waiting for the disk are in it
 * as submission queue entries and are executed once more after {@link NvmeController.restore}.
 */
export interface NvmeState {
  config: PciConfigState;
  msix: MsiXState;
  sectors: number;
  sectorSize: number;
  /** Nanoseconds since power-on. */
  poweredOn: number;
  registers: ControllerRegistersState;
  queues: QueueTableState;
  interrupts: InterruptsState;
  features: FeaturesState;
  health: HealthState;
  namespaceChanged: boolean;
  events: AsyncEventsState;
  engine: EngineState;
}

/**
 * NVM Express 1.4 controller with one namespace, on a disk. The chapters of the specification are beside, in `nvme/`.
 */
export class NvmeController implements PciDevice {
  readonly model = MODEL;
  readonly config: PciConfigSpace;
  readonly #msix: MsiX;
  readonly #pcie: PcieFunction;
  readonly #queues = new QueueTable();
  readonly #features: Features;
  readonly #health = new Health();
  readonly #interrupts: Interrupts;
  readonly #engine: Engine;
  readonly #events: AsyncEvents;
  readonly #registers: ControllerRegisters;
  readonly #doorbells: Doorbells;
  readonly #logPages: LogPages;
  readonly #disk: DiskBackend;
  #poweredOnAt: number;

  /** @throws UsageError if an option is out of its range */
  constructor(
    readonly host: DeviceHost,
    options: NvmeOptions,
  ) {
    const { disk, queues = DEFAULT_QUEUES, latency = 0 } = options;
    const identity = identityFrom(options);
    if (!Number.isInteger(queues) || queues < 1 || queues > MAX_QUEUES) {
      throw new UsageError(`an NVMe controller has 1 to ${MAX_QUEUES} I/O queues, not ${queues}`);
    }
    if (!(latency >= 0)) throw new UsageError(`the latency of an NVMe controller is 0 or more nanoseconds`);
    const vectors = queues + 1;
    this.#disk = disk;
    this.config = new PciConfigSpace({
      vendorId: PCI_VENDOR,
      deviceId: PCI_DEVICE,
      classCode: CLASS_CODE,
      revision: 2,
      subsystemVendorId: PCI_VENDOR,
      subsystemId: PCI_SUBSYSTEM,
      interruptPin: 1,
    });
    this.config.addBar(0, "memory64", BAR_BYTES);
    this.config.addPowerManagement();
    this.#msix = new MsiX(host, this.config, vectors, { bar: 0, table: MSIX_TABLE, pending: MSIX_PENDING });
    this.#pcie = new PcieFunction(this.config);

    const transfer = new Transfer(host.dma);
    const features = new Features(host.clock, queues, vectors);
    const interrupts = new Interrupts(host, this.config, this.#msix, this.#queues, features);
    const engine = new Engine(host, this.#queues, interrupts, this.#health, () => features.burst, latency);
    const events = new AsyncEvents((commandId, status, result) => {
      const admin = this.#queues.submission(0);
      return admin !== null && engine.postUnreserved(admin, commandId, status, result);
    });
    this.#features = features;
    this.#interrupts = interrupts;
    this.#engine = engine;
    this.#events = events;
    this.#registers = new ControllerRegisters({
      host,
      disk,
      queues: this.#queues,
      engine,
      interrupts,
      features,
      events,
      transfer,
    });
    this.#doorbells = new Doorbells(host, this.#queues, engine, interrupts, events);
    this.#logPages = new LogPages(this.#health, features, identity.firmware, () => this.#poweredOn());
    engine.onHeld = () => events.deliver();
    engine.isHeld = (commandId) => events.isOutstanding(commandId);
    engine.io = new NvmCommands(disk, transfer, features, this.#health);
    engine.admin = new AdminCommands({
      queues: this.#queues,
      queueCommands: new QueueCommands(
        this.#queues,
        engine,
        features,
        transfer,
        () => this.#registers.configuration,
        () => (this.#msix.enabled ? vectors : 1),
      ),
      engine,
      transfer,
      identify: new Identify(identity, disk),
      logPages: this.#logPages,
      features,
      events,
      checkTemperature: () => this.#checkTemperature(),
    });
    this.#poweredOnAt = host.clock.now();
    this.config.onWrite = () => this.#configWritten();
  }

  /** Composite temperature in kelvins (SMART / health information). */
  get temperature(): number {
    return this.#health.temperature;
  }

  set temperature(kelvins: number) {
    this.#health.temperature = Math.max(0, Math.min(0xffff, Math.round(kelvins)));
    this.#checkTemperature();
  }

  /** Tells the host that the namespace is not what it was (the disk has another size, or is read-only now). */
  namespaceChanged(): void {
    this.#logPages.namespaceChanged = true;
    if (!this.#features.isEventEnabled(EventConfiguration.namespaceAttributes)) return;
    this.#events.raise(EventType.notice, NoticeEvent.namespaceAttributeChanged, LogPage.changedNamespaces);
  }

  read(bar: number, offset: number, size: AccessSize): number {
    if (bar !== 0) return 0;
    if (offset >= MSIX_PENDING) return this.#msix.readPending(offset - MSIX_PENDING, size);
    if (offset >= MSIX_TABLE) return this.#msix.readTable(offset - MSIX_TABLE, size);
    if (size === 4 && (offset & 3) === 0) return this.#registers.read(offset);
    this.#badAccess("read", offset, size);
    return (this.#registers.read(offset & ~3) >>> (8 * (offset & 3))) & (size === 1 ? 0xff : 0xffff);
  }

  write(bar: number, offset: number, size: AccessSize, value: number): void {
    if (bar !== 0) return;
    if (offset >= MSIX_TABLE) {
      if (offset < MSIX_PENDING) this.#msix.writeTable(offset - MSIX_TABLE, size, value);
    } else if (size !== 4 || (offset & 3) !== 0) {
      this.#badAccess("written", offset, size);
    } else if (offset >= Register.SQ0TDBL) {
      this.#ring((offset - Register.SQ0TDBL) >>> 2, value);
    } else {
      this.#registers.write(offset, value);
    }
  }

  reset(): void {
    const clean = this.#registers.isSafe;
    this.#registers.reset();
    this.#msix.reset();
    this.#health.powerCycle(clean);
    this.#logPages.namespaceChanged = false;
    this.#poweredOnAt = this.host.clock.now();
  }

  snapshot(): NvmeState {
    return {
      config: this.config.snapshot(),
      msix: this.#msix.snapshot(),
      sectors: this.#disk.sectors,
      sectorSize: this.#disk.sectorSize,
      poweredOn: this.#poweredOn(),
      registers: this.#registers.snapshot(),
      queues: this.#queues.snapshot(),
      interrupts: this.#interrupts.snapshot(),
      features: this.#features.snapshot(),
      health: this.#health.snapshot(),
      namespaceChanged: this.#logPages.namespaceChanged,
      events: this.#events.snapshot(),
      engine: this.#engine.snapshot(),
    };
  }

  restore(state: object): void {
    try {
      this.#restore(new StateReader(MODEL, state));
    } catch (error) {
      this.#registers.reset();
      throw error;
    }
  }

  #restore(reader: StateReader): void {
    const { sectors, sectorSize } = this.#disk;
    reader.integer("sectors", sectors, sectors);
    reader.integer("sectorSize", sectorSize, sectorSize);
    const { vectors } = this.#msix;
    const words = Math.ceil(vectors / 32);
    const config = reader.child("config").numbers("bytes", 256, 256, 0xff);
    const table = reader.child("msix").numbers("table", 4 * vectors, 4 * vectors, 0xffff_ffff);
    const pending = reader.child("msix").numbers("pending", words, words, 0xffff_ffff);
    const poweredOn = reader.delay("poweredOn");
    const engine = Engine.readState(reader.child("engine"));

    this.#registers.restore(reader.child("registers"));
    this.#queues.restore(reader.child("queues"), this.#features.maxQueues, vectors);
    this.#interrupts.restore(reader.child("interrupts"));
    this.#features.restore(reader.child("features"));
    this.#health.restore(reader.child("health"));
    this.#logPages.namespaceChanged = reader.flag("namespaceChanged");
    this.#events.restore(reader.child("events"));
    this.#poweredOnAt = this.host.clock.now() - poweredOn;
    this.#msix.restore({ table, pending });
    this.config.restore({ bytes: config });
    this.#registers.resume();
    this.#engine.restore(engine);
    this.#registers.resumeShutdown();
  }

  #ring(index: number, value: number): void {
    const isTail = (index & 1) === 0;
    if (!this.#registers.isReady) {
      this.host.violation("doorbell-not-ready", "a doorbell was rung while the controller is not ready");
    } else if (isTail && this.#registers.isShuttingDown) {
      this.host.violation("doorbell-after-shutdown", "commands were submitted after CC.SHN announced a shutdown");
    } else {
      this.#doorbells.write(index, value);
    }
  }

  /** Registers are accessed whole: 4 bytes, or 8 that the bus has split (§3). */
  #badAccess(verb: string, offset: number, size: number): void {
    this.host.violation(
      "register-access-size",
      `${size} bytes at ${hex(offset)} were ${verb}: registers are 4 or 8 wide`,
    );
  }

  #configWritten(): void {
    if (this.#pcie.takeResetRequest()) {
      this.#registers.reset();
      this.#msix.reset();
      this.config.reset();
      return;
    }
    this.#msix.configWritten();
    this.#interrupts.updatePin();
  }

  #checkTemperature(): void {
    if (!this.#logPages.isTemperatureOut || !this.#features.isEventEnabled(EventConfiguration.temperature)) return;
    this.#events.raise(EventType.health, HealthEvent.temperatureThreshold, LogPage.health);
  }

  #poweredOn(): number {
    return this.host.clock.now() - this.#poweredOnAt;
  }
}

function identityFrom(options: NvmeOptions): Identity {
  const { serial = "KORRAL-0001", model = "Korral NVMe disk", firmware = "1.0" } = options;
  checkText("serial number", serial, 20);
  checkText("model name", model, 40);
  checkText("firmware revision", firmware, 8);
  return { serial, model, firmware };
}

/** Identify strings are printable ASCII. */
function checkText(what: string, text: string, longest: number): void {
  if (text.length <= longest && /^[\x20-\x7e]+$/.test(text)) return;
  throw new UsageError(
    `the ${what} of an NVMe controller is 1 to ${longest} printable ASCII characters, not "${text}"`,
  );
}
