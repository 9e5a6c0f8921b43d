import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { frame } from "../../test/formats/capture-bytes.js";
import type { DiskError } from "../devices/disk-backend.js";
import { InputError } from "../util/errors.js";
import { FileDisk } from "./file-disk.js";

const folder = mkdtempSync(join(tmpdir(), "korral-disk-"));
afterAll(() => rmSync(folder, { recursive: true }));

let images = 0;
function image(bytes: Uint8Array): string {
  const name = join(folder, `disk${images++}.img`);
  writeFileSync(name, bytes);
  return name;
}

function outcome(request: (done: (error: DiskError | null) => void) => void): string {
  const results: string[] = [];
  request((error) => results.push(error === null ? "ok" : error.kind));
  expect(results).toHaveLength(1);
  return results[0];
}

describe("a raw image", () => {
  test("is read straight into spans of machine memory", () => {
    using disk = new FileDisk(image(frame(8192)));
    expect([disk.sectors, disk.sectorSize, disk.readOnly]).toEqual([16, 512, false]);
    const memory = new Uint8Array(new WebAssembly.Memory({ initial: 1 }).buffer);
    const spans = [memory.subarray(100, 400), memory.subarray(0, 0), memory.subarray(5000, 5212)];
    expect(outcome((done) => disk.read(1024, spans, done))).toBe("ok");
    expect(Buffer.compare(memory.subarray(100, 400), frame(8192).subarray(1024, 1324))).toBe(0);
    expect(Buffer.compare(memory.subarray(5000, 5212), frame(8192).subarray(1324, 1536))).toBe(0);
    expect(memory.subarray(400, 5000).every((byte) => byte === 0)).toBe(true);
  });

  test("is written, zeroed and flushed in place, without growing", () => {
    const name = image(new Uint8Array(262_144).fill(1));
    using disk = new FileDisk(name, { sectorSize: 4096 });
    expect(outcome((done) => disk.write(4096, [frame(1000, 1), frame(3096, 2)], done))).toBe("ok");
    expect(outcome((done) => disk.writeZeroes(8192, 200_000, done))).toBe("ok");
    expect(outcome((done) => disk.discard(0, 4096, done))).toBe("ok");
    expect(outcome((done) => disk.flush(done))).toBe("ok");
    const expected = new Uint8Array(262_144).fill(1);
    expected.set(frame(1000, 1), 4096);
    expected.set(frame(3096, 2), 5096);
    expected.fill(0, 8192, 208_192);
    expect(Buffer.compare(readFileSync(name), expected)).toBe(0);
  });

  test("takes more spans than one system call does", () => {
    const bytes = frame(3000 * 512);
    using disk = new FileDisk(image(bytes));
    const into = new Uint8Array(bytes.length);
    const spans = Array.from({ length: 3000 }, (_, i) => into.subarray(i * 512, (i + 1) * 512));
    expect(outcome((done) => disk.read(0, spans, done))).toBe("ok");
    expect(Buffer.compare(into, bytes)).toBe(0);
    for (const span of spans) span.reverse();
    expect(outcome((done) => disk.write(0, spans, done))).toBe("ok");
    const back = new Uint8Array(bytes.length);
    expect(outcome((done) => disk.read(0, [back], done))).toBe("ok");
    expect(Buffer.compare(back, into)).toBe(0);
  });

  test("refuses what leaves it, and keeps its size", () => {
    const name = image(new Uint8Array(1024));
    using disk = new FileDisk(name);
    for (const position of [1024, 513, -1, 2 ** 60, 0.5]) {
      expect(outcome((done) => disk.read(position, [new Uint8Array(512)], done))).toBe("out-of-range");
      expect(outcome((done) => disk.write(position, [frame(512)], done))).toBe("out-of-range");
      expect(outcome((done) => disk.writeZeroes(position, 512, done))).toBe("out-of-range");
      expect(outcome((done) => disk.discard(position, 512, done))).toBe("out-of-range");
    }
    expect(statSync(name).size).toBe(1024);
    expect(outcome((done) => disk.read(1024, [], done))).toBe("ok");
  });

  test("that somebody cuts meanwhile fails to read, and is not read beyond its end", () => {
    const name = image(new Uint8Array(4096));
    using disk = new FileDisk(name);
    truncateSync(name, 1000);
    expect(outcome((done) => disk.read(512, [new Uint8Array(1024)], done))).toBe("read");
    expect(outcome((done) => disk.read(0, [new Uint8Array(512)], done))).toBe("ok");
  });

  test("read-only", () => {
    const name = image(new Uint8Array(1024));
    using disk = new FileDisk(name, { readOnly: true });
    expect(disk.readOnly).toBe(true);
    expect(outcome((done) => disk.write(0, [frame(512)], done))).toBe("read-only");
    expect(outcome((done) => disk.writeZeroes(0, 512, done))).toBe("read-only");
    expect(outcome((done) => disk.discard(0, 512, done))).toBe("read-only");
    expect(outcome((done) => disk.flush(done))).toBe("ok");
  });

  test("closed, it fails requests instead of touching another file", () => {
    const disk = new FileDisk(image(new Uint8Array(1024)));
    disk.close();
    disk.close();
    expect(() => disk.read(0, [new Uint8Array(512)], () => {})).toThrow();
  });
});

describe("what is no image", () => {
  test("a partial sector, an empty file, a directory, a pipe, a missing file", () => {
    expect(() => new FileDisk(image(new Uint8Array(1000)))).toThrow(
      "has 1000 bytes, which is no multiple of the sector size 512",
    );
    expect(() => new FileDisk(image(new Uint8Array(512)), { sectorSize: 4096 })).toThrow(InputError);
    expect(() => new FileDisk(image(new Uint8Array(0)))).toThrow("is empty");
    expect(() => new FileDisk(folder)).toThrow("it is a directory");
    expect(() => new FileDisk(folder, { readOnly: true })).toThrow("no regular file");
    expect(() => new FileDisk(join(folder, "nowhere"))).toThrow(InputError);
    execFileSync("mkfifo", [join(folder, "pipe")]);
    expect(() => new FileDisk(join(folder, "pipe"), { readOnly: true })).toThrow("no regular file");
    expect(() => new FileDisk(join(folder, "pipe"))).toThrow("no regular file");
  });

  const asUser = process.getuid?.() === 0 ? test.skip : test;
  asUser("one without permission to write is read only if that is allowed (not as root)", () => {
    const name = image(new Uint8Array(512));
    chmodSync(name, 0o444);
    expect(() => new FileDisk(name)).toThrow("make it writable for you, or attach it read-only");
    using disk = new FileDisk(name, { readOnly: "if-needed" });
    expect(disk.readOnly).toBe(true);
  });
});
