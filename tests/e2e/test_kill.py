"""The kill table. CI kills at every point of a VM job, a delete and a report; TLGATE_KILLS=N adds N
random kills (the soak)."""
import concurrent.futures
import functools
import os
import random
import signal
import time

import pytest

import killing
from killing import POINTS, Scene, clean_run, killed_run, stopped_run
from sameness import differences

AT_ONCE = 4  # a scene mostly waits: for Azure, for a start, for a commit


@pytest.fixture(scope="module")
def azure(folder):
    running = killing.Azure(folder / "k")
    running.settings(lroSeconds=0.05, retryAfter=0, writeBucket=[100000, 10000],
                     readBucket=[100000, 10000])
    yield running
    running.close()


@pytest.fixture(scope="module")
def undisturbed(folder, azure):
    """(state, passes of each point, which of ARM's write) of an act."""
    return functools.lru_cache(lambda act: clean_run(folder, azure, act))


def passes(counts, points=POINTS):
    return [(point, nth) for point in points for nth in range(1, counts.get(point, 0) + 1)]


def run_all(run, folder, azure, act, plan):
    """[((point, nth, ...), state, reached)]"""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda at: (at, *run(folder, azure, act, *at)), plan))


def assert_same(rows, expected):
    wrong = [(at, differences(expected, state)) for at, state, _ in rows if state != expected]
    assert not wrong, wrong
    missed = [at for at, _, reached in rows if not reached]
    assert not missed, missed


@pytest.mark.parametrize("act", killing.ACTS)
def test_a_kill_at_every_point_ends_the_same(folder, azure, undisturbed, act):
    """Every point at every pass, in a run that was not disturbed before."""
    expected, counts, writes = undisturbed(act)
    plan = passes(counts)
    assert_same(run_all(killed_run, folder, azure, act, plan), expected)
    print(f"{act}: {len(plan)} kills, {({p: counts[p] for p, _ in plan})}, {len(writes)} writes,"
          f" each to the same end, with {len(expected['events'])} events")
    # A report is stored without a call to Azure.
    assert {p for p, _ in plan} == {p for p in POINTS if act != "report" or p.startswith("store")}


@pytest.mark.parametrize("act", ["create", "delete"])
def test_what_azure_does_late_changes_nothing(folder, azure, undisturbed, act):
    """Azure has the request, the gateway is killed, and what it sends anew overtakes the first."""
    expected, _, writes = undisturbed(act)
    plan = killing.hold(azure, act, writes)
    assert_same(run_all(killed_run, folder, azure, act, plan), expected)
    assert len(plan) >= 4


def test_a_stop_that_outlasts_the_lease_ends_the_same(folder, azure, undisturbed):
    """SIGSTOP: what was begun before goes on beside the claim that took the job over."""
    expected, counts, _ = undisturbed("create")
    plan = passes(counts)[::5]
    assert_same(run_all(stopped_run, folder, azure, "create", plan), expected)
    assert {p for p, _ in plan} == set(POINTS)


def soak(folder, azure, seed, wanted):
    """Jobs under random kills until `wanted` kills have hit; (kills, jobs)."""
    chance, kills, jobs = random.Random(seed), 0, 0
    while kills < wanted:
        jobs += 1
        scene = Scene(folder, azure, f"soak-{seed}-{jobs}")
        try:
            job_id = killing.create(scene)
            for _ in range(min(10, wanted - kills)):
                time.sleep(chance.uniform(0, 0.25))
                if scene.alive():
                    scene.gateway.program.stop(signal.SIGKILL)
                scene.revive()
            job = scene.finish(job_id)
            assert job["state"] == "succeeded", job
            scene.check_secrets()
            scene.check_creates(scene.state(job_id))
            kills += scene.kills
        finally:
            scene.close()
    return kills, jobs


def test_random_kills(folder, azure):
    """Kills at random times while jobs run; nothing is lost, nothing is made twice."""
    wanted = int(os.environ.get("TLGATE_KILLS", "50"))
    seed = int(os.environ.get("TLGATE_SEED", "1"))
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(lambda i: soak(folder, azure, seed + i, -(-wanted // AT_ONCE)),
                             range(AT_ONCE)))
    kills, jobs = (sum(column) for column in zip(*done))
    print(f"{kills} random kills over {jobs} jobs in {time.monotonic() - start:.0f} s, "
          "none lost, none doubled")
    assert kills >= wanted
