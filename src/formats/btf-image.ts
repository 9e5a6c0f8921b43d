import { UnsupportedError } from "../util/errors.js";
import { Btf } from "./btf.js";
import type { ElfFile } from "./elf.js";
import type { Kept } from "./packed-arrays.js";

/**
 * The types of a kernel image.
 * @param kept where what was found in this image is kept for the next time
 * @throws UnsupportedError (`btf-missing`) if it was built without them; BtfError
 */
export function typesOfImage(image: ElfFile, kept: Kept | null = null): Btf {
  return Btf.parse(sectionOf(image), image.name, kept);
}

/**
 * The types of a module, on top of those of the image that it was built against.
 * @throws UnsupportedError: `btf-missing`, or `btf-distilled` if they stand on an extract of that image's; BtfError
 */
export function typesOfModule(module: ElfFile, image: Btf): Btf {
  if (module.section(".BTF.base") !== null) {
    throw new UnsupportedError(
      "btf-distilled",
      `${module.name} has type information for any kernel (.BTF.base): build it in the tree of its kernel`,
    );
  }
  return image.split(sectionOf(module), module.name);
}

function sectionOf(file: ElfFile): Uint8Array {
  const section = file.section(".BTF");
  if (section?.hasBytes) return section.data;
  throw new UnsupportedError(
    "btf-missing",
    `${file.name} has no type information (.BTF): it takes a kernel with CONFIG_DEBUG_INFO_BTF and CONFIG_DEBUG_INFO_BTF_MODULES`,
  );
}
