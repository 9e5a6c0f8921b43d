import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import type { ByteSource } from "../formats/byte-stream.js";
import { InputError } from "../util/errors.js";
import { blocking } from "./blocking.js";
import { inputFileError } from "./file-errors.js";

const STDIN = 0;

/** A file, or standard input if its name is `-`, read from front to end. */
export class FileSource implements ByteSource, Disposable {
  readonly #name: string;
  #fd: number;

  /** @throws InputError if it is missing, a directory or not readable. */
  constructor(name: string) {
    this.#name = name === "-" ? "standard input" : name;
    try {
      this.#fd = name === "-" ? STDIN : openSync(name, "r");
      if (fstatSync(this.#fd).isDirectory()) {
        this.close();
        throw new InputError("file-directory", `cannot read ${this.#name}: it is a directory: give a file`);
      }
    } catch (error) {
      throw error instanceof InputError ? error : inputFileError(this.#name, error);
    }
  }

  read(into: Uint8Array): number {
    try {
      return blocking(() => readSync(this.#fd, into));
    } catch (error) {
      throw inputFileError(this.#name, error);
    }
  }

  close(): void {
    if (this.#fd > STDIN) closeSync(this.#fd);
    this.#fd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
