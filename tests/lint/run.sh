#!/bin/bash
# Every lint; each is one test. Ends with the closing line that tests/run.sh adds up.
set -u
cd "$(dirname "$0")/../.."
passed=0 failed=0

check() { # NAME COMMAND...
    local name=$1 log
    shift
    if log=$("$@" 2>&1); then
        passed=$((passed + 1))
        echo "ok   $name"
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        echo "$log"
    fi
}

formatted() {
    git ls-files '*.c' '*.h' | grep -v -e '^openapi/schemas\.' |
        xargs clang-format --dry-run --Werror
}

# The project speaks of itself alone: no folder of a machine (this checkout's, or one where work and
# home folders usually lie), no address of a package registry.
clean_words() {
    local folders='(^|[^A-Za-z0-9_.])/(work|workspace|root|Users)/[^.]'
    local hosts='https?://(registry|deb|security|mirrors?)[.]|"resolved" *:'
    ! git ls-files -z | xargs -0 grep -nIE -e "$folders" -e "$hosts" &&
        ! git ls-files -z | xargs -0 grep -nIF -e "$PWD/"
}

check "layers, headers, budgets" tests/lint/layers.py
check "clang-format" formatted
check "words" clean_words
check "contract is generated" /usr/bin/python3 openapi/generate.py --check
for lint in tests/lint/lint_*.py; do
    [ -e "$lint" ] && check "$(basename "$lint" .py)" /usr/bin/python3 "$lint"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
