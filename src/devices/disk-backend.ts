import { ExitStatus, KorralError } from "../util/errors.js";

export type DiskErrorKind = "read" | "write" | "out-of-range" | "no-space" | "read-only";

/** Why a disk request failed; a controller maps `kind` to the status code of its own data sheet. */
export class DiskError extends KorralError {
  constructor(
    readonly kind: DiskErrorKind,
    message: string,
  ) {
    super(`disk-${kind}`, message, ExitStatus.environment);
  }
}

export type DiskDone = (error: DiskError | null) => void;

/**
 * What a disk controller stores its blocks in. Positions and lengths are bytes; any range inside the disk will do.
 *
 * The spans are memory of the machine itself: a backend reads straight into them, without a copy on the way. They are
 * lent until `done`, which is called exactly once for a request, during the call or later. A range that leaves the disk
 * is `out-of-range` before any effect; after any other error the bytes concerned are undefined.
 */
export interface DiskBackend {
  readonly sectorSize: 512 | 4096;
  /** Size of the disk in sectors: at least one. */
  readonly sectors: number;
  readonly readOnly: boolean;
  /**
   * True if every `done` comes during the call that asks: then a controller may lend it memory of the host, which is not
   * certain to stay mapped any longer. Any other disk gets memory of the controller.
   */
  readonly synchronous?: boolean;
  /** Fills `into`, span after span, from `position` on. */
  read(position: number, into: readonly Uint8Array[], done: DiskDone): void;
  /** Stores `from`, span after span, from `position` on. */
  write(position: number, from: readonly Uint8Array[], done: DiskDone): void;
  /** Everything whose `done` was called before is durable once this one's is. */
  flush(done: DiskDone): void;
  /** The content is of no interest any more; it reads as zeroes or as before. */
  discard(position: number, length: number, done: DiskDone): void;
  /** The content reads as zeroes. */
  writeZeroes(position: number, length: number, done: DiskDone): void;
}
