import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { I82540em } from "../../src/devices/i82540em.js";
import { KorralNic } from "../../src/devices/korral-nic.js";
import { NvmeController } from "../../src/devices/nvme.js";
import { compileFilter } from "../../src/filter/compile.js";
import { PacketFilter } from "../../src/filter/packet-filter.js";
import { createCaptureWriter } from "../../src/formats/capture.js";
import { MemoryDisk } from "../../src/ports/disk-image.js";
import { LoopWire } from "../../src/ports/wire-end.js";
import { Rig } from "../support/rig.js";
import { framesOf, GUEST_SESSION, korral, NATIVE, scratch, startKorral, unread } from "./korral.js";

const file = scratch();
const session = framesOf(GUEST_SESSION);
const BIN = fileURLToPath(new URL("../../bin/korral.mjs", import.meta.url));
const pcap = readFileSync(GUEST_SESSION);

function matching(expression: string): Uint8Array[] {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const bytes = new Uint8Array(memory.buffer);
  const filter = new PacketFilter(compileFilter(expression), memory);
  return session.filter((frame) => {
    bytes.set(frame);
    return filter.match(0, frame.length, frame.length);
  });
}

/** The recorded session as pcapng. */
function pcapng(): string {
  const name = file("session.pcapng");
  const chunks: Uint8Array[] = [];
  const writer = createCaptureWriter({ write: (bytes) => chunks.push(bytes.slice()), close: () => {} }, "pcapng");
  for (const [i, frame] of session.entries()) writer.write(frame, 0, frame.length, i, 0);
  writer.close();
  writeFileSync(name, Buffer.concat(chunks));
  return name;
}

describe("whoever reads the output", () => {
  test.each<[string, readonly string[]]>([
    ["help", ["--help"]],
    ["a command's help", ["start", "--help"]],
    ["devices", ["devices"]],
    ["filter", ["filter", "tcp", GUEST_SESSION]],
    ["start", ["start", ...NATIVE]],
  ])("may have gone: %s", async (_, args) => {
    expect(await unread("", args)).toEqual({ status: 0, stderr: "" });
    expect(await unread("2>&1", args)).toEqual({ status: 0, stderr: "" });
  });

  test("may have gone when something is wrong", async () => {
    expect(await unread("2>&1", ["frobnicate"])).toEqual({ status: 2, stderr: "" });
    expect(await unread("2>&1", ["filter", "tcp", file("none")])).toEqual({ status: 5, stderr: "" });
    expect(await unread("2>&1", [])).toEqual({ status: 2, stderr: "" });
  });

  test("may have gone while captures are still written", async () => {
    const [tx, out] = [file("gone-tx.pcap"), file("gone.pcap")];
    const args = ["start", ...NATIVE, "--netdev", `pcap,rx=${GUEST_SESSION},tx=${tx}`, "--client", `all,out=${out}`];
    expect(await unread("", args)).toEqual({ status: 0, stderr: "" });
    expect(framesOf(out)).toEqual(session);
    expect(framesOf(tx).length).toBe(session.length);
  });

  test.skipIf(!existsSync("/dev/full"))("may have no room", async () => {
    const full = (also: string, ...args: string[]): readonly [number | null, string] => {
      const { status, stderr } = spawnSync("bash", ["-c", `"$@" ${also}`, "-", process.execPath, BIN, ...args]);
      return [status, stderr.toString()];
    };
    const sentence = "korral: cannot write to standard output: no space is left\n";
    for (const args of [["devices"], ["start", ...NATIVE], ["--help"]]) {
      expect(full(">/dev/full", ...args), args[0]).toEqual([6, sentence]);
    }
    expect(full("2>/dev/full", "filter", "tcp", file("none"))).toEqual([5, ""]);
  });
});

test.skipIf(process.platform === "win32").each(["SIGINT", "SIGTERM"] as const)(
  "who waits for a pipe can be ended by %s",
  async (signal) => {
    const pipe = file(`pipe-${signal}`);
    execFileSync("mkfifo", [pipe]);
    for (const args of [
      ["filter", "", pipe],
      ["filter", "", "-"],
      ["modinfo", pipe],
    ]) {
      const child = startKorral(args);
      const again = setInterval(() => child.kill(signal), 700);
      const ended = await new Promise((resolve) => child.on("close", (status, by) => resolve(status ?? by)));
      clearInterval(again);
      expect(ended, args.join(" ")).toBe(signal);
    }
  },
);

describe("filter", () => {
  test.each([
    "",
    "tcp port 80",
    "udp",
    "arp",
    "ip6",
    "tcp[tcpflags] & tcp-syn != 0",
    "greater 1000",
    "host 203.0.113.1",
  ])("counts what '%s' accepts", async (expression) => {
    const expected = matching(expression).length;
    const { status, stdout, stderr } = await korral(["filter", expression, GUEST_SESSION]);
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(new RegExp(`^${expected} of ${session.length} packets match\n`));
    expect(stdout).toMatch(/\(000\)/);
  });

  test("as JSON", async () => {
    const { status, stdout } = await korral(["filter", "--json", "tcp port 80", GUEST_SESSION]);
    expect(status).toBe(0);
    const document = JSON.parse(stdout);
    expect(document).toMatchObject({ packets: session.length, matched: matching("tcp port 80").length });
    expect(document.program.length).toBe(compileFilter("tcp port 80").length);
  });

  test("writes what matches: pcap, pcapng, standard output", async () => {
    const expected = matching("udp");
    for (const name of ["out.pcap", "out.pcapng"]) {
      expect((await korral(["filter", "udp", GUEST_SESSION, "--out", file(name)])).status).toBe(0);
      expect(framesOf(file(name))).toEqual(expected);
    }
    const { status, bytes, stderr } = await korral(["filter", "udp", "-", "--out", "-"], pcap);
    expect([status, stderr]).toEqual([0, ""]);
    expect(Buffer.compare(bytes, readFileSync(file("out.pcap")))).toBe(0);
  });

  test("reads standard input and pcapng", async () => {
    const expected = `${matching("arp").length} of ${session.length} `;
    expect((await korral(["filter", "arp", "-"], pcap)).stdout).toContain(expected);
    expect((await korral(["filter", "arp", pcapng()])).stdout).toContain(expected);
  });

  test("a broken capture: where, and what was counted before", async () => {
    const broken = file("broken.pcap");
    writeFileSync(broken, pcap.subarray(0, 50_001));
    const { status, stdout, stderr } = await korral(["filter", "tcp", broken, "--out", file("before.pcap")]);
    expect(status).toBe(5);
    expect(stdout).toBe("");
    const before = framesOf(file("before.pcap"));
    expect(before.length).toBeGreaterThan(10);
    expect(stderr).toMatch(new RegExp(`^${before.length} of the \\d+ packets before the error match\n`));
    expect(stderr).toMatch(/broken at byte \d+/);
  });

  const bad: readonly [string, (name: (name: string) => string) => readonly string[], number, RegExp][] = [
    ["a syntax error", () => ["tcp prt 80", GUEST_SESSION], 2, /column 5/],
    ["a host name", () => ["host example.com", GUEST_SESSION], 2, /column/],
    ["no file", () => ["tcp"], 2, /missing required argument/],
    ["a file too many", () => ["tcp", GUEST_SESSION, "x"], 2, /too many arguments/],
    ["a file that is not there", (name) => ["tcp", name("absent")], 5, /no such file/],
    ["a directory", (name) => ["tcp", name("..")], 5, /directory/],
    ["an output in no directory", (name) => ["tcp", GUEST_SESSION, "--out", name("no/such/out")], 6, /create it first/],
    ["an output that is the input", () => ["tcp", GUEST_SESSION, "--out", GUEST_SESSION], 2, /also an input/],
  ];
  test.each(bad)("%s", async (_, args, expected, message) => {
    const { status, stdout, stderr } = await korral(["filter", ...args(file)]);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect([status, stdout]).toEqual([expected, ""]);
    expect(readFileSync(GUEST_SESSION).length).toBe(pcap.length);
  });

  test.each([
    [[0x1f, 0x8b, 8, 0], 4, /gzip/],
    [[1, 2, 3, 4], 5, /no capture/],
    [[], 5, /empty/],
  ])("a file that begins with %j", async (bytes, expected, message) => {
    const { status, stderr } = await korral(["filter", "tcp", "-"], Uint8Array.from(bytes));
    expect(stderr).toMatch(message);
    expect(status).toBe(expected);
  });

  test("a capture that is not Ethernet is named", async () => {
    const other = Uint8Array.from(pcap);
    other[20] = 105;
    const { status, stderr } = await korral(["filter", "tcp", "-"], other);
    expect(status).toBe(4);
    expect(stderr).toMatch(/802_?\.?11/);
  });

  test("whoever reads the output goes away: silence", async () => {
    const big = file("big.pcap");
    const records = pcap.subarray(24);
    writeFileSync(big, Buffer.concat([pcap, ...Array.from({ length: 20 }, () => records)]));
    for (const args of [
      ["filter", "", big, "--out", "-"],
      ["filter", "--json", "", big],
    ]) {
      const child = spawn(process.execPath, [BIN, ...args], { stdio: ["ignore", "pipe", "pipe"] });
      let stderr = "";
      child.stderr.on("data", (data) => {
        stderr += data;
      });
      child.stdout.destroy();
      const status = await new Promise((resolve) => child.on("close", resolve));
      expect([status, stderr]).toEqual([0, ""]);
    }
  });
});

describe("devices", () => {
  test("names what there is, with the ids that the models have", async () => {
    const rig = new Rig();
    const wire = new LoopWire();
    const models = {
      e1000: rig.pci.plug("e1000", (host) => new I82540em(host, { wire })),
      "korral-nic": rig.pci.plug("korral-nic", (host) => new KorralNic(host, { wire })),
      nvme: rig.pci.plug("nvme", (host) => new NvmeController(host, { disk: new MemoryDisk(4096) })),
    };
    const { status, stdout } = await korral(["devices", "--json"]);
    expect(status).toBe(0);
    const rows: { name: string; id: string }[] = JSON.parse(stdout);
    for (const [name, slot] of Object.entries(models)) {
      const id = [slot.configRead(0, 2), slot.configRead(2, 2)].map((half) => half.toString(16).padStart(4, "0"));
      expect(rows.find((row) => row.name === name)?.id).toBe(id.join(":"));
    }
    expect(rows.map((row) => row.name)).toContain("uart16550");
    const lines = (await korral(["devices"])).stdout.trimEnd().split("\n");
    expect(lines.map((line) => line.split(/\s+/)[0])).toEqual(rows.map((row) => row.name));
  });
});

describe("the command line", () => {
  test("says its version", async () => {
    const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
    for (const option of ["--version", "-V"]) {
      expect(await korral([option])).toMatchObject({ status: 0, stdout: `${manifest.version}\n`, stderr: "" });
    }
  });

  test.each([[["--help"]], [["start", "--help"]], [["help", "filter"]]])("explains itself: %j", async (args) => {
    const { status, stdout, stderr } = await korral(args);
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^Usage: korral/);
  });

  test.each([[[]], [["frobnicate"]], [["--frobnicate"]], [["filter", "--frobnicate"]], [["filter"]]])(
    "what cannot be understood is status 2, with a hint: %j",
    async (args) => {
      const { status, stdout, stderr } = await korral(args);
      expect([status, stdout]).toEqual([2, ""]);
      expect(stderr).toMatch(/help|Usage/);
      expect(stderr).not.toMatch(/\n\s+at /);
    },
  );

  test("a defect of its own is status 70 and one sentence, wherever it happens", async () => {
    const defect = 'setTimeout(() => { throw new TypeError("a defect") }, 3000)';
    const args = [
      "--import",
      `data:text/javascript,${encodeURIComponent(defect)}`,
      BIN,
      "start",
      ...NATIVE,
      "--terminal",
      "tcp:0",
    ];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.on("data", (data) => {
      stderr += data;
    });
    expect(await new Promise((resolve) => child.on("close", resolve))).toBe(70);
    expect(stderr).toMatch(/^korral: internal error: a defect$/m);
    expect(stderr).not.toMatch(/\n\s+at /);
  });

  test("the README's example of the library runs on this Node.js as it stands", () => {
    const root = fileURLToPath(new URL("../..", import.meta.url));
    const [, example = "throw 0"] = /```js\n(.*?)```/s.exec(readFileSync(`${root}/README.md`, "utf8")) ?? [];
    const code = `${example}\nconsole.log("read");`;
    const output = execFileSync(process.execPath, ["--input-type=module", "-e", code], { cwd: root, encoding: "utf8" });
    expect(output).toMatch(/^\{\s*maps: 0,[^}]*\}\nread\n$/);
    expect(output).not.toMatch(/: [1-9]/);
  });

  test("works from anywhere", () => {
    const options = { cwd: "/", encoding: "utf8" } as const;
    expect(execFileSync(process.execPath, [BIN, "start", ...NATIVE, "--json"], options)).toMatch(/^\{/);
  });
});
