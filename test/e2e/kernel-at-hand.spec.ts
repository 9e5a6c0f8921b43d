import { existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { FakeApt } from "../support/fake-apt.js";
import { kernelDeb, PLAIN } from "../support/kernel-deb.js";
import { moduleOf } from "../support/kernel-elf-writer.js";
import { korral, scratch } from "./korral.js";

const RELEASE = "6.1.0-9-amd64";
const NAME = `linux-image-${RELEASE}`;
const DEB = kernelDeb({
  release: RELEASE,
  modules: {
    "drivers/net/e1000": {
      info: ["license=GPL", "depends=mii", "description=A driver"],
      imports: [
        { name: "printk", crc: 1 },
        { name: "generic_mii_ioctl", crc: 7 },
        { name: "gone", crc: 3 },
        { name: "perhaps", weak: true },
      ],
    },
    "drivers/net/mii": { info: ["license=GPL"], exports: [{ name: "generic_mii_ioctl", crc: 8 }] },
    "drivers/net/plain": PLAIN,
  },
});

const file = scratch();
const apt = new FakeApt({ [NAME]: DEB });
afterAll(() => apt.close());
const { PATH, KORRAL_CACHE } = process.env;
let count = 0;

beforeEach(() => {
  process.env.KORRAL_CACHE = file(`cache-${count++}`);
  process.env.PATH = apt.path;
  apt.updateSays("");
});

afterEach(() => {
  process.env.PATH = PATH;
  if (KORRAL_CACHE === undefined) delete process.env.KORRAL_CACHE;
  else process.env.KORRAL_CACHE = KORRAL_CACHE;
});

const kernels = () => join(process.env.KORRAL_CACHE ?? "", "kernels");

describe("kernels at hand", () => {
  test.skipIf(existsSync("/lib/modules"))("nothing, on a system without kernels", async () => {
    const none = await korral(["kernel", "info"]);
    expect([none.status, none.stdout, none.stderr]).toEqual([
      6,
      "",
      "korral: no kernel is at hand: korral kernel fetch gets one\n",
    ]);
  });

  test("one that was fetched; then it needs no client any more", async () => {
    const fetched = await korral(["kernel", "fetch"]);
    expect([fetched.status, fetched.stderr]).toEqual([
      0,
      `bringing the package lists up to date\ndownloading ${NAME}\nunpacking ${NAME}\n`,
    ]);
    expect(fetched.stdout).toMatch(new RegExp(`^${NAME} +1-1 +cache +3 modules +/.*\n$`));
    process.env.PATH = "/nowhere";
    const list = await korral(["kernel", "list", "--json"]);
    expect(JSON.parse(list.stdout).find((row: { origin: string }) => row.origin === "cache")).toEqual({
      name: NAME,
      version: "1-1",
      release: RELEASE,
      flavour: "amd64",
      origin: "cache",
      modules: 3,
      directory: expect.stringContaining(kernels()),
    });
    const info = JSON.parse((await korral(["kernel", "info", "6.1", "--json"])).stdout);
    expect(info).toMatchObject({ package: NAME, release: RELEASE, modules: { count: 3, compression: "none" } });
    expect(existsSync(info.directory)).toBe(true);
  });

  test("a package of one's own, into the cache", async () => {
    process.env.PATH = "/nowhere";
    writeFileSync(file("own.deb"), DEB);
    const { status, stdout } = await korral(["kernel", "fetch", file("own.deb"), "--json"]);
    expect([status, JSON.parse(stdout).name]).toEqual([0, NAME]);
    expect(readdirSync(kernels())).toHaveLength(1);
  });

  test("modinfo and symbols of a module by its name", async () => {
    await korral(["kernel", "fetch"]);
    const info = await korral(["modinfo", "e1000", "--json"]);
    expect([info.status, JSON.parse(info.stdout)]).toMatchObject([
      0,
      {
        filename: `lib/modules/${RELEASE}/kernel/drivers/net/e1000.ko of ${NAME}`,
        depends: ["mii"],
        description: "A driver",
      },
    ]);
    const symbols = JSON.parse((await korral(["symbols", "e1000", "--json"])).stdout);
    expect([symbols.kernel, symbols.imports]).toEqual([
      RELEASE,
      [
        {
          name: "printk",
          weak: false,
          crc: "0x00000001",
          resolution: { kind: "own", from: "vmlinux", exportedCrc: "0x00000001", mismatch: false },
        },
        {
          name: "generic_mii_ioctl",
          weak: false,
          crc: "0x00000007",
          resolution: { kind: "own", from: "mii", exportedCrc: "0x00000008", mismatch: true },
        },
        {
          name: "gone",
          weak: false,
          crc: "0x00000003",
          resolution: { kind: "missing", from: null, exportedCrc: null, mismatch: false },
        },
        {
          name: "perhaps",
          weak: true,
          crc: null,
          resolution: { kind: "weak", from: null, exportedCrc: null, mismatch: false },
        },
      ],
    ]);
    const shown = await korral(["symbols", "e1000"]);
    expect(shown.stdout.split("\n").slice(0, 3)).toEqual([
      "4 imported: 2 own, 1 missing, 1 weak; 1 of another checksum",
      "  0x00000001  own      vmlinux               printk",
      "  0x00000007  own      mii has 0x00000008    generic_mii_ioctl",
    ]);
  });

  test("symbols of a file against a kernel that is named", async () => {
    writeFileSync(file("linux.deb"), DEB);
    const sample = file("other.ko");
    writeFileSync(sample, moduleOf({ info: ["license=GPL"], imports: [{ name: "printk", crc: 2 }] }));
    const { status, stdout } = await korral(["symbols", sample, "--kernel", file("linux.deb")]);
    expect([status, stdout.split("\n")[0]]).toEqual([0, "1 imported: 1 own; 1 of another checksum"]);
    expect(existsSync(kernels()), "what was only named is not at hand").toBe(false);
  });

  test("a cache that was damaged in between", async () => {
    const fetched = JSON.parse((await korral(["kernel", "fetch", "--json"])).stdout);
    truncateSync(join(fetched.directory, "vmlinux"), 100);
    const module = join(fetched.directory, `lib/modules/${RELEASE}/kernel/drivers/net/e1000.ko`);
    writeFileSync(module, readFileSync(module).fill(0));
    process.env.PATH = "/nowhere";
    const { status, stdout, stderr } = await korral(["symbols", "e1000"]);
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^4 imported: 2 own/);
  });

  test.each<[string, () => readonly string[], number, RegExp]>([
    [
      "a kernel that nobody has",
      () => ["modinfo", "e1000", "--kernel", "7.7"],
      6,
      /has no Linux 7\.7, amd64: its newest are/,
    ],
    [
      "a module that it lacks",
      () => ["modinfo", "e1001", "--kernel", file("linux.deb")],
      5,
      /has no module "e1001"; similar names: e1000/,
    ],
    ["a module that is none", () => ["symbols", "8250", "--kernel", file("linux.deb")], 5, /8250 is part of the image/],
    ["a file that is not there", () => ["modinfo", "nowhere.ko"], 5, /cannot read nowhere\.ko: there is no such file/],
    [
      "a package that is none",
      () => ["modinfo", "x", "--kernel", file("text")],
      5,
      /is no ar archive: give a Debian package/,
    ],
    [
      "a folder without a kernel",
      () => ["modinfo", "x", "--kernel", file("folder")],
      5,
      /has no kernel image: boot\/vmlinuz-… is missing/,
    ],
    [
      "a package for another machine",
      () => ["modinfo", "x", "--kernel", file("arm.deb")],
      4,
      /is a package for arm64: give one for amd64/,
    ],
    [
      "no client",
      () => {
        process.env.PATH = "/nowhere";
        return ["modinfo", "e1000", "--kernel", "7.7"];
      },
      6,
      /there is no apt-get here\. Give a Debian kernel package with --kernel FILE\.deb/,
    ],
    [
      "a cache that is a file",
      () => {
        process.env.KORRAL_CACHE = file("text");
        return ["kernel", "fetch"];
      },
      6,
      /cannot write .*KORRAL_CACHE/,
    ],
  ])("refuses %s", async (_, make, expected, message) => {
    writeFileSync(file("text"), "hello");
    mkdirSync(file("folder"), { recursive: true });
    writeFileSync(file("linux.deb"), DEB);
    writeFileSync(file("arm.deb"), kernelDeb({ release: RELEASE, architecture: "arm64" }));
    const { status, stdout, stderr } = await korral(make());
    expect([status, stdout]).toEqual([expected, ""]);
    expect(stderr).toMatch(message);
    expect(stderr.trimEnd().split("\n").at(-1)).toMatch(/^korral: /);
  });
});
