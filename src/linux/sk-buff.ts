import type { Field, Guest } from "./guest.js";

/** Where `struct sk_buff` has what is read and set of it. */
export interface SkbFields {
  readonly len: Field;
  readonly dataLen: Field;
  readonly head: Field;
  readonly data: Field;
  readonly macHeader: Field;
  readonly networkHeader: Field;
  readonly protocol: Field;
  readonly device: Field;
  readonly vlanTci: Field;
  readonly vlanProto: Field;
  readonly packetType: number;
  /** Byte and bit of `vlan_present`, where there is one. */
  readonly vlanPresent: { readonly byte: number; readonly bit: number } | null;
}

export function skbFields(guest: Guest): SkbFields {
  const { types } = guest.image;
  const type = types.field("sk_buff.pkt_type");
  const present = types.hasField("sk_buff.vlan_present") ? types.field("sk_buff.vlan_present").bitOffset : -1;
  return {
    len: guest.field("sk_buff.len"),
    dataLen: guest.field("sk_buff.data_len"),
    head: guest.field("sk_buff.head"),
    data: guest.field("sk_buff.data"),
    macHeader: guest.field("sk_buff.mac_header"),
    networkHeader: guest.field("sk_buff.network_header"),
    protocol: guest.field("sk_buff.protocol"),
    device: guest.field("sk_buff.dev"),
    vlanTci: guest.field("sk_buff.vlan_tci"),
    vlanProto: guest.field("sk_buff.vlan_proto"),
    packetType: type.bitOffset >> 3,
    vlanPresent: present < 0 ? null : { byte: present >> 3, bit: present & 7 },
  };
}
