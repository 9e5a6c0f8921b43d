import type { GuestAddress } from "../util/guest-address.js";

/**
 * Where things lie in a Linux domain: guest space is the top 2 GiB, and domain-physical memory is guest memory from the
 * kernel's own link base on. With `phys_base` = 0 and `page_offset_base` = the link base, the kernel's conversions
 * between virtual addresses, physical ones and `struct page` agree on its image and on low memory alike.
 */
const at = (low: number): GuestAddress => (low | 0) as GuestAddress;

/** `__START_KERNEL_map`, which is physical address 0 of the domain. */
export const PHYSICAL_BASE = at(0x8000_0000);

export const PERCPU = at(0x8010_0000);
/** The kernel's own per-CPU variables, then those of modules and what is allocated. */
export const PERCPU_BYTES = 0x40_0000;
export const STACKS = at(0x8060_0000);
export const STACKS_END = at(0x8100_0000);
/** Kernels are linked here; how far they reach differs. */
export const IMAGE = at(0x8100_0000);
/** Low memory begins behind the image, at a multiple of this. */
export const LOW_MEMORY_ALIGNMENT = 0x20_0000;
export const LOW_MEMORY_END = at(0xa700_0000);
/** An array of `struct page`: of the domain's own frames, and of lent ones from `LENT_FRAMES` on. */
export const VMEMMAP = at(0xb800_0000);
export const VMEMMAP_END = at(0xc000_0000);
/** Modules are put from here on by the loader; the kernel takes all that lies above for modules, too. */
export const MODULES = at(0xc000_0000);
export const VMALLOC = at(0xd000_0000);
export const VMALLOC_END = at(0xf000_0000);
/** Device registers: outside guest space, so every access to them is a call. */
export const IO_MAPPINGS = -0x3600_0000_0000 as GuestAddress;

/** Frames of the domain's bank before its first one: the bank's memory begins with the processor's state. */
export const FIRST_FRAME = 16;

export const physicalOf = (address: GuestAddress): number => address - PHYSICAL_BASE;
export const virtualOf = (physical: number): GuestAddress => (physical + PHYSICAL_BASE) as GuestAddress;
