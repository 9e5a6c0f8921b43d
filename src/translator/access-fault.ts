import type { GuestSpace } from "./guest-space.js";
import { Shadow } from "./shadow.js";

/** What an access that must not happen is called. */
export type AccessRule =
  | "null-pointer"
  | "error-pointer"
  | "user-space-address"
  | "non-canonical-address"
  | "unmapped"
  | "stack-overflow"
  | "use-after-free"
  | "out-of-bounds"
  | "device-owned"
  | "write-to-read-only"
  | "uninitialised"
  | "no-access"
  | "execute-data";

export type AccessKind = "read" | "write" | "execute";

/** An access that was refused. */
export interface AccessFault {
  readonly rule: AccessRule;
  /** Of the first byte that may not be accessed, unsigned. */
  readonly address: bigint;
  readonly access: AccessKind;
  /** Bytes of the whole access; 0 for `execute`. */
  readonly size: number;
}

const PAGE = 4096n;
const TOP = 1n << 64n;
/** Kernels return errors as the last 4,095 addresses. */
const ERRORS = 4095n;
/** So far from an error pointer or null, it is a member of what is not there. */
const MEMBER = 0x8000n;

/** The rule for an address that no shadow stands for, or whose shadow says that nothing is there. */
export function ruleOfAddress(space: GuestSpace, address: bigint): AccessRule {
  const at = BigInt.asUintN(64, address);
  if (at < PAGE) return "null-pointer";
  if (at >= TOP - ERRORS) return "error-pointer";
  const sign = BigInt.asIntN(64, at) >> 47n;
  if (sign !== 0n && sign !== -1n) return "non-canonical-address";
  if (space.name === "high") {
    if (at >= TOP - MEMBER) return "error-pointer";
    if (sign === 0n) return "user-space-address";
  }
  return "unmapped";
}

export function ruleOfShadow(shadow: number, access: AccessKind): AccessRule | null {
  switch (shadow) {
    case Shadow.unmapped:
      return null;
    case Shadow.freed:
      return "use-after-free";
    case Shadow.redZone:
      return "out-of-bounds";
    case Shadow.deviceOwned:
    case Shadow.toDevice:
      return "device-owned";
    case Shadow.uninitialised:
      return "uninitialised";
    case Shadow.noAccess:
      return "no-access";
    case Shadow.readOnly:
      return access === "write" ? "write-to-read-only" : null;
    default:
      return null;
  }
}
