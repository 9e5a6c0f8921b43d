import type { GuestAddress } from "../../util/guest-address.js";
import type { Convention } from "../flow/convention.js";
import type { PureName } from "../ir.js";
import type { FunctionIndex, TypeIndex, ValueType } from "../wasm-assembler.js";

/** Functions of the host for accesses to registers of devices. */
export interface IoFunctions {
  /** (i32 low, i32 high half of the address, i32 bytes up to 4) → i32, with zeroes above; `CPU.refused` says if it was not done. */
  readonly load: FunctionIndex;
  /** (i32 low, i32 high, i32 bytes, i32 value) → i32, not 0 if it was not done. */
  readonly store: FunctionIndex;
}

/** How functions reach each other. */
export interface Linkage {
  /** Of a function in the same module, to be called directly with its state in memory; else its place in the table. */
  callee(target: GuestAddress): { readonly index: FunctionIndex } | { readonly slot: number };
  /** A function in the same module that takes registers in parameters, null if the target is none. */
  closed(target: GuestAddress): ClosedFunction | null;
  /** Functions in the same module that indirect calls may well go to. */
  readonly likely: readonly { readonly address: GuestAddress; readonly target: ClosedFunction }[];
  /** (i64 target, i32 depth) → i64 status: calls what is at a guest address. */
  readonly indirect: FunctionIndex;
  /** (i32 depth) → i64 status: the type of functions that take and leave their state in memory. */
  readonly type: TypeIndex;
  readonly spill: FunctionIndex;
  readonly io: IoFunctions;
  pure(name: PureName): FunctionIndex;
}

/**
 * A function that takes registers in parameters: depth if it is `deep`, then its parameters in ascending order. It returns
 * a status and its results in ascending order.
 */
export interface ClosedFunction {
  readonly index: FunctionIndex;
  readonly convention: Convention;
}

/** Calls `visit` for the registers of a mask, in ascending order. */
export function eachRegister(mask: number, visit: (register: number) => void): void {
  for (let r = 0; r < 16; r++) if ((mask & (1 << r)) !== 0) visit(r);
}

/** The types of the parameters and results of a closed function. */
export function signatureOf({ parameters, results, deep }: Convention): {
  readonly parameters: ValueType[];
  readonly results: ValueType[];
} {
  const types: ValueType[] = deep ? ["i32"] : [];
  eachRegister(parameters, () => types.push("i64"));
  const returned: ValueType[] = ["i64"];
  eachRegister(results, () => returned.push("i64"));
  return { parameters: types, results: returned };
}
