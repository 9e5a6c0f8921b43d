import type { AddressSpaceCapability } from "../capability/address-space.js";
import { AddressSpaceCapability as Space } from "../capability/address-space.js";
import type { EndpointCapability, Received } from "../capability/endpoint.js";
import { AlignmentError, ArgumentError, LengthError } from "../capability/errors.js";

/** What a disk driver is asked. Sectors and counts are words; memory is named by a space capability and an offset. */
export const BlockLabel = { info: 0, read: 1, write: 2, flush: 3, discard: 4, writeZeroes: 5 } as const;

/** Reply label of everything that went well; what did not arrives as an error. */
export const REPLY_OK = 0;

export interface BlockInfo {
  readonly sectorSize: number;
  readonly sectors: number;
  readonly readOnly: boolean;
}

/** A disk, as a client that holds the driver's endpoint sees it. */
export class BlockClient {
  constructor(readonly endpoint: EndpointCapability) {}

  async info(): Promise<BlockInfo> {
    const { words } = await this.endpoint.call({ label: BlockLabel.info });
    return { sectorSize: words[0], sectors: words[1], readOnly: words[2] !== 0 };
  }

  /** Reads whole sectors straight into the pages of a region. @param length bytes */
  async read(space: AddressSpaceCapability, offset: number, sector: number, length: number): Promise<void> {
    await this.endpoint.call({ label: BlockLabel.read, words: [sector, offset, length], capabilities: [space] });
  }

  /** Writes whole sectors straight from the pages of a region; a read-only region will do. @param length bytes */
  async write(space: AddressSpaceCapability, offset: number, sector: number, length: number): Promise<void> {
    await this.endpoint.call({ label: BlockLabel.write, words: [sector, offset, length], capabilities: [space] });
  }

  async flush(): Promise<void> {
    await this.endpoint.call({ label: BlockLabel.flush });
  }

  /** @param length bytes */
  async discard(sector: number, length: number): Promise<void> {
    await this.endpoint.call({ label: BlockLabel.discard, words: [sector, 0, length] });
  }

  /** @param length bytes */
  async writeZeroes(sector: number, length: number): Promise<void> {
    await this.endpoint.call({ label: BlockLabel.writeZeroes, words: [sector, 0, length] });
  }
}

/** A transfer request with everything checked but the requester's rights, which pinning checks. */
export interface BlockRequest {
  readonly sector: number;
  readonly offset: number;
  readonly length: number;
  readonly space: AddressSpaceCapability;
}

/** The range of a request. @throws ArgumentError when it is not whole sectors inside the disk */
export function decodeRange(
  message: Received,
  info: BlockInfo,
  operation: string,
): { sector: number; offset: number; length: number } {
  const [sector, offset, length] = message.words;
  if (!isCount(sector) || !isCount(offset) || !isCount(length)) {
    throw new ArgumentError(operation, "needs the words sector, offset and length");
  }
  if (length === 0 || length % info.sectorSize !== 0) {
    throw new LengthError(operation, `${length} bytes are not whole sectors of ${info.sectorSize}`);
  }
  if (sector + length / info.sectorSize > info.sectors) {
    throw new LengthError(operation, `sectors from ${sector} on leave the disk of ${info.sectors} sectors`);
  }
  return { sector, offset, length };
}

function isCount(word: number | undefined): boolean {
  return word !== undefined && Number.isSafeInteger(word) && word >= 0;
}

/** A transfer request. @throws ArgumentError */
export function decodeTransfer(message: Received, info: BlockInfo, operation: string): BlockRequest {
  const { sector, offset, length } = decodeRange(message, info, operation);
  const [space] = message.capabilities;
  if (!(space instanceof Space)) throw new ArgumentError(operation, "needs a capability to an address space");
  if (offset % 4 !== 0) {
    throw new AlignmentError(operation, `offset ${offset} is not aligned: the controller moves multiples of 4 bytes`);
  }
  return { sector, offset, length, space };
}
