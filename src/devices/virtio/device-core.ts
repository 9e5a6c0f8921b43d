import type { DeviceHost } from "../../bus/device.js";
import type { DmaPort } from "../../bus/io-mmu.js";
import { Feature, FeatureSet } from "./features.js";
import type { VirtioInterrupts } from "./interrupts.js";
import { Virtqueue, type VirtqueueOwner } from "./virtqueue.js";

/** Device status (VIRTIO 1.2, §2.1). */
export const DeviceStatus = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  NEEDS_RESET: 64,
  FAILED: 128,
} as const;

const DRIVER_BITS =
  DeviceStatus.ACKNOWLEDGE |
  DeviceStatus.DRIVER |
  DeviceStatus.DRIVER_OK |
  DeviceStatus.FEATURES_OK |
  DeviceStatus.FAILED;

/** What a type of device adds to the common part. */
export interface DeviceType {
  /** The largest size of each queue, by its index. */
  readonly queueSizes: readonly number[];
  /** Everything offered, common bits included. */
  readonly offered: FeatureSet;
  /** Why a driver may not accept these features together, or null. They have been offered. */
  featureConflict(accepted: FeatureSet): string | null;
  /** DRIVER_OK was set: buffers may wait already. */
  started(): void;
  /** The driver notifies of buffers in a live queue. */
  notified(queue: Virtqueue): void;
  /** The device was reset: everything about the type goes back to its default. */
  typeReset(): void;
}

/** The part of a virtio device that knows neither its type nor its bus: status, features and queues (§2). */
export class DeviceCore implements VirtqueueOwner {
  /** The features that the driver accepted; final from FEATURES_OK on. */
  readonly features = new FeatureSet();
  readonly queues: readonly Virtqueue[];
  status = 0;

  constructor(
    readonly host: DeviceHost,
    readonly interrupts: VirtioInterrupts,
    readonly type: DeviceType,
  ) {
    this.queues = type.queueSizes.map((size, index) => new Virtqueue(this, index, size));
  }

  get dma(): DmaPort {
    return this.host.dma;
  }

  get live(): boolean {
    return (this.status & (DeviceStatus.DRIVER_OK | DeviceStatus.NEEDS_RESET)) === DeviceStatus.DRIVER_OK;
  }

  get areFeaturesFinal(): boolean {
    return (this.status & DeviceStatus.FEATURES_OK) !== 0;
  }

  /** The driver writes the status; 0 resets the device. */
  writeStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    const before = this.status;
    const cleared = before & DRIVER_BITS & ~value;
    if (cleared !== 0) {
      this.violation("virtio-status-cleared", `status bits ${cleared} were cleared: only a reset does that (§2.1.1)`);
    }
    let added = value & DRIVER_BITS & ~before;
    if ((added & DeviceStatus.FEATURES_OK) !== 0 && !this.#areFeaturesAcceptable()) added &= ~DeviceStatus.FEATURES_OK;
    if ((added & DeviceStatus.DRIVER_OK) !== 0 && ((before | added) & DeviceStatus.FEATURES_OK) === 0) {
      this.violation("virtio-driver-ok", "DRIVER_OK was set before FEATURES_OK (§3.1.1)");
      added &= ~DeviceStatus.DRIVER_OK;
    }
    this.status = before | added;
    if ((added & DeviceStatus.DRIVER_OK) !== 0 && this.live) this.type.started();
  }

  /** The driver writes 32 of its feature bits. */
  writeFeatures(word: number, bits: number): void {
    if (this.areFeaturesFinal) {
      this.violation("virtio-features-late", "features were written after FEATURES_OK (§3.1.1)");
    } else if (word < this.features.words.length) {
      this.features.words[word] = bits;
    } else if (bits !== 0) {
      this.violation("virtio-features-unknown", `feature bits from ${32 * word} on were accepted: none are offered`);
    }
  }

  /** The driver notifies of available buffers (§4.1.5.2). */
  notify(index: number): void {
    const queue = this.queues[index];
    if (queue === undefined || !queue.enabled) {
      this.violation("virtio-notify-queue", `queue ${index} was notified, but is not enabled`);
    } else if ((this.status & DeviceStatus.DRIVER_OK) === 0) {
      this.violation("virtio-notify-early", `queue ${index} was notified before DRIVER_OK (§3.1.1)`);
    } else if (queue.live) {
      this.type.notified(queue);
    }
  }

  queueUsed(queue: Virtqueue): void {
    this.interrupts.queueUsed(queue.vector);
  }

  violation(rule: string, message: string): void {
    this.host.violation(rule, message);
  }

  broken(rule: string, message: string): void {
    this.violation(rule, `${message}: the device needs a reset`);
    this.refused();
  }

  /** The device cannot go on (§2.1.2); memory that refuses is reported by the I/O MMU itself. */
  refused(): void {
    if ((this.status & DeviceStatus.NEEDS_RESET) !== 0) return;
    const wasLive = this.live;
    this.status |= DeviceStatus.NEEDS_RESET;
    if (wasLive) this.interrupts.configurationChanged();
  }

  /** §2.4: by the driver, or at power-on. */
  reset(): void {
    this.status = 0;
    this.features.clear();
    for (const queue of this.queues) queue.reset();
    this.interrupts.reset();
    this.type.typeReset();
  }

  #areFeaturesAcceptable(): boolean {
    const { features, type } = this;
    const unknown = features.firstNotIn(type.offered);
    if (unknown >= 0) {
      this.violation("virtio-features", `feature bit ${unknown} was accepted, but is not offered (§2.2.1)`);
      return false;
    }
    if (!features.has(Feature.VERSION_1)) {
      this.violation("virtio-version-1", "the driver does not accept VIRTIO_F_VERSION_1: it is a legacy driver (§6.1)");
      return false;
    }
    if (!features.has(Feature.ACCESS_PLATFORM)) {
      this.violation(
        "virtio-access-platform",
        "the driver does not accept VIRTIO_F_ACCESS_PLATFORM: it would pass addresses by which the device reaches nothing (§6.1)",
      );
      return false;
    }
    const conflict = type.featureConflict(features);
    if (conflict !== null) this.violation("virtio-features", conflict);
    return conflict === null;
  }
}
