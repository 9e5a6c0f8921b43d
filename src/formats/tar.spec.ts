import { describe, expect, test } from "vitest";
import { type TarMember, tarOf } from "../../test/support/tar-writer.js";
import { tarEntries } from "./tar.js";

const LONG = `${"directory/".repeat(30)}file`;

function list(bytes: Uint8Array, step = bytes.length) {
  const pieces = [];
  for (let at = 0; at < bytes.length; at += step) pieces.push(bytes.subarray(at, at + step));
  const found = [];
  for (const entry of tarEntries(pieces, "a.tar")) {
    const { path, kind, mode, size, target } = entry;
    found.push({ path, kind, mode, size, target, text: kind === "file" ? new TextDecoder().decode(entry.read()) : "" });
  }
  return found;
}

const names = (...members: TarMember[]) => list(tarOf(members)).map(({ path }) => path);

describe("tar", () => {
  const members: TarMember[] = [
    { name: "./", type: "5", mode: 0o755 },
    { name: "./boot/vmlinuz", content: "k".repeat(1025), mode: 0o4755 },
    { name: "./boot/empty" },
    { name: "./lib/link", type: "2", link: "../boot/vmlinuz" },
    { name: "./boot/twin", type: "1", link: "./boot/vmlinuz" },
  ];
  const expected = [
    { path: "", kind: "directory", mode: 0o755, size: 0, target: undefined, text: "" },
    { path: "boot/vmlinuz", kind: "file", mode: 0o4755, size: 1025, target: undefined, text: "k".repeat(1025) },
    { path: "boot/empty", kind: "file", mode: 0o644, size: 0, target: undefined, text: "" },
    { path: "lib/link", kind: "symlink", mode: 0o644, size: 0, target: "boot/vmlinuz", text: "" },
    { path: "boot/twin", kind: "hardlink", mode: 0o644, size: 0, target: "boot/vmlinuz", text: "" },
  ];

  test.each([1, 100, 512, 10_000])("lists entries that come in pieces of %i bytes", (step) => {
    expect(list(tarOf(members), step)).toEqual(expected);
  });

  test("passes over contents that nobody reads", () => {
    expect([...tarEntries([tarOf(members)], "a.tar")].map(({ path }) => path)).toEqual(
      expected.map(({ path }) => path),
    );
  });

  test("takes pieces up to their very end, so that they are checked", () => {
    let ended = false;
    function* pieces() {
      yield tarOf(members);
      yield new Uint8Array(512);
      ended = true;
    }
    for (const _ of tarEntries(pieces(), "a.tar"));
    expect(ended).toBe(true);
  });

  test("knows long names of GNU and of pax", () => {
    const record = (key: string, value: string) => {
      const rest = ` ${key}=${value}\n`;
      let length = rest.length + 1;
      while (String(length).length + rest.length !== length) length++;
      return `${length}${rest}`;
    };
    expect(
      names({ name: "././@LongLink", type: "L", content: `${LONG}\0` }, { name: "short" }, { name: "next" }),
    ).toEqual([LONG, "next"]);
    expect(
      list(
        tarOf([
          { name: "g", type: "g", content: record("comment", "x") },
          { name: "pax", type: "x", content: record("path", LONG) + record("size", "3") },
          { name: "short", content: "abc", size: 0 },
          { name: "././@LongLink", type: "K", content: `../${LONG}\0` },
          { name: "a/link", type: "2", link: "short" },
        ]),
      ).map(({ path, target, text }) => [path, target, text]),
    ).toEqual([
      [LONG, undefined, "abc"],
      ["a/link", LONG, ""],
    ]);
  });

  test.each<[string, TarMember[], string]>([
    ["climbs", [{ name: "../../etc/passwd" }], '"../../etc/passwd" lies outside its tree'],
    ["climbs on its way", [{ name: "a/../../b" }], '"a/../../b" lies outside its tree'],
    ["is absolute", [{ name: "/etc/passwd" }], '"/etc/passwd" lies outside its tree'],
    [
      "links out of the tree",
      [{ name: "a/b", type: "2", link: "../../x" }],
      '"a/b" links to "../../x", outside its tree',
    ],
    ["is a hard link out of the tree", [{ name: "a", type: "1", link: "/x" }], '"a" links to "/x", outside its tree'],
    ["lies behind a link", [{ name: "a", type: "2", link: "b" }, { name: "a/c" }], '"a/c" lies behind a link'],
    ["is a device", [{ name: "dev/sda", type: "4" }], '"dev/sda" is a block device'],
    ["has control characters", [{ name: "../\u001b[2J" }], '"../\\u001b[2J" lies outside its tree'],
    [
      "climbs by a long name",
      [{ name: "L", type: "L", content: "../x" }, { name: "x" }],
      '"../x" lies outside its tree',
    ],
  ])("refuses an entry that %s", (_, hostile, message) => {
    expect(() => names({ name: "good" }, ...hostile)).toThrow(`an entry is refused: ${message}`);
  });

  test("refuses what is cut anywhere, or has no end", () => {
    const whole = tarOf(members, false);
    for (let length = 0; length <= whole.length; length += 64) {
      expect(() => list(whole.subarray(0, length)), `${length} bytes`).toThrow("the archive ends too early");
    }
  });

  test("refuses a header with a flipped bit", () => {
    const whole = tarOf(members);
    for (let at = 512; at < 1024; at += 3) {
      const flipped = whole.slice();
      flipped[at] ^= 4;
      expect(() => list(flipped), `byte ${at}`).toThrow(/a\.tar is damaged: at byte /);
    }
  });

  test("refuses a name without bounds", () => {
    expect(() => names({ name: "L", type: "L", size: 2 ** 32 })).toThrow(
      "a name or record is longer than 1048576 bytes",
    );
  });

  test("names a type that it does not know", () => {
    expect(() => names({ name: "x", type: "S" })).toThrow('a type that is not supported: "S" at byte 0, "x"');
  });
});
