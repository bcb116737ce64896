"""Secrets of a job: after a VM was made with a password and an enrolment token in its userData, and
its agent has reported, no canary is in the database, its WAL, a backup, the log or any answer."""
import base64
import json
import pathlib
import subprocess

from canaries import assert_absent, needles_of
from guest import Guest

PASSWORD = "Canary-7hk2-Pw!zebra"


def test_no_secret_is_written_anywhere(private_gateway, emulator, make_vm_on, tmp_path):
    gateway = private_gateway
    api, answers = gateway.api(gateway.admin_key), []
    vm = make_vm_on(gateway, "canary", waitForAttestation=True, attestationTimeout="PT1M", wait=False,
                    admin={"username": "azureuser", "password": PASSWORD}, answers=answers)
    token = vm.token
    anonymous = gateway.api(None)
    given = anonymous.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json
    answers.append(anonymous.post("/v1/attestation/reports", vm.guest.report(given, token)).body)
    job = api.wait_job(vm.job_id)
    assert job["state"] == "succeeded", job
    more = api.post(vm.path + "/enrollmentTokens")
    fresh = more.json["token"]
    for path in ("/v1/jobs", f"/v1/jobs/{vm.job_id}", f"/v1/jobs/{vm.job_id}/events", vm.path,
                 vm.path + "/bootIntegrity", vm.path + "/bootIntegrity/history", "/v1/bootIntegrity",
                 "/metrics", vm.path + "?dryRun=true"):
        if path.endswith("dryRun=true"):
            answers.append(api.put(path, vm.body).body)
        else:
            answers.append(api.get(path).body)

    backup = tmp_path / "backup.db"
    gateway.command("backup", str(backup))
    client_secret = emulator.client_secret
    secrets = needles_of([PASSWORD, client_secret, gateway.admin_key.split(".", 1)[1]], [token, fresh])
    files = {p.name: p.read_bytes() for p in pathlib.Path(gateway.data_dir).rglob("*")
             if p.is_file() and "keyring" not in p.name}
    assert any(name.endswith("-wal") and data for name, data in files.items()), sorted(files)
    assert any(name.endswith(".db") for name in files), sorted(files)
    files["backup"] = backup.read_bytes()
    files["log"] = pathlib.Path(gateway.log_path).read_bytes()
    assert files["log"], "the gateway logged nothing: the search would prove nothing"
    for name, data in files.items():
        assert_absent(secrets, name, data)
    for answer in answers:
        assert_absent(secrets, "an answer", answer)

    # The search can find: the emulator's own log holds the password by contract.
    seen = json.dumps(emulator.get("/_emulator/requests")).encode()
    assert PASSWORD.encode() in seen
    assert b"enrollmentToken" in base64.b64encode(b"") + Guest(emulator.vm(vm.vm_id)).userdata


def test_the_process_cannot_be_dumped(private_gateway):
    pid = private_gateway.pid
    limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"], core
    # A process that is not dumpable has its /proc files owned by root, whoever runs it; as root the
    # flag shows in that another user's ptrace-like access is refused.
    refused = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                              "readlink", f"/proc/{pid}/exe"], capture_output=True)
    assert refused.returncode != 0
