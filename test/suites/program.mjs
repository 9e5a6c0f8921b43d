// A static executable that runs until it exits, and what it writes.
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { LinuxCalls } from "./linux.mjs";
import { machineState, stopOf } from "./state.mjs";

const BUDGET = 20_000_000_000;
const NOWHERE = 0x108;
const STACK = 0x70000000;
const STACK_BYTES = 0x800000;
const AUXILIARY = { null: 0n, pageSize: 6n, random: 25n, end: 0n };
const WRITABLE = { read: true, write: true, execute: false };
/** Programs that were linked to be writable as a whole (ld --omagic) put their heap behind a gap. */
const HEAP_GAP = 0x100000;

/** @returns how it ended, and the whole state then */
export function runProgram(sandbox, folder, test, known) {
  const object = sandbox.load(readFileSync(join(folder, test.program)), basename(test.program));
  if (!known) sandbox.code.removeFunctions(sandbox.space.first, sandbox.space.end);
  const end = Math.max(...object.segments.map(({ address, size }) => address + size));
  const linux = new LinuxCalls(sandbox, Math.ceil((end + HEAP_GAP) / 4096) * 4096);
  sandbox.map(STACK, STACK_BYTES, WRITABLE, "stack");
  sandbox.setRegister("rsp", BigInt(enterStack(sandbox, [test.program, ...(test.arguments ?? [])])));
  sandbox.setRegister("rip", BigInt(object.entry));
  const { system } = sandbox.runtime;
  sandbox.runtime.system = (instruction) =>
    instruction.mnemonic === "syscall" ? linux.carryOut() : system(instruction);
  try {
    const stop = sandbox.run(NOWHERE, BUDGET);
    const { end: kind, why } = stopOf(sandbox, stop);
    const exited = kind === "halted" && linux.status !== null;
    const state = machineState(sandbox);
    return {
      end: exited ? "exited" : kind,
      why: exited ? String(linux.status) : why,
      state: { ...state, output: linux.output.toString("latin1") },
      wrong: exited ? wrongOutcome(folder, test, linux) : [],
    };
  } finally {
    sandbox.runtime.system = system;
  }
}

function wrongOutcome(folder, test, linux) {
  const wrong = [];
  if (linux.status !== test.status) wrong.push(`exit status is ${linux.status}, not ${test.status}`);
  if (test.output === undefined) return wrong;
  const ours = linux.output.toString("latin1").split("\n");
  const theirs = readFileSync(join(folder, test.output), "latin1").split("\n");
  if (ours.length !== theirs.length) wrong.push(`${ours.length} lines, not ${theirs.length}`);
  const ignored = new RegExp(test.ignore ?? "^\\b$");
  const differ = theirs.flatMap((line, i) => (line === ours[i] || ignored.test(line) ? [] : [i]));
  if (differ.length > 0) {
    const [at] = differ;
    const [got, wanted] = [JSON.stringify(ours[at]), JSON.stringify(theirs[at])];
    wrong.push(`line ${at + 1} is ${got}, not ${wanted} (${differ.length} differ)`);
  }
  return wrong;
}

/** Arguments, no environment, and an auxiliary vector, as the System V ABI for x86-64 has them (3.4.1). @returns RSP */
function enterStack(sandbox, args) {
  let top = STACK + STACK_BYTES - 4096;
  const put = (bytes) => {
    top -= Math.ceil(bytes.length / 16) * 16;
    sandbox.write(top, bytes);
    return BigInt(top);
  };
  const random = put(new Uint8Array(16).fill(7));
  const pointers = args.map((arg) => put(Buffer.from(`${arg}\0`)));
  const words = [BigInt(args.length), ...pointers, AUXILIARY.end, AUXILIARY.end];
  words.push(AUXILIARY.pageSize, 4096n, AUXILIARY.random, random, AUXILIARY.null, 0n);
  return Number(put(Buffer.from(new BigUint64Array(words).buffer)));
}
