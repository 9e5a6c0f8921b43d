import type { CpuState } from "../translator/cpu.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Guest } from "./guest.js";

/** A BUG or WARN: the instruction is `ud2`. */
export interface Bug {
  readonly file: string;
  readonly line: number;
  readonly isWarning: boolean;
  /** Of the instruction. */
  readonly length: number;
}

/** struct bug_entry: distances to the instruction and to the name of the file, line, flags. */
const BUG_BYTES = 12;
const BUGFLAG_WARNING = 1;
const UD2_BYTES = 2;
/** struct exception_table_entry: distances to the instruction and to where it goes on, and what to do. */
const EXCEPTION_BYTES = 12;
/** Kinds of the table, `EX_TYPE_…`: the low byte; a register and a value stand above it. */
const EX_TYPE_EFAULT_REG = 17;
const EX_TYPE_UCOPY_LEN = 18;
const EX_TYPE_ZEROPAD = 19;
const EFAULT = 14;

interface Table {
  readonly start: GuestAddress;
  readonly bytes: number;
}

/** The tables in which the kernel and its modules say which exceptions are meant to happen. */
export class Exceptions {
  readonly #bugTables: Table[] = [];
  readonly #fixupTables: Table[] = [];
  #bugs: Map<GuestAddress, GuestAddress> | null = null;
  #fixups: Map<GuestAddress, GuestAddress> | null = null;

  constructor(private readonly guest: Guest) {}

  /** @param name of a section; those that are no such tables are left alone */
  addSection(name: string, start: GuestAddress, bytes: number): void {
    if (name === "__bug_table") this.#bugTables.push({ start, bytes });
    else if (name === "__ex_table") this.#fixupTables.push({ start, bytes });
    else return;
    this.#bugs = null;
    this.#fixups = null;
  }

  removeSections(from: GuestAddress, to: GuestAddress): void {
    for (const tables of [this.#bugTables, this.#fixupTables]) {
      const kept = tables.filter(({ start }) => start < from || start >= to);
      tables.splice(0, tables.length, ...kept);
    }
    this.#bugs = null;
    this.#fixups = null;
  }

  bugAt(address: GuestAddress): Bug | null {
    this.#bugs ??= this.#index(this.#bugTables, BUG_BYTES);
    const entry = this.#bugs.get(address);
    if (entry === undefined) return null;
    const { guest } = this;
    const flags = guest.read((entry + 10) as GuestAddress, 2);
    return {
      file: guest.text(this.#target((entry + 4) as GuestAddress)),
      line: guest.read((entry + 8) as GuestAddress, 2),
      isWarning: (flags & BUGFLAG_WARNING) !== 0,
      length: UD2_BYTES,
    };
  }

  /** Goes on where the kernel says, if it foresaw that the instruction at RIP may fail. */
  fixUp(cpu: CpuState): boolean {
    this.#fixups ??= this.#index(this.#fixupTables, EXCEPTION_BYTES);
    const entry = this.#fixups.get(cpu.ripAddress);
    if (entry === undefined) return false;
    const data = this.guest.read((entry + 8) as GuestAddress, 4) | 0;
    const type = data & 0xff;
    const register = (data >> 8) & 0xf;
    const value = data >> 16;
    if (type === EX_TYPE_ZEROPAD) return false;
    if (type === EX_TYPE_EFAULT_REG) cpu.setGeneralAddress(register, value === 0 ? -EFAULT : value);
    if (type === EX_TYPE_UCOPY_LEN) {
      const left = cpu.generalAddress(1) * value;
      cpu.setGeneralAddress(1, left + cpu.generalAddress(register));
    }
    cpu.ripAddress = this.#target((entry + 4) as GuestAddress);
    return true;
  }

  #target(at: GuestAddress): GuestAddress {
    return (at + (this.guest.read(at, 4) | 0)) as GuestAddress;
  }

  #index(tables: readonly Table[], entryBytes: number): Map<GuestAddress, GuestAddress> {
    const index = new Map<GuestAddress, GuestAddress>();
    for (const { start, bytes } of tables) {
      for (let at = start; at + entryBytes <= start + bytes; at = (at + entryBytes) as GuestAddress) {
        index.set(this.#target(at), at);
      }
    }
    return index;
  }
}
