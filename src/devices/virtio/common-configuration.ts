import type { AccessSize } from "../../bus/device.js";
import { hex } from "../../util/bytes.js";
import type { StateReader } from "../../util/state-reader.js";
import type { DeviceCore } from "./device-core.js";
import { Feature } from "./features.js";
import type { Virtqueue } from "./virtqueue.js";

/** Offsets in the common configuration structure (VIRTIO 1.2, §4.1.4.3). */
export const CommonField = {
  device_feature_select: 0x00,
  device_feature: 0x04,
  driver_feature_select: 0x08,
  driver_feature: 0x0c,
  config_msix_vector: 0x10,
  num_queues: 0x12,
  device_status: 0x14,
  config_generation: 0x15,
  queue_select: 0x16,
  queue_size: 0x18,
  queue_msix_vector: 0x1a,
  queue_enable: 0x1c,
  queue_notify_off: 0x1e,
  queue_desc: 0x20,
  queue_driver: 0x28,
  queue_device: 0x30,
  queue_notify_data: 0x38,
  queue_reset: 0x3a,
} as const;

export const COMMON_BYTES = 0x3c;

/** Size of the field that starts at an offset; drivers must access each with just that (§4.1.3.1). */
const FIELD_SIZES = new Uint8Array(COMMON_BYTES);
for (const offset of [0x00, 0x04, 0x08, 0x0c, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x34]) FIELD_SIZES[offset] = 4;
for (const offset of [0x10, 0x12, 0x16, 0x18, 0x1a, 0x1c, 0x1e, 0x38, 0x3a]) FIELD_SIZES[offset] = 2;
for (const offset of [0x14, 0x15]) FIELD_SIZES[offset] = 1;

export interface CommonConfigurationState {
  deviceFeatureSelect: number;
  driverFeatureSelect: number;
  queueSelect: number;
  generation: number;
  changed: boolean;
}

/** The registers by which a driver sets up a virtio device on PCI. */
export class CommonConfiguration {
  readonly #core: DeviceCore;
  #deviceFeatureSelect = 0;
  #driverFeatureSelect = 0;
  #queueSelect = 0;
  #generation = 0;
  /** The device configuration is not what it was when the driver last read of it. */
  #changed = false;

  constructor(core: DeviceCore) {
    this.#core = core;
  }

  /** The device-specific configuration has changed. */
  configurationChanged(): void {
    this.#changed = true;
  }

  /** The driver reads device-specific configuration: config_generation follows the note in §4.1.4.3.1. */
  configurationRead(): void {
    if (!this.#changed) return;
    this.#changed = false;
    this.#generation = (this.#generation + 1) & 0xff;
  }

  read(offset: number, size: AccessSize): number {
    this.#checkSize("read", offset, size);
    const value = this.#word(offset & ~3) >>> (8 * (offset & 3));
    return size === 4 ? value : size === 2 ? value & 0xffff : value & 0xff;
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (!this.#checkSize("written", offset, size)) return;
    const core = this.#core;
    switch (offset) {
      case CommonField.device_feature_select:
        this.#deviceFeatureSelect = value;
        return;
      case CommonField.driver_feature_select:
        this.#driverFeatureSelect = value;
        return;
      case CommonField.driver_feature:
        core.writeFeatures(this.#driverFeatureSelect, value);
        return;
      case CommonField.config_msix_vector:
        core.interrupts.configurationVector = core.interrupts.accepted(value);
        return;
      case CommonField.device_status:
        core.writeStatus(value);
        return;
      case CommonField.queue_select:
        this.#queueSelect = value;
        return;
      case CommonField.device_feature:
      case CommonField.num_queues:
      case CommonField.config_generation:
      case CommonField.queue_notify_off:
      case CommonField.queue_notify_data:
        core.violation(
          "virtio-read-only",
          `the field at ${hex(offset)} was written, but only the device may (§4.1.4.3)`,
        );
        return;
    }
    const queue = core.queues[this.#queueSelect];
    if (queue !== undefined) this.#writeQueue(queue, offset, value);
    else
      core.violation("virtio-queue-select", `queue ${this.#queueSelect} is selected: there are ${core.queues.length}`);
  }

  reset(): void {
    this.#deviceFeatureSelect = 0;
    this.#driverFeatureSelect = 0;
    this.#queueSelect = 0;
  }

  snapshot(): CommonConfigurationState {
    return {
      deviceFeatureSelect: this.#deviceFeatureSelect,
      driverFeatureSelect: this.#driverFeatureSelect,
      queueSelect: this.#queueSelect,
      generation: this.#generation,
      changed: this.#changed,
    };
  }

  restore(state: StateReader): void {
    this.#deviceFeatureSelect = state.integer("deviceFeatureSelect", 0, 0xffff_ffff);
    this.#driverFeatureSelect = state.integer("driverFeatureSelect", 0, 0xffff_ffff);
    this.#queueSelect = state.integer("queueSelect", 0, 0xffff);
    this.#generation = state.integer("generation", 0, 0xff);
    this.#changed = state.flag("changed");
  }

  #word(offset: number): number {
    const core = this.#core;
    const queue = core.queues[this.#queueSelect];
    switch (offset) {
      case 0x00:
        return this.#deviceFeatureSelect;
      case 0x04:
        return core.type.offered.words[this.#deviceFeatureSelect] ?? 0;
      case 0x08:
        return this.#driverFeatureSelect;
      case 0x0c:
        return core.features.words[this.#driverFeatureSelect] ?? 0;
      case 0x10:
        return core.interrupts.configurationVector | (core.queues.length << 16);
      case 0x14:
        return (core.status | (this.#generation << 8) | (this.#queueSelect << 16)) >>> 0;
    }
    if (queue === undefined) return 0;
    switch (offset) {
      case 0x18:
        return (queue.size | (queue.vector << 16)) >>> 0;
      case 0x1c:
        return (queue.enabled ? 1 : 0) | (queue.index << 16);
      case 0x38:
        return queue.index;
      default:
        return queue.areas[(offset - CommonField.queue_desc) >>> 2] ?? 0;
    }
  }

  #writeQueue(queue: Virtqueue, offset: number, value: number): void {
    const core = this.#core;
    if (offset === CommonField.queue_msix_vector) {
      queue.vector = core.interrupts.accepted(value);
    } else if (offset === CommonField.queue_reset) {
      this.#resetQueue(queue, value);
    } else if (offset === CommonField.queue_enable) {
      this.#enableQueue(queue, value);
    } else if (queue.enabled) {
      core.violation("virtio-queue-enabled", `queue ${queue.index} was changed while it is enabled (§4.1.4.3.2)`);
    } else if (offset === CommonField.queue_size) {
      queue.resize(value);
    } else {
      queue.areas[(offset - CommonField.queue_desc) >>> 2] = value;
    }
  }

  #enableQueue(queue: Virtqueue, value: number): void {
    const core = this.#core;
    if (value !== 1) {
      core.violation("virtio-queue-disable", `${value} was written to queue_enable: only 1 may be (§4.1.4.3.2)`);
    } else if (!core.areFeaturesFinal) {
      core.violation("virtio-queue-early", `queue ${queue.index} was enabled before FEATURES_OK (§3.1.1)`);
    } else if (!queue.enabled) {
      queue.enable();
    }
  }

  /** §2.6.1: done by the time that the driver looks. */
  #resetQueue(queue: Virtqueue, value: number): void {
    const core = this.#core;
    if (!core.features.has(Feature.RING_RESET) || !core.areFeaturesFinal) {
      core.violation("virtio-queue-reset", "queue_reset was written without VIRTIO_F_RING_RESET");
    } else if (value !== 1) {
      core.violation("virtio-queue-reset", `${value} was written to queue_reset: only 1 may be (§4.1.4.3)`);
    } else {
      queue.reset();
    }
  }

  #checkSize(verb: string, offset: number, size: AccessSize): boolean {
    if (FIELD_SIZES[offset] === size) return true;
    this.#core.violation(
      "virtio-access-size",
      `${size} bytes at ${hex(offset)} of the common configuration were ${verb}: not what a field takes (§4.1.3.1)`,
    );
    return false;
  }
}
