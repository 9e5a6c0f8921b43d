#!/bin/busybox sh
# DHCP, router advertisements, DNS, TFTP (dnsmasq), HTTP and an echo port, on an untagged network and on VLAN 5.
ip link set eth0 up
ip addr add 192.0.2.1/24 dev eth0
ip addr add 2001:db8::1/64 dev eth0
vconfig add eth0 5 >/dev/null
ip link set eth0.5 up
ip addr add 198.51.100.1/24 dev eth0.5
echo 1 >/proc/sys/net/ipv4/ip_forward

# Text that compresses well and is recognised in a dump.
seq 1 300 | sed 's/^/line /' >/www/small.txt
seq 1 9000 | sed 's/^/line number /' >/www/large.txt
echo '<html><body>Korral test server</body></html>' >/www/index.html
httpd -h /www -p 80

# By now the IPv6 address is no longer tentative, so that dnsmasq can bind to it.
sleep 2
mkdir -p /var/run /var/lib/misc /etc
echo 'root:x:0:0:root:/:/bin/sh' >/etc/passwd
dnsmasq --conf-file=/dev/null --user=root --group= --no-resolv --no-hosts --no-daemon --log-facility=/dev/null \
  --interface=eth0 --bind-interfaces \
  --dhcp-range=192.0.2.50,192.0.2.50,255.255.255.0,1h --dhcp-range=2001:db8::,ra-only --enable-ra --dhcp-no-override \
  --dhcp-leasefile=/tmp/leases --domain=example.com \
  --host-record=www.example.com,192.0.2.1,2001:db8::1 --cname=alias.example.com,www.example.com \
  --txt-record=example.com,"a text record" --mx-host=example.com,mail.example.com,10 --local=/example.com/ \
  --enable-tftp --tftp-root=/www &
nc -ll -p 7777 -e /bin/cat &

sleep 3
echo "server is ready" >/dev/ttyS0
sleep 600
