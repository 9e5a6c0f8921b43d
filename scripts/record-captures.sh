#!/usr/bin/env bash
# Records test/captures/guest-session.pcap: two small Linux guests under QEMU talk to each other over a frame socket, and
# our own recorder stands in between. Nothing touches a network of this machine; all addresses are documentation ones.
#
# Needs the Debian packages qemu-system-x86, busybox-static, dnsmasq-base, cpio, dpkg, apt and Node; no root. The kernel
# comes from Debian's package, fetched once into .cache/ and never committed.
# usage: scripts/record-captures.sh [OUTPUT.pcap]
set -euo pipefail
cd "$(dirname "$0")/.."

output=${1:-test/captures/guest-session.pcap}
cache=.cache/record-captures
parts=scripts/record-captures
boot_seconds=120
session_seconds=180

for program in qemu-system-x86_64 busybox dnsmasq cpio dpkg-deb apt-get apt-cache ldd; do
  PATH=$PATH:/usr/sbin command -v "$program" >/dev/null && continue
  echo "record-captures: $program is missing: install qemu-system-x86 busybox-static dnsmasq-base cpio" >&2
  exit 6
done
[ -f dist/formats/capture.js ] || npm run --silent build

work=$(mktemp -d)
pids=()
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
  rm -rf "$work"
}
trap finish EXIT

mkdir -p "$cache"
if ! ls "$cache"/linux-image-*.deb >/dev/null 2>&1; then
  package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p' | head -1)
  (cd "$cache" && apt-get download -qq "$package")
fi
mkdir "$work/kernel" "$work/root"
dpkg-deb --fsys-tarfile "$(ls "$cache"/linux-image-*.deb | head -1)" | tar -x -C "$work/kernel"

# One root file system for both guests; the kernel command line says which of them it is.
root=$work/root
mkdir -p "$root"/{bin,dev,proc,sys,tmp,www,lib64,usr/sbin}
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$parts"/{init,server,client,lease}.sh "$root/"
chmod +x "$root"/*.sh
dnsmasq=$(PATH=$PATH:/usr/sbin command -v dnsmasq)
cp "$dnsmasq" "$root/usr/sbin/dnsmasq"
ldd "$dnsmasq" | grep -o '/[^ ]*' | while read -r library; do cp --parents "$library" "$root"; done
(
  cd "$work/kernel"
  cp --parents lib/modules/*/modules.* "$root" 2>/dev/null || true
  find lib/modules/*/kernel/{drivers/virtio,drivers/net/virtio_net.ko,drivers/net/net_failover.ko,net/core,net/8021q,net/802,net/llc} \
    -name '*.ko' -exec cp --parents {} "$root" \;
)
(cd "$root" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/initramfs.gz"

node "$parts/tap.mjs" "$work/server.sock" "$work/client.sock" "$work/session.pcap" >"$work/tap.log" &
tap=$!
pids+=("$tap")
wait_for() { # FILE TEXT SECONDS
  for _ in $(seq $(($3 * 10))); do
    grep -qs "$2" "$1" && return
    sleep 0.1
  done
  echo "record-captures: waited $3 s for '$2'; the guest said:" >&2
  tail -20 "$1" >&2
  exit 124
}
wait_for "$work/tap.log" listening 20

guest() { # ROLE MAC
  qemu-system-x86_64 -accel tcg -m 256 -display none -no-reboot -nodefaults -rtc base=2026-01-01 -serial "file:$work/$1.log" \
    -kernel "$work"/kernel/boot/vmlinuz-* -initrd "$work/initramfs.gz" \
    -append "console=ttyS0 quiet panic=-1 net.ifnames=0 rdinit=/init.sh role=$1" \
    -netdev "stream,id=wire,server=off,addr.type=unix,addr.path=$work/$1.sock" \
    -device "virtio-net-pci,netdev=wire,mac=$2,romfile=" </dev/null &
  pids+=("$!")
}
# 00:00:5e:00:53:xx are the MAC addresses for documentation (RFC 7042).
guest server 00:00:5e:00:53:01
wait_for "$work/server.log" "server is ready" "$boot_seconds"
guest client 00:00:5e:00:53:02
wait_for "$work/client.log" "client is done" "$session_seconds"
wait_for "$work/tap.log" recorded 20

mkdir -p "$(dirname "$output")"
cp "$work/session.pcap" "$output"
grep '^client:' "$work/client.log" >&2
grep recorded "$work/tap.log"
