/**
 * The words of the language, pcap-filter(7). Words in one line are spellings of the first.
 */
const WORDS = `
src
dst
link ether ppp slip fddi tr wlan
arp
rarp
ip
sctp
tcp
udp
icmp
igmp
igrp
pim
vrrp
carp
radio
ip6
icmp6
ah
esp
atalk
aarp
decnet
lat
sca
moprc
mopdl
iso
esis es-is
isis is-is
l1
l2
iih
lsp
snp
csnp
psnp
clnp
stp
ipx
netbeui
host
net
mask
port
portrange
proto
protochain
gateway
type
subtype
dir direction
addr1 address1
addr2 address2
addr3 address3
addr4 address4
ra
ta
less
greater
byte
broadcast
multicast
and
or
! not
len length
inbound
outbound
ifindex
vlan
mpls
pppoed
pppoes
geneve
lane
llc
metac
bcc
oam
oamf4
oamf4ec
oamf4sc
sc
ilmic
vpi
vci
connectmsg
metaconnect
ifname on
rset ruleset
rnr rulenum
srnr subrulenum
reason
action
fisu
lssu lsu
msu
hfisu
hlssu
hmsu
sio
opc
dpc
sls
hsio
hopc
hdpc
hsls
`;

export const KEYWORDS: ReadonlyMap<string, string> = new Map(
  WORDS.trim()
    .split("\n")
    .flatMap((line) => {
      const [keyword, ...others] = line.split(" ");
      return [keyword, ...others].map((word) => [word, keyword] as const);
    }),
);

/** Names of offsets and values: TCP flags (RFC 9293), types of ICMP (RFC 792, 1256) and ICMPv6 (IANA's registry). */
const NUMBERS = `
0 icmptype icmp6type icmp-echoreply
1 icmpcode icmp6code
3 icmp-unreach
4 icmp-sourcequench
5 icmp-redirect
8 icmp-echo
9 icmp-routeradvert
10 icmp-routersolicit
11 icmp-timxceed
12 icmp-paramprob
13 icmp-tstamp
14 icmp-tstampreply
15 icmp-ireq
16 icmp-ireqreply
17 icmp-maskreq
18 icmp-maskreply
1 icmp6-destinationunreach
2 icmp6-packettoobig
3 icmp6-timeexceeded
4 icmp6-parameterproblem
128 icmp6-echo
129 icmp6-echoreply
130 icmp6-multicastlistenerquery
131 icmp6-multicastlistenerreportv1
132 icmp6-multicastlistenerdone
133 icmp6-routersolicit
134 icmp6-routeradvert
135 icmp6-neighborsolicit
136 icmp6-neighboradvert
137 icmp6-redirect
138 icmp6-routerrenum
139 icmp6-nodeinformationquery
140 icmp6-nodeinformationresponse
141 icmp6-ineighbordiscoverysolicit
142 icmp6-ineighbordiscoveryadvert
143 icmp6-multicastlistenerreportv2
144 icmp6-homeagentdiscoveryrequest
145 icmp6-homeagentdiscoveryreply
146 icmp6-mobileprefixsolicit
147 icmp6-mobileprefixadvert
148 icmp6-certpathsolicit
149 icmp6-certpathadvert
151 icmp6-multicastrouteradvert
152 icmp6-multicastroutersolicit
153 icmp6-multicastrouterterm
13 tcpflags
1 tcp-fin
2 tcp-syn
4 tcp-rst
8 tcp-push
16 tcp-ack
32 tcp-urg
64 tcp-ece
128 tcp-cwr
`;

export const NAMED_NUMBERS: ReadonlyMap<string, number> = new Map(
  NUMBERS.trim()
    .split("\n")
    .flatMap((line) => {
      const [number, ...names] = line.split(" ");
      return names.map((name) => [name, Number(number)] as const);
    }),
);
