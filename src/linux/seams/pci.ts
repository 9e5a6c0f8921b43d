import { seam } from "../seam.js";
import type { SeamFile } from "../services.js";

/** Mapping of registers. Configuration space is the two functions of a `pci_ops`; ports are instructions. */
export const pciSeams: SeamFile = ({ pci, guest }) => {
  return [
    seam("void *(resource_size_t, unsigned long)", "ioremap ioremap_uc ioremap_wc ioremap_cache ioremap_wt", (c) =>
      pci.map(c.size(0), c.size(1)),
    ),
    seam(
      ["void *(resource_size_t, unsigned long, unsigned long)", "void *(resource_size_t, unsigned long, pgprot_t)"],
      "ioremap_prot",
      (c) => pci.map(c.size(0), c.size(1)),
    ),
    seam("void (volatile void *)", "iounmap", (c) => {
      pci.unmap(c.pointer(0));
      return undefined;
    }),
    // The same memory is write-combining or not: nothing depends on it here.
    seam("int (unsigned long, unsigned long)", "arch_phys_wc_add", () => 0),
    seam("void (int)", "arch_phys_wc_del", () => undefined),
    seam("int (resource_size_t, resource_size_t)", "arch_io_reserve_memtype_wc", () => 0),
    seam("bool (struct pci_dev *)", "pci_device_is_present", (c) => (pci.functionAt(c.pointer(0)) === null ? 0 : 1)),
    seam("unsigned long (void)", "random_get_entropy_fallback", () => guest.sandbox.runtime.executed),
  ];
};
