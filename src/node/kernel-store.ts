import { existsSync, statSync } from "node:fs";
import { KernelPackage } from "../linux/kernel-package.js";
import { InputError } from "../util/errors.js";
import { KernelCache } from "./kernel-cache.js";

/**
 * Opens a kernel.
 * @param ref a package's name, a .deb, or a folder with boot/ and lib/modules/; whatever is at hand if it is left out
 * @throws KorralError that says what is missing, and what to do
 */
export async function openKernel(ref?: string): Promise<KernelPackage> {
  const cache = KernelCache.default();
  if (ref !== undefined && existsSync(ref) && statSync(ref).isFile()) {
    return new KernelPackage(await cache.import(ref, () => {}));
  }
  const kernels = cache.kernels();
  const found =
    ref === undefined ? kernels[0] : kernels.find((kernel) => kernel.name === ref || kernel.release === ref);
  if (found === undefined) throw new InputError("kernel-missing", `there is no kernel ${ref ?? ""}: give a .deb`);
  return new KernelPackage(found);
}
