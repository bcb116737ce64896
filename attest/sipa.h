/*
 * Windows' own measurements (the Windows Boot Configuration Log): EV_EVENT_TAG events of PCR 11 to 14
 * whose data is a tree of SIPA events, each a type, a size and that many bytes, little-endian
 * (wbcl.h of the Windows SDK). A container's children are within its size, and a tree is
 * SIPA_DEPTH_MAX deep at most.
 *
 * The digest of such an event is of its data, so what is said here is proven where the PCR is. What
 * is of an unknown type is skipped: it is covered by the digest too.
 */
#ifndef ATTEST_SIPA_H
#define ATTEST_SIPA_H

#include "core/json.h"

#define SIPA_DEPTH_MAX 4

#define SIPA_TRANSFER_TO_LOADER 1

/* X(member, type): one byte (or more, little-endian), on where it is not zero. WEAK: true where any
 * event says so, since it makes the system weaker. STRONG: false where any event says not. */
#define SIPA_WEAK_LIST(X)                                                                          \
    X(boot_debugging, 0x00040001, "bootDebugging")                                                 \
    X(kernel_debugging, 0x00050001, "kernelDebugging")                                             \
    X(hypervisor_debugging, 0x0005000d, "hypervisorDebugging")                                     \
    X(test_signing, 0x00050003, "testSigning")                                                     \
    X(flight_signing, 0x00050021, "flightSigning")                                                 \
    X(safe_mode, 0x00050005, "safeMode")                                                           \
    X(win_pe, 0x00050006, "winPE")
#define SIPA_STRONG_LIST(X)                                                                        \
    X(code_integrity, 0x00050002, "codeIntegrity")                                                 \
    X(data_execution_prevention, 0x00050004, "dataExecutionPrevention")                            \
    X(vbs, 0x00050012, "vbs")                                                                      \
    X(vbs_required, 0x000a0001, "vbsRequired")                                                     \
    X(vbs_secure_boot_required, 0x000a0002, "vbsSecureBootRequired")                               \
    X(vbs_iommu_required, 0x000a0003, "vbsIommuRequired")                                          \
    X(vbs_mandatory, 0x000a0006, "vbsMandatoryEnforcement")                                        \
    X(hvci, 0x000a0007, "hvci")                                                                    \
    X(pagefile_encryption, 0x00050022, "pagefileEncryption")                                       \
    X(boot_dma_protection, 0x00050030, "hypervisorBootDmaProtection")

/* TRI_UNSET: was not measured. */
struct sipa_claims {
    bool present;
#define X(member, type, name) enum tri member;
    SIPA_WEAK_LIST(X)
    SIPA_STRONG_LIST(X)
#undef X
    enum tri elam; /* TRUE: an early-launch anti-malware driver's configuration was measured */
    bool has_bitlocker;
    uint32_t bitlocker_unlock; /* FVEB_UNLOCK_FLAG_*: 0 none, 4 TPM, 0x10 PIN, 0x40 recovery key */
    bool has_boot_count;
    uint64_t boot_count;
    bool has_transfer;
    uint32_t transfer;       /* SIPA_TRANSFER_TO_LOADER, or 2: resumed from hibernation */
    const char *system_root; /* "\Windows", or NULL */
    const char *elam_driver; /* key name of the first, or NULL */
    size_t modules;          /* loaded modules that were measured */
    uint32_t code_integrity_policies;
};

void sipa_init(struct sipa_claims *c);

/* True where the data of an EV_EVENT_TAG starts as a SIPA container. */
bool sipa_is(struct bytes data);

/* Walks the tree and adds what it says. NULL, or why it is not well-formed (*c is then worthless).
 * `a` may be NULL: then texts are left out. */
const char *sipa_read(struct bytes data, struct sipa_claims *c, struct arena *a);

/* Takes from `late`, what anybody may have extended behind the separator, only what makes the system weaker. */
void sipa_weaken(struct sipa_claims *c, const struct sipa_claims *late);

/* The members of the object `windows` (without braces). */
void sipa_write(struct jw *w, const struct sipa_claims *c);

/* The tree as a JSON array, at most SIPA_WRITE_MAX nodes of it. */
#define SIPA_WRITE_MAX 256
void sipa_write_tree(struct jw *w, struct bytes data, struct arena *a);

#endif
