import { SWITCHED, seam } from "../seam.js";
import type { SeamFile } from "../services.js";

const EINVAL = 22;
const ENOSPC = 28;
/** PCI_IRQ_…, what a driver takes. */
const PCI_IRQ_INTX = 1 << 0;
const PCI_IRQ_MSI = 1 << 1;
const PCI_IRQ_MSIX = 1 << 2;

/** Handlers, and message interrupts. */
export const interruptSeams: SeamFile = ({ guest, interrupts, messages, pci, threads }) => {
  const allocate = (device: number, least: number, most: number, flags: number): number => {
    const fn = pci.functions.find((one) => one.device === device);
    if (fn === undefined) return -EINVAL;
    for (const [flag, kind] of [
      [PCI_IRQ_MSIX, "msi-x"],
      [PCI_IRQ_MSI, "msi"],
    ] as const) {
      if ((flags & flag) === 0) continue;
      const count = Math.min(most, kind === "msi" ? 1 : messages.available(fn, kind));
      if (count < least || count === 0) continue;
      const numbers = messages.allocate(fn, kind, count);
      if (numbers.length === 0) continue;
      if (kind === "msi") guest.field("pci_dev.irq").set(fn.device ?? (fn.irq as never), numbers[0]);
      return count;
    }
    return (flags & PCI_IRQ_INTX) !== 0 && least <= 1 ? 1 : -ENOSPC;
  };

  const release = (device: number): undefined => {
    const fn = pci.functions.find((one) => one.device === device);
    if (fn === undefined || fn.device === null) return undefined;
    if (messages.kindOf(fn) === "msi") guest.field("pci_dev.irq").set(fn.device, fn.irq);
    messages.release(fn);
    return undefined;
  };

  return [
    seam(
      "int (unsigned int, irq_handler_t, irq_handler_t, unsigned long, const char *, void *)",
      "request_threaded_irq",
      (c) => {
        const action = {
          handler: c.pointer(1),
          threadFunction: c.pointer(2),
          device: c.pointer(5),
          name: c.pointer(4) === 0 ? "" : guest.text(c.pointer(4)),
        };
        return interrupts.request(c.int(0), action, c.size(3)) ? 0 : -EINVAL;
      },
    ),
    seam("const void *(unsigned int, void *)", "free_irq", (c) => {
      const irq = c.int(0);
      interrupts.free(irq, c.pointer(1));
      if (!interrupts.isHandling(irq)) return 0;
      threads.block(
        () => !interrupts.isHandling(irq),
        Number.POSITIVE_INFINITY,
        () => 0,
      );
      return SWITCHED;
    }),
    seam("void (unsigned int)", "disable_irq_nosync", (c) => {
      interrupts.disable(c.int(0));
      return undefined;
    }),
    seam("void (unsigned int)", "disable_irq", (c) => {
      const irq = c.int(0);
      interrupts.disable(irq);
      if (!interrupts.isBusy(irq)) return undefined;
      threads.block(() => !interrupts.isBusy(irq));
      return SWITCHED;
    }),
    seam("bool (unsigned int)", "disable_hardirq", (c) => {
      interrupts.disable(c.int(0));
      return 1;
    }),
    seam("void (unsigned int)", "enable_irq", (c) => {
      interrupts.enable(c.int(0));
      return undefined;
    }),
    seam("void (unsigned int)", "synchronize_irq", (c) => {
      const irq = c.int(0);
      if (!interrupts.isBusy(irq)) return undefined;
      threads.block(() => !interrupts.isBusy(irq));
      return SWITCHED;
    }),
    seam("bool (unsigned int)", "synchronize_hardirq", () => 1),
    seam("int (unsigned int, const struct cpumask *, bool)", "__irq_apply_affinity_hint", () => 0),
    seam("int (unsigned int, struct irq_affinity_notify *)", "irq_set_affinity_notifier", () => 0),
    seam("int (unsigned int, const struct cpumask *)", "irq_set_affinity irq_force_affinity", () => 0),
    seam("int (unsigned int, unsigned int)", "irq_set_irq_wake", () => 0),

    seam(
      "int (struct pci_dev *, unsigned int, unsigned int, unsigned int, struct irq_affinity *)",
      "pci_alloc_irq_vectors_affinity",
      (c) => allocate(c.pointer(0), c.int(1), c.int(2), c.int(3)),
    ),
    seam("int (struct pci_dev *, unsigned int, unsigned int, unsigned int)", "pci_alloc_irq_vectors", (c) =>
      allocate(c.pointer(0), c.int(1), c.int(2), c.int(3)),
    ),
    seam("void (struct pci_dev *)", "pci_free_irq_vectors pci_disable_msi pci_disable_msix", (c) =>
      release(c.pointer(0)),
    ),
    seam("int (struct pci_dev *, unsigned int)", "pci_irq_vector", (c) => {
      const fn = pci.functionAt(c.pointer(0));
      if (fn === null) return -EINVAL;
      if (messages.kindOf(fn) === null) return c.int(1) === 0 ? fn.irq : -EINVAL;
      const irq = messages.irqOf(fn, c.int(1));
      return irq < 0 ? -EINVAL : irq;
    }),
    seam("int (struct pci_dev *)", "pci_enable_msi", (c) => {
      const got = allocate(c.pointer(0), 1, 1, PCI_IRQ_MSI);
      return got < 0 ? got : 0;
    }),
    seam(["int (struct pci_dev *, int, int, struct irq_affinity *)"], "__pci_enable_msi_range", (c) =>
      allocate(c.pointer(0), c.int(1), c.int(2), PCI_IRQ_MSI),
    ),
    seam(["int (struct pci_dev *, struct msix_entry *, int, int)"], "pci_enable_msix_range", (c) => {
      const count = allocate(c.pointer(0), c.int(2), c.int(3), PCI_IRQ_MSIX);
      const entries = c.pointer(1);
      const fn = pci.functionAt(c.pointer(0));
      if (count <= 0 || entries === 0 || fn === null) return count;
      const size = guest.sizeOf("msix_entry");
      const vector = guest.field("msix_entry.vector");
      for (let i = 0; i < count; i++) vector.set((entries + i * size) as never, messages.irqOf(fn, i));
      return count;
    }),
    seam("const struct cpumask *(struct pci_dev *, int)", "pci_irq_get_affinity", () =>
      guest.symbol("__cpu_online_mask"),
    ),
  ];
};
