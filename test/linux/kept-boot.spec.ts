// A kernel that was kept after it had initialised itself: taken if it is what was kept, else forgotten without a word.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseBoot } from "../../src/linux/boot-image.js";
import { LinuxDomain } from "../../src/linux/domain.js";
import { KernelImage } from "../../src/linux/image.js";
import type { KernelPackage } from "../../src/linux/kernel-package.js";
import { Machine } from "../../src/machine.js";
import { BOOT_PATIENCE, linuxKernel } from "../support/linux-driver.js";

const HEADER_BYTES = 24;
const kernel = linuxKernel("6.1");

/** A place for one thing. */
class Keeper {
  bytes: Uint8Array | null = null;
  made = 0;

  readonly keep = (_: string, make: () => Uint8Array, isUsable: (bytes: Uint8Array) => boolean): Uint8Array => {
    if (this.bytes !== null && isUsable(this.bytes)) return this.bytes;
    this.made++;
    this.bytes = make();
    return this.bytes;
  };
}

describe.skipIf(typeof kernel === "string")("a kernel that was kept", () => {
  let machine: Machine;
  let image: KernelImage;
  let sound: Uint8Array;
  let lines: readonly string[];

  const domainOf = (): LinuxDomain => new LinuxDomain(machine, image, { name: "test" });
  /** @returns what the console said */
  const booted = (keeper: Keeper): string[] => {
    const domain = domainOf();
    const said: string[] = [];
    domain.services.events.on("console", ({ text }) => said.push(text));
    domain.guarded(() => domain.boot(keeper.keep));
    expect(domain.dead).toBeNull();
    domain.end("the test is over");
    return said;
  };

  beforeAll(async () => {
    if (typeof kernel === "string") return;
    const kernelPackage: KernelPackage = await kernel;
    machine = await Machine.create();
    image = KernelImage.parse(kernelPackage.vmlinux(), kernelPackage.name);
    const keeper = new Keeper();
    lines = booted(keeper);
    sound = keeper.bytes ?? new Uint8Array(0);
  }, BOOT_PATIENCE);
  afterAll(() => machine?.[Symbol.asyncDispose]());

  const textOf = (): string => {
    const length = new DataView(sound.buffer, sound.byteOffset).getInt32(4, true);
    return new TextDecoder().decode(sound.subarray(HEADER_BYTES, HEADER_BYTES + length));
  };
  const withText = (text: string): Uint8Array => {
    const padded = (length: number): number => Math.ceil(length / 8) * 8;
    const after = new TextEncoder().encode(text);
    const rest = sound.subarray(HEADER_BYTES + padded(textOf().length));
    const bytes = new Uint8Array(HEADER_BYTES + padded(after.length) + rest.length);
    bytes.set(sound.subarray(0, HEADER_BYTES));
    new DataView(bytes.buffer).setInt32(4, after.length, true);
    bytes.set(after, HEADER_BYTES);
    bytes.set(rest, bytes.length - rest.length);
    return bytes;
  };
  const withState = (change: (state: Record<string, unknown>) => unknown): Uint8Array =>
    withText(JSON.stringify(change(JSON.parse(textOf()))));
  const withWord = (at: number, word: number): Uint8Array => {
    const bytes = sound.slice();
    new DataView(bytes.buffer).setInt32(at, word, true);
    return bytes;
  };
  const object = (value: unknown): Record<string, unknown> => value as Record<string, unknown>;

  test("says what it said when it booted, and is not made again", () => {
    expect(sound.length).toBeGreaterThan(100_000);
    const keeper = new Keeper();
    keeper.bytes = sound;
    expect([booted(keeper), keeper.made]).toEqual([lines, 0]);
  });

  test("of another shape is of no use", () => {
    const { services } = domainOf();
    expect(parseBoot(services, sound)).not.toBeNull();
    expect(
      parseBoot(
        services,
        withState((state) => state),
      ),
    ).not.toBeNull();
    const states: [string, (state: Record<string, unknown>) => unknown][] = [
      ["nothing", () => null],
      ["a number", () => 1],
      ["a list", () => []],
      ...Object.keys(JSON.parse(textOf())).flatMap((name): [string, (state: Record<string, unknown>) => unknown][] => [
        [`without ${name}`, ({ [name]: _, ...rest }) => rest],
        [`${name} is nothing`, (state) => ({ ...state, [name]: null })],
        [`${name} is a text`, (state) => ({ ...state, [name]: "" })],
      ]),
      ...["heap", "pages", "percpu"].flatMap((part): [string, (state: Record<string, unknown>) => unknown][] =>
        Object.keys(object(JSON.parse(textOf())[part])).flatMap((name) => [
          [`${part}.${name} is nothing`, (state) => ({ ...state, [part]: { ...object(state[part]), [name]: null } })],
          [`${part}.${name} is half`, (state) => ({ ...state, [part]: { ...object(state[part]), [name]: 0.5 } })],
          [`${part}.${name} of ones`, (state) => ({ ...state, [part]: { ...object(state[part]), [name]: [1] } })],
        ]),
      ),
      ["hz of 0", (state) => ({ ...state, hz: 0 })],
      ["a heap that ends elsewhere", (state) => ({ ...state, heap: { ...object(state.heap), next: 16 } })],
      ["a free place elsewhere", (state) => ({ ...state, heap: { ...object(state.heap), free: [[16, [0]]] } })],
      ["pages from nowhere", (state) => ({ ...state, pages: { ...object(state.pages), bottom: 0 } })],
      ["per-CPU memory elsewhere", (state) => ({ ...state, percpu: { ...object(state.percpu), next: 0 } })],
      ["a console of numbers", (state) => ({ ...state, console: [1] })],
      ["queues without names", (state) => ({ ...state, work: [[1, {}]] })],
    ];
    for (const [what, change] of states) expect(parseBoot(services, withState(change)), what).toBeNull();
  });

  test("of other lengths, or another image's, is of no use", () => {
    const { services } = domainOf();
    for (const length of [0, 3, HEADER_BYTES - 1, HEADER_BYTES, 1000, sound.length - 8, sound.length - 1]) {
      expect(parseBoot(services, sound.slice(0, length)), `${length} bytes`).toBeNull();
    }
    for (let at = 0; at < HEADER_BYTES; at += 4) {
      for (const word of [0, 1, -1, -8, 0x7fff_ffff, -0x8000_0000]) {
        const bytes = withWord(at, word);
        if (Buffer.compare(bytes, sound) !== 0) expect(parseBoot(services, bytes), `${at}: ${word}`).toBeNull();
      }
    }
    for (const text of ["", "{", textOf().slice(1)]) expect(parseBoot(services, withText(text)), text).toBeNull();
  });

  test("with pages that no guest has is of no use", () => {
    const { services } = domainOf();
    const captured = parseBoot(services, sound);
    if (captured === null) throw new Error("it should be usable");
    for (const list of [captured.pages, captured.runs]) {
      expect(list.length).toBeGreaterThan(0);
      const at = list.byteOffset - sound.byteOffset;
      for (const page of [0, -1, 0x10_0000, 0x7fff_ffff]) {
        expect(parseBoot(services, withWord(at, page)), `page ${page}`).toBeNull();
      }
    }
    const count = captured.runs.byteOffset - sound.byteOffset + 4;
    for (const pages of [0, -1, 0x10_0000, 0x7fff_ffff]) {
      expect(parseBoot(services, withWord(count, pages)), `${pages} pages`).toBeNull();
    }
  });

  test("and is damaged is made anew, and kept in its place", () => {
    for (const damaged of [withState(() => ({})), sound.slice(0, 100)]) {
      const keeper = new Keeper();
      keeper.bytes = damaged;
      expect([booted(keeper), keeper.made]).toEqual([lines, 1]);
      expect(Buffer.compare(keeper.bytes, sound)).toBe(0);
      expect([booted(keeper), keeper.made]).toEqual([lines, 1]);
    }
  });
});
