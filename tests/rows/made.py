"""Evidence made in the tests, every part of which can be wrong on purpose: boot logs, quotes, keys of
software and certificates.

It shares no code with the verifier; structures are written down from the TCG's documents (TPM 2.0
Part 2 for the quote, PC Client Platform Firmware Profile 1.05 for the log).
"""
import dataclasses
import datetime
import hashlib
import struct

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

ALG = {"sha1": 0x04, "sha256": 0x0B, "sha384": 0x0C, "sha512": 0x0D}
BANK = {v: k for k, v in ALG.items()}
HASHES = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha384": hashes.SHA384()}
PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER

EV_UNUSED, EV_NO_ACTION, EV_SEPARATOR, EV_S_CRTM_VERSION, EV_IPL = 0x2, 0x3, 0x4, 0x8, 0xD
EV_EFI_VARIABLE_DRIVER_CONFIG, EV_EFI_BOOT_SERVICES_APPLICATION = 0x80000001, 0x80000003
EV_EFI_ACTION, EV_EFI_VARIABLE_AUTHORITY = 0x80000007, 0x800000E0


def sized(data):
    return struct.pack(">H", len(data)) + data


def sized_le(data):
    return struct.pack("<I", len(data)) + data


def digest(bank, data):
    return hashlib.new(bank, data).digest()


# ---- the boot log -------------------------------------------------------------------------------


@dataclasses.dataclass
class Event:
    pcr: int
    type: int
    digests: list  # of (TPM_ALG_ID, digest)
    data: bytes

    def encode(self):
        return (struct.pack("<III", self.pcr, self.type, len(self.digests))
                + b"".join(struct.pack("<H", alg) + value for alg, value in self.digests)
                + sized_le(self.data))

    def measure(self, measured=None):
        """Digests of the event's own data, or of what it says it measured."""
        self.digests = [(alg, digest(BANK[alg], self.data if measured is None else measured))
                        for alg, _ in self.digests]


@dataclasses.dataclass
class Log:
    head: bytes  # the Spec ID event
    events: list

    @staticmethod
    def parse(raw):
        size = 32 + int.from_bytes(raw[28:32], "little")
        n = int.from_bytes(raw[56:60], "little")
        sizes = dict(struct.iter_unpack("<HH", raw[60:60 + 4 * n]))
        log, at = Log(raw[:size], []), size
        while at < len(raw):
            pcr, kind, count = struct.unpack_from("<III", raw, at)
            at, digests = at + 12, []
            for _ in range(count):
                alg = int.from_bytes(raw[at:at + 2], "little")
                digests.append((alg, raw[at + 2:at + 2 + sizes[alg]]))
                at += 2 + sizes[alg]
            length = int.from_bytes(raw[at:at + 4], "little")
            log.events.append(Event(pcr, kind, digests, raw[at + 4:at + 4 + length]))
            at += 4 + length
        return log

    def encode(self):
        return self.head + b"".join(e.encode() for e in self.events)

    def add(self, pcr, kind, data, measured=None):
        algorithms = [alg for alg, _ in struct.iter_unpack("<HH", self.head[60:60 + 4 * self.head[56]])]
        event = Event(pcr, kind, [(alg, b"") for alg in algorithms], data)
        event.measure(measured)
        self.events.append(event)
        return event

    def find(self, pcr, kind, part=b""):
        return next(e for e in self.events if (e.pcr, e.type) == (pcr, kind) and part in e.data)

    def of(self, pcr):
        return [e for e in self.events if e.pcr == pcr]

    def replay(self, bank):
        """What a TPM holds after these events; StartupLocality as PFP 1.05, 10.4.5.3 has it."""
        size = hashlib.new(bank).digest_size
        pcrs = {i: (b"\xff" if 17 <= i <= 22 else b"\0") * size for i in range(24)}
        for e in self.events:
            if e.type == EV_NO_ACTION:
                if e.data.startswith(b"StartupLocality\0"):
                    pcrs[0] = bytes(size - 1) + e.data[16:17]
                continue
            value = dict(e.digests).get(ALG[bank])
            if e.pcr < 24 and value is not None:
                pcrs[e.pcr] = digest(bank, pcrs[e.pcr] + value)
        return pcrs


GLOBAL = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")  # 8be4df61-93ca-11d2-aa0d-00e098032b8c
SECURITY = bytes.fromhex("cbb219d73a3d9645a3bcdad00e67656f")  # d719b2cb-3d3a-4596-a3bc-...
X509_GUID = bytes.fromhex("a159c0a5e494a74a87b5ab155c2bf072")


def variable(guid, name, value):
    """UEFI_VARIABLE_DATA (PFP 1.05, 10.2.6)."""
    return guid + struct.pack("<QQ", len(name), len(value)) + name.encode("utf-16-le") + value


def signature_list(certificate):
    """EFI_SIGNATURE_LIST of one certificate (UEFI 2.10, 32.4.1)."""
    size = 16 + len(certificate)
    return X509_GUID + struct.pack("<III", 28 + size, 0, size) + GLOBAL + certificate


def spec_id(banks=("sha256", "sha384")):
    data = b"Spec ID Event03\0" + struct.pack("<IBBBBI", 0, 0, 2, 0, 2, len(banks))
    for bank in banks:
        data += struct.pack("<HH", ALG[bank], hashlib.new(bank).digest_size)
    return struct.pack("<II", 0, EV_NO_ACTION) + bytes(20) + sized_le(data + b"\0")


def made_log(secure_boot=True, banks=("sha256", "sha384")):
    """A boot of shim and GRUB under Secure Boot, as short as it can be."""
    log, keys = Log(spec_id(banks), []), signature_list(bytes(range(40)))
    log.add(0, EV_S_CRTM_VERSION, "v1\0".encode("utf-16-le"))
    for guid, name, value in ((GLOBAL, "SecureBoot", bytes([secure_boot])), (GLOBAL, "PK", keys),
                              (GLOBAL, "KEK", keys), (SECURITY, "db", keys),
                              (SECURITY, "dbx", b"")):
        log.add(7, EV_EFI_VARIABLE_DRIVER_CONFIG, variable(guid, name, value))
    log.add(7, EV_SEPARATOR, bytes(4))
    log.add(4, EV_EFI_ACTION, b"Calling EFI Application from Boot Option")
    for pcr in range(7):
        log.add(pcr, EV_SEPARATOR, bytes(4))
    if secure_boot:
        log.add(7, EV_EFI_VARIABLE_AUTHORITY, variable(SECURITY, "db", keys[28:]))
    log.add(4, EV_EFI_BOOT_SERVICES_APPLICATION, b"\\EFI\\shimx64.efi", b"Authenticode of shim")
    log.add(8, EV_IPL, b"kernel_cmdline: root=/dev/sda1 ro\0", b"root=/dev/sda1 ro")
    return log


# ---- keys ---------------------------------------------------------------------------------------

AK_ATTRIBUTES = 0x00050472  # fixedTPM fixedParent sensitiveDataOrigin userWithAuth noDA restricted sign
RSASSA, RSAPSS, ECDSA, NULL = 0x14, 0x16, 0x18, 0x10
SCHEMES = {  # name: TPM_ALG_ID, hash, key
    "rsassa": (RSASSA, "sha256", "rsa"), "rsapss": (RSAPSS, "sha256", "rsa"),
    "rsassa-sha384": (RSASSA, "sha384", "rsa"),
    "p256": (ECDSA, "sha256", ec.SECP256R1()), "p384": (ECDSA, "sha384", ec.SECP384R1()),
}


def rsa_key(bits=2048):
    return rsa.generate_private_key(65537, bits)


def public_area(key, scheme, attributes=AK_ATTRIBUTES, policy=b""):
    """TPMT_PUBLIC (Part 2, 12.2.4) of an RSA or EC public key."""
    alg, name, _ = SCHEMES[scheme]
    numbers = key.public_numbers()
    head = struct.pack(">HHI", 0x23 if alg == ECDSA else 0x01, ALG["sha256"], attributes)
    scheme_of = struct.pack(">HHH", NULL, alg, ALG[name])
    if alg == ECDSA:
        size = key.curve.key_size // 8
        return (head + sized(policy) + scheme_of
                + struct.pack(">HH", {32: 3, 48: 4}[size], NULL)
                + sized(numbers.x.to_bytes(size, "big")) + sized(numbers.y.to_bytes(size, "big")))
    bits = key.key_size
    return (head + sized(policy) + scheme_of + struct.pack(">HI", bits, 0)
            + sized(numbers.n.to_bytes(bits // 8, "big")))


def qualified_name(public):
    """Of a primary key of the endorsement hierarchy (Part 1, 16.3)."""
    name = b"\x00\x0b" + digest("sha256", public)
    return b"\x00\x0b" + digest("sha256", b"\x40\x00\x00\x0b" + name)


class SoftAk:
    """A key of software that says of itself what a TPM's would."""

    def __init__(self, scheme="rsassa", key=None, attributes=AK_ATTRIBUTES, policy=b""):
        self.scheme = scheme
        self.alg, self.hash, kind = SCHEMES[scheme]
        self.key = key or (rsa_key() if kind == "rsa" else ec.generate_private_key(kind))
        self.public_key = self.key.public_key()
        self.public = public_area(self.public_key, scheme, attributes, policy)

    def sign(self, message, alg=None, bank=None, named=None):
        """TPMT_SIGNATURE; `named` is what it says of itself where that is not how it was made."""
        alg, bank = alg or self.alg, bank or self.hash
        head = struct.pack(">HH", *(named or (alg, ALG[bank])))
        if alg == ECDSA:
            r, s = utils.decode_dss_signature(self.key.sign(message, ec.ECDSA(HASHES[bank])))
            size = self.public_key.curve.key_size // 8
            return head + sized(r.to_bytes(size, "big")) + sized(s.to_bytes(size, "big"))
        salt = hashlib.new(bank).digest_size
        how = padding.PKCS1v15() if alg == RSASSA else padding.PSS(padding.MGF1(HASHES[bank]), salt)
        return head + sized(self.key.sign(message, how, HASHES[bank]))


# ---- certificates -------------------------------------------------------------------------------

DAY = datetime.timedelta(days=1)
SUBJECT = "0123456789ab.TrustedVM.Azure.windows.net"
AIK = "2.23.133.8.3"  # tcg-kp-AIKCertificate
AZURE_USAGES = ("1.3.6.1.4.1.311.10.3.12", AIK)


def name_of(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def key_usage(*names):
    every = ("digital_signature content_commitment key_encipherment data_encipherment key_agreement "
             "key_cert_sign crl_sign encipher_only decipher_only").split()
    return x509.KeyUsage(**{n: n in names for n in every})


def certificate(subject, public_key, issuer, issuer_key, *, usage=("digital_signature",),
                eku=AZURE_USAGES, ca=None, path_length=None, start=-DAY, end=30 * DAY,
                bank="sha256", issuer_name=None, aia=(), crls=(), policies=()):
    """`issuer`: a certificate, or None for a self-signed one."""
    now = datetime.datetime.utcnow()
    builder = (x509.CertificateBuilder().subject_name(name_of(subject)).public_key(public_key)
               .issuer_name(issuer_name or (issuer.subject if issuer else name_of(subject)))
               .serial_number(x509.random_serial_number())
               .not_valid_before(now + start).not_valid_after(now + end))
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    if usage:
        builder = builder.add_extension(key_usage(*usage), critical=True)
    if eku:
        oids = [x509.ObjectIdentifier(o) for o in eku]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
    if issuer:
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
    if aia:
        builder = builder.add_extension(x509.AuthorityInformationAccess(
            [x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS,
                                    x509.UniformResourceIdentifier(url)) for url in aia]), False)
    if policies:
        builder = builder.add_extension(x509.CertificatePolicies(
            [x509.PolicyInformation(x509.ObjectIdentifier(p), None) for p in policies]), False)
    if crls:
        builder = builder.add_extension(x509.CRLDistributionPoints(
            [x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
             for url in crls]), False)
    return builder.sign(issuer_key, HASHES[bank])


def ca_certificate(subject, key, issuer=None, issuer_key=None, path_length=None, **more):
    more = {"usage": ("key_cert_sign", "crl_sign"), "eku": (), "ca": True, "end": 1000 * DAY, **more}
    return certificate(subject, key.public_key(), issuer, issuer_key or key,
                       path_length=path_length, **more)


class Ca:
    """Root and issuing CAs: from the root down, each with its name, path length and key size."""

    def __init__(self, folder, names=(("Test Virtual TPM Root", None, 2048),
                                      ("Test Virtual TPM CA - 01", 0, 2048)), bank="sha256"):
        self.keys = [rsa_key(bits) for _, _, bits in names]
        self.certificates = []
        for i, (name, length, _) in enumerate(names):
            above = self.certificates[-1] if i else None
            self.certificates.append(ca_certificate(name, self.keys[i], above,
                                                    self.keys[i - 1] if i else None, length,
                                                    bank=bank))
        self.anchor = folder / f"{names[0][0].replace(' ', '-')}.pem"
        self.anchor.write_bytes(self.certificates[0].public_bytes(PEM))

    @staticmethod
    def of(certificates, keys, anchor):
        """Of certificates that are there."""
        ca = Ca.__new__(Ca)
        ca.certificates, ca.keys, ca.anchor = certificates, keys, anchor
        return ca

    @property
    def chain(self):
        """DER of the issuers, the nearest first, down to the root."""
        return [c.public_bytes(DER) for c in reversed(self.certificates)]

    def certify(self, public_key, subject=SUBJECT, **more):
        return certificate(subject, public_key, self.certificates[-1], self.keys[-1],
                           **more).public_bytes(DER)


# ---- the quote ----------------------------------------------------------------------------------


@dataclasses.dataclass
class Quote:
    """TPMS_ATTEST (Part 2, 10.12.8)."""
    signer: bytes
    extra: bytes
    selections: list  # of (TPM_ALG_ID, bytes of the bit map)
    digest: bytes
    magic: int = 0xFF544347
    type: int = 0x8018
    clock: int = 1000000
    resets: int = 3
    restarts: int = 1
    safe: int = 1
    firmware: int = 0x2020031200120003
    tail: bytes = b""

    @staticmethod
    def parse(raw):
        magic, kind, n = struct.unpack_from(">IHH", raw)
        signer, at = raw[8:8 + n], 8 + n
        n = int.from_bytes(raw[at:at + 2], "big")
        extra, at = raw[at + 2:at + 2 + n], at + 2 + n
        clock, resets, restarts, safe, firmware, count = struct.unpack_from(">QIIBQI", raw, at)
        at, selections = at + 29, []
        for _ in range(count):
            alg, size = struct.unpack_from(">HB", raw, at)
            selections.append((alg, raw[at + 3:at + 3 + size]))
            at += 3 + size
        n = int.from_bytes(raw[at:at + 2], "big")
        return Quote(signer, extra, selections, raw[at + 2:at + 2 + n], magic, kind, clock, resets,
                     restarts, safe, firmware, raw[at + 2 + n:])

    def encode(self):
        out = struct.pack(">IH", self.magic, self.type) + sized(self.signer) + sized(self.extra)
        out += struct.pack(">QIIBQ", self.clock, self.resets, self.restarts, self.safe, self.firmware)
        out += struct.pack(">I", len(self.selections))
        out += b"".join(struct.pack(">HB", alg, len(bits)) + bits for alg, bits in self.selections)
        return out + sized(self.digest) + self.tail


def bit_map(pcrs, size=3):
    return sum(1 << i for i in pcrs).to_bytes(size, "little")
