import {
  accessSync,
  closeSync,
  constants,
  openSync,
  realpathSync,
  type Stats,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import type { ByteSink } from "../formats/byte-stream.js";
import { UsageError } from "../util/errors.js";
import { blocking, mortal } from "./blocking.js";
import { outputFileError, systemCode } from "./file-errors.js";

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
    refuseInputs(name, inputs);
    try {
      // A pipe is open as soon as somebody reads it.
      this.#fd = name === "-" ? STDOUT : mortal(() => openSync(name, "w"));
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

/**
 * Finds what would keep a file from being created or overwritten, and leaves everything as it is.
 * @param inputs as for `FileSink`
 * @throws as `FileSink`
 */
export function checkOutputFile(name: string, inputs: readonly string[] = []): void {
  refuseInputs(name, inputs);
  if (name === "-") return;
  try {
    const there = statSync(name, { throwIfNoEntry: false });
    // Opening these may wait for somebody, or do something.
    if (there?.isFIFO() || there?.isCharacterDevice() || there?.isBlockDevice()) {
      accessSync(name, constants.W_OK);
      return;
    }
    closeSync(openSync(name, constants.O_WRONLY | constants.O_CREAT, 0o666));
    // A symbolic link to what was not there stays.
    if (there === undefined) unlinkSync(realpathSync(name));
  } catch (error) {
    throw outputFileError(name, error);
  }
}

/** Whether both names lead to one file that is there. */
export function isSameFile(one: string, other: string): boolean {
  if (one === "-" || other === "-") return false;
  const a = known(one);
  const b = known(other);
  return a?.isFile() === true && b !== undefined && a.dev === b.dev && a.ino === b.ino;
}

/** What cannot be looked at cannot be opened either, which says why. */
function known(name: string): Stats | undefined {
  try {
    return statSync(name, { throwIfNoEntry: false });
  } catch (error) {
    if (systemCode(error) === null) throw error;
    return undefined;
  }
}

function refuseInputs(name: string, inputs: readonly string[]): void {
  for (const input of inputs) {
    if (isSameFile(name, input)) throw new UsageError(`${name} is also an input: writing it would destroy it`);
  }
}
