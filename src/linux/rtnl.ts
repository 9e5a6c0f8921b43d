import { KorralError } from "../util/errors.js";
import type { LinuxDomain } from "./domain.js";
import type { Script } from "./scripts.js";

/** The driver refused something. */
export class NetDeviceError extends KorralError {}

/** Calls with the lock of the network configuration held. */
export function* locked<T>(body: () => Script<T>): Script<T> {
  yield ["rtnl_lock"];
  const answer = yield* body();
  yield ["rtnl_unlock"];
  return answer;
}

/**
 * Runs such calls in a thread of the kernel.
 * @param device its name, for messages
 * @throws NetDeviceError if they answer with an error
 */
export async function runLocked(
  domain: LinuxDomain,
  device: string,
  what: string,
  body: () => Script<number>,
): Promise<void> {
  const answer = (await domain.script(what, locked(body))) | 0;
  if (answer >= 0) return;
  throw new NetDeviceError("net-device", `${device}: ${what} failed with error ${-answer}`, 1);
}
