import type { BpfProgram } from "../filter/bpf.js";
import { Demultiplexer } from "../filter/packet-filter.js";
import type { Bank } from "../memory/physical-memory.js";
import type { PacketRing } from "./packet-ring.js";
import type { TransferStatistics } from "./statistics.js";

/** A client that receives frames. */
export interface ReceiveSession {
  readonly name: string;
  readonly program: BpfProgram;
  readonly ring: PacketRing;
}

/**
 * Case 3: unsolicited input. The device delivers into the driver's ring; a filter finds the recipient, and the frame is
 * copied into memory that this client provides. No room: that frame is dropped and counted, nobody ever waits.
 *
 * Precedence: a frame goes to the first session, in the order of their opening, whose filter accepts it; what no filter
 * accepts goes to the default session, if there is one.
 */
export class ReceiveDemultiplexer {
  readonly #bank: Bank;
  readonly #statistics: TransferStatistics;
  #sessions: readonly ReceiveSession[] = [];
  #default: ReceiveSession | null = null;
  #demultiplexer: Demultiplexer;

  /** @param bank that the driver's receive buffers lie in */
  constructor(bank: Bank, statistics: TransferStatistics) {
    this.#bank = bank;
    this.#statistics = statistics;
    this.#demultiplexer = new Demultiplexer([], bank.memory);
  }

  get sessions(): readonly ReceiveSession[] {
    return this.#sessions;
  }

  /** @throws FilterVerifyError when there are more filters than can be had; nothing has changed then */
  open(session: ReceiveSession): void {
    this.#become([...this.#sessions, session]);
  }

  close(session: ReceiveSession): void {
    this.#become(this.#sessions.filter((other) => other !== session));
    if (this.#default === session) this.#default = null;
  }

  /** Who gets what no filter accepts. */
  setDefault(session: ReceiveSession | null): void {
    this.#default = session;
  }

  /** Hands on a frame that lies in the bank. @returns whether a client got it */
  deliver(offset: number, length: number): boolean {
    const index = this.#demultiplexer.classify(offset, length, length);
    const session = index >= 0 ? this.#sessions[index] : this.#default;
    if (session === null) {
      this.#statistics.unclaimed++;
      return false;
    }
    if (!session.ring.deliver(this.#bank.bytes, offset, length)) {
      this.#statistics.dropped++;
      return false;
    }
    this.#statistics.countCopy(length);
    return true;
  }

  #become(sessions: readonly ReceiveSession[]): void {
    this.#demultiplexer = new Demultiplexer(
      sessions.map((session) => session.program),
      this.#bank.memory,
    );
    this.#sessions = sessions;
  }
}
