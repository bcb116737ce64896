"""Kills the gateway at every point of a job and compares what is left with an undisturbed run.

A clean run counts how often each fault point is passed; then, for each point and each pass, a fresh
gateway is killed (SIGKILL) there, started again, and must come to the same end.
"""
import base64
import collections
import contextlib
import http.client
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import threading
import time

from canaries import assert_absent, needles_of
from guest import to_cbor
from sameness import plain
from stack import Emulator, Gateway, vm_spec

PASSWORD = "Canary-kill-Pw!9zebra"
# Commits of upkeep (a key's last use, what is pruned) come with time; those of the work do not.
POINTS = ["store.work.before", "store.work.after",
          "arm.send.before", "arm.send.after", "arm.reply.after"]
SUBSCRIPTIONS = [f"00000000-0000-0000-0000-0000000a{n:04x}" for n in range(400)]
HOLD_MS = 2500  # longer than a start and a look, so that what is held comes behind what is sent anew


class Azure(Emulator):
    """The emulator, with a subscription for each scene: each URL says whose it is."""

    def __init__(self, folder):
        super().__init__(folder, *itertools.chain(*(("--subscription", s) for s in SUBSCRIPTIONS)))
        self.free = iter(SUBSCRIPTIONS)
        self.lock = threading.Lock()
        self.read_to = 0
        self.rows = collections.defaultdict(list)

    def take_subscription(self):
        with self.lock:
            return next(self.free)

    def seen(self, subscription):
        """Its requests, in the order in which they were answered."""
        with self.lock, (self.state / "requests.jsonl").open("rb") as log:
            log.seek(self.read_to)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self.read_to += len(line)
                row = json.loads(line)
                self.rows[row["url"].split("?")[0].split("/")[2]].append(row)
            return list(self.rows[subscription])


class Scene:
    """One gateway with a database of its own, one subscription, one VM."""

    def __init__(self, folder, azure, name, subscription=None):
        self.name, self.azure = name, azure
        self.subscription = subscription or azure.take_subscription()
        self.folder = pathlib.Path(folder) / name
        self.group = f"/subscriptions/{self.subscription}/resourceGroups/{name}"
        self.base = f"/v1{self.group}/virtualMachines/vm1"
        self.gateway = Gateway(self.folder, azure)
        self.kills = 0
        self.at_kill = lambda: None
        self.left = []  # {name: bytes} of what each kill left on disk
        self.callers = set()  # tokens of the processes so far

    # ---- the process ----

    def settle(self):
        """A kill right after the last commit: who asks may have seen the end just before it."""
        for _ in range(100):
            if self.kills or self.revive():
                return
            time.sleep(0.02)

    def set_faults(self, **env):
        """Starts the gateway anew with fault points set; what came before is not disturbed."""
        self.callers = {caller_of(row) for row in self.seen()}
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
        self.left.append(self.files())
        self.at_kill()
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

    def close(self):
        if self.alive():
            status = self.gateway.program.stop()
            # A point that is passed while it drains may still kill it.
            assert status in (0, -signal.SIGKILL), self.gateway.log_path.read_text()[-3000:]
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- the work ----

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
        guest = self.azure.guest(vm_id)
        token = json.loads(guest.userdata)["enrollmentToken"]

        def send(api):
            given = api.post("/v1/attestation/challenges", {"vmId": vm_id}).json
            return api.request("POST", "/v1/attestation/reports", to_cbor(guest.report(given, token)),
                               {"Content-Type": "application/cbor"})

        answer = self.ask(send)
        assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
        return answer.json

    # ---- what Azure saw ----

    def seen(self):
        return self.azure.seen(self.subscription)

    def wait_seen(self, n, seconds=5):
        """Until Azure has answered n requests of the process at hand; what it has answered then."""
        end = time.monotonic() + seconds
        while True:
            rows = [row for row in self.seen() if caller_of(row) not in self.callers]
            if len(rows) >= n or time.monotonic() > end:
                return rows
            time.sleep(0.01)

    def answered(self, method, *statuses):
        """{path: how often} of the calls that Azure answered so."""
        return dict(collections.Counter(
            self.plain(path_of(row)) for row in self.seen()
            if row["method"] == method and row["status"] in statuses))

    # ---- what is compared ----

    def names(self):
        return {self.subscription: "<subscription>", self.name: "<group>"}

    def plain(self, value, **more):
        return plain(value, {**self.names(), **more})

    def state(self, job_id):
        """What must not depend on kills: Azure's resources and what made them, the job and its events,
        the VM, its status, the audit."""
        api = self.api()
        job = api.get(f"/v1/jobs/{job_id}").json
        vm, boot = api.get(self.base), api.get(self.base + "/bootIntegrity")
        bodies = self.azure.bodies(self.name, self.subscription)
        owners = {body["tags"]["tlgate-job"]: "<maker>" for body in bodies if body.get("tags")}
        names = {job_id: "<job>", **owners}
        if vm.status == 200:
            names[vm.json["vmId"]] = "<vm>"
        return self.plain({
            "job": job, "events": without_waits(self.events(job_id)), "audit": self.audit(),
            "resources": sorted(bodies, key=lambda body: body["id"]),
            "created": self.answered("PUT", 201), "deleted": sorted(self.answered("DELETE", 200, 202)),
            "vm": vm.json if vm.status == 200 else vm.status,
            "boot": of_any_tpm(boot.json) if boot.status == 200 else boot.status,
        }, **names)

    def events(self, job_id):
        """[(type, data)] of the job in order, its ids without a gap."""
        text = self.api().get(f"/v1/jobs/{job_id}/events").body.decode()
        found = re.findall(r"^id: ?(\d+)\nevent: ?(\S+)\ndata: ?(.*)$", text, re.M)
        assert found and [int(row[0]) for row in found] == list(range(1, len(found) + 1)), text
        return [(kind, json.loads(data)) for _, kind, data in found]

    def audit(self):
        """[(action, whether a job did it)] in order, of all that was changed; ids without a gap. A report
        whose answer was lost is sent again: that is another report."""
        path = f"file:{self.gateway.data_dir}/tlgate.db?mode=ro"
        with contextlib.closing(sqlite3.connect(path, uri=True)) as db:
            rows = db.execute("SELECT id, action, job_id IS NOT NULL FROM audit ORDER BY id").fetchall()
        ids = [row[0] for row in rows]
        assert ids and ids == list(range(1, len(ids) + 1)), ids
        found = [row[1:] for row in rows]
        return [row for i, row in enumerate(found)
                if row[0] != "attestation.report" or row not in found[:i]]

    def check_creates(self, state):
        """Exactly one effective create (a PUT answered 201) of each resource that is there, but for disks,
        which Azure makes with their VM."""
        made = {self.plain(self.group).lower()}
        for body in state["resources"]:
            made |= {r["id"].lower() for r in [body, *body.get("resources", [])] if "managedBy" not in r}
        assert len(made) > 1 and state["created"] == {path: 1 for path in made}, state["created"]

    # ---- secrets ----

    def files(self):
        paths = [p for p in self.gateway.data_dir.rglob("*") if p.is_file()]
        return {p.name: p.read_bytes() for p in [*paths, self.gateway.log_path]}

    def tokens(self):
        """Every enrolment token that was ever sent to Azure."""
        data = [((row["body"] or {}).get("properties") or {}).get("userData")
                for row in self.seen() if row["method"] == "PUT"]
        return {json.loads(base64.b64decode(text))["enrollmentToken"] for text in data if text}

    def check_secrets(self):
        """In what each kill left on disk, and what is there now."""
        key_id, key = self.gateway.admin_key.split(".", 1)
        needles = needles_of([PASSWORD, self.azure.client_secret, key], self.tokens())
        for files in [*self.left, self.files()]:
            # The search can find: the key's id is what the database knows it by.
            assert any(key_id.removeprefix("tlg_").encode() in data for data in files.values())
            for name, data in files.items():
                assert_absent(needles, f"{self.name}: {name}", data)


def of_any_tpm(status):
    """Without what only this VM's TPM and firmware say: its key, its clock, PCRs with the VM's own ids."""
    if "claims" not in status:
        return status
    claims = {k: v for k, v in status["claims"].items() if k not in ("akSubject", "clock", "pcrs")}
    pcrs = {k: v for k, v in status["claims"]["pcrs"]["sha256"].items() if k not in ("1", "5")}
    return {**status, "ak": None, "claims": {**claims, "pcrs": pcrs}}


def without_waits(events):
    """A step whose answer a kill took away is found done by the next look, and has never waited. What
    belongs to a wait is taken out only where all of it is there, in its place."""
    out = []
    for event in events:
        out.append(event)
        step = out[-2][1].get("step") if len(out) > 3 else None
        wait = [("step", {"step": step, "state": "waiting"}), ("state", {"state": "waiting"})]
        if step and event == ("state", {"state": "running"}) and out[-4:-2] == wait:
            out[-4:] = [out[-2]]
    return out


def path_of(row):
    return row["url"].split("?")[0].lower()


def caller_of(row):
    """Each process has a token of its own."""
    return row["headers"].get("authorization")


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


def run_act(folder, azure, act, name, around, subscription=None, **env):
    """The state at the end. around(scene) is a context from the start with these faults to the job's
    end."""
    prepare, disturbed = ACTS[act]
    scene = Scene(folder, azure, name, subscription)
    try:
        before = prepare(scene)
        scene.set_faults(**env)
        with around(scene):
            job_id = disturbed(scene, before)
            scene.finish(job_id)
        scene.check_secrets()
        state = scene.state(job_id)
        if act != "delete":
            scene.check_creates(state)
        return state
    finally:
        scene.close()


def clean_run(folder, azure, act):
    """(state, passes of each point, the passes of ARM's points that write) of the act undisturbed."""
    file, counts, writes = pathlib.Path(folder) / f"{act}.count", {}, []

    @contextlib.contextmanager
    def around(scene):
        yield
        counts.update(count_points(file))
        rows = scene.wait_seen(counts["arm.send.before"])
        assert {counts[p] for p in POINTS if p.startswith("arm")} == {len(rows)}, (counts, len(rows))
        writes.extend(i + 1 for i, row in enumerate(rows) if row["method"] != "GET")

    state = run_act(folder, azure, act, f"{act}-clean", around, TLGATE_FAULT_COUNT=str(file))
    return state, counts, writes


def killed_run(folder, azure, act, point, nth, held=None):
    """(state, whether it was killed) with a kill at the nth pass of the point. held: a subscription where
    Azure holds the nth request back, and acts on it only when the gateway is back."""
    kills = []

    @contextlib.contextmanager
    def around(scene):
        def check():
            """What was sent before the kill has reached Azure, and the request at hand only if it was sent.
            Preflights send several at once: their answers may be there before it is another's turn."""
            late = held or point == "arm.send.before"
            rows = scene.wait_seen(nth - 1 if late else nth)
            assert len(rows) < nth if late else len(rows) >= nth, (scene.name, len(rows))
            assert len(rows) == nth or point != "arm.send.after" or held, (scene.name, len(rows))
            scene.killed = {caller_of(row) for row in rows}

        if point.startswith("arm"):
            scene.at_kill = check
        yield
        scene.settle()
        if held:
            check_held(scene, nth)
        if point == "arm.send.before":
            assert sum(caller_of(row) in scene.killed for row in scene.seen()) < nth
        kills.append(scene.kills)

    name = f"{act}-{point.replace('.', '-')}-{nth}{'-held' if held else ''}"
    state = run_act(folder, azure, act, name, around, held, TLGATE_FAULT=f"{point}:{nth}:kill")
    return state, kills == [1]


def check_held(scene, nth, seconds=20):
    """Azure has acted on what it held back, and only after the gateway had sent it once more."""
    end = time.monotonic() + seconds
    while True:
        rows = [row for row in scene.seen() if caller_of(row) in scene.killed]
        if len(rows) == nth:
            break
        assert time.monotonic() < end, f"{scene.name}: what was sent has not reached Azure"
        time.sleep(0.05)
    late = rows[-1]
    same = [row for row in scene.seen() if row["method"] == late["method"] and path_of(row) == path_of(late)]
    assert len(same) > 1 and same[-1] is late, [row["time"] for row in same]


def hold(azure, act, writes):
    """Plans runs in which Azure holds back one write: [(point, its pass, subscription)]."""
    method = "DELETE" if act == "delete" else "PUT"
    plan = [("arm.send.after", nth, azure.take_subscription()) for nth in writes]
    azure.faults(*({"method": method, "path": f"/subscriptions/{subscription}/*", "nth": which,
                    "action": {"delayMs": HOLD_MS}} for which, (_, _, subscription) in enumerate(plan, 1)))
    return plan


def is_stopped(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def stopped_run(folder, azure, act, point, nth, lease_s=1):
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
    state = run_act(folder, azure, act, name, around, TLGATE_FAULT=f"{point}:{nth}:stop",
                    TLGATE_JOBS_LEASE=f"{lease_s}s")
    return state, stops == [point]
