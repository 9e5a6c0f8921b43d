#!/usr/bin/env bash
# Installs the Debian packages that the oracle tests and benchmarks compare with or run in. The product needs none of them.
set -euo pipefail
packages=(tcpdump libpcap-dev gcc libc6-dev kmod bpftool pahole xz-utils zstd lz4 gzip chromium
  qemu-system-x86 busybox-static)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null; then
  echo "missing Debian packages: ${missing[*]} (no apt-get here: install them by hand)" >&2
  exit 6
fi
if [ "$(id -u)" -eq 0 ]; then run=(); elif command -v sudo >/dev/null; then run=(sudo -n); else
  echo "missing Debian packages: ${missing[*]} (run as root: apt-get install ${missing[*]})" >&2
  exit 6
fi
echo "installing Debian packages: ${missing[*]}" >&2
"${run[@]}" apt-get update -qq
"${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
