/** Controller registers (NVM Express 1.4, §3.1, figure 68), byte offsets in BAR0. */
export const Register = {
  CAP: 0x00,
  VS: 0x08,
  INTMS: 0x0c,
  INTMC: 0x10,
  CC: 0x14,
  CSTS: 0x1c,
  NSSR: 0x20,
  AQA: 0x24,
  ASQ: 0x28,
  ACQ: 0x30,
  /** First doorbell; SQyTDBL and CQyHDBL alternate, 4 << CAP.DSTRD bytes apart (§3.1.24, §3.1.25). */
  SQ0TDBL: 0x1000,
} as const;

/** BAR0 holds, behind the doorbells, the MSI-X vector table and pending bits. */
export const BAR_BYTES = 0x4000;
export const MSIX_TABLE = 0x2000;
export const MSIX_PENDING = 0x3000;

/** Version 1.4.0 (§3.1.2). */
export const VERSION = 0x0001_0400;

/** Entries of the longest queue: CAP.MQES + 1. */
export const MAX_QUEUE_ENTRIES = 1024;
export const SQ_ENTRY_BYTES = 64;
export const CQ_ENTRY_BYTES = 16;
/** log2 of the entry sizes, as CC.IOSQES, CC.IOCQES and Identify state them. */
export const SQ_ENTRY_SHIFT = 6;
export const CQ_ENTRY_SHIFT = 4;

/** Memory pages of 2^(12 + MPS) bytes: CAP.MPSMIN and CAP.MPSMAX. */
export const MIN_PAGE_SHIFT = 12;
const MPSMIN = 0;
export const MPSMAX = 4;
/** Worst case for CSTS.RDY to follow CC.EN, in units of 500 ms (CAP.TO). */
const READY_TIMEOUT = 20;

/** Controller capabilities (§3.1.1, figure 69): MQES 15:0, CQR 16, AMS 18:17, TO 31:24. */
export const CAP_LOW = ((READY_TIMEOUT << 24) | (1 << 16) | (MAX_QUEUE_ENTRIES - 1)) >>> 0;
/** DSTRD 35:32, NSSRS 36, CSS 44:37 (NVM command set), BPS 45, MPSMIN 51:48, MPSMAX 55:52, PMRS 56, CMBS 57. */
export const CAP_HIGH = (1 << 4) | (1 << 5) | (MPSMIN << 16) | (MPSMAX << 20);

/** Controller configuration (§3.1.5, figure 73). */
export const CC = {
  EN: 1 << 0,
  WRITABLE: 0x00ff_fff1,
  css: (cc: number): number => (cc >>> 4) & 7,
  mps: (cc: number): number => (cc >>> 7) & 15,
  ams: (cc: number): number => (cc >>> 11) & 7,
  shn: (cc: number): number => (cc >>> 14) & 3,
  iosqes: (cc: number): number => (cc >>> 16) & 15,
  iocqes: (cc: number): number => (cc >>> 20) & 15,
} as const;

/** CC.SHN. */
export const ShutdownNotification = { none: 0, normal: 1, abrupt: 2 } as const;

/** Controller status (§3.1.6, figure 74). */
export const CSTS = {
  RDY: 1 << 0,
  CFS: 1 << 1,
  SHST_MASK: 3 << 2,
  SHST_OCCURRING: 1 << 2,
  SHST_COMPLETE: 2 << 2,
  NSSRO: 1 << 4,
} as const;

/** What NSSR takes for a subsystem reset: "NVMe" (§3.1.7). */
export const SUBSYSTEM_RESET = 0x4e56_4d65;

/** Admin queue attributes (§3.1.8): two 0's based sizes of 12 bits. */
export const AQA = {
  WRITABLE: 0x0fff_0fff,
  asqs: (aqa: number): number => (aqa & 0xfff) + 1,
  acqs: (aqa: number): number => ((aqa >>> 16) & 0xfff) + 1,
} as const;

/** A 64-bit quantity from its halves; above 2^53 it is rounded, which no address or block of this machine reaches. */
export function wide(low: number, high: number): number {
  return high * 2 ** 32 + low;
}

/** Writes a 64-bit quantity into a data structure. */
export function setWide(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value % 2 ** 32, true);
  view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
}

/** Log page identifiers (§5.14.1, figure 191). */
export const LogPage = {
  errorInformation: 0x01,
  health: 0x02,
  firmwareSlot: 0x03,
  changedNamespaces: 0x04,
  commandEffects: 0x05,
} as const;

/** Admin command opcodes (§5, figure 139). */
export const AdminOpcode = {
  deleteSubmissionQueue: 0x00,
  createSubmissionQueue: 0x01,
  getLogPage: 0x02,
  deleteCompletionQueue: 0x04,
  createCompletionQueue: 0x05,
  identify: 0x06,
  abort: 0x08,
  setFeatures: 0x09,
  getFeatures: 0x0a,
  asynchronousEventRequest: 0x0c,
} as const;

/** NVM command opcodes (§6, figure 346). */
export const NvmOpcode = {
  flush: 0x00,
  write: 0x01,
  read: 0x02,
  compare: 0x05,
  writeZeroes: 0x08,
  datasetManagement: 0x09,
} as const;

/** Namespace identifier of all namespaces, and of the only one that there is. */
export const ALL_NAMESPACES = 0xffff_ffff;
export const NAMESPACE = 1;
