import { openCapability } from "../capability/capability.js";
import type { Message, Received } from "../capability/endpoint.js";
import { ArgumentError } from "../capability/errors.js";
import { Fcr, Ier, Iir, Lcr, Lsr, Mcr, UartRegister } from "../devices/uart16550-registers.js";
import { frameOffset } from "../memory/physical-memory.js";
import { CopiedStringQueue } from "../transfer/copied-string.js";
import { PAGE_SIZE } from "../util/brand.js";
import { KorralError } from "../util/errors.js";
import type { MaybePromise } from "../util/maybe-promise.js";
import { REPLY_OK } from "./block-service.js";
import type { DriverDomain } from "./driver-domain.js";
import { TerminalLabel } from "./terminal-service.js";

const FIFO_BYTES = 16;
/** 115200 baud from the PC's 1.8432 MHz crystal. */
const DIVISOR = 1;
/** A line that is never idle gets its next turn from the machine, so that all others get theirs. */
const PASSES_A_TURN = 64;
/** Input is held back (RTS off) when the reserved memory has less room than this, and wanted again above twice as much. */
const LOW_WATER = 64;

/** A string that has not left its client's message altogether. */
interface PendingWrite {
  readonly bytes: Uint8Array;
  taken: number;
  readonly done: (reply: Message) => void;
}

/**
 * A terminal driver as EROS would have it: case 1. Characters gather in driver-reserved memory and leave it as a copied
 * string in the reply to whoever asked for them.
 */
export class UartDriver {
  readonly #domain: DriverDomain;
  readonly #input: CopiedStringQueue;
  readonly #output: CopiedStringQueue;
  /** First come, first served: strings of two clients never mix. */
  readonly #writes: PendingWrite[] = [];
  readonly #drainers: (() => void)[] = [];
  #held = false;
  /** Characters that the line reported as damaged or lost. */
  lineErrors = 0;

  private constructor(domain: DriverDomain) {
    this.#domain = domain;
    this.#input = new CopiedStringQueue(reservedPage(domain), domain.statistics);
    this.#output = new CopiedStringQueue(reservedPage(domain), domain.statistics);
  }

  /** Programs the line for 115200 baud, 8N1, with FIFOs, and serves the domain's endpoint. @throws KorralError without a UART */
  static start(domain: DriverDomain): UartDriver {
    try {
      const driver = new UartDriver(domain);
      driver.#program();
      domain.serve((message) => driver.#serve(message));
      return driver;
    } catch (error) {
      domain.kill("it did not start");
      throw error;
    }
  }

  /** Characters that came while the reserved memory was full. */
  get overruns(): number {
    return this.#input.overruns;
  }

  #program(): void {
    const scratch = 0x5a;
    this.#write(UartRegister.SCR, scratch);
    if (this.#read(UartRegister.SCR) !== scratch) {
      throw new KorralError(
        "no-uart",
        "there is no UART at this address: its scratch register does not hold a value",
        1,
      );
    }
    this.#write(UartRegister.LCR, Lcr.DLAB);
    this.#write(UartRegister.DLL, DIVISOR);
    this.#write(UartRegister.DLM, 0);
    this.#write(UartRegister.LCR, Lcr.WORD_LENGTH);
    this.#write(UartRegister.FCR, Fcr.ENABLE | Fcr.CLEAR_RECEIVER | Fcr.CLEAR_TRANSMITTER | Fcr.TRIGGER);
    this.#domain.attach(this.#domain.irq, () => this.#interrupt());
    this.#write(UartRegister.MCR, Mcr.DTR | Mcr.RTS | Mcr.OUT2);
    this.#write(UartRegister.IER, Ier.ERBFI | Ier.ELSI | Ier.ETBEI);
  }

  #interrupt(): boolean {
    for (let pass = 0; pass < PASSES_A_TURN; pass++) {
      const cause = this.#read(UartRegister.IIR) & ~Iir.FIFOS;
      if (cause === Iir.NONE) return pass > 0;
      if (cause === Iir.DATA || cause === Iir.TIMEOUT || cause === Iir.LINE_STATUS) this.#receive();
      else if (cause === Iir.THRE) this.#transmit();
      else this.#read(UartRegister.MSR);
    }
    return true;
  }

  #receive(): void {
    for (let i = 0; i < PASSES_A_TURN; i++) {
      const status = this.#read(UartRegister.LSR);
      if ((status & (Lsr.OE | Lsr.PE | Lsr.FE | Lsr.BI)) !== 0) this.lineErrors++;
      if ((status & Lsr.DR) === 0) break;
      this.#input.push(this.#read(UartRegister.RBR));
    }
    this.#input.serve(REPLY_OK);
    this.#flowControl();
  }

  #transmit(): void {
    this.#takeWrites();
    if ((this.#read(UartRegister.LSR) & Lsr.THRE) === 0) return;
    for (let i = 0; i < FIFO_BYTES; i++) {
      const byte = this.#output.shift();
      if (byte < 0) break;
      this.#write(UartRegister.THR, byte);
    }
    this.#takeWrites();
    if (this.#output.length === 0) for (const wake of this.#drainers.splice(0)) wake();
  }

  /** Moves what clients want to send into reserved memory, as far as there is room. */
  #takeWrites(): void {
    for (;;) {
      const first = this.#writes[0];
      if (first === undefined) return;
      first.taken += this.#output.pushAll(first.bytes.subarray(first.taken));
      if (first.taken < first.bytes.length) return;
      this.#writes.shift();
      first.done({ label: REPLY_OK, words: [first.taken] });
    }
  }

  #flowControl(): void {
    const hold = this.#input.free < (this.#held ? 2 * LOW_WATER : LOW_WATER);
    if (hold === this.#held) return;
    this.#held = hold;
    this.#write(UartRegister.MCR, Mcr.DTR | Mcr.OUT2 | (hold ? 0 : Mcr.RTS));
  }

  #serve(message: Received): MaybePromise<Message> {
    switch (message.label) {
      case TerminalLabel.read: {
        const [most] = message.words;
        if (!Number.isInteger(most) || most < 1)
          throw new ArgumentError("terminal read", "needs the most bytes to return, at least 1");
        const reply = this.#input.read(REPLY_OK, most);
        this.#flowControl();
        return reply;
      }
      case TerminalLabel.write:
        return this.#send(message.string);
      case TerminalLabel.drain:
        return this.#drained();
      default:
        throw new ArgumentError("terminal", `${message.label} is not an operation of a terminal`);
    }
  }

  #send(bytes: Uint8Array): Promise<Message> {
    return new Promise<Message>((done) => {
      this.#writes.push({ bytes, taken: 0, done });
      this.#transmit();
    });
  }

  async #drained(): Promise<Message> {
    while (this.#output.length > 0) await new Promise<void>((resolve) => this.#drainers.push(resolve));
    while ((this.#read(UartRegister.LSR) & Lsr.TEMT) === 0) await this.#domain.sleep(100_000);
    return { label: REPLY_OK };
  }

  #read(register: number): number {
    return this.#domain.device.read(0, register, 1);
  }

  #write(register: number, value: number): void {
    this.#domain.device.write(0, register, 1, value);
  }
}

/** A page of the driver's own. A UART does no DMA, so it needs neither a pin nor a mapping. */
function reservedPage(domain: DriverDomain): Uint8Array {
  const page = openCapability(domain.bank.page(), "reserve");
  const start = frameOffset(page.frame);
  return page.memoryBank.bytes.subarray(start, start + PAGE_SIZE);
}
