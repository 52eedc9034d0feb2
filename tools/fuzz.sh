#!/usr/bin/env bash
# fuzz.sh PYTHON SECONDS: run every target of tests/fuzz at once for that long. What it finds stays in .fuzz.
set -euo pipefail

python=$1 seconds=$2
targets=$("$python" -c 'from tests.fuzz.targets import TARGETS; print(*TARGETS)')
declare -A running
for target in $targets; do
    mkdir -p ".fuzz/$target"
    "$python" -m tests.fuzz.run "$target" ".fuzz/$target" tests/fuzz/corpus \
        -max_total_time="$seconds" -max_len=4096 -timeout=5 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix=".fuzz/$target-" >".fuzz/$target.log" 2>&1 &
    running[$target]=$!
done
echo "Fuzzing $(echo $targets | tr ' ' ',') for $seconds seconds"

status=0
for target in $targets; do
    if wait "${running[$target]}"; then
        echo "$target: $(awk '/number_of_executed_units/ {print $2}' ".fuzz/$target.log") messages, no failure"
    else
        status=1
        tail -n 40 ".fuzz/$target.log" >&2
        echo "$target failed; the message is in .fuzz/$target-crash-*: add it to tests/fuzz/corpus with the mending" >&2
    fi
done
exit $status
