import { seededRandom } from "../../../src/util/random.js";

/** Where snippets and their data lie; runner.c maps the same. All else is unmapped. */
export const CODE = 0x10000000;
export const CODE_BYTES = 0x2000;
export const DATA = 0x20000000;
export const DATA_BYTES = 0x3000;
/** The last page of the data can only be read. */
export const DATA_WRITABLE = 0x2000;
export const STACK = 0x30000000;
export const STACK_BYTES = 0x1000;
/** Data and stack, one behind the other. */
export const IMAGE_BYTES = DATA_BYTES + STACK_BYTES;
/** What all code pages are filled with: int3. */
export const CODE_FILLER = 0xcc;

/** Bits of RFLAGS. */
export const RFLAGS = { CF: 0x1, PF: 0x4, AF: 0x10, ZF: 0x40, SF: 0x80, DF: 0x400, OF: 0x800 } as const;
export const ARITHMETIC = 0x8d5;
export const COMPARED_FLAGS = ARITHMETIC | RFLAGS.DF;

export interface Patch {
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** An instruction of a snippet, and which bits of RFLAGS have no defined value when it begins. */
export interface Point {
  readonly offset: number;
  /** The form's name; empty at the end. */
  readonly form: string;
  readonly undefinedFlags: number;
  /** Bits that processors do not agree on when it faults. */
  readonly undefinedInFault: number;
  /** Processors do not agree on which address a fault of it tells, and of which kind the fault is. */
  readonly vagueFault: boolean;
  /** Of several stores, some may have been done when it faults. */
  readonly storesInParts: boolean;
}

/** A processor's whole state, and code to run from it until an exception or until it leaves the snippet. */
export interface Case {
  readonly code: Uint8Array;
  readonly codeAddress: number;
  readonly registers: BigUint64Array;
  readonly flags: number;
  readonly fsBase: bigint;
  readonly gsBase: bigint;
  readonly xmm: Uint8Array;
  /** How memory differs from `IMAGE`; only the writable part may. */
  readonly patches: readonly Patch[];
  /** The instructions in order, and the end. */
  readonly points: readonly Point[];
  /** Parts of the code that are called: offsets of the first byte and of the end, in ascending order. */
  readonly functions: readonly (readonly [number, number])[];
  /** Bits of RFLAGS that have no defined value where the snippet is left by a jump. */
  readonly undefinedAtExits: number;
}

/** `end`: left the snippet. `memory`: a page fault, or an address that no page can have. */
export type Stop =
  | "end"
  | "memory"
  | "general-protection"
  | "divide-error"
  | "breakpoint"
  | "invalid-opcode"
  | "endless"
  | "unsupported"
  /** The subject itself failed. */
  | "defect"
  | `vector ${number}`;

/** An aligned word of eight bytes that is not what it was. */
export interface Change {
  readonly address: number;
  readonly value: bigint;
}

export interface Outcome {
  readonly stop: Stop;
  /** Of the next instruction, or of the one that did not complete. */
  readonly rip: bigint;
  readonly registers: BigUint64Array;
  readonly flags: number;
  readonly xmm: Uint8Array;
  /** In ascending order of address. */
  readonly changes: readonly Change[];
  /** Of `memory`, if known: the address of the access, or of its first byte that is not accessible. */
  readonly faultAddress: bigint | null;
  /** For people: what else is known. */
  readonly note: string;
}

/** Something that runs cases: the processor, or a translation of it. */
export interface Subject {
  readonly name: string;
  /**
   * `exact`: always what the processor has. `convention`: what compilers rely on; nothing carries flags into a function
   * or out of one, and they need not be right in a fault.
   */
  readonly flags: "exact" | "convention";
  /** Whether it notices accesses to what is not mapped; if not, it is spared them. */
  readonly checks: boolean;
  /** Whether it knows the instruction; code with others is not given to it. */
  covers(code: Uint8Array): boolean;
  run(test: Case): Outcome;
  close(): void;
}

/** What memory holds before a case's patches: noise with the corner values of every width strewn in. */
export const IMAGE = ((): Uint8Array => {
  const random = seededRandom(0x1ace);
  const bytes = new Uint8Array(IMAGE_BYTES);
  for (let i = 0; i < bytes.length; i++) {
    const kind = random() & 15;
    bytes[i] = kind === 0 ? 0 : kind === 1 ? 0xff : kind === 2 ? 0x80 : kind === 3 ? 0x7f : random();
  }
  for (let i = 0; i < bytes.length; i += 64) bytes.fill((random() & 1) - 1, i, i + 8 + (random() & 15));
  return bytes;
})();

/** Where a mapped guest address lies in `IMAGE`, or behind it for code; -1 for others. */
export function imageOffset(address: number): number {
  if (address >= DATA && address < DATA + DATA_BYTES) return address - DATA;
  if (address >= STACK && address < STACK + STACK_BYTES) return address - STACK + DATA_BYTES;
  if (address >= CODE && address < CODE + CODE_BYTES) return address - CODE + IMAGE_BYTES;
  return -1;
}

export const imageAddress = (offset: number): number =>
  offset < DATA_BYTES ? DATA + offset : STACK + offset - DATA_BYTES;

/** Whether a store of a byte there succeeds. */
export const isWritable = (address: number): boolean =>
  (address >= DATA && address < DATA + DATA_WRITABLE) || (address >= STACK && address < STACK + STACK_BYTES);
