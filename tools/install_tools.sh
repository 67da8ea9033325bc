#!/bin/sh
# Installs the system tools that Spikelet can use and PyPI does not offer: QEMU, cross compilers,
# sanitisers. Asks apt only for what is missing. Without root, or on another system, it prints what to run.
# SPDX-License-Identifier: Apache-2.0
set -eu

packages="qemu-system-misc qemu-system-arm gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf
gcc-arm-none-eabi libnewlib-arm-none-eabi gcc libc6-dev clang make"

installed() {
    dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null | grep -q '^ii'
}

# The sanitisers of clang lie in a package of its version from Debian 12 and Ubuntu 23.04 on.
clang_runtime() {
    version=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9][0-9]*\)$/\1/p')
    name="libclang-rt-${version:-none}-dev"
    if apt-cache show "$name" >/dev/null 2>&1; then
        echo "$name"
    fi
}

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "not Debian or Ubuntu: install these with this system's own means, as far as it has them:"
    echo "  qemu-system-riscv32 qemu-system-arm riscv64-unknown-elf-gcc arm-none-eabi-gcc gcc clang make"
    exit 0
fi

missing=""
for package in $packages; do
    installed "$package" || missing="$missing $package"
done
if [ -n "$missing" ] && [ "$(id -u)" -eq 0 ]; then
    apt-get update -qq
fi
for package in $(clang_runtime); do
    installed "$package" || missing="$missing $package"
done

if [ -z "$missing" ]; then
    echo "tools: all there"
elif [ "$(id -u)" -ne 0 ]; then
    echo "tools missing; run:"
    echo "  sudo apt-get install -y --no-install-recommends$missing"
else
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
fi
