import { UnsupportedError } from "../util/errors.js";
import type { ElfFile } from "./elf.js";
import { Kallsyms } from "./kallsyms.js";

/**
 * The symbols that a kernel image has for its own use.
 * @throws UnsupportedError (`kallsyms-missing`) for a file without `.rodata`; InputError
 */
export function symbolsOfImage(image: ElfFile): Kallsyms {
  const section = image.section(".rodata");
  if (section?.hasBytes) return Kallsyms.find(section.data, image.name);
  throw new UnsupportedError("kallsyms-missing", `${image.name} has no section .rodata, and so is no kernel image`);
}
