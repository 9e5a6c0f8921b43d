import type { FeatureSet } from "../virtio/features.js";

/** Feature bits of network devices (VIRTIO 1.2, §5.1.3). */
export const NetFeature = {
  /** Transmitted packets may need their checksum completed. */
  CSUM: 0,
  /** Received packets may be marked as checked. */
  GUEST_CSUM: 1,
  CTRL_GUEST_OFFLOADS: 2,
  MTU: 3,
  MAC: 5,
  HOST_TSO4: 11,
  HOST_TSO6: 12,
  HOST_ECN: 13,
  MRG_RXBUF: 15,
  STATUS: 16,
  CTRL_VQ: 17,
  CTRL_RX: 18,
  CTRL_VLAN: 19,
  MQ: 22,
  CTRL_MAC_ADDR: 23,
  SPEED_DUPLEX: 63,
} as const;

/** §5.1.3.1: a feature, and those of which it requires one. */
const REQUIREMENTS: readonly (readonly [keyof typeof NetFeature, ...(keyof typeof NetFeature)[]])[] = [
  ["HOST_TSO4", "CSUM"],
  ["HOST_TSO6", "CSUM"],
  ["HOST_ECN", "HOST_TSO4", "HOST_TSO6"],
  ["CTRL_RX", "CTRL_VQ"],
  ["CTRL_VLAN", "CTRL_VQ"],
  ["MQ", "CTRL_VQ"],
  ["CTRL_MAC_ADDR", "CTRL_VQ"],
];

/** Why a driver may not accept these features together, or null. */
export function netFeatureConflict(features: FeatureSet): string | null {
  for (const [name, ...required] of REQUIREMENTS) {
    if (!features.has(NetFeature[name]) || required.some((other) => features.has(NetFeature[other]))) continue;
    return `VIRTIO_NET_F_${name} was accepted without VIRTIO_NET_F_${required.join(" or ")} (§5.1.3.1)`;
  }
  return null;
}
