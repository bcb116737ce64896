"""A thousand open event streams beside callers that write: nobody waits for anybody.

libmicrohttpd 0.9.75 can skip ready connections while others are suspended. What is suspended here:
the streams, and every request that waits for its commit. The same for a minute, with percentiles:
tests/bench/run.py streams."""
import socket
import ssl
import time

import pytest

import clones
import load
import swarm
from mixed import make_report
from reporters import Ca, Reporter
from stack import SUBSCRIPTION, Vm

STREAMS, WRITERS, SECONDS, STOCK = 1000, 64, 10, 9000
OPTIONS = {"TLGATE_LIMITS_ATTESTATION_VM_PER_SECOND": "0",
           "TLGATE_LIMITS_ATTESTATION_ADDRESS_PER_SECOND": "0"}


@pytest.fixture(scope="module")
def azure(folder):
    emulator = load.emulator_of(folder / "many-e", [SUBSCRIPTION, *load.SUBSCRIPTIONS], 1)
    emulator.settings(lroSeconds=0.2, retryAfter=0)
    yield emulator
    emulator.close()


def test_nobody_waits(folder, azure):
    """More than half of what the writers send is answered after its commit."""
    ca = Ca(folder / "many-ca.pem")
    gateway = load.Gateway(folder / "many-g", azure, TLGATE_ATTESTATION_EK_TRUST_ANCHOR=str(ca.path), **OPTIONS)
    try:
        vms = [Vm(gateway, f"vm{i}") for i in range(4)]
        check_nobody_waits(gateway, vms[0], [Reporter(vm, ca) for vm in vms])
    finally:
        gateway.close()


def check_nobody_waits(gateway, vm, reporters):
    jobs = clones.make_templates(gateway)
    target = swarm.Target(gateway)
    streams = swarm.Part(swarm.hold_streams, target, jobs, STREAMS)
    streams.wait_ready()
    writers = swarm.Part(swarm.write, target, WRITERS, load.work_of_writers(vm, jobs, reporters, STOCK), 0.05)
    pollers = swarm.Part(swarm.poll, target, 4, vm.path + "/bootIntegrity", 0.01)
    writers.wait_ready(), pollers.wait_ready()
    before = load.metric(gateway, "tlgate_store_writes_total")
    time.sleep(SECONDS)
    writers.stop(), pollers.stop()
    wrote, polled = writers.result(), pollers.result()
    writes = load.metric(gateway, "tlgate_store_writes_total") - before
    streams.stop()
    held = streams.result()
    print(held, f"{wrote['committed']} commits of writers, {writes:.0f} writes", wrote["statuses"], *load.summary(wrote), *load.summary(polled), sep="\n")
    assert held["open"] == STREAMS and held["ended"] == 0
    assert set(wrote["statuses"]) == {200, 201, 202} and set(polled["statuses"]) == {200}
    assert wrote["statuses"][202] > 20 and sum(wrote["statuses"].values()) > 1000
    assert load.share_committed(wrote) >= 0.5 and writes >= wrote["committed"] > 0
    assert max(max(s) for r in (wrote, polled) for s in r["seconds"].values()) < 1


def connect(gateway):
    host, port = gateway.listen.rsplit(":", 1)
    context = ssl.create_default_context(cafile=gateway.ca)
    plain = socket.create_connection((host, int(port)), timeout=5)
    return context.wrap_socket(plain, server_hostname=host)


def read_answer(sock, got=b""):
    while b"\r\n\r\n" not in got:
        part = sock.recv(65536)
        assert part, got
        got += part
    head, body = got.split(b"\r\n\r\n", 1)
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += sock.recv(65536)
    return int(head.split(b" ")[1])


def test_ready_ones_are_served_beside_suspended_ones(azure, tmp_path):
    """One server thread; requests that come in one instant, half of which are suspended for their
    commit, and nothing afterwards that would wake a forgotten one."""
    azure.settings(lroSeconds=0.2, retryAfter=0)
    gateway = load.Gateway(tmp_path, azure, TLGATE_SERVER_THREADS="1", **OPTIONS)
    try:
        own = Vm(gateway, "alone")
        report = make_report(own, own.token)
        own.api.request("POST", "/v1/attestation/reports", report, {"Content-Type": "application/cbor"})
        head = f"Host: x\r\nAuthorization: Bearer {gateway.admin_key}\r\n"
        get = f"GET {own.path}/bootIntegrity HTTP/1.1\r\n{head}\r\n".encode()
        # Its challenge is used: it waits for the store's writer, which says so.
        post = (f"POST /v1/attestation/reports HTTP/1.1\r\n{head}Content-Type: application/cbor\r\n"
                f"Content-Length: {len(report)}\r\n\r\n").encode() + report
        socks = [connect(gateway) for _ in range(8)]
        for turn in range(300):
            for i, sock in enumerate(socks):
                sock.sendall(post if (i + turn) % 2 else get)
            statuses = [read_answer(sock) for sock in socks]  # a forgotten one times out
            assert statuses == [409 if (i + turn) % 2 else 200 for i in range(8)]
        for sock in socks:
            sock.close()
    finally:
        gateway.close()
