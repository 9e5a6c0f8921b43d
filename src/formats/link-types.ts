import { UnsupportedError } from "../util/errors.js";
import type { CapturedPacket, CaptureReader } from "./capture-packet.js";

export const LINKTYPE_ETHERNET = 1;

/** Numbers and names as registered in draft-ietf-opsawg-pcaplinktype (without LINKTYPE_). */
// biome-ignore format: a table
const NAMES = new Map<number, string>([
  [0, "NULL"],                       [1, "ETHERNET"],                 [3, "AX25"],
  [6, "IEEE802_5"],                  [7, "ARCNET_BSD"],               [8, "SLIP"],
  [9, "PPP"],                        [10, "FDDI"],                    [50, "PPP_HDLC"],
  [51, "PPP_ETHER"],                 [100, "ATM_RFC1483"],            [101, "RAW"],
  [104, "C_HDLC"],                   [105, "IEEE802_11"],             [107, "FRELAY"],
  [108, "LOOP"],                     [113, "LINUX_SLL"],              [114, "LTALK"],
  [117, "PFLOG"],                    [119, "IEEE802_11_PRISM"],       [122, "IP_OVER_FC"],
  [123, "SUNATM"],                   [127, "IEEE802_11_RADIOTAP"],    [129, "ARCNET_LINUX"],
  [138, "APPLE_IP_OVER_IEEE1394"],   [140, "MTP2"],                   [141, "MTP3"],
  [142, "SCCP"],                     [143, "DOCSIS"],                 [144, "LINUX_IRDA"],
  [163, "IEEE802_11_AVS"],           [165, "BACNET_MS_TP"],           [166, "PPP_PPPD"],
  [169, "GPRS_LLC"],                 [177, "LINUX_LAPD"],             [182, "MFR"],
  [187, "BLUETOOTH_HCI_H4"],         [189, "USB_LINUX"],              [192, "PPI"],
  [195, "IEEE802_15_4_WITHFCS"],     [197, "ERF"],                    [201, "BLUETOOTH_HCI_H4_WITH_PHDR"],
  [203, "LAPD"],                     [204, "PPP_WITH_DIR"],           [205, "C_HDLC_WITH_DIR"],
  [206, "FRELAY_WITH_DIR"],          [209, "IPMB_LINUX"],             [215, "IEEE802_15_4_NONASK_PHY"],
  [220, "USB_LINUX_MMAPPED"],        [224, "FC_2"],                   [225, "FC_2_WITH_FRAME_DELIMS"],
  [226, "IPNET"],                    [227, "CAN_SOCKETCAN"],          [228, "IPV4"],
  [229, "IPV6"],                     [230, "IEEE802_15_4_NOFCS"],     [231, "DBUS"],
  [239, "NFLOG"],                    [240, "NETANALYZER"],            [242, "IPOIB"],
  [243, "MPEG_2_TS"],                [247, "INFINIBAND"],             [248, "SCTP"],
  [249, "USBPCAP"],                  [251, "BLUETOOTH_LE_LL"],        [252, "WIRESHARK_UPPER_PDU"],
  [253, "NETLINK"],                  [254, "BLUETOOTH_LINUX_MONITOR"], [256, "BLUETOOTH_LE_LL_WITH_PHDR"],
  [258, "PKTAP"],                    [259, "EPON"],                   [264, "ISO_14443"],
  [265, "RDS"],                      [266, "USB_DARWIN"],             [274, "ETHERNET_MPACKET"],
  [275, "DISPLAYPORT_AUX"],          [276, "LINUX_SLL2"],
]);

/** "113 (LINUX_SLL)", or the bare number. */
export function linkTypeName(linkType: number): string {
  const name = linkType >= 147 && linkType <= 162 ? `USER${linkType - 147}` : NAMES.get(linkType);
  return name === undefined ? `${linkType}` : `${linkType} (${name})`;
}

/**
 * The same capture, for those who can only do Ethernet.
 * @throws UnsupportedError naming the link type: at once, or at the first packet of another one (pcapng files have a
 * link type for each interface).
 */
export function requireEthernet(reader: CaptureReader): CaptureReader {
  if (reader.linkType !== null) check(reader.name, reader.linkType);
  return new EthernetOnly(reader);
}

function check(name: string, linkType: number): void {
  if (linkType === LINKTYPE_ETHERNET) return;
  throw new UnsupportedError(
    "link-type",
    `${name} has link type ${linkTypeName(linkType)}; only Ethernet captures, link type ${linkTypeName(LINKTYPE_ETHERNET)}, can be used here`,
  );
}

class EthernetOnly implements CaptureReader {
  constructor(private readonly reader: CaptureReader) {}

  get name(): string {
    return this.reader.name;
  }

  get format(): "pcap" | "pcapng" {
    return this.reader.format;
  }

  get linkType(): number | null {
    return this.reader.linkType;
  }

  get snapLength(): number {
    return this.reader.snapLength;
  }

  get fineTimes(): boolean {
    return this.reader.fineTimes;
  }

  next(): CapturedPacket | null {
    const packet = this.reader.next();
    if (packet !== null && packet.linkType !== LINKTYPE_ETHERNET) check(this.name, packet.linkType);
    return packet;
  }

  *[Symbol.iterator](): Generator<CapturedPacket, void, undefined> {
    for (let packet = this.next(); packet !== null; packet = this.next()) yield packet;
  }
}
