#!/usr/bin/env bash
# Start `make run`, ask it what it says to ask, stop it, and see that it went.
set -euo pipefail

log=$(mktemp)
set -m # a process group of its own, so that the signal reaches make and the server, as Ctrl-C's does
make run >"$log" 2>&1 </dev/null &
group=$!
set +m
trap 'kill -KILL -- -$group 2>/dev/null || true; rm -f "$log"' EXIT

fail() {
    echo "make run: $1" >&2
    cat "$log" >&2
    exit 1
}

ask() { dig @127.0.0.1 -p 1053 +short +tries=1 +time=1 "$@"; }

for _ in $(seq 100); do
    kill -0 $group 2>/dev/null || fail "ended by itself"
    if ask kubernetes.default.svc.cluster.local >/dev/null; then break; fi
    sleep 0.1
done

expect() {
    local answer=$1
    shift
    [ "$(ask "$@" | sort | tr '\n' ' ')" = "$answer " ] || fail "dig $* gave '$(ask "$@")', not '$answer'"
    [ "$(ask +tcp "$@" | sort | tr '\n' ' ')" = "$answer " ] || fail "dig +tcp $* differs"
}

expect 10.96.0.1 kubernetes.default.svc.cluster.local
expect "10.244.1.3 10.244.2.4 10.244.3.2" superopsmsb-nginx-headless.default.svc.cluster.local
expect kube-dns.kube-system.svc.cluster.local. -x 10.96.0.10

kill -INT -- -$group
for _ in $(seq 100); do
    kill -0 $group 2>/dev/null || break
    sleep 0.1
done
! kill -0 $group 2>/dev/null || fail "still runs 10 seconds after SIGINT"
! ask kubernetes.default.svc.cluster.local >/dev/null || fail "still answers after SIGINT"
echo "make run: answers, and stops"
