"""What `tlgate verify` and `tlgate eventlog` answer to wrong usage and to what is not well-formed."""
import json
import os
import pty
import select
import signal
import time

import pytest

from vectors import BIN, tlgate

NONCE = ("--nonce", "00" * 32)


@pytest.mark.parametrize("args", [
    [], ["--nonce"], ["missing.json"], ["a", "b", *NONCE], ["a", "--nonce", "xyz"],
    ["a", "--nonce", "abc"], ["a", "--nonce", ""], ["a", *NONCE, "--profile", "other"],
    ["a", *NONCE, "--at", "yesterday"], ["a", *NONCE, "--unknown"], ["a", *NONCE],
    ["a", *NONCE, "--maa-only"], ["a", *NONCE, "--maa-jwks", "b"], ["a", *NONCE, "--maa-issuer", "b"],
    ["a", *NONCE, "--vm-id", "00000000-0000-0000-0000-000000000001"],
    ["a", *NONCE, "--maa-only", "--maa-jwks", "b", "--maa-issuer", "c", "--vm-id", "d"],
])
def test_wrong_usage_of_verify(args, tmp_path):
    status, text = tlgate("verify", *args)
    assert status == 2 and isinstance(text, str) and text


@pytest.mark.parametrize("option", ["--trusted-ak", "--trust-anchor", "--trust-dir"])
def test_trust_that_cannot_be_read(option, tmp_path):
    (tmp_path / "e.json").write_text("{}")
    status, text = tlgate("verify", tmp_path / "e.json", *NONCE, option, tmp_path / "missing")
    assert status == 2 and isinstance(text, str)
    (tmp_path / "missing").write_text("not a key and not a certificate")
    status, text = tlgate("verify", tmp_path / "e.json", *NONCE, option, tmp_path / "missing")
    assert status == 2 and isinstance(text, str)


ENCRYPTED = """-----BEGIN {0}-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF

AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
-----END {0}-----
"""


@pytest.mark.parametrize("option, kind, name", [
    ("--trusted-ak", "PUBLIC KEY", "key"), ("--trust-anchor", "CERTIFICATE", "anchor"),
    ("--trust-dir", "CERTIFICATE", "issuer.pem"), ("--trust-dir", "X509 CRL", "list.crl")])
def test_nobody_is_asked_for_a_passphrase(option, kind, name, tmp_path):
    """At a terminal OpenSSL would ask where a PEM text says that it is encrypted."""
    (tmp_path / "e.json").write_text("{}")
    (tmp_path / name).write_text(ENCRYPTED.format(kind))
    given = tmp_path if option == "--trust-dir" else tmp_path / name
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(BIN / "tlgate", ["tlgate", "verify", str(tmp_path / "e.json"), *NONCE, option,
                                  str(given)])
    said, end = b"", time.monotonic() + 30
    while time.monotonic() < end and select.select([terminal], [], [], 30)[0]:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # it has ended
            break
        said += part
        if not part or b"pass" in said:
            break
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(terminal)
    assert said and b"pass" not in said, said


@pytest.mark.parametrize("text", [
    "", "[]", "{}", '{"scopes":[],"rules":{"nonsense":1}}',
    '{"scopes":[],"rules":{"allowQuoteOnly":true,"requireSecureBoot":true}}'])
def test_policy_that_cannot_be_used(text, tmp_path):
    (tmp_path / "e.json").write_text("{}")
    (tmp_path / "policy").write_text(text)
    for name in ("policy", "missing"):
        status, said = tlgate("verify", tmp_path / "e.json", *NONCE, "--policy", tmp_path / name)
        assert status == 2 and isinstance(said, str) and name in said, said


@pytest.mark.parametrize("text", ["", "x", '{"keys":[]}', "<html>",
                                  pytest.param(" " * (256 * 1024 + 1), id="large")])
def test_key_set_that_cannot_be_used(text, tmp_path):
    (tmp_path / "e").write_text("a.b.c")
    (tmp_path / "jwks").write_text(text)
    more = ("--maa-only", "--maa-issuer", "https://example.net", "--maa-jwks")
    for name in ("jwks", "missing"):
        status, said = tlgate("verify", tmp_path / "e", *NONCE, *more, tmp_path / name)
        assert status == 2 and isinstance(said, str) and said


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"quote":1}', "\xff"])
def test_evidence_that_is_not_well_formed(text, tmp_path):
    path = tmp_path / "e.json"
    path.write_text(text, encoding="latin-1")
    status, result = tlgate("verify", path, *NONCE)
    assert status == 2
    assert result["code"] == "evidence_malformed" and result["errors"]


def test_evidence_that_is_too_large(tmp_path):
    path = tmp_path / "e.json"
    path.write_text(" " * (256 * 1024 + 1))
    status, text = tlgate("verify", path, *NONCE)
    assert status == 2 and "larger" in text


@pytest.mark.parametrize("args", [[], ["a", "b"], ["a", "--bank", "md5"], ["missing.log"],
                                  ["a", "--pcrs", "missing.json"]])
def test_wrong_usage_of_eventlog(args):
    status, text = tlgate("eventlog", *args)
    assert status == 2 and isinstance(text, str) and text


@pytest.mark.parametrize("pcrs", ["", "[]", "{}", '{"24":"%s"}' % ("00" * 32), '{"0":"zz"}',
                                  '{"0":1}', '{"x":"%s"}' % ("00" * 32), '{"0":"00"}'])
def test_pcrs_that_are_not_well_formed(pcrs, tmp_path):
    (tmp_path / "log").write_bytes(b"\0" * 32)
    (tmp_path / "pcrs.json").write_text(pcrs)
    status, text = tlgate("eventlog", tmp_path / "log", "--pcrs", tmp_path / "pcrs.json")
    assert status == 2 and isinstance(text, str)


@pytest.mark.parametrize("log", [b"", b"\0" * 31, b"\xff" * 4096, b"PK\3\4" * 100])
def test_log_that_is_not_well_formed_is_still_answered(log, tmp_path):
    (tmp_path / "log").write_bytes(log)
    status, result = tlgate("eventlog", tmp_path / "log")
    assert status == 2
    assert [c["name"] for c in result["checks"] if c["status"] == "fail"] == ["log.format"]
    assert result["claims"] == {}
    json.dumps(result)
