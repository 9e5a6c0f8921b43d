import { type Case, COMPARED_FLAGS, type Outcome, type Point, RFLAGS, type Stop, type Subject } from "./case.js";

export const REGISTER_NAMES = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split(" ");
const FLAG_NAMES: readonly (readonly [number, string])[] = [
  [0x1, "CF"],
  [0x4, "PF"],
  [0x10, "AF"],
  [0x40, "ZF"],
  [0x80, "SF"],
  [0x400, "DF"],
  [0x800, "OF"],
];

/** Stops in which an instruction did not complete, where flags are nothing that a function hands over. */
const FAULTS: ReadonlySet<Stop> = new Set(["memory", "general-protection", "divide-error"]);

const hex = (value: bigint | number): string => `0x${value.toString(16)}`;
export const flagsText = (flags: number): string =>
  FLAG_NAMES.map(([bit, name]) => ((flags & bit) === 0 ? name.toLowerCase() : name)).join(" ");

/** Each difference as a line; none if the outcomes agree wherever the manual says what they are. */
export function differences(test: Case, expected: Outcome, actual: Outcome, flags: Subject["flags"]): string[] {
  const found: string[] = [];
  const tell = (what: string, want: string, got: string): void => {
    found.push(`${what}: expected ${want}, got ${got}`);
  };
  if (leapsIntoNothing(expected, actual)) return [];
  if (!sameStop(test, expected, actual)) {
    tell("stop", `${expected.stop} (${expected.note})`, `${actual.stop} (${actual.note})`);
    return found;
  }
  if (expected.rip !== actual.rip) tell("rip", hex(expected.rip), hex(actual.rip));
  if (!sameFault(test, expected, actual))
    tell("fault", hex(expected.faultAddress ?? 0n), hex(actual.faultAddress ?? 0n));
  for (let i = 0; i < 16; i++) {
    const [want, got] = [expected.registers[i], actual.registers[i]];
    if (want !== got) tell(REGISTER_NAMES[i], hex(want), hex(got));
  }
  const inexact = flags === "convention" && FAULTS.has(expected.stop);
  const mask = inexact ? RFLAGS.DF : COMPARED_FLAGS & ~undefinedFlags(test, expected);
  if (((expected.flags ^ actual.flags) & mask) !== 0) {
    tell("flags", flagsText(expected.flags & mask), flagsText(actual.flags & mask));
  }
  compareVectors(expected, actual, tell);
  const inParts = FAULTS.has(expected.stop) && pointOf(test, expected)?.storesInParts;
  if (!inParts) compareMemory(expected, actual, tell);
  return found;
}

/** Bits of RFLAGS that have no defined value where the case stopped. */
export function undefinedFlags(test: Case, outcome: Outcome): number {
  const point = pointOf(test, outcome);
  if (point !== undefined) return point.undefinedFlags | (FAULTS.has(outcome.stop) ? point.undefinedInFault : 0);
  return outcome.stop === "end" ? test.undefinedAtExits : 0;
}

const isCanonical = (address: bigint): boolean => BigInt.asIntN(48, address) === BigInt.asIntN(64, address);

/** Near the ends of what can be an address at all, processors report one thing or another. */
const isOrdinary = (address: bigint): boolean =>
  isCanonical(address - 64n) && isCanonical(address + 64n) && address < (1n << 64n) - 64n;

function sameStop(test: Case, expected: Outcome, actual: Outcome): boolean {
  if (expected.stop === actual.stop) return true;
  // No page, or no address at all: processors tell these apart, the translator need not.
  if (expected.stop !== "general-protection" || actual.faultAddress === null) return false;
  return !isOrdinary(actual.faultAddress) || (pointOf(test, actual)?.vagueFault ?? false);
}

/** The processor names the first byte that it cannot access, which may lie behind the first of the access. */
function sameFault(test: Case, expected: Outcome, actual: Outcome): boolean {
  if (expected.faultAddress === null || actual.faultAddress === null || pointOf(test, actual)?.vagueFault) return true;
  const distance = expected.faultAddress - actual.faultAddress;
  return distance >= 0n && distance < 16n;
}

/** Some processors refuse a jump to what is no address, others make it and refuse to go on. */
const leapsIntoNothing = (expected: Outcome, actual: Outcome): boolean =>
  expected.stop === "general-protection" && actual.stop === "end" && !isCanonical(actual.rip);

const pointOf = (test: Case, { rip }: Outcome): Point | undefined =>
  test.points.find(({ offset }) => offset === Number(rip) - test.codeAddress);

type Tell = (what: string, want: string, got: string) => void;

function compareVectors(expected: Outcome, actual: Outcome, tell: Tell): void {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).reverse().toString("hex");
  if (Buffer.compare(expected.xmm, actual.xmm) === 0) return;
  for (let i = 0; i < 256; i += 16) {
    const [want, got] = [expected.xmm.subarray(i, i + 16), actual.xmm.subarray(i, i + 16)];
    if (Buffer.compare(want, got) !== 0) tell(`xmm${i / 16}`, text(want), text(got));
  }
}

function compareMemory(expected: Outcome, actual: Outcome, tell: Tell): void {
  const words = new Map<number, { want?: bigint; got?: bigint }>();
  for (const { address, value } of expected.changes) words.set(address, { want: value });
  for (const { address, value } of actual.changes) words.set(address, { ...words.get(address), got: value });
  const word = (value: bigint | undefined): string => (value === undefined ? "no change" : hex(value));
  for (const [address, { want, got }] of words) {
    if (want !== got) tell(`[${hex(address)}]`, word(want), word(got));
  }
}
