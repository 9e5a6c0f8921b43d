import { afterAll, describe, expect, it } from "vitest";
import type { Sandbox } from "../../src/translator/sandbox.js";
import type { GuestAddress } from "../../src/util/guest-address.js";
import { Random } from "../filter/random.js";
import { isInstalled, Workshop } from "../support/binutils.js";
import { CHECKED, sandboxOf, type Variant } from "./programs/guest.js";
import { assembled, generalRegisters } from "./programs/objects.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

/** Each size: bytes of an operand and the names of registers as it. r12 and r13 point to memory, r14 counts turns. */
const NAMES = ["ax", "bx", "cx", "dx", "si", "di", "bp"];
const NUMBERED = ["r8", "r9", "r10", "r11", "r15"];
const WHERE = ["r12", "r13"];
const SIZES = [1, 2, 4, 8] as const;
type Size = (typeof SIZES)[number];
const KEYWORD = { 1: "byte", 2: "word", 4: "dword", 8: "qword" } as const;

function registerName(r: Random, size: Size): string {
  if (r.chance(0.4)) return r.pick(NUMBERED) + { 1: "b", 2: "w", 4: "d", 8: "" }[size];
  const name = r.pick(NAMES);
  if (size === 1) return name.length === 2 && name.endsWith("x") ? r.pick([`${name[0]}l`, `${name[0]}h`]) : `${name}l`;
  return size === 2 ? name : (size === 4 ? "e" : "r") + name;
}

const NEAR = [0, 4, 8, -8, 12, 16, 24, 64, -64, 120, 400, 1000, -1000];
const FAR = [4088, -5000, 32760, -32760, 0x9000, -0x9000];
/** Sums of displacements stay near the edge of the memory, so that some accesses fault and most do not. */
function memory(r: Random, size: number): string {
  const displacement = r.chance(0.04) ? r.pick(FAR) : r.pick(NEAR);
  const scaled = r.chance(0.25) ? `+ r14 * ${r.pick([1, 2, 4, 8])} ` : "";
  const keyword = size === 16 ? "xmmword" : KEYWORD[size as Size];
  return `${keyword} ptr [${r.pick(WHERE)} ${scaled}+ ${displacement}]`;
}

/** AH and its like cannot be encoded together with the registers that AMD added. */
const encodable = (text: string): boolean => !(/\b[abcd]h\b/.test(text) && /\br\d+|\b(sil|dil|bpl)\b/.test(text));

function instruction(r: Random): string {
  for (;;) {
    const text = draft(r);
    if (encodable(text)) return text;
  }
}

function draft(r: Random): string {
  const size = r.pick(SIZES);
  const register = registerName(r, size);
  const other = registerName(r, size);
  const at = memory(r, size);
  const wide = registerName(r, 8);
  switch (r.below(22)) {
    case 0:
      return `mov ${register}, ${at}`;
    case 1:
      return `mov ${at}, ${register}`;
    case 2:
      return `${r.pick(["add", "sub", "xor", "and", "or", "adc", "sbb"])} ${at}, ${register}`;
    case 3:
      return `${r.pick(["add", "sub", "cmp", "test", "adc", "sbb", "xor"])} ${register}, ${other}`;
    case 4:
      return `${r.pick(["add", "sub", "cmp", "and", "imul"])} ${registerName(r, 4)}, ${memory(r, 4)}`;
    case 5:
      return `${r.pick(["inc", "dec", "neg", "not"])} ${r.chance(0.5) ? at : register}`;
    case 6:
      return `lea ${wide}, [${registerName(r, 8)} + ${registerName(r, 8)} * ${r.pick([1, 2, 4, 8])} + ${r.below(256)}]`;
    case 7:
      return `${r.pick(["movzx", "movsx"])} ${registerName(r, 4)}, ${memory(r, r.pick([1, 2]))}`;
    case 8:
      return `xchg ${at}, ${register}`;
    case 9:
      return `push ${r.chance(0.5) ? memory(r, 8) : wide}`;
    case 10:
      return `${r.pick(["shl", "shr", "sar", "rol", "ror"])} ${r.chance(0.4) ? at : register}, ${r.pick(["cl", "1", "5"])}`;
    case 11:
      return `${r.pick(["add", "sub"])} ${r.pick(WHERE)}, ${r.pick([8, 16, -8, 40, 256, 4096])}`;
    case 12:
      return `lea ${r.pick(WHERE)}, [${r.pick(WHERE)} + ${r.pick([8, -16, 128, 2048, -30000])}]`;
    case 13:
      return `set${r.pick(["e", "c", "l", "g", "s"])} ${r.chance(0.5) ? memory(r, 1) : registerName(r, 1)}`;
    case 14:
      return `cmov${r.pick(["e", "c", "l", "ne", "s"])} ${registerName(r, 4)}, ${r.chance(0.5) ? memory(r, 4) : registerName(r, 4)}`;
    case 15:
      return `lock xadd ${at}, ${register}`;
    case 16:
      return `lock cmpxchg ${at}, ${register}`;
    case 17:
      return r.chance(0.5) ? `movdqu xmm${r.below(4)}, ${memory(r, 16)}` : `movdqu ${memory(r, 16)}, xmm${r.below(4)}`;
    case 18:
      return `mul ${memory(r, 4)}`;
    case 19:
      return `bt${r.pick(["", "s", "r", "c"])} ${memory(r, 4)}, ${r.below(32)}`;
    case 20:
      return `mov ${registerName(r, 4)}, ${r.word() | 0}`;
    default:
      return `div ${registerName(r, 4)}`;
  }
}

/** A few straight lines, loops and branches, which may call a small function. */
function body(r: Random): string {
  const lines: string[] = [`mov r14d, ${r.between(1, 40)}`];
  const line = (most: number): void => {
    for (let i = r.between(1, most); i > 0; i--) lines.push(instruction(r));
  };
  line(6);
  for (let part = 0; part < r.between(1, 4); part++) {
    const label = part + 1;
    switch (r.below(4)) {
      case 0:
        lines.push(`${label}0:`);
        line(6);
        lines.push("dec r14d", `jg ${label}0b`, `mov r14d, ${r.between(1, 9)}`);
        break;
      case 1:
        lines.push(`j${r.pick(["e", "c", "l", "s", "a"])} ${label}1f`);
        line(4);
        lines.push(`${label}1:`);
        break;
      case 2:
        // Flags do not outlive a call: no compiler counts on it.
        lines.push(`call ${r.pick(["small", "larger"])}`, "cmp rbx, rcx");
        break;
      default:
        line(8);
    }
  }
  lines.push("ud2");
  return lines.join("\n");
}

const HELPERS = {
  small: "add rax, rbx\nmov rcx, qword ptr [r12 + 8]\nret",
  larger:
    "push rbx\nmov ebx, 3\n1: add qword ptr [r13], rbx\nadd r13, 8\ndec ebx\njne 1b\npop rbx\nxor r11d, r11d\nret",
};

const DATA = 0x3000_0000 as GuestAddress;
const DATA_BYTES = 0x6000;
const HOLES = 5;

interface Ending {
  readonly stop: string;
  readonly rip: bigint;
  readonly registers: readonly bigint[];
  readonly vectors: readonly bigint[];
  readonly memory: bigint;
}

function prepared(variant: Variant, object: Uint8Array): Sandbox {
  const sandbox = sandboxOf(variant, { budget: 20_000 });
  sandbox.load(object);
  sandbox.map(DATA, DATA_BYTES, { read: true, write: true, execute: false });
  sandbox.map((DATA + 0x10000) as GuestAddress, 0x1000, { read: true, write: false, execute: false });
  return sandbox;
}

function ended(sandbox: Sandbox, name: string, seed: number): Ending {
  const r = new Random(seed);
  sandbox.write(
    DATA,
    Uint8Array.from({ length: DATA_BYTES }, (_, i) => (i * seed) >> 3),
  );
  sandbox.poison(DATA, DATA_BYTES, null);
  for (let i = 0; i < HOLES; i++) {
    sandbox.poison(
      (DATA + r.below(DATA_BYTES - 256)) as GuestAddress,
      r.between(1, 256),
      r.pick(["freed", "to-device"]),
    );
  }
  for (let i = 0; i < 16; i++) if (i !== 4) sandbox.cpu.setGeneral(i, (BigInt(r.word()) << 32n) | BigInt(r.word()));
  for (let i = 0; i < 4; i++) sandbox.cpu.setXmm(i, BigInt(r.word()), BigInt(r.word()));
  sandbox.cpu.rflags = 0x202n;
  sandbox.cpu.setGeneral(12, BigInt(DATA + 0x1000 + r.below(0x4000)));
  sandbox.cpu.setGeneral(13, BigInt(DATA + 0x1000 + r.below(0x2000)));
  const stop = sandbox.callAt(sandbox.symbol(name));
  let memory = 0n;
  const { view } = sandbox.memory;
  const start = sandbox.memory.offset(DATA);
  for (let at = 0; at < DATA_BYTES; at += 8)
    memory = BigInt.asUintN(64, memory * 31n + view.getBigUint64(start + at, true));
  return {
    stop:
      stop.kind === "fault"
        ? `${stop.fault.rule} ${stop.fault.access} ${stop.fault.size} ${stop.fault.address}`
        : stop.kind,
    rip: sandbox.register("rip"),
    registers: generalRegisters(sandbox),
    vectors: [0, 1, 2, 3].flatMap((i) => [sandbox.cpu.xmmLow(i), sandbox.cpu.xmmHigh(i)]),
    memory,
  };
}

describe.skipIf(!isInstalled("gcc"))("Registers where random code faults", () => {
  const FUNCTIONS = 100;
  const SEEDS = 3;
  for (const first of [1, 2]) {
    it(`are in every way of running those of one instruction after the other (${first})`, () => {
      const names = Array.from({ length: FUNCTIONS }, (_, i) => `f${i}`);
      const functions = Object.fromEntries(names.map((name, i) => [name, body(new Random(first * 10_000 + i))]));
      const object = assembled(workshop, { ...functions, ...HELPERS });
      const sandboxes = CHECKED.map((variant) => ({ variant, sandbox: prepared(variant, object) }));
      const kinds = new Map<string, number>();
      for (const [i, name] of names.entries()) {
        for (let seed = 1; seed <= SEEDS; seed++) {
          const endings = sandboxes.map(({ sandbox }) => ended(sandbox, name, 10 * i + first * 10_000 + seed));
          const exact = endings[endings.length - 1];
          const kind = exact.stop.split(" ")[0];
          kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
          if (kind === "exhausted") continue;
          endings.forEach((ending, k) => {
            expect(ending, `${name}, seed ${seed}, ${sandboxes[k].variant.name}\n${functions[name]}`).toEqual(exact);
          });
        }
      }
      // Most end in a fault, or nothing is tested.
      expect(kinds.get("unmapped") ?? 0).toBeGreaterThan(20);
      expect((kinds.get("use-after-free") ?? 0) + (kinds.get("device-owned") ?? 0)).toBeGreaterThan(10);
    });
  }
});
