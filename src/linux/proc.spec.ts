import { expect, test } from "vitest";
import type { GuestAddress } from "../util/guest-address.js";
import type { Guest } from "./guest.js";
import type { Heap } from "./heap.js";
import { ProcEntries } from "./proc.js";

const TOP = 0 as GuestAddress;

function entries() {
  const live = new Set<GuestAddress>();
  const names = new Map<GuestAddress, string>();
  let next = 0x1000;
  const heap = {
    allocate: (): GuestAddress => {
      next += 0x1000;
      live.add(next as GuestAddress);
      return next as GuestAddress;
    },
    free: (address: GuestAddress) => (live.delete(address) ? null : "invalid-free"),
  };
  const guest = {
    sizeOf: () => 192,
    setBytes: (address: GuestAddress, bytes: Uint8Array) => names.set(address, new TextDecoder().decode(bytes)),
    field: () => ({ set: () => undefined }),
  };
  return { proc: new ProcEntries(guest as unknown as Guest, heap as unknown as Heap), live, names };
}

test("a folder goes with all that is in it", () => {
  const { proc, live } = entries();
  const folder = proc.add(TOP, "driver");
  const other = proc.add(TOP, "scsi");
  proc.add(proc.add(folder, "inner"), "file");
  proc.remove(folder);
  expect([...live]).toEqual([other]);
});

test("names are looked for in their folder, and may be paths", () => {
  const { proc, live } = entries();
  proc.add(TOP, "fs/cache/stats");
  const folder = proc.add(TOP, "net");
  const inner = proc.add(folder, "fs");
  proc.removeNamed(TOP, "fs");
  expect([...live]).toEqual([folder, inner]);
  proc.removeNamed(folder, "fs");
  expect([...live]).toEqual([folder]);
});

test("what nobody made is not freed", () => {
  const { proc, live } = entries();
  const entry = proc.add(TOP, "one");
  proc.remove(0x77 as GuestAddress);
  proc.removeNamed(TOP, "two");
  expect([...live]).toEqual([entry]);
});

test("the name is kept behind the entry", () => {
  const { proc, names } = entries();
  const entry = proc.add(TOP, "usb");
  expect(names.get((entry + 192) as GuestAddress)).toBe("usb\0");
});
