import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { bzImageOf } from "../../test/support/bzimage.js";
import { FakeApt } from "../../test/support/fake-apt.js";
import { kernelDeb, PLAIN, vmlinuxOfPackage } from "../../test/support/kernel-deb.js";
import { moduleOf } from "../../test/support/kernel-elf-writer.js";
import { ExitStatus, KorralError } from "../util/errors.js";
import { KernelCache } from "./kernel-cache.js";
import type { KernelStep } from "./kernel-progress.js";
import { KernelStore } from "./kernel-store.js";

const PATH = process.env.PATH;
const scratch = mkdtempSync(join(tmpdir(), "korral-store-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

let folder: string;
let count = 0;
let apt: FakeApt | null = null;

beforeEach(() => {
  folder = join(scratch, String(count++));
  mkdirSync(folder);
  process.env.PATH = folder;
});

afterEach(() => {
  process.env.PATH = PATH;
  apt?.close();
  apt = null;
});

const steps: [KernelStep, string][] = [];

function store(): KernelStore {
  steps.length = 0;
  return new KernelStore({
    cache: new KernelCache(join(folder, "cache")),
    root: join(folder, "root"),
    progress: (step, _, subject) => {
      if (steps.at(-1)?.[0] !== step) steps.push([step, subject]);
    },
  });
}

function put(path: string, bytes: Uint8Array | string): string {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), bytes);
  return join(folder, path);
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name);
}

const imageFile = (release: string): Uint8Array =>
  bzImageOf({ payload: new Uint8Array(gzipSync(vmlinuxOfPackage(release))) });

function installed(release: string, root = "root"): void {
  put(`${root}/boot/vmlinuz-${release}`, imageFile(release));
  put(`${root}/lib/modules/${release}/kernel/own.ko`, moduleOf(PLAIN));
}

function fakeApt(...releases: string[]): FakeApt {
  apt = new FakeApt(Object.fromEntries(releases.map((release) => [`linux-image-${release}`, kernelDeb({ release })])));
  process.env.PATH = apt.path;
  return apt;
}

async function failure(promise: Promise<unknown>): Promise<KorralError> {
  const error = await promise.catch((thrown: unknown) => thrown);
  if (error instanceof KorralError) return error;
  throw new Error(`not refused: ${String(error)}`);
}

describe("the order in which kernels are looked for", () => {
  test("the cache comes before the system's own, and that before fetching", async () => {
    fakeApt("6.1.0-9-amd64");
    expect((await store().open()).release).toBe("6.1.0-9-amd64");
    expect(steps).toEqual([
      ["lists", ""],
      ["download", "linux-image-6.1.0-9-amd64"],
      ["unpack", "linux-image-6.1.0-9-amd64"],
    ]);
    installed("6.1.0-10-amd64");
    expect((await store().open()).release).toBe("6.1.0-9-amd64");
    expect(steps).toEqual([]);
    rmSync(join(folder, "cache"), { recursive: true });
    expect((await store().open()).release).toBe("6.1.0-10-amd64");
    expect(steps).toEqual([]);
  });

  test("in the cache: the newest 6.1, else the newest of the usual flavour, else what there is", async () => {
    const added = async (release: string) => store().fetch(put(`${release}.deb`, kernelDeb({ release })));
    await added("6.12.3+deb13-cloud-amd64");
    expect((await store().open()).release).toBe("6.12.3+deb13-cloud-amd64");
    await added("6.12.3+deb13-amd64");
    await added("6.11.0-1-amd64");
    expect((await store().open()).release).toBe("6.12.3+deb13-amd64");
    await added("6.1.0-9-amd64");
    await added("6.1.0-56-amd64");
    await added("6.1.0-57-rt-amd64");
    expect((await store().open()).release).toBe("6.1.0-56-amd64");
    expect(
      store()
        .list()
        .map(({ release }) => release),
    ).toEqual([
      "6.12.3+deb13-cloud-amd64",
      "6.12.3+deb13-amd64",
      "6.11.0-1-amd64",
      "6.1.0-57-rt-amd64",
      "6.1.0-56-amd64",
      "6.1.0-9-amd64",
    ]);
    for (const [ref, release] of [
      ["6.12", "6.12.3+deb13-amd64"],
      ["6.12-cloud", "6.12.3+deb13-cloud-amd64"],
      ["rt", "6.1.0-57-rt-amd64"],
      ["6.1.0-9-amd64", "6.1.0-9-amd64"],
      ["linux-image-6.11.0-1-amd64", "6.11.0-1-amd64"],
      ["linux-image-amd64", "6.12.3+deb13-amd64"],
    ])
      expect((await store().open(ref)).release, ref).toBe(release);
  });

  test("a damaged kernel in the cache is passed over", async () => {
    const kernel = await store().fetch(put("a.deb", kernelDeb({ release: "6.1.0-9-amd64" })));
    await store().fetch(put("b.deb", kernelDeb({ release: "6.1.0-8-amd64" })));
    writeFileSync(join(kernel.directory, "korral-kernel"), "");
    expect((await store().open()).release).toBe("6.1.0-8-amd64");
  });

  test("the system's own: with a usable image and modules; unreadable ones are named if nothing else is found", async () => {
    put("root/boot/vmlinuz-6.1.0-3-amd64", imageFile("6.1.0-3-amd64"));
    mkdirSync(join(folder, "root/boot/vmlinuz-6.1.0-2-amd64"));
    const error = await failure(store().open());
    expect([error.code, error.exitStatus]).toEqual(["no-package-client", ExitStatus.environment]);
    expect(error.message).toMatch(
      /no apt-get here.*--kernel FILE\.deb.*Passed over: cannot read .*vmlinuz-6\.1\.0-2-amd64: it is a directory/,
    );
    installed("6.1.0-1-amd64");
    expect((await store().open()).release).toBe("6.1.0-1-amd64");
    expect((await store().open("6.1")).release).toBe("6.1.0-1-amd64");
  });

  test("distributions that keep the image with the modules", async () => {
    put("root/usr/lib/modules/6.9.9-1-x/vmlinuz", imageFile("6.9.9-1-x"));
    put("root/lib/modules/6.9.9-200.fc40.x86_64/vmlinuz", imageFile("6.9.9-200.fc40.x86_64"));
    put("root/lib/modules/6.9.9-200.fc40.x86_64/kernel/a.ko", moduleOf(PLAIN));
    expect((await store().open()).release).toBe("6.9.9-200.fc40.x86_64");
    const named = await store().open(join(folder, "root/usr/lib/modules/6.9.9-1-x"));
    expect([named.release, named.modules]).toEqual(["6.9.9-1-x", []]);
  });
});

describe("a kernel in a folder", () => {
  test("its image is unpacked once, and again when it changes", async () => {
    installed("1.2.3-4-amd64", "tree");
    const tree = join(folder, "tree");
    const kernel = await store().open(tree);
    expect(kernel.vmlinux()).toEqual(vmlinuxOfPackage("1.2.3-4-amd64"));
    expect(kernel.modules).toEqual([{ name: "own", path: "kernel/own.ko" }]);
    expect(kernel.module("own").get("license")).toBe("GPL");
    expect(kernel.modulesFor("x")).toEqual([]);
    const made = () =>
      filesBelow(join(folder, "cache/made"))
        .map((name) => name.replace(/\.\w+$/, ""))
        .sort();
    expect(made()).toEqual(["derived-module-index-1", "vmlinux"]);
    const [image] = filesBelow(join(folder, "cache/made")).filter((name) => name.startsWith("vmlinux"));
    put("tree/boot/vmlinuz-1.2.3-4-amd64", imageFile("1.2.3-5-amd64"));
    expect((await store().open(tree)).vmlinux()).toEqual(vmlinuxOfPackage("1.2.3-5-amd64"));
    put("tree/lib/modules/1.2.3-4-amd64/kernel/new.ko", moduleOf({ info: ["alias=x"] }));
    expect((await store().open(tree)).modulesFor("x")).toEqual(["new"]);
    expect(made(), "what is out of date is gone").toEqual(["derived-module-index-1", "vmlinux"]);
    expect(filesBelow(join(folder, "cache/made"))).not.toContain(image);
  });

  test("given by its image, or by the folder of its modules", async () => {
    installed("1.2.3-4-amd64", "tree");
    for (const ref of ["tree/boot/vmlinuz-1.2.3-4-amd64", "tree/lib/modules/1.2.3-4-amd64"]) {
      const kernel = await store().open(join(folder, ref));
      expect([kernel.release, kernel.modules.length, kernel.vmlinux().length > 0], ref).toEqual([
        "1.2.3-4-amd64",
        1,
        true,
      ]);
    }
  });

  test("of several, one has to be named; without any, it says what is missing", async () => {
    installed("1.2.3-4-amd64", "tree");
    installed("1.2.3-5-amd64", "tree");
    const several = await failure(store().open(join(folder, "tree")));
    expect([several.exitStatus, several.message]).toEqual([
      5,
      expect.stringContaining("give one of boot/vmlinuz-1.2.3-4-amd64, boot/vmlinuz-1.2.3-5-amd64"),
    ]);
    mkdirSync(join(folder, "empty"));
    const none = await failure(store().open(join(folder, "empty")));
    expect([none.exitStatus, none.message]).toEqual([5, expect.stringContaining("boot/vmlinuz-… is missing")]);
    const missing = await failure(store().open(join(folder, "nowhere")));
    expect([missing.exitStatus, missing.message]).toEqual([5, expect.stringContaining("there is no such file")]);
  });
});

describe("fetching", () => {
  test("the newest of a series and flavour; a second time only if there is a newer one", async () => {
    const client = fakeApt("6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-11-cloud-amd64", "6.12.1+deb12-amd64");
    expect((await store().fetch()).release).toBe("6.1.0-10-amd64");
    expect((await store().fetch("6.12")).release).toBe("6.12.1+deb12-amd64");
    expect((await store().fetch("cloud")).release).toBe("6.1.0-11-cloud-amd64");
    expect((await store().fetch("linux-image-6.1.0-9-amd64")).release).toBe("6.1.0-9-amd64");
    const downloads = () => readFileSync(client.logFile, "utf8").match(/^download-file/gm)?.length;
    expect(downloads()).toBe(4);
    expect((await store().fetch("6.1")).release).toBe("6.1.0-10-amd64");
    expect(downloads()).toBe(4);
    expect(readdirSync(join(folder, "cache/apt/archives")), "no archive stays").toEqual(["partial"]);
  });

  test("a package that is gone: an older one will do", async () => {
    const client = fakeApt("6.1.0-9-amd64", "6.1.0-10-amd64");
    client.fails("linux-image-6.1.0-10-amd64", "E: Failed to fetch x  404  Not Found\n");
    expect((await store().fetch()).release).toBe("6.1.0-9-amd64");
  });

  test("two at once: one fetches, the other waits and has it", async () => {
    const client = fakeApt("6.1.0-9-amd64");
    client.updateSays("", 1);
    const other = new KernelStore({ cache: new KernelCache(join(folder, "cache")), root: join(folder, "root") });
    const kernels = await Promise.all([store().open(), other.open()]);
    expect(kernels.map(({ release }) => release)).toEqual(["6.1.0-9-amd64", "6.1.0-9-amd64"]);
    expect(readFileSync(client.logFile, "utf8").match(/^download-file/gm)).toHaveLength(1);
    expect(existsSync(join(folder, "cache/apt.lock"))).toBe(false);
  });

  test.each<[string, string, string, string]>([
    ["no network", "W: Failed to fetch x  Temporary failure resolving 'x'\n", "no-network", "connect to the network"],
    [
      "a refused connection",
      "E: Could not connect to x:80 (1.2.3.4). - connect (111: Connection refused)",
      "no-network",
      "proxy",
    ],
    ["an unknown key", "W: GPG error: x InRelease: NO_PUBKEY 1234", "package-signature", "keyring"],
    ["a full disk", "E: Write error - write (28: No space left on device)", "disk-full", "KORRAL_CACHE"],
    ["no lists to be had", "", "kernel-missing", "name no kernel at all: have apt's sources name a Debian release"],
    ["something else", "E: Malformed entry 1 in list file x\n", "package-client", "Malformed entry 1"],
  ])("%s: the lists have no kernel", async (_, says, code, message) => {
    fakeApt().updateSays(says);
    const error = await failure(store().open());
    expect([error.code, error.exitStatus, error.message]).toEqual([code, 6, expect.stringContaining(message)]);
    expect(error.message).toContain("--kernel FILE.deb");
    expect(error.message).not.toContain("\n");
  });

  test.each<[string, string]>([
    ["E: Failed to fetch x  Hash Sum mismatch", "package-hash"],
    ["E: Failed to fetch x  Could not connect to x", "no-network"],
    ["E: Failed to fetch x  404  Not Found", "package-gone"],
    ["", "package-client"],
  ])("a download that fails: %s", async (says, code) => {
    fakeApt("6.1.0-9-amd64").fails("linux-image-6.1.0-9-amd64", says);
    expect(await failure(store().fetch())).toMatchObject({ code, exitStatus: 6 });
  });

  test("what the client does not have", async () => {
    fakeApt("6.1.0-9-amd64", "6.1.0-9-amd64-dbg");
    const error = await failure(store().open("7.7"));
    expect([error.exitStatus, error.message]).toEqual([
      6,
      expect.stringContaining("has no Linux 7.7, amd64: its newest are linux-image-6.1.0-9-amd64, or give a kernel"),
    ]);
    expect((await failure(store().open("nonsense"))).message).toContain("has no Linux of any series, nonsense-amd64");
    expect((await failure(store().fetch(folder))).message).toContain("is a folder: it needs no fetching");
  });

  test("a lock whose holder has died is taken over", async () => {
    fakeApt("6.1.0-9-amd64");
    put("cache/apt.lock", "");
    const { hostname } = await import("node:os");
    put("cache/apt.lock", JSON.stringify([hostname(), 2 ** 22 + 1, 0, 0]));
    expect((await store().fetch()).release).toBe("6.1.0-9-amd64");
    expect(readdirSync(join(folder, "cache")).sort()).toEqual(["apt", "kernels"]);
  });
});
