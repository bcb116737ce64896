/*
 * The measured-boot event log (TCG PC Client Platform Firmware Profile 1.05, section 10): a list of
 * what firmware and loaders say they extended into the PCRs. Little-endian, entirely the guest's
 * word: type, data and digests are unproven until replay.h has matched them against a quote.
 *
 * Two formats: crypto-agile (TCG_PCR_EVENT2 after a "Spec ID Event03" header) and the legacy SHA-1
 * format. Parsing is bounded by the input's size; the events are views into it.
 */
#ifndef ATTEST_EVENTLOG_H
#define ATTEST_EVENTLOG_H

#include "attest/wire.h"

#define EVENTLOG_EVENTS_MAX 4096

/* X(value, name): the event types of PFP 1.05, table 14, and SPDM's. */
#define EVENT_TYPE_LIST(X)                                                                         \
    X(0x00000000, EV_PREBOOT_CERT)                                                                 \
    X(0x00000001, EV_POST_CODE)                                                                    \
    X(0x00000002, EV_UNUSED)                                                                       \
    X(0x00000003, EV_NO_ACTION)                                                                    \
    X(0x00000004, EV_SEPARATOR)                                                                    \
    X(0x00000005, EV_ACTION)                                                                       \
    X(0x00000006, EV_EVENT_TAG)                                                                    \
    X(0x00000007, EV_S_CRTM_CONTENTS)                                                              \
    X(0x00000008, EV_S_CRTM_VERSION)                                                               \
    X(0x00000009, EV_CPU_MICROCODE)                                                                \
    X(0x0000000a, EV_PLATFORM_CONFIG_FLAGS)                                                        \
    X(0x0000000b, EV_TABLE_OF_DEVICES)                                                             \
    X(0x0000000c, EV_COMPACT_HASH)                                                                 \
    X(0x0000000d, EV_IPL)                                                                          \
    X(0x0000000e, EV_IPL_PARTITION_DATA)                                                           \
    X(0x0000000f, EV_NONHOST_CODE)                                                                 \
    X(0x00000010, EV_NONHOST_CONFIG)                                                               \
    X(0x00000011, EV_NONHOST_INFO)                                                                 \
    X(0x00000012, EV_OMIT_BOOT_DEVICE_EVENTS)                                                      \
    X(0x00000013, EV_POST_CODE2)                                                                   \
    X(0x80000001, EV_EFI_VARIABLE_DRIVER_CONFIG)                                                   \
    X(0x80000002, EV_EFI_VARIABLE_BOOT)                                                            \
    X(0x80000003, EV_EFI_BOOT_SERVICES_APPLICATION)                                                \
    X(0x80000004, EV_EFI_BOOT_SERVICES_DRIVER)                                                     \
    X(0x80000005, EV_EFI_RUNTIME_SERVICES_DRIVER)                                                  \
    X(0x80000006, EV_EFI_GPT_EVENT)                                                                \
    X(0x80000007, EV_EFI_ACTION)                                                                   \
    X(0x80000008, EV_EFI_PLATFORM_FIRMWARE_BLOB)                                                   \
    X(0x80000009, EV_EFI_HANDOFF_TABLES)                                                           \
    X(0x8000000a, EV_EFI_PLATFORM_FIRMWARE_BLOB2)                                                  \
    X(0x8000000b, EV_EFI_HANDOFF_TABLES2)                                                          \
    X(0x8000000c, EV_EFI_VARIABLE_BOOT2)                                                           \
    X(0x8000000d, EV_EFI_GPT_EVENT2)                                                               \
    X(0x80000010, EV_EFI_HCRTM_EVENT)                                                              \
    X(0x800000e0, EV_EFI_VARIABLE_AUTHORITY)                                                       \
    X(0x800000e1, EV_EFI_SPDM_FIRMWARE_BLOB)                                                       \
    X(0x800000e2, EV_EFI_SPDM_FIRMWARE_CONFIG)                                                     \
    X(0x800000e3, EV_EFI_SPDM_DEVICE_POLICY)                                                       \
    X(0x800000e4, EV_EFI_SPDM_DEVICE_AUTHORITY)

#define X(value, name) static const uint32_t name = value;
EVENT_TYPE_LIST(X)
#undef X

struct log_event {
    uint32_t pcr;
    uint32_t type;
    struct bytes digest[BANK_COUNT]; /* empty: the event has none for that bank */
    struct bytes data;
};

struct event_log {
    bool agile;
    bool banks[BANK_COUNT]; /* declared by the header (legacy: SHA-1) */
    struct log_event *events;
    size_t n;
    const char *bad; /* NULL: well-formed; else a reason, and `events` holds what came before */
    const char *bad_detail;
    size_t bad_offset;
};

/* Never fails: what is wrong is in `bad`. `in` must outlive the log. */
struct event_log eventlog_parse(struct bytes in, struct arena *a);

/* "EV_SEPARATOR"; NULL for a type that is none of the list. */
const char *eventlog_type_name(uint32_t type);

#endif
