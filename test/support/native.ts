import { expect } from "vitest";
import type { DmaFault } from "../../src/bus/io-mmu.js";
import { Machine, type MachineOptions } from "../../src/machine.js";
import { seededRandom } from "../../src/util/random.js";

/** What a machine has to have again when everything in it is over. */
export interface Balance {
  freeFrames: number;
  /** What the prime bank may still sell. */
  quota: number;
  pinned: number;
  mappings: number;
  vectors: number;
}

export function balance(machine: Machine): Balance {
  return {
    freeFrames: machine.kernel.freeFrames,
    quota: machine.bank.available,
    pinned: machine.budget.pinned,
    mappings: machine.pci.slots.reduce((sum, slot) => sum + slot.dma.live, 0),
    vectors: freeVectors(machine),
  };
}

function freeVectors(machine: Machine): number {
  const lines = [];
  try {
    for (;;) lines.push(machine.interrupts.message("count"));
  } catch {
    for (const line of lines) machine.interrupts.release(line);
    return lines.length;
  }
}

export interface TestMachine {
  readonly machine: Machine;
  readonly faults: DmaFault[];
  /** As the machine was when it was new. */
  readonly start: Balance;
  /** Lets everything come to rest, and compares: nothing leaked, no timer runs, nobody waits for a pin. */
  settled(): Promise<void>;
}

export async function testMachine(options: MachineOptions = {}): Promise<TestMachine> {
  const machine = await Machine.create({ memory: "16MiB", ...options });
  const faults: DmaFault[] = [];
  machine.iommu.events.on("fault", (fault) => faults.push(fault));
  const start = balance(machine);
  const settled = async (): Promise<void> => {
    await machine.idle();
    expect(balance(machine)).toEqual(start);
    expect(machine.budget.waiting).toBe(0);
    expect(machine.clock.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  };
  return { machine, faults, start, settled };
}

/** Bytes without a pattern that a shift or a repetition could hide in. */
export function noise(length: number, seed = 1): Uint8Array {
  const random = seededRandom(seed);
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0; i < words.length; i++) words[i] = random();
  return new Uint8Array(words.buffer, 0, length);
}

/** The error that a promise is rejected with. */
export async function failure(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Error) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

/** Runs what is ready, clients included, without letting time pass. */
export async function atRest(machine: Machine): Promise<void> {
  for (let round = 0; round < 10; round++) {
    machine.loop.runReady();
    await new Promise((resolve) => setImmediate(resolve));
  }
}
