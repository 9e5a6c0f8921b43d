import { afterAll, describe, expect, it } from "vitest";
import type { Sandbox } from "../../src/translator/sandbox.js";
import type { GuestAddress } from "../../src/util/guest-address.js";
import { isInstalled, Workshop } from "../support/binutils.js";
import { CHECKED, PLAIN, sandboxOf, type Variant } from "./programs/guest.js";
import { assembled, compiled } from "./programs/objects.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

/** Where nothing can be mapped, as the registers of devices are for drivers in the high space. */
const BAR = 0xffff_c900_0000_0000n;

const FUNCTIONS = {
  read1: "movzx eax, byte ptr [rdi]\nret",
  read2: "movzx eax, word ptr [rdi]\nret",
  read4: "mov eax, [rdi]\nret",
  read8: "mov rax, [rdi]\nret",
  signed1: "movsx rax, byte ptr [rdi + rsi]\nret",
  write1: "mov [rdi], sil\nret",
  write2: "mov [rdi], si\nret",
  write4: "mov [rdi], esi\nret",
  write8: "mov [rdi], rsi\nret",
  add4: "add dword ptr [rdi + 4], esi\nmov eax, [rdi + 4]\nret",
  or8: "or qword ptr [rdi], rsi\nret",
  exchange: "mov eax, esi\nxchg [rdi], eax\nret",
  pushes: "push qword ptr [rdi]\npop rax\nret",
  copies: "push rdi\nmov rdi, rsi\npop rsi\nmov ecx, 4\nrep movsd\nret",
  vector: "movdqu xmm0, [rdi]\nmovq rax, xmm0\nret",
};

const DRIVER = `
typedef unsigned int u32; typedef unsigned long u64;
u64 polls(volatile u32 *status, u64 n) { u64 sum = 0; for (u64 i = 0; i < n; i++) sum += status[i & 3] ^ i; return sum; }
u64 waits(volatile u32 *status) { u64 n = 0; while (!(*status & 0x80)) n++; return n; }
void programs(volatile u32 *bar, u32 n) { for (u32 i = 0; i < n; i++) bar[i] = i * i; }
u64 both(volatile u32 *bar, u64 *ram, u64 n) { for (u64 i = 0; i < n; i++) ram[i & 7] += bar[0] + ram[(i + 1) & 7]; return ram[0]; }
`;

interface Access {
  readonly what: "read" | "write";
  readonly offset: number;
  readonly bytes: number;
  readonly value: bigint;
}

/** Registers that keep what is written, and tell. */
function attached(sandbox: Sandbox, start: bigint, size = 64): { log: Access[]; registers: Uint8Array } {
  const registers = new Uint8Array(size + 16);
  const view = new DataView(registers.buffer);
  const log: Access[] = [];
  sandbox.handle(start, size, {
    read: (address, bytes) => {
      const offset = Number(address - BigInt.asUintN(64, start));
      const value = BigInt.asUintN(8 * Math.min(bytes, 8), view.getBigUint64(offset, true));
      log.push({ what: "read", offset, bytes, value });
      return value;
    },
    write: (address, bytes, value) => {
      const offset = Number(address - BigInt.asUintN(64, start));
      log.push({ what: "write", offset, bytes, value });
      for (let i = 0; i < bytes; i++) registers[offset + i] = Number((value >> BigInt(8 * i)) & 0xffn);
    },
  });
  return { log, registers };
}

describe.skipIf(!isInstalled("gcc"))("Registers of devices", () => {
  const accesses = assembled(workshop, FUNCTIONS);
  const driver = compiled(workshop, DRIVER, "-O2", "-mcmodel=kernel");
  const loaded = (variant: Variant, object = accesses): Sandbox => {
    const sandbox = sandboxOf(variant, { space: "high" });
    sandbox.load(object);
    return sandbox;
  };

  describe.each(CHECKED)("$name", (variant) => {
    it("are read and written by each width, once", () => {
      const sandbox = loaded(variant);
      const { log, registers } = attached(sandbox, BAR);
      registers.set([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x91]);
      for (let round = 0; round < 5; round++) {
        log.length = 0;
        expect(sandbox.call("read1", [BAR])).toBe(0x88n);
        expect(sandbox.call("read2", [BAR])).toBe(0x7788n);
        expect(sandbox.call("read4", [BAR + 1n])).toBe(0x4455_6677n);
        expect(sandbox.call("read8", [BAR])).toBe(0x9122_3344_5566_7788n);
        expect(sandbox.call("signed1", [BAR, 7n])).toBe(0xffff_ffff_ffff_ff91n);
        expect(sandbox.call("pushes", [BAR])).toBe(0x9122_3344_5566_7788n);
        expect(sandbox.call("vector", [BAR])).toBe(0x9122_3344_5566_7788n);
        expect(log.map(({ offset, bytes }) => [offset, bytes])).toEqual([
          [0, 1],
          [0, 2],
          [1, 4],
          [0, 8],
          [7, 1],
          [0, 8],
          [0, 16],
        ]);
        log.length = 0;
        for (const bytes of [1, 2, 4, 8]) sandbox.call(`write${bytes}`, [BAR + 16n, 0x1122_3344_5566_7788n]);
        expect(log).toEqual([
          { what: "write", offset: 16, bytes: 1, value: 0x88n },
          { what: "write", offset: 16, bytes: 2, value: 0x7788n },
          { what: "write", offset: 16, bytes: 4, value: 0x5566_7788n },
          { what: "write", offset: 16, bytes: 8, value: 0x1122_3344_5566_7788n },
        ]);
      }
    });

    it("are changed by a read and a write", () => {
      const sandbox = loaded(variant);
      const { log, registers } = attached(sandbox, BAR);
      registers.set([0, 0, 0, 0, 5]);
      expect(sandbox.call("add4", [BAR, 0x100n])).toBe(0x105n);
      expect(log.map(({ what, value }) => [what, value])).toEqual([
        ["read", 5n],
        ["write", 0x105n],
        ["read", 0x105n],
      ]);
      expect(sandbox.call("exchange", [BAR + 8n, 9n])).toBe(0n);
      sandbox.call("or8", [BAR + 8n, 0xf000n]);
      expect(registers[8] | (registers[9] << 8)).toBe(0xf009);
    });

    it("are copied by string instructions", () => {
      const sandbox = loaded(variant);
      const { log, registers } = attached(sandbox, BAR);
      registers.set(Array.from({ length: 16 }, (_, i) => i + 1));
      const buffer = sandbox.allocate(16);
      sandbox.call("copies", [BAR, BigInt(buffer)]);
      expect([...sandbox.read(buffer, 16)]).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
      sandbox.call("copies", [BigInt(buffer), BAR + 32n]);
      expect([...registers.subarray(32, 48)]).toEqual(Array.from({ length: 16 }, (_, i) => i + 1));
      expect(log.map(({ bytes }) => bytes)).toEqual([4, 4, 4, 4, 4, 4, 4, 4]);
      const stop = sandbox.callAt(sandbox.symbol("copies"), [BAR + 56n, BigInt(buffer)]);
      expect(stop).toMatchObject({ kind: "fault", fault: { address: BAR + 64n, access: "read", size: 4 } });
      expect([sandbox.register("rcx"), sandbox.register("rsi")]).toEqual([2n, BAR + 64n]);
    });

    it("are polled in loops, together with memory", () => {
      const sandbox = loaded(variant, driver);
      const { log, registers } = attached(sandbox, BAR);
      for (let i = 0; i < 16; i++) registers[i] = i * 3;
      const status = new Uint32Array(registers.buffer.slice(0, 16));
      let sum = 0n;
      for (let i = 0; i < 500; i++) sum += BigInt((status[i & 3] ^ i) >>> 0);
      expect(sandbox.call("polls", [BAR, 500n])).toBe(sum);
      expect(log.length).toBe(500);
      const ram = sandbox.allocate(64);
      const values = new Array<bigint>(8).fill(0n);
      for (let i = 0; i < 300; i++)
        values[i & 7] = BigInt.asUintN(64, values[i & 7] + BigInt(status[0]) + values[(i + 1) & 7]);
      expect(sandbox.call("both", [BAR, BigInt(ram), 300n])).toBe(values[0]);
      sandbox.call("programs", [BAR, 8n]);
      expect([...new Uint32Array(registers.buffer.slice(0, 32))]).toEqual([0, 1, 4, 9, 16, 25, 36, 49]);
    });

    it("may change memory, hooks and poison, call guest code, and throw", () => {
      const sandbox = loaded(variant, driver);
      const ram = sandbox.allocate(64);
      let turns = 0;
      sandbox.handle(BAR, 4, {
        read: () => {
          turns++;
          if (turns % 50 === 0) expect(sandbox.call("both", [BigInt(ram), BigInt(ram), 3n])).toBe(0n);
          if (turns === 333) throw new RangeError("unplugged");
          return turns >= 200 ? 0x80n : 0n;
        },
        write: () => {},
      });
      expect(sandbox.call("waits", [BAR])).toBe(199n);
      expect(() => sandbox.call("polls", [BAR, 1000n])).toThrow(/unmapped/);
      turns = 300;
      expect(() => sandbox.call("both", [BAR, BigInt(ram), 100n])).toThrow("unplugged");
      expect(sandbox.register("rdi")).toBe(BAR);
    });

    it("end where the handler's range ends, also for accesses that reach beyond", () => {
      const sandbox = loaded(variant);
      attached(sandbox, BAR, 64);
      for (const [name, offset] of [
        ["read4", 64n],
        ["write1", -1n],
        ["read8", 60n],
        ["read8", 4096n],
      ] as const) {
        expect(sandbox.callAt(sandbox.symbol(name), [BAR + offset, 0n])).toMatchObject({
          kind: "fault",
          fault: { address: BAR + offset },
        });
      }
    });

    it("may lie among guest addresses, where nothing is mapped", () => {
      const sandbox = loaded(variant);
      const start = BigInt.asUintN(64, -0x3000_0000n);
      const { log } = attached(sandbox, start);
      sandbox.call("write4", [start + 4n, 0xabcdn]);
      expect(sandbox.call("read4", [start + 4n])).toBe(0xabcdn);
      expect(log.length).toBe(2);
      sandbox.map(-0x3000_0000 as GuestAddress, 0x1000, { read: true, write: true, execute: false });
      expect(sandbox.call("read4", [start + 4n])).toBe(0n);
      expect(log.length).toBe(2);
    });
  });

  it("are asked of the host by translated code, where that is possible without big integers", () => {
    const sandbox = loaded(PLAIN);
    const words = new Uint32Array(16);
    let reads = 0;
    let writes = 0;
    sandbox.handle(BAR, 64, {
      read: (address) => BigInt(words[Number(address - BAR) >> 2]),
      write: (address, _bytes, value) => {
        words[Number(address - BAR) >> 2] = Number(value);
      },
      readWord: (offset, bytes) => {
        reads++;
        return bytes === 4 ? words[offset >> 2] : words[offset >> 2] & (2 ** (8 * bytes) - 1);
      },
      writeWord: (offset, bytes, value) => {
        writes += bytes;
        words[offset >> 2] = value;
      },
    });
    for (let i = 0; i < 20; i++) {
      sandbox.call("write4", [BAR + 4n, BigInt(0xffff_fff0 + (i & 15))]);
      expect(sandbox.call("read4", [BAR + 4n])).toBe(BigInt(0xffff_fff0 + (i & 15)));
      sandbox.call("write1", [BAR + 8n, BigInt(0x180 + i)]);
      expect(sandbox.call("read1", [BAR + 8n])).toBe(BigInt(0x80 + i));
    }
    expect(reads).toBeGreaterThan(20);
    expect(writes).toBeGreaterThan(20);
    // Where no register is, the access is refused as ever, and nothing else happens.
    expect(() => sandbox.call("read4", [BAR + 62n])).toThrow();
    expect(() => sandbox.call("write4", [BAR - 2n, 1n])).toThrow();
  });

  it("are left to translated code between two reads", () => {
    const sandbox = loaded(PLAIN, driver);
    attached(sandbox, BAR);
    sandbox.call("polls", [BAR, 100n]);
    let single = 0;
    const at = sandbox.code.at.bind(sandbox.code);
    sandbox.code.at = (address) => {
      single++;
      return at(address);
    };
    sandbox.call("polls", [BAR, 1000n]);
    // The read itself, and no other instruction of the loop.
    expect(single).toBeLessThan(1010);
  });
});
