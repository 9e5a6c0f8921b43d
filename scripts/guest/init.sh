#!/bin/busybox sh
# First process of a guest: loads what it was given, then does what it is told over the serial line.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo -onlcr
while read -r module; do insmod "/modules/$module.ko"; done </modules/order
ip link set lo up
echo "@ready $(cut -d ' ' -f 1 /proc/uptime)"
while read -r command; do
  eval "$command"
  echo "@ended $?"
done
