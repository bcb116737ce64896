#!/bin/bash
# Requests, streams, jobs and a kill against the programs of the tsan preset: tests/tsan.sh [PYTEST
# ARGUMENT...]. A report of any process fails it, also of one that was killed: each writes a file of its
# own.
set -uo pipefail
cd "$(dirname "$0")/.."
reports=$PWD/build/test-logs/tsan
rm -rf "$reports" && mkdir -p "$reports"
export TLGATE_BIN=$PWD/build/tsan/bin TLGATE_RELEASE_BIN=$PWD/build/tsan/bin
export TSAN_OPTIONS="log_path=$reports/report exitcode=66 suppressions=$PWD/tests/tsan.supp second_deadlock_stack=1"
# The one that is left out waits for a minute of Azure's.
[ $# -gt 0 ] || set -- tests/api tests/e2e/test_jobs.py -k "not no_report_in_time"
/usr/bin/python3 -m pytest -q -rs -p no:cacheprovider "$@"
status=$?
shopt -s nullglob
for report in "$reports"/*; do
  cat "$report"
  status=1
done
exit $status
