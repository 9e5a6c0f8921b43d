import { planObject } from "../../translator/load-object.js";
import type { ImportResolver } from "../../translator/loaded-object.js";
import { Sandbox, type SandboxOptions } from "../../translator/sandbox.js";
import type { GuestAddress } from "../../util/guest-address.js";

/** In the sandbox, out of the way of all else that it maps. */
const PLACES = { low: 0x210000, high: -0x7fdf0000 } as const;
const SIZE = 4096;
const STRIDE = 16;
const REGISTERS = [
  "rax",
  "rcx",
  "rdx",
  "rbx",
  "rsp",
  "rbp",
  "rsi",
  "rdi",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
]; // prettier-ignore
const RET = [0xc3];

/** jmp through a register: FF /4, with REX.B from r8 on (Intel SDM volume 2, JMP). */
const jumpThrough = (register: number): number[] => [...(register < 8 ? [] : [0x41]), 0xff, 0xe0 | (register & 7)];

/**
 * Functions that compilers call and every kernel has: the tracing hook at the start of functions, and thunks for returns
 * and indirect branches. They do what the plain instruction does.
 */
const THUNKS: ReadonlyMap<string, readonly number[]> = new Map([
  ["__fentry__", RET],
  ["__x86_return_thunk", RET],
  ...REGISTERS.flatMap((name, register) =>
    ["indirect", "indirect_call", "indirect_jump"].map(
      (kind) =>
        [
          kind === "indirect" ? `__x86_indirect_thunk_${name}` : `__x86_${kind}_thunk_${name}`,
          jumpThrough(register),
        ] as const,
    ),
  ),
]);

/** A sandbox in the guest space that an object wants, with those thunks in it that the object imports. */
export function sandboxWithThunks(
  bytes: Uint8Array,
  name: string,
  options: SandboxOptions,
): { readonly sandbox: Sandbox; readonly resolve: ImportResolver } {
  const plan = planObject(bytes, name);
  const sandbox = Sandbox.create({ ...options, space: plan.space.name });
  const addresses = new Map<string, GuestAddress>();
  const start = PLACES[plan.space.name] as GuestAddress;
  for (const { name: imported } of plan.imports) {
    const code = THUNKS.get(imported);
    if (code === undefined) continue;
    if (addresses.size === 0) sandbox.map(start, SIZE, { read: true, write: false, execute: true }, "thunks");
    const address = (start + STRIDE * addresses.size) as GuestAddress;
    sandbox.write(address, Uint8Array.from(code));
    addresses.set(imported, address);
  }
  return { sandbox, resolve: (wanted) => addresses.get(wanted) ?? null };
}
