/* The inside of a compiled policy: rules.c makes it, policy_rules.c judges by it. */
#ifndef ATTEST_RULES_COMPILED_H
#define ATTEST_RULES_COMPILED_H

#include "attest/rules.h"

#include <stdatomic.h>

/* X(ID, name in JSON, of Windows): states that a policy can forbid. Those of Windows are in the SIPA
 * events of its boot; a guest whose PCR 12 and 13 are proven to hold none of these is in none. */
#define POLICY_STATE_LIST(X)                                                                       \
    X(UEFI_DEBUG, "uefiDebugMode", false)                                                          \
    X(DMA_PROTECTION_DISABLED, "dmaProtectionDisabled", false)                                     \
    X(BOOT_DEBUGGING, "bootDebugging", true)                                                       \
    X(KERNEL_DEBUGGING, "kernelDebugging", true)                                                   \
    X(HYPERVISOR_DEBUGGING, "hypervisorDebugging", true)                                           \
    X(TEST_SIGNING, "testSigning", true)                                                           \
    X(FLIGHT_SIGNING, "flightSigning", true)                                                       \
    X(SAFE_MODE, "safeMode", true)                                                                 \
    X(WIN_PE, "winPE", true)                                                                       \
    X(CODE_INTEGRITY_DISABLED, "codeIntegrityDisabled", true)

enum policy_state {
#define X(id, name, windows) STATE_##id,
    POLICY_STATE_LIST(X)
#undef X
        POLICY_STATES
};

const char *policy_state_name(enum policy_state s);
bool policy_state_of_windows(enum policy_state s);

struct policy_digest {
    uint8_t len;
    uint8_t v[64];
};

/* Sorted. */
struct digest_set {
    struct policy_digest *items;
    size_t n;
};

bool digest_set_has(const struct digest_set *s, struct bytes digest);

struct policy_golden {
    const char *name;
    const char *image;
    struct attest_golden golden;
};

struct policy_events {
    const char *image;
    unsigned pcr;
    struct digest_set digests;
};

struct policy_revocation {
    const struct rules_revocation *rule;
    struct digest_set hashes;
    struct digest_set certificates;
};

struct attest_policy {
    atomic_uint refs;
    struct arena *arena;
    const struct attest_policy_document *document;
    const struct attest_rules *rules;
    int64_t max_age_ms;
    enum baseline_rule baseline;
    uint32_t states;   /* bit of enum policy_state */
    uint32_t profiles; /* bit of enum attest_profile; 0: any */
    uint32_t pcrs;     /* that its rules look at */
    struct policy_golden *golden;
    struct policy_events *events;
    struct policy_revocation *revocations;
    struct digest_set firmware;
    struct policy_digest *known; /* as rules->known_images */
};

#endif
