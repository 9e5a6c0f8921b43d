import type { KernelPackage } from "../../src/linux/kernel-package.js";

/** A guest as scripts/guest/guest.mjs has it, which benchmarks use as it is. */
export interface Guest {
  run(command: string, seconds?: number): Promise<{ readonly status: number; readonly output: string }>;
  stop(): Promise<void>;
}

export interface GuestOptions {
  readonly modules?: readonly string[];
  readonly qemu?: readonly string[];
  readonly files?: Readonly<Record<string, Uint8Array>>;
}

interface GuestScripts {
  readonly Guest: { boot(kernel: KernelPackage, options: GuestOptions): Promise<Guest> };
  whyNoGuests(): string | undefined;
}

interface ProgramScripts {
  guestProgram(source: string): Uint8Array;
}

const at = (name: string): string => new URL(`../../scripts/guest/${name}`, import.meta.url).href;
const guests = (await import(at("guest.mjs"))) as GuestScripts;
const programs = (await import(at("native.mjs"))) as ProgramScripts;

export const { guestProgram } = programs;
export const bootGuest = guests.Guest.boot.bind(guests.Guest);

/** Why there can be no guests here, or null; in CI that is an error. */
export function whyNoGuests(): string | null {
  const why = guests.whyNoGuests();
  if (why === undefined) return null;
  if (process.env.CI !== undefined) throw new Error(`a guest ${why}: scripts/system-packages.sh installs them`);
  return why;
}
