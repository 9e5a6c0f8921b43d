/**
 * Where the processor's state lies in the first 64 KiB of a sandbox's memory, which no guest address reaches. Offsets
 * below 128 take one byte of code.
 */
export const CPU = {
  /** 16 general registers of 8 bytes. */
  registers: 0x000,
  /** i64: the address of the next instruction, exact whenever no translated code runs. */
  rip: 0x080,
  /** i32, why translated code came back: an `ExitReason`. */
  reason: 0x088,
  /** i32: instructions that may still be executed before the runtime wants to be asked. */
  fuel: 0x08c,
  /** Six i32, 0 or 1: OF, SF, ZF, AF, CF, PF. */
  lanes: 0x090,
  /** i32: wasm frames that may still be nested. */
  depth: 0x0a8,
  /** i32: not 0 when something waits for interrupts to be enabled. */
  interruptPending: 0x0ac,
  /** i64 each. */
  fsBase: 0x0b0,
  gsBase: 0x0b8,
  /** i64: 0 or 1. */
  df: 0x0c0,
  if: 0x0c8,
  /** i64: the bits of RFLAGS that are neither arithmetic nor DF nor IF (TF, IOPL, NT, AC, ID, …). */
  systemFlags: 0x0d0,
  /** Flags left to be computed: i32 operation (0: none), i32 bytes, i32 mask of lanes, then a, b, r as i64. */
  lazyOperation: 0x0d8,
  lazyBytes: 0x0dc,
  lazyMask: 0x0e0,
  lazyA: 0x0e8,
  lazyB: 0x0f0,
  lazyR: 0x0f8,
  /** i32, a bit a register: those whose value in memory is the newest, while frames are being left one by one. */
  spilled: 0x100,
  /** i32: not 0 if the host refused an access to registers of a device that translated code asked it for. */
  refused: 0x104,
  /** XMM0 to XMM15, 16 bytes each. */
  xmm: 0x200,
  /** Where indirect targets are looked up: entries of 16 bytes (i64 guest address, i32 table index). */
  targets: 0x1000,
  targetEntries: 1024,
  /** i64: instructions that were carried out by translated code that counts them. */
  executed: 0x5000,
  end: 0x10000,
} as const;

/** Why translated code returned to the runtime. 0 is an ordinary return. */
export const ExitReason = {
  none: 0,
  /** Carry out the instruction at RIP step by step: a check failed, or it is one for the runtime. */
  step: 1,
  /** Go on at RIP: an address that this code does not know, or too many frames. */
  elsewhere: 2,
  /** The budget of instructions is used up; RIP is the next. */
  fuel: 3,
  /** A hook asked for all frames to be left; RIP is where to go on. */
  unwind: 4,
} as const;
export type ExitReason = (typeof ExitReason)[keyof typeof ExitReason];
