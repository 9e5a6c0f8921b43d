import { UsageError } from "../../util/errors.js";

/** An IPv4 address as a number, and how many of its leading bits are the network's. */
export interface InterfaceAddress {
  readonly address: number;
  readonly prefix: number;
}

/** Reads `10.0.2.2/24`; without a prefix it is 24. @throws UsageError also for addresses that no host can have */
export function interfaceAddress(text: string): InterfaceAddress {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:\/(\d{1,2}))?$/.exec(text);
  const bytes = match?.slice(1, 5).map(Number) ?? [];
  const prefix = Number(match?.[5] ?? 24);
  if (match === null || bytes.some((byte) => byte > 255) || prefix > 30 || prefix < 8) {
    throw new UsageError(`'${text}' is no address of an interface (say 10.0.2.2/24; prefixes of 8 to 30 bits)`);
  }
  const address = bytes.reduce((all, byte) => all * 256 + byte, 0);
  if (!isHostAddress(address) || address === broadcastOf({ address, prefix }) || isNetwork(address, prefix)) {
    throw new UsageError(`${text}: no host can have this address (it is a network's, a broadcast or a multicast one)`);
  }
  return { address, prefix };
}

/** Whether a packet may come from there: neither "this host", nor loopback, multicast, reserved or broadcast. */
export function isHostAddress(address: number): boolean {
  const first = address >>> 24;
  return first !== 0 && first !== 127 && first < 224;
}

/** The address of all hosts on an interface's network. */
export function broadcastOf({ address, prefix }: InterfaceAddress): number {
  return (address | (0xffff_ffff >>> prefix)) >>> 0;
}

export function showAddress(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join(".");
}

function isNetwork(address: number, prefix: number): boolean {
  return (address & (0xffff_ffff >>> prefix)) === 0;
}
