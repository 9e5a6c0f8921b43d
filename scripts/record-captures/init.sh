#!/bin/busybox sh
# First process of either guest.
/bin/busybox --install -s /bin
export PATH=/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
depmod
for module in virtio_pci virtio_net 8021q; do modprobe $module; done
ip link set lo up
ROLE=$(sed 's/.*role=\([a-z]*\).*/\1/' /proc/cmdline)
/$ROLE.sh
sync
poweroff -f
