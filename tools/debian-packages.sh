#!/usr/bin/env bash
# Install the programs, other than Python's, that tests and bench run: real clients, a real upstream, a C compiler.
set -euo pipefail

PATH=$PATH:/usr/sbin:/sbin
packages=()
command -v dig nslookup >/dev/null || packages+=(bind9-dnsutils)
command -v nsd >/dev/null || packages+=(nsd)
command -v unbound >/dev/null || packages+=(unbound)
command -v dnsperf >/dev/null || packages+=(dnsperf)
command -v ip >/dev/null || packages+=(iproute2)
command -v kubectl >/dev/null || packages+=(kubernetes-client)
command -v openssl >/dev/null || packages+=(openssl)
command -v promtool >/dev/null || packages+=(prometheus)
command -v conntrack >/dev/null || packages+=(conntrack)
command -v curl >/dev/null || packages+=(curl)
command -v iptables-restore >/dev/null || packages+=(iptables)
command -v runc >/dev/null || packages+=(runc)
command -v setcap >/dev/null || packages+=(libcap2-bin)
command -v sysctl >/dev/null || packages+=(procps)
command -v unbound >/dev/null || packages+=(unbound)
command -v cc >/dev/null || packages+=(gcc libc6-dev)
[ ${#packages[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    printf '%s\n' "The tests need programs that are not here. On Debian, as root:" \
        "    apt-get update && apt-get install --yes --no-install-recommends ${packages[*]}" >&2
    exit 1
fi

# Packages start nsd, unbound and prometheus as services: a policy of 101 says no (invoke-rc.d's manual page).
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
fi
export DEBIAN_FRONTEND=noninteractive
echo "Installing ${packages[*]}"
apt-get update
apt-get install --yes --no-install-recommends "${packages[@]}"
