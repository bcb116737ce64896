#!/bin/bash
# Installs Debian 12 packages that are missing: packages.sh build|test|demo|bench...
set -euo pipefail

build=(ca-certificates cmake gcc libc6-dev ninja-build pkg-config libcbor-dev libcurl4-openssl-dev
    libjansson-dev libmicrohttpd-dev libgnutls28-dev libsqlite3-dev libssl-dev libtss2-dev)
demo=(curl jq openssl swtpm)
test=(clang clang-format clang-tidy gcovr git libclang-rt-14-dev libcmocka-dev libfuzzer-14-dev
    python3-cbor2 python3-cryptography python3-jsonschema python3-pytest python3-yaml
    sqlite3 strace swtpm swtpm-tools tpm2-tools)
bench=(wrk)

# A machine that brings its own Node.js keeps it; the tests pin the version they run on themselves.
command -v npm >/dev/null || test+=(nodejs npm)

wanted=()
for group in "$@"; do
    declare -n list=$group
    wanted+=("${list[@]}")
done
missing=()
for package in "${wanted[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} = 0 ] && exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "packages.sh: root is needed to install ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
apt=("${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 -q)
"${apt[@]}" update
"${apt[@]}" install -y --no-install-recommends "${missing[@]}"
