import type { CpuState } from "./cpu.js";
import { type Instruction, RAX, RBX, RCX, RDX } from "./instruction.js";
import type { TrapName } from "./ir.js";

/** What `system` instructions ask of the surroundings. All of it is deterministic. */
export interface SystemPorts {
  /** Reads `bytes` from an I/O port. */
  readonly in: (port: number, bytes: number) => number;
  readonly out: (port: number, bytes: number, value: number) => void;
  readonly readMsr: (index: number) => bigint | null;
  readonly writeMsr: (index: number, value: bigint) => boolean;
}

const FS_BASE = 0xc0000100;
const GS_BASE = 0xc0000101;
const KERNEL_GS_BASE = 0xc0000102;

/** A plain processor: long mode, SSE2, CMPXCHG16B, no more. Vendor string "KorralKorral". */
const CPUID: ReadonlyMap<number, readonly [number, number, number, number]> = new Map([
  [0, [1, 0x72726f4b, 0x6c617272, 0x6f4b6c61]],
  [1, [0x0600f10, 0x0000_0800, 0x0000_2001, 0x0789_abff & 0x07ff_ffff]],
  [0x80000000, [0x80000001, 0, 0, 0]],
  [0x80000001, [0, 0, 1, 0x2010_0800]],
]);

type Outcome = "next" | "halt" | "jumped" | { readonly fault: TrapName } | null;

/** Instructions that no expression describes: processor identification, counters, model-specific registers, ports. */
export class SystemInstructions {
  ports: SystemPorts = {
    in: (_port, bytes) => (bytes === 4 ? 0xffffffff : bytes === 2 ? 0xffff : 0xff),
    out: () => {},
    readMsr: () => 0n,
    writeMsr: () => true,
  };
  kernelGsBase = 0n;

  constructor(
    private readonly cpu: CpuState,
    private readonly cycles: () => bigint,
  ) {}

  carryOut(instruction: Instruction): Outcome {
    const { cpu } = this;
    switch (instruction.mnemonic) {
      case "hlt":
        return "halt";
      case "cpuid": {
        const words = CPUID.get(cpu.general32(RAX) >>> 0) ?? [0, 0, 0, 0];
        [RAX, RBX, RCX, RDX].forEach((register, i) => {
          cpu.setGeneral32(register, words[i]);
        });
        return "next";
      }
      case "rdtsc":
      case "rdtscp":
      case "rdpmc": {
        const now = this.cycles();
        cpu.setGeneral32(RAX, Number(now & 0xffffffffn));
        cpu.setGeneral32(RDX, Number((now >> 32n) & 0xffffffffn));
        if (instruction.mnemonic === "rdtscp") cpu.setGeneral32(RCX, 0);
        return "next";
      }
      case "xgetbv":
        cpu.setGeneral32(RAX, 3);
        cpu.setGeneral32(RDX, 0);
        return "next";
      case "rdmsr":
        return this.#readMsr();
      case "wrmsr":
        return this.#writeMsr();
      case "swapgs": {
        const other = this.kernelGsBase;
        this.kernelGsBase = cpu.gsBase;
        cpu.gsBase = other;
        return "next";
      }
      case "in":
      case "out":
        return this.#port(instruction);
      case "invlpg":
      case "invlpga":
      case "invpcid":
      case "wbinvd":
      case "wbnoinvd":
      case "invd":
      case "clts":
      case "stac":
      case "clac":
      case "monitor":
      case "mwait":
        return "next";
      default:
        return null;
    }
  }

  #readMsr(): Outcome {
    const { cpu } = this;
    const index = cpu.general32(RCX) >>> 0;
    const value = this.#msr(index);
    if (value === null) return { fault: "general-protection" };
    cpu.setGeneral32(RAX, Number(BigInt.asIntN(32, value)));
    cpu.setGeneral32(RDX, Number(BigInt.asIntN(32, value >> 32n)));
    return "next";
  }

  #msr(index: number): bigint | null {
    if (index === FS_BASE) return this.cpu.fsBase;
    if (index === GS_BASE) return this.cpu.gsBase;
    if (index === KERNEL_GS_BASE) return this.kernelGsBase;
    return this.ports.readMsr(index);
  }

  #writeMsr(): Outcome {
    const { cpu } = this;
    const index = cpu.general32(RCX) >>> 0;
    const value = (BigInt(cpu.general32(RDX) >>> 0) << 32n) | BigInt(cpu.general32(RAX) >>> 0);
    if (index === FS_BASE) cpu.fsBase = value;
    else if (index === GS_BASE) cpu.gsBase = value;
    else if (index === KERNEL_GS_BASE) this.kernelGsBase = value;
    else if (!this.ports.writeMsr(index, value)) return { fault: "general-protection" };
    return "next";
  }

  #port(instruction: Instruction): Outcome {
    const { cpu } = this;
    const isIn = instruction.mnemonic === "in";
    const data = instruction.operands[isIn ? 0 : 1];
    const where = instruction.operands[isIn ? 1 : 0];
    if (data?.kind !== "register") return null;
    const port = where?.kind === "immediate" ? Number(where.value & 0xffn) : cpu.general32(RDX) & 0xffff;
    const mask = data.width === 4 ? -1 : data.width === 2 ? 0xffff : 0xff;
    if (!isIn) {
      this.ports.out(port, data.width, (cpu.general32(RAX) & mask) >>> 0);
      return "next";
    }
    const value = this.ports.in(port, data.width) | 0;
    if (data.width === 4) cpu.setGeneral32(RAX, value);
    else cpu.patchGeneral32(RAX, mask, value);
    return "next";
  }
}
