import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { FilterSyntaxError } from "../filter/errors.js";
import { EnvironmentError, InputError, UsageError } from "../util/errors.js";
import { checkInputs, checkNames, checkOutputs, clientFiles, parseClient } from "./client.js";
import { parseDuration } from "./duration.js";
import { filesOf, isInteractive, parseNetdev } from "./netdev.js";

describe("--netdev", () => {
  // biome-ignore format: a table
  test.each([
    ["pcap",                                   { kind: "pcap", rx: null, tx: null }],
    ["pcap,rx=a,,b.pcap,tx=c.pcapng",          { kind: "pcap", rx: "a,b.pcap", tx: "c.pcapng" }],
    ["stream,connect=unix:/run/x",             { kind: "stream", role: "connect", address: { path: "/run/x" } }],
    ["stream,connect=example.org:1234",        { kind: "stream", role: "connect", address: { host: "example.org", port: 1234 } }],
    ["stream,listen=[::1]:0",                  { kind: "stream", role: "listen", address: { host: "::1", port: 0 } }],
    ["dgram,local=127.0.0.1:1,remote=[::1]:2", { kind: "dgram", local: { host: "127.0.0.1", port: 1 }, remote: { host: "::1", port: 2 } }],
  ])("%s", (text, spec) => {
    expect(parseNetdev(text)).toEqual(spec);
    expect(isInteractive(parseNetdev(text))).toBe(spec.kind !== "pcap");
  });

  // biome-ignore format: a table
  test.each([
    ["",                                          /there is no ''/],
    ["tap",                                       /there is no 'tap'; possible are pcap/],
    ["pcap,in=x",                                 /there is no 'in'/],
    ["stream",                                    /either connect=ADDR or listen=ADDR/],
    ["stream,connect=:1,listen=:2",               /either connect=ADDR or listen=ADDR/],
    ["stream,connect=nowhere",                    /--netdev stream,connect=nowhere: 'nowhere' is no address/],
    ["stream,listen=192.0.2.1:80",                /not on the loopback/],
    ["dgram,local=:1",                            /'remote' is missing/],
    ["dgram,local=unix:/a,remote=unix:/b",        /no datagram sockets of the unix kind/],
  ])("not '%s'", (text, sentence) => {
    expect(() => parseNetdev(text)).toThrow(UsageError);
    expect(() => parseNetdev(text)).toThrow(sentence);
  });

  test("nobody is at port 0", () => {
    expect(() => parseNetdev("dgram,local=127.0.0.1:0,remote=127.0.0.1:0")).toThrow(/port 0/);
    expect(isInteractive(parseNetdev("dgram,local=127.0.0.1:0,remote=127.0.0.1:1"))).toBe(true);
  });

  test("files that are read and written", () => {
    expect(filesOf(parseNetdev("pcap,rx=a,tx=b"))).toEqual({ inputs: ["a"], outputs: ["b"] });
    expect(filesOf(parseNetdev("stream,listen=:0"))).toEqual({ inputs: [], outputs: [] });
  });
});

describe("--client", () => {
  const plain = { filter: "", receives: true, out: null, send: null, post: 128, address: null };

  // biome-ignore format: a table
  test.each([
    ["a",                                   { ...plain, name: "a" }],
    ["a,filter=tcp[0:2] = 80,out=o,post=1", { ...plain, name: "a", filter: "tcp[0:2] = 80", out: "o", post: 1 }],
    ["a,send=s",                            { ...plain, name: "a", send: "s", receives: false }],
    ["a,send=s,out=o",                      { ...plain, name: "a", send: "s", out: "o" }],
    ["echo,ip=10.0.2.2/24",                 { ...plain, name: "echo", filter: "arp or dst host 10.0.2.2", address: { address: 0x0a00_0202, prefix: 24 } }],
    ["echo,ip=10.0.2.2,filter=icmp",        { ...plain, name: "echo", filter: "icmp", address: { address: 0x0a00_0202, prefix: 24 } }],
  ])("%s", (text, spec) => {
    expect(parseClient(text)).toEqual(spec);
  });

  test.each(["", "a,post=0", "a,post=16385", "a,post=x", "a,ip=10.0.2.0/24", "a,size=3", "a\x1b[m", "a\nb"])(
    "not '%s'",
    (text) => {
      expect(() => parseClient(text)).toThrow(UsageError);
    },
  );

  test("a filter that is none is found before anything happens", () => {
    expect(() => parseClient("a,filter=tcp tcp")).toThrow(FilterSyntaxError);
  });

  test("names and outputs are each their own", () => {
    const [a, b] = ["a,out=x", "b,out=./x,send=y"].map(parseClient);
    expect(clientFiles([a, b])).toEqual({ inputs: ["y"], outputs: ["x", "./x"] });
    expect(() => checkNames("start", [a, b])).not.toThrow();
    expect(() => checkNames("start", [a, b, a])).toThrow(/two clients are called 'a'/);
    expect(() => checkOutputs("start", ["x", "./x"], [])).toThrow(/would be written twice/);
    expect(() => checkOutputs("start", ["-"], [])).toThrow(UsageError);
  });

  test("captures are looked at, and left alone", () => {
    const folder = mkdtempSync(join(tmpdir(), "korral-netdev-"));
    try {
      const [here, link, other, none] = ["here", "link", "other", "none/x"].map((name) => join(folder, name));
      writeFileSync(here, "precious");
      symlinkSync("here", link);
      expect(() => checkOutputs("run", [here, other], [])).not.toThrow();
      expect(() => checkOutputs("run", [here, link], [])).toThrow(/would be written twice/);
      expect(() => checkOutputs("run", [other, none], [])).toThrow(EnvironmentError);
      expect(() => checkOutputs("run", [""], [])).toThrow(/has no name/);
      expect(() => checkOutputs("run", [link], [here])).toThrow(/is also an input/);
      expect(() => checkInputs("run", [other])).toThrow(/no such file/);
      expect(() => checkInputs("run", [here])).toThrow(InputError);
      expect(() => checkInputs("run", ["-"])).not.toThrow();
      expect(() => checkInputs("run", ["-", "-"])).toThrow(/standard input can be read once/);
      expect([readdirSync(folder), readFileSync(here, "utf8")]).toEqual([["here", "link"], "precious"]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

test("durations", () => {
  expect(["500ms", "5s", "5", "1.5m", "24h"].map((text) => parseDuration("--duration", text))).toEqual([
    0.5e9, 5e9, 5e9, 90e9, 86_400e9,
  ]);
  for (const text of ["", "0s", "-1s", "5 s", "1d", "25h", "1e3s"]) {
    expect(() => parseDuration("--duration", text)).toThrow(UsageError);
  }
});
