import { describe, expect, it } from "vitest";
import { ExitStatus } from "../util/errors.js";
import { compileFilter } from "./compile.js";
import { disassemble } from "./disassemble.js";
import { FilterSyntaxError } from "./errors.js";

function refusal(expression: string): FilterSyntaxError {
  try {
    compileFilter(expression);
  } catch (error) {
    if (error instanceof FilterSyntaxError) return error;
    throw error;
  }
  throw new Error(`${expression} was compiled`);
}

describe("compileFilter", () => {
  it("compiles to the known program for the textbook example", () => {
    expect(disassemble(compileFilter("ip", { snapLength: 65535 }))).toBe(
      [
        "(000) ldh      [12]",
        "(001) jeq      #0x800           jt 2\tjf 3",
        "(002) ret      #65535",
        "(003) ret      #0",
      ].join("\n"),
    );
  });

  it("accepts everything without an expression", () => {
    expect(disassemble(compileFilter(" \t\n"))).toBe("(000) ret      #262144");
  });

  it("shares loads and jumps past tests whose outcome is known", () => {
    const loads = compileFilter("ip host 10.0.0.1 or ip host 10.0.0.2").filter(
      ({ code, k }) => code === 0x28 && k === 12,
    );
    expect(loads).toHaveLength(1);
  });

  it("points at the column", () => {
    const columns: [string, number][] = [
      ["tcp host", 9],
      ["host", 5],
      ["tcp port nosuchport", 10],
      ["tcp and net 10.1.2.3/8", 13],
      ["ip and vlan 5000", 8],
      ["tcp or (udp and", 16],
      ["udp port 53 or gateway 10.0.0.1", 16],
      ["len = 0xfffffffff", 7],
      ["tcp \u{1F600}", 5],
      ["ip[0:3] = 5", 1],
      ["1 / 0 = len", 3],
    ];
    for (const [expression, column] of columns)
      expect([expression, refusal(expression).column]).toEqual([expression, column]);
  });

  it("shows the place in the message, also in a long expression", () => {
    const short = refusal("tcp port nosuchport");
    expect(short.message.split("\n").slice(1)).toEqual(["  tcp port nosuchport", "           ^"]);
    expect([short.code, short.exitStatus]).toEqual(["filter-syntax", ExitStatus.usage]);
    const [, quoted, caret] = refusal(`${"tcp or ".repeat(100)}nosuchword${" or udp".repeat(100)}`).message.split("\n");
    expect(quoted.slice(caret.indexOf("^"))).toMatch(/^nosuchword/);
    expect(quoted.length).toBeLessThan(130);
  });

  it("says what cannot be answered, and why", () => {
    expect(refusal("inbound").message).toContain("live capture");
    expect(refusal("ether src gateway").code).toBe("filter-unsupported");
    expect(refusal("host example.org").code).toBe("filter-host-name");
    expect(refusal("ip and arp").code).toBe("filter-accepts-nothing");
  });

  it("limits what is nested or long, without overflowing the stack", () => {
    expect(refusal(`${"(".repeat(100_000)}tcp`).code).toBe("filter-too-deep");
    expect(refusal(`${"not ".repeat(100_000)}tcp`).code).toBe("filter-too-deep");
    expect(refusal(`${"-".repeat(100_000)}len = 1`).code).toBe("filter-too-deep");
    expect(refusal(`1${" ^ len".repeat(5000)} = 1`).code).toBe("filter-too-deep");
    expect(refusal(`${"tcp or ".repeat(3000)}udp`).code).toBe("filter-too-complex");
    expect(refusal(" ".repeat(2_000_000)).code).toBe("filter-too-complex");
    expect(compileFilter(`${"(".repeat(900)}tcp${")".repeat(900)}`)).toEqual(compileFilter("tcp"));
    expect(compileFilter(`len${" + 1".repeat(3000)} > 5`).length).toBeGreaterThan(3000);
  });

  it("takes scratch memory that nothing wrote for a place outside the packet", () => {
    expect(disassemble(compileFilter("geneve or arp"))).toMatch(/^\(000\) ldx {6}#0x8000000.\n\(001\) stx/);
    expect(disassemble(compileFilter("geneve and arp"))).toMatch(/^\(000\) ldh {6}\[12\]/);
  });

  it("refuses a snapshot length that keeps nothing", () => {
    for (const snapLength of [0, -1, 1.5, Number.NaN, 2 ** 31])
      expect(() => compileFilter("ip", { snapLength })).toThrow(FilterSyntaxError);
  });
});
