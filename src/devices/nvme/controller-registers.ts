import type { Timer } from "../../bus/clock.js";
import type { DeviceHost } from "../../bus/device.js";
import { hex } from "../../util/bytes.js";
import type { StateReader } from "../../util/state-reader.js";
import type { DiskBackend } from "../disk-backend.js";
import { rearm, remaining } from "../timers.js";
import type { AsyncEvents } from "./async-events.js";
import type { Engine } from "./engine.js";
import type { Features } from "./features.js";
import type { Interrupts } from "./interrupts.js";
import { CompletionQueue, type QueueTable, SubmissionQueue } from "./queues.js";
import {
  AQA,
  CAP_HIGH,
  CAP_LOW,
  CC,
  CSTS,
  MIN_PAGE_SHIFT,
  MPSMAX,
  Register,
  ShutdownNotification,
  SUBSYSTEM_RESET,
  VERSION,
  wide,
} from "./registers.js";
import type { Transfer } from "./transfer.js";

/** Nanoseconds from CC.EN to CSTS.RDY and back, and for a shutdown to begin to take effect. */
const ENABLE_TIME = 100_000;
const DISABLE_TIME = 10_000;
const SHUTDOWN_TIME = 50_000;

export interface ControllerRegistersState {
  cc: number;
  csts: number;
  aqa: number;
  /** Low and high halves. */
  asq: number[];
  acq: number[];
  pageSize: number;
  /** Nanoseconds until CSTS.RDY changes, and until a shutdown begins; Infinity when nothing is under way. */
  transition: number;
  shutdown: number;
}

/** What the registers govern. */
export interface ControllerParts {
  readonly host: DeviceHost;
  readonly disk: DiskBackend;
  readonly queues: QueueTable;
  readonly engine: Engine;
  readonly interrupts: Interrupts;
  readonly features: Features;
  readonly events: AsyncEvents;
  readonly transfer: Transfer;
}

/** The controller registers and the life cycle that they govern: enable, reset, shutdown (§3.1, §7.3, §7.6). */
export class ControllerRegisters {
  #cc = 0;
  #csts = 0;
  #aqa = 0;
  readonly #asq = new Uint32Array(2);
  readonly #acq = new Uint32Array(2);
  readonly #transition: Timer;
  readonly #shutdown: Timer;
  /** Tells the answer to the flush of a shutdown that a reset has overtaken. */
  #generation = 0;
  #flushing = false;

  constructor(readonly parts: ControllerParts) {
    const { host, engine } = parts;
    this.#transition = host.clock.timer(() => this.#transitionOver());
    this.#shutdown = host.clock.timer(() => this.#shutDown());
    engine.onFatal = () => this.#fatal();
    engine.onIdle = () => {
      if (!this.#shutdown.armed) this.#shutDown();
    };
  }

  get configuration(): number {
    return this.#cc;
  }

  get isReady(): boolean {
    return (this.#csts & (CSTS.RDY | CSTS.CFS)) === CSTS.RDY;
  }

  get isShuttingDown(): boolean {
    return (this.#csts & CSTS.SHST_MASK) !== 0;
  }

  /** Power may go without loss: never enabled, or shut down. */
  get isSafe(): boolean {
    return (this.#cc & CC.EN) === 0 || (this.#csts & CSTS.SHST_MASK) === CSTS.SHST_COMPLETE;
  }

  /** @param offset a multiple of 4 */
  read(offset: number): number {
    switch (offset) {
      case Register.CAP:
        return CAP_LOW;
      case Register.CAP + 4:
        return CAP_HIGH;
      case Register.VS:
        return VERSION;
      case Register.INTMS:
      case Register.INTMC:
        return this.parts.interrupts.mask;
      case Register.CC:
        return this.#cc;
      case Register.CSTS:
        return this.#csts;
      case Register.AQA:
        return this.#aqa;
      case Register.ASQ:
      case Register.ASQ + 4:
        return this.#asq[(offset - Register.ASQ) >>> 2];
      case Register.ACQ:
      case Register.ACQ + 4:
        return this.#acq[(offset - Register.ACQ) >>> 2];
      default:
        // Reserved, or a register of an optional part that is absent (CMB, boot partitions, PMR).
        return 0;
    }
  }

  write(offset: number, value: number): void {
    switch (offset) {
      case Register.INTMS:
        this.#maskPin(this.parts.interrupts.mask | value);
        break;
      case Register.INTMC:
        this.#maskPin(this.parts.interrupts.mask & ~value);
        break;
      case Register.CC:
        this.#configure((value & CC.WRITABLE) >>> 0);
        break;
      case Register.CSTS:
        this.#csts &= ~(value & CSTS.NSSRO);
        break;
      case Register.NSSR:
        if (value === SUBSYSTEM_RESET) {
          this.reset();
          this.#csts = CSTS.NSSRO;
        }
        break;
      case Register.AQA:
        this.#aqa = value & AQA.WRITABLE;
        this.#adminQueueWritten();
        break;
      case Register.ASQ:
        this.#asq[0] = value & ~0xfff;
        this.#adminQueueWritten();
        break;
      case Register.ASQ + 4:
        this.#asq[1] = value;
        this.#adminQueueWritten();
        break;
      case Register.ACQ:
        this.#acq[0] = value & ~0xfff;
        this.#adminQueueWritten();
        break;
      case Register.ACQ + 4:
        this.#acq[1] = value;
        this.#adminQueueWritten();
        break;
      default:
        this.parts.host.violation(
          "register-read-only",
          `offset ${hex(offset)} was written, which is read-only or reserved`,
        );
    }
  }

  /** All registers as after power-on; everything under way is forgotten. */
  reset(): void {
    this.#controllerReset();
    this.#cc = 0;
    this.#csts = 0;
    this.#aqa = 0;
    this.#asq.fill(0);
    this.#acq.fill(0);
  }

  snapshot(): ControllerRegistersState {
    return {
      cc: this.#cc,
      csts: this.#csts,
      aqa: this.#aqa,
      asq: [...this.#asq],
      acq: [...this.#acq],
      pageSize: this.parts.transfer.pageSize,
      transition: remaining(this.#transition, this.parts.host.clock),
      shutdown: remaining(this.#shutdown, this.parts.host.clock),
    };
  }

  /** Takes registers and timers; {@link resume} goes on where they stopped. */
  restore(state: StateReader): void {
    const pageSize = state.integer("pageSize", 2 ** MIN_PAGE_SHIFT, 2 ** (MIN_PAGE_SHIFT + MPSMAX));
    this.reset();
    this.#cc = state.integer("cc", 0, 0xffff_ffff) & CC.WRITABLE;
    this.#csts = state.integer("csts", 0, 0x1f);
    this.#aqa = state.integer("aqa", 0, 0xffff_ffff) & AQA.WRITABLE;
    this.#asq.set(state.numbers("asq", 2, 2, 0xffff_ffff));
    this.#acq.set(state.numbers("acq", 2, 2, 0xffff_ffff));
    this.parts.transfer.pageSize = 2 ** Math.floor(Math.log2(pageSize));
    rearm(this.#transition, state.delay("transition"));
    rearm(this.#shutdown, state.delay("shutdown"));
  }

  resume(): void {
    this.parts.engine.running =
      this.isReady && (this.#cc & CC.EN) !== 0 && (this.#csts & CSTS.SHST_MASK) !== CSTS.SHST_COMPLETE;
  }

  /** After the commands have been taken up again: a shutdown that was waiting for them goes on. */
  resumeShutdown(): void {
    if (!this.#shutdown.armed) this.#shutDown();
  }

  #configure(value: number): void {
    const before = this.#cc;
    const enabled = (value & CC.EN) !== 0;
    const wasEnabled = (before & CC.EN) !== 0;
    this.#cc = value;
    if (enabled && !wasEnabled) {
      // RDY still set: the host did not wait for the reset to be over, so it is over now.
      if ((this.#csts & CSTS.RDY) !== 0) {
        this.#violation("enable-before-ready-cleared", "CC.EN was set while CSTS.RDY was still set");
        this.#csts &= ~CSTS.RDY;
      }
      this.#transition.arm(ENABLE_TIME);
    } else if (!enabled && wasEnabled) {
      this.#controllerReset();
      this.#csts &= CSTS.RDY | CSTS.NSSRO;
      this.#transition.arm(DISABLE_TIME);
    } else if (enabled && (CC.mps(value) !== CC.mps(before) || CC.css(value) !== CC.css(before))) {
      this.#violation("configuration-while-enabled", "CC.MPS or CC.CSS was changed while the controller is enabled");
    }
    if (enabled && CC.shn(value) !== ShutdownNotification.none && CC.shn(value) !== CC.shn(before)) {
      this.#notifyShutdown();
    }
  }

  #transitionOver(): void {
    if ((this.#cc & CC.EN) === 0) {
      this.#csts &= ~CSTS.RDY;
      return;
    }
    const wrong = this.#configurationFault();
    if (wrong !== null) {
      this.#violation("controller-configuration", `the controller was enabled with ${wrong}`);
      this.#csts |= CSTS.CFS;
      return;
    }
    const { queues, transfer, engine } = this.parts;
    transfer.pageSize = 2 ** (MIN_PAGE_SHIFT + CC.mps(this.#cc));
    const completion = new CompletionQueue(0, wide(this.#acq[0], this.#acq[1]), AQA.acqs(this.#aqa), 0, true);
    queues.addCompletion(completion);
    queues.addSubmission(new SubmissionQueue(0, wide(this.#asq[0], this.#asq[1]), AQA.asqs(this.#aqa), completion));
    this.#csts |= CSTS.RDY;
    engine.running = true;
  }

  /** What makes it impossible to start, or null (§7.6.1). */
  #configurationFault(): string | null {
    const mps = CC.mps(this.#cc);
    if (mps > MPSMAX) return `a memory page size beyond CAP.MPSMAX (CC.MPS = ${mps})`;
    if (CC.css(this.#cc) !== 0) return `an I/O command set that CAP.CSS does not offer (CC.CSS = ${CC.css(this.#cc)})`;
    if (CC.ams(this.#cc) !== 0) return `an arbitration that CAP.AMS does not offer (CC.AMS = ${CC.ams(this.#cc)})`;
    if (AQA.asqs(this.#aqa) < 2 || AQA.acqs(this.#aqa) < 2)
      return `an admin queue of one entry (AQA = ${hex(this.#aqa)})`;
    const mask = 2 ** (MIN_PAGE_SHIFT + mps) - 1;
    if (((this.#asq[0] | this.#acq[0]) & mask) !== 0) return "an admin queue that does not start a memory page";
    return null;
  }

  /** §7.3.2: all queues and commands go; the admin queue registers stay. */
  #controllerReset(): void {
    const { engine, events, queues, interrupts, features } = this.parts;
    this.#generation++;
    this.#flushing = false;
    this.#transition.cancel();
    this.#shutdown.cancel();
    // Not shutting down any more: the engine's last command must not complete a shutdown.
    this.#csts &= ~CSTS.SHST_MASK;
    engine.stop();
    events.reset();
    queues.clear();
    interrupts.reset();
    features.reset();
  }

  #notifyShutdown(): void {
    this.#csts = (this.#csts & ~CSTS.SHST_MASK) | CSTS.SHST_OCCURRING;
    this.#shutdown.arm(CC.shn(this.#cc) === ShutdownNotification.normal ? SHUTDOWN_TIME : 0);
  }

  /** §7.6.2: what is at work is finished unless the shutdown is abrupt, then everything is made durable. */
  #shutDown(): void {
    if ((this.#csts & CSTS.SHST_MASK) !== CSTS.SHST_OCCURRING || this.#flushing) return;
    const { engine, disk } = this.parts;
    const patient = CC.shn(this.#cc) !== ShutdownNotification.abrupt && (this.#csts & CSTS.CFS) === 0;
    if (patient && engine.outstanding > 0) return;
    const generation = this.#generation;
    this.#flushing = true;
    disk.flush(() => {
      if (generation !== this.#generation) return;
      this.#flushing = false;
      this.#csts = (this.#csts & ~CSTS.SHST_MASK) | CSTS.SHST_COMPLETE;
      engine.halt();
    });
  }

  #fatal(): void {
    this.#csts |= CSTS.CFS;
    this.parts.engine.halt();
  }

  #maskPin(mask: number): void {
    const { interrupts } = this.parts;
    if (interrupts.msix.enabled) {
      this.#violation("interrupt-mask-with-msix", "INTMS or INTMC was written while MSI-X is enabled");
    }
    interrupts.mask = mask >>> 0;
    interrupts.updatePin();
  }

  #adminQueueWritten(): void {
    if ((this.#cc & CC.EN) === 0) return;
    this.#violation("admin-queue-while-enabled", "AQA, ASQ or ACQ was written while the controller is enabled");
  }

  #violation(rule: string, message: string): void {
    this.parts.host.violation(rule, message);
  }
}
