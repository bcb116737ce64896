"""`tlgate trust fetch|list` against a real HTTP server that plays the hosts where issuers are published."""
import base64
import datetime
import http.server
import json
import os
import pathlib
import stat
import sys
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import made  # noqa: E402  (needs the path above)
from frame import VECTORS, pem_to_der, tlgate  # noqa: E402

ROOT_PATH = ("/www.microsoft.com/pkiops/certs/"
             "Azure%20Virtual%20TPM%20Root%20Certificate%20Authority%202023.crt")
PAGE_PATH = "/learn.microsoft.com/en-us/azure/virtual-machines/trusted-launch-faq"
POLICY = "/eastus2/cacerts/azurevtpmpki/azurevtpmpolicycaeus2/cert.cer"
LEGACY_PATH = "/www.microsoft.com/pkiops/certs/Microsoft%20RSA%20Devices%20Root%20CA%202021.crt"
CDN = "http://primary-cdn.pki.core.windows.net"


def page(*certificates):
    """As the documentation has them: PEM inside of markup."""
    blocks = "".join("<pre><code>\n-----BEGIN CERTIFICATE-----\n"
                     + base64.encodebytes(c).decode() + "-----END CERTIFICATE-----\n</code></pre>"
                     for c in certificates)
    return f"<html><body><p>Questions</p>{blocks}</body></html>".encode()


class Publisher:
    """path -> body, (status, headers, body), or a function of the handler."""

    def __init__(self):
        self.answers, self.asked = {}, []
        publisher = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                publisher.asked.append(self.path)
                answer = publisher.answers.get(self.path, (404, {}, b"no"))
                if callable(answer):
                    return answer(self)
                if isinstance(answer, bytes):
                    answer = 200, {}, answer
                self.reply(*answer)

            def reply(self, status, headers, body):
                self.send_response(status)
                for name, value in {"Content-Length": len(body), **headers}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    pass  # the client has seen enough

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def publisher():
    running = Publisher()
    yield running
    running.server.shutdown()
    running.server.server_close()


class Hierarchies:
    """The two that Azure has, under a root of the tests: root <- global CA, root <- policy CA <- CA 24."""

    def __init__(self, folder):
        def ca(name, above=None, length=None, **more):
            key = made.rsa_key()
            issuer, issuer_key = above or (None, None)
            return made.ca_certificate(name, key, issuer, issuer_key, length, **more), key
        self.root = ca("Test Virtual TPM Root Certificate Authority 2023")
        self.global_ca = ca("Test Global Virtual TPM CA - 03", self.root, 0)
        self.policy = ca("Test Cloud Virtual TPM CA 2025", self.root, 1)
        self.issuing = ca("Test Cloud Virtual TPM CA - 24", self.policy, 0, aia=(CDN + POLICY,))
        self.anchor = folder / "root.pem"
        self.anchor.write_bytes(self.root[0].public_bytes(made.PEM))

    @staticmethod
    def der(ca):
        return ca[0].public_bytes(made.DER)

    def publish(self, publisher):
        publisher.answers = {
            ROOT_PATH: self.der(self.root), PAGE_PATH: page(self.der(self.global_ca)),
            "/primary-cdn.pki.core.windows.net" + POLICY: self.der(self.policy)}


@pytest.fixture(scope="module")
def hierarchies(tmp_path_factory):
    return Hierarchies(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def fetch(publisher, hierarchies, tmp_path):
    hierarchies.publish(publisher)

    def run(*more, anchor=True):
        anchors = ["--trust-anchor", hierarchies.anchor] if anchor else []
        status, lines = tlgate("trust", "fetch", "--trust-dir", tmp_path / "trust", "--base-url",
                               publisher.url, "--json", *anchors, *more)
        return status, lines
    run.folder = tmp_path / "trust"
    return run


def files(folder):
    return sorted(p.name for p in folder.iterdir())


def with_status(lines, status):
    return [line for line in lines if line["status"] == status]


def only_failure(lines):
    failures = with_status(lines, "failed")
    assert len(failures) == 1, lines
    return failures[0]["detail"]


def test_issuers_are_fetched_and_then_vouch_for_aks(fetch, hierarchies, tmp_path):
    status, lines = fetch()
    assert status == 0, lines
    assert {line["status"] for line in lines} == {"written", "unchanged"}, lines  # the root is named
    kept = files(fetch.folder)
    assert [name.rsplit("-", 1)[0] for name in kept] == [
        "test-cloud-virtual-tpm-ca-2025", "test-global-virtual-tpm-ca-03"]
    for name in kept:
        mode = (fetch.folder / name).stat().st_mode
        assert stat.S_IMODE(mode) == 0o644
    again, lines = fetch()
    assert again == 0 and {line["status"] for line in lines} == {"unchanged"}, lines
    assert files(fetch.folder) == kept


def test_list_tells_chain_and_days(fetch, hierarchies):
    assert fetch()[0] == 0
    arguments = ("trust", "list", "--trust-dir", fetch.folder, "--trust-anchor", hierarchies.anchor)
    status, result = tlgate(*arguments, "--json")
    assert status == 0
    root, *others = result["issuers"]
    assert root["anchor"] and root["daysLeft"] == 999, root
    assert {o["subject"] for o in others} == {"CN=Test Global Virtual TPM CA - 03",
                                              "CN=Test Cloud Virtual TPM CA 2025"}
    for issuer in others:
        assert issuer["chain"] == f"{issuer['subject']} <- {root['subject']}" and not issuer["anchor"]
        assert len(issuer["sha256"]) == 64 and issuer["notAfter"] > issuer["notBefore"]
    late = (datetime.datetime.utcnow() + 2000 * made.DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
    status, result = tlgate(*arguments, "--json", "--at", late)
    assert {i["problem"] for i in result["issuers"]} <= {"issuer_expired", "expired"}
    assert all(i["daysLeft"] < 0 and "chain" not in i for i in result["issuers"])


def test_text_is_for_people(fetch, hierarchies, capfd):
    import subprocess
    from vectors import BIN
    assert fetch()[0] == 0
    out = subprocess.run([BIN / "tlgate", "trust", "list", "--trust-dir", fetch.folder,
                          "--trust-anchor", hierarchies.anchor], capture_output=True, text=True)
    assert out.returncode == 0
    assert "CN=Test Global Virtual TPM CA - 03\n" in out.stdout
    assert "999 days left" in out.stdout and " (anchor)" in out.stdout


def test_mirrors_are_asked_in_turn(fetch, publisher):
    body = publisher.answers.pop("/primary-cdn.pki.core.windows.net" + POLICY)
    publisher.answers["/secondary-cdn.pki.core.windows.net" + POLICY] = (500, {}, b"")
    publisher.answers["/crl.microsoft.com" + POLICY] = body
    status, lines = fetch()
    assert status == 0, lines
    assert any(line.get("url", "").startswith("http://crl.microsoft.com") for line in lines)


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(bytes(65536))
    except OSError:
        pass


def slow(handler):
    time.sleep(2.5)
    handler.reply(200, {}, b"")


def loop(handler):
    handler.reply(302, {"Location": "/pkiops/certs/again"}, b"")


WRONG = [
    ("html", b"<html>Not here any more</html>", "holds no certificate"),
    ("empty", b"", "holds no certificate"),
    ("oversized", bytes(2 * 1024 * 1024), "too large"),
    ("endless", endless, "too large"),
    ("slow", slow, "imeout"),
    ("error", (503, {}, b""), "503"),
    ("broken PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "no certificate"),
    ("redirect away", (302, {"Location": "http://issuers.example/root.crt"}, b""),
     "not an address where issuers are published"),
    ("redirect to a file", (302, {"Location": "file:///etc/passwd"}, b""), "not an address"),
    ("redirect to a port", (301, {"Location": "http://www.microsoft.com:8080/x"}, b""),
     "not an address"),
]


@pytest.mark.parametrize("answer, why", [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_wrong_answers_are_told_and_nothing_is_kept_of_them(fetch, publisher, answer, why):
    publisher.answers[ROOT_PATH] = answer
    status, lines = fetch("--timeout", "1")
    assert status == 1
    assert why in only_failure(lines), lines
    assert len(files(fetch.folder)) == 2  # the other sources gave theirs
    assert not any("example" in path for path in publisher.asked)


def test_redirects_between_the_hosts_are_followed_a_few_times(fetch, publisher):
    body = publisher.answers[ROOT_PATH]
    publisher.answers[ROOT_PATH] = (301, {"Location": "http://crl.microsoft.com/moved"}, b"")
    publisher.answers["/crl.microsoft.com/moved"] = (302, {"Location": "/again"}, b"")
    publisher.answers["/crl.microsoft.com/again"] = body
    assert fetch()[0] == 0
    publisher.answers["/crl.microsoft.com/again"] = lambda h: h.reply(302, {"Location": "/again"}, b"")
    status, lines = fetch()
    assert status == 1 and "too many redirects" in only_failure(lines)
    assert publisher.asked.count("/crl.microsoft.com/again") < 6


def test_what_does_not_lead_to_a_pinned_root_is_refused(fetch, publisher, tmp_path):
    """A whole hierarchy of the same names, by somebody else."""
    Hierarchies(tmp_path).publish(publisher)
    status, lines = fetch()
    assert status == 1
    assert {line["status"] for line in lines} == {"refused"}, lines
    assert {line["detail"] for line in lines} == {"anchor_unknown", "signature_invalid"} or \
        {line["detail"] for line in lines} == {"anchor_unknown"}, lines
    assert files(fetch.folder) == []


def test_a_leaf_is_no_issuer(fetch, publisher, hierarchies):
    leaf = made.certificate(made.SUBJECT, made.rsa_key().public_key(), *hierarchies.global_ca)
    publisher.answers[PAGE_PATH] = page(leaf.public_bytes(made.DER))
    status, lines = fetch()
    assert status == 1
    assert [line["detail"] for line in with_status(lines, "refused")] == ["not_a_ca"]


def ak_of(hierarchies, issuer, **more):
    return made.certificate(made.SUBJECT, made.rsa_key().public_key(), *issuer, **more)


def test_a_certificate_names_its_issuer(fetch, publisher, hierarchies, tmp_path):
    """The regional CAs have no address of their own: the AK certificate names it, four times."""
    leaf = ak_of(hierarchies, hierarchies.issuing,
                 aia=[CDN + "/gone", "http://secondary-cdn.pki.core.windows.net/ca24.cer"])
    publisher.answers["/secondary-cdn.pki.core.windows.net/ca24.cer"] = \
        hierarchies.der(hierarchies.issuing)
    nv = tmp_path / "nv"  # as it lies in the index, with its padding
    nv.write_bytes(leaf.public_bytes(made.DER).ljust(4096, b"\0"))
    status, lines = fetch("--certificate", nv)
    assert status == 0, lines
    assert any("test-cloud-virtual-tpm-ca-24" in name for name in files(fetch.folder))


def test_issuers_of_issuers_are_chased(fetch, publisher, hierarchies, tmp_path):
    """The table's address of the policy CA fails; the issuing CA names another one."""
    leaf = ak_of(hierarchies, hierarchies.issuing, aia=[CDN + "/ca24.cer"])
    calls = []

    def second_time(handler):
        calls.append(1)
        body = hierarchies.der(hierarchies.policy)
        handler.reply(*((200, {}, body) if len(calls) > 1 else (404, {}, b"")))

    publisher.answers["/primary-cdn.pki.core.windows.net" + POLICY] = second_time
    publisher.answers["/primary-cdn.pki.core.windows.net/ca24.cer"] = \
        hierarchies.der(hierarchies.issuing)
    path = tmp_path / "ak.der"
    path.write_bytes(leaf.public_bytes(made.DER))
    status, lines = fetch("--certificate", path)
    assert status == 1 and "404" in only_failure(lines)  # the source is reported all the same
    assert len(files(fetch.folder)) == 3, lines


def test_addresses_of_strangers_are_not_asked(fetch, publisher, hierarchies, tmp_path):
    leaf = ak_of(hierarchies, hierarchies.issuing, aia=[
        "http://issuers.example/ca.cer", "ldap://www.microsoft.com/x", "http://127.0.0.1/ca.cer",
        "http://user@www.microsoft.com/x", "http://www.microsoft.com.example/x",
        "http://evilpki.core.windows.net/x"])
    path = tmp_path / "ak.der"
    path.write_bytes(leaf.public_bytes(made.DER))
    before = len(publisher.asked)
    status, lines = fetch("--certificate", path)
    assert status == 1
    assert "not an address where issuers are published" in only_failure(lines)
    assert len(publisher.asked) - before == 3  # the table's own


def crl_of(ca, *revoked, days=1):
    now = datetime.datetime.utcnow()
    builder = (x509.CertificateRevocationListBuilder().issuer_name(ca[0].subject)
               .last_update(now - days * made.DAY).next_update(now + 30 * made.DAY))
    for certificate in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            .revocation_date(now - made.DAY).build())
    return builder.sign(ca[1], hashes.SHA256()).public_bytes(made.DER)


def test_a_revoked_issuer_stops_its_aks(fetch, publisher, hierarchies, tmp_path):
    """CRLs are fetched where a certificate names them, and heeded."""
    address = "/www.microsoft.com/pkiops/crl/root.crl"
    key = made.rsa_key()
    issuer = made.ca_certificate("Test Global Virtual TPM CA - 04", key, *hierarchies.root, 0,
                                 crls=["http:/" + address]), key
    publisher.answers[PAGE_PATH] = page(hierarchies.der(issuer))

    def listed():
        _, result = tlgate("trust", "list", "--json", "--trust-dir", fetch.folder, "--trust-anchor",
                           hierarchies.anchor)
        return {i["subject"]: i.get("problem") for i in result["issuers"]}

    publisher.answers[address] = crl_of(hierarchies.root)
    assert fetch()[0] == 0
    assert listed()["CN=Test Global Virtual TPM CA - 04"] is None
    publisher.answers[address] = crl_of(hierarchies.root, issuer[0])
    assert fetch()[0] == 0
    assert fetch.folder.joinpath("test-virtual-tpm-root-certificate-authority-2023.crl").exists()
    assert listed()["CN=Test Global Virtual TPM CA - 04"] == "revoked"
    status, lines = fetch()  # and nothing good comes from the page any more
    assert status == 1
    assert [line["detail"] for line in with_status(lines, "refused")] == ["revoked"], lines


def test_an_older_crl_takes_nothing_back(fetch, publisher, hierarchies, tmp_path):
    """The addresses are http: somebody on the way may answer with the CRL of before."""
    address = "/www.microsoft.com/pkiops/crl/root.crl"
    issuers = []
    for name in ("07", "08"):
        key = made.rsa_key()
        issuers.append((made.ca_certificate("Test Global Virtual TPM CA - " + name, key, *hierarchies.root,
                                            0, crls=["http:/" + address]), key))
    publisher.answers[PAGE_PATH] = page(*map(hierarchies.der, issuers))
    kept = fetch.folder / "test-virtual-tpm-root-certificate-authority-2023.crl"
    now = crl_of(hierarchies.root, issuers[0][0])
    for body, failed in ((now, None), (crl_of(hierarchies.root, days=2), "a later one is held"), (now, None)):
        publisher.answers[address] = body
        _, lines = fetch()
        assert [line["detail"] for line in with_status(lines, "failed")] == ([failed] if failed else []), lines
        assert kept.read_bytes() == now


def test_a_crl_of_somebody_else_is_not_kept(fetch, publisher, hierarchies, tmp_path):
    address = "/www.microsoft.com/pkiops/crl/root.crl"
    key = made.rsa_key()
    issuer = made.ca_certificate("Test Global Virtual TPM CA - 05", key, *hierarchies.root, 0,
                                 crls=["http:/" + address]), key
    publisher.answers[PAGE_PATH] = page(hierarchies.der(issuer))
    publisher.answers[address] = crl_of(Hierarchies(tmp_path).root, issuer[0])
    status, lines = fetch()
    assert status == 0, lines  # a CRL is wanted, not needed
    assert "not signed by one of the issuers" in only_failure(lines)
    assert not list(fetch.folder.glob("*.crl"))


def test_a_folder_that_anybody_may_write_is_not_used(fetch):
    fetch.folder.mkdir()
    os.chmod(fetch.folder, 0o777)
    status, text = fetch()
    assert status == 2 and "writable by anybody" in text


@pytest.mark.parametrize("arguments", [
    [], ["other"], ["list", "extra"], ["fetch", "--timeout", "0", "--trust-dir", "x"],
    ["list", "--base-url", "http://x", "--trust-dir", "x"], ["list", "--trust-dir", "/nonexistent"],
    ["fetch", "--trust-dir", "/dev/null/x"], ["list", "--trust-dir"]])
def test_wrong_usage(arguments):
    status, text = tlgate("trust", *arguments)
    assert status == 2 and isinstance(text, str) and text


@pytest.mark.skipif(not VECTORS.is_dir(), reason=f"no vectors in {VECTORS}")
def test_azures_own_are_known_by_their_pins(publisher, tmp_path):
    """No anchor is named: the fingerprints that the program holds decide."""
    ca = {p.stem: pem_to_der(p) for p in (VECTORS / "azure-ca").glob("*.pem")}
    publisher.answers = {
        ROOT_PATH: ca["azure-virtual-tpm-root-2023"],
        PAGE_PATH: page(ca["global-virtual-tpm-ca-03"], ca["ame-root-ca-2016"]),
        LEGACY_PATH: ca["microsoft-rsa-devices-root-ca-2021"],
        "/primary-cdn.pki.core.windows.net" + POLICY: ca["azure-cloud-virtual-tpm-ca-2025"]}
    arguments = ("--trust-dir", tmp_path / "trust", "--at", "2026-08-01T00:00:00Z", "--json")
    status, lines = tlgate("trust", "fetch", "--base-url", publisher.url, *arguments)
    assert status == 0, lines
    assert [line["what"] for line in with_status(lines, "refused")] == [
        "CN=ameroot,DC=AME,DC=GBL"], lines
    assert len(with_status(lines, "written")) == 3
    assert LEGACY_PATH not in publisher.asked
    status, lines = tlgate("trust", "fetch", "--legacy-root", "--base-url", publisher.url, *arguments)
    assert status == 0 and len(with_status(lines, "written")) == 1, lines
    _, result = tlgate("trust", "list", *arguments)
    days = {i["subject"]: i["daysLeft"] for i in result["issuers"]}
    assert days["CN=Global Virtual TPM CA - 03"] == 266
    legacy = "CN=Microsoft RSA Devices Root CA 2021,O=Microsoft Corporation,C=US"
    anchors = {i["subject"] for i in result["issuers"] if i["anchor"]}
    assert legacy not in anchors and len(anchors) == 1
    _, result = tlgate("trust", "list", "--legacy-root", *arguments)
    assert legacy in {i["subject"] for i in result["issuers"] if i["anchor"]}
