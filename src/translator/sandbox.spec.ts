import { describe, expect, it } from "vitest";
import { ExitStatus } from "../util/errors.js";
import type { GuestAddress } from "../util/guest-address.js";
import { GuestFailure, Sandbox, type SandboxOptions } from "./sandbox.js";

const CODE = 0x1000_0000 as GuestAddress;
const at = (offset: number): GuestAddress => (CODE + offset) as GuestAddress;

/** A sandbox with these bytes as code, without symbols. */
function running(hex: string, options: SandboxOptions = {}): Sandbox {
  const sandbox = Sandbox.create({ space: "low", ...options });
  sandbox.map(CODE, 4096, { read: true, write: false, execute: true }, "code");
  sandbox.write(
    CODE,
    Uint8Array.from(hex.split(" "), (byte) => Number.parseInt(byte, 16)),
  );
  return sandbox;
}

function failureOf(sandbox: Sandbox): GuestFailure {
  try {
    sandbox.call(CODE);
  } catch (error) {
    if (error instanceof GuestFailure) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

describe("A sandbox", () => {
  it("passes six arguments, and returns RAX", () => {
    // lea rax, [rdi + 2 rsi]; lea rax, [rax + 4 rdx]; lea rax, [rax + 8 rcx]; sub rax, r8; xor rax, r9; ret
    const sandbox = running("48 8d 04 77 48 8d 04 90 48 8d 04 c8 4c 29 c0 4c 31 c8 c3");
    expect(sandbox.call(CODE, [1n, 2n, 3n, 4n, 5n, 6n])).toBe((1n + 4n + 12n + 32n - 5n) ^ 6n);
    expect(sandbox.call(CODE, [0n, 0n, 0n, 0n, 1n, 0n])).toBe(0xffff_ffff_ffff_ffffn);
    expect(() => sandbox.callAt(CODE, new Array(7).fill(0n))).toThrow("a call takes 6 arguments at most, not 7");
  });

  it("has its stack aligned and its direction flag clear, as functions expect", () => {
    // pushf; pop rax; and eax, 0x400; mov ecx, esp; and ecx, 15; add eax, ecx; ret
    const sandbox = running("9c 58 25 00 04 00 00 89 e1 83 e1 0f 01 c8 c3");
    sandbox.setRegister("rflags", 0x602n);
    expect(sandbox.call(CODE)).toBe(8n);
  });

  it("gives registers by name", () => {
    const sandbox = running("c3");
    sandbox.setRegister("r13", -2n);
    sandbox.setRegister("rip", 0xffff_ffff_8000_0000n);
    expect(sandbox.register("r13")).toBe(0xffff_ffff_ffff_fffen);
    expect(sandbox.registers).toMatchObject({ r13: 0xffff_ffff_ffff_fffen, rip: 0xffff_ffff_8000_0000n });
  });

  it("tells what it cannot do", () => {
    expect(failureOf(running("0f 0b")).failure.rule).toBe("invalid-opcode");
    expect(failureOf(running("31 c9 f7 f1"))).toMatchObject({ code: "divide-error", exitStatus: ExitStatus.findings });
    expect(failureOf(running("f4")).message).toMatch(/^hlt was executed/);
    expect(failureOf(running("eb fe", { budget: 5000 })).code).toBe("out-of-budget");
    const unknown = failureOf(running("d9 eb"));
    expect(unknown).toMatchObject({ code: "unsupported-instruction", exitStatus: ExitStatus.unsupported });
    expect(unknown.message).toContain("fldpi");
  });

  it("faults where it jumps, with all of the address", () => {
    const sandbox = running("ff e7");
    for (const target of [0n, 0x1234_5678n, 0x0123_4567_89ab_cdefn, 0xffff_ffff_ffff_fffdn]) {
      const stop = sandbox.callAt(CODE, [target]);
      expect(stop).toMatchObject({ kind: "fault", fault: { access: "execute", address: target } });
      expect(sandbox.register("rip")).toBe(target);
    }
  });

  it("says that its stack cannot be reached, when a call is made with it", () => {
    const sandbox = running("c3");
    const stops: unknown[] = [];
    sandbox.observe(CODE, () => {
      sandbox.setRegister("rsp", 0x10n);
      if (stops.length === 0) {
        stops.push(null);
        stops.push(sandbox.callAt(CODE));
      }
    });
    expect(sandbox.callAt(CODE)).toMatchObject({ kind: "fault" });
    expect(stops[1]).toMatchObject({ kind: "fault", fault: { access: "write", size: 8 } });
  });

  it("allocates with red zones around, and frees", () => {
    const sandbox = running("8a 07 c3");
    const sizes = [0, 1, 15, 16, 17, 64, 4096, 5000];
    const buffers = sizes.map((size) => sandbox.allocate(size));
    buffers.forEach((buffer, i) => {
      expect(buffer % 16).toBe(0);
      const ruleAt = (offset: number): string => {
        const stop = sandbox.callAt(CODE, [BigInt(buffer + offset)]);
        return stop.kind === "fault" ? stop.fault.rule : stop.kind;
      };
      const size = sizes[i];
      expect([ruleAt(-1), ruleAt(size), ruleAt(size + 63), ruleAt(-64)]).toEqual(new Array(4).fill("out-of-bounds"));
      if (size === 0) return;
      expect([ruleAt(0), ruleAt(size - 1)]).toEqual(["returned", "returned"]);
      sandbox.free(buffer);
      expect([ruleAt(0), ruleAt(size - 1)]).toEqual(["use-after-free", "use-after-free"]);
    });
    expect(() => sandbox.free(at(0x100_0000))).toThrow("is not the start of an allocation");
    expect(() => sandbox.free((buffers[4] + 1) as GuestAddress)).toThrow("is not the start of an allocation");
  });

  it("resumes only what was stopped, and runs from any state to any place", () => {
    const sandbox = running("ff c0 ff c0 ff c0 c3");
    expect(() => sandbox.resume()).toThrow("no call has stopped");
    sandbox.setRegister("rax", 10n);
    sandbox.setRegister("rip", BigInt(CODE));
    expect(sandbox.run(at(4))).toEqual({ kind: "returned" });
    expect(sandbox.register("rax")).toBe(12n);
    expect(sandbox.run(at(6))).toEqual({ kind: "returned" });
    expect(sandbox.register("rax")).toBe(13n);
  });

  it("refuses a stack that does not fit", () => {
    expect(() => Sandbox.create({ space: "low", stackBytes: 2 ** 30 })).toThrow(
      "a stack of 1073741824 bytes is too large",
    );
    const sandbox = running("48 89 e0 c3", { stackBytes: 0x4000 });
    const top = sandbox.call(CODE);
    expect(sandbox.memory.mappings.find(({ name }) => name === "stack")?.size).toBe(0x4000);
    expect(sandbox.callAt(CODE, []).kind).toBe("returned");
    expect(top % 16n).toBe(8n);
  });

  it("names symbols that are not there", () => {
    expect(() => running("c3").symbol("nobody")).toThrow("nobody is not there: nothing has been loaded");
  });
});
