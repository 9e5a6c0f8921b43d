// Packets/s of an unmodified e1000.ko in the sandbox, both directions: against the same module of the same kernel in a guest
// under QEMU without KVM, and against the native driver. Then the start of korral run, warm, and its memory.
import { openKernel } from "../dist/node/kernel-store.js";
import { whyNoGuests } from "../scripts/guest/guest.mjs";
import { row } from "./measure.mjs";
import { GuestNic, PKTGEN } from "./nic-guest.mjs";
import { LinuxNic } from "./nic-linux.mjs";
import { NativeNic } from "./nic-native.mjs";
import { measureWarmStart } from "./nic-start.mjs";

const LENGTHS = [60, 1514];
const ROUNDS = 5;
const NATIVE_PACKETS = { 60: 400_000, 1514: 150_000 };
const GUEST_PACKETS = { 60: 60_000, 1514: 40_000 };
/** What is offered to the guest to receive, frames a second: the most is not the best for it. */
const OFFERED = [150_000, 250_000, 400_000, Number.POSITIVE_INFINITY];
/** Nanoseconds that one measurement of the driver in the sandbox should take. */
const SLICE = 7e8;
const FIRST_PACKETS = 4000;
const AIM = 10;
const FLOOR = 3;
const LINK_AIM = 500;
const MEMORY_AIM = 400;

const COLUMNS = LENGTHS.flatMap((length) => ["transmit", "receive"].map((direction) => ({ direction, length })));

export async function benchNic() {
  const best = new Map();
  const keep = (peer, direction, length, nanoseconds) => {
    const key = `${peer} ${direction} ${length}`;
    best.set(key, Math.min(best.get(key) ?? Number.POSITIVE_INFINITY, nanoseconds));
  };
  const notes = [];
  const linux = await orNote(notes, "e1000.ko in Korral", () => LinuxNic.open());
  const guest = await orNote(notes, "QEMU", openGuest);
  try {
    const packets = new Map();
    for (let round = 0; round < ROUNDS; round++) {
      for (const length of LENGTHS) {
        await measureNative(length, keep);
        if (linux !== null) await measureLinux(linux, length, packets, keep);
        if (guest !== null) await measureGuest(guest, length, round, keep);
      }
    }
  } finally {
    await linux?.close();
    await guest?.close();
  }
  const rows = [...targetRows(best), ...nativeRows(best), ...(linux === null ? [] : await startRows())];
  return { tables: [tableOf(best, notes)], rows };
}

async function openGuest() {
  const why = whyNoGuests();
  if (why !== undefined) throw new Error(why);
  return await GuestNic.open(await openKernel());
}

async function orNote(notes, what, open) {
  try {
    return await open();
  } catch (error) {
    notes.push(`${what}: not measured: ${error.message}`);
    return null;
  }
}

async function measureNative(length, keep) {
  const nic = await NativeNic.open(length);
  keep("native", "transmit", length, await nic.transmit(NATIVE_PACKETS[length]));
  keep("native", "receive", length, await nic.receive(NATIVE_PACKETS[length]));
  await nic.close();
}

/** @param packets { DIRECTION LENGTH: how many take about as long as they should } */
async function measureLinux(nic, length, packets, keep) {
  for (const direction of ["transmit", "receive"]) {
    const key = `${direction} ${length}`;
    const nanoseconds = await nic[direction](length, packets.get(key) ?? FIRST_PACKETS);
    packets.set(key, Math.max(FIRST_PACKETS, Math.round(SLICE / nanoseconds)));
    keep("linux", direction, length, nanoseconds);
  }
}

async function measureGuest(nic, length, round, keep) {
  keep("guest", "transmit", length, await nic.transmit(length, GUEST_PACKETS[length], PKTGEN.fresh));
  keep("guest cloned", "transmit", length, await nic.transmit(length, GUEST_PACKETS[length], PKTGEN.cloned));
  keep("guest", "receive", length, await nic.receive(length, OFFERED[round % OFFERED.length]));
}

function targetRows(best) {
  return COLUMNS.map(({ direction, length }) => {
    const name = `e1000.ko in Korral, ${direction} ${length} bytes`;
    const wanted = `aim >= ${AIM}, at least ${FLOOR}`;
    const ratio = ratioOf(best, "guest", direction, length);
    if (ratio === null) return row(name, null, "x QEMU", `${wanted}: not measured`);
    const met = ratio >= AIM ? "met" : ratio >= FLOOR ? "missed, but not by too much" : "missed";
    return row(name, ratio, "x QEMU", `${wanted}: ${met}`);
  });
}

function nativeRows(best) {
  return COLUMNS.map(({ direction, length }) => {
    const how = direction === "transmit" ? "zero copy" : "filter, copy-out";
    const name = `e1000 native, ${direction} ${length} bytes (${how})`;
    const aim = length === 60 ? "aim >= 4" : "";
    return row(name, 1000 / best.get(`native ${direction} ${length}`), "M packets/s", aim);
  });
}

async function startRows() {
  const { link, fromProcess, peak } = await measureWarmStart();
  const met = (value, aim) => (value <= aim ? "met" : "missed");
  return [
    row("korral run e1000, warm, until the link is up", link, "ms", `aim <= ${LINK_AIM}: ${met(link, LINK_AIM)}`),
    row("the same from the start of the process", fromProcess, "ms"),
    row("peak resident memory of it (VmHWM)", peak, "MiB", `aim <= ${MEMORY_AIM}: ${met(peak, MEMORY_AIM)}`),
  ];
}

function ratioOf(best, peer, direction, length) {
  const [ours, theirs] = ["linux", peer].map((one) => best.get(`${one} ${direction} ${length}`));
  return ours === undefined || theirs === undefined ? null : theirs / ours;
}

function tableOf(best, notes) {
  const rate =
    (peer) =>
    ({ direction, length }) => {
      const nanoseconds = best.get(`${peer} ${direction} ${length}`);
      return nanoseconds === undefined ? null : 1e6 / nanoseconds;
    };
  const ratio =
    (peer) =>
    ({ direction, length }) =>
      ratioOf(best, peer, direction, length);
  return {
    title: ["thousand packets/s, the best of interleaved rounds; frames are hashed at the far side", ...notes].join(
      "\n  ",
    ),
    columns: ["", ...COLUMNS.map(({ direction, length }) => `${direction} ${length}`)],
    lines: [
      ["e1000.ko in Korral", ...COLUMNS.map(rate("linux"))],
      ["e1000.ko in a guest of QEMU, pktgen makes each frame anew", ...COLUMNS.map(rate("guest"))],
      ["the same, pktgen sends one frame again and again", ...COLUMNS.map(rate("guest cloned"))],
      ["native driver in Korral", ...COLUMNS.map(rate("native"))],
      ["e1000.ko in Korral : QEMU", ...COLUMNS.map(ratio("guest"))],
      ["e1000.ko in Korral : QEMU, one frame again and again", ...COLUMNS.map(ratio("guest cloned"))],
      ["e1000.ko in Korral : native driver", ...COLUMNS.map(ratio("native"))],
    ],
  };
}
