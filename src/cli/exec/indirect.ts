import type { LoadedObject } from "../../translator/loaded-object.js";
import type { Sandbox } from "../../translator/sandbox.js";
import type { GuestAddress } from "../../util/guest-address.js";

const JUMP_LENGTH = 5;

/**
 * Indirect functions are code that chooses between variants, and that a loader calls once. Calls lead to an address that
 * stands for the choice: a jump to what was chosen is put there. What cannot choose is left as it is.
 */
export function chooseVariants(sandbox: Sandbox, object: LoadedObject): void {
  for (const { name, address, why } of object.imports) {
    if (why !== "indirect-function") continue;
    const chooser = object.symbols.get(name);
    if (chooser === null || chooser.address === address) continue;
    if (sandbox.callAt(chooser.address).kind !== "returned") continue;
    const chosen = Number(sandbox.cpu.general(0)) as GuestAddress;
    if (!sandbox.memory.isExecutable(chosen)) continue;
    sandbox.hook(address, null);
    sandbox.write(address, jump(address, chosen));
  }
}

/** JMP rel32 (Intel SDM volume 2). */
function jump(from: GuestAddress, to: GuestAddress): Uint8Array {
  const bytes = new Uint8Array(JUMP_LENGTH);
  bytes[0] = 0xe9;
  new DataView(bytes.buffer).setInt32(1, to - from - JUMP_LENGTH, true);
  return bytes;
}
