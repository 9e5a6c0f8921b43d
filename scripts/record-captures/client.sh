#!/bin/busybox sh
# One short session with something of everything.
say() { echo "client: $*" >/dev/ttyS0; }
ip link set eth0 up
sleep 2

say DHCP
udhcpc -i eth0 -s /lease.sh -p /tmp/udhcpc.pid -R -n -t 5 -T 2 -x hostname:guest >/dev/ttyS0 2>&1
arping -c 2 -U -I eth0 192.0.2.50 >/dev/null

say DNS
for type in a aaaa mx txt; do nslookup -type=$type www.example.com 192.0.2.1; done >/dev/null 2>&1
nslookup -type=mx example.com 192.0.2.1 >/dev/null 2>&1
nslookup alias.example.com 192.0.2.1 >/dev/null 2>&1
nslookup nowhere.example.com 192.0.2.1 >/dev/null 2>&1
nslookup www.example.com 2001:db8::1 >/dev/null 2>&1

say ping
ping -c 2 192.0.2.1 >/dev/null
ping -c 2 -s 1472 192.0.2.1 >/dev/null
ping -c 1 -s 4000 192.0.2.1 >/dev/null
ping -c 1 -W 1 -t 1 198.51.100.77 >/dev/null 2>&1
ping -c 1 -W 1 192.0.2.99 >/dev/null 2>&1
ping6 -c 2 2001:db8::1 >/dev/null
ping6 -c 1 -s 3000 2001:db8::1 >/dev/null
ping6 -c 2 ff02::1%eth0 >/dev/null 2>&1
traceroute -n -m 1 -q 2 192.0.2.1 >/dev/null 2>&1

say HTTP
wget -q -O /tmp/index http://www.example.com/
wget -q -O /tmp/small http://192.0.2.1/small.txt
wget -q -O /tmp/large http://192.0.2.1/large.txt
wget -q -O /tmp/small6 'http://[2001:db8::1]/small.txt'
wget -q -O /dev/null http://192.0.2.1/missing 2>/dev/null
nc -w 2 192.0.2.1 81 </dev/null 2>/dev/null
(head -c 20000 /tmp/large; sleep 1) | nc -w 2 192.0.2.1 7777 >/tmp/echo
say "$(wc -c /tmp/index /tmp/small /tmp/large /tmp/small6 /tmp/echo | tr '\n' ';')"

say UDP
tftp -g -r small.txt -l /tmp/tftp -b 1024 192.0.2.1 >/dev/ttyS0 2>&1
tftp -g -r missing.txt -l /tmp/missing 192.0.2.1 >/dev/null 2>&1

say VLAN
vconfig add eth0 5 >/dev/null
ip link set eth0.5 up
ip addr add 198.51.100.2/24 dev eth0.5
ping -c 2 198.51.100.1 >/dev/null
ping -c 1 -s 2000 198.51.100.1 >/dev/null
wget -q -O /dev/null http://198.51.100.1/small.txt

kill "$(cat /tmp/udhcpc.pid)"
sleep 1
ip link set eth0 down
echo "client is done" >/dev/ttyS0
