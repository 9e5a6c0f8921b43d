import { type Command, InvalidArgumentError, Option } from "commander";
import { decompress } from "../formats/compression.js";
import { readFileBytes } from "../node/file-bytes.js";
import { KorralError, UsageError } from "../util/errors.js";
import { type Argument, parseArguments } from "./exec/arguments.js";
import { hexDump } from "./exec/hex-dump.js";
import { execDocument, problemReport, resultText } from "./exec/report.js";
import { type Outcome, othersTurn, Subject } from "./exec/subject.js";
import { stdout } from "./output.js";
import { printable } from "./printable.js";

interface ExecOptions {
  readonly checks: "on" | "off";
  readonly repeat: number;
  readonly timeout: number;
  readonly json?: true;
}

const MOST_REPEATS = 1e9;
const LONGEST_TIMEOUT = 86_400;
/** Counting costs speed: a function that returned in time has so many times longer. */
const SLOWER_COUNTING = 20;
/** Milliseconds. */
const BETWEEN_TURNS = 100;

export function addExec(program: Command): void {
  program
    .command("exec")
    .description("Run one function of an x86-64 object, module or executable in the sandbox.")
    .argument("<file>", "x86-64 .o, .ko (plain or compressed) or executable, - for standard input")
    .argument("<symbol>", "a function, by its name, FILE.c:NAME or its address 0x…")
    .argument(
      "[arg...]",
      "six at most: a number (decimal, 0x…, negative); buf:N (N zero bytes), str:TEXT, @FILE: a pointer",
    )
    .addOption(checksOption())
    .option("--repeat <n>", "call it so often, each time with the same memory", repeats, 1)
    .option("--timeout <seconds>", "give a call up after so long", seconds, 20)
    .option("--json", "print one JSON document: {result, milliseconds, instructions, buffers, fault}")
    .allowUnknownOption()
    .action((file: string, symbol: string, args: string[], options: ExecOptions) => exec(file, symbol, args, options));
}

/** Whether accesses are checked; without, only what WebAssembly itself cannot do is noticed. */
export function checksOption(): Option {
  return new Option("--checks <on|off>", "check every access to memory").choices(["on", "off"]).default("on");
}

async function exec(file: string, symbol: string, args: readonly string[], options: ExecOptions): Promise<void> {
  const unknown = [file, symbol, ...args].find((text) => /^--?[a-z]/i.test(text));
  if (unknown !== undefined) throw new UsageError(`exec: unknown option '${unknown}' (korral exec --help lists them)`);
  const parsed = parseArguments(args, file);
  const name = file === "-" ? "standard input" : file;
  const bytes = decompress(readFileBytes(file), name);
  const { subject, outcome, best } = await measured(bytes, name, symbol, parsed, options);
  const instructions = outcome.problem?.rule === "out-of-budget" ? outcome.instructions : await counted();
  if (options.json === true) {
    stdout(`${JSON.stringify(execDocument(subject, outcome, best, instructions))}\n`);
  } else {
    const lines = [...summary(outcome, best, instructions, options.repeat), ...changedBuffers(subject)];
    if (outcome.problem !== null) lines.unshift(...problemReport(subject, outcome.problem), "");
    stdout(lines.map((line) => `${printable(line)}\n`).join(""));
  }
  const { problem } = outcome;
  if (problem !== null) throw new KorralError(problem.rule, problem.message, problem.status);

  async function counted(): Promise<number> {
    const counting = new Subject(bytes, name, symbol, parsed, { checks: options.checks === "on", count: true });
    return (await counting.call(SLOWER_COUNTING * 1000 * options.timeout)).instructions;
  }
}

interface Measured {
  readonly subject: Subject;
  /** Of the last call. */
  readonly outcome: Outcome;
  /** Milliseconds of the shortest call. */
  readonly best: number;
}

async function measured(
  bytes: Uint8Array,
  name: string,
  symbol: string,
  args: readonly Argument[],
  { checks, repeat, timeout }: ExecOptions,
): Promise<Measured> {
  const subject = new Subject(bytes, name, symbol, args, { checks: checks === "on", count: false });
  let outcome = await subject.call(1000 * timeout);
  let best = outcome.milliseconds;
  let turn = performance.now();
  for (let i = 1; i < repeat && outcome.problem === null; i++) {
    outcome = await subject.call(1000 * timeout);
    best = Math.min(best, outcome.milliseconds);
    if (performance.now() - turn > BETWEEN_TURNS) {
      await othersTurn();
      turn = performance.now();
    }
  }
  return { subject, outcome, best };
}

function summary({ result }: Outcome, best: number, instructions: number, repeat: number): string[] {
  return [
    ...(result === null ? [] : [`result        ${resultText(result)}`]),
    `time          ${best.toFixed(3)} ms${repeat > 1 && result !== null ? `, the best of ${repeat}` : ""}`,
    `instructions  ${instructions}`,
  ];
}

/** Those that are not as they were passed. */
function changedBuffers(subject: Subject): string[] {
  return subject.buffers.flatMap((buffer) => {
    const content = subject.content(buffer);
    if (content.every((byte, i) => byte === buffer.before[i])) return [];
    return ["", `argument ${buffer.number}, ${buffer.text}`, ...hexDump(content).map((line) => `  ${line}`)];
  });
}

function repeats(text: string): number {
  const n = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (n < 1 || n > MOST_REPEATS) throw new InvalidArgumentError(`it must be a whole number from 1 to ${MOST_REPEATS}.`);
  return n;
}

function seconds(text: string): number {
  const n = /^\d{1,5}(\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  if (n <= 0 || n > LONGEST_TIMEOUT) {
    throw new InvalidArgumentError(`it must be a number of seconds, up to ${LONGEST_TIMEOUT}.`);
  }
  return n;
}
