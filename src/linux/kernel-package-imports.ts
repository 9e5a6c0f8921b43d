import type { KernelModule } from "../formats/kernel-module.js";
import type { KernelPackage } from "./kernel-package.js";

const IMAGE = "vmlinux";

/** What the kernel image or a module exports, by name. */
export type Exports = ReadonlyMap<string, { readonly crc: number | null }>;

/** What a symbol is replaced with where a kernel is run; undefined for what is not replaced. */
export type SeamLookup = (symbol: string) => { readonly name: string } | undefined;

/** Where a module's import comes from. */
export interface ResolvedImport {
  readonly name: string;
  /** `own`: code of the kernel's. `weak`: nobody has it, and it may be missing. */
  readonly kind: "own" | "seam" | "weak" | "missing";
  /** `vmlinux`, or the module that exports it. */
  readonly from: string | null;
  /** Checksum that the module was built with. */
  readonly crc: number | null;
  /** Checksum of what is exported. */
  readonly exportedCrc: number | null;
  /** The seam's name. */
  readonly seam: string | null;
}

/** The kernel would refuse it: the prototype has changed since the module was built. */
export function isMismatch({ crc, exportedCrc }: ResolvedImport): boolean {
  return crc !== null && exportedCrc !== null && crc !== exportedCrc;
}

/**
 * Looks up what a module imports: in the image, then in the modules that it depends on, then in all others.
 * @param image what the kernel image exports
 * @throws InputError
 */
export function resolveImports(
  kernel: KernelPackage,
  image: Exports,
  module: KernelModule,
  seamFor: SeamLookup = () => undefined,
): ResolvedImport[] {
  const depended = new Map<string, Exports>();
  const exportsOf = (name: string) => {
    const known = depended.get(name);
    if (known !== undefined) return known;
    const found = new Map(kernel.module(name).exports.map((one) => [one.name, one]));
    depended.set(name, found);
    return found;
  };
  const provider = (symbol: string): [from: string, crc: number | null] | null => {
    const own = image.get(symbol);
    if (own !== undefined) return [IMAGE, own.crc];
    const listed = module.depends.filter((name) => kernel.has(name));
    const others = listed.some((name) => exportsOf(name).has(symbol)) ? [] : kernel.index().exportersOf(symbol);
    for (const name of [...listed, ...others]) {
      const found = exportsOf(name).get(symbol);
      if (found !== undefined) return [name, found.crc];
    }
    return null;
  };
  return module.imports.map(({ name, weak, crc }) => {
    const seam = seamFor(name)?.name ?? null;
    const [from, exportedCrc] = provider(name) ?? [null, null];
    const kind = seam !== null ? "seam" : from !== null ? "own" : weak ? "weak" : "missing";
    return { name, kind, from, crc, exportedCrc, seam };
  });
}
