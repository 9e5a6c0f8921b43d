import { CPU } from "../cpu-state.js";
import type { FunctionBody, LocalIndex } from "../wasm-assembler.js";
import type { Locals } from "./locals.js";

/** The fuel of a function that spends some: in a local, and in memory while others run. */
export class Fuel {
  constructor(
    private readonly body: FunctionBody,
    private readonly locals: Locals,
    private readonly isUsed: boolean,
  ) {}

  local(): LocalIndex | null {
    return this.isUsed ? this.locals.named("fuel", "i32") : null;
  }

  load(): void {
    const fuel = this.local();
    if (fuel === null) return;
    this.body.i32(0);
    this.body.memory("i32.load", CPU.fuel, 2);
    this.body.set(fuel);
  }

  store(): void {
    const fuel = this.local();
    if (fuel === null) return;
    this.body.i32(0);
    this.body.get(fuel);
    this.body.memory("i32.store", CPU.fuel, 2);
  }
}
