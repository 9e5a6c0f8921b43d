import { ElfFile } from "../formats/elf.js";
import { ElfType } from "../formats/elf-constants.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { GuestSpace } from "./guest-space.js";
import { checkPlace } from "./load-layout.js";
import { planLinked } from "./load-linked.js";
import { planRelocatable } from "./load-relocatable.js";
import type { ImportResolver, LoadedObject, ObjectPlan, SectionBase } from "./loaded-object.js";

/**
 * Reads what of an ELF file is to be mapped, and checks its sizes; nothing is copied. The bytes must not change until the
 * object has been placed.
 * @param name what messages call the file
 * @throws UnsupportedError if it is no ELF file for x86-64, or too large
 * @throws InputError if it is broken
 */
export function planObject(bytes: Uint8Array, name: string): ObjectPlan {
  const elf = ElfFile.parse(bytes, name);
  return elf.type === ElfType.relocatable ? planRelocatable(elf) : planLinked(elf);
}

/**
 * Copies and relocates what is to be mapped.
 * @param at a multiple of the plan's alignment, and the plan's own address if that is fixed
 * @param resolve is asked once for each name that the file imports
 * @param base of a relocatable file's sections whose symbols count from elsewhere
 * @throws UnsupportedError if it does not fit in the space, and for relocations of kinds that are not supported
 * @throws InputError for relocations that lie outside of what they change, or whose value does not fit
 */
export function placeObject(
  plan: ObjectPlan,
  space: GuestSpace,
  at: GuestAddress,
  resolve: ImportResolver,
  base: SectionBase = () => null,
): LoadedObject {
  if (plan.fixed && at !== plan.address) throw new RangeError(`${plan.name} cannot be moved`);
  if (at % plan.alignment !== 0) throw new RangeError(`${plan.name} is aligned to ${plan.alignment}`);
  checkPlace(plan.name, space, at, at + plan.size);
  return plan.place(space, at, resolve, base);
}
