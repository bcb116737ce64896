#!/bin/bash
# Installs what the tests need, builds and runs all of them: tests/run.sh [STAGE...]
# The stages are the table in tests/run.py; the last line counts tests.
set -euo pipefail
cd "$(dirname "$0")/.."
./deploy/packages.sh build demo test
exec /usr/bin/python3 tests/run.py "$@"
