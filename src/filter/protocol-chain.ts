/**
 * Which headers `protochain` steps over: on IPv6 the extension headers of RFC 8200 section 4 that begin with
 * {next header, length in 8-byte units less one}, on both versions the authentication header of RFC 4302, whose
 * length is in 4-byte units less two. As in libpcap 1.10, the offset after an authentication header is its length
 * alone, not its offset plus its length; filters that are to agree with tcpdump have to agree in that.
 */
export const HOP_BY_HOP = 0;
export const ROUTING = 43;
export const FRAGMENT = 44;
export const AUTHENTICATION = 51;
export const DESTINATION_OPTIONS = 60;

/** Headers that are stepped over on IPv6 only. */
export const IPV6_EXTENSIONS = [HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING, FRAGMENT];

export const isChained = (protocol: number, version: number): boolean =>
  protocol === AUTHENTICATION || (version === 6 && IPV6_EXTENSIONS.includes(protocol));

/**
 * No walk that ends is longer: its offsets are multiples of 4 inside the captured bytes, and it comes to none twice with
 * the same protocol of five. One that goes on is in a circle of authentication headers, and its packet is rejected.
 */
export const stepsOfChain = (capturedLength: number): number => 2 * capturedLength + 16;
