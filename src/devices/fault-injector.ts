import type { Clock, Timer } from "../bus/clock.js";
import type { AccessSize, DeviceFactory, DeviceHost, PciDevice, RegisterDevice } from "../bus/device.js";
import { InterruptPin } from "../bus/interrupts.js";
import type { DmaPort } from "../bus/io-mmu.js";
import type { PciConfigSpace } from "../bus/pci-config.js";
import { DmaAccess, type PinAccess } from "../memory/pin.js";
import { hex } from "../util/bytes.js";
import { happens, type Random, randomBelow } from "../util/random.js";
import { StateReader } from "../util/state-reader.js";
import { rearm, remaining } from "./timers.js";

/** Probabilities from 0 to 1 for each event; left out: 0. */
export interface FaultOptions {
  /** A register read gives all ones, as if nobody answered. */
  readOnes?: number;
  /** One bit of a register read is flipped. */
  readFlip?: number;
  /** A register write does not arrive. */
  writeDrop?: number;
  /** One bit of a register write is flipped. */
  writeFlip?: number;
  /** An interrupt (an assertion of INTx, or a message) is lost. */
  interruptLose?: number;
  /** An interrupt comes late. */
  interruptDelay?: number;
  /** An interrupt comes once more, when there is nothing to do. */
  interruptRepeat?: number;
  /** One bit that the device reads from memory is flipped. */
  dmaReadFlip?: number;
  /** One bit that the device writes to memory is flipped. */
  dmaWriteFlip?: number;
  /** An access to memory is refused, as by a failing bus. */
  dmaRefuse?: number;
  /** With an access to memory, eight random bytes are written to a random address. */
  dmaStray?: number;
  /** The longest delay of a late interrupt, in nanoseconds. Default: 1 ms. */
  longestDelay?: number;
}

export type FaultKind = Exclude<keyof FaultOptions, "longestDelay">;

export interface InjectedFault {
  /** Machine time. */
  readonly at: number;
  readonly kind: FaultKind;
  readonly detail: string;
}

const DEFAULT_LONGEST_DELAY = 1_000_000;
/** The log keeps so many faults, the latest ones. */
const LOG_LIMIT = 10_000;
/** Late messages on their way: more are lost. */
const MESSAGES_LIMIT = 64;
/** Strays go below this: the device's own mappings are as likely as anything else in the lower 4 GiB. */
const STRAY_LIMIT = 2 ** 32;
const STRAY_BYTES = 8;

/** Decides about faults, and writes down those that were injected. */
export class FaultLog {
  readonly #entries: InjectedFault[] = [];
  /** How many of each kind were injected, also of those that the log has forgotten. */
  readonly counts: Partial<Record<FaultKind, number>> = {};

  constructor(
    readonly options: FaultOptions,
    readonly random: Random,
    private readonly clock: Clock,
  ) {}

  get entries(): readonly InjectedFault[] {
    return this.#entries;
  }

  /** Whether a fault of this kind is to happen now; draws no random number for a kind that is off. */
  happens(kind: FaultKind): boolean {
    return happens(this.random, this.options[kind]);
  }

  enabled(...kinds: FaultKind[]): boolean {
    return kinds.some((kind) => (this.options[kind] ?? 0) > 0);
  }

  note(kind: FaultKind, detail: string): void {
    if (this.#entries.length >= LOG_LIMIT) this.#entries.shift();
    this.#entries.push({ at: this.clock.now(), kind, detail });
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
  }

  delay(): number {
    return randomBelow(this.random, Math.max(1, this.options.longestDelay ?? DEFAULT_LONGEST_DELAY)) + 1;
  }
}

/** Plain-state twin of the injector and of the device inside. */
export interface FaultyDeviceState {
  device: object;
  level: boolean;
  /** Nanoseconds until a late or repeated INTx changes, or Infinity. */
  pinDelay: number;
  rounds: number;
  /** Late messages: address and data, alternating. */
  messages: number[];
  messageDelay: number;
}

/** Any device with faults injected between it and its bus. Without options it is exactly the device. */
export class FaultyDevice<Device extends RegisterDevice = RegisterDevice> implements RegisterDevice {
  readonly device: Device;
  readonly faults: FaultLog;
  readonly #pin: FaultyPin;
  readonly #messages: FaultyMessages;

  constructor(host: DeviceHost, factory: DeviceFactory<Device>, options: FaultOptions, random: Random) {
    const faults = new FaultLog(options, random, host.clock);
    this.faults = faults;
    this.#pin = new FaultyPin(host.interrupt, faults, host.clock);
    this.#messages = new FaultyMessages(host, faults);
    const interrupts = faults.enabled("interruptLose", "interruptDelay", "interruptRepeat");
    const memory = faults.enabled("dmaReadFlip", "dmaWriteFlip", "dmaRefuse", "dmaStray");
    this.device = factory({
      clock: host.clock,
      dma: memory ? new FaultyDmaPort(host.dma, faults, host.clock) : host.dma,
      interrupt: interrupts ? this.#pin : host.interrupt,
      message: interrupts ? (address, data) => this.#messages.send(address, data) : host.message,
      violation: host.violation,
    });
  }

  get model(): string {
    return this.device.model;
  }

  read(bar: number, offset: number, size: AccessSize): number {
    const { faults } = this;
    const value = this.device.read(bar, offset, size);
    if (faults.happens("readOnes")) {
      faults.note("readOnes", `BAR ${bar} ${hex(offset)}`);
      return 2 ** (8 * size) - 1;
    }
    if (!faults.happens("readFlip")) return value;
    const bit = randomBelow(faults.random, 8 * size);
    faults.note("readFlip", `BAR ${bar} ${hex(offset)} bit ${bit}`);
    return (value ^ (1 << bit)) >>> 0;
  }

  write(bar: number, offset: number, size: AccessSize, value: number): void {
    const { faults } = this;
    if (faults.happens("writeDrop")) {
      faults.note("writeDrop", `BAR ${bar} ${hex(offset)} value ${hex(value)}`);
      return;
    }
    let arrived = value;
    if (faults.happens("writeFlip")) {
      const bit = randomBelow(faults.random, 8 * size);
      faults.note("writeFlip", `BAR ${bar} ${hex(offset)} bit ${bit}`);
      arrived = (value ^ (1 << bit)) >>> 0;
    }
    this.device.write(bar, offset, size, arrived);
  }

  reset(): void {
    this.#messages.clear();
    this.device.reset();
    this.#pin.settle();
  }

  snapshot(): FaultyDeviceState {
    return { device: this.device.snapshot(), ...this.#pin.snapshot(), ...this.#messages.snapshot() };
  }

  restore(state: object): void {
    const reader = new StateReader(`${this.model} with faults`, state);
    const level = reader.flag("level");
    const pinDelay = reader.delay("pinDelay");
    const rounds = reader.integer("rounds", 0, 1);
    const messages = reader.numbers("messages", 0, 2 * MESSAGES_LIMIT, Number.MAX_SAFE_INTEGER);
    const messageDelay = reader.delay("messageDelay");
    this.device.restore((state as FaultyDeviceState).device);
    this.#pin.restore(level, pinDelay, rounds);
    this.#messages.restore(messages, messageDelay);
  }
}

export class FaultyPciDevice<Device extends PciDevice = PciDevice> extends FaultyDevice<Device> implements PciDevice {
  get config(): PciConfigSpace {
    return this.device.config;
  }
}

/**
 * Composes faults around a device: `bus.plug("e1000", withFaults(factory, { dmaWriteFlip: 0.01 }, random))`.
 * The same seed and the same events give the same faults.
 */
export function withFaults<Device extends PciDevice>(
  factory: DeviceFactory<Device>,
  options: FaultOptions,
  random: Random,
): DeviceFactory<FaultyPciDevice<Device>> {
  return (host) => new FaultyPciDevice(host, factory, options, random);
}

/** The same for a device that is not on the PCI bus. */
export function withRegisterFaults<Device extends RegisterDevice>(
  factory: DeviceFactory<Device>,
  options: FaultOptions,
  random: Random,
): DeviceFactory<FaultyDevice<Device>> {
  return (host) => new FaultyDevice(host, factory, options, random);
}

/** INTx between the device and its wire. */
class FaultyPin extends InterruptPin {
  readonly #wire: InterruptPin;
  readonly #faults: FaultLog;
  readonly #clock: Clock;
  readonly #timer: Timer;
  /** What the device wants. */
  #wanted = false;
  /** Rounds of the machine loop for which a repeated interrupt stays. */
  #rounds = 0;

  constructor(wire: InterruptPin, faults: FaultLog, clock: Clock) {
    super(wire.line);
    this.#wire = wire;
    this.#faults = faults;
    this.#clock = clock;
    this.#timer = clock.timer(() => this.#expired());
  }

  override get level(): boolean {
    return this.#wire.level;
  }

  override set(level: boolean): void {
    if (level === this.#wanted) return;
    this.#wanted = level;
    if (level) this.#assert();
    else this.#release();
  }

  /** The wire gets the level that the device wants. */
  settle(): void {
    this.#timer.cancel();
    this.#rounds = 0;
    this.#wire.set(this.#wanted);
  }

  #expired(): void {
    if (this.#rounds === 0) {
      this.settle();
    } else {
      this.#rounds--;
      this.#timer.arm(0);
    }
  }

  #assert(): void {
    const faults = this.#faults;
    this.#timer.cancel();
    this.#rounds = 0;
    if (faults.happens("interruptLose")) {
      faults.note("interruptLose", this.line.name);
      this.#wire.set(false);
    } else if (faults.happens("interruptDelay")) {
      const delay = faults.delay();
      faults.note("interruptDelay", `${this.line.name} by ${delay} ns`);
      this.#timer.arm(delay);
    } else {
      this.#wire.set(true);
    }
  }

  #release(): void {
    const faults = this.#faults;
    this.#timer.cancel();
    if (this.#wire.level && faults.happens("interruptRepeat")) {
      faults.note("interruptRepeat", this.line.name);
      // This round's timers are still to come, and the line is to be looked at once more in the next one.
      this.#rounds = 1;
      this.#timer.arm(0);
    } else {
      this.#wire.set(false);
    }
  }

  snapshot(): { level: boolean; pinDelay: number; rounds: number } {
    return { level: this.#wanted, pinDelay: remaining(this.#timer, this.#clock), rounds: this.#rounds };
  }

  restore(level: boolean, delay: number, rounds: number): void {
    this.#wanted = level;
    this.#rounds = rounds;
    rearm(this.#timer, delay);
  }
}

/** Message-signalled interrupts between the device and the bus. */
class FaultyMessages {
  readonly #host: DeviceHost;
  readonly #faults: FaultLog;
  readonly #timer: Timer;
  #late: number[] = [];

  constructor(host: DeviceHost, faults: FaultLog) {
    this.#host = host;
    this.#faults = faults;
    this.#timer = host.clock.timer(() => this.#deliver());
  }

  send(address: number, data: number): void {
    const faults = this.#faults;
    const detail = `message ${hex(data)}`;
    if (faults.happens("interruptLose")) {
      faults.note("interruptLose", detail);
      return;
    }
    if (faults.happens("interruptDelay")) {
      faults.note("interruptDelay", detail);
      if (this.#late.length < 2 * MESSAGES_LIMIT) this.#late.push(address, data);
      if (!this.#timer.armed) this.#timer.arm(faults.delay());
      return;
    }
    this.#host.message(address, data);
    if (!faults.happens("interruptRepeat")) return;
    faults.note("interruptRepeat", detail);
    this.#host.message(address, data);
  }

  clear(): void {
    this.#timer.cancel();
    this.#late = [];
  }

  #deliver(): void {
    const late = this.#late;
    this.#late = [];
    for (let i = 0; i < late.length; i += 2) this.#host.message(late[i], late[i + 1]);
  }

  snapshot(): { messages: number[]; messageDelay: number } {
    return { messages: [...this.#late], messageDelay: remaining(this.#timer, this.#host.clock) };
  }

  restore(messages: number[], delay: number): void {
    this.#late = messages;
    rearm(this.#timer, delay);
  }
}

/** Memory between the device and its I/O MMU context. */
class FaultyDmaPort implements DmaPort {
  readonly #port: DmaPort;
  readonly #faults: FaultLog;
  readonly #flip: Timer;
  /** A byte to damage once the device has filled the spans that it was lent, or −1. */
  #flipAt = -1;

  constructor(port: DmaPort, faults: FaultLog, clock: Clock) {
    this.#port = port;
    this.#faults = faults;
    this.#flip = clock.timer(() => this.#flipLent());
  }

  read(address: number, into: Uint8Array, offset: number, length: number): boolean {
    if (this.#disturbed("read", address)) return false;
    if (!this.#port.read(address, into, offset, length)) return false;
    if (length > 0 && this.#faults.happens("dmaReadFlip")) this.#flipBit("dmaReadFlip", address, into, offset, length);
    return true;
  }

  write(address: number, from: Uint8Array, offset: number, length: number): boolean {
    if (this.#disturbed("write", address)) return false;
    if (length <= 0 || !this.#faults.happens("dmaWriteFlip")) return this.#port.write(address, from, offset, length);
    const damaged = from.slice(offset, offset + length);
    this.#flipBit("dmaWriteFlip", address, damaged, 0, length);
    return this.#port.write(address, damaged, 0, length);
  }

  spans(address: number, length: number, access: PinAccess): Uint8Array[] | null {
    if (this.#disturbed("spans", address)) return null;
    const spans = this.#port.spans(address, length, access);
    if (spans === null || length <= 0) return spans;
    if ((access & DmaAccess.write) !== 0) {
      if (this.#flipAt < 0 && this.#faults.happens("dmaWriteFlip")) {
        this.#flipAt = address + randomBelow(this.#faults.random, length);
        this.#flip.arm(0);
      }
      return spans;
    }
    if (!this.#faults.happens("dmaReadFlip")) return spans;
    // What the device sees is damaged, not the memory.
    const copies = spans.map((span) => span.slice());
    const damaged = copies[randomBelow(this.#faults.random, copies.length)];
    this.#flipBit("dmaReadFlip", address, damaged, 0, damaged.length);
    return copies;
  }

  #disturbed(what: string, address: number): boolean {
    const faults = this.#faults;
    if (faults.happens("dmaStray")) this.#stray();
    if (!faults.happens("dmaRefuse")) return false;
    faults.note("dmaRefuse", `${what} at ${hex(address)}`);
    return true;
  }

  #stray(): void {
    const { random } = this.#faults;
    const address = randomBelow(random, STRAY_LIMIT);
    const bytes = Uint8Array.from({ length: STRAY_BYTES }, () => random() & 0xff);
    this.#faults.note("dmaStray", `${STRAY_BYTES} bytes to ${hex(address)}`);
    this.#port.write(address, bytes, 0, STRAY_BYTES);
  }

  #flipBit(kind: FaultKind, address: number, bytes: Uint8Array, offset: number, length: number): void {
    const at = randomBelow(this.#faults.random, length);
    const bit = randomBelow(this.#faults.random, 8);
    bytes[offset + at] ^= 1 << bit;
    this.#faults.note(kind, `${hex(address)} byte ${at} bit ${bit}`);
  }

  #flipLent(): void {
    const address = this.#flipAt;
    this.#flipAt = -1;
    const byte = new Uint8Array(1);
    if (!this.#port.read(address, byte, 0, 1)) return;
    this.#flipBit("dmaWriteFlip", address, byte, 0, 1);
    this.#port.write(address, byte, 0, 1);
  }
}
