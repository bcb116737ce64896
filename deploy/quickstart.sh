#!/bin/bash
# Builds tlgate and shows its main job on this machine: an Azure emulator, the gateway, a Trusted
# Launch VM with a real software TPM, its evidence and the verdict.
#
#   deploy/quickstart.sh            shows it, then serves until Ctrl-C
#   deploy/quickstart.sh --once     stops after the proof; exit 0 only for a trusted VM
#   deploy/quickstart.sh --tamper   the guest submits an event log with one flipped bit (implies --once)
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
run=$root/.quickstart
bin=$root/build/release/bin
once=no tamper=no
for argument in "$@"; do
    case $argument in
    --once) once=yes ;;
    --tamper) once=yes tamper=yes ;;
    *)
        sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
done

say() { printf '\n== %s\n' "$*"; }
die() {
    echo "quickstart: $*" >&2
    for log in emulator gateway agent; do
        [ -s "$run/$log.log" ] && { echo "--- last lines of .quickstart/$log.log" >&2; tail -n 15 "$run/$log.log" >&2; }
    done
    exit 1
}

children=()
stop_children() {
    local pid
    for pid in "${children[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${children[@]}"; do wait "$pid" 2>/dev/null || true; done
    children=()
}
trap stop_children EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A run that was killed may have left its programs behind: they are named by the pid files alone.
stop_former_run() {
    local file pid
    for file in "$run"/*.pid; do
        [ -e "$file" ] || continue
        pid=$(cat "$file")
        case $(readlink "/proc/$pid/exe" 2>/dev/null) in
        "$bin"/*) kill -TERM "$pid" && tail --pid="$pid" -f /dev/null ;;
        esac
    done
    rm -rf "$run"
    mkdir -m 0700 "$run"
}

# Waits until the file's first line matches; prints it.
first_line() { # FILE PATTERN PID NAME
    local i line
    for ((i = 0; i < 300; i++)); do
        line=$(grep -m1 -E "$2" "$1" 2>/dev/null || true)
        [ -n "$line" ] && { printf '%s\n' "$line"; return; }
        kill -0 "$3" 2>/dev/null || die "$4 ended at its start"
        sleep 0.1
    done
    die "$4 did not start within 30 s"
}

# A certificate of a throw-away CA for the gateway's listener.
make_tls() {
    local tls=$run/tls
    mkdir -m 0700 "$tls"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -subj "/CN=tlgate quickstart CA" -keyout "$tls/ca.key" -out "$tls/ca.pem" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" \
        -keyout "$tls/gateway.key" -out "$tls/gateway.csr" 2>/dev/null
    openssl x509 -req -in "$tls/gateway.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -days 30 \
        -extfile <(printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n') \
        -out "$tls/gateway.pem" 2>/dev/null
}

start_emulator() {
    "$bin/azure-emulator" --listen 127.0.0.1:0 --imds-listen 127.0.0.1:0 \
        --state-dir "$run/azure" >"$run/emulator.out" 2>"$run/emulator.log" &
    emulator=$!
    children+=("$emulator")
    echo "$emulator" >"$run/emulator.pid"
    emulator_url=$(first_line "$run/emulator.out" '^https://' "$emulator" azure-emulator)
    imds_url=$(first_line "$run/emulator.out" '^http://' "$emulator" azure-emulator)
    tenant_id=$(jq -r .tenantId "$run/azure/client.json")
    client_id=$(jq -r .clientId "$run/azure/client.json")
    client_secret=$(jq -r .clientSecret "$run/azure/client.json")
}

start_gateway() {
    (umask 077 && cat >"$run/tlgate.ini" <<EOF
data_dir = $run/data

[server]
listen = 127.0.0.1:0
tls_cert = $run/tls/gateway.pem
tls_key = $run/tls/gateway.key

[arm]
endpoint = $emulator_url
authority = $emulator_url
imds_endpoint = $imds_url
ca_file = $run/azure/ca.pem
tenant_id = $tenant_id
client_id = $client_id
client_secret = $client_secret

[attestation]
trust_anchor = $run/azure/trust/vtpm-root.pem
document_anchor = $run/azure/ca.pem
trust_dir = $run/azure/trust
EOF
    )
    "$bin/tlgate" serve --config "$run/tlgate.ini" >"$run/gateway.out" 2>"$run/gateway.log" &
    gateway=$!
    children+=("$gateway")
    echo "$gateway" >"$run/gateway.pid"
    url=$(first_line "$run/gateway.out" '^https://' "$gateway" tlgate)
    api_key=$("$bin/tlgate" key create --config "$run/tlgate.ini" --name quickstart --role admin --scope /)
}

write_env() {
    (umask 077 && cat >"$run/env.new" <<EOF
TLGATE_URL='$url'
TLGATE_API_KEY='$api_key'
TLGATE_CA='$run/tls/ca.pem'
EMULATOR_URL='$emulator_url'
EMULATOR_IMDS_URL='$imds_url'
EMULATOR_CA='$run/azure/ca.pem'
AZURE_TENANT_ID='$tenant_id'
AZURE_CLIENT_ID='$client_id'
AZURE_CLIENT_SECRET='$client_secret'
AZURE_SUBSCRIPTION_ID='$subscription'
EOF
    )
    mv "$run/env.new" "$run/env"
}

# The key goes in by a file, so that no process list shows it.
api() { # METHOD PATH [curl options]
    local method=$1 path=$2
    shift 2
    curl -sS --fail-with-body --cacert "$run/tls/ca.pem" -X "$method" \
        -H "@$run/authorization" "$@" "$url$path"
}

emulator_api() { curl -sS --fail-with-body --cacert "$run/azure/ca.pem" "$emulator_url$1"; }

show_job() {
    jq -r '"job \(.id): \(.state), \(.progress.done) of \(.progress.total) steps",
        (.steps[] | "  \(.state)\t\(.name)\t\(.detail // "")")' "$1" | expand -t 14
}

show_verdict() {
    jq -r '(.checks[] | "  \(.status)\t\(.name)\t\(.reason // "")"), "verdict: \(.verdict)",
        "claims: \(.claims | tojson)"' "$1" | expand -t 8,30
}

# Runs the agent as the VM: the emulator says where its TPM and its event log are.
run_agent() { # VM-JSON
    local tcti log vm_id
    vm_id=$(jq -r .vmId "$1")
    tcti=$(jq -r .tcti "$1")
    log=$(jq -r .eventLog "$1")
    if [ "$tamper" = yes ]; then
        cp "$log" "$run/tampered.bin"
        # One bit of the last event's data: the digests no longer belong to the log.
        printf '%b' "\\x$(printf %02x $((0x$(tail -c 1 "$log" | od -An -tx1 | tr -d ' ') ^ 1)))" |
            dd of="$run/tampered.bin" bs=1 seek=$(($(stat -c %s "$log") - 1)) conv=notrunc status=none
        log=$run/tampered.bin
    fi
    "$bin/tlgate-agent" --gateway "$url" --ca "$run/tls/ca.pem" --vm-id "$vm_id" --imds "$imds_url" \
        --tcti "$tcti" --event-log "$log" --once >"$run/report.json" 2>"$run/agent.log"
}

subscription=00000000-0000-0000-0000-000000000001
vm=/v1/subscriptions/$subscription/resourceGroups/quickstart/virtualMachines/vm1

say "build"
./deploy/packages.sh build demo
cmake --preset release >/dev/null
cmake --build --preset release --target tlgate tlgate-agent azure-emulator

say "start the Azure emulator and the gateway"
stop_former_run
make_tls
start_emulator
start_gateway
write_env
(umask 077 && printf 'Authorization: Bearer %s\n' "$api_key" >"$run/authorization")
echo "gateway  $url (API key in .quickstart/env)"
echo "emulator $emulator_url, IMDS $imds_url"

say "ask for a Trusted Launch VM and wait for its first trusted report"
ssh_key="ssh-ed25519 $(printf '\0\0\0\013ssh-ed25519\0\0\0\040%s' "$(openssl rand -hex 16)" | base64 -w0)"
jq -n --arg key "$ssh_key" '{location:"westeurope", size:"Standard_D2s_v5", osType:"Linux",
    image:{publisher:"Canonical", offer:"0001-com-ubuntu-server-jammy", sku:"22_04-lts-gen2", version:"latest"},
    trustedLaunch:{secureBoot:true, vTpm:true, integrityMonitoring:true},
    admin:{username:"azureuser", sshPublicKeys:[$key]},
    inboundPorts:[22], createResourceGroup:true, waitForAttestation:true, attestationTimeout:"PT5M"}' \
    >"$run/vm.json"
api PUT "$vm" -H 'Content-Type: application/json' -H 'Idempotency-Key: "quickstart-1"' \
    --data @"$run/vm.json" >"$run/job.json" || die "the gateway refused: $(cat "$run/job.json")"
job=/v1/jobs/$(jq -r .id "$run/job.json")

say "boot it and let its agent report (tlgate-agent against its own software TPM)"
for ((i = 0; i < 600; i++)); do
    api GET "$job" >"$run/job.json"
    case $(jq -r .state "$run/job.json") in succeeded | failed | canceled) break ;; esac
    vm_id=$(emulator_api /_emulator/vms | jq -r '.value[0].vmId // empty')
    if [ -n "$vm_id" ] && [ "$(jq -r '.steps[-1].state' "$run/job.json")" != queued ]; then
        emulator_api "/_emulator/vms/$vm_id" >"$run/guest.json"
        run_agent "$run/guest.json" || true
        [ -s "$run/report.json" ] && break
    fi
    sleep 0.2
done
[ -s "$run/report.json" ] || die "the agent got no verdict"
show_verdict "$run/report.json"
verdict=$(jq -r .verdict "$run/report.json")

say "the job"
for ((i = 0; i < 100; i++)); do
    api GET "$job" >"$run/job.json"
    case $(jq -r .state "$run/job.json") in succeeded | failed | canceled) break ;; esac
    sleep 0.2
done
show_job "$run/job.json"

say "what a dashboard reads"
api GET "$vm/bootIntegrity" | jq '{status, reasons, vmId, lastReportAt}'

[ "$verdict" = trusted ] && [ "$(jq -r .state "$run/job.json")" = succeeded ] || {
    echo "quickstart: the verdict is $verdict" >&2
    [ "$once" = yes ] && exit 1
}
[ "$once" = yes ] && exit 0

say "serving; .quickstart/env has what other clients need; Ctrl-C ends it"
wait -n "${children[@]}" || true
die "a program ended by itself"
