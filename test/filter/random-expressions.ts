import type { Random } from "./random.js";

/** Addresses that the synthesised frames use too, so that random expressions often match. */
export const HOSTS = ["10.1.2.3", "10.1.2.4", "192.168.7.9", "172.16.0.1", "224.0.0.18", "255.255.255.255", "10.1.0.0"];
export const HOSTS6 = ["2001:db8::1", "fe80::1", "2001:db8:1:2:3:4:5:6", "ff02::1", "::1", "fe80::a:b"];
export const MACS = ["00:11:22:33:44:55", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:12", "2:0:0:0:0:1"];
export const PORTS = [53, 80, 443, 20, 21, 6081, 123, 22];

const LINK_PROTOCOLS = [
  "ip",
  "ip6",
  "arp",
  "rarp",
  "tcp",
  "udp",
  "sctp",
  "icmp",
  "icmp6",
  "igmp",
  "igrp",
  "pim",
  "ah",
  "esp",
  "vrrp",
  "carp",
  "atalk",
  "aarp",
  "decnet",
  "lat",
  "sca",
  "moprc",
  "mopdl",
  "iso",
  "clnp",
  "esis",
  "isis",
  "es-is",
  "is-is",
  "l1",
  "l2",
  "iih",
  "lsp",
  "snp",
  "csnp",
  "psnp",
  "stp",
  "ipx",
  "netbeui",
]; // prettier-ignore
const LOADABLE = [
  "ether",
  "ip",
  "ip6",
  "arp",
  "rarp",
  "tcp",
  "udp",
  "sctp",
  "icmp",
  "icmp6",
  "igmp",
  "igrp",
  "pim",
  "vrrp",
  "carp",
  "decnet",
  "link",
  "atalk",
];
const NAMED = [
  "tcpflags",
  "tcp-syn",
  "tcp-ack",
  "tcp-fin",
  "icmptype",
  "icmp-echo",
  "icmp-echoreply",
  "icmp6type",
  "icmp6-echo",
  "icmp6-neighborsolicit",
  "icmpcode",
]; // prettier-ignore
const PORT_NAMES = [
  "http",
  "domain",
  "ftp",
  "ftp-data",
  "ssh",
  "ntp",
  "snmp",
  "syslog",
  "https",
  "tftp",
  "www",
  "nosuchport",
  "amqp",
];
const IP_PROTOCOL_NAMES = [
  "\\tcp",
  "\\udp",
  "\\icmp",
  "ospf",
  "gre",
  "ipv6-icmp",
  "\\esp",
  "\\pim",
  "TCP",
  "nosuchproto",
];
const ETHER_PROTOCOL_NAMES = [
  "\\ip",
  "\\ip6",
  "\\arp",
  "\\rarp",
  "\\atalk",
  "loopback",
  "\\stp",
  "\\ipx",
  "\\netbeui",
  "\\lat",
];
const OPERATORS = ["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"];
const RELATIONS = ["=", "==", "!=", "<", ">", "<=", ">="];

export interface Style {
  /** Headers of variable position, which turn the optimiser off and read scratch memory that nothing wrote. */
  readonly geneve: boolean;
  readonly protochain: boolean;
}

/** Random expressions from the grammar; most can be compiled, some cannot. */
export class Expressions {
  constructor(
    private readonly random: Random,
    private readonly style: Style,
  ) {}

  expression(depth = 3): string {
    const { random } = this;
    const terms = random.between(1, depth + 1);
    let text = this.term(depth);
    for (let i = 1; i < terms; i++) {
      const operator = random.pick(["and", "or", "&&", "||", "and", "or"]);
      const operand = random.chance(0.12) ? this.bareAddress() : this.term(depth);
      text += ` ${operator} ${operand}`;
    }
    return text;
  }

  private term(depth: number): string {
    const { random } = this;
    if (depth > 0 && random.chance(0.18)) return `(${this.expression(depth - 1)})`;
    if (random.chance(0.15)) return `${random.pick(["not ", "! ", "not"])} ${this.term(depth)}`;
    return this.primitive();
  }

  private primitive(): string {
    const { random } = this;
    switch (random.below(16)) {
      case 0:
      case 1:
        return `${this.maybe(["ip", "arp", "rarp", "decnet", "tcp"], 0.3)}${this.direction()}${random.pick(["host ", "host ", "net ", ""])}${random.pick(HOSTS)}`;
      case 2:
        return this.network();
      case 3:
      case 4:
      case 5:
        return `${this.maybe(["tcp", "udp", "sctp", "ip"], 0.5)}${this.direction()}port ${this.port()}`;
      case 6:
        return `${this.maybe(["tcp", "udp", "sctp"], 0.4)}${this.direction()}portrange ${this.portRange()}`;
      case 7:
        return `${this.maybe(["ip6"], 0.4)}${this.direction()}${random.pick(["host ", "net ", ""])}${this.address6()}`;
      case 8:
        return `ether ${this.direction()}${random.pick(["host ", ""])}${this.mac()}`;
      case 9:
        return random.pick(LINK_PROTOCOLS);
      case 10:
        return this.protocol();
      case 11:
      case 12:
        return `${this.arithmetic(3)} ${random.pick(RELATIONS)} ${this.arithmetic(2)}`;
      case 13:
        return this.flag();
      case 14:
        return this.encapsulation();
      default:
        return random.pick(LINK_PROTOCOLS.slice(0, 10));
    }
  }

  private maybe(words: readonly string[], probability: number): string {
    return this.random.chance(probability) ? `${this.random.pick(words)} ` : "";
  }

  private direction(): string {
    return this.maybe(["src", "dst", "src or dst", "dst or src", "src and dst", "dst and src", "src && dst"], 0.5);
  }

  private bareAddress(): string {
    const { random } = this;
    const one = (): string =>
      random.pick([random.pick(HOSTS), String(random.pick(PORTS)), random.pick(PORT_NAMES), this.address6()]);
    if (random.chance(0.3)) return `(${one()} or ${one()})`;
    return random.chance(0.15) ? `not ${one()}` : one();
  }

  private network(): string {
    const { random } = this;
    const net = random.pick([
      "10",
      "10.1",
      "10.1.2",
      "192.168",
      "10.1.2.3",
      "10.0.0.0/8",
      "10.1.0.0/16",
      "10.1.2.0/23",
      "10.1.2.3/32",
      "0.0.0.0/0",
      "192.168.0.0 mask 255.255.0.0",
      "10.1 mask 255.255",
      "10.1.2.3/16",
      "10.1.2.3 mask 255.255.0.0",
      "10.1/16",
      "10.1.2.3/33",
      "172.16/12",
      "172.16.0.0/12",
      "loopback",
      "1000000",
      "0x0a010000",
      "012",
    ]); // prettier-ignore
    return `${this.maybe(["ip", "arp", "rarp", "udp"], 0.3)}${this.direction()}${random.pick(["net ", "net ", "net ", "host "])}${net}`;
  }

  private port(): string {
    const { random } = this;
    if (random.chance(0.2)) return `(${random.pick(PORTS)} or ${random.pick(PORT_NAMES)})`;
    return random.chance(0.25)
      ? random.pick(PORT_NAMES)
      : String(random.chance(0.9) ? random.pick(PORTS) : random.between(0, 70000));
  }

  private portRange(): string {
    const { random } = this;
    return random.pick([
      "0-1023",
      "53-80",
      "80-53",
      "ftp-ssh",
      "20-domain",
      "80",
      "1024-65535",
      "1-70000",
      "ssh-http",
      "50000-60000",
      "ftp-data-ssh",
      String(random.below(60000)),
      "80-80",
      "x-y",
    ]); // prettier-ignore
  }

  private address6(): string {
    const { random } = this;
    const address = random.pick(HOSTS6);
    if (random.chance(0.3)) return `${random.pick(["2001:db8::", "fe80::", "::", address])}/${random.between(0, 130)}`;
    return random.chance(0.1)
      ? random.pick(["::ffff:10.1.2.3", "1:2:3:4:5:6:10.1.2.3", "1::2::3", "1:2:3:4:5:6:7::", "::300.1.1.1"])
      : address;
  }

  private mac(): string {
    const { random } = this;
    const mac = random.pick(MACS);
    const long = mac.split(":").map((byte) => byte.padStart(2, "0"));
    return random.pick([
      mac,
      long.join("-"),
      long.join("."),
      long.join(""),
      `${long[0]}${long[1]}.${long[2]}${long[3]}.${long[4]}${long[5]}`,
    ]);
  }

  private protocol(): string {
    const { random } = this;
    const number = random.pick(["6", "17", "0x800", "0x86dd", "50", "1", "132", "300", "0", "44", "0x8100", "010"]);
    const kind = this.style.protochain && random.chance(0.4) ? "protochain" : "proto";
    switch (random.below(6)) {
      case 0:
        return `ether proto ${random.pick([number, random.pick(ETHER_PROTOCOL_NAMES)])}`;
      case 1:
        return `iso proto ${random.pick(["\\esis", "\\isis", "\\clnp", number])}`;
      case 2:
        return `isis proto ${random.between(14, 28)}`;
      default:
        return `${random.pick(["ip ", "ip6 ", "", "tcp "])}${kind} ${random.pick([number, number, random.pick(IP_PROTOCOL_NAMES)])}`;
    }
  }

  private flag(): string {
    const { random } = this;
    return random.pick([
      "broadcast",
      "multicast",
      "ether broadcast",
      "ether multicast",
      "ip broadcast",
      "ip multicast",
      "ip6 multicast",
      "ip6 broadcast",
      `less ${random.between(0, 1600)}`,
      `greater ${random.between(0, 1600)}`,
      `byte ${random.between(0, 40)} ${random.pick(["=", "<", ">", "&", "|"])} ${random.between(0, 255)}`,
      "llc",
      "llc i",
      "llc s",
      "llc u",
      "llc rr",
      "llc rnr",
      "llc rej",
      "llc ui",
      "llc xid",
      "llc test",
      "llc UA",
      "llc nosuch",
      "inbound",
      "outbound",
      "ifname eth0",
      "gateway 10.1.2.3",
      "wlan type mgt",
      "vpi 5",
      "rnr 4",
      "ra 10.1.2.3",
    ]); // prettier-ignore
  }

  private encapsulation(): string {
    const { random } = this;
    const kinds = [
      "vlan",
      "vlan",
      "vlan 5",
      "vlan 100",
      "vlan (5)",
      "vlan 5000",
      "mpls",
      "mpls 1024",
      "mpls 1048576",
      "pppoed",
      "pppoes",
      "pppoes 7",
      "pppoes 70000",
    ];
    return random.pick(this.style.geneve ? [...kinds, "geneve", "geneve 5", "geneve 20000000"] : kinds);
  }

  private arithmetic(depth: number): string {
    const { random } = this;
    if (depth > 0 && random.chance(0.45)) {
      const text = `${this.arithmetic(depth - 1)} ${random.pick(OPERATORS)} ${this.arithmetic(depth - 1)}`;
      return random.chance(0.3) ? `(${text})` : text;
    }
    if (depth > 0 && random.chance(0.06)) return `-${this.arithmetic(depth - 1)}`;
    switch (random.below(5)) {
      case 0:
        return "len";
      case 1:
      case 2: {
        const index =
          random.chance(0.75) || depth === 0
            ? String(random.below(64))
            : random.chance(0.3)
              ? random.pick(NAMED)
              : this.arithmetic(depth - 1);
        const size = random.chance(0.5) ? "" : `:${random.pick(["1", "2", "4", "2", "4", "3"])}`;
        return `${random.pick(LOADABLE)}[${index}${size}]`;
      }
      case 3:
        return random.pick(NAMED);
      default:
        return random.pick([
          "0",
          "1",
          "2",
          "0xff",
          "0xf",
          "017",
          "255",
          "6",
          "14",
          "31",
          "32",
          "0x0800",
          "1500",
          "4294967295",
          "0x80000000",
        ]);
    }
  }
}

const SOUP = [
  ...LINK_PROTOCOLS,
  "host",
  "net",
  "port",
  "portrange",
  "proto",
  "src",
  "dst",
  "and",
  "or",
  "not",
  "(",
  ")",
  "(",
  ")",
  "!",
  "10.1.2.3",
  "80",
  "53",
  "http",
  "len",
  "[",
  "]",
  ":",
  "=",
  "<",
  ">",
  "&",
  "|",
  "+",
  "-",
  "vlan",
  "mpls",
  "mask",
  "/",
  "8",
  "fe80::1",
  "ether",
  "00:11:22:33:44:55",
  "broadcast",
  "multicast",
  "less",
  "greater",
  "llc",
  "byte",
  "tcp[0]",
  "ip[2:2]",
  "tcp-syn",
  "0x",
  "08",
  "1.2.3.4.5",
  "\\tcp",
  "$a",
  "1:2:3",
  "a:b:c:",
  "&&",
  "||",
  "!=",
  "^",
  "%",
  "#",
  "0xfffffffff",
  "99999999999",
  "ether[0:4]",
]; // prettier-ignore

/** Words in any order: nearly all of it is no expression. */
export function wordSoup(random: Random): string {
  return Array.from({ length: random.between(1, 7) }, () => random.pick(SOUP)).join(random.chance(0.9) ? " " : "");
}
