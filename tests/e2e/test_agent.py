"""tlgate-agent against a TPM made with tpm2-tools and a gateway that answers what the test tells it to.

What the agent sends is judged by tpm2-tools, not by code of the project.
"""
import base64
import hashlib
import json
import signal
import subprocess
import threading
import time

import pytest

import stack
import tls
from agent_rig import NV, TOKEN, VM_ID, Gateway, Imds, Tpm, problem, tls_context, verdict

AGENT = stack.BIN / "tlgate-agent"


@pytest.fixture(scope="module")
def tpm():
    made = Tpm()
    yield made
    made.close()


@pytest.fixture(scope="module")
def tls_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agent-tls")
    tls.make_ca(folder)
    (folder / "token").write_text(TOKEN + "\n")
    return folder


@pytest.fixture
def gateway(tls_folder):
    running = Gateway(tls_context(tls_folder))
    yield running
    running.close()


@pytest.fixture
def run(tpm, gateway, tls_folder):
    def start(*more, once=True, **changes):
        options = {"gateway": gateway.url, "ca": tls_folder / "ca.pem", "vm-id": VM_ID,
                   "tcti": tpm.tcti, "event-log": tpm.event_log,
                   "enrollment-token": tls_folder / "token",
                   **{k.replace("_", "-"): v for k, v in changes.items()}}
        command = [AGENT, *more, *(["--once"] if once else [])]
        for name, value in options.items():
            if value is not None:
                command += [f"--{name}", value]
        if not once:
            return subprocess.Popen(command, env=stack.clean_env(), text=True,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return subprocess.run(command, env=stack.clean_env(), capture_output=True, text=True,
                              timeout=120)
    return start


def check_quote(tpm, gateway, report):
    """tpm2_checkquote accepts it over the challenge's nonce, and its digest is of the PCR values."""
    message, signature = tpm.folder / "message", tpm.folder / "signature"
    message.write_bytes(report["quote"]["message"])
    signature.write_bytes(report["quote"]["signature"])
    subprocess.run(["tpm2_checkquote", "-Q", "-u", tpm.ak_pem, "-m", message, "-s", signature,
                    "-g", "sha256", "-q", gateway.nonce_of(report).hex()], check=True,
                   capture_output=True, timeout=30)
    values = report["pcrs"]["sha256"]
    digest = hashlib.sha256(b"".join(values[i] for i in sorted(values))).digest()
    assert report["quote"]["message"].endswith(digest)  # TPMS_QUOTE_INFO ends in pcrDigest


def test_the_evidence_is_what_the_tpm_says(tpm, gateway, run):
    done = run()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "trusted"
    [report] = gateway.reports
    assert set(report) == {"challengeId", "vmId", "quote", "pcrs", "ak", "eventLog"}
    assert report["vmId"] == VM_ID
    assert report["pcrs"] == {"sha256": tpm.pcrs(gateway.pcrs)}
    assert report["ak"] == {"public": tpm.ak_public, "certificate": tpm.certificate}
    assert report["eventLog"] == tpm.event_log.read_bytes()
    check_quote(tpm, gateway, report)
    # Nothing is left in the TPM, which may have no resource manager.
    assert tpm.tool("tpm2_getcap", "handles-transient") == b""


def test_logs_are_json_lines_without_the_token(gateway, run):
    gateway.answers = [problem(403, "not_enrolled"), verdict("trusted")]
    done = run()
    assert done.returncode == 0
    assert [json.loads(line) for line in done.stderr.splitlines()]
    assert TOKEN not in done.stderr + done.stdout


def test_the_token_is_sent_when_it_is_asked_for(gateway, run):
    gateway.answers = [problem(403, "not_enrolled"), verdict("trusted")]
    assert run().returncode == 0
    first, second = gateway.reports
    assert "enrollment" not in first
    assert second["enrollment"] == {"token": TOKEN}
    assert first["challengeId"] != second["challengeId"]


def test_a_token_that_is_refused_ends_it(gateway, run):
    gateway.answers = [problem(403, "not_enrolled")]
    done = run()
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == "not_enrolled"
    assert len(gateway.reports) == 2


@pytest.mark.parametrize("name, status", [
    ("trusted", 0), ("trustedQuoteOnly", 0), ("untrusted", 1), ("quarantined", 1),
    ("indeterminate", 1)])
def test_the_verdict_is_the_exit_status(gateway, run, name, status):
    gateway.answers = [verdict(name)]
    done = run()
    assert done.returncode == status
    assert json.loads(done.stdout)["verdict"] == name


@pytest.mark.parametrize("code", ["challenge_expired", "challenge_used", "challenge_mismatch"])
def test_a_lost_challenge_is_replaced(tpm, gateway, run, code):
    gateway.answers = [problem(409, code), verdict("trusted")]
    assert run().returncode == 0
    first, second = gateway.reports
    assert first["challengeId"] != second["challengeId"]
    check_quote(tpm, gateway, second)


def test_attempts_are_bounded(gateway, run):
    gateway.answers = [problem(409, "challenge_expired")]
    assert run().returncode == 1
    assert 2 <= len(gateway.reports) <= 10


def test_retry_after_is_honoured(gateway, run):
    gateway.answers = [problem(429, "rate_limited", Retry_After="2"), verdict("trusted")]
    assert run().returncode == 0
    assert 1.9 <= gateway.times[1] - gateway.times[0] <= 10


def test_a_busy_gateway_is_asked_again(gateway, run):
    gateway.challenge_answers = [problem(503, "unavailable", Retry_After="1")]
    assert run().returncode == 0
    assert len(gateway.reports) == 1


def test_a_long_wait_is_not_waited_for(gateway, run):
    gateway.answers = [problem(503, "unavailable", Retry_After="3600")]
    start = time.monotonic()
    assert run().returncode == 2
    assert time.monotonic() - start < 20


def wait_for(count, gateway, process, seconds=60):
    end = time.monotonic() + seconds
    while len(gateway.reports) < count and time.monotonic() < end:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    assert len(gateway.reports) >= count


def end(process):
    process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0, log
    assert time.monotonic() - start < 5


def test_the_log_is_sent_once_and_again_when_asked_for(tpm, gateway, run):
    ok = verdict("trusted")
    gateway.answers = [ok, ok, problem(409, "event_log_required"), ok]
    process = run("--interval", "PT1S", once=False)
    wait_for(4, gateway, process)
    end(process)
    first, second, third, fourth = gateway.reports[:4]
    digest = hashlib.sha256(tpm.event_log.read_bytes()).digest()
    assert "eventLog" in first and "eventLogDigest" not in first
    for report in (second, third):
        assert "eventLog" not in report and report["eventLogDigest"] == digest
    assert fourth["eventLog"] == first["eventLog"]
    assert fourth["challengeId"] == third["challengeId"]  # the 409 left it
    assert fourth["quote"] == third["quote"]
    assert second["challengeId"] != first["challengeId"]


def test_failures_back_off(gateway, run):
    gateway.answers = [problem(400, "evidence_malformed")]
    process = run("--interval", "PT1H", once=False)
    wait_for(2, gateway, process, 30)
    end(process)
    assert gateway.times[1] - gateway.times[0] >= 2.4  # at least half of the first five seconds


def test_a_moving_pcr_does_not_spoil_the_quote(tpm, gateway, run):
    gateway.pcrs = [0, 7, 16]
    stop = threading.Event()

    def move():
        while not stop.wait(0.05):
            tpm.extend(16)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(5):
            done = run()
            assert done.returncode == 0, done.stderr
    finally:
        stop.set()
        mover.join()
    for report in gateway.reports:
        check_quote(tpm, gateway, report)


def test_every_pcr_is_read(tpm, gateway, run):
    gateway.pcrs = list(range(24))
    assert run().returncode == 0
    [report] = gateway.reports
    assert report["pcrs"] == {"sha256": tpm.pcrs(gateway.pcrs)}
    check_quote(tpm, gateway, report)


def test_what_is_not_given_comes_from_imds(gateway, run):
    user_data = json.dumps({"gateway": gateway.url + "/", "enrollmentToken": TOKEN}).encode()
    imds = Imds({"compute": {"vmId": VM_ID, "name": "vm1", "tagsList": [],
                             "userData": base64.b64encode(user_data).decode()}})
    gateway.answers = [problem(403, "not_enrolled"), verdict("trusted")]
    done = run(gateway=None, vm_id=None, enrollment_token=None, imds=imds.url)
    assert done.returncode == 0, done.stderr
    assert gateway.reports[1]["enrollment"] == {"token": TOKEN}
    path, headers = imds.requests[0]
    assert path.startswith("/metadata/instance?api-version=")
    assert "X-Vm-Id" not in headers
    done = run(gateway=None, enrollment_token=None, imds=imds.url)
    assert done.returncode == 0, done.stderr
    assert imds.requests[-1][1]["X-Vm-Id"] == VM_ID
    imds.close()


def test_user_data_cannot_send_it_to_plain_http(run):
    user_data = json.dumps({"gateway": "http://gateway.example"}).encode()
    imds = Imds({"compute": {"vmId": VM_ID, "userData": base64.b64encode(user_data).decode()}})
    done = run(gateway=None, imds=imds.url)
    assert done.returncode == 2
    assert "not an https URL" in done.stderr
    imds.close()


def test_a_gateway_of_another_ca_gets_nothing(gateway, run, tmp_path):
    tls.make_ca(tmp_path)
    done = run(ca=tmp_path / "ca.pem")
    assert done.returncode == 2
    assert not gateway.challenges and not gateway.reports


def test_without_a_token_the_refusal_stands(gateway, run):
    gateway.answers = [problem(403, "not_enrolled")]
    imds = Imds({"compute": {"vmId": VM_ID}})
    done = run(enrollment_token=None, imds=imds.url)
    assert done.returncode == 1
    assert len(gateway.reports) == 1
    imds.close()


@pytest.mark.parametrize("more, changes, what", [
    (["--nonsense"], {}, "usage"),
    (["stray"], {}, "usage"),
    (["--interval", "PT0S"], {}, "--interval"),
    (["--interval", "soon"], {}, "--interval"),
    ([], {"gateway": "http://gateway.example"}, "not an https URL"),
    ([], {"vm_id": "vm1"}, "not a vmId"),
    ([], {"ca": "/nonexistent/ca.pem"}, "cannot be read"),
    ([], {"event_log": "/nonexistent/log"}, "/nonexistent/log"),
    ([], {"tcti": "swtpm:path=/nonexistent/sock"}, "cannot be opened"),
    ([], {"tcti": "nonsense:x"}, "cannot be opened"),
    ([], {"gateway": "https://127.0.0.1:1"}, "127.0.0.1"),
    ([], {"vm_id": None, "imds": "http://127.0.0.1:1"}, "127.0.0.1"),
], ids=lambda v: str(v) if isinstance(v, str) else None)
def test_what_cannot_work_ends_with_two(gateway, run, more, changes, what):
    done = run(*more, **changes)
    assert done.returncode == 2, done
    assert what in done.stderr
    assert not gateway.reports


def test_a_tpm_without_the_key_is_named(gateway, run):
    bare = Tpm(with_ak=False)
    done = run(tcti=bare.tcti)
    bare.close()
    assert done.returncode == 2
    assert "0x81000003" in done.stderr


def test_a_missing_certificate_and_log_are_the_verifiers_to_judge(tpm, gateway, run, tmp_path):
    tpm.tool("tpm2_nvundefine", "-C", "o", NV)
    empty = tmp_path / "empty.log"
    empty.write_bytes(b"")
    try:
        done = run(event_log=empty)
    finally:
        tpm.tool("tpm2_nvdefine", "-C", "o", "-s", len(tpm.certificate), "-a",
                 "ownerread|ownerwrite|authread|authwrite", NV)
        tpm.tool("tpm2_nvwrite", "-C", "o", "-i", tpm.folder / "nv", NV)
    assert done.returncode == 0, done.stderr
    [report] = gateway.reports
    assert report["ak"] == {"public": tpm.ak_public}
    assert "eventLog" not in report and "eventLogDigest" not in report


def test_an_answer_that_is_too_large_or_no_json_is_survived(gateway, run):
    gateway.answers = [(200, "x" * 300000, {})]
    assert run().returncode == 2
    gateway.answers = [(502, "a proxy's page", {"Retry_After": "3600"})]
    assert run().returncode == 2


def test_version_and_help():
    assert subprocess.run([AGENT, "--version"], capture_output=True).stdout.startswith(
        b"tlgate-agent ")
    done = subprocess.run([AGENT, "--help"], capture_output=True)
    assert done.returncode == 0 and b"--enrollment-token" in done.stdout
