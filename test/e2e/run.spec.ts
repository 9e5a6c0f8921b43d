import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { decompress } from "../../src/formats/compression.js";
import { debianKernel } from "../support/debian-kernel.js";
import { kernelDeb } from "../support/kernel-deb.js";
import { Broken, patchedModule, withOtherChecksum } from "../support/patched-module.js";
import { framesOf, GUEST_SESSION, korral, type Outcome, scratch, startKorral, unread } from "./korral.js";

const PATIENCE = 300_000;
const ARM64 = 183;

const file = scratch();
const session = framesOf(GUEST_SESSION);
const kernel = debianKernel("6.1", "amd64");
const { PATH, KORRAL_CACHE } = process.env;

afterEach(() => {
  process.env.PATH = PATH;
  if (KORRAL_CACHE === undefined) delete process.env.KORRAL_CACHE;
  else process.env.KORRAL_CACHE = KORRAL_CACHE;
});

/** What the command says besides what the kernel prints: a sentence, if it fails. */
const said = ({ stderr }: Outcome): string[] =>
  stderr.split("\n").filter((line) => !/^(\[ *\d+\.\d+\] .*)?$/.test(line));

describe.skipIf(typeof kernel === "string")("korral run", () => {
  const directory = typeof kernel === "string" ? "" : kernel.directory;
  const run = (...args: string[]): Promise<Outcome> => korral(["run", ...args, "--kernel", directory]);
  const moduleOf = (name: string): Uint8Array => {
    const path = (typeof kernel === "string" ? [] : kernel.modules).find((one) => one.endsWith(`/${name}.ko`));
    return decompress(readFileSync(path ?? ""), name);
  };
  const written = (name: string, bytes: Uint8Array): string => {
    writeFileSync(file(name), bytes);
    return file(name);
  };

  describe("drives an adapter", () => {
    test("with a capture each way", async () => {
      const rx = `pcap,rx=${GUEST_SESSION},tx=${file("tx.pcap")}`;
      const client = `all,out=${file("got.pcap")},send=${GUEST_SESSION}`;
      const outcome = await run("e1000", "--netdev", rx, "--client", client, "--json");
      expect([outcome.status, said(outcome)]).toEqual([0, []]);
      const report = JSON.parse(outcome.stdout);
      expect(report).toMatchObject({ driver: "e1000", device: "e1000", link: true, findings: [], dropped: 0 });
      expect(report.rx.packets).toBe(session.length);
      expect(report.tx.packets).toBe(session.length);
      expect(report.dma.maps).toBe(report.dma.unmaps);
      expect(Object.values(report.left)).toEqual(Object.values(report.left).map(() => 0));
      expect(framesOf(file("got.pcap"))).toEqual(session);
      const sent = session.map((frame) =>
        Uint8Array.from({ length: Math.max(60, frame.length) }, (_, i) => frame[i] ?? 0),
      );
      expect(framesOf(file("tx.pcap"))).toEqual(sent);
    });

    test("and says nothing to who has gone, with its captures complete", async () => {
      const args = ["run", "e1000", "--netdev", `pcap,rx=${GUEST_SESSION},tx=${file("gone-tx.pcap")}`];
      args.push("--client", `all,out=${file("gone.pcap")},send=${GUEST_SESSION}`, "--kernel", directory);
      expect(await unread("2>&1", args)).toEqual({ status: 0, stderr: "" });
      expect(framesOf(file("gone.pcap"))).toEqual(session);
      expect(framesOf(file("gone-tx.pcap")).length).toBe(session.length);
    });

    test("with a module from a file", async () => {
      const outcome = await run(written("own.ko", moduleOf("pcnet32")), "--duration", "1ms");
      expect([outcome.status, said(outcome)]).toEqual([0, []]);
      expect(outcome.stdout).toMatch(/^pcnet32 of 6\.1\S+ on pcnet: link up/);
      expect(outcome.stdout).toContain("left behind: nothing");
    });

    test("until it is interrupted, and unloads it then", async () => {
      const socket = file("wire.sock");
      const child = startKorral(["run", "e1000", "--netdev", `stream,listen=unix:${socket}`, "--kernel", directory]);
      let stdout = "";
      child.stdout?.on("data", (data) => {
        stdout += data;
      });
      await new Promise<void>((resolve) => {
        let stderr = "";
        child.stderr?.on("data", (data) => {
          stderr += data;
          if (stderr.includes("promiscuous")) resolve();
        });
      });
      const ended = new Promise<number | null>((resolve) => child.on("exit", resolve));
      child.kill("SIGINT");
      expect(await ended).toBe(0);
      expect(stdout).toContain("left behind: nothing");
      expect(stdout).toContain("0 findings");
      expect(existsSync(socket)).toBe(false);
    });
  });

  describe("refuses", () => {
    const cases: [string, () => string[], number, RegExp][] = [
      ["a driver that is not there", () => ["e1001"], 5, /has no module "e1001"; similar names: .*e1000/],
      ["a file that is not there", () => ["./nothing.ko"], 5, /cannot read \.\/nothing\.ko: /],
      [
        "a parameter that the driver has not",
        () => ["e1000", "sped=1000"],
        2,
        /^e1000 has no parameter sped: it has Speed/,
      ],
      [
        "a value that the driver does not take",
        () => ["e1000", "debug=much"],
        2,
        /^e1000 does not take debug=much: it is a number from -2147483648 to 2147483647$/,
      ],
      ["a parameter of an odd name", () => ["e1000", "__proto__=1"], 2, /^e1000 has no parameter __proto__/],
      ["a file whose name ends a line", () => ["./no\nthing.ko"], 5, /cannot read \.\/no/],
      ["a parameter without its value", () => ["e1000", "debug"], 2, /^e1000 does not take debug=: it is a number/],
      ["a list with one wrong value", () => ["e1000", "Speed=100,fast"], 2, /^e1000 does not take Speed=100,fast/],
      ["a device that is not there", () => ["e1000", "--device", "ne2k_pci"], 2, /there is no model 'ne2k_pci'/],
      [
        "an address that no adapter has",
        () => ["e1000", "--device", "e1000,mac=ff:ff:ff:ff:ff:ff"],
        2,
        /^--device e1000,mac=ff:ff:ff:ff:ff:ff: the hardware address must be six bytes and no multicast address$/,
      ],
      [
        "a revision that there is not",
        () => ["8139cp", "--device", "rtl8139,rev=0xffff"],
        2,
        /^--device rtl8139,rev=0xffff: the revision must be 0x10/,
      ],
      ["a driver that no device is for", () => ["ne2k-pci"], 4, /no model of a device that ne2k_pci drives/],
      [
        "what is no module",
        () => [written("text.ko", new TextEncoder().encode("text"))],
        4,
        /text\.ko is not an ELF file/,
      ],
      [
        "a module for another processor",
        () => {
          const bytes = moduleOf("e1000").slice();
          new DataView(bytes.buffer).setUint16(18, ARM64, true);
          return [written("arm.ko", bytes)];
        },
        4,
        /arm\.ko.*(x86-64|AArch64|machine 183)/,
      ],
      [
        "a module with one checksum changed",
        () => [written("crc.ko", withOtherChecksum(moduleOf("e1000"), "e1000", "register_netdev"))],
        5,
        /e1000 was built for another kernel .*it wants register_netdev with checksum 0x[0-9a-f]{8}, and .* has 0x[0-9a-f]{8}/,
      ],
      [
        "a module that needs one that is not there",
        () => {
          const text = Buffer.from(moduleOf("8139cp")).toString("latin1").replace("depends=mii", "depends=mij");
          return [written("needs.ko", Buffer.from(text, "latin1"))];
        },
        5,
        /no module "mij"/,
      ],
      [
        "a module that imports what nobody offers",
        () => {
          const text = Buffer.from(moduleOf("e1000"))
            .toString("latin1")
            .replaceAll("\0napi_gro_receive\0", "\0napi_gro_receivf\0");
          return [written("imports.ko", Buffer.from(text, "latin1"))];
        },
        4,
        /^e1000 imports napi_gro_receivf, which neither the kernel of .* nor a module that is loaded before it offers$/,
      ],
      ["an option that makes no sense", () => ["e1000", "--seed", "x"], 2, /^run: --seed x: /],
      ["a capture that is not there", () => ["e1000", "--netdev", `pcap,rx=${file("none.pcap")}`], 5, /none\.pcap/],
      ["a capture of a client that is not there", () => ["e1000", "--client", `a,send=${file("none")}`], 5, /none/],
      ["an output in no folder", () => ["e1000", "--client", `a,out=${file("none/x")}`], 6, /directory does not exist/],
      ["an output that is a folder", () => ["e1000", "--netdev", `pcap,tx=${file(".")}`], 6, /it is a directory/],
      [
        "two outputs of which one cannot be",
        () => [
          "e1000",
          "--netdev",
          "pcap",
          "--client",
          `a,out=${file("no.pcap")}`,
          "--client",
          `b,out=${file("none/x")}`,
        ],
        6,
        /directory does not exist/,
      ],
    ];
    test.each(cases)("%s: in a sentence and a document, before the kernel starts", async (_, args, status, message) => {
      const given = args();
      const outcome = await run(
        ...given,
        "--json",
        ...(given.includes("--netdev") ? [] : ["--netdev", `pcap,tx=${file("no.pcap")}`]),
      );
      expect(outcome.status).toBe(status);
      const { error, link, left, findings } = JSON.parse(outcome.stdout);
      expect({ error, link, left, findings }).toEqual({
        error: { code: expect.stringMatching(/^[a-z-]+$/), message: expect.stringMatching(message) },
        link: false,
        left: null,
        findings: [],
      });
      expect(outcome.stderr).toBe(`korral: ${error.message.replaceAll("\n", "\\x0a")}\n`);
      expect(existsSync(file("no.pcap"))).toBe(false);
    });

    test("and leaves captures alone that it does not get to", async () => {
      const broken = written(
        "start.ko",
        patchedModule(moduleOf("e1000"), "e1000.ko", "init_module", Broken.outOfMemory),
      );
      const [tx, out] = [written("before.pcap", Uint8Array.of(1, 2, 3)), file("never.pcap")];
      const outcome = await run(broken, "--netdev", `pcap,tx=${tx}`, "--client", `all,out=${out}`);
      expect([outcome.status, readFileSync(tx).length, existsSync(out)]).toEqual([1, 3, false]);
    });

    test("what there is one of is given once", async () => {
      const outcome = await run("e1000", "--device", "e1000", "--device", "pcnet");
      expect([outcome.status, outcome.stderr]).toEqual([
        2,
        "korral: run: --device is given twice; there is one of it\n",
      ]);
    });

    test.skipIf(!existsSync("/dev/full"))("a capture without room, which is not the driver's fault", async () => {
      const outcome = await run(
        "e1000",
        "--netdev",
        "pcap,tx=/dev/full",
        "--client",
        `a,send=${GUEST_SESSION}`,
        "--json",
      );
      const sentence = "cannot write /dev/full: no space is left: free some, or choose another place";
      const { error, findings } = JSON.parse(outcome.stdout);
      expect([outcome.status, said(outcome), error.message, findings]).toEqual([
        6,
        [`korral: ${sentence}`],
        sentence,
        [],
      ]);
    });

    test("without --json, standard output is empty", async () => {
      const outcome = await run("e1000", "sped=1");
      expect([outcome.status, outcome.stdout]).toEqual([2, ""]);
    });

    test("to bring a device up without the frames to pin that it takes", async () => {
      const outcome = await run("e1000", "--pin-bound", "3", "--json");
      const message = /^eth0: up failed with error 12, and 1 of its DMA mappings were refused: raise the bound/;
      const { error, dma, left } = JSON.parse(outcome.stdout);
      expect([outcome.status, error.code, said(outcome)]).toEqual([
        1,
        "driver-dma-refused",
        [`korral: ${error.message}`],
      ]);
      expect(error.message).toMatch(message);
      expect([dma.live, ...Object.values(left)].every((count) => count === 0)).toBe(true);
    });

    test("a device that the driver does not drive", async () => {
      const outcome = await run("e1000", "--device", "pcnet", "--json");
      const message =
        "e1000 registered no network device: it has not bound to the device at 0000:00:03.0, as it is for others: give it one of those";
      expect([outcome.status, said(outcome)]).toEqual([1, [`korral: ${message}`]]);
      const report = JSON.parse(outcome.stdout);
      expect(report).toMatchObject({ driver: "e1000", device: "pcnet", error: { code: "driver-no-network", message } });
      expect(Object.values(report.left)).toEqual(Object.values(report.left).map(() => 0));
      expect(report.dma.live).toBe(0);
    });
  });

  describe("survives a driver that", () => {
    const cases: [string, string, readonly number[], number, RegExp][] = [
      [
        "faults in its probe",
        "e1000_probe",
        Broken.nullPointer,
        3,
        /null pointer: read of 8 bytes at 0x0{15}8, at e1000_probe/,
      ],
      ["hangs in its probe", "e1000_probe", Broken.hang, 3, /budget of instructions is used up, at e1000_probe/],
      ["returns an error from its probe", "e1000_probe", Broken.outOfMemory, 1, /e1000 registered no network device/],
      [
        "returns an error from its initialisation",
        "init_module",
        Broken.outOfMemory,
        1,
        /e1000 does not start: .* -12/,
      ],
      ["faults in its interrupt handler", "e1000_intr", Broken.bug, 3, /invalid opcode at ud2, at e1000_intr/],
      ["faults when it is to send", "e1000_xmit_frame", Broken.bug, 3, /invalid opcode at ud2, at e1000_xmit_frame/],
      [
        "faults when it is to be unloaded",
        "cleanup_module",
        Broken.bug,
        3,
        /invalid opcode at ud2, at (cleanup_module|e1000_exit_module)/,
      ],
    ];
    test.each(cases)(
      "%s",
      async (_, symbol, code, status, message) => {
        const driver = written(`${symbol}.ko`, patchedModule(moduleOf("e1000"), "e1000.ko", symbol, code));
        const outcome = await run(driver, "--client", `all,send=${GUEST_SESSION}`, "--json");
        expect([outcome.status, said(outcome)]).toEqual([status, [expect.stringMatching(message)]]);
        const { error, findings, dma } = JSON.parse(outcome.stdout);
        expect(error.message).toMatch(message);
        expect(findings.length).toBe(status === 3 ? 1 : 0);
        expect(dma.live).toBe(0);
      },
      PATIENCE,
    );
  });
});

describe.skipIf(process.platform !== "linux")("without address space", () => {
  test.each([
    ["for WebAssembly at all", 8_000_000, /^korral: this host refuses address space .*ulimit -v unlimited/],
    ["for the machine", 14_000_000, /^korral: the host refuses 67108864 bytes of memory: .*ulimit -v/],
  ])("%s: a sentence", (_, kilobytes, message) => {
    const command = `ulimit -v ${kilobytes}; exec "$0" "$1" start --kernel none`;
    const args = ["-c", command, process.execPath, fileURLToPath(new URL("../../bin/korral.mjs", import.meta.url))];
    const { status, stdout, stderr } = spawnSync("bash", args, { encoding: "utf8" });
    expect([status, stdout, stderr.split("\n").length]).toEqual([6, "", 2]);
    expect(stderr).toMatch(message);
  });
});

describe("without a kernel", () => {
  beforeAll(() => {
    writeFileSync(file("arm64.deb"), kernelDeb({ release: "6.1.0-1-arm64", architecture: "arm64" }));
  });

  test.skipIf(existsSync("/lib/modules")).each([
    ["without a package client", null, /^korral: cannot fetch a kernel: there is no apt-get here\. .*--kernel/],
    [
      "without package lists",
      "E: The list of sources could not be read.",
      /^korral: cannot fetch a kernel: apt-\w+ failed: The list of sources could not be read; .*--kernel FILE\.deb$/,
    ],
  ])("korral run says how to get one: %s", async (_, says, message) => {
    process.env.KORRAL_CACHE = file("empty");
    process.env.PATH = "/nowhere";
    if (says !== null) {
      for (const name of ["apt-get", "apt-cache"]) {
        mkdirSync(file("bin"), { recursive: true });
        writeFileSync(join(file("bin"), name), `#!/bin/sh\necho "${says}" >&2\nexit 100\n`, { mode: 0o755 });
      }
      process.env.PATH = file("bin");
    }
    const outcome = await korral(["run", "e1000", "--json"]);
    const { error, kernel } = JSON.parse(outcome.stdout);
    expect([outcome.status, kernel, said(outcome).at(-1)]).toEqual([6, null, expect.stringMatching(message)]);
    expect(said(outcome).at(-1)).toBe(`korral: ${error.message}`);
  });

  test("one for another processor is refused", async () => {
    process.env.KORRAL_CACHE = file("other");
    const outcome = await korral(["run", "e1000", "--kernel", file("arm64.deb")]);
    expect([outcome.status, outcome.stdout, said(outcome)]).toEqual([4, "", [expect.stringMatching(/arm64/)]]);
  });

  test("a folder without one is refused", async () => {
    const outcome = await korral(["run", "e1000", "--kernel", join(file("x"), "..")]);
    expect([outcome.status, said(outcome)]).toEqual([5, [expect.stringMatching(/has no kernel image/)]]);
  });
});
