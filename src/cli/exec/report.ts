import { formatFrame } from "../../translator/backtrace.js";
import type { Registers } from "../../translator/sandbox.js";
import { ExitStatus } from "../../util/errors.js";
import { formatGuestAddress, type GuestAddress } from "../../util/guest-address.js";
import type { Outcome, Problem, Subject } from "./subject.js";

const RULE = "=".repeat(66);
/** Its message says all about the address. */
const MISSING = "missing-import";
/** So far from a buffer or a stack an address has to do with it. */
const NEAR = 4096;

/** 16 digits of an unsigned value. */
export const hex64 = (value: bigint): string => `0x${value.toString(16).padStart(16, "0")}`;

// biome-ignore format: a table
const REGISTER_LINES: readonly (readonly (keyof Registers)[])[] = [
  ["rax", "rbx", "rcx"], ["rdx", "rsi", "rdi"], ["rbp", "r8", "r9"], ["r10", "r11", "r12"], ["r13", "r14", "r15"],
];

/** Why a function did not return, laid out as kernels do it. */
export function problemReport(subject: Subject, problem: Problem): string[] {
  const { rule, access, instruction, registers, rip, symbol, backtrace, status } = problem;
  const kind = status === ExitStatus.findings ? "BUG" : "STOPPED";
  const lines = [RULE, `${kind}: ${rule} in ${symbol ?? formatGuestAddress(rip)}`, problem.message];
  if (access !== null) {
    const what = access.access === "execute" ? "Execution" : `${capital(access.access)} of size ${access.size}`;
    lines.push(`${what} at address ${hex64(access.address)}`);
    const near = rule === MISSING ? null : placeOf(subject, Number(BigInt.asIntN(64, access.address)) as GuestAddress);
    if (near !== null) lines.push(`The address is ${near}.`);
  }
  lines.push("", `RIP: ${formatGuestAddress(rip)} ${symbol ?? ""}`.trimEnd());
  if (instruction !== null) lines.push(`Code: ${instruction}`);
  lines.push(`RSP: ${hex64(registers.rsp)} EFLAGS: ${registers.rflags.toString(16).padStart(8, "0")}`);
  for (const names of REGISTER_LINES) {
    lines.push(names.map((name) => `${registerLabel(name)}: ${hex64(registers[name])}`).join(" "));
  }
  lines.push("", "Call trace:", ...backtrace.map((frame) => ` ${formatFrame(frame)}`), RULE);
  return lines;
}

/** What an address has to do with what was loaded and passed, null if nothing. */
function placeOf({ sandbox, object, buffers }: Subject, address: GuestAddress): string | null {
  for (const { number, text, address: start, before } of buffers) {
    const end = start + before.length;
    const what = `the ${before.length} bytes of argument ${number} (${text})`;
    if (address >= start && address < end) return `${count(address - start)} into ${what}`;
    if (address >= end && address < end + NEAR) return `${count(address - end)} after ${what}`;
    if (address < start && address >= start - NEAR) return `${count(start - address)} before ${what}`;
  }
  const mapping = sandbox.memory.mappingAt(address);
  if (mapping !== null) {
    const symbol = object.symbols.at(address);
    const name = symbol === null ? "" : `, ${symbol.name}+0x${(address - symbol.address).toString(16)}`;
    return `${count(address - mapping.address)} into ${mapping.name}${name}`;
  }
  const below = sandbox.memory.mappings.find((one) => one.name === "stack" && address >= one.address - 16 * NEAR);
  if (below !== undefined && address < below.address) {
    return `${count(below.address - address)} below the stack of ${below.size} bytes`;
  }
  return null;
}

const count = (bytes: number): string => (bytes === 1 ? "1 byte" : `${bytes} bytes`);

const capital = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1);

/** `R8 ` and `RAX`: of one width. */
const registerLabel = (name: string): string => name.toUpperCase().replace(/^R(\d)$/, "R0$1");

/** What `exec --json` prints. */
export function execDocument(subject: Subject, outcome: Outcome, milliseconds: number, instructions: number) {
  const { result, problem } = outcome;
  return {
    result: result === null ? null : hex64(result),
    milliseconds: Math.round(milliseconds * 1e6) / 1e6,
    instructions,
    buffers: subject.buffers.map((buffer) => Buffer.from(subject.content(buffer)).toString("hex")),
    fault: problem === null ? null : faultDocument(problem),
  };
}

function faultDocument({ rule, message, rip, symbol, instruction, access, registers, backtrace }: Problem) {
  return {
    rule,
    message,
    rip: formatGuestAddress(rip),
    symbol,
    instruction,
    address: access === null ? null : hex64(access.address),
    access: access?.access ?? null,
    size: access?.size ?? null,
    registers: Object.fromEntries(Object.entries(registers).map(([name, value]) => [name, hex64(value)])),
    backtrace: backtrace.map((frame) => formatFrame(frame)),
  };
}

/** The result in hexadecimal and decimal: unsigned, and as C's signed types see it where that is another number. */
export function resultText(result: bigint): string {
  const texts = [hex64(result), result.toString()];
  if (result >> 63n === 1n) texts.push(BigInt.asIntN(64, result).toString());
  else if (result >> 31n === 1n) texts.push(`${BigInt.asIntN(32, result)} as int`);
  return texts.join("  ");
}
