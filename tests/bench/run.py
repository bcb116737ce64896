#!/usr/bin/python3
"""The benches, each beside its yardstick or its limit, in one run.

    cmake --preset bench && cmake --build --preset bench && tests/bench/run.py [PART]...

polls submissions verification reports   what one costs: this file
jobs polled waiting streams leaks        many at once: many.py

The server under test, or the yardstick, has core 0; what sends the load and the emulator have core 1.
Server cost is its own CPU time (utime + stime) by unit. Ratios are printed against the limits;
no exit status depends on them. docs/performance.md says how to read it.
"""
import argparse
import base64
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("TLGATE_BIN", str(ROOT / "build/bench/bin"))
os.environ.setdefault("TLGATE_RELEASE_BIN", os.environ["TLGATE_BIN"])  # a release build as well
sys.path[:0] = [str(ROOT / "tests/api"), str(ROOT / "tests/e2e")]

import cbor2  # noqa: E402
import many  # noqa: E402
import stack  # noqa: E402
from evidence import Ak, Ca, activate, recorded  # noqa: E402
from stack import BIN, SUBSCRIPTION, Emulator, Gateway, Vm, vm_spec  # noqa: E402

SERVER, LOAD = {0}, {1}
VMS = 8
SUBMITTERS = 64
REPORTERS = 64
REPORT_ROUNDS = 4  # of each that is asked for
UNITS = ["polls", "submissions", "verification", "reports"]
MANY = {"jobs": many.jobs, "polled": many.polled, "waiting": many.waiting, "streams": many.streams,
        "leaks": many.leaks}
PARTS = [*UNITS, *MANY]


def pinned(cores, start):
    """start() with its children on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        return start()
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid):
    """Of its threads that live, to the nanosecond: utime and stime come in hundredths of a second."""
    return sum(int(t.read_text().split()[0]) for t in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


class PinnedGateway(Gateway):
    """On the server's core; plain HTTP where told so."""

    def __init__(self, folder, emulator, anchor, tls=False, **env):
        self.tls, self.anchor = tls, anchor
        super().__init__(folder, emulator, **env)

    def start(self, **env):
        lines = self.ini.read_text().splitlines()
        lines = [f"trust_anchor = {self.anchor}" if l.startswith("trust_anchor") else l
                 for l in lines if self.tls or not l.startswith("tls_")]
        if self.tls and not any(l.startswith("tls_") for l in lines):
            at = lines.index("[server]") + 1
            lines[at:at] = [f"tls_cert = {self.folder}/gateway.pem",
                            f"tls_key = {self.folder}/gateway.key"]
        self.ini.write_text("\n".join(lines) + "\n")
        if self.program:
            self.program.out.unlink()
        self.program = pinned(SERVER, lambda: stack.Program(
            self.folder, "tlgate", ["serve", "--config", self.ini],
            stack.clean_env(TLGATE_SERVER_LISTEN=self.listen, **self.env, **env)))
        self.url = self.program.wait_line(r"^https?://\S+")
        self.listen = self.url.split("//")[1]

    @property
    def port(self):
        return int(self.listen.rsplit(":", 1)[1])


class Table:
    """What is printed, and what goes into results.json."""

    def __init__(self):
        self.rows = []

    def add(self, what, ratio, limit, atmost=False, **figures):
        met = ratio <= limit if atmost else ratio >= limit
        sign = "<=" if atmost else ">="
        text = ", ".join(f"{k.replace('_', ' ')} {v:,.5g}" for k, v in figures.items())
        print(f"{what:34} ratio {ratio:6.2f}  (limit {sign} {limit}: {'met' if met else 'MISSED'})  {text}",
              flush=True)
        self.rows.append({"what": what, "ratio": round(ratio, 4), "limit": limit, "met": met, **figures})


# ---- polls ----

def raw_reply(port, tls_ca, head):
    sock = socket.create_connection(("127.0.0.1", port))
    if tls_ca:
        sock = ssl.create_default_context(cafile=tls_ca).wrap_socket(sock, server_hostname="localhost")
    with sock:
        sock.sendall(head.encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(65536)
        top, body = data.split(b"\r\n\r\n", 1)
        length = [int(l.split(b":")[1]) for l in top.split(b"\r\n") if l.lower().startswith(b"content-length")]
        while length and len(body) < length[0]:
            body += sock.recv(65536)
    own = (b"connection", b"content-length", b"date")  # libmicrohttpd writes these itself
    lines = [l for l in top.split(b"\r\n") if not l.lower().startswith(own)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


# A client with a trace of its own for each request, prepared before the clock starts.
TRACED = """
local requests, next = {}, 0
function init()
    for i = 1, 4096 do
        wrk.headers["traceparent"] = string.format("00-%032x-%016x-01", i, i)
        requests[i] = wrk.format()
    end
end
function request()
    next = next % 4096 + 1
    return requests[next]
end
"""


def wrk(url, headers, seconds, pid, script=None):
    """(requests per second, CPU microseconds of the server by request)"""
    command = ["wrk", "-t1", "-c64", f"-d{seconds}s", *(a for h in headers for a in ("-H", h)),
               *(["-s", script] if script else []), url]
    before = cpu_seconds(pid)
    run = pinned(LOAD, lambda: subprocess.run(command, capture_output=True, text=True, check=True))
    cpu = cpu_seconds(pid) - before
    assert "Non-2xx" not in run.stdout and "Socket errors" not in run.stdout, run.stdout
    requests = int(next(l for l in run.stdout.splitlines() if " requests in " in l).split()[0])
    rate = float(next(l for l in run.stdout.splitlines() if l.startswith("Requests/sec")).split()[1])
    return rate, cpu * 1e6 / requests


def start_bare(folder, port, reply, mode, tls):
    (folder / "reply").write_bytes(reply)
    pem = [folder / "gateway.pem", folder / "gateway.key"] if tls else []
    process = pinned(SERVER, lambda: subprocess.Popen(
        [BIN / "bare_mhd", str(port), folder / "reply", mode, *pem], stdout=subprocess.PIPE))
    assert process.stdout.readline() == b"ready\n"
    return process


def poll_pair(gateway, path, headers, mode, options, script=None):
    """Medians of alternating rounds: (rate, CPU) of the gateway, (rate, CPU) of the bare program."""
    scheme, port = gateway.url.split(":")[0], gateway.port + 1
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n" + "".join(h + "\r\n" for h in headers) + "\r\n"
    reply = raw_reply(gateway.port, gateway.tls and gateway.ca, head)
    bare = start_bare(gateway.folder, port, reply, mode, gateway.tls)
    own, other = [], []
    try:
        wrk(gateway.url + path, headers, 1, gateway.pid, script)  # caches fill
        for _ in range(options.rounds):
            other.append(wrk(f"{scheme}://127.0.0.1:{port}{path}", headers, options.seconds, bare.pid, script))
            own.append(wrk(gateway.url + path, headers, options.seconds, gateway.pid, script))
    finally:
        bare.send_signal(signal.SIGTERM)
        bare.wait()
    return ([statistics.median(c) for c in zip(*own)], [statistics.median(c) for c in zip(*other)])


def bench_polls(gateway, vm, key, table, options):
    path = vm.path + "/bootIntegrity"
    bearer = f"Authorization: Bearer {key}"
    etag = gateway.api(key).get(path).header("ETag")
    name = "TLS" if gateway.tls else "plain"
    traced = gateway.folder / "traced.lua"
    traced.write_text(TRACED)
    for what, headers, script in (("200", [bearer], None), ("304", [bearer, f"If-None-Match: {etag}"], None),
                                  ("200 traced", [bearer], traced)):
        for mode in ("fresh", "cached"):
            own, bare = poll_pair(gateway, path, headers, mode, options, script)
            table.add(f"poll {what} {name}, bare {mode}", own[0] / bare[0], 0.7,
                      tlgate_per_s=own[0], bare_per_s=bare[0], tlgate_us=own[1], bare_us=bare[1],
                      cpu_ratio=bare[1] / own[1])


# ---- loads of prepared requests ----

def http_request(method, path, headers, body):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def send_load(gateway, connections, requests, name, bodies=None):
    """(figures of the load generator, CPU microseconds by request); the replies' bodies go into a file."""
    # In memory: a file of a hundred megabytes would be on its way to the disk while the gateway commits to it.
    with os.fdopen(os.memfd_create(name), "wb") as out:
        for request in requests:
            out.write(struct.pack("=I", len(request)) + request)
        out.flush()
        before = cpu_seconds(gateway.pid)
        run = pinned(LOAD, lambda: subprocess.run(
            [BIN / "load", str(gateway.port), str(connections), f"/dev/fd/{out.fileno()}", *([bodies] if bodies else [])],
            capture_output=True, text=True, pass_fds=[out.fileno()]))
        cpu = cpu_seconds(gateway.pid) - before
    assert run.returncode == 0, run.stderr
    sys.stderr.write(run.stderr)
    return json.loads(run.stdout), cpu * 1e6 / len(requests)


# ---- submissions ----

def job_bytes(folder):
    """What a submission leaves in the database, in bytes, before its job has begun."""
    import sqlite3
    db = sqlite3.connect(f"file:{folder}/data/tlgate.db?mode=ro", uri=True)
    pages, free, size = (db.execute(f"PRAGMA {p}").fetchone()[0]
                         for p in ("page_count", "freelist_count", "page_size"))
    jobs = db.execute("SELECT count(*) FROM job").fetchone()[0]
    db.close()
    return (pages - free) * size, jobs


def sqlite_rows(folder, row_bytes, seconds):
    file = folder / "rows.db"
    run = pinned(SERVER, lambda: subprocess.run(
        [BIN / "sqlite_rows", file, str(row_bytes), str(seconds)], capture_output=True, text=True, check=True))
    for left in folder.glob("rows.db*"):
        left.unlink()
    return json.loads(run.stdout)


def bench_submissions(folder, emulator, anchor, table, options):
    # Jobs go on one ARM request at a time, and one that writes takes as long as Azure's do, so that the
    # engine's work stays small beside the load.
    emulator.faults({"method": "PUT", "path": "/subscriptions/*", "times": 1000000, "action": {"delayMs": 500}})
    gateway = PinnedGateway(folder, emulator, anchor, TLGATE_JOBS_IN_FLIGHT="1",
                            TLGATE_JOBS_PER_SUBSCRIPTION="1", TLGATE_JOBS_QUERY_CACHE="1h")
    base = f"/v1/subscriptions/{SUBSCRIPTION}/resourceGroups/load/virtualMachines/"
    headers = [f"Authorization: Bearer {gateway.admin_key}", "Content-Type: application/json"]
    body = json.dumps(vm_spec()).encode()

    def requests(prefix, n):
        return [http_request("PUT", f"{base}{prefix}{i}", [*headers, f'Idempotency-Key: "{prefix}{i}"'], body)
                for i in range(n)]

    try:
        send_load(gateway, 4, requests("warm", 200), "warm")  # catalogues are read, statements prepared
        start, jobs = job_bytes(gateway.folder)
        rates, costs, rows, latest = [], [], [], None
        for i in range(options.rounds):
            latest, cpu = send_load(gateway, SUBMITTERS, requests(f"r{i}n", options.submissions), "load")
            assert latest["statuses"] == {"202": options.submissions}, latest
            rates.append(options.submissions / latest["seconds"])
            costs.append(cpu)
            end, more = job_bytes(gateway.folder)
            size = (end - start) // (more - jobs)
            os.kill(gateway.pid, signal.SIGSTOP)  # its jobs would go on beside the yardstick
            rows.append(sqlite_rows(gateway.folder, size, options.seconds))
            os.kill(gateway.pid, signal.SIGCONT)
        rate, alone = statistics.median(rates), statistics.median(r["per_second"] for r in rows)
        table.add("submissions, 64 clients", rate / alone, 3, tlgate_per_s=rate, sqlite_per_s=alone,
                  tlgate_us=statistics.median(costs), row_bytes=size, p99_ms=latest["p99_ms"])
    finally:
        gateway.program.stop(signal.SIGKILL)  # its jobs are of no use to anybody
        emulator.faults()


# ---- reports ----

def challenges(api, vm_id, n):
    for _ in range(n):
        answer = api.request("POST", "/v1/attestation/challenges", {"vmId": vm_id}, check=False)
        assert answer.status == 201, answer
        given = answer.json
        yield given, base64.b64decode(given["nonce"])


def enroll(gateway, ca, vm, p256=False):
    """The VM's software AK, pinned by a first report."""
    api = gateway.api(None)
    given, nonce = next(challenges(api, vm.vm_id, 1))
    ak = Ak(ca, vm, vm.guest.quote(nonce, given["pcrs"])[2], p256=p256)
    activation = activate(api, ca, ak) if p256 else None
    answer = api.request("POST", "/v1/attestation/reports",
                         cbor2.dumps(ak.report(given["challengeId"], nonce, vm.token, activation)),
                         {"Content-Type": "application/cbor"})
    assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
    return ak


def many_challenges(gateway, vm_id, n):
    """As challenges(), by the load generator."""
    ask = http_request("POST", "/v1/attestation/challenges", ["Content-Type: application/json"],
                       json.dumps({"vmId": vm_id}).encode())
    replies = gateway.folder / "challenges"
    latest, _ = send_load(gateway, 8, [ask] * n, "asked", replies)
    assert latest["statuses"] == {"201": n}, latest
    data, at = replies.read_bytes(), 0
    while at < len(data):
        size = struct.unpack_from("=I", data, at)[0]
        given = json.loads(data[at + 4:at + 4 + size])
        at += 4 + size
        yield given, base64.b64decode(given["nonce"])


def prepared_reports(gateway, aks, n):
    """Requests with challenges fetched and quotes signed; the VMs take turns."""
    requests = []
    for ak in aks:
        for given, nonce in many_challenges(gateway, ak.vm_id, n // len(aks)):
            body = cbor2.dumps(ak.report(given["challengeId"], nonce))
            requests.append(http_request("POST", "/v1/attestation/reports",
                                         ["Content-Type: application/cbor"], body))
    return [r for i in range(len(requests) // len(aks)) for r in requests[i::len(requests) // len(aks)]]


def bench_memory(gateway, aks, options):
    """--memory N: so many reports; resident memory and the database's size over time, limits at work."""
    for sent in range(0, options.memory, options.reports):
        latest, _ = send_load(gateway, REPORTERS, prepared_reports(gateway, aks, options.reports), "reports")
        assert set(latest["statuses"]) == {"200"}, latest
        if (sent // options.reports + 1) % options.every:
            continue
        rss = next(int(l.split()[1]) for l in pathlib.Path(f"/proc/{gateway.pid}/status").read_text().splitlines()
                   if l.startswith("VmRSS"))
        size, _ = job_bytes(gateway.folder)
        print(f"reports {sent + options.reports:9,}  resident {rss / 1024:6.1f} MiB  database {size / 2**20:6.1f} MiB",
              flush=True)


def bare_crypto(log, kind):
    run = pinned(SERVER, lambda: subprocess.run(
        [BIN / "crypto", log, "2000", kind], capture_output=True, text=True, check=True))
    return json.loads(run.stdout)


def bench_reports(gateway, aks, what, table, options, signed=False):
    """Of AKs of one kind. The host's speed moves within seconds: each round stands between two of the yardstick.
    Where replies bring a signed result, its signature is in the yardstick, too."""
    costs, crypto, ratios = [], [], []
    parts = ("report", "result") if signed else ("report",)
    kind = "p256" if aks[0].p256 else "rsa2048"
    log = gateway.folder / "log"
    log.write_bytes(aks[0].log)
    for _ in range(REPORT_ROUNDS * options.rounds):
        requests = prepared_reports(gateway, aks, options.reports)
        around = [bare_crypto(log, kind)]
        latest, cpu = send_load(gateway, REPORTERS, requests, "reports")
        assert latest["statuses"] == {"200": len(requests)}, latest
        around.append(bare_crypto(log, kind))
        costs.append(cpu)
        crypto.extend(around)
        ratios.append(cpu / statistics.mean(sum(c[part] for part in parts) for c in around))
    table.add(f"report, CBOR, durable, {what}", statistics.median(ratios), 2.0, atmost=True,
              least=min(ratios), most=max(ratios), tlgate_us=statistics.median(costs),
              crypto_us=statistics.median(sum(c[part] for part in parts) for c in crypto),
              **{f"{part}_us": statistics.median(c[part] for c in crypto)
                 for part in ("verify", "replay", "hash", "result")},
              events=crypto[0]["events"], log_bytes=crypto[0]["log"],
              tlgate_per_s=len(requests) / latest["seconds"], p99_ms=latest["p99_ms"])


# ---- verification alone ----

def bench_verification(folder, ca, log, pcrs, table):
    """attest_verify without HTTP and store, of an AK of each kind."""
    for name, profile, p256 in (("RSA-2048", "azureTrustedLaunch", False), ("P-256", "tpm", True)):
        ak = Ak(ca, None, pcrs, p256=p256, log=log)
        nonce = os.urandom(32)
        report = {k: v for k, v in ak.report("", nonce).items() if k not in ("challengeId", "vmId")}
        (folder / f"{name}.cbor").write_bytes(cbor2.dumps(report))
        run = pinned(SERVER, lambda: subprocess.run(
            [BIN / "verify", folder / f"{name}.cbor", ca.path, nonce.hex(), profile, "4000"],
            capture_output=True, text=True, check=True))
        us = json.loads(run.stdout)
        table.add(f"verification, {name}, log not known", us["whole"] / us["bare"], 1.3, atmost=True,
                  whole_us=us["whole"], bare_us=us["bare"], events=us["events"], log_bytes=us["log"])
        table.add(f"verification, {name}, log named", us["named"] / us["signature"], 1.15, atmost=True,
                  named_us=us["named"], signature_us=us["signature"], sent_and_known_us=us["known"])


# ---- all of it ----

def bench_served(folder, emulator, ca, parts, table, options):
    """Polls and reports, on one gateway that knows a few VMs."""
    limits = {"TLGATE_LIMITS_ATTESTATION_ADDRESS_PER_SECOND": "1000000",
              "TLGATE_LIMITS_ATTESTATION_ADDRESS_BURST": "1000000",
              "TLGATE_LIMITS_ATTESTATION_VM_PER_SECOND": "1000000",
              "TLGATE_LIMITS_ATTESTATION_VM_BURST": "1000000",
              "TLGATE_ATTESTATION_EK_TRUST_ANCHOR": str(ca.path),
              "TLGATE_ATTESTATION_CHALLENGE_TTL": "2h",
              "TLGATE_ATTESTATION_RESULT_SIGNING": "on_read"}
    if options.memory:
        limits.update(TLGATE_STORE_REPORTS_PER_VM="100", TLGATE_STORE_PRUNE_EVERY="1s",
                      TLGATE_STORE_KEEP_REPORTS="1m", TLGATE_STORE_KEEP_AUDIT="1m",
                      TLGATE_ATTESTATION_CHALLENGE_TTL="3m")
    gateway = PinnedGateway(folder, emulator, ca.path, **limits)
    try:
        vms = [Vm(gateway, f"bench{i}", group="bench") for i in range(VMS)]
        aks = [enroll(gateway, ca, vm, p256=options.memory > 0) for vm in vms]
        key = gateway.make_key("reader", "/")
        if "verification" in parts:
            bench_verification(folder, ca, aks[0].log, aks[0].pcrs, table)
        if options.memory:
            bench_memory(gateway, aks, options)
        elif "reports" in parts:
            bench_reports(gateway, aks, "RSA-2048", table, options)
            others = [Vm(gateway, f"bench{i}p256", group="bench") for i in range(VMS)]
            bench_reports(gateway, [enroll(gateway, ca, vm, p256=True) for vm in others], "P-256", table, options)
            gateway.env["TLGATE_ATTESTATION_RESULT_SIGNING"] = "always"
            gateway.restart()
            bench_reports(gateway, aks, "RSA-2048, signed result", table, options, signed=True)
        for tls in (False, True) if "polls" in parts else ():
            gateway.tls = tls
            gateway.restart()
            bench_polls(gateway, vms[0], key, table, options)
    finally:
        gateway.program.stop()


def machine():
    cpu = next((l.split(":")[1].strip() for l in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                if l.startswith("model name")), "?")
    return f"{cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def bench_with_azure(ca, parts, table, options):
    emulator = pinned(LOAD, lambda: Emulator(options.folder / "azure", "--time-scale", "0.01"))
    try:
        emulator.settings(readBucket=[1e9, 1e9], writeBucket=[1e9, 1e9], computeThrottling=False)
        if set(parts) - {"submissions"}:
            bench_served(options.folder / "served", emulator, ca, parts, table, options)
        if "submissions" in parts:
            bench_submissions(options.folder / "submissions", emulator, ca.path, table, options)
    finally:
        emulator.program.stop(signal.SIGKILL)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS])
    parser.add_argument("--rounds", type=int, default=3, help="alternations; medians are printed")
    parser.add_argument("--seconds", type=int, default=3, help="of each round of polls and rows")
    parser.add_argument("--submissions", type=int, default=6000, help="of each round")
    parser.add_argument("--reports", type=int, default=4000, help="of each round")
    parser.add_argument("--memory", type=int, default=0, metavar="N",
                        help="with reports: send N of P-256 AKs and print memory and database over time")
    parser.add_argument("--every", type=int, default=1, help="with --memory: print after so many rounds")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build/bench/run",
                        help="on the disk to be measured; emptied first")
    options = parser.parse_args()
    parts = list(options.parts or PARTS)
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    table = Table()
    print(machine(), flush=True)
    ca, known = Ca(options.folder / "anchor.pem"), recorded()
    if "verification" in parts and known:
        bench_verification(options.folder, ca, *known, table)
        parts.remove("verification")
    if set(parts) & set(UNITS):
        bench_with_azure(ca, [part for part in parts if part in UNITS], table, options)
    for part in parts:
        if part in MANY:
            MANY[part](table)
    (options.folder / "results.json").write_text(json.dumps(table.rows, indent=1) + "\n")


if __name__ == "__main__":
    start = time.monotonic()
    main()
    print(f"{time.monotonic() - start:.0f} s")
