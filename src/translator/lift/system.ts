import { INVALID } from "../decode.js";
import type { TrapName } from "../ir.js";
import type { Lifter, LifterTable } from "./builder.js";
import { addressOf } from "./operands.js";

const nothing: Lifter = () => {};
const system: Lifter = (steps) => steps.end({ kind: "system" });

const trap =
  (name: TrapName): Lifter =>
  (steps) =>
    steps.trap(name);

/** Caches are not modelled, but the line must be one that could be read. */
const flushLine: Lifter = (steps, { operands: [line] }) => {
  if (line.kind === "memory") steps.probe(addressOf(line), 1, false);
};

const all = (lifter: Lifter, mnemonics: string): LifterTable =>
  Object.fromEntries(mnemonics.split(/\s+/).map((mnemonic) => [mnemonic, lifter]));

/** What only waits, hints or orders, on one processor without caches. */
const NOTHING = all(
  nothing,
  `nop reservednop pause lfence mfence sfence endbr32 endbr64 serialize cldemote
  prefetch prefetchw prefetchwt1 prefetchnta prefetcht0 prefetcht1 prefetcht2 prefetchit0 prefetchit1`,
);

const SYSTEM_INSTRUCTIONS = all(
  system,
  `callf jmpf retf iret iretd iretq syscall sysret sysretq sysenter sysexit sysexitq int int1
  in insb insw insd out outsb outsw outsd
  cpuid rdtsc rdtscp rdpmc rdpid rdrand rdseed rdmsr wrmsr rdpkru wrpkru xgetbv xsetbv
  hlt monitor mwait monitorx mwaitx umonitor umwait tpause
  rdpru wrmsrns
  clts lmsw smsw lgdt lidt sgdt sidt lldt ltr sldt str lar lsl verr verw lss lfs lgs swapgs
  invd wbinvd wbnoinvd invlpg invpcid rsm vmcall vmmcall`,
);

export const SYSTEM: LifterTable = {
  ...NOTHING,
  ...SYSTEM_INSTRUCTIONS,
  clflush: flushLine,
  clflushopt: flushLine,
  clwb: flushLine,
  ud0: trap("invalid-opcode"),
  ud1: trap("invalid-opcode"),
  ud2: trap("invalid-opcode"),
  [INVALID]: trap("invalid-opcode"),
  int3: trap("breakpoint"),
};

/** Instructions that are for the runtime if an operand is a segment, control or debug register. */
export const SYSTEM_WITH_SPECIAL_REGISTER: ReadonlySet<string> = new Set(["mov", "push", "pushw", "pop", "popw"]);
