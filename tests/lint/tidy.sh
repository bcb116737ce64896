#!/bin/bash
# clang-tidy over the sources of the dev preset; a file without findings is one test.
set -u
cd "$(dirname "$0")/../.."
passed=0 failed=0
while read -r file verdict; do
    if [ "$verdict" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        cat "build/test-logs/tidy/${file//\//_}.log"
    fi
done < <(
    mkdir -p build/test-logs/tidy
    git ls-files '*.c' | grep -v -e '^tests/' -e '^openapi/schemas' |
        xargs -P "$(nproc)" -I{} sh -c '
            log=build/test-logs/tidy/$(echo {} | tr / _).log
            clang-tidy --quiet -p build/dev {} >"$log" 2>/dev/null
            echo {} $?'
)
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
