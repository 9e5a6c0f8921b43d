import type { DeviceHost } from "../bus/device.js";
import { InputError, UsageError } from "../util/errors.js";
import type { StateReader } from "../util/state-reader.js";
import type { FeatureSet } from "./virtio/features.js";
import { VirtioPciDevice } from "./virtio/pci-device.js";
import type { Virtqueue } from "./virtio/virtqueue.js";
import { ControlQueue } from "./virtio-net/control.js";
import { NetFeature, netFeatureConflict } from "./virtio-net/features.js";
import { Receiver, type ReceiveState } from "./virtio-net/receive.js";
import { ReceiveFilter, type ReceiveFilterState } from "./virtio-net/receive-filter.js";
import { Steering, type SteeringState } from "./virtio-net/steering.js";
import { type TransmitState, Transmitter } from "./virtio-net/transmit.js";
import { ETHERNET_HEADER_BYTES, LONGEST_FRAME_BYTES, type Wire } from "./wire.js";

const MODEL = "virtio-net-pci";
/** §5.1.1. */
const NETWORK_DEVICE = 1;
const ETHERNET_CONTROLLER = 0x02_0000;
/** struct virtio_net_config (§5.1.4). */
const Configuration = { mac: 0, status: 6, maxPairs: 8, mtu: 10, speed: 12, duplex: 16 } as const;
const CONFIGURATION_BYTES = 24;
const LINK_UP = 1;
const FULL_DUPLEX = 1;
/** Megabits per second. */
const SPEED = 10_000;
const CONTROL_QUEUE_SIZE = 64;
const SMALLEST_QUEUE = 64;
const LARGEST_QUEUE = 1024;
const MOST_PAIRS = 8;
const SMALLEST_MTU = 68;
const TAG_BYTES = 4;
/** Locally administered. */
const DEFAULT_ADDRESS = Uint8Array.of(0x52, 0x54, 0x00, 0x12, 0x34, 0x56);

const FEATURES: readonly number[] = [
  NetFeature.CSUM,
  NetFeature.GUEST_CSUM,
  NetFeature.CTRL_GUEST_OFFLOADS,
  NetFeature.MAC,
  NetFeature.HOST_TSO4,
  NetFeature.HOST_TSO6,
  NetFeature.HOST_ECN,
  NetFeature.STATUS,
  NetFeature.CTRL_VQ,
  NetFeature.CTRL_RX,
  NetFeature.CTRL_VLAN,
  NetFeature.CTRL_MAC_ADDR,
  NetFeature.SPEED_DUPLEX,
];

export interface VirtioNetOptions {
  wire: Wire;
  /** Six bytes. Default 52:54:00:12:34:56. */
  macAddress?: Uint8Array;
  /** Whether packed virtqueues are offered. Default: they are. */
  packed?: boolean;
  /** Whether single queues can be reset. Default: they can. */
  queueReset?: boolean;
  /** Whether a frame may be spread over several receive buffers. Default: it may. */
  mergeable?: boolean;
  /** The largest payload of a frame, 68 to 65535, which the driver is told. Default: it is told none. */
  mtu?: number;
  /** Entries of the transmit and receive queues: a power of 2 of 64 to 1024. Default 256. */
  queueSize?: number;
  /** Pairs of a receive and a transmit queue, 1 to 8. Default 1: multiqueue is not offered. */
  queuePairs?: number;
}

/** Plain-state twin of what network devices add. */
export interface VirtioNetState {
  steering: SteeringState;
  filter: ReceiveFilterState;
  checksums: boolean;
  receive: ReceiveState[];
  transmit: TransmitState[];
}

/**
 * Network device of VIRTIO 1.2 (§5.1) on PCI (1af4:1041), with split and packed virtqueues. Segmentation and checksums of
 * what is sent are done here; received frames are never merged into bigger ones.
 */
export class VirtioNet extends VirtioPciDevice {
  readonly #wire: Wire;
  readonly #macAddress: Uint8Array;
  readonly #mtu: number;
  readonly #pairs: number;
  readonly #filter = new ReceiveFilter();
  readonly #steering = new Steering();
  readonly #control: ControlQueue;
  readonly #receivers: Receiver[] = [];
  readonly #transmitters: Transmitter[] = [];
  #checksums = false;
  /** Of the array that the last frame from the wire lay in. */
  #view: DataView = this.configuration;

  /** @throws InputError for a hardware address, UsageError for a number that is out of its range */
  constructor(host: DeviceHost, options: VirtioNetOptions) {
    const { macAddress = DEFAULT_ADDRESS, mtu = 0, queueSize = 256, queuePairs = 1 } = options;
    checkOptions(macAddress, options.mtu, queueSize, queuePairs);
    const features = [...FEATURES];
    if (options.mergeable !== false) features.push(NetFeature.MRG_RXBUF);
    if (mtu > 0) features.push(NetFeature.MTU);
    if (queuePairs > 1) features.push(NetFeature.MQ);
    const type = {
      model: MODEL,
      deviceType: NETWORK_DEVICE,
      classCode: ETHERNET_CONTROLLER,
      queueSizes: [...new Array<number>(2 * queuePairs).fill(queueSize), CONTROL_QUEUE_SIZE],
      features,
      configurationBytes: CONFIGURATION_BYTES,
    };
    super(host, type, options);
    this.#wire = options.wire;
    this.#macAddress = macAddress.slice();
    this.#mtu = mtu;
    this.#pairs = queuePairs;
    for (let pair = 0; pair < queuePairs; pair++) {
      this.#receivers.push(new Receiver(this.core, this.core.queues[2 * pair]));
      const sent = (bytes: Uint8Array, offset: number, length: number): void => {
        if (this.#steering.pairs > 1) this.#steering.sent(bytes, offset, length, pair);
      };
      this.#transmitters.push(new Transmitter(this.core, this.core.queues[2 * pair + 1], options.wire, sent));
    }
    const target = {
      setAddress: (view: DataView, at: number): void => this.#setAddress(view, at),
      setPairs: (pairs: number): boolean => this.#setPairs(pairs),
      setChecksums: (on: boolean): void => this.#setChecksums(on),
    };
    this.#control = new ControlQueue(this.core, this.#filter, target, Math.max(queueSize, CONTROL_QUEUE_SIZE));
    options.wire.onFrame((bytes, offset, length) => this.#frame(bytes, offset, length));
    options.wire.onCarrier(() => this.#carrierChanged());
    this.reset();
  }

  /** Frames that were wanted, but for which the driver had no room. */
  get dropped(): number {
    return this.#receivers.reduce((sum, receiver) => sum + receiver.dropped, 0);
  }

  featureConflict(accepted: FeatureSet): string | null {
    return netFeatureConflict(accepted);
  }

  started(): void {
    const { features } = this.core;
    // A driver that cannot tell which frames it wants gets them all.
    this.#filter.promiscuous = !features.has(NetFeature.CTRL_RX);
    this.#setChecksums(features.has(NetFeature.GUEST_CSUM));
    const pairs = this.#pairsOf(features);
    for (let pair = 0; pair < pairs; pair++) {
      this.#receivers[pair].started();
      this.#transmitters[pair].run();
    }
    if (features.has(NetFeature.CTRL_VQ)) this.#control.run(this.core.queues[2 * pairs]);
  }

  notified(queue: Virtqueue): void {
    const { features } = this.core;
    const control = 2 * this.#pairsOf(features);
    const pair = queue.index >>> 1;
    if (queue.index === control && features.has(NetFeature.CTRL_VQ)) {
      this.#control.run(queue);
    } else if (queue.index >= control) {
      this.core.violation("virtio-net-queue", `queue ${queue.index} was notified, but the features give it no use`);
    } else if ((queue.index & 1) === 0) {
      this.#receivers[pair].run();
    } else {
      this.#transmitters[pair].run();
    }
  }

  protected resetType(): void {
    const { configuration } = this;
    for (let i = 0; i < this.#macAddress.length; i++)
      configuration.setUint8(Configuration.mac + i, this.#macAddress[i]);
    configuration.setUint16(Configuration.status, this.#wire.carrier ? LINK_UP : 0, true);
    configuration.setUint16(Configuration.maxPairs, this.#pairs, true);
    configuration.setUint16(Configuration.mtu, this.#mtu, true);
    configuration.setUint32(Configuration.speed, SPEED, true);
    configuration.setUint8(Configuration.duplex, FULL_DUPLEX);
    this.#filter.reset();
    this.#filter.setAddress(configuration, Configuration.mac);
    this.#steering.reset();
    this.#checksums = false;
    for (const receiver of this.#receivers) receiver.reset();
    for (const transmitter of this.#transmitters) transmitter.reset();
  }

  protected snapshotType(): VirtioNetState {
    return {
      steering: this.#steering.snapshot(),
      filter: this.#filter.snapshot(),
      checksums: this.#checksums,
      receive: this.#receivers.map((receiver) => receiver.snapshot()),
      transmit: this.#transmitters.map((transmitter) => transmitter.snapshot()),
    };
  }

  protected restoreType(state: StateReader): void {
    this.#steering.restore(state.child("steering"), this.#pairs);
    this.#filter.restore(state.child("filter"));
    this.#filter.setAddress(this.configuration, Configuration.mac);
    this.#setChecksums(state.flag("checksums"));
    const receive = state.children("receive", this.#pairs);
    const transmit = state.children("transmit", this.#pairs);
    this.#receivers.forEach((receiver, pair) => {
      receiver.restore(receive[pair]);
    });
    this.#transmitters.forEach((transmitter, pair) => {
      transmitter.restore(transmit[pair]);
    });
  }

  #frame(bytes: Uint8Array, offset: number, length: number): void {
    if (!this.core.live || length < ETHERNET_HEADER_BYTES || length > this.#longestFrame()) return;
    if (this.#view.buffer !== bytes.buffer) this.#view = new DataView(bytes.buffer);
    const view = this.#view;
    const at = bytes.byteOffset + offset;
    if (!this.#filter.accepts(view, at, length, this.core.features.has(NetFeature.CTRL_VLAN))) return;
    const pair = this.#steering.pairs > 1 ? this.#steering.pairFor(bytes, offset, length) : 0;
    this.#receivers[pair].frame(bytes, offset, length, view, at);
  }

  /** Pairs that there are queues for: without multiqueue the control queue follows the first one (§5.1.2). */
  #pairsOf(features: FeatureSet): number {
    return features.has(NetFeature.MQ) ? this.#pairs : 1;
  }

  /** §5.1.4.1: a driver that was told an MTU gets no frame beyond. */
  #longestFrame(): number {
    if (!this.core.features.has(NetFeature.MTU)) return LONGEST_FRAME_BYTES;
    return Math.min(LONGEST_FRAME_BYTES, ETHERNET_HEADER_BYTES + TAG_BYTES + this.#mtu);
  }

  #carrierChanged(): void {
    const status = this.#wire.carrier ? LINK_UP : 0;
    if (this.configuration.getUint16(Configuration.status, true) === status) return;
    this.configuration.setUint16(Configuration.status, status, true);
    this.configurationChanged(this.core.features.has(NetFeature.STATUS));
  }

  #setAddress(view: DataView, at: number): void {
    this.#filter.setAddress(view, at);
    for (let i = 0; i < this.#macAddress.length; i++) {
      this.configuration.setUint8(Configuration.mac + i, view.getUint8(at + i));
    }
    this.configurationChanged(false);
  }

  #setPairs(pairs: number): boolean {
    if (pairs < 1 || pairs > this.#pairs) return false;
    this.#steering.pairs = pairs;
    return true;
  }

  #setChecksums(on: boolean): void {
    this.#checksums = on;
    for (const receiver of this.#receivers) receiver.checksums = on;
  }
}

function checkOptions(macAddress: Uint8Array, mtu: number | undefined, queueSize: number, queuePairs: number): void {
  if (macAddress.length !== 6 || (macAddress[0] & 1) !== 0) {
    throw new InputError("mac-address", "the hardware address must be six bytes and no multicast address");
  }
  if (mtu !== undefined && !isWithin(mtu, SMALLEST_MTU, 0xffff)) {
    throw new UsageError(`the MTU of a virtio network device is ${SMALLEST_MTU} to 65535, not ${mtu}`);
  }
  if (!isWithin(queueSize, SMALLEST_QUEUE, LARGEST_QUEUE) || (queueSize & (queueSize - 1)) !== 0) {
    throw new UsageError(`a virtio queue has a power of 2 of 64 to 1024 entries, not ${queueSize}`);
  }
  if (!isWithin(queuePairs, 1, MOST_PAIRS)) {
    throw new UsageError(`a virtio network device has 1 to ${MOST_PAIRS} pairs of queues, not ${queuePairs}`);
  }
}

function isWithin(value: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most;
}
