import type { DmaPort } from "../../bus/io-mmu.js";
import { DmaAccess } from "../../memory/pin.js";
import type { Command } from "./command.js";
import { BIT_BUCKET } from "./data-map.js";
import { PrpReader } from "./prp.js";
import { MIN_PAGE_SHIFT } from "./registers.js";
import { SglReader } from "./sgl.js";
import { Status } from "./status.js";

/** Word of the data pointer in a submission queue entry (figure 105, DPTR). */
const DPTR = 6;
/** log2 of the largest transfer in units of the smallest memory page (Identify Controller, MDTS): 1 MiB. */
export const MDTS = 8;
export const MAX_TRANSFER = 2 ** (MDTS + MIN_PAGE_SHIFT);
const SINK_BYTES = 65_536;

/** Moves the data of commands between the host's memory and the controller, or lends the host's memory to the disk. */
export class Transfer {
  /** Bytes of a memory page, from CC.MPS. */
  pageSize = 2 ** MIN_PAGE_SHIFT;
  readonly #prp: PrpReader;
  readonly #sgl: SglReader;
  /** Takes what goes into bit buckets; made with the first. */
  #sink: Uint8Array | null = null;

  constructor(readonly dma: DmaPort) {
    this.#prp = new PrpReader(dma);
    this.#sgl = new SglReader(dma);
  }

  /**
   * Finds out where `length` bytes of a command's data lie in the host's memory.
   * @param sglAllowed admin commands use PRPs only (§4.2, PSDT)
   */
  map(command: Command, length: number, toHost: boolean, sglAllowed: boolean): number {
    command.map.clear();
    if (length > MAX_TRANSFER) return Status.invalidField;
    switch (command.psdt) {
      case 0:
        return this.#prp.map(command.sqe, DPTR, length, this.pageSize, command.map);
      case 1:
      case 2:
        if (sglAllowed) return this.#sgl.map(command.sqe, DPTR, length, toHost, command.map);
        return Status.invalidField;
      default:
        return Status.invalidField;
    }
  }

  /** Writes `bytes` to where the map of the command points. @returns a status */
  toHost(command: Command, bytes: Uint8Array): number {
    const { map } = command;
    let done = 0;
    for (let i = 0; i < map.count; i++) {
      const address = map.addresses[i];
      const length = map.lengths[i];
      if (address !== BIT_BUCKET && !this.dma.write(address, bytes, done, length)) return Status.dataTransferError;
      done += length;
    }
    return Status.success;
  }

  /** Reads the data of the command into `bytes`. @returns a status */
  fromHost(command: Command, bytes: Uint8Array): number {
    const { map } = command;
    let done = 0;
    for (let i = 0; i < map.count; i++) {
      const length = map.lengths[i];
      if (!this.dma.read(map.addresses[i], bytes, done, length)) return Status.dataTransferError;
      done += length;
    }
    return Status.success;
  }

  /**
   * The host's memory of the command as spans, for a disk that answers at once.
   * @returns null if the I/O MMU refuses a part of it: then nothing has moved
   */
  spans(command: Command, toHost: boolean): readonly Uint8Array[] | null {
    const { map } = command;
    const access = toHost ? DmaAccess.write : DmaAccess.read;
    if (map.count === 1 && map.addresses[0] !== BIT_BUCKET) {
      return this.dma.spans(map.addresses[0], map.lengths[0], access);
    }
    const all = command.spans;
    all.length = 0;
    for (let i = 0; i < map.count; i++) {
      if (map.addresses[i] === BIT_BUCKET) {
        this.#dropInto(all, map.lengths[i]);
        continue;
      }
      const part = this.dma.spans(map.addresses[i], map.lengths[i], access);
      if (part === null) return null;
      for (let k = 0; k < part.length; k++) all.push(part[k]);
    }
    return all;
  }

  #dropInto(spans: Uint8Array[], length: number): void {
    this.#sink ??= new Uint8Array(SINK_BYTES);
    for (let left = length; left > 0; left -= SINK_BYTES)
      spans.push(this.#sink.subarray(0, Math.min(left, SINK_BYTES)));
  }
}
