import { InputError } from "./errors.js";

/**
 * Reads a snapshot that comes from outside (a file, another process): every field is checked before it is used.
 * All methods throw an InputError that names the part and the field.
 */
export class StateReader {
  readonly #fields: Readonly<Record<string, unknown>>;

  /** @param part what the state belongs to, for messages (`uart16550`, `korral-nic queue 3`) */
  constructor(
    readonly part: string,
    state: unknown,
  ) {
    if (typeof state !== "object" || state === null) throw this.misfit("it", "an object");
    this.#fields = state as Readonly<Record<string, unknown>>;
  }

  /** A whole number of `least` … `most`. */
  integer(name: string, least: number, most: number): number {
    const value = this.#fields[name];
    if (!isWhole(value, least, most)) throw this.misfit(name, `a whole number of ${least} to ${most}`);
    return value;
  }

  flag(name: string): boolean {
    const value = this.#fields[name];
    if (typeof value !== "boolean") throw this.misfit(name, "true or false");
    return value;
  }

  /** Nanoseconds from now, 0 or more; Infinity for what will not happen. */
  delay(name: string): number {
    const value = this.#fields[name];
    if (typeof value !== "number" || !(value >= 0)) throw this.misfit(name, "a number of nanoseconds");
    return value;
  }

  /** At least `fewest` and at most `most` whole numbers of 0 … `largest`. */
  numbers(name: string, fewest: number, most: number, largest: number): number[] {
    const value = this.#fields[name];
    if (Array.isArray(value) && value.length >= fewest && value.length <= most) {
      // Copied before it is checked: methods of arrays pass over holes, a copy has none.
      const items: unknown[] = [...value];
      if (items.every((item) => isWhole(item, 0, largest))) return items;
    }
    const count = fewest === most ? `${most}` : `${fewest} to ${most}`;
    throw this.misfit(name, `${count} whole numbers of at most ${largest}`);
  }

  /** A part's own state. */
  child(name: string): StateReader {
    return new StateReader(`${this.part} ${name}`, this.#fields[name]);
  }

  /** Exactly `count` parts' states. */
  children(name: string, count: number): StateReader[] {
    const value = this.#fields[name];
    if (!Array.isArray(value) || value.length !== count) throw this.misfit(name, `a list of ${count}`);
    return Array.from(value, (item, i) => new StateReader(`${this.part} ${name} ${i}`, item));
  }

  /** The error for a field that is well-formed, but cannot be. */
  misfit(name: string, expected: string): InputError {
    return new InputError("snapshot-misfit", `the snapshot does not fit ${this.part}: ${name} should be ${expected}`);
  }
}

function isWhole(value: unknown, least: number, most: number): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= least && value <= most;
}
