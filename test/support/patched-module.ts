import { SectionType } from "../../src/formats/elf-constants.js";
import { KernelModule } from "../../src/formats/kernel-module.js";

const RELA_BYTES = 24;

/** Machine code for a driver that goes wrong. */
export const Broken = {
  /** `ud2`: a BUG. */
  bug: [0x0f, 0x0b],
  /** `mov rax, [8]`. */
  nullPointer: [0x48, 0x8b, 0x04, 0x25, 0x08, 0x00, 0x00, 0x00],
  /** `jmp $` */
  hang: [0xeb, 0xfe],
  /** `mov eax, -12; ret` */
  outOfMemory: [0xb8, 0xf4, 0xff, 0xff, 0xff, 0xc3],
} as const;

/** A copy of a module in which a function begins with other instructions. */
export function patchedModule(bytes: Uint8Array, name: string, symbol: string, code: readonly number[]): Uint8Array {
  const { elf, symbols } = KernelModule.parse(bytes, name);
  const index = symbols.find(symbol);
  const section = elf.sections[symbols.section(index)];
  const start = symbols.value(index);
  const patched = bytes.slice();
  patched.set(code, section.offset + start);
  // Nothing is to be filled in there any more: relocations of type 0 do nothing.
  const view = new DataView(patched.buffer);
  for (const { type, info, offset, size } of elf.sections) {
    if (type !== SectionType.rela || info !== section.index) continue;
    for (let at = offset; at < offset + size; at += RELA_BYTES) {
      const place = view.getUint32(at, true) - start;
      if (place > -8 && place < code.length) view.setBigUint64(at + 8, 0n, true);
    }
  }
  return patched;
}

/** A copy of a module that was built against another version of a function. */
export function withOtherChecksum(bytes: Uint8Array, name: string, symbol: string): Uint8Array {
  const { elf } = KernelModule.parse(bytes, name);
  const section = elf.section("__versions");
  if (section === null) throw new Error(`${name} has no checksums`);
  const patched = bytes.slice();
  const view = new DataView(patched.buffer);
  const decoder = new TextDecoder();
  for (let at = section.offset; at < section.offset + section.size; at += 64) {
    const text = decoder.decode(patched.subarray(at + 8, at + 64));
    if (text.slice(0, text.indexOf("\0")) !== symbol) continue;
    view.setUint32(at, view.getUint32(at, true) ^ 1, true);
    return patched;
  }
  throw new Error(`${name} does not import ${symbol}`);
}
