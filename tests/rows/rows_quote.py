"""Rows 23 to 41 and 44: quote, AK and its certificate. Rows 32, 42 and 43 are also the gateway's:
test_rows_gateway.py."""
import base64
import datetime

import made
from frame import NONCE, VECTORS, b64, pem_to_der, row

MADE = ("made", "made-rsapss", "made-p256", "made-p384")
TPM = ("tpm-rsassa", "tpm-rsapss", "tpm-p256", "tpm-p384")
REAL = ("azure-cvm", "azure-tl")
DAY = made.DAY


# ---- 23 to 28: what the quote says --------------------------------------------------------------


@row(23, bases=MADE, fails={("quote.magic", "not_generated_by_tpm")},
     values={("quote.magic", "not_generated_by_tpm"): {"expected": "ff544347", "found": "ff544346"}})
def bad_magic(e):
    """CVE-2024-29038: signed, but nothing that a TPM generated."""
    e.quote.magic ^= 1


@row(23, bases=MADE, fails={("quote.type", "not_a_quote")},
     values={("quote.type", "not_a_quote"): {"expected": "8018", "found": "8017"}})
def certify_type(e):
    e.quote.type = 0x8017


def nonce_case(name, extra):
    """The TPM signed it over something else than the challenge."""
    found = extra.hex() or "nothing"

    def build(e):
        e.quote.extra = extra
    row(24, bases=MADE, fails={("quote.nonce", "nonce_mismatch")}, name=name,
        values={("quote.nonce", "nonce_mismatch"): {"expected": NONCE.hex(), "found": found}})(build)


nonce_case("wrong_nonce", bytes(32))
nonce_case("empty_nonce", b"")
nonce_case("prefix_of_the_nonce", NONCE[:31])
nonce_case("padded_nonce", NONCE + b"\0")


@row(24, bases=TPM, fails={("quote.nonce", "nonce_mismatch")})
def quote_of_another_challenge(e):
    e.nonce = bytes(32)


@row(24, bases=REAL, fails={("quote.nonce", "nonce_mismatch")})
def real_quote_of_another_challenge(e):
    e.nonce = "11" * 32


@row(25, bases=MADE, fails={("quote.selection", "empty_selection")})
def empty_selection(e):
    """CVE-2022-0317: a quote that covers nothing, with the digest of nothing."""
    e.selected = ()
    e.requote()
    e.edits.append(lambda out: out["pcrs"].update(sha256={str(i): v.hex() for i, v in
                                                          list(e.pcrs.items())[:9]}))


@row(25, bases=MADE, fails={("quote.selection", "empty_selection")})
def no_selections(e):
    e.quote.selections = []
    e.quote.digest = made.digest(e.ak.hash, b"")


@row(26, fails={("quote.selection", "required_pcr_missing")},
     values={("quote.selection", "required_pcr_missing"):
             {"pcr": 7, "expected": "0, 2, 4, 7", "found": "0-6, 8"}})
def required_pcr_only_beside_the_quote(e):
    """CVE-2024-29039: its value is sent, but nobody signed it."""
    e.selected = (0, 1, 2, 3, 4, 5, 6, 8)
    e.requote()
    e.edits.append(lambda out: out["pcrs"]["sha256"].update({"7": e.pcrs[7].hex()}))


def missing_required(pcr):
    @row(26, fails={("quote.selection", "required_pcr_missing")}, name=f"pcr_{pcr}_not_quoted",
         values={("quote.selection", "required_pcr_missing"): {"pcr": pcr}})
    def build(e):
        e.selected = tuple(i for i in e.selected if i != pcr)
        e.requote()


for required in (0, 2, 4, 7):
    missing_required(required)


@row(26, bases=MADE, malformed="#/pcrs/sha256/16")
def value_of_a_pcr_that_is_not_quoted(e):
    """PCR 16 is anybody's; beside a quote of others it must not pass for a quoted one."""
    e.edits.append(lambda out: out["pcrs"]["sha256"].update({"16": "00" * 32}))


@row(27, bases=MADE, fails={("quote.selection", "bank_not_allowed")})
def sha1_bank(e):
    e.quote.selections = [(made.ALG["sha1"], made.bit_map(e.selected))]


@row(27, fails={("quote.selection", "bank_not_allowed")},
     values={("quote.selection", "bank_not_allowed"): {"expected": "SHA-256", "found": "SHA-384"}})
def sha384_bank_on_azure(e):
    e.bank = "sha384"
    e.boot()


@row(27, bases=("made-p384", "made-p256", "made-rsapss"), accepted=True)
def sha384_bank_of_another_tpm(e):
    """The profile `tpm` takes the bank that was quoted."""
    e.bank = "sha384"
    e.boot()


@row(27, bases=("made-p384", "made-rsapss"), accepted=True)
def sha512_bank_of_another_tpm(e):
    e.log = made.made_log(banks=("sha256", "sha512"))
    e.bank = "sha512"
    e.boot()


@row(27, bases=MADE, fails={("quote.selection", "duplicate_bank")})
def duplicate_bank(e):
    e.quote.selections *= 2


@row(27, bases=MADE, fails={("quote.selection", "several_banks")},
     values={("quote.selection", "several_banks"): {"found": "SHA-256, SHA-384"}})
def two_banks(e):
    e.quote.selections.append((made.ALG["sha384"], made.bit_map(e.selected)))


@row(27, bases=MADE, fails={("quote.selection", "duplicate_bank")})
def duplicate_bank_behind_another(e):
    e.quote.selections += [(made.ALG["sha384"], made.bit_map(e.selected))] * 2


@row(27, bases=MADE, fails={("quote.selection", "unquoted_bank")})
def values_of_an_unquoted_bank(e):
    e.edits.append(lambda out: out["pcrs"].update(
        sha384={str(i): "00" * 48 for i in range(9)}))


@row(28, bases=MADE, malformed="#/quote/message")
def four_billion_selections(e):
    encode = e.quote.encode
    e.quote.encode = lambda: (lambda raw, at: raw[:at] + b"\xff" * 4 + raw[at + 4:])(
        encode(), 8 + len(e.quote.signer) + 2 + len(e.quote.extra) + 25)


@row(28, bases=MADE, malformed="#/quote/message")
def trailing_byte_that_is_signed(e):
    e.quote.tail = b"\0"


@row(28, bases=MADE, malformed="#/quote/message")
def selection_of_255_bytes(e):
    e.quote.selections = [(made.ALG["sha256"], bytes(254))]
    e.quote.digest = b""
    encode = e.quote.encode
    e.quote.encode = lambda: encode().replace(b"\x00\x0b\xfe" + bytes(4), b"\x00\x0b\xff" + bytes(4))


@row(28, bases=MADE, fails={("quote.selection", "selection_size")})
def selection_of_2_bytes(e):
    e.quote.selections = [(made.ALG["sha256"], b"\xff\x01")]


@row(28, bases=MADE, fails={("quote.selection", "selection_size")})
def selection_of_pcr_24(e):
    e.quote.selections = [(made.ALG["sha256"], b"\xff\x01\x00\x01")]


@row(28, bases=MADE, malformed="#/quote/message")
def clock_safe_is_neither_yes_nor_no(e):
    e.quote.safe = 2


# ---- 29 to 34: digest and signature -------------------------------------------------------------


@row(29, bases=MADE, fails={("quote.pcrDigest", "pcr_digest_mismatch")})
def wrong_pcr_digest(e):
    e.quote.digest = bytes(len(e.quote.digest))


def change_pcr(out):
    value = out["pcrs"]["sha256"]["7"]
    out["pcrs"]["sha256"]["7"] = ("1" if value[0] == "0" else "0") + value[1:]


@row(29, bases=TPM, fails={("quote.pcrDigest", "pcr_digest_mismatch"),
                           ("log.replay", "pcr_replay_mismatch")},
     values={("log.replay", "pcr_replay_mismatch"): {"pcr": 7}})
def changed_pcr_value(e):
    e.edits.append(change_pcr)


@row(29, bases=REAL, fails={("quote.pcrDigest", "pcr_digest_mismatch")})
def changed_pcr_value_of_a_real_quote(e):
    e.edits.append(change_pcr)


@row(29, bases=TPM + REAL, fails={("quote.pcrDigest", "pcr_value_missing")},
     values={("quote.pcrDigest", "pcr_value_missing"): {"pcr": 3}})
def quoted_value_left_out(e):
    e.edits.append(lambda out: out["pcrs"]["sha256"].pop("3"))


def flip_last_bit(out, part):
    data = bytearray(base64.b64decode(out["quote"][part]))
    data[-1] ^= 1
    out["quote"][part] = b64(bytes(data))


@row(29, bases=TPM + REAL, fails={("quote.signature", "signature_invalid")})
def flipped_signature(e):
    e.edits.append(lambda out: flip_last_bit(out, "signature"))


@row(29, bases=TPM + REAL, fails={("quote.signature", "signature_invalid"),
                                  ("quote.pcrDigest", "pcr_digest_mismatch")})
def flipped_message(e):
    e.edits.append(lambda out: flip_last_bit(out, "message"))


@row(29, bases=MADE, fails={("quote.signature", "hash_not_allowed")})
def signed_with_sha1(e):
    e.sign = {"bank": "sha1"}
    e.requote()


@row(30, fails={("quote.signature", "scheme_mismatch")},
     values={("quote.signature", "scheme_mismatch"):
             {"expected": "RSASSA with SHA-256", "found": "RSAPSS with SHA-256"}})
def pss_of_an_rsassa_key(e):
    e.sign = {"alg": made.RSAPSS}


@row(30, bases=("made-rsapss",), fails={("quote.signature", "scheme_mismatch")})
def rsassa_of_a_pss_key(e):
    e.sign = {"alg": made.RSASSA}


@row(30, bases=("made",), fails={("quote.signature", "signature_invalid")})
def pss_that_says_rsassa(e):
    e.sign = {"alg": made.RSAPSS, "named": (made.RSASSA, made.ALG["sha256"])}


@row(30, fails={("quote.signature", "scheme_mismatch")})
def sha384_signature_of_a_sha256_key(e):
    e.sign = {"bank": "sha384"}
    e.requote()


@row(30, bases=("made", "made-rsapss", "tpm-rsassa", "tpm-rsapss"), malformed="#/quote/signature")
def ecdsa_with_a_body_of_rsa(e):
    def edit(out):
        data = base64.b64decode(out["quote"]["signature"])
        out["quote"]["signature"] = b64(made.ECDSA.to_bytes(2, "big") + data[2:])
    e.edits.append(edit)


def shorten(out):
    data = base64.b64decode(out["quote"]["signature"])
    out["quote"]["signature"] = b64(data[:4] + made.sized(data[6:-1]))


@row(30, bases=("made", "made-rsapss", "tpm-rsassa", "tpm-rsapss", "azure-tl", "azure-cvm"),
     fails={("quote.signature", "signature_invalid")})
def short_signature(e):
    e.edits.append(shorten)


@row(30, bases=TPM + REAL, malformed="#/quote/signature")
def truncated_signature(e):
    e.edits.append(lambda out: out["quote"].update(
        signature=b64(base64.b64decode(out["quote"]["signature"])[:-1])))


@row(30, bases=TPM + REAL, malformed="#/quote/signature")
def bytes_after_the_signature(e):
    e.edits.append(lambda out: out["quote"].update(
        signature=b64(base64.b64decode(out["quote"]["signature"]) + b"\0")))


@row(31, fails={("quote.signer", "ak_name_mismatch")})
def another_qualified_signer(e):
    e.quote.signer = made.qualified_name(b"another key")


@row(31, fails={("quote.signer", "ak_name_mismatch")})
def name_instead_of_qualified_name(e):
    e.quote.signer = b"\x00\x0b" + made.digest("sha256", e.ak.public)


@row(31, bases=("azure-cvm",), fails={("quote.signer", "ak_name_mismatch")})
def another_policy_in_the_public_area(e):
    """The modulus is the certificate's, but it is not the object that quoted."""
    def edit(out):
        raw = base64.b64decode(out["ak"]["public"])
        out["ak"]["public"] = b64(raw[:8] + made.sized(bytes(32)) + raw[10:])
    e.edits.append(edit)


@row(32, bases=MADE, accepted=True, remarks={("quote.clock", "clock_not_safe")})
def clock_not_safe(e):
    e.quote.safe = 0


@row(33, bases=TPM + MADE, accepted=True)
def framed_quote(e):
    e.framed = True


@row(33, bases=REAL, accepted=True)
def framed_real_quote(e):
    e.edits.append(lambda out: out["quote"].update(
        message=b64(made.sized(base64.b64decode(out["quote"]["message"])))))


@row(33, bases=MADE, malformed="#/quote/message")
def frame_of_another_size(e):
    """Neither a TPM2B nor a TPMS_ATTEST: the size is not what follows."""
    e.framed = True
    e.quote.tail = b"\0"


@row(34, bases=("azure-tl",), fails={("quote.signature", "signature_invalid"),
                                     ("ak.attributes", "public_missing")})
def certificate_of_the_vms_other_ak(e):
    """The certificate of 0x81000003 beside a quote by a key that was made in the guest."""
    der = (VECTORS / "azure-trustedlaunch-quote/akcert_0x01C101D0.der").read_bytes()
    e.edits.append(lambda out: out.update(ak={"certificate": b64(der)}))
    e.args = ["--trust-dir", VECTORS / "azure-ca", "--at", "2026-08-01T00:00:00Z"]


@row(34, fails={("quote.signature", "signature_invalid")})
def quote_by_another_key_of_the_guest(e):
    """It names the platform's AK as its signer, but is signed by a key of the guest's own."""
    e.signer = made.SoftAk("rsassa")


@row(34, bases=("tpm-rsassa",), fails={("quote.signature", "signature_invalid"),
                                       ("quote.signer", "ak_name_mismatch")})
def certified_key_did_not_quote(e):
    ak = e.rig.soft_ak("rsassa")
    e.ak = ak


# ---- 35 to 41: the AK and its certificate -------------------------------------------------------


@row(35, fails={("ak.profile", "profile_mismatch")})
def confidential_vm_on_a_trusted_launch_resource(e):
    e.subject = "0123456789ab.ConfidentialVM.Azure.windows.net"


@row(35, bases=("azure-cvm",), fails={("ak.profile", "profile_mismatch")})
def real_confidential_vm_as_trusted_launch(e):
    e.args = [a for a in e.args if a not in ("--profile", "confidentialVm")]


def subject_case(name, subject):
    @row(35, fails={("ak.profile", "subject_unknown")}, name=name)
    def build(e):
        e.subject = subject


subject_case("subject_of_another_domain", made.SUBJECT + ".example")
subject_case("subject_in_upper_case", "0123456789AB.TrustedVM.Azure.windows.net")
subject_case("subject_with_11_digits", made.SUBJECT[1:])


@row(36, bases=("azure-cvm",), fails={("ak.chain", "expired")})
def real_certificate_after_its_end(e):
    e.args[e.args.index("--at") + 1] = "2026-12-09T00:00:00Z"


@row(36, fails={("ak.chain", "expired")})
def expired_certificate(e):
    e.certificate = {"start": -2 * DAY, "end": -DAY}


@row(36, fails={("ak.chain", "not_yet_valid")})
def certificate_of_tomorrow(e):
    e.certificate = {"start": DAY, "end": 2 * DAY}


@row(36, accepted=True)
def certificate_of_an_issuer_whose_clock_is_ahead(e):
    e.certificate = {"start": datetime.timedelta(minutes=3)}


@row(36, fails={("ak.chain", "issuer_expired")})
def expired_issuer(e):
    ca = e.rig.ca
    old = made.ca_certificate("Test Virtual TPM CA - 01", ca.keys[1], ca.certificates[0], ca.keys[0],
                              0, start=-9 * DAY, end=-DAY)
    e.chain = [old.public_bytes(made.DER)]


@row(37, bases=("made", "made-p384"), fails={("ak.chain", "issuer_missing")}, verdict="indeterminate",
     values={("ak.chain", "issuer_missing"):
             {"expected": "the certificate of CN=Test Virtual TPM CA - 01"}})
def leaf_without_its_issuer(e):
    e.chain = []


@row(37, bases=("made", "tpm-rsassa", "tpm-p256"), accepted=True)
def issuer_from_the_trust_dir(e):
    e.chain = []
    folder = e.rig.folder / "trust"
    folder.mkdir(exist_ok=True)
    (folder / "ca.crt").write_bytes(e.rig.ca.chain[0])
    e.args += ["--trust-dir", folder]


@row(37, bases=("azure-cvm",), fails={("ak.chain", "issuer_missing")}, verdict="indeterminate")
def real_leaf_without_ca_03(e):
    at = e.args.index("--trust-dir")
    del e.args[at:at + 2]


def impostor(e):
    """A hierarchy of the same names."""
    key = made.rsa_key()
    root = made.ca_certificate("Test Virtual TPM Root", key)
    ca_key = made.rsa_key()
    ca = made.ca_certificate("Test Virtual TPM CA - 01", ca_key, root, key, 0)
    leaf = made.certificate(made.SUBJECT, e.ak.public_key, ca, ca_key)
    return [c.public_bytes(made.DER) for c in (leaf, ca, root)]


@row(38, fails={("ak.chain", "anchor_unknown")})
def self_made_ca_of_the_same_names(e):
    leaf, *chain = impostor(e)
    e.chain = chain
    e.edits.append(lambda out: out["ak"].update(certificate=b64(leaf)))


@row(38, fails={("ak.chain", "signature_invalid")})
def impostors_leaf_under_the_real_ca(e):
    """Same issuer name, no key identifier to tell them apart: the signature decides."""
    key = made.rsa_key()
    leaf = made.certificate(made.SUBJECT, e.ak.public_key, None, key,
                            issuer_name=made.name_of("Test Virtual TPM CA - 01"))
    e.edits.append(lambda out: out["ak"].update(certificate=b64(leaf.public_bytes(made.DER))))


@row(38, fails={("ak.chain", "anchor_unknown")})
def root_in_the_chain_is_no_anchor(e):
    """The honest evidence, without the anchor named to the verifier."""
    at = e.args.index("--trust-anchor")
    del e.args[at:at + 2]


@row(38, bases=("azure-tl",), fails={
    ("ak.chain", "expired"), ("ak.chain", "anchor_unknown"), ("ak.chain", "eku_missing"),
    ("ak.chain", "ca_true"), ("ak.chain", "key_usage"), ("ak.profile", "subject_unknown"),
    ("ak.attributes", "public_missing"), ("quote.signature", "signature_invalid")})
def ame_root(e):
    """The root of older tools is no anchor; here it even stands as the AK's own certificate."""
    der = pem_to_der(VECTORS / "azure-ca/ame-root-ca-2016.pem")
    e.edits.append(lambda out: out.update(ak={"certificate": b64(der)}))
    e.args = ["--trust-dir", VECTORS / "azure-ca", "--at", "2026-08-01T00:00:00Z"]


def pad(e, tail=b""):
    def edit(out):
        der = base64.b64decode(out["ak"]["certificate"])
        out["ak"]["certificate"] = b64(der + bytes(4096 - len(der) - len(tail)) + tail)
    e.edits.append(edit)


@row(39, bases=("made", "tpm-rsassa", "tpm-p384"), accepted=True)
def nv_image_padded_with_zeros(e):
    pad(e)


@row(39, bases=("made", "tpm-rsassa", "tpm-p384"), malformed="#/ak/certificate")
def nv_image_with_one_byte_in_the_padding(e):
    pad(e, b"\1")


@row(39, bases=("azure-cvm",), malformed="#/ak/certificate")
def real_nv_image_with_one_byte_in_the_padding(e):
    def edit(out):
        image = base64.b64decode(out["ak"]["certificate"])
        assert len(image) == 4096 and image.endswith(bytes(1000))
        out["ak"]["certificate"] = b64(image[:-1] + b"\1")
    e.edits.append(edit)


@row(40, fails={("ak.chain", "anchor_unknown"), ("ak.chain", "eku_missing"),
                ("ak.profile", "subject_unknown")})
def another_clouds_chain(e):
    """Of the shape of Google's: no AK usage, an instance as the subject, a root of its own."""
    key, ca_key = made.rsa_key(), made.rsa_key()
    root = made.ca_certificate("EK/AK CA Root", key)
    ca = made.ca_certificate("EK/AK CA Intermediate", ca_key, root, key, 0)
    leaf = made.certificate("instance-1", e.ak.public_key, ca, ca_key, eku=())
    e.chain = [ca.public_bytes(made.DER), root.public_bytes(made.DER)]
    e.edits.append(lambda out: out["ak"].update(certificate=b64(leaf.public_bytes(made.DER))))


@row(40, fails={("ak.chain", "eku_missing")}, bases=MADE,
     values={("ak.chain", "eku_missing"):
             {"expected": "2.23.133.8.3", "found": "1.3.6.1.4.1.311.10.3.12"}})
def without_the_aks_usage(e):
    e.certificate = {"eku": ("1.3.6.1.4.1.311.10.3.12",)}


@row(40, fails={("ak.chain", "eku_missing")}, bases=MADE)
def without_any_extended_usage(e):
    e.certificate = {"eku": ()}


@row(40, fails={("ak.chain", "weak_key"), ("ak.attributes", "weak_key")},
     values={("ak.chain", "weak_key"): {"found": "RSA 1024"}})
def rsa_1024(e):
    e.ak = e.signer = made.SoftAk("rsassa", made.rsa_key(1024))
    e.quote.signer = made.qualified_name(e.ak.public)


@row(40, fails={("ak.chain", "ca_true")}, bases=MADE)
def leaf_that_is_a_ca(e):
    e.certificate = {"ca": True}


@row(40, fails={("ak.chain", "key_usage")},
     values={("ak.chain", "key_usage"): {"found": "digitalSignature keyEncipherment"}})
def more_key_usage(e):
    e.certificate = {"usage": ("digital_signature", "key_encipherment")}


@row(40, fails={("ak.chain", "signature_algorithm")})
def certificate_signed_with_sha1(e):
    e.certificate = {"bank": "sha1"}


@row(40, fails={("ak.chain", "key_type"), ("ak.attributes", "scheme_unexpected"),
                ("quote.signature", "scheme_mismatch")}, bases=("made-p256", "made-p384"))
def elliptic_curve_on_azure(e):
    at = e.args.index("--profile")
    del e.args[at:at + 2]


@row(40, malformed="#/ak/chain")
def chain_of_20(e):
    e.chain = e.rig.ca.chain * 10


@row(40, fails={("ak.chain", "chain_loop")})
def chain_in_a_loop(e):
    a, b = made.rsa_key(), made.rsa_key()
    a0 = made.ca_certificate("A", a)
    b1 = made.ca_certificate("B", b, a0, a)
    a1 = made.ca_certificate("A", a, b1, b)
    leaf = made.certificate(made.SUBJECT, e.ak.public_key, a1, a)
    e.chain = [c.public_bytes(made.DER) for c in (a1, b1)]
    e.edits.append(lambda out: out["ak"].update(certificate=b64(leaf.public_bytes(made.DER))))


def issued_below(e, issuer, key):
    leaf = made.certificate(made.SUBJECT, e.ak.public_key, issuer, key)
    e.chain = [issuer.public_bytes(made.DER)] + e.rig.ca.chain
    e.edits.append(lambda out: out["ak"].update(certificate=b64(leaf.public_bytes(made.DER))))


@row(40, fails={("ak.chain", "chain_invalid")})
def issuer_that_is_no_ca(e):
    """A leaf of the platform that signs leaves of its own."""
    ca, key = e.rig.ca, made.rsa_key()
    below = made.certificate("0123456789ac.TrustedVM.Azure.windows.net", key.public_key(),
                             ca.certificates[-1], ca.keys[-1])
    issued_below(e, below, key)


@row(40, fails={("ak.chain", "chain_invalid")})
def path_longer_than_the_issuer_allows(e):
    ca, key = e.rig.ca, made.rsa_key()
    below = made.ca_certificate("Test Virtual TPM CA - 01 a", key, ca.certificates[-1], ca.keys[-1])
    issued_below(e, below, key)


@row(40, fails={("ak.chain", "weak_issuer")})
def issuer_of_rsa_1024(e):
    ca, key = e.rig.ca, made.rsa_key(1024)
    below = made.ca_certificate("Test Virtual TPM CA - 02", key, ca.certificates[0], ca.keys[0], 0)
    issued_below(e, below, key)


def attributes_case(name, fails, bits, found=None):
    @row(41, bases=("made", "made-p256"), fails=fails, name=name,
         values={next(iter(fails)): {"found": found}} if found else None)
    def build(e):
        e.ak = e.signer = made.SoftAk(e.ak.scheme, e.ak.key, bits)
        e.quote.signer = made.qualified_name(e.ak.public)


BITS = made.AK_ATTRIBUTES
attributes_case("not_restricted", {("ak.attributes", "not_restricted")}, BITS & ~0x10000,
                "fixedTPM fixedParent sensitiveDataOrigin userWithAuth noDA sign")
attributes_case("may_decrypt", {("ak.attributes", "decrypt_set")}, BITS | 0x20000)
attributes_case("no_signing_key", {("ak.attributes", "not_a_signing_key")}, BITS & ~0x40000)
for bit, text in ((0x2, "fixed_tpm"), (0x10, "fixed_parent"), (0x20, "sensitive_data_origin")):
    attributes_case(f"without_{text}", {("ak.attributes", "not_fixed_to_tpm")}, BITS & ~bit)


@row(41, fails={("ak.attributes", "attributes_unexpected")},
     values={("ak.attributes", "attributes_unexpected"): {"found": "without noDA, with stClear"}})
def attributes_that_azure_does_not_give(e):
    e.ak = e.signer = made.SoftAk(e.ak.scheme, e.ak.key, BITS & ~0x400 | 0x4)
    e.quote.signer = made.qualified_name(e.ak.public)


@row(41, bases=("made", "made-p384"), fails={("ak.binding", "ak_public_mismatch")})
def certificate_of_another_modulus(e):
    e.certified = made.SoftAk(e.ak.scheme).public_key
    if e.ak.scheme == "rsassa":  # then the certificate's key is the AK, and it did not sign
        e.signer = made.SoftAk("rsassa", None)
        e.certified = e.signer.public_key


@row(41, bases=("tpm-rsassa",), fails={("ak.attributes", "public_missing")})
def no_public_area(e):
    """Without it nothing shows that the key is a restricted one."""
    e.leave_out.add("public")


@row(41, bases=MADE, fails={("ak.chain", "certificate_missing")})
def no_certificate(e):
    e.leave_out.add("certificate")


# ---- 44: the PCR values as they are written -----------------------------------------------------


def pcr_case(name, pointer, change, **more):
    @row(44, bases=("tpm-rsassa", "azure-tl"), malformed=pointer, name=name, **more)
    def build(e):
        e.edits.append(lambda out: change(out["pcrs"]["sha256"]))


pcr_case("value_of_31_bytes", "#/pcrs/sha256/7", lambda p: p.update({"7": p["7"][2:]}))
pcr_case("value_of_33_bytes", "#/pcrs/sha256/7", lambda p: p.update({"7": p["7"] + "00"}))
pcr_case("odd_number_of_digits", "#/pcrs/sha256/7", lambda p: p.update({"7": p["7"][1:]}))
pcr_case("index_twice", "#/pcrs/sha256/07", lambda p: p.update({"07": p["7"]}))
pcr_case("index_24", "#/pcrs/sha256/24", lambda p: p.update({"24": p["7"]}))
pcr_case("index_beyond_the_selection", "#/pcrs/sha256/23", lambda p: p.update({"23": p["7"]}))
pcr_case("index_that_is_no_number", "#/pcrs/sha256/x", lambda p: p.update({"x": p["7"]}))
pcr_case("digit_g", "#/pcrs/sha256/7", lambda p: p.update({"7": "g" + p["7"][1:]}))
pcr_case("number_instead_of_text", "#/pcrs/sha256/7", lambda p: p.update({"7": 7}))


@row(44, bases=("tpm-rsassa", "azure-tl"), accepted=True)
def upper_case_hex(e):
    e.edits.append(lambda out: out["pcrs"].update(
        sha256={i: v.upper() for i, v in out["pcrs"]["sha256"].items()}))
