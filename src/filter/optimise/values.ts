import * as bpf from "../bpf.js";

/** The number of a value that is not known. */
export const UNKNOWN = 0;

/** Value numbering: equal numbers mean equal values, as the same operation on equal values gives the same number. */
export class Values {
  private readonly numbers = new Map<string, number>();
  private readonly constants = new Map<number, number>();

  of(code: number, operand: number, other = 0): number {
    const key = `${code} ${operand} ${other}`;
    const known = this.numbers.get(key);
    if (known !== undefined) return known;
    const number = this.numbers.size + 1;
    this.numbers.set(key, number);
    return number;
  }

  constant(value: number): number {
    const number = this.of(bpf.LD | bpf.IMM, value);
    this.constants.set(number, value);
    return number;
  }

  /** The constant that this number stands for, if it is one. */
  constantOf(number: number): number | undefined {
    return this.constants.get(number);
  }
}

/** Whether a pass changed anything, and anything but where edges lead. */
export class Progress {
  changed = false;
  changedCode = false;

  moved(): void {
    this.changed = true;
  }

  rewrote(): void {
    this.changed = true;
    this.changedCode = true;
  }
}
