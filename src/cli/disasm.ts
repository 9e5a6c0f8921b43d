import { type Command, Option } from "commander";
import { decompress } from "../formats/compression.js";
import { readFileBytes } from "../node/file-bytes.js";
import type { WrittenFunction } from "../translator/emit/function.js";
import type { Node } from "../translator/flow/region.js";
import type { Instruction } from "../translator/instruction.js";
import { printSteps } from "../translator/ir-text.js";
import { Sandbox } from "../translator/sandbox.js";
import { disassembleWasm, type WasmLine } from "../translator/wasm-text.js";
import { InputError, UnsupportedError } from "../util/errors.js";
import { formatGuestAddress, type GuestAddress } from "../util/guest-address.js";
import { stdout } from "./output.js";
import { printable } from "./printable.js";

/** One guest instruction in its place in the function, and what became of it. */
interface Row {
  readonly address: string;
  readonly bytes: string;
  readonly text: string;
  readonly steps: readonly string[];
  readonly wasm: readonly string[];
}

interface DisasmDocument {
  readonly symbol: string;
  readonly guestBytes: number;
  readonly wasmBytes: number;
  readonly blocks: readonly {
    readonly address: string;
    readonly before: readonly string[];
    readonly rows: readonly Row[];
  }[];
  /** The ways out of the function, behind its code. */
  readonly exits: readonly string[];
}

export function addDisasm(program: Command): void {
  program
    .command("disasm")
    .description("Show a function's guest code, its steps and its WebAssembly side by side.")
    .argument("<file>", "x86-64 .o, .ko (plain or compressed) or executable, - for standard input")
    .argument("<symbol>", "a function, by its name, FILE.c:NAME or its address 0x…")
    .addOption(new Option("--checks <on|off>", "check every access to memory").choices(["on", "off"]).default("on"))
    .option("--json", "print one JSON document: {symbol, guestBytes, wasmBytes, blocks, exits}")
    .action((file: string, symbol: string, options: { checks: "on" | "off"; json?: true }) => {
      const found = disassembled(file, symbol, options.checks === "on");
      stdout(options.json === true ? `${JSON.stringify(found)}\n` : text(found));
    });
}

function disassembled(file: string, symbol: string, checks: boolean): DisasmDocument {
  const name = file === "-" ? "standard input" : file;
  const sandbox = Sandbox.create({ checks });
  sandbox.load(decompress(readFileBytes(file), name), name);
  const address = addressOf(sandbox, symbol);
  if (!sandbox.memory.isExecutable(address)) {
    throw new InputError("not-code", `${symbol} is not code: name a function`);
  }
  const written = sandbox.runtime.translations.written(address);
  if (written === null) {
    throw new UnsupportedError("unsupported-instruction", `no instruction that is known stands at ${symbol}`);
  }
  return documentOf(sandbox, symbol, written);
}

function addressOf(sandbox: Sandbox, symbol: string): GuestAddress {
  if (!/^0x[0-9a-f]{1,16}$/i.test(symbol)) return sandbox.symbol(symbol);
  return Number(BigInt.asIntN(64, BigInt(symbol))) as GuestAddress;
}

function documentOf(sandbox: Sandbox, symbol: string, written: WrittenFunction): DisasmDocument {
  const lines = disassembleWasm(written.body, {
    local: (index) => written.locals.get(index) ?? `local${index}`,
    callee: (index) => calleeName(sandbox, written.functions.get(index)) ?? `function${index}`,
  });
  const between = (from: number, to: number): string[] =>
    lines.filter(({ offset }) => offset >= from && offset < to).map(indented);
  const { marks, end } = written;
  const blocks: { address: string; before: string[]; rows: Row[] }[] = [];
  marks.forEach((mark, i) => {
    const wasm = between(i === 0 ? 0 : mark.offset, marks[i + 1]?.offset ?? end);
    if (mark.node === null) {
      blocks.push({ address: formatGuestAddress(mark.block.address), before: wasm, rows: [] });
    } else blocks.at(-1)?.rows.push(rowOf(sandbox, mark.node, wasm));
  });
  const nodes = marks.flatMap(({ node }) => (node === null ? [] : [node]));
  return {
    symbol,
    guestBytes: nodes.reduce((sum, { lifted }) => sum + lifted.instruction.length, 0),
    wasmBytes: written.body.length,
    blocks,
    exits: between(end, written.body.length),
  };
}

/** Callees of the same module are known by their addresses. */
function calleeName(sandbox: Sandbox, name: string | undefined): string | undefined {
  if (name === undefined || !name.startsWith("0x")) return name;
  const address = Number(BigInt.asIntN(64, BigInt(name))) as GuestAddress;
  return sandbox.code.functionAt(address)?.name ?? name;
}

const indented = ({ depth, text: line }: WasmLine): string => `${"  ".repeat(depth)}${line}`;

function rowOf(sandbox: Sandbox, { lifted }: Node, wasm: readonly string[]): Row {
  const { instruction } = lifted;
  return {
    address: formatGuestAddress(instruction.address),
    bytes: bytesOf(sandbox, instruction),
    text: instruction.text(),
    steps: printSteps(lifted.steps),
    wasm,
  };
}

const bytesOf = (sandbox: Sandbox, { address, length }: Instruction): string =>
  Buffer.from(sandbox.read(address, length)).toString("hex");

const GUEST_WIDTH = 44;
const STEPS_WIDTH = 52;

function text({ symbol, guestBytes, wasmBytes, blocks, exits }: DisasmDocument): string {
  const lines = [`${symbol}: ${guestBytes} bytes of guest code, ${wasmBytes} bytes of WebAssembly`];
  for (const { address, before, rows } of blocks) {
    lines.push("", `block ${address}`, ...columns([], [], before));
    for (const row of rows) {
      const guest = [`${row.address.slice(-8)}  ${row.text}`, `          ${row.bytes}`];
      lines.push(...columns(guest, row.steps, row.wasm));
    }
  }
  if (exits.length > 0) lines.push("", "ways out", ...columns([], [], exits));
  return lines.map((line) => `${printable(line)}\n`).join("");
}

function columns(guest: readonly string[], steps: readonly string[], wasm: readonly string[]): string[] {
  const height = Math.max(guest.length, steps.length, wasm.length);
  return Array.from({ length: height }, (_, i) =>
    `${cell(guest[i], GUEST_WIDTH)}${cell(steps[i], STEPS_WIDTH)}${wasm[i] ?? ""}`.trimEnd(),
  );
}

/** Filled up; what is longer keeps a space to what follows. */
const cell = (content: string | undefined, width: number): string => `${content ?? ""} `.padEnd(width);
