/*
 * A policy: what must hold of a guest, as data.
 *
 * The document is JSON (AttestationPolicySpec of the contract; tlgate verify --policy reads the same).
 * It is compiled once into an immutable struct attest_policy, which threads may share; judging a report
 * parses no JSON and allocates only for findings. A policy asks for more, never for less: what other
 * checks refuse stays refused. Its one relief is allowQuoteOnly.
 *
 * Only what is proven counts (law of policy.h). A rule about something that this evidence does not prove
 * is violated: `rule_not_proven` says which rule and what is missing.
 */
#ifndef ATTEST_RULES_H
#define ATTEST_RULES_H

#include "attest/attest.h"
#include "core/json.h"

/* ---- the document, decoded ---- */

struct rules_signers {
    struct str_list required;  /* each must have signed something that was loaded */
    struct str_list allowed;   /* nobody but these and the required ones may have; empty: anybody */
    struct str_list forbidden; /* none may have */
};

/* A component of shim's SBAT level and the least generation (shim, SBAT.md). */
struct rules_sbat {
    const char *component;
    int64_t generation;
};

/* A revocation list: what must not have been booted, and what db must refuse. */
struct rules_revocation {
    const char *name;
    struct str_list hashes;       /* Authenticode SHA-256 of images */
    struct str_list certificates; /* SHA-256 of the DER, or of the TBSCertificate as in dbx */
    bool must_be_in_dbx;
    bool must_not_boot;
};

struct rules_golden {
    const char *name;
    const char *image; /* NULL: of any image; its version may be "*" */
    const char *bank;
    struct str_map pcrs; /* "7" to hex */
};

struct rules_events {
    const char *image; /* NULL: of any image */
    int64_t pcr;
    struct str_list digests;
};

struct rules_known {
    const char *name; /* "shim 15.8" */
    const char *digest;
};

struct attest_rules {
    enum tri require_secure_boot;
    enum tri allow_quote_only;
    const char *max_age;
    struct str_list profiles;
    struct str_list forbidden_states;
    const struct rules_signers *signers;
    struct obj_list sbat; /* struct rules_sbat */
    const char *sbat_level;
    struct obj_list revocations;    /* struct rules_revocation */
    struct obj_list golden_pcrs;    /* struct rules_golden */
    struct obj_list allowed_events; /* struct rules_events */
    struct str_list kernel_command_lines;
    struct str_list firmware;
    const char *baseline;
    struct obj_list known_images; /* struct rules_known */
};

struct attest_policy_document {
    const char *description;
    struct str_list scopes;
    const struct attest_rules *rules;
};

/* A test holds this table against the contract's AttestationPolicySpec. */
extern const struct schema attest_policy_schema;

/* ---- compiled ---- */

struct attest_policy;

/* From the document's text. ERR_VALIDATION with every bad member ("#/rules/goldenPcrs/0/pcrs/7"), also
 * for rules that contradict each other. One reference is the caller's. */
enum err attest_policy_compile(struct bytes document, struct attest_policy **out,
                               struct err_info *e) MUST_CHECK;
struct attest_policy *attest_policy_ref(struct attest_policy *p);
void attest_policy_unref(struct attest_policy *p); /* NULL is fine */

enum baseline_rule { BASELINE_OFF, BASELINE_WARN, BASELINE_ENFORCE };

const struct attest_policy_document *attest_policy_document(const struct attest_policy *p);
/* The PCRs that its rules look at: a guest must quote them, or those rules are not proven. */
uint32_t attest_policy_pcrs(const struct attest_policy *p);
/* ms; 0: the policy does not say. */
int64_t attest_policy_max_age(const struct attest_policy *p);
enum baseline_rule attest_policy_baseline(const struct attest_policy *p);
/* A report without an event log: TRUE makes the VM healthy, FALSE is untrusted, UNSET leaves it as it is
 * without a policy (trustedQuoteOnly, status unknown). */
enum tri attest_policy_quote_only(const struct attest_policy *p);
/* The policy's name for an image with this digest, or NULL. */
const char *attest_policy_image_name(const struct attest_policy *p, struct bytes digest);

/* ---- golden values of an image ---- */

/* PCR values of one known good boot. */
struct attest_golden {
    enum pcr_bank bank;
    uint32_t mask;
    uint8_t values[EVIDENCE_PCRS][64];
};

struct attest_baseline {
    const struct attest_golden *sets;
    size_t n;
};

/* The PCRs of a baseline, and why the others are not (docs/attestation-policy.md has the table). */
uint32_t attest_baseline_pcrs(void);
/* Those of them that each set must have: firmware, drivers, loaders and who vouched for them. A set without one
 * would take any. */
uint32_t attest_baseline_least(void);
/* NULL where the PCR belongs to the baseline, else why it does not. */
const char *attest_baseline_why_not(unsigned pcr);

#endif
