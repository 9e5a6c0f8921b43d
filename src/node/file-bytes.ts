import { InputError } from "../util/errors.js";
import { FileSource } from "./file-source.js";

const FIRST_CAPACITY = 1 << 20;
/** No kernel image, module or object comes near. */
const LARGEST_FILE = 2 ** 30;

/**
 * All bytes of a file, or of standard input if its name is `-`.
 * @throws InputError if it is missing, a directory, not readable or larger than 1 GiB
 */
export function readFileBytes(name: string): Uint8Array {
  using source = new FileSource(name);
  let bytes = new Uint8Array(FIRST_CAPACITY);
  for (let length = 0; ; ) {
    const count = source.read(bytes.subarray(length));
    length += count;
    if (count === 0) return bytes.subarray(0, length);
    if (length < bytes.length) continue;
    if (length >= LARGEST_FILE) {
      throw new InputError("file-size", `cannot read ${name}: it is larger than ${LARGEST_FILE} bytes`);
    }
    const grown = new Uint8Array(2 * bytes.length);
    grown.set(bytes);
    bytes = grown;
  }
}
