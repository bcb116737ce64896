"""The roll-over of Secure Boot certificates as logs of real machines show it. The oracle looks for the
certificates' own bytes in the events."""
import base64

import pytest

from vectors import VECTORS, eventlog, needs_vectors

pytestmark = needs_vectors
CERTIFICATES = {"kekCa2011": "MicCorKEKCA2011_2011-06-24.crt",
                "windowsProductionPca2011": "MicWinProPCA2011_2011-10-19.crt",
                "uefiCa2011": "MicCorUEFCA2011_2011-06-27.crt"}
LOGS = [path for path in sorted((VECTORS / "eventlogs").rglob("*"))
        if path.is_file() and path.suffix not in (".json", ".md") and "-bogus" not in path.name]


def der(name):
    return (VECTORS / "secureboot-certs" / CERTIFICATES[name]).read_bytes()


def variable(event):
    """(name, bytes) of an event that holds a UEFI_VARIABLE_DATA."""
    data = base64.b64decode(event["data"])
    length = int.from_bytes(data[16:24], "little")
    return data[32:32 + 2 * length].decode("utf-16-le"), data[32 + 2 * length:]


def expected(events):
    found = {"kek": set(), "db": set(), "dbx": set(), "bootedWith": set()}
    for event in events:
        if event["pcr"] != 7 or event["type"] not in ("EV_EFI_VARIABLE_DRIVER_CONFIG",
                                                      "EV_EFI_VARIABLE_AUTHORITY"):
            continue
        name, value = variable(event)
        place = "bootedWith" if event["type"].endswith("AUTHORITY") else name.lower()
        if place in found:
            found[place] |= {c for c in CERTIFICATES if der(c) in value}
    return found


@pytest.mark.parametrize("path", LOGS, ids=[p.name for p in LOGS])
def test_certificates_of_2011_are_found_where_they_are(path):
    status, result = eventlog(path)
    if not isinstance(result, dict) or "secureBootCertificates" not in result["claims"]:
        pytest.skip("the log proves no KEK, db and dbx")
    told = result["claims"]["secureBootCertificates"]
    for place, names in expected(result["events"]).items():
        assert names == set(told[place]) & set(CERTIFICATES), (place, told)


def test_a_linux_of_before_2023_depends_on_what_has_expired():
    _, result = eventlog(VECTORS / "eventlogs/go-tpm-tools/rhel8-uefi.bin")
    told = result["claims"]["secureBootCertificates"]
    assert told["state"] == "atRisk" and told["bootedWith"] == ["uefiCa2011"], told
    assert {f["code"] for f in told["findings"]} >= {"kek_2023_missing", "boot_depends_on_2011"}


def test_the_oracle_sees_something():
    seen = 0
    for path in LOGS:
        _, result = eventlog(path)
        if isinstance(result, dict) and "secureBootCertificates" in result["claims"]:
            seen += any(result["claims"]["secureBootCertificates"][p] for p in ("kek", "db"))
    assert seen >= 5
