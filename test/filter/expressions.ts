/** Expressions for every construct of pcap-filter(7) that Ethernet has; each accepts some packets and rejects others. */
export const ACCEPTED = `
ip
ip6
arp
rarp
tcp
udp
sctp
icmp
icmp6
igmp
igrp
pim
ah
esp
vrrp
carp
atalk
aarp
decnet
lat
sca
moprc
mopdl
iso
clnp
esis
es-is
isis
is-is
l1
l2
iih
lsp
snp
csnp
psnp
stp
ipx
netbeui
host 10.1.2.3
src host 10.1.2.3
dst host 10.1.2.3
src or dst host 10.1.2.3
dst or src host 10.1.2.3
src and dst host 10.1.2.3
src 10.1.2.3
dst 10.1.2.4
ip host 10.1.2.3
ip src host 10.1.2.3
arp host 10.1.2.3
arp src 10.1.2.4
arp dst host 10.1.2.4
rarp host 192.168.7.9
rarp src or dst host 10.1.2.3
host 10.1.2
host \\10.1.2.3
host 10.1.2.3 or 192.168.7.9
host (10.1.2.3 or 192.168.7.9)
host 10.1.2.3 and not 192.168.7.9
host not 10.1.2.3
not host 10.1.2.3
! host 10.1.2.3
not host 10.1.2.3 and 10.1.2.4
not (host 10.1.2.3 or 10.1.2.4)
host 10.1.2.3 && (10.1.2.4 || 172.16.0.1)
src host (10.1.2.3 or 10.1.2.4) and dst host (192.168.7.9 or 172.16.0.1)
ip host 10.1.2.3 and tcp
host 10.1.2.3 and (tcp or udp) and port 80
ip6 host 2001:db8::1
host fe80::1
src host fe80::1
dst host ff02::1
src and dst host fe80::1
ip6 src ::1
host 2001:db8:1:2:3:4:5:6
host \\fe80::1
net 10
net 10.1
net 10.1.2
net 10.1.2.3
src net 10.1
dst net 192.168
net 10.0.0.0/8
net 10.1.2.0/23
net 10.1/16
net 172.16.0.0/12
net 192.168.0.0 mask 255.255.0.0
net 10.1 mask 255.255
ip net 10.1.0.0/16
arp net 10.1.0.0/16
net 0.0.0.0/0
src and dst net 10
net 10.1 or 192.168
net 0x0a
net 012
net 2001:db8::/32
src net fe80::/10
net 2001:db8:1::/48
ip6 net ff00::/8
dst net ::1/128
net ::/0
port 80
tcp port 80
udp port 53
sctp port 443
src port 53
dst port 53
src or dst port 22
src and dst port 80
tcp src port 21
tcp dst port ftp
tcp dst port ftp or ftp-data
port http
port domain
port ssh
port ntp
udp port domain
port (80 or 443)
port 80 or 443
port not 80
tcp port (http or https)
not port 80
port 80 and not tcp
port \\80
ip and tcp port 80
ip6 and udp port 53
portrange 20-80
tcp portrange 20-80
udp portrange 80-20
src portrange 20-22
dst portrange 1024-65535
src and dst portrange 0-1023
portrange ftp-ssh
portrange ssh-80
portrange 80
portrange 53-domain
sctp portrange 0-100
portrange (20-30 or 50-60)
ip proto 6
ip proto \\tcp
ip proto \\udp
ip proto \\icmp
ip proto (\\vrrp or \\pim)
ip6 proto 17
ip6 proto \\tcp
ip6 proto ipv6-icmp
ip6 proto 44
proto 6
proto \\udp
proto 50 or 51
ip proto (\\tcp or \\udp)
ip proto ospf
ip proto UDP
ether proto 0x0800
ether proto \\ip
ether proto \\ip6
ether proto \\arp
ether proto \\rarp
ether proto \\atalk
ether proto \\aarp
ether proto \\decnet
ether proto loopback
ether proto \\stp
ether proto \\ipx
ether proto \\netbeui
ether proto \\iso
ether proto 6
ether proto 0x88a8
ether proto 0xe0
ether proto 1501
iso proto \\clnp
iso proto \\esis
iso proto \\isis
iso proto 0x83
isis proto 18
ether host 00:11:22:33:44:55
ether src 00:11:22:33:44:55
ether dst 00:11:22:33:44:55
ether src host 00:11:22:33:44:55
ether dst host ff:ff:ff:ff:ff:ff
ether src and dst 00:11:22:33:44:55
ether src or dst 2:0:0:0:0:1
ether host 00-11-22-33-44-55
ether host 00.11.22.33.44.55
ether host 0011.2233.4455
ether host 001122334455
link host 00:11:22:33:44:55
wlan host 00:11:22:33:44:55
ether host 00:11:22:33:44:55 or ff:ff:ff:ff:ff:ff
broadcast
ether broadcast
multicast
ether multicast
ip broadcast
ip multicast
ip6 multicast
not broadcast and not multicast
less 60
greater 100
less 100 and greater 60
len > 100
len <= 60
len = 60 or length != 61
byte 0 = 0xff
byte 12 > 8
byte 12 < 8
tcp and byte 0 & 2
tcp and byte 0 | 5
decnet host 1.2
decnet src 1.2
decnet dst host 1.23
decnet src or dst host 1.23
llc
llc i
llc s
llc u
llc rr
llc rnr
llc rej
llc ui
llc ua
llc disc
llc dm
llc sabme
llc test
llc xid
llc frmr
llc U
vlan
vlan 5
vlan 100
vlan (5)
not vlan
vlan and ip
vlan and vlan
vlan and vlan and ip
vlan 5 and vlan 100
vlan and host 10.1.2.3
vlan and tcp port 80
vlan and ip6
vlan or ip
vlan 5 or ip
not vlan 5 and ip
vlan and arp
vlan and ether src 00:11:22:33:44:55
vlan and ip[8] = 64
mpls
mpls 1024
mpls 100
mpls and ip
mpls and ip6
mpls 1024 and host 10.1.2.3
mpls and mpls
mpls and mpls and ip
mpls and mpls and mpls and ip6
mpls and tcp port 80
mpls and not port 80
vlan and mpls
vlan or mpls
mpls and net 10
pppoed
pppoes
pppoes 7
pppoes and ip
pppoes 7 and ip
pppoes and ip6
pppoes and tcp port 80
pppoes and host 10.1.2.3
vlan and pppoes and ip
pppoes and ip[8] = 64
pppoes and ether proto 0x21
geneve
geneve 5
geneve and ip
geneve 5 and ip
geneve and tcp
geneve and ether host 00:11:22:33:44:55
geneve and host 10.1.2.3
geneve and port 80
geneve and arp
geneve and vlan
geneve and broadcast
geneve and multicast
geneve and ip[8] = 64
geneve and tcp[13] != 0
vlan and geneve
ether[0] & 1 = 0
ether[0] & 1 != 0 and ip[16] >= 224
ether[12:2] = 0x0800
ether[6:4] = 0x00112233 and ether[10:2] = 0x4455
ether[len - 1] = 0
ip[0] & 0xf != 5
ip[0] & 0xf > 5
ip[6:2] & 0x1fff = 0
ip[6:2] & 0x1fff != 0
ip[6] & 0x20 != 0
ip[9] = 6
ip[2:2] > 60
ip[12:4] = 0x0a010203
ip[(ip[0] & 0xf) << 2] = 0
ip6[6] = 58
ip6[6] == 44
ip6[40] = 6
arp[6:2] = 1
arp[7] = 2
rarp[6:2] = 3
tcp[13] & 2 != 0
tcp[tcpflags] & tcp-syn != 0
tcp[tcpflags] & (tcp-syn|tcp-fin) != 0
tcp[tcpflags] = tcp-syn
tcp[tcpflags] & (tcp-syn | tcp-ack) == (tcp-syn | tcp-ack)
tcp[tcpflags] & tcp-push != 0 or tcp[tcpflags] & tcp-urg != 0
tcp[tcpflags] & tcp-rst != 0
tcp[tcpflags] & tcp-ece = 0
tcp[tcpflags] & tcp-cwr = 0
tcp[0:2] = 80
tcp[(tcp[12] & 0xf0) >> 2] > 127
tcp[((tcp[12:1] & 0xf0) >> 2):4] > 0x80000000
udp[4:2] > 16
udp[8] & 0x80 = 0
sctp[2:2] = 80
icmp[icmptype] = icmp-echo
icmp[icmptype] = icmp-echoreply
icmp[icmptype] == icmp-unreach or icmp[icmpcode] == 3
icmp[icmptype] == icmp-timxceed
icmp[icmptype] != icmp-redirect
icmp6[icmp6type] = icmp6-echo
icmp6[icmp6type] == icmp6-echoreply
icmp6[icmp6type] == icmp6-neighborsolicit
icmp6[icmp6type] == icmp6-neighboradvert
icmp6[icmp6type] >= 128
icmp6[icmp6code] = 0
icmp6[0] = icmp6-destinationunreach
igmp[0] > 16
pim[0] < 128
vrrp[0] > 100
carp[1] > 100
decnet[2] = 0x81
atalk[0] < 128
lat[0] < 128
moprc[0] < 128
sca[0] < 128
ip[8] + 1 = 65
ip[8] - 1 < 64
ip[8] * 2 = 128
ip[2:2] / 20 > 2
ip[2:2] % 4 = 0
ip[0] ^ 0x45 = 0
ip[0] | 0xf = 0x4f
ip[0] >> 4 = 4 and ip[9] << 1 = 12
- ip[8] = 0xffffffc0
-ip[9] + 6 = 0
len - ip[2:2] > 14
ip[2:2] + 14 = len
ip[2:2] = len - 14
len >= 64 and len < 128
len & 1 = 1
(len + 1) * 2 > 200
4 < ip[9]
0x11 = ip[9]
6 = ip[9]
ip[1:1] = 0
ip[0:1] & 017 = 5
(ip[9])=6
((ip[9]) = 6)
((5)) = ip[0] & 15
ip[9] - ip[9] = len - len and udp
tcp and not tcp[13] & 2 != 0
not ip and not ip6
ip or ip6 and tcp
(ip or ip6) and tcp
ip and (tcp or udp) and not port 80
tcp and port 80 or udp and port 53
not tcp or port 80
!tcp&&!udp
ip and !tcp
tcp||udp
ip and (not tcp and not udp)
tcp port 80 or (vlan and tcp port 80)
host 10.1.2.3 and port 80 and not src host 10.1.2.4
ip and ip[8] = 64 and ip[9] = 17 and udp port 53
icmp or icmp6
src host 10.1.2.3 and dst port 80 or src host 10.1.2.4 and src port 53
(((tcp)))
not not not tcp
udp port 53 or arp
ip[0] & 0xf > 5 and tcp port 80
ip[6:2] & 0x3fff != 0 and udp
ip6 and (tcp or udp)
ether proto \\ip and host 10.1.2.3
net loopback or tcp
port 80 and len > 100
tcp[2:2] + tcp[0:2] > 1000
greater 60 and less 90 and ip
ip[2] = ip[3] or ip[4] = ip[5]
ether[0:4] = 0xffffffff and ether[4:2] = 0xffff
`
  .trim()
  .split("\n");

/** Likewise, with `protochain`. */
export const ACCEPTED_CHAINS = `
ip protochain 6
ip protochain \\udp
ip6 protochain 6
ip6 protochain \\tcp
ip6 protochain 17 or ip protochain 17
protochain \\icmp
protochain 58
ip6 protochain 51
ip6 protochain 44
not ip6 protochain 6
ip6 protochain 59
vlan and ip6 protochain 6
ip6 protochain 6 and len > 100
protochain (6 or 17)
`
  .trim()
  .split("\n");

/** What libpcap refuses for a capture file of Ethernet frames: not in the language, or not answerable. */
export const REFUSED = `
host
tcp host
tcp host 10.1.2.3
udp net 10
host 10.1.2.3.4
host 10.1.2.300
host 1::2::3
host fe80::1/64
host 10.1.2.3/24
net 10.1.2.3/8
net 10.1.2.3/33
net 10/8
net 10.1.2.3 mask 255.255.0.0
net 10.1.2.3 mask 255
net fe80::1/10
net fe80::/129
net nosuchnetwork
port
port 65536
port nosuchport
port 10.1.2.3
tcp port tftp
udp port ftp
ip port 80
icmp port 80
portrange 1-70000
portrange 80-nosuchport
portrange nosuchport
arp port 80
ip host fe80::1
ip6 host 10.1.2.3
arp host fe80::1
ether host 10.1.2.3
ether host 5
ether host nosuchhost
host 00:11:22:33:44:55
ip host 00:11:22:33:44:55
ether 00:11:22:33:44:55
ether host 00:11:22:33:44
ether host 0:1:2:
10.1.2.3
80
nosuchword
proto
ip proto nosuchproto
ip proto 10.1.2.3
tcp proto 6
arp proto 6
ether proto nosuchproto
iso proto nosuchproto
isis proto \\iih
src proto 6
ether
tcp and
and tcp
tcp udp
tcp or or udp
not
(tcp
tcp)
()
host (10.1.2.3
host ((10.1.2.3 or 10.1.2.4) or 10.1.2.5)
(tcp) or 80
(port 80) or 443
tcp or 80
src or tcp
src and src host 10.1.2.3
ip and arp
tcp and udp and icmp
host 10.1.2.3 and src 10.1.2.4 and dst 10.1.2.5
1 = 2
5 > 6
len
ip[0]
ip[0] = 
= 5
ip[0:3] = 5
ip[0:5] = 5
ip[] = 5
ip[0 = 5
ah[0] = 5
esp[0] = 5
stp[0] = 5
iso[0] = 5
1 / 0 = len
len % 0 = 1
len / (5 - 5) = 1
len << 32 = 0
len >> (16 + 16) = 0
08 = len
0xfffffffff = len
4294967296 = len
99999999999 > len
((((len
1 + 2 + = 3
ip[0] = 5 = 5
ip broadcast 5
tcp broadcast
ip6 broadcast
arp multicast
byte 5
byte 5 + 5
byte len = 5
less
less tcp
greater (5)
vlan 4096
vlan tcp
mpls 1048576
mpls and arp
mpls and vlan
pppoes 65536
pppoes and vlan
pppoes and ether host 00:11:22:33:44:55
pppoes and broadcast
pppoes and llc
geneve 16777216
geneve and ip protochain 6
llc nosuch
llc 5
tcp protochain 6
gateway 10.1.2.3
gateway nosuchhost
ether host 00:11:22:33:44:55 and gateway 10.1.2.3
inbound
outbound
ifindex 1
ifname eth0
on eth0
rnr 5
ruleset x
srnr 5
reason match
action pass
wlan type mgt
type data
subtype beacon
dir nods
wlan addr1 00:11:22:33:44:55
wlan ra 00:11:22:33:44:55
radio
radio[0] = 5
lane
metac
bcc
oam
sc
ilmic
oamf4
oamf4ec
oamf4sc
connectmsg
metaconnect
vpi 5
vci 5
fisu
lssu
lsu
msu
hfisu
sio 5
opc 5
dpc 5
sls 5
hopc > 5
$1f
host $1f
tcp#
tcp; udp
decnet host nosuchnode
atalk host 10.1.2.3
`
  .split("\n")
  .filter((line) => line.trim() !== "");
