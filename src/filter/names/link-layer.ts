/** Numbers of link-layer protocols: EtherTypes (IEEE 802), LLC service access points (IEEE 802.2), PPP (RFC 1661). */
export const ETHERTYPE = {
  NS: 0x0600,
  IP: 0x0800,
  ARP: 0x0806,
  MOPDL: 0x6001,
  MOPRC: 0x6002,
  DECNET: 0x6003,
  LAT: 0x6004,
  SCA: 0x6007,
  BRIDGING: 0x6558,
  RARP: 0x8035,
  ATALK: 0x809b,
  AARP: 0x80f3,
  VLAN: 0x8100,
  IPX: 0x8137,
  IP6: 0x86dd,
  MPLS: 0x8847,
  PPPOED: 0x8863,
  PPPOES: 0x8864,
  SERVICE_VLAN: 0x88a8,
  LOOPBACK: 0x9000,
  QINQ: 0x9100,
} as const;

/** The largest number in the type field that is a length, IEEE 802.3 section 3.2.6. */
export const MAXIMUM_LENGTH_FIELD = 1500;

export const SAP = {
  IP: 0x06,
  STP: 0x42,
  SNAP: 0xaa,
  IPX: 0xe0,
  NETBEUI: 0xf0,
  OSI: 0xfe,
} as const;

export const PPP = {
  IP: 0x0021,
  OSI: 0x0023,
  NS: 0x0025,
  DECNET: 0x0027,
  ATALK: 0x0029,
  IPX: 0x002b,
  BRIDGING: 0x0031,
  IP6: 0x0057,
} as const;

/** Which PPP protocol carries what this EtherType or SAP stands for. */
export const PPP_OF: ReadonlyMap<number, number> = new Map<number, number>([
  [ETHERTYPE.IP, PPP.IP],
  [ETHERTYPE.IP6, PPP.IP6],
  [ETHERTYPE.DECNET, PPP.DECNET],
  [ETHERTYPE.ATALK, PPP.ATALK],
  [ETHERTYPE.NS, PPP.NS],
  [SAP.OSI, PPP.OSI],
  [SAP.STP, PPP.BRIDGING],
  [SAP.IPX, PPP.IPX],
]);

/** Names after `ether proto`. */
export const ETHER_PROTOCOLS: ReadonlyMap<string, number> = new Map<string, number>([
  ["aarp", ETHERTYPE.AARP],
  ["arp", ETHERTYPE.ARP],
  ["atalk", ETHERTYPE.ATALK],
  ["decnet", ETHERTYPE.DECNET],
  ["ip", ETHERTYPE.IP],
  ["ip6", ETHERTYPE.IP6],
  ["lat", ETHERTYPE.LAT],
  ["loopback", ETHERTYPE.LOOPBACK],
  ["mopdl", ETHERTYPE.MOPDL],
  ["moprc", ETHERTYPE.MOPRC],
  ["rarp", ETHERTYPE.RARP],
  ["sca", ETHERTYPE.SCA],
  ["iso", SAP.OSI],
  ["stp", SAP.STP],
  ["ipx", SAP.IPX],
  ["netbeui", SAP.NETBEUI],
]);

/** OSI network-layer protocol identifiers, ISO/IEC TR 9577. */
export const OSI = { CLNP: 0x81, ESIS: 0x82, ISIS: 0x83 } as const;

export const OSI_PROTOCOLS: ReadonlyMap<string, number> = new Map<string, number>([
  ["clnp", OSI.CLNP],
  ["esis", OSI.ESIS],
  ["isis", OSI.ISIS],
]);

/** IS-IS PDU types, ISO 10589 section 9, that each word stands for, in the order in which they are tested. */
export const ISIS_TYPES: ReadonlyMap<string, readonly number[]> = new Map([
  ["l1", [15, 17, 18, 24, 26]],
  ["l2", [16, 17, 20, 25, 27]],
  ["iih", [15, 16, 17]],
  ["lsp", [18, 20]],
  ["snp", [24, 25, 26, 27]],
  ["csnp", [24, 25]],
  ["psnp", [26, 27]],
]);

/** Control fields of LLC frames, IEEE 802.2 section 5.4. */
export const LLC_SUPERVISORY: ReadonlyMap<string, number> = new Map([
  ["rr", 0x01],
  ["rnr", 0x05],
  ["rej", 0x09],
]);
export const LLC_UNNUMBERED: ReadonlyMap<string, number> = new Map([
  ["ui", 0x03],
  ["ua", 0x63],
  ["disc", 0x43],
  ["dm", 0x0f],
  ["sabme", 0x6f],
  ["test", 0xe3],
  ["xid", 0xaf],
  ["frmr", 0x87],
]);
