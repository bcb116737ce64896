#!/bin/bash
# Runs every libFuzzer target of the fuzz preset for N seconds from its corpus: smoke.sh [SECONDS]
set -u
cd "$(dirname "$0")/../.."
seconds=${1:-60} passed=0 failed=0
for target in build/fuzz/bin/*_fuzz; do
    name=$(basename "$target")
    found=build/fuzz/found/$name
    dict=tests/fuzz/dict/$name.dict
    mkdir -p "$found" "tests/fuzz/corpus/$name"
    # no single allocation above 4 MiB, whatever an input claims
    if "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=4 \
        -print_final_stats=1 $([ -f "$dict" ] && echo "-dict=$dict") \
        -artifact_prefix="$found/" "$found" "tests/fuzz/corpus/$name" >"$found.log" 2>&1; then
        passed=$((passed + 1))
        echo "ok   $name $(grep -o 'stat::number_of_executed_units: *[0-9]*' "$found.log")"
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        tail -40 "$found.log"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
