"""Both of Azure's hierarchies with leaves and a root of the tests: the same depths, key sizes, path lengths
and extensions, and what must not pass under them."""
import json
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import frame  # noqa: E402  (needs the path above)
import made  # noqa: E402
from frame import b64, failed, tlgate  # noqa: E402

GLOBAL = (("Test Virtual TPM Root 2023", None, 4096), ("Test Global Virtual TPM CA - 03", 0, 2048))
CLOUD = (("Test Virtual TPM Root 2023", None, 4096), ("Test Cloud Virtual TPM CA 2025", 1, 4096),
         ("Test Cloud Virtual TPM CA - 24", 0, 4096))
AIA = tuple(f"http://{host}/eastus2/cacerts/azurevtpmpki/ca24/cert.cer" for host in (
    "primary-cdn.pki.core.windows.net", "secondary-cdn.pki.core.windows.net", "crl.microsoft.com",
    "azurevtpmpki.eastus2.pki.core.windows.net"))
TRUSTED_LAUNCH = ("azureTrustedLaunch", ".TrustedVM", "1.3.6.1.4.1.311.108")
CONFIDENTIAL = ("confidentialVm", ".ConfidentialVM", "1.3.6.1.4.1.311.108.200.2")


@pytest.fixture(scope="module")
def rig():
    folder = tempfile.mkdtemp(prefix="tlg-")
    running = frame.Rig(folder)
    yield running
    running.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", params=[GLOBAL, CLOUD], ids=["global", "cloud"])
def shape(request, tmp_path_factory):
    ca = made.Ca(tmp_path_factory.mktemp("ca"), request.param, bank="sha384")
    ca.leaf = {"bank": "sha256", **({"aia": AIA} if request.param is CLOUD else {})}
    ca.trust = tmp_path_factory.mktemp("trust")
    for i, certificate in enumerate(ca.certificates[1:]):
        (ca.trust / f"{i}.cer").write_bytes(certificate.public_bytes(made.DER))
    return ca


def judge(rig, ca, tmp_path, *more, profile=TRUSTED_LAUNCH, chain=(), **leaf):
    name, kind, policy = profile
    e = rig.base("tpm-rsassa")
    subject = f"0123456789ab{kind}.Azure.windows.net"
    certificate = ca.certify(e.ak.public_key, subject, **{**ca.leaf, "policies": (policy,), **leaf})
    evidence = e.render()
    evidence["ak"].update(certificate=b64(certificate.ljust(4096, b"\0")), chain=[*map(b64, chain)])
    path = tmp_path / "evidence.json"
    path.write_text(json.dumps(evidence))
    return tlgate("verify", path, "--nonce", frame.NONCE.hex(), "--trust-anchor", ca.anchor,
                  "--profile", name, *more)


@pytest.mark.parametrize("profile", [TRUSTED_LAUNCH, CONFIDENTIAL], ids=lambda p: p[0])
def test_leaf_is_trusted_with_issuers_from_the_trust_dir_or_the_evidence(rig, shape, tmp_path, profile):
    for more, chain in ((("--trust-dir", shape.trust), ()), ((), shape.chain)):
        status, result = judge(rig, shape, tmp_path, *more, profile=profile, chain=chain)
        assert (status, result["verdict"]) == (0, "trusted"), result["checks"]
        assert result["claims"]["akPolicies"] == [profile[2]]  # recorded


def test_each_issuer_is_needed(rig, shape, tmp_path):
    for left_out in range(len(shape.certificates) - 1):
        chain = [c for i, c in enumerate(shape.chain[:-1]) if i != left_out]
        status, result = judge(rig, shape, tmp_path, chain=chain)
        assert result["verdict"] == "indeterminate", result
        assert failed(result) == {("ak.chain", "issuer_missing")}


def test_the_other_profile_is_refused(rig, shape, tmp_path):
    status, result = judge(rig, shape, tmp_path, "--profile", "azureTrustedLaunch",
                           profile=CONFIDENTIAL, chain=shape.chain)
    assert status == 1 and failed(result) == {("ak.profile", "profile_mismatch")}


def extended(shape, certificate, key):
    """One level more below the issuing CA."""
    ca = made.Ca.of([*shape.certificates, certificate], [*shape.keys, key], shape.anchor)
    ca.leaf = {}
    return ca


def test_a_leaf_signs_no_leaf(rig, shape, tmp_path):
    """Name and signature are right, but the issuer is somebody's AK."""
    key = made.rsa_key()
    false_issuer = made.certificate("0123456789ac.TrustedVM.Azure.windows.net", key.public_key(),
                                    shape.certificates[-1], shape.keys[-1])
    below = extended(shape, false_issuer, key)
    status, result = judge(rig, below, tmp_path, chain=below.chain)
    assert status == 1 and failed(result) == {("ak.chain", "chain_invalid")}, result


def test_names_alone_do_not_make_an_issuer(rig, shape, tmp_path):
    """A leaf that names the issuing CA, signed by somebody else's key."""
    impostor = made.rsa_key()
    false_ca = made.Ca.of(shape.certificates, [*shape.keys[:-1], impostor], shape.anchor)
    false_ca.leaf = {}
    status, result = judge(rig, false_ca, tmp_path, chain=shape.chain)
    assert status == 1 and {check for check, _ in failed(result)} == {"ak.chain"}, result


def test_a_policy_ca_may_not_have_two_levels_below(rig, shape, tmp_path):
    key = made.rsa_key()
    more = made.ca_certificate("Test Cloud Virtual TPM CA - 24 a", key, shape.certificates[-1],
                               shape.keys[-1], 0)
    below = extended(shape, more, key)
    status, result = judge(rig, below, tmp_path, chain=below.chain)
    assert status == 1 and failed(result) == {("ak.chain", "chain_invalid")}, result
