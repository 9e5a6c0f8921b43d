import { Capability, KernelObject, openCapability } from "./capability.js";

/** What interrupt control needs of a line. */
export interface InterruptSource {
  /** @returns a function that detaches the handler */
  attach(handler: () => boolean): () => void;
  mask(): void;
  unmask(): void;
}

export class IrqControl extends KernelObject {
  readonly detach = new Set<() => void>();

  constructor(readonly line: InterruptSource) {
    super();
  }

  release(): void {
    for (const detach of this.detach) detach();
    this.detach.clear();
  }
}

/** A driver's right to one interrupt line. */
export class IrqControlCapability extends Capability<IrqControl> {
  /**
   * Has the handler run, from the machine loop, whenever the line is delivered.
   * @param handler returns whether the interrupt was its device's
   * @returns a function that detaches it
   */
  attach(handler: () => boolean): () => void {
    const control = openCapability(this, "attach interrupt");
    const detach = control.line.attach(handler);
    control.detach.add(detach);
    return () => {
      control.detach.delete(detach);
      detach();
    };
  }

  mask(): void {
    openCapability(this, "mask interrupt").line.mask();
  }

  unmask(): void {
    openCapability(this, "unmask interrupt").line.unmask();
  }
}
