import { closeSync, openSync, statSync, writeSync } from "node:fs";
import type { ByteSink } from "../formats/byte-stream.js";
import { UsageError } from "../util/errors.js";
import { blocking } from "./blocking.js";
import { outputFileError } from "./file-errors.js";

const STDOUT = 1;

/** A file that is created or overwritten, or standard output if its name is `-`. */
export class FileSink implements ByteSink, Disposable {
  readonly #name: string;
  #fd: number;

  /**
   * @param inputs files that are still being read: none of them may be the output.
   * @throws UsageError if one is; EnvironmentError if the file cannot be created.
   */
  constructor(name: string, inputs: readonly string[] = []) {
    this.#name = name === "-" ? "standard output" : name;
    for (const input of inputs) {
      if (isSameFile(name, input)) throw new UsageError(`${name} is also an input: writing it would destroy it`);
    }
    try {
      this.#fd = name === "-" ? STDOUT : openSync(name, "w");
    } catch (error) {
      throw outputFileError(this.#name, error);
    }
  }

  write(bytes: Uint8Array): void {
    try {
      for (let at = 0; at < bytes.length; ) at += blocking(() => writeSync(this.#fd, bytes, at));
    } catch (error) {
      throw outputFileError(this.#name, error);
    }
  }

  close(): void {
    const fd = this.#fd;
    this.#fd = -1;
    if (fd <= STDOUT) return;
    try {
      closeSync(fd);
    } catch (error) {
      throw outputFileError(this.#name, error);
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function isSameFile(one: string, other: string): boolean {
  if (one === "-" || other === "-") return false;
  const a = statSync(one, { throwIfNoEntry: false });
  const b = statSync(other, { throwIfNoEntry: false });
  return a?.isFile() === true && b !== undefined && a.dev === b.dev && a.ino === b.ino;
}
