#!/bin/busybox sh
# What udhcpc calls with what it was leased.
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"
ip route add default via "$router"
mkdir -p /etc
echo "nameserver $dns" >/etc/resolv.conf
