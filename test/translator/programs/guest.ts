import { Sandbox, type SandboxOptions } from "../../../src/translator/sandbox.js";

/** A way to run guest code. What it computes, and how it fails, must be the same in all of them. */
export interface Variant {
  readonly name: string;
  readonly options: SandboxOptions;
  /** Instructions between two looks at whether to go on: small ones leave translated code at nearly every turn. */
  readonly slice?: number;
  /** No translated code at all: one instruction after the other. */
  readonly stepwise?: boolean;
}

export const PLAIN: Variant = { name: "as it is", options: {} };
export const UNCHECKED: Variant = { name: "without checks", options: { checks: false } };
export const EVERY_CHECK: Variant = { name: "without elimination", options: { elimination: false } };
export const SLICED: Variant = { name: "in small slices", options: {}, slice: 10 };
export const COUNTED: Variant = { name: "counted, in small slices", options: { count: true }, slice: 7 };
export const STEPWISE: Variant = { name: "step by step", options: {}, stepwise: true };
export const CHECKED: readonly Variant[] = [PLAIN, EVERY_CHECK, SLICED, COUNTED, STEPWISE];

/** A sandbox that runs as a variant says. */
export function sandboxOf(variant: Variant, options: SandboxOptions = {}): Sandbox {
  const sandbox = Sandbox.create({ space: "low", ...options, ...variant.options });
  if (variant.slice !== undefined) {
    sandbox.runtime.slice = variant.slice;
    sandbox.runtime.longestSlice = variant.slice;
  }
  if (variant.stepwise === true) sandbox.trace(() => {});
  return sandbox;
}
