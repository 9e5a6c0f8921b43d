import { InputError } from "../util/errors.js";

/** Says what is wrong at a byte offset of the input. */
export type Fault = (offset: number, what: string) => InputError;

/**
 * @param format of the file, and code of the error
 * @param name of the file
 */
export function faultOf(format: string, name: string): Fault {
  return (offset, what) => new InputError(format, `${name} is damaged: at byte ${offset} ${what} (${format})`);
}
