import { createHash } from "node:crypto";

export const REGISTERS = [
  ..."rax rcx rdx rbx rsp rbp rsi rdi".split(" "),
  ...Array.from({ length: 8 }, (_, i) => `r${i + 8}`),
];
const MASK = (1n << 64n) - 1n;
const hex = (value) => `0x${(value & MASK).toString(16)}`;

/** As if nothing had run yet: no memory, no functions, registers of zero. */
export function clear(sandbox) {
  const { cpu, memory, code, space } = sandbox;
  for (const { address, size } of [...memory.mappings]) sandbox.unmap(address, size);
  code.removeFunctions(space.first, space.end);
  code.entries.clear();
  for (const name of REGISTERS) sandbox.setRegister(name, 0n);
  for (let i = 0; i < 16; i++) cpu.setXmm(i, 0n, 0n);
  cpu.fsBase = 0n;
  cpu.gsBase = 0n;
  sandbox.setRegister("rflags", 0x202n);
}

/** All that guest code can see: registers, flags, and a digest of the memory that is mapped. */
export function machineState(sandbox) {
  const { cpu, memory } = sandbox;
  const registers = Object.fromEntries(REGISTERS.map((name) => [name, [hex(sandbox.register(name))]]));
  for (let i = 0; i < 16; i++) registers[`xmm${i}`] = [hex(cpu.xmmLow(i)), hex(cpu.xmmHigh(i))];
  const hash = createHash("sha1");
  for (const { address, size } of memory.mappings) {
    hash.update(`${address} ${size}`);
    hash.update(memory.bytes.subarray(memory.offset(address), memory.offset(address) + size));
  }
  return {
    registers,
    rip: hex(cpu.rip),
    rflags: hex(sandbox.register("rflags")),
    bases: [hex(cpu.fsBase), hex(cpu.gsBase)],
    memory: hash.digest("hex"),
  };
}

/** Why a run ended, as words that are the same in all modes if it ended alike. */
export function stopOf(sandbox, stop) {
  switch (stop.kind) {
    case "unsupported":
      return { end: "unsupported", why: stop.instruction?.mnemonic ?? bytesAt(sandbox) };
    case "trap":
      return { end: "trap", why: `${stop.trap} at ${stop.instruction.text()}` };
    case "fault":
      return { end: "fault", why: sandbox.explain(stop).message };
    default:
      return { end: stop.kind, why: "" };
  }
}

function bytesAt({ memory, cpu }) {
  const bytes = memory.bytes.subarray(memory.offset(cpu.ripAddress)).slice(0, 8);
  return `bytes ${Buffer.from(bytes).toString("hex")}`;
}

/** Where two states differ, by name. @param but what may differ */
export function stateDifferences(a, b, but) {
  const found = [];
  for (const name of Object.keys(a.registers)) {
    if (!but.includes(name) && a.registers[name].join() !== b.registers[name].join()) {
      found.push(`${name} ${a.registers[name]} or ${b.registers[name]}`);
    }
  }
  for (const name of ["rip", "rflags", "memory", "bases", "output"]) {
    if (!but.includes(name) && String(a[name]) !== String(b[name])) found.push(`${name} ${a[name]} or ${b[name]}`);
  }
  return found;
}
