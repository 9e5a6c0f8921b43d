import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import type { ByteSource } from "../formats/byte-stream.js";
import { InputError } from "../util/errors.js";
import { blocking, mortal } from "./blocking.js";
import { inputFileError, systemCode } from "./file-errors.js";

const STDIN = 0;

/** A file, or standard input if its name is `-`, read from front to end. */
export class FileSource implements ByteSource, Disposable {
  readonly #name: string;
  #fd: number;
  /** For somebody who writes, or types. */
  readonly #mayWait: boolean;

  /** @throws InputError if it is missing, a directory or not readable. */
  constructor(name: string) {
    this.#name = name === "-" ? "standard input" : name;
    try {
      this.#fd = name === "-" ? STDIN : isPipe(name) ? mortal(() => openSync(name, "r")) : openSync(name, "r");
      this.#mayWait = !fstatSync(this.#fd).isFile();
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
      const read = () => blocking(() => readSync(this.#fd, into));
      return this.#mayWait ? mortal(read) : read();
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

/** Whether it is neither a file nor a folder, but something whose bytes come once. */
export function isPipe(name: string): boolean {
  try {
    const found = statSync(name, { throwIfNoEntry: false });
    return found !== undefined && !found.isFile() && !found.isDirectory();
  } catch (error) {
    if (systemCode(error) === null) throw error;
    return false;
  }
}
