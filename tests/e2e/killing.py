"""Kills the gateway at every point of a job and compares what is left with an undisturbed run.

A clean run counts how often each fault point is passed; then, for each point and each pass, a fresh
gateway is killed (SIGKILL) there, started again, and must come to the same end.
"""
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import threading
import time

from guest import to_cbor
from stack import SUBSCRIPTION, Gateway, vm_spec

PASSWORD = "Canary-kill-Pw!9zebra"
# Commits of upkeep (a key's last use, what is pruned) come with time; those of the work do not.
POINTS = ["store.work.before", "store.work.after",
          "arm.send.before", "arm.send.after", "arm.reply.after"]


class Gone(Exception):
    """The gateway died while it was asked."""


class Scene:
    """One gateway with a database of its own, one resource group of its own, one VM."""

    def __init__(self, folder, emulator, name):
        self.name, self.emulator = name, emulator
        self.folder = pathlib.Path(folder) / name
        self.base = f"/v1/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}/virtualMachines/vm1"
        self.gateway = Gateway(self.folder, emulator)
        self.kills = 0

    def settle(self):
        """A kill right after the last commit: who asks may have seen the end just before it."""
        for _ in range(100):
            if self.kills or self.revive():
                return
            time.sleep(0.02)

    def set_faults(self, **env):
        """Starts the gateway anew with fault points set; what came before is not disturbed."""
        try:
            self.gateway.restart(**env)
        except AssertionError:
            self.revive()  # killed at its very start

    def api(self):
        return self.gateway.api(self.gateway.admin_key)

    def alive(self):
        return self.gateway.program.process.poll() is None

    def revive(self):
        """Starts the gateway again where it was killed."""
        if self.alive():
            return False
        status = self.gateway.program.process.returncode
        assert status == -signal.SIGKILL, self.gateway.log_path.read_text()[-3000:]
        self.kills += 1
        self.gateway.start()
        return True

    def ask(self, call, seconds=60):
        """`call(api)`, again after each death, as a client with an Idempotency-Key does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                return call(self.api())
            except (OSError, http.client.HTTPException):
                for _ in range(100):
                    if self.revive():
                        break
                    time.sleep(0.02)
        raise AssertionError(f"{self.name}: no answer")

    def submit(self, method, **spec):
        body = vm_spec(**spec) if method == "PUT" else None
        key = {"Idempotency-Key": f'"{self.name}-{method}"'}
        answer = self.ask(lambda api: api.request(method, self.base, body, key))
        assert answer.status == 202, answer
        return answer.json["id"]

    def finish(self, job_id, seconds=60):
        end = time.monotonic() + seconds
        while True:
            job = self.ask(lambda api: api.get(f"/v1/jobs/{job_id}")).json
            if job["state"] in ("succeeded", "failed", "canceled"):
                return job
            assert time.monotonic() < end, f"{self.name}: {json.dumps(job)}"
            time.sleep(0.05)

    def report(self):
        """One report of the VM's own TPM, sent until it is answered."""
        vm_id = self.ask(lambda api: api.get(self.base)).json["vmId"]
        guest = self.emulator.guest(vm_id)
        token = json.loads(guest.userdata)["enrollmentToken"]

        def send(api):
            given = api.post("/v1/attestation/challenges", {"vmId": vm_id}).json
            return api.request("POST", "/v1/attestation/reports", to_cbor(guest.report(given, token)),
                               {"Content-Type": "application/cbor"})

        answer = self.ask(send)
        assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
        return answer.json

    def state(self, job_id):
        """What must not depend on kills: Azure's resources, the job, the status, the audit."""
        api = self.api()
        job = api.get(f"/v1/jobs/{job_id}").json
        resources = self.emulator.resources(self.name)
        vm = api.get(self.base)
        boot = api.get(self.base + "/bootIntegrity")
        return {
            "job": job["state"], "error": job.get("error"),
            "steps": [(s["name"], s["state"]) for s in job["steps"]],
            "resources": sorted(r.lower().replace(self.name.lower(), "*") for r in resources),
            "audit": self.audit(),
            "vm": vm.status, "boot": boot.json["status"] if boot.status == 200 else boot.status,
        }

    def audit(self):
        """[(action, whether a job did it)] in order, of all that was changed; ids without a gap. A report
        whose answer was lost is sent again: that is another report."""
        with sqlite3.connect(f"file:{self.gateway.data_dir}/tlgate.db?mode=ro", uri=True) as db:
            rows = db.execute("SELECT id, action, job_id IS NOT NULL FROM audit ORDER BY id").fetchall()
        ids = [row[0] for row in rows]
        assert ids == list(range(1, len(ids) + 1)), ids
        found = [row[1:] for row in rows]
        return [row for i, row in enumerate(found)
                if row[0] != "attestation.report" or row not in found[:i]]

    def check_invariants(self, job_id):
        # Exactly one effective create (a PUT answered 201) of each resource.
        creates = {}
        for row in self.emulator.requests()["value"]:
            path = row["url"].split("?")[0].lower()
            if row["method"] == "PUT" and row["status"] == 201 and f"/{self.name}/" in path + "/":
                creates[path] = creates.get(path, 0) + 1
        assert all(n == 1 for n in creates.values()), creates
        # Events without a gap.
        text = self.api().get(f"/v1/jobs/{job_id}/events").body.decode()
        ids = [int(i) for i in re.findall(r"^id: ?(\d+)", text, re.M)]
        assert ids == list(range(1, len(ids) + 1)), ids
        # No secret on disk.
        for path in self.gateway.data_dir.rglob("*"):
            if path.is_file():
                assert PASSWORD.encode() not in path.read_bytes(), path

    def close(self):
        if self.alive():
            status = self.gateway.program.stop()
            # A point that is passed while it drains may still kill it.
            assert status in (0, -signal.SIGKILL), self.gateway.log_path.read_text()[-3000:]
        shutil.rmtree(self.folder, ignore_errors=True)


def count_points(path):
    return {name: int(n) for name, n in
            (line.split() for line in path.read_text().splitlines() if line.strip())}


def create(scene):
    return scene.submit("PUT", admin={"username": "azureuser", "password": PASSWORD})


def nothing(scene):
    return None


def created(scene):
    job_id = create(scene)
    scene.finish(job_id)
    return job_id


def reported(scene, job_id):
    scene.report()
    return job_id


# name: what is done undisturbed, and then what is killed; both return the id of the job to compare.
ACTS = {
    "create": (nothing, lambda scene, _: create(scene)),
    "delete": (created, lambda scene, _: scene.submit("DELETE")),
    "report": (created, reported),
}


def run_act(folder, emulator, act, name, around, **env):
    """The state at the end. around(scene) is a context from the start with these faults to the job's
    end."""
    prepare, disturbed = ACTS[act]
    scene = Scene(folder, emulator, name)
    try:
        before = prepare(scene)
        scene.set_faults(**env)
        with around(scene):
            job_id = disturbed(scene, before)
            scene.finish(job_id)
        scene.check_invariants(job_id)
        return scene.state(job_id)
    finally:
        scene.close()


def clean_run(folder, emulator, act):
    """(state, passes of each point) of the act undisturbed."""
    file, counts = pathlib.Path(folder) / f"{act}.count", {}

    @contextlib.contextmanager
    def around(_):
        yield
        counts.update(count_points(file))

    state = run_act(folder, emulator, act, f"{act}-clean", around, TLGATE_FAULT_COUNT=str(file))
    return state, counts


def killed_run(folder, emulator, act, point, nth):
    """(state, whether it was killed) with a kill at the nth pass of the point."""
    kills = []

    @contextlib.contextmanager
    def around(scene):
        yield
        scene.settle()
        kills.append(scene.kills)

    name = f"{act}-{point.replace('.', '-')}-{nth}"
    state = run_act(folder, emulator, act, name, around, TLGATE_FAULT=f"{point}:{nth}:kill")
    return state, kills == [1]


def is_stopped(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def stopped_run(folder, emulator, act, point, nth, lease_s=1):
    """(state, whether it was stopped) with a stop at the nth pass that outlasts the job's lease."""
    stops = []

    def resume(scene, over):
        while not over.wait(0.02):
            if is_stopped(scene.gateway.pid):
                time.sleep(1.5 * lease_s)
                stops.append(point)
                os.kill(scene.gateway.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def around(scene):
        over = threading.Event()
        thread = threading.Thread(target=resume, args=(scene, over))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    name = f"{act}-stop-{point.replace('.', '-')}-{nth}"
    state = run_act(folder, emulator, act, name, around, TLGATE_FAULT=f"{point}:{nth}:stop",
                    TLGATE_JOBS_LEASE=f"{lease_s}s")
    return state, stops == [point]
