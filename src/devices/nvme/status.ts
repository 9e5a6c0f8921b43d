import type { DiskError } from "../disk-backend.js";

/** Do not retry, and more in the error log: bits of the status field (§4.6.1, figure 126). */
export const DNR = 1 << 14;
export const MORE = 1 << 13;

const generic = (code: number): number => code;
const specific = (code: number): number => (1 << 8) | code;
const media = (code: number): number => (2 << 8) | code;

/** Status code type and code, as they stand in the status field (figures 128 to 131), with DNR where a retry is futile. */
export const Status = {
  success: generic(0x00),
  invalidOpcode: generic(0x01) | DNR,
  invalidField: generic(0x02) | DNR,
  commandIdConflict: generic(0x03) | DNR,
  dataTransferError: generic(0x04) | DNR,
  abortRequested: generic(0x07),
  abortedBySqDeletion: generic(0x08) | DNR,
  invalidNamespace: generic(0x0b) | DNR,
  commandSequenceError: generic(0x0c) | DNR,
  invalidSglSegment: generic(0x0d) | DNR,
  invalidSglCount: generic(0x0e) | DNR,
  invalidSglDataLength: generic(0x0f) | DNR,
  invalidSglType: generic(0x11) | DNR,
  invalidPrpOffset: generic(0x13) | DNR,
  writeProtected: generic(0x20) | DNR,
  lbaOutOfRange: generic(0x80) | DNR,
  capacityExceeded: generic(0x81) | DNR,

  invalidCompletionQueue: specific(0x00) | DNR,
  invalidQueueId: specific(0x01) | DNR,
  invalidQueueSize: specific(0x02) | DNR,
  tooManyEventRequests: specific(0x05) | DNR,
  invalidVector: specific(0x08) | DNR,
  invalidLogPage: specific(0x09) | DNR,
  invalidQueueDeletion: specific(0x0c) | DNR,
  featureNotSaveable: specific(0x0d) | DNR,
  featureNotPerNamespace: specific(0x0f) | DNR,

  writeFault: media(0x80),
  unrecoveredReadError: media(0x81),
  compareFailure: media(0x85) | DNR,
} as const;

/** The command is at work: its status comes later. Never on the wire. */
export const PENDING = -1;
/** The command is kept by the controller without a context (asynchronous event requests). Never on the wire. */
export const HELD = -2;

const DISK_ERRORS: Record<DiskError["kind"], number> = {
  read: Status.unrecoveredReadError,
  write: Status.writeFault,
  "out-of-range": Status.lbaOutOfRange,
  "no-space": Status.capacityExceeded,
  "read-only": Status.writeProtected,
};

export function statusOfDiskError(error: DiskError): number {
  return DISK_ERRORS[error.kind];
}

/** Status code type 2h: media and data integrity errors. */
export function isMediaError(status: number): boolean {
  return ((status >>> 8) & 7) === 2 && status !== Status.compareFailure;
}
