/** struct virtio_net_hdr (VIRTIO 1.2, §5.1.6), which precedes each packet; VERSION_1 has num_buffers always. */
export const PacketHeader = {
  flags: 0,
  gsoType: 1,
  headerLength: 2,
  gsoSize: 4,
  checksumStart: 6,
  checksumOffset: 8,
  buffers: 10,
} as const;

export const PACKET_HEADER_BYTES = 12;

export const PacketFlag = { NEEDS_CSUM: 1, DATA_VALID: 2 } as const;

/** gso_type; ECN comes on top. */
export const Gso = { NONE: 0, TCPV4: 1, TCPV6: 4, ECN: 0x80 } as const;
