"""The gateway reads the issuers' certificates again: what was put into attestation.trust_dir counts after a
SIGHUP, without a restart."""
import datetime
import json
import os
import re
import shutil
import signal
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

import stack
from guest import b64
from test_enrollment import content_of, document_nonce, with_document

REPORTS = "/v1/attestation/reports"


def report(gateway, vm, token):
    anonymous = gateway.api(None)
    given = anonymous.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json
    return anonymous.post(REPORTS, vm.guest.report(given, token))


def wait_log(gateway, text, seconds=20, count=1):
    end = time.monotonic() + seconds
    while gateway.log_path.read_text().count(text) < count:
        assert time.monotonic() < end, text
        time.sleep(0.05)


def expires(gateway):
    text = gateway.api(gateway.admin_key).get("/metrics").body
    text = text.decode() if isinstance(text, bytes) else text
    found = re.search(r"^tlgate_attestation_trust_expires_seconds (\S+)$", text, re.M)
    return found and float(found.group(1))


def test_a_new_issuer_counts_after_a_hangup(tmp_path_factory, emulator, make_vm_on):
    trust = tmp_path_factory.mktemp("trust")
    gateway = stack.Gateway(tmp_path_factory.mktemp("gw"), emulator,
                            TLGATE_ATTESTATION_TRUST_DIR=str(trust))
    try:
        vm = make_vm_on(gateway, "hangup")
        answer = report(gateway, vm, vm.token)
        assert answer.status == 200 and answer.json["verdict"] == "indeterminate", answer
        assert expires(gateway) > time.time() + 3000 * 86400  # the root's
        os.kill(gateway.pid, signal.SIGHUP)  # nothing new
        shutil.copy(emulator.state / "trust/vtpm-ca.pem", trust / "ca.pem")
        (trust / ".ca.part").write_text("being written")
        os.kill(gateway.pid, signal.SIGHUP)
        wait_log(gateway, "the issuers of AKs are other ones now")
        token = gateway.api(gateway.admin_key).post(vm.path + "/enrollmentTokens").json["token"]
        answer = report(gateway, vm, token)
        assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
        (trust / "broken.pem").write_text("no certificate")
        os.kill(gateway.pid, signal.SIGHUP)
        wait_log(gateway, "the issuers of AKs were not read again")
        assert report(gateway, vm, None).json["verdict"] == "trusted"
    finally:
        gateway.close()


class Authority:
    """A certificate and its key, issued by another one or by itself."""

    def __init__(self, name, issuer=None, ca=True):
        now = datetime.datetime.utcnow()
        self.key = rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.cert = (x509.CertificateBuilder().subject_name(subject)
                     .issuer_name(issuer.cert.subject if issuer else subject)
                     .public_key(self.key.public_key()).serial_number(x509.random_serial_number())
                     .not_valid_before(now - datetime.timedelta(days=2))
                     .not_valid_after(now + datetime.timedelta(days=9000))
                     .add_extension(x509.BasicConstraints(ca, None), True)
                     .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
                     .sign((issuer or self).key, hashes.SHA256()))

    def pem(self):
        return self.cert.public_bytes(serialization.Encoding.PEM)

    def der(self):
        return self.cert.public_bytes(serialization.Encoding.DER)

    def revokes(self, other):
        now = datetime.datetime.utcnow()
        revoked = (x509.RevokedCertificateBuilder().serial_number(other.cert.serial_number)
                   .revocation_date(now - datetime.timedelta(days=1)).build())
        return (x509.CertificateRevocationListBuilder().issuer_name(self.cert.subject)
                .last_update(now - datetime.timedelta(days=1)).next_update(now + datetime.timedelta(days=9))
                .add_revoked_certificate(revoked).sign(self.key, hashes.SHA256())
                .public_bytes(serialization.Encoding.DER))

    def document(self, content):
        """Without the issuers, as IMDS sends it."""
        return b64(pkcs7.PKCS7SignatureBuilder().set_data(content).add_signer(self.cert, self.key, hashes.SHA256())
                   .sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoAttributes]))


def test_issuers_of_documents_come_and_go_too(tmp_path_factory, emulator, make_vm_on):
    """As Microsoft publishes them: DER in a file *.crt."""
    trust, roots = tmp_path_factory.mktemp("trust"), tmp_path_factory.mktemp("roots")
    root = Authority("Test Root")
    issuing = Authority("Test TLS Issuing CA", root)
    signer = Authority("metadata.azure.com", issuing, ca=False)
    (roots / "root.crt").write_bytes(root.der())
    shutil.copy(emulator.state / "trust/vtpm-ca.pem", trust / "ca.pem")
    gateway = stack.Gateway(tmp_path_factory.mktemp("gw"), emulator, TLGATE_ATTESTATION_TRUST_DIR=str(trust),
                            TLGATE_ATTESTATION_DOCUMENT_ANCHOR=str(roots / "root.crt"))
    anonymous = gateway.api(None)

    def by_document(vm):
        given = anonymous.post("/v1/attestation/challenges", {"vmId": vm.vm_id}).json
        content = json.dumps(content_of(vm, document_nonce(given))).encode()
        return anonymous.post(REPORTS, with_document(vm, given, signer.document(content)))

    def is_refused(vm):
        answer = by_document(vm)
        assert answer.status == 403 and "document_chain" in answer.json["errors"][0]["detail"], answer

    def hangup(times):
        os.kill(gateway.pid, signal.SIGHUP)
        wait_log(gateway, "attested documents", count=times)

    try:
        vm, late = make_vm_on(gateway, "imdsca1"), make_vm_on(gateway, "imdsca2")
        is_refused(vm)
        (trust / "issuing.crt").write_bytes(issuing.der())
        hangup(1)
        answer = by_document(vm)
        assert answer.status == 200 and answer.json["verdict"] == "trusted", answer
        (trust / "issuing.crl").write_bytes(issuing.revokes(signer))
        hangup(2)
        is_refused(late)
    finally:
        gateway.close()
