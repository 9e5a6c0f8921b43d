/** Names of networks, after Debian's list (package netbase). */
export const NETWORKS: ReadonlyMap<string, number> = new Map([
  ["loopback", 0x7f000000],
  ["link-local", 0xa9fe0000],
]);
