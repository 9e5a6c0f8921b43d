const LIVE = "needs a live capture: a captured Ethernet frame does not say";
const PF = "needs packets logged by the pf firewall, not Ethernet frames";
const WIRELESS = "needs 802.11 frames, not Ethernet frames";
const ATM = "needs ATM cells, not Ethernet frames";
const SS7 = "needs SS7 messages, not Ethernet frames";

/** Words of the language that no Ethernet capture can answer, and why. */
const REASONS: readonly (readonly [string, string])[] = [
  ["inbound outbound ifindex", LIVE],
  ["ifname rset rnr srnr reason action", PF],
  ["type subtype dir addr1 addr2 addr3 addr4 ra ta radio", WIRELESS],
  ["lane metac bcc oam oamf4 oamf4ec oamf4sc sc ilmic vpi vci connectmsg metaconnect", ATM],
  ["fisu lssu msu hfisu hlssu hmsu sio opc dpc sls hsio hopc hdpc hsls", SS7],
  [
    "gateway",
    "needs the name of a host to be looked up; hosts are numeric here: write ether host MAC and not host ADDRESS",
  ],
];

const REFUSED = new Map(REASONS.flatMap(([words, reason]) => words.split(" ").map((word) => [word, reason] as const)));

/** Why this keyword cannot be used, undefined if it can. */
export function refusalOf(keyword: string): string | undefined {
  const reason = REFUSED.get(keyword);
  return reason === undefined ? undefined : `"${keyword}" ${reason}`;
}
