"""Rows 1 to 22: the event log. What a replay cannot see is changed with the digests kept, or really
measured (`boot`), since a guest may extend what it likes after the firmware has handed over."""
import struct

import made
from frame import row
from made import (EV_EFI_ACTION, EV_EFI_VARIABLE_AUTHORITY, EV_EFI_VARIABLE_DRIVER_CONFIG, EV_NO_ACTION,
                  EV_S_CRTM_VERSION, EV_SEPARATOR, EV_UNUSED, GLOBAL, SECURITY)

ALL = ("tpm-rsassa", "made", "rhel8")  # the digests are kept: the TPM's own quote holds
MADE = ("made", "rhel8")               # what was measured is other: the quote is made anew
UNPROVEN = ("secureBoot", "not_proven")
LOG = "#/eventLog"
CONFIG = EV_EFI_VARIABLE_DRIVER_CONFIG


def secure_boot(e):
    return e.log.find(7, CONFIG, "SecureBoot".encode("utf-16-le"))


def separator7(e):
    return e.log.find(7, EV_SEPARATOR)


def measured(e, event, data):
    """The event's data and digests are these, and they were really extended."""
    event.data = data
    event.measure()
    e.boot()


def flipped(event):
    return event.data[:-1] + bytes([event.data[-1] ^ 1])


# ---- what a replay cannot see ----


@row(1, bases=ALL, fails={("log.content", "digest_mismatch"), UNPROVEN},
     values={("log.content", "digest_mismatch"): {"pcr": 7}})
def secure_boot_flipped_digest_kept(e):
    event = secure_boot(e)
    event.data = flipped(event)


@row(1, bases=("made", "tpm-rsassa"), fails={("log.content", "digest_mismatch")},
     values={("log.content", "digest_mismatch"): {
         "pcr": 8, "expected": made.digest("sha256", b"root=/dev/sda1 ro").hex(),
         "found": made.digest("sha256", b"root=/dev/sdb1 ro").hex()}})
def command_line_changed(e):
    event = e.log.of(8)[-1]
    event.data = event.data.replace(b"sda1", b"sdb1")


@row(2, bases=MADE, fails={("log.content", "unexpected_event_type"),
                           ("log.content", "retyped_separator"), UNPROVEN})
def pcr7_retyped_and_a_fake_set_appended(e):
    """The guest extends an honest-looking set and calls what the firmware measured EV_UNUSED."""
    fake = [made.Event(x.pcr, x.type, list(x.digests), x.data) for x in e.log.of(7)]
    for event in e.log.of(7):
        event.type = EV_UNUSED
    e.log.events += fake
    e.boot()


@row(2, fails={("log.content", "unexpected_action"), ("log.content", "authority_missing"), UNPROVEN},
     values={("log.content", "unexpected_action"): {"pcr": 7}})
def authority_hidden_as_an_action(e):
    """Its digest is of its data under either type: only the text tells."""
    e.log.find(7, EV_EFI_VARIABLE_AUTHORITY).type = EV_EFI_ACTION


@row(3, bases=MADE, fails={("log.content", "variable_after_separator"), UNPROVEN},
     values={("log.content", "variable_after_separator"): {"pcr": 7, "found": "SecureBoot"}})
def secure_boot_after_the_separator(e):
    event = secure_boot(e)
    e.log.events.remove(event)
    e.log.events.append(event)
    e.boot()


@row(4, bases=MADE, fails={("log.content", "duplicate_separator"), UNPROVEN},
     values={("log.content", "duplicate_separator"): {"pcr": 7, "expected": "1", "found": "2"}})
def second_separator(e):
    e.log.add(7, EV_SEPARATOR, bytes(4))
    e.boot()


@row(4, bases=MADE, fails={("log.content", "separator_missing"), UNPROVEN})
def no_separator(e):
    e.log.events.remove(separator7(e))
    e.boot()


@row(4, bases=MADE, fails={("log.content", "separator_value"), UNPROVEN},
     values={("log.content", "separator_value"): {"expected": "00000000", "found": "01000000"}})
def error_separator(e):
    measured(e, separator7(e), b"\1\0\0\0")


@row(4, bases=MADE, fails={("log.content", "digest_mismatch"), UNPROVEN})
def error_separator_shown_as_a_good_one(e):
    separator7(e).measure(b"\1\0\0\0")
    e.boot()


# ---- what does not replay ----


@row(5, bases=ALL, fails={("log.replay", "pcr_replay_mismatch"), ("log.content", "digest_mismatch")},
     remarks={("log.replay", "event_altered")},
     values={("log.replay", "pcr_replay_mismatch"): {"pcr": 7}})
def digest_bit_flipped(e):
    event = secure_boot(e)
    event.digests = [(alg, bytes([value[0] ^ 1]) + value[1:]) for alg, value in event.digests]


@row(5, bases=ALL, fails={("log.replay", "pcr_replay_mismatch")},
     remarks={("log.replay", "event_not_measured")},
     values={("log.replay", "pcr_replay_mismatch"): {"pcr": 4}})
def application_that_was_not_measured(e):
    events = e.log.events
    last = max(i for i, x in enumerate(events) if x.pcr == 4)
    events.insert(last, made.Event(4, events[last].type,
                                   [(alg, bytes([7]) * len(v)) for alg, v in events[last].digests],
                                   events[last].data))


@row(5, bases=ALL, fails={("log.replay", "pcr_replay_mismatch")},
     values={("log.replay", "pcr_replay_mismatch"): {"pcr": 4}})
def application_left_out(e):
    e.log.events.remove(e.log.of(4)[-1])


# ---- form ----


def bytes_of(e):
    e.raw_log = bytearray(e.log.encode())
    return e.raw_log


@row(6, bases=ALL, malformed=LOG)
def truncated(e):
    del bytes_of(e)[-1]


@row(6, bases=ALL, malformed=LOG)
def trailing_garbage(e):
    bytes_of(e).extend(b"garbage")


@row(7, bases=ALL, malformed=LOG)
def zeros_behind_the_log(e):
    bytes_of(e).extend(bytes(4096))


def huge(e, at):
    struct.pack_into("<I", bytes_of(e), at, 0xFFFFFFFF)


@row(8, bases=ALL, malformed=LOG)
def event_size_huge(e):
    first = e.log.events[0]
    huge(e, len(e.log.head) + len(first.encode()) - len(first.data) - 4)


@row(8, bases=ALL, malformed=LOG)
def digest_count_huge(e):
    huge(e, len(e.log.head) + 8)


@row(8, bases=ALL, malformed=LOG)
def algorithm_count_huge(e):
    huge(e, 32 + 24)


@row(8, bases=ALL, malformed=LOG)
def header_size_huge(e):
    huge(e, 28)


@row(9, bases=ALL, malformed=LOG)
def sha256_of_20_bytes(e):
    raw = bytes_of(e)
    at = raw.index(struct.pack("<HH", 0x0B, 32), 60)
    struct.pack_into("<H", raw, at + 2, 20)


@row(9, bases=ALL, malformed=LOG)
def algorithm_twice(e):
    raw = bytes_of(e)
    raw[64:68] = raw[60:64]


@row(10, malformed=LOG)
def two_sha256_digests(e):
    event = e.log.events[0]
    event.digests = [d for d in event.digests if d[0] == 0x0B] * 2


@row(10, bases=MADE, fails={("log.replay", "digest_missing")},
     values={("log.replay", "digest_missing"): {"expected": "sha256"}})
def no_sha256_digest(e):
    event = e.log.find(0, EV_S_CRTM_VERSION)
    event.digests = [d for d in event.digests if d[0] != 0x0B]


@row(11, bases=ALL, fails={("log.replay", "bank_mismatch")},
     values={("log.replay", "bank_mismatch"): {"expected": "sha256", "found": "sha1"}})
def legacy_log(e):
    """TCG_PCR_EVENT: SHA-1 and nothing else."""
    e.raw_log = b"".join(
        struct.pack("<II", x.pcr, x.type) + made.digest("sha1", x.data) + made.sized_le(x.data)
        for x in e.log.events if x.type in (CONFIG, EV_SEPARATOR, EV_EFI_ACTION)
        or x.type == EV_EFI_VARIABLE_AUTHORITY)


@row(12, bases=ALL, malformed=LOG)
def pcr_24(e):
    struct.pack_into("<I", bytes_of(e), len(e.log.head), 24)


@row(12, bases=ALL, malformed=LOG)
def pcr_ffffffff(e):
    struct.pack_into("<I", bytes_of(e), len(e.log.head), 0xFFFFFFFF)


def locality(value):
    return b"StartupLocality\0" + bytes([value])


@row(13, bases=ALL, fails={("log.replay", "startup_locality_invalid")},
     values={("log.replay", "startup_locality_invalid"): {
         "pcr": 0, "found": "after the first measurement of PCR 0"}})
def late_startup_locality(e):
    e.log.add(0, EV_NO_ACTION, locality(3))


@row(13, bases=ALL, fails={("log.replay", "pcr_replay_mismatch")},
     remarks={("log.replay", "startup_locality_wrong")},
     values={("log.replay", "pcr_replay_mismatch"): {"pcr": 0}})
def startup_locality_that_was_not(e):
    event = e.log.add(0, EV_NO_ACTION, locality(3))
    e.log.events.insert(0, e.log.events.pop())
    event.measure()


@row(13, bases=MADE, accepted=True)
def startup_locality_that_was(e):
    e.log.add(0, EV_NO_ACTION, locality(3))
    e.log.events.insert(0, e.log.events.pop())
    e.boot()


# ---- structures inside the events, really measured ----


def name_length(e, length):
    event = secure_boot(e)
    measured(e, event, event.data[:16] + struct.pack("<Q", length) + event.data[24:])


@row(14, bases=MADE, malformed=LOG)
def name_length_all_ones(e):
    name_length(e, 2**64 - 1)


@row(14, bases=MADE, malformed=LOG)
def name_length_that_wraps(e):
    name_length(e, 2**63 + 5)


@row(14, bases=MADE, malformed=LOG)
def value_length_all_ones(e):
    event = secure_boot(e)
    measured(e, event, event.data[:24] + struct.pack("<Q", 2**64 - 1) + event.data[32:])


def signature_list(e, offset, value):
    """A field of db's first EFI_SIGNATURE_LIST."""
    event = e.log.find(7, CONFIG, "db".encode("utf-16-le"))
    at = 32 + 4 + offset
    measured(e, event, event.data[:at] + struct.pack("<I", value) + event.data[at + 4:])


@row(15, bases=MADE, malformed=LOG)
def list_size_8(e):
    signature_list(e, 16, 8)


@row(15, bases=MADE, malformed=LOG)
def signature_size_0(e):
    signature_list(e, 24, 0)


@row(15, bases=MADE, malformed=LOG)
def signature_size_huge(e):
    signature_list(e, 24, 0xFFFFFFF0)


@row(15, bases=MADE, malformed=LOG)
def list_header_huge(e):
    signature_list(e, 20, 0xFFFFFFF0)


def secure_boot_is(e, value):
    measured(e, secure_boot(e), made.variable(GLOBAL, "SecureBoot", value))


@row(16, bases=MADE, fails={("log.content", "secure_boot_value"), UNPROVEN},
     values={("log.content", "secure_boot_value"): {"expected": "00 or 01", "found": "0100"}})
def secure_boot_of_two_bytes(e):
    secure_boot_is(e, b"\1\0")


@row(16, bases=MADE, fails={("log.content", "secure_boot_value"), UNPROVEN},
     values={("log.content", "secure_boot_value"): {"found": "02"}})
def secure_boot_2(e):
    secure_boot_is(e, b"\2")


@row(16, bases=MADE, fails={("secureBoot", "secure_boot_off")})
def secure_boot_empty(e):
    secure_boot_is(e, b"")


@row(17, bases=MADE, fails={("secureBoot", "shim_validation_off")}, values={
    ("secureBoot", "shim_validation_off"): {"pcr": 7, "expected": "on", "found": "off"}})
def shim_was_told_to_let_everything_through(e):
    shim = bytes.fromhex("50ab5d6046e00043abb63dd810dd8b23")
    e.log.add(7, EV_EFI_VARIABLE_AUTHORITY, made.variable(shim, "MokSBState", b"\1"))
    e.boot()


@row(17, bases=MADE, fails={("secureBoot", "secure_boot_off")}, values={
    ("secureBoot", "secure_boot_off"): {"pcr": 7, "expected": "on", "found": "off"}})
def secure_boot_honestly_off(e):
    secure_boot_is(e, b"\0")


@row(18, bases=MADE, fails={("log.content", "foreign_vendor_guid"),
                            ("log.content", "secure_boot_missing"), UNPROVEN},
     values={("log.content", "foreign_vendor_guid"): {
         "expected": "8be4df61-93ca-11d2-aa0d-00e098032b8c",
         "found": "d719b2cb-3d3a-4596-a3bc-dad00e67656f"}})
def secure_boot_of_another_vendor(e):
    measured(e, secure_boot(e), made.variable(SECURITY, "SecureBoot", b"\1"))


@row(19, bases=MADE, fails={("log.content", "uefi_debug_mode"), UNPROVEN})
def uefi_debug_mode(e):
    e.log.add(7, EV_EFI_ACTION, b"UEFI Debug Mode")
    e.boot()


@row(19, bases=MADE, fails={("log.content", "uefi_debug_mode"), UNPROVEN},
     remarks={("log.content", "action_with_terminator")})
def uefi_debug_mode_with_a_terminator(e):
    e.log.add(7, EV_EFI_ACTION, b"UEFI Debug Mode\0")
    e.boot()


@row(19, bases=MADE, fails={("log.content", "unexpected_event_type"), UNPROVEN},
     values={("log.content", "unexpected_event_type"): {"pcr": 7, "found": "0x90000001"}})
def unknown_type_in_pcr7(e):
    e.log.add(7, 0x90000001, b"?")
    e.boot()


@row(20, bases=MADE, fails={("log.content", "secure_boot_missing"),
                            ("log.content", "separator_missing"), UNPROVEN})
def nothing_in_pcr7(e):
    e.log.events = [x for x in e.log.events if x.pcr != 7]
    e.boot()


@row(20, bases=ALL, fails={("secureBoot", "no_event_log"), ("policy", "no_event_log")})
def empty_log(e):
    e.raw_log = b""


@row(20, bases=MADE, fails={("log.content", "secure_boot_missing"),
                            ("log.content", "separator_missing"), UNPROVEN})
def header_only_and_nothing_booted(e):
    e.log.events = []
    e.boot()


@row(20, bases=("tpm-rsassa", "rhel8"), fails={("log.replay", "pcr_not_in_log"),
                                               ("log.content", "secure_boot_missing"),
                                               ("log.content", "separator_missing")})
def header_only(e):
    e.log.events = []


@row(21, bases=ALL, malformed=LOG)
def spec_id_major_9(e):
    bytes_of(e)[32 + 21] = 9


@row(21, bases=ALL, malformed=LOG)
def spec_id_event02(e):
    """What follows is no legacy log."""
    bytes_of(e)[32 + 14] = ord("2")


@row(22, bases=ALL, accepted=True)
def order_across_pcrs(e):
    """Only the order within a PCR is in its value."""
    e.log.events.sort(key=lambda x: x.pcr)


@row(22, bases=ALL, fails={("log.replay", "pcr_replay_mismatch")},
     remarks={("log.replay", "events_swapped")},
     values={("log.replay", "pcr_replay_mismatch"): {"pcr": 7}})
def order_within_a_pcr(e):
    events, (a, b) = e.log.events, [i for i, x in enumerate(e.log.events) if x.pcr == 7][1:3]
    events[a], events[b] = events[b], events[a]
