import type { GuestAddress } from "../util/guest-address.js";
import type { Lifted } from "./flow/effects.js";
import type { JumpTargets } from "./flow/region.js";
import type { GuestMemory } from "./guest-memory.js";
import type { MemoryOperand } from "./instruction.js";

const MOST_ENTRIES = 1024;

/**
 * Where a jump through a table may go. Compilers write two kinds: `jmp [table + 8 × i]` (or a `mov` before it) with
 * addresses as entries, and a `movsxd` of 4-byte entries that are relative to the table, whose address a `lea` made, added
 * up before the jump. The table has no length that could be seen: its entries are read until one leads out of the function.
 *
 * A miss is no mistake: a jump to where nobody expected it leaves the region and is sorted out by the runtime.
 *
 * @param path the instructions before the jump and the jump itself, in order
 */
export function findJumpTargets(
  path: readonly Lifted[],
  memory: GuestMemory,
  belongs: (target: GuestAddress) => boolean,
): JumpTargets {
  for (let i = path.length - 1; i >= 0; i--) {
    const { mnemonic, operands } = path[i].instruction;
    const source = operands.find((operand): operand is MemoryOperand => operand.kind === "memory");
    if (source === undefined || source.index < 0) continue;
    if ((mnemonic === "jmp" || mnemonic === "mov") && source.scale === 8 && source.bytes === 8) {
      return read(source, 8);
    }
    if (mnemonic === "movsxd" && source.scale === 4) return read(source, 4);
    function read(operand: MemoryOperand, bytes: 4 | 8): JumpTargets {
      const { base, displacement, index } = operand;
      const table = base < 0 ? displacement : constantIn(path, i, base, displacement);
      if (table === null) return NONE;
      const found = entries(table, bytes, bytes === 4 ? table : 0n, memory, belongs);
      const targets = [...new Set(found)];
      if (found.length === 0 || memory.mappingAt(Number(table) as GuestAddress)?.write !== false) {
        return { targets, table: null };
      }
      const start = Number(table) as GuestAddress;
      const end = (start + bytes * found.length) as GuestAddress;
      return { targets, table: { load: path[i].instruction.address, index, entries: found, start, end } };
    }
  }
  return NONE;
}

const NONE: JumpTargets = { targets: [], table: null };

/** What a `lea` relative to RIP, or a `mov` of a constant, last put into a register before an instruction. */
function constantIn(path: readonly Lifted[], before: number, register: number, plus: bigint): bigint | null {
  for (let i = before - 1; i >= 0; i--) {
    const { instruction, effects } = path[i];
    if ((effects.writes & (1 << register)) === 0) continue;
    const [, source] = instruction.operands;
    if (source?.kind === "memory" && instruction.mnemonic === "lea" && source.base < 0 && source.index < 0) {
      return source.displacement + plus;
    }
    if (source?.kind === "immediate" && instruction.mnemonic === "mov") return source.value + plus;
    return null;
  }
  return null;
}

function entries(
  table: bigint,
  bytes: 4 | 8,
  base: bigint,
  memory: GuestMemory,
  belongs: (target: GuestAddress) => boolean,
): readonly GuestAddress[] {
  const targets: GuestAddress[] = [];
  for (let i = 0; i < MOST_ENTRIES; i++) {
    const at = Number(table) + i * bytes;
    const mapping = memory.mappingAt(at as GuestAddress);
    if (mapping === null || at + bytes > mapping.address + mapping.size) break;
    const offset = memory.offset(at as GuestAddress);
    const entry =
      bytes === 8 ? memory.view.getBigInt64(offset, true) : base + BigInt(memory.view.getInt32(offset, true));
    const target = Number(BigInt.asIntN(64, entry)) as GuestAddress;
    if (!memory.isExecutable(target) || !belongs(target)) break;
    targets.push(target);
  }
  return targets;
}
