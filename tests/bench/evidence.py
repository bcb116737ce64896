"""Evidence of a software AK, certified by the bench's own CA: a real TPM signs too slowly for a load.

The boot log is a recorded one of RHEL 8 where ../shared has it (82 events, 34 KB), its PCRs those of a second
replay. Else it is the VM's own, from the emulator, with the files that a boot loader would measure on top to
make it as long; its PCRs come from the VM's vTPM.
"""
import base64
import datetime
import hashlib
import hmac
import os
import pathlib
import struct
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.x509.oid import NameOID

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/vectors"))
import tcglog  # noqa: E402

RECORDED = (pathlib.Path(os.environ.get("TLGATE_SHARED", ROOT.parent / "shared"))
            / "vectors/eventlogs/go-tpm-tools/rhel8-uefi.bin")
QUOTED = range(8)  # firmware, boot loader and Secure Boot: what a Linux guest quotes
LOG_SIZE = 34 * 1024
EV_IPL = 0x0D
FILE_PCR = 9  # GRUB measures the files it reads into it
AK_ATTRIBUTES = 0x00050472  # as Azure's: fixedTPM ... restricted, sign
DER = serialization.Encoding.DER


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject, issuer, key):
    now = datetime.datetime.utcnow()
    return (x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(_name(issuer))
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2)))


def _usage(sign, ca, decrypt=False):
    return x509.KeyUsage(digital_signature=sign, content_commitment=False, key_encipherment=decrypt,
                         data_encipherment=False, key_agreement=False, key_cert_sign=ca,
                         crl_sign=ca, encipher_only=False, decipher_only=False)


class Ca:
    def __init__(self, path):
        self.key = rsa.generate_private_key(65537, 2048)
        self.certificate = (
            _builder("bench vTPM CA", "bench vTPM CA", self.key)
            .add_extension(x509.BasicConstraints(True, 0), critical=True)
            .add_extension(_usage(False, True), critical=True)
            .sign(self.key, hashes.SHA256()))
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self.path = path

    def certify_ek(self, key):
        return (_builder("bench TPM", "bench vTPM CA", key)
                .add_extension(_usage(False, False, decrypt=True), critical=True)
                .sign(self.key, hashes.SHA256()).public_bytes(DER))

    def certify(self, key):
        subject = os.urandom(6).hex() + ".TrustedVM.Azure.windows.net"
        usages = x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.23.133.8.3")])
        return (_builder(subject, "bench vTPM CA", key)
                .add_extension(_usage(True, False), critical=True)
                .add_extension(usages, critical=False)
                .sign(self.key, hashes.SHA256()).public_bytes(DER))


def _sized(data):
    return struct.pack(">H", len(data)) + data


def _sha256(data):
    return hashlib.sha256(data).digest()


def _algorithms(log):
    """Hashes that the log's Spec ID event declares (PFP 1.05, 10.4.5.1)."""
    names = {0x04: "sha1", 0x0B: "sha256", 0x0C: "sha384", 0x0D: "sha512"}
    n = struct.unpack_from("<I", log, 56)[0]
    return [(a, names[a]) for a, _ in struct.iter_unpack("<HH", log[60:60 + 4 * n])]


def _lengthen(log):
    """The log with measured files up to LOG_SIZE; their PCR is not among the quoted ones."""
    algorithms = _algorithms(log)
    while len(log) < LOG_SIZE:
        path = f"(hd0,gpt1)/boot/grub/x86_64-efi/{len(log)}.mod".encode().ljust(300, b"x") + b"\0"
        log += struct.pack("<III", FILE_PCR, EV_IPL, len(algorithms))
        log += b"".join(struct.pack("<H", a) + hashlib.new(n, path).digest() for a, n in algorithms)
        log += struct.pack("<I", len(path)) + path
    return log


def recorded():
    """(log, {PCR: value}) of a real boot; None where it is not at hand."""
    if not RECORDED.is_file():
        return None
    log = RECORDED.read_bytes()
    values = tcglog.Log(log).replay(0x0B)
    return log, {i: bytes.fromhex(values[str(i)]) for i in QUOTED}


def _kdfa(key, label, context, bits):
    """TPM 2.0 Part 1, 11.4.10.2, of at most one SHA-256."""
    message = struct.pack(">I", 1) + label + b"\0" + context + struct.pack(">I", bits)
    return hmac.new(key, message, hashlib.sha256).digest()[:bits // 8]


class Ek:
    """A TPM's endorsement key in software: opens the credentials that the gateway makes for its AK."""

    def __init__(self, ca):
        self.key = rsa.generate_private_key(65537, 2048)
        self.certificate = ca.certify_ek(self.key)

    def activate(self, ak_public, blob, encrypted_secret):
        """TPM2_ActivateCredential (Part 1, 24)."""
        name = b"\x00\x0b" + _sha256(ak_public)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"IDENTITY\0")
        seed = self.key.decrypt(encrypted_secret[2:], oaep)
        mac, encrypted = blob[4:36], blob[36:]
        outer = hmac.new(_kdfa(seed, b"INTEGRITY", b"", 256), encrypted + name, hashlib.sha256).digest()
        assert hmac.compare_digest(mac, outer)
        cipher = Cipher(algorithms.AES(_kdfa(seed, b"STORAGE", name, 128)), modes.CFB(bytes(16)))
        return cipher.decryptor().update(encrypted)[2:]


class Ak:
    """The AK of one VM and what its quotes say."""

    def __init__(self, ca, vm, pcrs, p256=False, log=None):
        self.vm_id, self.pcrs, self.p256 = vm and vm.vm_id, pcrs, p256
        self.log = log or _lengthen(vm.guest.event_log())
        self.key = ec.generate_private_key(ec.SECP256R1()) if p256 else rsa.generate_private_key(65537, 2048)
        self.certificate = ca.certify(self.key)
        self.public = self._public(p256)
        name = b"\x00\x0b" + _sha256(self.public)
        self.signer = b"\x00\x0b" + _sha256(b"\x40\x00\x00\x0b" + name)

    def _public(self, p256):
        numbers = self.key.public_key().public_numbers()
        if p256:  # TPMT_PUBLIC: ECC, SHA-256 name, no policy, no symmetric cipher, ECDSA with SHA-256, P-256
            return (struct.pack(">HHIHHHHHH", 0x23, 0x0B, AK_ATTRIBUTES, 0, 0x10, 0x18, 0x0B, 3, 0x10)
                    + _sized(numbers.x.to_bytes(32, "big")) + _sized(numbers.y.to_bytes(32, "big")))
        # TPMT_PUBLIC: RSA, SHA-256 name, no policy, no symmetric cipher, RSASSA with SHA-256
        return (struct.pack(">HHIHHHHHI", 1, 0x0B, AK_ATTRIBUTES, 0, 0x10, 0x14, 0x0B, 2048, 0)
                + _sized(numbers.n.to_bytes(256, "big")))

    def _sign(self, message):
        """TPMT_SIGNATURE"""
        if isinstance(self.key, rsa.RSAPrivateKey):
            return struct.pack(">HH", 0x14, 0x0B) + _sized(self.key.sign(message, padding.PKCS1v15(), hashes.SHA256()))
        r, s = utils.decode_dss_signature(self.key.sign(message, ec.ECDSA(hashes.SHA256())))
        return struct.pack(">HH", 0x18, 0x0B) + _sized(r.to_bytes(32, "big")) + _sized(s.to_bytes(32, "big"))

    def quote(self, nonce):
        """(TPMS_ATTEST, TPMT_SIGNATURE); always the same moment, so that the order is free."""
        mask = sum(1 << i for i in self.pcrs)
        values = b"".join(v for _, v in sorted(self.pcrs.items()))
        message = (b"\xffTCG\x80\x18" + _sized(self.signer) + _sized(nonce)
                   + struct.pack(">QIIB", 1000000, 3, 0, 1) + bytes.fromhex("2020031200120003")
                   + struct.pack(">IHB", 1, 0x0B, 3) + mask.to_bytes(3, "little")
                   + _sized(_sha256(values)))
        return message, self._sign(message)

    def report(self, challenge_id, nonce, token=None, activation=None):
        """As the CBOR form has it."""
        message, signature = self.quote(nonce)
        report = {
            "challengeId": challenge_id, "vmId": self.vm_id,
            "quote": {"message": message, "signature": signature},
            "pcrs": {"sha256": self.pcrs},
            "ak": {"public": self.public, **({"certificate": self.certificate} if self.certificate else {})},
            "eventLog": self.log,
        }
        if token:
            report["enrollment"] = {"token": token}
        if activation:
            report["enrollment"]["activation"] = activation
        return report


def activate(api, ca, ak):
    """An activated credential, in place of a certificate: what P-256 AKs bring, as Azure certifies RSA only."""
    ek = Ek(ca)
    ak.certificate = None
    sent = {"ekCertificate": ek.certificate, "akPublic": ak.public}
    made = api.request("POST", "/v1/attestation/activations",
                       {"vmId": ak.vm_id, **{k: base64.b64encode(v).decode() for k, v in sent.items()}})
    assert made.status == 201, made
    blob, secret = (base64.b64decode(made.json[k]) for k in ("credentialBlob", "encryptedSecret"))
    return {"id": made.json["activationId"], "secret": ek.activate(ak.public, blob, secret)}
