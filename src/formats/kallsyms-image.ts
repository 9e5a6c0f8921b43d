import { UnsupportedError } from "../util/errors.js";
import type { ElfFile } from "./elf.js";
import { Kallsyms } from "./kallsyms.js";
import type { Kept } from "./packed-arrays.js";

/**
 * The symbols that a kernel image has for its own use.
 * @param kept where what was found in this image is kept for the next time
 * @throws UnsupportedError (`kallsyms-missing`) for a file without `.rodata`; InputError
 */
export function symbolsOfImage(image: ElfFile, kept: Kept | null = null): Kallsyms {
  const section = image.section(".rodata");
  if (section?.hasBytes) return Kallsyms.find(section.data, image.name, kept);
  throw new UnsupportedError("kallsyms-missing", `${image.name} has no section .rodata, and so is no kernel image`);
}
