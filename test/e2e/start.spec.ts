import type { ChildProcess } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { compileFilter } from "../../src/filter/compile.js";
import { PacketFilter } from "../../src/filter/packet-filter.js";
import { debianKernel } from "../support/debian-kernel.js";
import { noise } from "../support/native.js";
import { framesOf, GUEST_SESSION, korral, NATIVE, scratch, startKorral } from "./korral.js";

const file = scratch();
const session = framesOf(GUEST_SESSION);

/** Frames of the recorded session that one filter accepts and the earlier ones do not. */
function share(filters: readonly string[]): Uint8Array[][] {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const bytes = new Uint8Array(memory.buffer);
  const compiled = filters.map((filter) => new PacketFilter(compileFilter(filter), memory));
  const shares: Uint8Array[][] = filters.map(() => []);
  for (const frame of session) {
    bytes.set(frame);
    const at = compiled.findIndex((filter) => filter.match(0, frame.length, frame.length));
    if (at >= 0) shares[at].push(frame);
  }
  return shares;
}

/** As an adapter pads them. */
function padded(frames: readonly Uint8Array[]): Buffer {
  return Buffer.concat(frames.map((frame) => Buffer.concat([frame], Math.max(60, frame.length))));
}

describe("all cases", () => {
  test("for people", async () => {
    const { status, stdout, stderr } = await korral(["start", ...NATIVE]);
    expect(status).toBe(0);
    expect(stderr).toBe("");
    for (const title of ["Case 1", "Case 2", "Disk special case", "Case 3:", "Case 3b", "Machine"]) {
      expect(stdout).toContain(title);
    }
    expect(stdout).toMatch(/frames pinned: 0 now/);
    expect(stdout).toMatch(/I\/O MMU: (\d+) maps, \1 unmaps, 0 live, 0 accesses refused/);
    expect(stdout).not.toContain("\u001b");
  });

  const kernel = debianKernel("6.1", "amd64");
  test.skipIf(typeof kernel === "string")(
    "with the stock driver of a kernel",
    async () => {
      const directory = typeof kernel === "string" ? "" : kernel.directory;
      const { status, stdout } = await korral(["start", "--json", "--kernel", directory]);
      expect(status).toBe(0);
      const { linux, received } = JSON.parse(stdout);
      expect(linux).toMatchObject({ driver: "e1000", link: true, received: session.length, live: 0, findings: [] });
      expect(linux.maps).toBeGreaterThan(0);
      expect(linux.zeroCopy).toBeGreaterThan(0);
      expect(linux.sent).toBe(linux.copied + linux.zeroCopy);
      expect(Object.values(linux.left)).toEqual(Object.values(linux.left).map(() => 0));
      const delivered = (all: { delivered: number }[]): number[] => all.map((one) => one.delivered);
      expect(delivered(linux.clients)).toEqual(delivered(received.clients));
    },
    120_000,
  );

  test("for programs: one JSON document, and the same seed gives the same", async () => {
    const [first, second] = await Promise.all([
      korral(["start", ...NATIVE, "--json", "--seed", "5"]),
      korral(["start", ...NATIVE, "--json", "--seed", "5"]),
    ]);
    expect([first.status, first.stderr]).toEqual([0, ""]);
    expect(second.stdout).toBe(first.stdout);
    expect(first.stdout.trimEnd().split("\n").length).toBe(1);
    const document = JSON.parse(first.stdout);
    const shares = share(["tcp port 80", "port domain or port bootps", ""]).map((frames) => frames.length);
    for (const kind of ["received", "offloaded"]) {
      expect(document[kind]).toMatchObject({ frames: session.length, unclaimed: 0, sentBack: shares[0] });
      const delivered = document[kind].clients.map((client: { delivered: number }) => client.delivered);
      expect(delivered).toEqual(shares);
    }
    expect(document.offloaded.copies).toBe(0);
    expect(document.disk).toMatchObject({ differing: 0, copies: 0, reads: 16, writes: 16 });
    expect(document.objects).toMatchObject({ objects: 24, invokers: 48, fetched: 24, errors: 0 });
    expect(document.terminal.answered).toBe("A TERMINAL LINE IS SMALL DATA AT A LOW RATE\r\n");
    expect(document.pins.pinned).toBe(0);
    expect(document.pins.peak).toBeLessThanOrEqual(document.pins.bound);
    expect(document.iommu).toMatchObject({ live: 0, faults: 0 });
  });
});

describe("frames", () => {
  test("what each client receives and what is sent back are recorded, byte for byte", async () => {
    const web = file("web.pcap");
    const rest = file("rest,with,commas.pcapng");
    const tx = file("tx.pcap");
    const { status, stderr } = await korral([
      "start",
      ...NATIVE,
      "--netdev",
      `pcap,rx=${GUEST_SESSION},tx=${tx}`,
      "--client",
      `web,filter=tcp port 80,out=${web}`,
      "--client",
      `rest,filter=ip and (udp or icmp or tcp[0:2] = 22),out=${rest.replaceAll(",", ",,")}`,
    ]);
    expect([status, stderr]).toEqual([0, ""]);
    const shares = share(["tcp port 80", "ip and (udp or icmp or tcp[0:2] = 22)"]);
    expect(Buffer.compare(padded(framesOf(web)), padded(shares[0]))).toBe(0);
    expect(Buffer.compare(padded(framesOf(rest)), padded(shares[1]))).toBe(0);
    expect(Buffer.compare(padded(framesOf(tx)), padded(shares[0]))).toBe(0);
  });

  test("a broken capture: what came before the damage arrives, then the error names the byte", async () => {
    const broken = file("broken.pcap");
    const bytes = readFileSync(GUEST_SESSION);
    const cut = bytes.subarray(0, 100_003);
    writeFileSync(broken, cut);
    const out = file("before.pcap");
    const { status, stderr, stdout } = await korral([
      "start",
      ...NATIVE,
      "--netdev",
      `pcap,rx=${broken}`,
      "--client",
      `all,out=${out}`,
    ]);
    expect(status).toBe(5);
    expect(stderr).toMatch(/broken at byte \d+/);
    const frames = framesOf(out);
    expect(stderr).toContain(`${frames.length} frames before the damage`);
    expect(frames.length).toBeGreaterThan(50);
    expect(Buffer.compare(padded(frames), padded(session.slice(0, frames.length)))).toBe(0);
    expect(stdout).not.toContain("Case 3b");
  });

  test("a capture of something else than Ethernet is refused by name", async () => {
    const other = file("other.pcap");
    const bytes = Uint8Array.from(readFileSync(GUEST_SESSION));
    bytes[20] = 127;
    writeFileSync(other, bytes);
    const { status, stderr, stdout } = await korral(["start", ...NATIVE, "--netdev", `pcap,rx=${other}`]);
    expect(status).toBe(4);
    expect(stderr).toMatch(/IEEE802_11|802\.11|127/);
    expect(stdout).toBe("");
  });

  test("frames too short or too long for Ethernet are left out, with a word about it", async () => {
    const odd = file("odd.pcap");
    const records = [10, 60, 17_000, 13, 14].map((length) => {
      const record = Buffer.alloc(16 + length);
      record.writeUInt32LE(length, 8);
      record.writeUInt32LE(length, 12);
      return record;
    });
    writeFileSync(odd, Buffer.concat([readFileSync(GUEST_SESSION).subarray(0, 24), ...records]));
    const { status, stdout, stderr } = await korral(["start", ...NATIVE, "--json", "--netdev", `pcap,rx=${odd}`]);
    expect(status).toBe(0);
    expect(JSON.parse(stdout).received).toMatchObject({ frames: 2, tooShort: 2, tooLong: 1 });
    expect(stderr).toMatch(/left out/);
  });
});

describe("the disk", () => {
  test("a writable image is what it was before", async () => {
    const image = file("disk.img");
    const content = noise(3 * 1024 * 1024 + 512, 3);
    writeFileSync(image, content);
    const { status, stdout } = await korral(["start", ...NATIVE, "--json", "--image", image]);
    expect(status).toBe(0);
    expect(JSON.parse(stdout).disk).toMatchObject({ sectors: 6145, readOnly: false, differing: 0, copies: 0 });
    expect(Buffer.compare(readFileSync(image), content)).toBe(0);
  });

  test.each([512, 4096, 4608])("a tiny one of %i bytes", async (size) => {
    const image = file(`tiny-${size}.img`);
    writeFileSync(image, noise(size));
    const { status, stderr } = await korral(["start", ...NATIVE, "--image", image]);
    expect([status, stderr]).toEqual([0, ""]);
    expect(Buffer.compare(readFileSync(image), noise(size))).toBe(0);
  });

  test("a read-only one is not written", async (context) => {
    const image = file("read-only.img");
    writeFileSync(image, noise(1024 * 1024));
    chmodSync(image, 0o444);
    const { status, stdout } = await korral(["start", ...NATIVE, "--json", "--image", image]);
    expect(status).toBe(0);
    // To root every file is writable.
    if (process.getuid?.() === 0) context.skip();
    expect(JSON.parse(stdout).disk).toMatchObject({ readOnly: true, writes: 0, differing: 0 });
  });

  test.each([
    ["half a sector", 700],
    ["nothing", 0],
  ])("an image of %s is refused", async (_, size) => {
    const image = file(`bad-${size}.img`);
    writeFileSync(image, new Uint8Array(size));
    const { status, stderr } = await korral(["start", ...NATIVE, "--image", image]);
    expect(status).toBe(5);
    expect(stderr).toMatch(/^korral: .*sector/);
  });
});

describe("limits", () => {
  test.each([
    ["0", 2],
    ["1", 2],
    ["100", 2],
    ["600", 2],
    ["1000", 0],
    ["4000", 0],
  ])("a pin bound of %s frames: works, or says what is missing", async (bound, expected) => {
    const { status, stderr } = await korral(["start", ...NATIVE, "--pin-bound", bound]);
    expect(status).toBe(expected);
    expect(stderr).toMatch(expected === 0 ? /^$/ : /^korral: .*(bound|budget).*raise/);
    expect(stderr).not.toMatch(/\n\s+at /);
  });

  test.each(["1MiB", "100KiB"])("%s of memory: says what is missing", async (memory) => {
    const { status, stderr } = await korral(["start", ...NATIVE, "--memory", memory]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/^korral: /);
  });

  test("8 MiB are enough for everything", async () => {
    const { status, stdout } = await korral(["start", ...NATIVE, "--json", "--memory", "8MiB"]);
    expect(status).toBe(0);
    expect(JSON.parse(stdout).received.frames).toBe(session.length);
  });
});

describe("what is wrong is found before anything happens", () => {
  const image = () => {
    const name = file("precious.img");
    writeFileSync(name, noise(64 * 1024));
    return name;
  };
  const cases: readonly [string, () => readonly string[], number, RegExp][] = [
    ["an option that does not exist", () => ["--frobnicate"], 2, /unknown option/],
    ["an argument too many", () => ["now"], 2, /too many arguments/],
    ["a filter with an error", () => ["--client", "a,filter=tcp prt 80"], 2, /column 5/],
    ["a client without a name", () => ["--client", ",filter=tcp"], 2, /begin with a name/],
    ["a client's key that does not exist", () => ["--client", "a,fliter=tcp"], 2, /no 'fliter'.*filter, out/],
    ["a key twice", () => ["--client", "a,filter=tcp,filter=udp"], 2, /twice/],
    ["a comma that is not doubled", () => ["--client", "a,filter=vlan 1,2"], 2, /,,/],
    ["another kind of netdev", () => ["--netdev", "user,rx=x"], 2, /pcap/],
    ["a capture that is not there", () => ["--netdev", `pcap,rx=${file("absent")}`], 5, /no such file/],
    ["a capture that is none", () => ["--netdev", `pcap,rx=${image()}`], 5, /no capture/],
    ["standard input", () => ["--netdev", "pcap,rx=-"], 2, /'-'/],
    ["standard output", () => ["--client", "a,out=-"], 2, /'-'/],
    ["one file for two", () => ["--client", `a,out=${file("x")}`, "--client", `b,out=${file("x")}`], 2, /twice/],
    ["a bound that is no number", () => ["--pin-bound", "many"], 2, /whole number/],
    ["a bound that is too large", () => ["--pin-bound", "99999999999"], 2, /from 0 to 999999999/],
    ["two of what there is one of", () => ["--image", "a.img", "--image", "b.img"], 2, /--image is given twice/],
    ["two clients of one name", () => ["--client", "a,filter=tcp", "--client", "a"], 2, /two clients are called 'a'/],
    ["a size that is none", () => ["--memory", "lots"], 2, /not a size/],
    ["a terminal of another kind", () => ["--terminal", "serial"], 2, /tty/],
    ["a terminal for everybody", () => ["--terminal", "tcp:0.0.0.0:0"], 2, /loopback/],
  ];
  test.each(cases)("%s", async (_, args, expected, message) => {
    const { status, stderr, stdout } = await korral(["start", ...NATIVE, ...args()]);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n\s+at /);
    expect(status).toBe(expected);
    expect(stdout).toBe("");
  });

  test("with --json, a document says it, too", async () => {
    const { status, stdout, stderr } = await korral([
      "start",
      ...NATIVE,
      "--json",
      "--client",
      `a,out=${file("none/x")}`,
    ]);
    const { error, ...cases } = JSON.parse(stdout);
    expect([status, Object.keys(cases), error.code]).toEqual([6, [], "file-missing"]);
    expect(stderr).toBe(`korral: ${error.message}\n`);
  });

  test("with --json, what goes wrong later is in one document with the cases before", async () => {
    const broken = file("broken.pcap");
    const whole = readFileSync(GUEST_SESSION);
    writeFileSync(broken, whole.subarray(0, whole.length - 5));
    const { status, stdout } = await korral(["start", ...NATIVE, "--json", "--netdev", `pcap,rx=${broken}`]);
    const { error, ...cases } = JSON.parse(stdout);
    expect([status, error.message]).toEqual([5, expect.stringMatching(/broken at byte/)]);
    expect(Object.keys(cases)).toContain("terminal");
  });

  test("an output that is an input is refused, and is still there", async () => {
    const precious = image();
    const copy = file("copy.pcap");
    copyFileSync(GUEST_SESSION, copy);
    const runs = [
      ["--image", precious, "--client", `a,out=${precious}`],
      ["--netdev", `pcap,rx=${copy},tx=${copy}`],
    ];
    for (const args of runs) {
      const { status, stderr } = await korral(["start", ...NATIVE, ...args]);
      expect(stderr).toMatch(/is also an input/);
      expect(status).toBe(2);
    }
    expect(Buffer.compare(readFileSync(precious), noise(64 * 1024))).toBe(0);
    expect(statSync(copy).size).toBe(statSync(GUEST_SESSION).size);
  });

  test("an output that cannot be written: no stack trace", async (context) => {
    if (!existsSync("/dev/full")) context.skip();
    const { status, stderr } = await korral(["start", ...NATIVE, "--client", "a,out=/dev/full"]);
    expect(status).toBe(6);
    expect(stderr).toBe("korral: cannot write /dev/full: no space is left: free some, or choose another place\n");
  });
});

test("a capture of 200000 frames: every one arrives", async () => {
  const big = file("big.pcap");
  const count = 200_000;
  const record = 16 + 60;
  const bytes = Buffer.alloc(24 + count * record);
  readFileSync(GUEST_SESSION).copy(bytes, 0, 0, 24);
  for (let i = 0; i < count; i++) {
    const at = 24 + i * record;
    bytes.writeUInt32LE(Math.floor(i / 50_000), at);
    bytes.writeUInt32LE((i % 50_000) * 20, at + 4);
    bytes.writeUInt32LE(60, at + 8);
    bytes.writeUInt32LE(60, at + 12);
    bytes.writeUInt16BE(0x88b5, at + 16 + 12);
    bytes.writeUInt32BE(i, at + 16 + 14);
  }
  writeFileSync(big, bytes);
  const args = ["--client", "none,filter=ip", "--client", "all"];
  const { status, stdout } = await korral(["start", ...NATIVE, "--json", "--netdev", `pcap,rx=${big}`, ...args]);
  expect(status).toBe(0);
  const { received, offloaded } = JSON.parse(stdout);
  for (const { clients } of [received, offloaded]) {
    expect(clients[1]).toMatchObject({ delivered: count, full: 0, gone: 0 });
  }
});

describe("the terminal", () => {
  /** The port that a running command has told. */
  function portOf(child: ChildProcess): Promise<number> {
    return new Promise((resolve, reject) => {
      let told = "";
      child.stderr?.on("data", (data) => {
        told += data;
        const match = /127\.0\.0\.1:(\d+)/.exec(told);
        if (match !== null) resolve(Number(match[1]));
      });
      child.on("exit", () => reject(new Error(`it ended: ${told}`)));
    });
  }

  function finished(child: ChildProcess): Promise<{ status: number | null; stdout: string }> {
    let stdout = "";
    child.stdout?.on("data", (data) => {
      stdout += data;
    });
    return new Promise((resolve) => child.on("close", (status) => resolve({ status, stdout })));
  }

  /** Talks to a port until the other side hangs up. @param leave how the client goes */
  function talk(port: number, said: string | Uint8Array, leave: "waits" | "ends" | "breaks off"): Promise<string> {
    return new Promise((resolve, reject) => {
      let heard = "";
      const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true }, () => {
        if (leave === "ends") socket.end(said);
        else socket.write(said);
      });
      socket.on("data", (data) => {
        heard += data;
        if (leave === "breaks off") socket.destroy();
      });
      socket.on("error", reject);
      socket.on("end", () => socket.end());
      socket.on("close", () => resolve(heard));
    });
  }

  const cases = [
    ["ends with Ctrl-D", "hello\rworld\r\u0004", "waits", "HELLO\r\nWORLD\r\n"],
    ["has no more to say", "hello\nworld", "ends", "HELLO\r\nWORLD\r\n"],
    ["breaks off", "hello\r\n", "breaks off", "HELLO\r\n"],
  ] as const;
  test.each(cases)("over TCP, with a client that %s", async (_, said, leave, answer) => {
    const child = startKorral(["start", ...NATIVE, "--json", "--terminal", "tcp:127.0.0.1:0"]);
    const result = finished(child);
    expect(answer.startsWith(await talk(await portOf(child), said, leave))).toBe(true);
    const { status, stdout } = await result;
    expect(status).toBe(0);
    expect(JSON.parse(stdout).terminal.lines).toBe(answer.split("\n").length - 1);
  });

  test("over TCP, a large paste: nothing is lost on the way", async () => {
    const child = startKorral(["start", ...NATIVE, "--json", "--terminal", "tcp:0"]);
    const result = finished(child);
    const lines = Array.from({ length: 300 }, (_, i) => `line number ${i} of the paste`);
    const heard = await talk(await portOf(child), `${lines.join("\r")}\r\u0004`, "waits");
    expect(heard).toBe(lines.map((line) => `${line.toUpperCase()}\r\n`).join(""));
    expect((await result).status).toBe(0);
  });

  test("a port that is taken", async () => {
    const child = startKorral(["start", ...NATIVE, "--terminal", "tcp:0"]);
    const result = finished(child);
    const port = await portOf(child);
    const { status, stderr } = await korral(["start", ...NATIVE, "--terminal", `tcp:127.0.0.1:${port}`]);
    expect(status).toBe(6);
    expect(stderr).toMatch(/port is taken/);
    await talk(port, "\u0004", "waits");
    expect((await result).status).toBe(0);
  });

  test("on standard input: the end of input is the end of the conversation", async () => {
    const { status, stdout } = await korral(["start", ...NATIVE, "--terminal", "tty"], "gr\u00fc\u00dfe\nno newline");
    expect(status).toBe(0);
    expect(stdout.startsWith("GR\u00dcSSE\r\nNO NEWLINE\r\n")).toBe(true);
    const silent = await korral(["start", ...NATIVE, "--terminal", "tty"], "");
    expect(silent.status).toBe(0);
  });
});

describe("limits and interruption", () => {
  test.each([
    [["--memory", "64K"], /--memory 64K is too little: .* frames were asked for/],
    [["--memory", "1MiB"], /--memory 1MiB is too little: .* frames to pin/],
    [["--pin-bound", "100"], /--pin-bound 100 is too low: .* frames to pin/],
  ])("%j: usage, and the option is named", async (args, sentence) => {
    const { status, stderr } = await korral(["start", ...NATIVE, ...args]);
    expect([status, stderr]).toEqual([2, expect.stringMatching(sentence)]);
  });

  test.each(["SIGINT", "SIGTERM"] as const)("%s ends it with status 130 and a word", async (signal) => {
    const child = startKorral(["start", ...NATIVE, "--terminal", "tcp:127.0.0.1:0"]);
    let stderr = "";
    child.stderr?.on("data", (data) => {
      stderr += data;
      if (!child.killed && /waits at/.test(stderr)) child.kill(signal);
    });
    expect(await new Promise((resolve) => child.on("close", resolve))).toBe(130);
    expect(stderr).toMatch(/^korral: interrupted$/m);
  });
});
