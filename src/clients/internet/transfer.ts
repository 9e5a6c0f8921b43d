import { Sha256 } from "../../formats/sha256.js";
import { showAddress } from "./address.js";

export type TransferEnd = "open" | "closed" | "reset" | "timed-out";

/** What came in by one TCP connection, or from one UDP port. */
export interface Transfer {
  readonly protocol: "tcp" | "udp";
  /** Ours. */
  readonly port: number;
  /** `ADDRESS:PORT` */
  readonly peer: string;
  readonly bytes: number;
  /** Of these bytes in the order of their arrival, in hexadecimal digits. */
  readonly sha256: string;
  readonly end: TransferEnd;
}

/** A transfer that goes on. */
export class TransferLog {
  #hash = new Sha256();
  #bytes = 0;

  constructor(
    readonly protocol: "tcp" | "udp",
    readonly port: number,
    readonly address: number,
    readonly remotePort: number,
  ) {}

  add(bytes: Uint8Array): void {
    this.#bytes += bytes.length;
    this.#hash.update(bytes);
  }

  /** The log must not be added to any more. */
  finish(end: TransferEnd): Transfer {
    const digest = this.#hash.digest();
    this.#hash = new Sha256();
    return {
      protocol: this.protocol,
      port: this.port,
      peer: `${showAddress(this.address)}:${this.remotePort}`,
      bytes: this.#bytes,
      sha256: [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
      end,
    };
  }
}
