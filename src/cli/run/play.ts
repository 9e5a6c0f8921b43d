import type { Machine } from "../../machine.js";
import type { Clients } from "../client.js";
import { isInteractive, type Netdev, type NetdevSpec } from "../netdev.js";

const CHECK_NANOSECONDS = 5_000_000;
const QUIET_CHECKS = 4;

/** What has come and gone so far. */
export interface TrafficCounts {
  readonly received: number;
  readonly sent: number;
}

/** When traffic ends, whichever is first. */
export interface TrafficEnds {
  readonly netdev: NetdevSpec;
  /** Nanoseconds of machine time, or null. */
  readonly duration: number | null;
  /** Frames received and sent, or null. */
  readonly packets: number | null;
  /** Whether anything comes in or goes out by itself, and ends. */
  readonly hasInputs: boolean;
  /** The user asks for the end. */
  readonly asked: Promise<void>;
}

/** Lets frames come and go, until no more are wanted. */
export async function play(
  machine: Machine,
  netdev: Netdev,
  clients: Clients,
  device: TrafficCounts,
  { netdev: spec, duration, packets, hasInputs, asked }: TrafficEnds,
): Promise<void> {
  const ends: Promise<unknown>[] = [asked];
  if (duration !== null) ends.push(after(machine, duration));
  if (packets !== null) ends.push(reached(machine, () => device.received + device.sent >= packets));
  const inputs = Promise.all([netdev.ended, clients.sending]).then(() => settled(machine, clients, device));
  if (hasInputs) ends.push(inputs);
  inputs.catch(() => {});
  netdev.start();
  // Somebody may still interrupt what would never end by itself.
  const release = isInteractive(spec) ? machine.loop.hold() : () => {};
  try {
    await machine.run(Promise.race(ends), "traffic");
  } finally {
    release();
  }
}

/** Resolves when nothing has moved for a while. */
async function settled(machine: Machine, clients: Clients, device: TrafficCounts): Promise<void> {
  let before = -1;
  for (let quiet = 0; quiet < QUIET_CHECKS; ) {
    await after(machine, CHECK_NANOSECONDS);
    const now = device.received + device.sent;
    const isWaiting = clients.clients.some((client) => client.waiting > 0);
    quiet = isWaiting || now !== before ? 0 : quiet + 1;
    before = now;
  }
}

async function reached(machine: Machine, done: () => boolean): Promise<void> {
  while (!done()) await after(machine, CHECK_NANOSECONDS);
}

function after(machine: Machine, nanoseconds: number): Promise<void> {
  return new Promise<void>((resolve) => machine.clock.timer(resolve).arm(nanoseconds));
}
