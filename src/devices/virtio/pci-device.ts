import type { AccessSize, DeviceHost, PciDevice } from "../../bus/device.js";
import type { PciConfigState } from "../../bus/pci-config.js";
import { MsiX, type MsiXState } from "../../bus/pci-msix.js";
import { hex } from "../../util/bytes.js";
import { StateReader } from "../../util/state-reader.js";
import { COMMON_BYTES, CommonConfiguration, type CommonConfigurationState } from "./common-configuration.js";
import { StructureType, VirtioConfigSpace } from "./config-space.js";
import { DeviceCore, DeviceStatus, type DeviceType } from "./device-core.js";
import { Feature, FeatureSet } from "./features.js";
import { type VirtioInterruptState, VirtioInterrupts } from "./interrupts.js";
import type { Virtqueue, VirtqueueState } from "./virtqueue.js";

/** Red Hat's, as §4.1.2 says. */
const VENDOR = 0x1af4;
/** PCI device ids of non-transitional devices: this and the type of the device. */
const FIRST_DEVICE_ID = 0x1040;
/** A subsystem id from 0x40 on keeps drivers from taking the device for a transitional one (§4.1.2.1). */
const SUBSYSTEM = 0x1100;
const NON_TRANSITIONAL_REVISION = 1;

/** The one BAR: a page for each structure. */
export const VirtioBar = {
  index: 0,
  common: 0x0000,
  isr: 0x1000,
  device: 0x2000,
  notify: 0x3000,
  msixTable: 0x4000,
} as const;
const MSIX_PENDING = 0x5000;
const BAR_BYTES = 0x8000;
const PAGE_SHIFT = 12;
/** From one queue's notification address to the next one's. */
export const NOTIFY_MULTIPLIER = 4;

export interface VirtioOptions {
  /** Whether packed virtqueues are offered. Default: they are. */
  packed?: boolean;
  /** Whether single queues can be reset. Default: they can. */
  queueReset?: boolean;
}

/** What kind of device it is (§5). */
export interface VirtioType {
  readonly model: string;
  /** 1 is a network device, 2 a block device, … */
  readonly deviceType: number;
  /** PCI class, 24 bits. */
  readonly classCode: number;
  readonly queueSizes: readonly number[];
  /** Feature bits of the type. */
  readonly features: readonly number[];
  /** Bytes of device-specific configuration. */
  readonly configurationBytes: number;
}

/** Plain-state twin. */
export interface VirtioState {
  config: PciConfigState;
  msix: MsiXState;
  status: number;
  features: number[];
  common: CommonConfigurationState;
  interrupts: VirtioInterruptState;
  queues: VirtqueueState[];
  configuration: number[];
  type: object;
}

/**
 * A modern virtio device on PCI (VIRTIO 1.2, §4.1), non-transitional: there is no legacy interface. What it does is
 * added by its type.
 */
export abstract class VirtioPciDevice implements PciDevice, DeviceType {
  readonly model: string;
  readonly config: VirtioConfigSpace;
  readonly offered: FeatureSet;
  readonly queueSizes: readonly number[];
  protected readonly core: DeviceCore;
  /** The device-specific configuration, as the driver sees it. */
  protected readonly configuration: DataView;
  readonly #msix: MsiX;
  readonly #interrupts: VirtioInterrupts;
  readonly #common: CommonConfiguration;

  constructor(
    readonly host: DeviceHost,
    type: VirtioType,
    options: VirtioOptions,
  ) {
    this.model = type.model;
    this.queueSizes = type.queueSizes;
    const common: number[] = [Feature.INDIRECT_DESC, Feature.EVENT_IDX, Feature.VERSION_1, Feature.ACCESS_PLATFORM];
    if (options.packed !== false) common.push(Feature.RING_PACKED);
    if (options.queueReset !== false) common.push(Feature.RING_RESET);
    this.offered = new FeatureSet([...common, ...type.features]);
    this.configuration = new DataView(new ArrayBuffer(type.configurationBytes));
    this.config = new VirtioConfigSpace(
      {
        vendorId: VENDOR,
        deviceId: FIRST_DEVICE_ID + type.deviceType,
        classCode: type.classCode,
        revision: NON_TRANSITIONAL_REVISION,
        subsystemVendorId: VENDOR,
        subsystemId: SUBSYSTEM,
        interruptPin: 1,
      },
      {
        barBytes: (bar) => this.config.bars[bar]?.size ?? 0,
        read: (bar, offset, size) => this.read(bar, offset, size),
        write: (bar, offset, size, value) => this.write(bar, offset, size, value),
        violation: (rule, message) => host.violation(rule, message),
      },
    );
    this.config.addBar(VirtioBar.index, "memory64", BAR_BYTES);
    // One for each queue, and one for changes of the configuration.
    this.#msix = new MsiX(host, this.config, type.queueSizes.length + 1, {
      bar: VirtioBar.index,
      table: VirtioBar.msixTable,
      pending: MSIX_PENDING,
    });
    const notifyBytes = NOTIFY_MULTIPLIER * type.queueSizes.length;
    this.config.addStructure(StructureType.COMMON_CFG, VirtioBar.index, VirtioBar.common, COMMON_BYTES);
    this.config.addStructure(StructureType.ISR_CFG, VirtioBar.index, VirtioBar.isr, 1);
    this.config.addStructure(StructureType.DEVICE_CFG, VirtioBar.index, VirtioBar.device, type.configurationBytes);
    this.config.addStructure(
      StructureType.NOTIFY_CFG,
      VirtioBar.index,
      VirtioBar.notify,
      notifyBytes,
      NOTIFY_MULTIPLIER,
    );
    this.config.addWindow();
    this.#interrupts = new VirtioInterrupts(host, this.config, this.#msix);
    this.core = new DeviceCore(host, this.#interrupts, this);
    this.#common = new CommonConfiguration(this.core);
    this.config.onWrite = (offset, size) => {
      this.#msix.configWritten();
      this.#interrupts.updatePin();
      this.config.written(offset, size);
    };
  }

  abstract featureConflict(accepted: FeatureSet): string | null;
  abstract started(): void;
  abstract notified(queue: Virtqueue): void;
  protected abstract resetType(): void;
  protected abstract snapshotType(): object;
  protected abstract restoreType(state: StateReader): void;

  read(bar: number, offset: number, size: AccessSize): number {
    if (bar !== VirtioBar.index) return 0;
    const within = offset & 0xfff;
    switch (offset >>> PAGE_SHIFT) {
      case VirtioBar.common >>> PAGE_SHIFT:
        return within < COMMON_BYTES ? this.#common.read(within, size) : 0;
      case VirtioBar.isr >>> PAGE_SHIFT:
        return within === 0 ? this.#interrupts.readIsr() : 0;
      case VirtioBar.device >>> PAGE_SHIFT:
        return this.#readConfiguration(within, size);
      case VirtioBar.msixTable >>> PAGE_SHIFT:
        return this.#msix.readTable(within, size);
      case MSIX_PENDING >>> PAGE_SHIFT:
        return this.#msix.readPending(within, size);
    }
    return 0;
  }

  write(bar: number, offset: number, size: AccessSize, value: number): void {
    if (bar !== VirtioBar.index) return;
    const within = offset & 0xfff;
    switch (offset >>> PAGE_SHIFT) {
      case VirtioBar.notify >>> PAGE_SHIFT:
        this.#notify(within, size, value);
        return;
      case VirtioBar.common >>> PAGE_SHIFT:
        if (within < COMMON_BYTES) this.#common.write(within, size, value);
        return;
      case VirtioBar.device >>> PAGE_SHIFT:
        this.host.violation("virtio-read-only", `device configuration was written at ${hex(within)}: it is read-only`);
        return;
      case VirtioBar.msixTable >>> PAGE_SHIFT:
        this.#msix.writeTable(within, size, value);
        return;
    }
  }

  /** Power-on, but for the configuration space. */
  reset(): void {
    this.core.reset();
    this.#msix.reset();
  }

  typeReset(): void {
    this.#common.reset();
    this.resetType();
  }

  snapshot(): VirtioState {
    return {
      config: this.config.snapshot(),
      msix: this.#msix.snapshot(),
      status: this.core.status,
      features: [...this.core.features.words],
      common: this.#common.snapshot(),
      interrupts: this.#interrupts.snapshot(),
      queues: this.core.queues.map((queue) => queue.snapshot()),
      configuration: [...new Uint8Array(this.configuration.buffer)],
      type: this.snapshotType(),
    };
  }

  restore(state: object): void {
    this.core.reset();
    try {
      this.#restore(new StateReader(this.model, state));
    } catch (error) {
      this.reset();
      throw error;
    }
  }

  /** The driver finds another device configuration from now on. @param notify whether it is told so (§4.1.5.4) */
  protected configurationChanged(notify: boolean): void {
    this.#common.configurationChanged();
    if (notify && this.core.live) this.#interrupts.configurationChanged();
  }

  #restore(state: StateReader): void {
    const { core } = this;
    const config = state.child("config").numbers("bytes", 256, 256, 0xff);
    const { table, pending } = this.#msix.snapshot();
    const msix = state.child("msix");
    const newTable = msix.numbers("table", table.length, table.length, 0xffff_ffff);
    const newPending = msix.numbers("pending", pending.length, pending.length, 0xffff_ffff);
    const status = state.integer("status", 0, 0xff);
    const words = core.features.words.length;
    core.features.words.set(state.numbers("features", words, words, 0xffff_ffff));
    const isFinal = (status & DeviceStatus.FEATURES_OK) !== 0;
    if (isFinal && (core.features.firstNotIn(this.offered) >= 0 || this.featureConflict(core.features) !== null)) {
      throw state.misfit("features", "what the device offers");
    }
    if (!isFinal && (status & DeviceStatus.DRIVER_OK) !== 0) throw state.misfit("status", "with FEATURES_OK");
    this.#common.restore(state.child("common"));
    this.#interrupts.restore(state.child("interrupts"));
    const queues = state.children("queues", core.queues.length);
    core.queues.forEach((queue, i) => {
      queue.restore(queues[i], this.#msix.vectors);
    });
    const bytes = this.configuration.byteLength;
    new Uint8Array(this.configuration.buffer).set(state.numbers("configuration", bytes, bytes, 0xff));
    core.status = status;
    this.restoreType(state.child("type"));
    this.#msix.restore({ table: newTable, pending: newPending });
    this.config.restore({ bytes: config });
  }

  #readConfiguration(offset: number, size: AccessSize): number {
    const { configuration } = this;
    if (offset + size > configuration.byteLength) return 0;
    this.#common.configurationRead();
    if (size === 4) return configuration.getUint32(offset, true);
    return size === 2 ? configuration.getUint16(offset, true) : configuration.getUint8(offset);
  }

  /** §4.1.5.2: the queue's index, at its own address. */
  #notify(offset: number, size: AccessSize, value: number): void {
    const index = offset / NOTIFY_MULTIPLIER;
    if (size !== 2 || value !== index) {
      const what = `${value} in ${size} bytes was written to the notification address ${hex(offset)}`;
      this.host.violation("virtio-notify", `${what}: it takes a queue's index, in 2 bytes (§4.1.5.2)`);
    } else {
      this.core.notify(index);
    }
  }
}
