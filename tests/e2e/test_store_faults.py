"""A store that cannot write, and a process that is stopped: nothing that was acknowledged is lost,
nothing is made twice, and the gateway says what it can and cannot do."""
import os
import shutil
import signal
import subprocess
import time

import pytest

import load
from stack import SUBSCRIPTION, Gateway, vm_spec

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a small file system is mounted: root only")


@pytest.fixture
def azure(folder):
    emulator = load.emulator_of(folder / f"faults-{time.monotonic_ns()}", [SUBSCRIPTION], 1)
    emulator.settings(lroSeconds=0.3, retryAfter=0)
    yield emulator
    emulator.close()


@pytest.fixture
def gateway(azure, tmp_path):
    """The build with sanitizers: what goes wrong here is seldom seen."""
    running = Gateway(tmp_path / "g", azure)
    yield running
    if running.program.process.poll() is None:
        running.close()


class Client:
    """Submits VMs and remembers which of them were accepted."""

    def __init__(self, gateway, group="faults"):
        self.gateway, self.group = gateway, group
        self.accepted, self.refused, self.n = {}, [], 0

    @property
    def api(self):
        return self.gateway.api(self.gateway.admin_key)

    def submit(self, api=None):
        self.n += 1
        name = f"vm{self.n}"
        answer = (api or self.api).put(load.vm_path(SUBSCRIPTION, name, self.group), vm_spec())
        if answer.status == 202:
            self.accepted[answer.json["id"]] = name
        else:
            self.refused.append(answer)
        return answer

    def check_all(self, seconds=60):
        """Every accepted job is there and ends well; each VM was made once."""
        api = self.api
        for job_id in self.accepted:
            job = api.wait_job(job_id, seconds=seconds)
            assert job["state"] == "succeeded", job
        saw = load.azure_saw(self.gateway.emulator)
        assert max(saw["creates"].values()) == 1, saw["creates"]
        made = {path.rsplit("/", 1)[1] for path in saw["creates"]
                if path.rsplit("/", 2)[1] == "virtualmachines"}
        assert made >= set(self.accepted.values())


def wait_ready(gateway, ready, seconds=20):
    api = gateway.api(gateway.admin_key)
    end = time.monotonic() + seconds
    while (api.get("/readyz").status == 200) != ready:
        assert time.monotonic() < end, f"/readyz did not become {ready}"
        time.sleep(0.05)


def must_refuse(client):
    """What a store that cannot write looks like from outside."""
    api = client.api
    answer = client.submit(api)
    assert answer.status == 503 and answer.code == "unavailable", answer
    assert answer.header("Content-Type") == "application/problem+json"
    ready = api.get("/readyz")
    assert ready.status == 503 and ready.code == "unavailable", ready
    assert api.get("/livez").status == 200
    assert api.get("/v1/jobs").status == 200  # reads go on


@pytest.fixture
def small_disk(tmp_path):
    data = tmp_path / "g" / "data"
    data.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", data], check=True)
    yield data
    subprocess.run(["umount", "-l", data], check=True)


def fill(path):
    with path.open("wb", buffering=0) as out:
        for size in (65536, 4096, 1):
            try:
                while True:
                    out.write(b"\0" * size)
            except OSError:
                pass


@needs_root
def test_a_full_disk(azure, small_disk, tmp_path):
    gateway = Gateway(tmp_path / "g", azure)
    try:
        client = Client(gateway)
        for _ in range(4):
            client.submit()
        fill(small_disk / "filler")  # while they are under way
        end = time.monotonic() + 30
        while not client.refused:
            client.submit()
            assert time.monotonic() < end, "the disk is not full"
        must_refuse(client)
        time.sleep(1.5)  # it has tried again meanwhile
        must_refuse(client)
        (small_disk / "filler").unlink()
        wait_ready(gateway, True)  # by itself
        assert client.submit().status == 202
        client.check_all()
        gateway.restart(signal.SIGKILL)
        client.check_all()
    finally:
        gateway.close()


@needs_root
def test_a_full_disk_at_the_end(azure, small_disk, tmp_path):
    """SIGTERM while nothing can be written: it ends, and the next start goes on."""
    gateway = Gateway(tmp_path / "g", azure)
    try:
        client = Client(gateway)
        for _ in range(4):
            client.submit()
        fill(small_disk / "filler")
        end = time.monotonic() + 30
        while not client.refused:
            client.submit()
            assert time.monotonic() < end, "the disk is not full"
        assert gateway.program.stop(signal.SIGTERM, 45) == 0
        (small_disk / "filler").unlink()
        gateway.start()
        client.check_all()
    finally:
        gateway.close()


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_an_io_error_at_the_disk(gateway):
    """fdatasync fails: what reached the disk is not known, so nothing is written until a restart."""
    client = Client(gateway)
    for _ in range(4):
        client.submit()
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(gateway.pid), "-e",
         "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO:when=3+"])
    try:
        end = time.monotonic() + 30
        while not client.refused:
            client.submit()
            assert tracer.poll() is None, "strace cannot attach"
            assert time.monotonic() < end, "no I/O error came"
        must_refuse(client)
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
    must_refuse(client)  # the disk is well again, but what it holds is not known
    gateway.restart(signal.SIGKILL)
    wait_ready(gateway, True)
    assert client.submit().status == 202
    client.check_all()


@pytest.mark.parametrize("nth", [3, 10, 25])
def test_an_io_error_at_a_commit(gateway, nth):
    gateway.restart(TLGATE_FAULT=f"store.commit.before:{nth}:eio")
    client = Client(gateway)
    end = time.monotonic() + 30
    while not client.refused:
        client.submit()
        time.sleep(0.02)
        assert time.monotonic() < end, "the fault point was not reached"
    must_refuse(client)
    assert gateway.program.stop(signal.SIGTERM) == 0  # also a graceful stop ends
    gateway.start()
    assert client.submit().status == 202
    client.check_all()


def test_stopped_in_the_middle_of_work(gateway):
    """SIGTERM: what was accepted goes on at the next start."""
    client = Client(gateway)
    for _ in range(3):
        for _ in range(5):
            assert client.submit().status == 202
        assert gateway.program.stop(signal.SIGTERM) == 0
        gateway.start()
    client.check_all()


def test_frozen_in_the_middle_of_work(azure, tmp_path):
    """SIGSTOP for longer than requests may take, SIGCONT: their answers are lost, not the work."""
    gateway = Gateway(tmp_path / "g", azure, TLGATE_ARM_TIMEOUT="1s")
    try:
        client = Client(gateway)
        for _ in range(3):
            for _ in range(5):
                assert client.submit().status == 202
            os.kill(gateway.pid, signal.SIGSTOP)
            time.sleep(2.5)
            os.kill(gateway.pid, signal.SIGCONT)
        client.check_all()
    finally:
        gateway.close()
