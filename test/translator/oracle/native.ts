import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { isInstalled, Workshop } from "../../support/binutils.js";
import { type Case, type Change, IMAGE, type Outcome, type Stop } from "./case.js";

const MAGIC = 0x6c61726b;
const INPUT_HEAD = 16 + 19 * 8 + 256;
const OUTPUT_HEAD = 16 + 19 * 8 + 256;
const MOST_OUTPUT = 1 << 30;

/** Why cases cannot be run on this machine's processor, or null. */
export function whyNotNative(): string | null {
  if (process.platform !== "linux" || process.arch !== "x64") return "only on x86-64 Linux";
  return isInstalled("gcc") ? null : "gcc is not installed";
}

/** Features of this machine's processor, as Linux names them. */
export function processorFeatures(): ReadonlySet<string> {
  const line = /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"));
  return new Set(line?.[1]?.trim().split(" ") ?? []);
}

/** The processor that this runs on. */
export class NativeProcessor {
  readonly #workshop = new Workshop();
  readonly #program: string;
  #buffer = new Uint8Array(1 << 20);

  /** @param sourceFile where runner.c lies */
  constructor(sourceFile: string) {
    const source = readFileSync(sourceFile, "utf8");
    const flags = [
      "-O2",
      "-ffreestanding",
      "-fno-builtin",
      "-fno-stack-protector",
      "-fno-tree-loop-distribute-patterns",
    ];
    this.#program = this.#workshop.gcc("runner", "runner.c", source, ...flags, "-nostdlib", "-static-pie", "-fPIE");
  }

  run(cases: readonly Case[]): Outcome[] {
    const result = spawnSync(this.#program, { input: this.#encode(cases), maxBuffer: MOST_OUTPUT });
    if (result.error !== undefined) throw result.error;
    if (result.status !== 0) throw new Error(`the runner ended with ${result.signal ?? `status ${result.status}`}`);
    return decode(result.stdout, cases);
  }

  #encode(cases: readonly Case[]): Uint8Array {
    const start = 16 + IMAGE.length;
    let size = start;
    for (const test of cases) {
      size += INPUT_HEAD + padded(test.code.length);
      for (const patch of test.patches) size += 8 + padded(patch.bytes.length);
    }
    if (this.#buffer.length < size) this.#buffer = new Uint8Array(size * 2);
    const bytes = this.#buffer;
    const words = new Uint32Array(bytes.buffer);
    const longs = new BigUint64Array(bytes.buffer);
    words[0] = MAGIC;
    words[1] = cases.length;
    longs[1] = BigInt(size - start);
    bytes.set(IMAGE, 16);
    let at = start;
    for (const test of cases) {
      words[at >> 2] = test.codeAddress;
      words[(at >> 2) + 1] = test.code.length;
      words[(at >> 2) + 2] = test.patches.length;
      longs.set(test.registers, (at >> 3) + 2);
      longs[(at >> 3) + 18] = BigInt(test.flags);
      longs[(at >> 3) + 19] = test.fsBase;
      longs[(at >> 3) + 20] = test.gsBase;
      bytes.set(test.xmm, at + 168);
      bytes.set(test.code, at + INPUT_HEAD);
      at += INPUT_HEAD + padded(test.code.length);
      for (const patch of test.patches) {
        words[at >> 2] = patch.address;
        words[(at >> 2) + 1] = patch.bytes.length;
        bytes.set(patch.bytes, at + 8);
        at += 8 + padded(patch.bytes.length);
      }
    }
    return bytes.subarray(0, at);
  }

  close(): void {
    this.#workshop.close();
  }
}

const padded = (length: number): number => (length + 7) & ~7;

function decode(output: Uint8Array, cases: readonly Case[]): Outcome[] {
  // Records are multiples of eight bytes, and so aligned in a buffer of their own.
  const bytes = new Uint8Array(output);
  const words = new Uint32Array(bytes.buffer);
  const longs = new BigUint64Array(bytes.buffer);
  const outcomes: Outcome[] = [];
  let at = 0;
  for (const test of cases) {
    if (at + OUTPUT_HEAD > bytes.length) throw new Error(`the runner's answer ends after ${outcomes.length} cases`);
    const [vector, error, timedOut, count] = words.subarray(at >> 2, (at >> 2) + 4);
    const rip = longs[(at >> 3) + 2];
    const faultAddress = longs[(at >> 3) + 3];
    const changes: Change[] = [];
    for (let i = 0; i < count; i++) {
      const position = ((at + OUTPUT_HEAD) >> 3) + 2 * i;
      changes.push({ address: Number(longs[position]), value: longs[position + 1] });
    }
    const stopped = timedOut !== 0 ? { stop: "endless" as const, rip } : stopOf(test, vector, rip, faultAddress);
    outcomes.push({
      ...stopped,
      registers: longs.subarray((at >> 3) + 4, (at >> 3) + 20),
      flags: Number(longs[(at >> 3) + 20]),
      xmm: bytes.subarray(at + 168, at + 168 + 256),
      changes,
      faultAddress: stopped.stop === "memory" && vector === PAGE_FAULT ? faultAddress : null,
      note: `vector ${vector}, error ${error.toString(16)}, cr2 ${faultAddress.toString(16)}`,
    });
    at += OUTPUT_HEAD + count * 16;
  }
  return outcomes;
}

const BREAKPOINT = 3;
const PAGE_FAULT = 14;
const STOPS: Readonly<Record<number, Stop>> = {
  0: "divide-error",
  6: "invalid-opcode",
  12: "memory",
  13: "general-protection",
  [PAGE_FAULT]: "memory",
};

function stopOf(test: Case, vector: number, rip: bigint, faultAddress: bigint): { stop: Stop; rip: bigint } {
  const inside = (address: bigint): boolean =>
    address >= test.codeAddress && address < test.codeAddress + test.code.length;
  // int3 is a trap: RIP is behind it. All code around the snippet is int3.
  if (vector === BREAKPOINT) {
    if (!inside(rip - 1n)) return { stop: "end", rip: rip - 1n };
    const offset = Number(rip) - 1 - test.codeAddress;
    const start = test.points.findLast((point) => point.offset <= offset)?.offset ?? offset;
    return { stop: "breakpoint", rip: BigInt(test.codeAddress + start) };
  }
  if (vector === PAGE_FAULT && rip === faultAddress && !inside(rip)) return { stop: "end", rip };
  return { stop: STOPS[vector] ?? `vector ${vector}`, rip };
}
