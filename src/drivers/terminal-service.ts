import type { AddressSpaceCapability } from "../capability/address-space.js";
import { type EndpointCapability, STRING_LIMIT } from "../capability/endpoint.js";

/** What a terminal driver is asked. */
export const TerminalLabel = {
  /** words [most bytes] → string: what has come, at least one byte. */
  read: 0,
  /** string: what is to be sent → words [bytes taken], once the driver holds them all. */
  write: 1,
  /** → once everything written has left the line. */
  drain: 2,
} as const;

/** A terminal line, as a client that holds the driver's endpoint sees it. */
export class TerminalClient {
  constructor(readonly endpoint: EndpointCapability) {}

  /** Waits for input. @returns at most `most` bytes, at least one */
  async read(most = 4096): Promise<Uint8Array> {
    const receive = new Uint8Array(Math.min(Math.max(most, 0), STRING_LIMIT));
    const reply = await this.endpoint.call({ label: TerminalLabel.read, words: [most], receive });
    return reply.string;
  }

  /** Waits for input, which the kernel puts into a range of a space. @returns bytes stored, bytes that were sent */
  async readInto(
    space: AddressSpaceCapability,
    offset: number,
    length: number,
  ): Promise<{ stored: number; sent: number }> {
    const reply = await this.endpoint.call({
      label: TerminalLabel.read,
      words: [length],
      receive: { space, offset, length },
    });
    return { stored: reply.string.length, sent: reply.sentLength };
  }

  async write(bytes: Uint8Array): Promise<void> {
    await this.endpoint.call({ label: TerminalLabel.write, string: bytes });
  }

  async drain(): Promise<void> {
    await this.endpoint.call({ label: TerminalLabel.drain });
  }
}
