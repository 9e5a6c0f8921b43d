import type { GuestAddress } from "../util/guest-address.js";
import type { GuestSpace } from "./guest-space.js";
import type { LoadedSymbols } from "./load-symbols.js";

/** Bytes that are to be mapped. Of a relocatable file each section is one, of a linked file each segment. */
export interface LoadedSegment {
  readonly name: string;
  readonly address: GuestAddress;
  /** Relocated; what of `size` lies beyond them is zero. */
  readonly bytes: Uint8Array;
  readonly size: number;
  readonly read: boolean;
  readonly write: boolean;
  readonly execute: boolean;
}

export interface LoadedFunction {
  readonly name: string;
  readonly address: GuestAddress;
  readonly size: number;
}

/** What nobody defines, and the address that stands for it. */
export interface LoadedImport {
  readonly name: string;
  readonly address: GuestAddress;
  /** An indirect function is defined, but only its resolver, which a dynamic loader would have to call, knows where. */
  readonly why: "undefined" | "indirect-function";
}

/**
 * Something other than a direct call or jump knows an address in executable bytes.
 * `symbol`: a global or weak symbol, or the entry point. `operand`: an instruction. `data`: a word of a section that is not
 * executable. `jump-table`: the same, of a table relative to its own start that code refers to.
 */
export interface CodeReference {
  readonly address: GuestAddress;
  readonly kind: "symbol" | "operand" | "data" | "jump-table";
  /** Where it stands; of a symbol, the section that it is in. */
  readonly section: string;
}

/** A program or module as it is to be mapped in a guest space. */
export interface LoadedObject {
  readonly name: string;
  readonly space: GuestSpace;
  /** Ascending; `imports`, if there are any, is one of them: executable, and neither readable nor writable. */
  readonly segments: readonly LoadedSegment[];
  readonly symbols: LoadedSymbols;
  readonly entry: GuestAddress | null;
  /** Ascending, of different addresses. */
  readonly functions: readonly LoadedFunction[];
  /** Ascending. */
  readonly imports: readonly LoadedImport[];
  /** Ascending, of different address, kind or section. */
  readonly codeReferences: readonly CodeReference[];
  /**
   * `codeReferences` are all but what assemblers settle by themselves: operands relative to RIP in the section that they
   * point to. Linked files keep no relocations that would tell.
   */
  readonly referencesComplete: boolean;
  /** The import that an address belongs to, for calls and data alike; null if it is none. */
  importAt(address: GuestAddress): LoadedImport | null;
}

/** The address of what a program imports, null to have an address made up for it. */
export type ImportResolver = (name: string) => GuestAddress | null;

/**
 * What symbols of a section count from, if not from where it is put: sections of variables of which each processor has a
 * copy elsewhere. Null for all others.
 */
export type SectionBase = (section: string, size: number, alignment: number) => GuestAddress | null;

export interface PlannedImport {
  readonly name: string;
  /** It is 0 if nobody defines it. */
  readonly weak: boolean;
}

/** What of an ELF file will be mapped; nothing is copied yet. */
export interface ObjectPlan {
  readonly name: string;
  readonly kind: "module" | "object" | "executable" | "dynamic";
  /** Where it belongs. */
  readonly space: GuestSpace;
  /** Where it is put if nobody wants it elsewhere; an executable can be put nowhere else. */
  readonly address: GuestAddress;
  readonly fixed: boolean;
  /** Most bytes of addresses that it takes, gaps included. */
  readonly size: number;
  /** Of its address. */
  readonly alignment: number;
  /** In the order of the symbol table. */
  readonly imports: readonly PlannedImport[];
  /** Use `placeObject`, which checks the place. */
  readonly place: (space: GuestSpace, at: GuestAddress, resolve: ImportResolver, base: SectionBase) => LoadedObject;
}
