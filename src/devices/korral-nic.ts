import type { AccessSize, DeviceHost, PciDevice } from "../bus/device.js";
import { PciConfigSpace } from "../bus/pci-config.js";
import { MsiX } from "../bus/pci-msix.js";
import { MAXIMUM_LENGTH } from "../filter/bpf.js";
import { hex } from "../util/bytes.js";
import { UsageError } from "../util/errors.js";
import { StateReader } from "../util/state-reader.js";
import { AddressFilter } from "./korral-nic/address-filter.js";
import { FilterBank } from "./korral-nic/filter-bank.js";
import type { Board, KorralQueue } from "./korral-nic/queue.js";
import { ReceiveQueue } from "./korral-nic/receive-queue.js";
import * as k1 from "./korral-nic/registers.js";
import { Register } from "./korral-nic/registers.js";
import { Statistics } from "./korral-nic/statistics.js";
import { TransmitQueue } from "./korral-nic/transmit-queue.js";
import { ETHERNET_HEADER_BYTES, LONGEST_FRAME_BYTES, type Wire } from "./wire.js";

const BAR = 0;
const WORD = 0xffff_ffff;

export interface KorralNicOptions {
  readonly wire: Wire;
  /** Station address, six bytes; 02:4b:31:00:00:01 if left out. */
  readonly macAddress?: Uint8Array;
  /** Receive queues, a power of two up to 64; 16 if left out. */
  readonly queues?: number;
}

/** Korral K1, a network adapter that filters on the board. Sections are those of its data sheet, docs/korral-nic.md. */
export class KorralNic implements PciDevice, Board {
  readonly model = "korral-nic";
  readonly config = new PciConfigSpace({
    vendorId: k1.VENDOR_ID,
    deviceId: k1.DEVICE_ID,
    classCode: k1.CLASS_CODE,
    revision: 1,
    interruptPin: 0,
  });
  readonly statistics = new Statistics();

  readonly #wire: Wire;
  readonly #msix: MsiX;
  readonly #addresses: AddressFilter;
  readonly #filters = new FilterBank();
  readonly #receive: ReceiveQueue[] = [];
  readonly #transmit: TransmitQueue;
  readonly #failed = new Uint32Array(2);
  #control = 0;
  #cause = 0;
  #mask = 0;
  #default = 0;

  /** @throws UsageError for a number of queues or an address that cannot be */
  constructor(
    readonly host: DeviceHost,
    options: KorralNicOptions,
  ) {
    const queues = options.queues ?? 16;
    if (!Number.isInteger(queues) || queues < 1 || queues > k1.MOST_QUEUES || (queues & (queues - 1)) !== 0) {
      throw new UsageError(
        `${queues} receive queues: choose a power of two up to ${k1.MOST_QUEUES}`,
        "korral-nic-queues",
      );
    }
    const address = options.macAddress ?? Uint8Array.of(0x02, 0x4b, 0x31, 0, 0, 1);
    if (address.length !== 6 || (address[0] & 1) !== 0) {
      throw new UsageError("the station address must be six bytes and no multicast address", "korral-nic-address");
    }
    this.#wire = options.wire;
    this.#addresses = new AddressFilter(address.slice());
    this.config.addBar(BAR, "memory32", k1.Region.end);
    this.config.addPowerManagement();
    this.#msix = new MsiX(host, this.config, k1.Vector.receive + queues, {
      bar: BAR,
      table: k1.Region.msixTable,
      pending: k1.Region.msixPending,
    });
    this.config.onWrite = () => this.#msix.configWritten();
    for (let index = 0; index < queues; index++) this.#receive.push(new ReceiveQueue(this, index, this.#filters));
    this.#transmit = new TransmitQueue(this, options.wire);
    options.wire.onFrame((bytes, offset, length) => this.#frameArrived(bytes, offset, length));
    options.wire.onCarrier(() => this.#raise(k1.Cause.LINK));
  }

  read(bar: number, offset: number, size: AccessSize): number {
    if (bar !== BAR || offset < 0 || offset + size > k1.Region.end || (offset & 3) + size > 4) {
      return size === 4 ? WORD : size === 2 ? 0xffff : 0xff;
    }
    const word = this.#readWord(offset & ~3);
    if (size === 4) return word;
    return (word >>> (8 * (offset & 3))) & (size === 2 ? 0xffff : 0xff);
  }

  write(bar: number, offset: number, size: AccessSize, value: number): void {
    if (bar !== BAR || offset < 0 || offset + size > k1.Region.end) return;
    if (offset >= k1.Region.msixTable) {
      const at = offset - k1.Region.msixTable;
      if (at + size <= this.#msix.tableBytes) this.#msix.writeTable(at, size, value >>> 0);
      return;
    }
    if (size !== 4 || (offset & 3) !== 0) {
      this.host.violation(
        "korral-nic-width",
        `${size} bytes are written at ${hex(offset)}: registers take aligned writes of 4 bytes`,
      );
      return;
    }
    this.#writeWord(offset, value >>> 0);
  }

  reset(): void {
    this.#resetRegisters();
    this.#msix.reset();
  }

  snapshot(): object {
    return {
      model: this.model,
      config: this.config.snapshot(),
      msix: this.#msix.snapshot(),
      control: this.#control,
      cause: this.#cause,
      mask: this.#mask,
      default: this.#default,
      addresses: [...this.#addresses.words],
      statistics: [...this.statistics.counters],
      filters: this.#filters.snapshot(),
      receive: this.#receive.map((queue) => queue.snapshot()),
      transmit: this.#transmit.snapshot(),
    };
  }

  /** After an error the board is as after power-on. */
  restore(state: object): void {
    this.reset();
    try {
      this.#restore(new StateReader(this.model, state));
    } catch (error) {
      this.reset();
      throw error;
    }
  }

  notify(vector: number): void {
    this.#msix.notify(vector);
  }

  stateChanged(queue: KorralQueue): void {
    if (!(queue instanceof ReceiveQueue)) {
      if (queue.failed) this.#raise(k1.Cause.TXERROR);
      return;
    }
    this.#filters.setEnabled(queue.index, queue.enabled);
    const bit = 1 << (queue.index & 31);
    if (queue.failed) {
      this.#failed[queue.index >>> 5] |= bit;
      this.#raise(k1.Cause.RXERROR);
    } else {
      this.#failed[queue.index >>> 5] &= ~bit;
    }
  }

  #restore(from: StateReader): void {
    const vectors = this.#msix.vectors;
    const config = { bytes: from.child("config").numbers("bytes", 256, 256, 0xff) };
    const msix = from.child("msix");
    const table = msix.numbers("table", 4 * vectors, 4 * vectors, WORD);
    const pendingWords = Math.ceil(vectors / 32);
    const pending = msix.numbers("pending", pendingWords, pendingWords, WORD);
    this.#control = from.integer("control", 0, k1.CONTROL_WRITABLE);
    this.#mask = 0;
    this.#default = this.#validDefault(from.integer("default", 0, WORD));
    const words = from.numbers("addresses", 2 * k1.ADDRESS_SLOTS, 2 * k1.ADDRESS_SLOTS, WORD);
    words.forEach((value, word) => {
      this.#addresses.setWord(word, value);
    });
    const most = Number.MAX_SAFE_INTEGER;
    this.statistics.counters.set(from.numbers("statistics", k1.STATISTICS, k1.STATISTICS, most));
    this.#filters.restore(from.children("filters", k1.MOST_QUEUES));
    from.children("receive", this.#receive.length).forEach((queue, i) => {
      this.#receive[i].restore(queue);
    });
    this.#transmit.restore(from.child("transmit"), (this.#control & k1.Control.TXEN) !== 0);
    this.#cause = from.integer("cause", 0, k1.CAUSES);
    this.#mask = from.integer("mask", 0, k1.CAUSES);
    this.config.restore(config);
    this.#msix.restore({ table, pending });
  }

  #resetRegisters(): void {
    this.#control = 0;
    this.#default = 0;
    this.#transmit.setOn(false);
    this.#transmit.reset();
    for (const queue of this.#receive) {
      queue.reset();
      this.#filters.clear(queue.index);
    }
    this.#addresses.reset();
    this.statistics.counters.fill(0);
    this.#cause = 0;
    this.#mask = 0;
  }

  #readWord(offset: number): number {
    if (offset < k1.Region.addresses) return this.#readRegister(offset);
    if (offset < k1.Region.statistics) return this.#addresses.words[(offset - k1.Region.addresses) >>> 2] ?? 0;
    if (offset < k1.Region.transmit) return this.statistics.readWord((offset - k1.Region.statistics) >>> 2);
    if (offset >= k1.Region.msixPending) return this.#msix.readPending(offset - k1.Region.msixPending, 4);
    if (offset >= k1.Region.msixTable) return this.#msix.readTable(offset - k1.Region.msixTable, 4);
    return this.#queueAt(offset)?.readRegister(offset % k1.QUEUE_BLOCK) ?? 0;
  }

  #writeWord(offset: number, value: number): void {
    if (offset < k1.Region.addresses) this.#writeRegister(offset, value);
    else if (offset < k1.Region.statistics) {
      const word = (offset - k1.Region.addresses) >>> 2;
      if (word < this.#addresses.words.length) this.#addresses.setWord(word, value);
    } else this.#queueAt(offset)?.writeRegister(offset % k1.QUEUE_BLOCK, value);
  }

  #queueAt(offset: number): KorralQueue | undefined {
    if (offset >= k1.Region.receive) return this.#receive[Math.floor((offset - k1.Region.receive) / k1.QUEUE_BLOCK)];
    return offset >= k1.Region.transmit && offset < k1.Region.transmit + k1.QUEUE_BLOCK ? this.#transmit : undefined;
  }

  /** §2. */
  #readRegister(offset: number): number {
    switch (offset) {
      case Register.ID:
        return k1.ID;
      case Register.CAPS:
        return this.#receive.length | (k1.MOST_SIZE << 8) | (MAXIMUM_LENGTH << 16);
      case Register.CONTROL:
        return this.#control;
      case Register.STATUS: {
        const failed = this.#failed[0] !== 0 || this.#failed[1] !== 0 || this.#transmit.failed;
        return (this.#wire.carrier ? k1.Status.LINK : 0) | (failed ? k1.Status.ERROR : 0);
      }
      case Register.CAUSE:
        return this.#cause;
      case Register.MASK:
        return this.#mask;
      case Register.DEFAULT:
        return this.#default;
      case Register.ERRORS:
        return this.#failed[0];
      case Register.ERRORS_HIGH:
        return this.#failed[1];
      default:
        return 0;
    }
  }

  #writeRegister(offset: number, value: number): void {
    switch (offset) {
      case Register.CONTROL:
        if ((value & k1.Control.RESET) !== 0) {
          this.#resetRegisters();
          break;
        }
        this.#control = value & k1.CONTROL_WRITABLE;
        this.#transmit.setOn((value & k1.Control.TXEN) !== 0);
        break;
      case Register.CAUSE:
        this.#cause &= ~value;
        break;
      case Register.MASK: {
        const before = this.#mask;
        this.#mask = value & k1.CAUSES;
        if ((this.#mask & ~before & this.#cause) !== 0) this.#msix.notify(k1.Vector.device);
        break;
      }
      case Register.DEFAULT:
        this.#default = this.#validDefault(value);
        break;
    }
  }

  #validDefault(value: number): number {
    const queue = value & k1.DEFAULT_QUEUE;
    if ((value & k1.VALID) === 0) return queue;
    if (queue < this.#receive.length) return (k1.VALID | queue) >>> 0;
    this.host.violation(
      "korral-nic-default",
      `queue ${queue} is made the default, but the board has ${this.#receive.length}: there is no default now`,
    );
    return queue;
  }

  #raise(cause: number): void {
    this.#cause |= cause;
    if ((this.#mask & cause) !== 0) this.#msix.notify(k1.Vector.device);
  }

  /** §4: whose frame it is, or which counter has it. */
  #frameArrived(bytes: Uint8Array, offset: number, length: number): void {
    const { counters } = this.statistics;
    if ((this.#control & k1.Control.RXEN) === 0) counters[k1.Statistic.RX_OFF]++;
    else if (length < ETHERNET_HEADER_BYTES || length > LONGEST_FRAME_BYTES) counters[k1.Statistic.RX_BAD]++;
    else if (!this.#addresses.accepts(bytes, offset, this.#control)) counters[k1.Statistic.RX_FOREIGN]++;
    else {
      const queue = this.#queueOf(bytes, offset, length);
      if (queue < 0) counters[k1.Statistic.RX_UNCLAIMED]++;
      else this.#receive[queue].receive(bytes, offset, length);
    }
  }

  #queueOf(bytes: Uint8Array, offset: number, length: number): number {
    const queue = this.#filters.classify(bytes, offset, length);
    if (queue >= 0 || (this.#default & k1.VALID) === 0) return queue;
    const fallback = this.#default & k1.DEFAULT_QUEUE;
    return this.#receive[fallback].enabled ? fallback : -1;
  }
}
