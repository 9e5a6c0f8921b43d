// Runs in Node, on a page and in a worker alike: nothing but the translator may be imported here.
import { REGISTER_NAMES, Sandbox, type SandboxOptions } from "../../src/translator/sandbox.js";

/** One call, as text, since JSON has no 64-bit integers. */
export interface Outcome {
  readonly call: string;
  readonly end: string;
  readonly rax: string;
  readonly executed: number;
  /** Of a call that did not return: where and why, with all registers. */
  readonly failure: string | null;
  readonly backtrace: readonly string[];
}

export interface Run {
  readonly name: string;
  readonly outcomes: readonly Outcome[];
  /** What hooks and device handlers saw, in order. */
  readonly events: readonly string[];
  /** A hash of all that the guest wrote to its buffer. */
  readonly buffer: string;
  readonly statistics: Sandbox["statistics"];
}

interface Variant {
  readonly name: string;
  readonly options: SandboxOptions;
  readonly slice?: number;
}

const VARIANTS: readonly Variant[] = [
  { name: "checked", options: { space: "high" } },
  { name: "checked, low", options: { space: "low" } },
  { name: "unchecked", options: { space: "high", checks: false } },
  { name: "every check, in small slices", options: { space: "high", elimination: false }, slice: 10 },
  { name: "counted", options: { space: "low", conventions: false, count: true } },
];
/** Without checks these would write where they must not, and nobody would notice. */
const NEED_CHECKS = ["overrun"];

const SIZE = 8192;
const DEVICE = 0xffffc90000000000n;

export function runAll(object: Uint8Array): Run[] {
  return VARIANTS.map((variant) => runOne(object, variant));
}

function runOne(object: Uint8Array, { name, options, slice }: Variant): Run {
  const sandbox = Sandbox.create({ budget: 3_000_000, ...options });
  if (slice !== undefined) {
    sandbox.runtime.slice = slice;
    sandbox.runtime.longestSlice = slice;
  }
  sandbox.load(object, "guest");
  const buffer = sandbox.allocate(SIZE);
  sandbox.write(
    buffer,
    Uint8Array.from({ length: SIZE }, (_, i) => i * 31 + (i >> 5)),
  );
  const events: string[] = [];
  observeAll(sandbox, events);

  const outcomes: Outcome[] = [];
  const call = (symbol: string, ...args: bigint[]): void => {
    if (options.checks === false && NEED_CHECKS.includes(symbol)) return;
    outcomes.push(outcomeOf(sandbox, symbol, args));
  };
  const at = BigInt(buffer);
  call("checksum", at, 4096n);
  call("fibonacci", 15n);
  call("depth", 20000n);
  call("vectors", at, 1024n);
  call("sort", at, 300n);
  call("checksum", at, 4096n);
  call("wide", 0x123456789abcdef0n, 0xfedcba9876543211n);
  call("copied", at, 3000n);
  call("through", 5n);
  call("rings", 6n);
  call("device", DEVICE, 3n);
  const before = sandbox.snapshot();
  call("chase", 0n);
  call("chase", at);
  call("overrun", at, BigInt(SIZE + 1));
  call("quotient", 7n, 0n);
  call("endless");
  sandbox.restore(before);
  call("checksum", at, BigInt(SIZE));
  return { name, outcomes, events, buffer: hash(sandbox.read(buffer, SIZE)), statistics: { ...sandbox.statistics } };
}

function observeAll(sandbox: Sandbox, events: string[]): void {
  sandbox.observe("doorbell", (context) => events.push(`doorbell(${context.argument(0)})`));
  sandbox.hook(importOf(sandbox, "outside"), (context) => {
    const [a, b] = [context.argument(0), context.argument(1)];
    // From within a hook, guest code again.
    const result = sandbox.call("wide", [a + 5n, b]);
    events.push(`outside(${a}, ${b}) = ${result}`);
    sandbox.setRegister("rax", result);
    return "return";
  });
  let last = 1n;
  sandbox.handle(DEVICE, 4096, {
    read: (address, bytes) => {
      events.push(`read ${address - DEVICE} ${bytes}`);
      return address === DEVICE + 8n ? last : 3n * last;
    },
    write: (address, bytes, value) => {
      events.push(`write ${address - DEVICE} ${bytes} ${value}`);
      last = value;
    },
  });
}

function importOf(sandbox: Sandbox, name: string) {
  const found = sandbox.objects[0].imports.find((one) => one.name === name);
  if (found === undefined) throw new Error(`the guest does not import ${name}`);
  return found.address;
}

function outcomeOf(sandbox: Sandbox, symbol: string, args: readonly bigint[]): Outcome {
  const before = sandbox.runtime.executed;
  const stop = sandbox.callAt(sandbox.symbol(symbol), args);
  const executed = sandbox.runtime.executed - before;
  const rax = hex(sandbox.register("rax"));
  const call = `${symbol}(${args.map(hex).join(", ")})`;
  if (stop.kind === "returned") return { call, end: stop.kind, rax, executed, failure: null, backtrace: [] };
  const { rule, rip, instruction, message, backtrace } = sandbox.explain(stop);
  const registers = REGISTER_NAMES.map((name) => `${name}=${hex(sandbox.register(name))}`).join(" ");
  return {
    call,
    end: rule,
    rax,
    executed,
    failure: `${message}; ${instruction} at ${rip}; ${registers}`,
    backtrace: backtrace.map(({ symbol: where, address }) => where ?? String(address)),
  };
}

function hash(bytes: Uint8Array): string {
  let state = 0xcbf29ce484222325n;
  for (const byte of bytes) state = BigInt.asUintN(64, (state ^ BigInt(byte)) * 0x100000001b3n);
  return hex(state);
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
