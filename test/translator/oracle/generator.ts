import { RCX, RSP } from "../../../src/translator/instruction.js";
import { ARITHMETIC_FLAGS } from "../../../src/translator/ir.js";
import { type Random, randomBelow } from "../../../src/util/random.js";
import { type Case, STACK } from "./case.js";
import { Draft, type Jump } from "./draft.js";
import type { Form } from "./form.js";
import { stackPointer } from "./targets.js";
import { chance, littleEndian, pick } from "./values.js";
import { InstructionWriter } from "./writer.js";

const ALL_REGISTERS = 0xffff;
const MOST_BYTES = 0x200;
/** If only a few forms are wanted, none of them may be possible. */
const MOST_TRIES = 100;
/** Each condition of these is a mnemonic of its own. */
const CONDITIONAL = /^(set|cmov).*/;

export interface GeneratorOptions {
  /** Which forms without control flow are to be used for their own sake; all if left out. */
  readonly isWanted?: (form: Form) => boolean;
  /** Whether functions may read flags that their caller set; their callers never read theirs. Default true. */
  readonly flagsCrossCalls?: boolean;
}

/** Makes cases out of forms. */
export class Generator {
  readonly #integer: readonly Form[];
  readonly #vector: readonly Form[];
  readonly #families: readonly (readonly Form[])[];
  readonly #fixers: readonly Form[];
  readonly #constructs: readonly ((writer: InstructionWriter) => void)[];
  readonly #undefinedInFunctions: number;
  readonly #byName: ReadonlyMap<string, Form>;

  constructor(forms: readonly Form[], { isWanted = () => true, flagsCrossCalls = true }: GeneratorOptions = {}) {
    this.#undefinedInFunctions = flagsCrossCalls ? 0 : ARITHMETIC_FLAGS;
    const plain = forms.filter((form) => !form.control);
    this.#integer = plain.filter((form) => !form.vector && isWanted(form));
    this.#vector = plain.filter((form) => form.vector && isWanted(form));
    const families = new Map<string, Form[]>();
    for (const form of this.#integer) {
      const family = form.mnemonic.replace(CONDITIONAL, "$1");
      const members = families.get(family) ?? [];
      members.push(form);
      families.set(family, members);
    }
    this.#families = [...families.values()];
    this.#fixers = plain.filter(({ name }) => /^(Add|Sub|Cmp|Neg)_rm(8|32|64)(_r8|_r32|_r64)?$/.test(name));
    this.#byName = new Map(forms.map((form) => [form.name, form]));
    const some = (pattern: RegExp): Form[] => forms.filter(({ name }) => pattern.test(name));
    const conditional = some(/^J(?!mp).*_rel/);
    const loops = some(/^Loop/);
    const returns = some(/^Retnq/);
    const jumps = some(/^Jmp_rel/);
    this.#constructs = [
      (writer) => this.#branch(writer, pick(writer.random, conditional)),
      (writer) => this.#branch(writer, pick(writer.random, conditional)),
      (writer) => this.#branch(writer, pick(writer.random, [...jumps, ...loops])),
      (writer) => this.#loop(writer, pick(writer.random, loops)),
      (writer) => this.#countedLoop(writer),
      (writer) => this.#call(writer, pick(writer.random, returns)),
      (writer) => this.#return(writer, pick(writer.random, returns)),
      (writer) => this.#indirect(writer),
    ];
  }

  next(random: Random): Case {
    const writer = new InstructionWriter(new Draft(random), this.#fixers);
    const kind = random() % 8;
    const count = kind < 3 ? 1 : kind < 6 ? 2 + (random() & 1) : 4 + (random() % 5);
    for (let i = 0; i < count && writer.draft.length < MOST_BYTES; i++) {
      if (chance(random, 14)) pick(random, this.#constructs)(writer);
      else this.#plain(writer);
    }
    return writer.draft.finish();
  }

  /** One of a given form, alone. */
  only(form: Form, random: Random): Case | null {
    const writer = new InstructionWriter(new Draft(random), this.#fixers);
    if (form.control) return null;
    return writer.write(form) ? writer.draft.finish() : null;
  }

  #plain(writer: InstructionWriter): void {
    const { random } = writer;
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const kind = random() % 10;
      const list = kind < 3 ? this.#vector : kind < 6 ? this.#integer : pick(random, this.#families);
      if (list.length > 0 && writer.write(pick(random, list))) return;
    }
  }

  #form(name: string): Form {
    const form = this.#byName.get(name);
    if (form === undefined) throw new Error(`no form is named ${name}`);
    return form;
  }

  /** Over a few instructions, or out. */
  #branch(writer: InstructionWriter, form: Form): void {
    const { draft, random } = writer;
    if ((form.implicitReads & (1 << RCX)) !== 0) {
      if ((draft.untouchable & form.implicitWrites) !== 0) return;
      const high = chance(random, 50) ? 0n : BigInt(random()) << 32n;
      draft.want(RCX, () => high | BigInt(random() % 3));
    }
    const jump = writer.writeBranch(form);
    if (chance(random, 30)) {
      this.#leave(draft, jump);
      return;
    }
    for (let i = random() % 3; i >= 0; i--) this.#plain(writer);
    draft.land(jump);
  }

  #leave(draft: Draft, jump: Jump): void {
    draft.aim(jump, draft.outside());
    draft.undefinedAtExits |= jump.undefinedFlags;
  }

  #loop(writer: InstructionWriter, form: Form): void {
    const { draft, random } = writer;
    const turns = (form.addressSizePrefix ? BigInt(random()) << 32n : 0n) | BigInt(1 + (random() % 6));
    const count = draft.want(RCX, () => turns);
    const inTime = count !== null && BigInt.asUintN(form.addressSizePrefix ? 32 : 64, count) - 1n < 64n && count !== 0n;
    if (draft.inLoop || !inTime) return;
    this.#repeat(writer, RCX, () => writer.writeBranch(form));
  }

  #countedLoop(writer: InstructionWriter): void {
    const { draft, random } = writer;
    const register = randomBelow(random, 16);
    if (draft.inLoop || register === RSP || !draft.isOpen(register)) return;
    const bytes = pick(random, [1, 2, 4, 8]);
    const mask = (1n << BigInt(bytes * 8)) - 1n;
    draft.want(register, () => ((BigInt(random()) << 34n) & ~mask & 0xffffffffffffffffn) | BigInt(1 + (random() % 5)));
    this.#repeat(writer, register, () => {
      writer.writePrepared(this.#form(`Dec_rm${bytes * 8}`), { values: [register], registersOnly: true });
      return writer.writeBranch(this.#form(pick(random, ["Jne_rel8_64", "Jne_rel32_64"])));
    });
  }

  /** A body, and at its end a branch back. */
  #repeat(writer: InstructionWriter, counter: number, branch: () => Jump): void {
    const { draft, random } = writer;
    const start = draft.address;
    draft.undefinedFlags = ARITHMETIC_FLAGS;
    draft.untouchable = 1 << counter;
    draft.inLoop = true;
    for (let i = random() % 3; i >= 0; i--) this.#plain(writer);
    draft.aim(branch(), start);
    draft.untouchable = 0;
    draft.inLoop = false;
  }

  /** call over what follows it, a function behind, and back. */
  #call(writer: InstructionWriter, back: Form): void {
    const { draft, random } = writer;
    draft.want(RSP, () => stackPointer(random));
    if (draft.untouchable !== 0) return;
    const call = writer.writeBranch(this.#form("Call_rel32_64"));
    const { changed } = draft;
    draft.undefinedFlags = ARITHMETIC_FLAGS;
    draft.changed = ALL_REGISTERS;
    if (chance(random, 70)) this.#plain(writer);
    const out = writer.writeBranch(this.#form("Jmp_rel8_64"));
    draft.undefinedFlags = this.#undefinedInFunctions;
    draft.changed = changed;
    draft.land(call);
    const start = draft.length;
    if (chance(random, 70)) this.#plain(writer);
    draft.undefinedAtExits |= draft.undefinedFlags | this.#undefinedInFunctions;
    writer.write(back);
    draft.functions.push([start, draft.length]);
    draft.changed = ALL_REGISTERS;
    draft.land(out);
  }

  #return(writer: InstructionWriter, form: Form): void {
    const { draft, random } = writer;
    const stack = draft.want(RSP, () => stackPointer(random));
    if (stack === null) return;
    const address = new Uint8Array(8);
    draft.patch(stack, address);
    writer.write(form);
    this.#landAt(writer, (target) => address.set(littleEndian(BigInt(target), 8)));
  }

  #indirect(writer: InstructionWriter): void {
    const { draft, random } = writer;
    const form = this.#form(pick(random, ["Jmp_rm64", "Call_rm64"]));
    if (form.name === "Call_rm64") draft.want(RSP, () => stackPointer(random));
    const register = randomBelow(random, 16);
    if (chance(random, 50)) {
      if (register === RSP || !draft.isOpen(register)) return;
      draft.want(register, () => 0n);
      writer.writePrepared(form, { values: [register], registersOnly: true });
      this.#landAt(writer, (target) => {
        draft.registers[register] = BigInt(target);
      });
    } else {
      const memory = new Uint8Array(8);
      writer.writePrepared(form, { target: BigInt(STACK + 0x100 + (random() & 0xff)), memory, memoryOnly: true });
      this.#landAt(writer, (target) => memory.set(littleEndian(BigInt(target), 8)));
    }
  }

  /** Behind an instruction or two that are never run, or outside. */
  #landAt(writer: InstructionWriter, tell: (target: number) => void): void {
    const { draft, random } = writer;
    // Some lead back to a caller, some into a function.
    draft.undefinedFlags |= this.#undefinedInFunctions;
    const { undefinedFlags } = draft;
    draft.undefinedAtExits |= undefinedFlags;
    if (chance(random, 30)) {
      tell(draft.outside());
      return;
    }
    for (let i = random() % 2; i >= 0; i--) this.#plain(writer);
    tell(draft.address);
    draft.undefinedFlags |= undefinedFlags;
  }
}
