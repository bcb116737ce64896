/*
 * Attestation: evidence of one guest in, verdict out. Pure: no I/O after attest_trust_open, no
 * clock, no randomness; the caller passes the time, the nonce and what it knows about the VM.
 *
 * A verdict is a table of named checks. Every check runs, also after another has failed, as far as
 * what it needs is there; but nothing is claimed that is not proven: claims come from a
 * verified_quote and a verified_log only (see quote.h, replay.h), which only their verifying
 * constructors can make, and only where the AK itself is trusted.
 */
#ifndef ATTEST_ATTEST_H
#define ATTEST_ATTEST_H

#include "attest/wire.h"

/* ---- what is trusted ---- */

/*
 * Anchors, intermediates, CRLs and a cache of verified AK certificates. Azure's roots are pinned by the
 * SHA-256 of their DER; the certificates themselves come from the evidence or from the trust_dir.
 * Made once, then shared by threads: it locks for itself.
 */
struct attest_trust;

struct attest_trust_options {
    const char *const *anchors; /* files, PEM or DER; every certificate in them is an anchor */
    size_t n_anchors;
    const char *trust_dir; /* intermediates (PEM or DER) and CRLs (*.crl); NULL: none */
    bool legacy_root;      /* "Microsoft RSA Devices Root CA 2021", of older VMs, is pinned too */
    bool only_named;       /* no root is pinned: it is not about AKs */
};

/* ERR_CONFIG where a file cannot be read or holds no certificate. The caller frees. */
enum err attest_trust_open(const struct attest_trust_options *o, struct attest_trust **out,
                           struct err_info *e) MUST_CHECK;
void attest_trust_free(struct attest_trust *t); /* NULL is fine */
/* Reads the files again. Where what they hold is not what it was, *changed is set and it takes the old
 * one's place for verifications that begin from now on; on an error the old one stays. */
enum err attest_trust_reload(struct attest_trust *t, bool *changed, struct err_info *e) MUST_CHECK;
/* The earliest end of validity of the anchors and intermediates (ms since 1970); INT64_MAX: none. */
int64_t attest_trust_expires(struct attest_trust *t);

/* ---- logs that were seen before ---- */

/*
 * Event logs that a quote has proven, by SHA-256, with what follows from each alone: the log of a
 * boot that was seen before is not parsed, replayed and looked through again. It only saves work; no
 * verdict depends on it. Holds at most `max` bytes; the longest unused go first. Made once, then
 * shared by threads: it locks for itself.
 */
struct attest_logs;
struct attest_log;

struct attest_logs *attest_logs_new(size_t max); /* never NULL; the caller frees */
void attest_logs_free(struct attest_logs *k);    /* NULL is fine; after the arenas that hold logs */
/* NULL: not known (or no longer). Held until the arena is reset. */
struct attest_log *attest_logs_find(struct attest_logs *k, struct bytes sha256, struct arena *a);
struct bytes attest_log_bytes(const struct attest_log *l);
/* Worked out when it is asked for first; any thread. */
struct bytes attest_log_sha256(struct attest_log *l);

/* ---- the question ---- */

enum attest_profile { PROFILE_AZURE_TRUSTED_LAUNCH, PROFILE_CONFIDENTIAL_VM, PROFILE_TPM };

/* "azureTrustedLaunch", "confidentialVm", "tpm". */
const char *attest_profile_name(enum attest_profile p);
bool attest_profile_parse(const char *name, enum attest_profile *out) MUST_CHECK;

#define AK_SPKI_SIZE 32
#define AK_NAME_MAX  66

/* A key that the AK must be. `public_area` (TPMT_PUBLIC) or `spki` (DER) is needed only where the
 * pin itself is the trust anchor and the evidence does not bring the key. */
struct attest_pin {
    uint8_t spki_sha256[AK_SPKI_SIZE];
    struct bytes public_area;
    struct bytes spki;
};

/* A pin from a file's content: TPMT_PUBLIC, TPM2B_PUBLIC or PEM public key. ERR_VALIDATION. */
enum err attest_pin_read(struct bytes file, struct arena *a, struct attest_pin *out,
                         struct err_info *e) MUST_CHECK;

/* A provider of Azure Attestation whose tokens are believed, and its key set. */
struct jwks;
struct maa_provider {
    const char *issuer; /* exactly as in the token: "https://sharedweu.weu.attest.azure.net" */
    struct jwks *keys;  /* NULL: not at hand at this time */
};

struct maa_trust {
    const struct maa_provider *providers;
    size_t n_providers;
    const char *const *policy_hashes; /* x-ms-policy-hash must be one of them; none: any */
    size_t n_policy_hashes;
    bool (*seen)(void *ctx, const char *jti); /* was used by another report; NULL: nobody knows */
    void *ctx;
};

struct attest_policy;
struct attest_baseline;

/* Firmware, drivers, boot loader and Secure Boot. */
#define ATTEST_BOOT_PCRS (1u << 0 | 1u << 2 | 1u << 4 | 1u << 7)

struct attest_input {
    const struct evidence *evidence;
    struct attest_trust *trust;
    /* What other verifications left in `trust` is not used, and nothing is left there. No verdict depends
     * on it: test presets judge everything both ways. */
    bool afresh;
    struct attest_logs *logs; /* NULL: every log is judged from its bytes */
    /* The log that evidence->event_log_digest names, where it is known: then it need not be there. */
    struct attest_log *log;
    /* SHA-256 of the log that is likely sent again, or empty: to compare its bytes costs a tenth of
     * hashing them. */
    struct bytes likely_log;
    struct bytes nonce; /* what the quote's extraData must be */
    int64_t now;        /* ms since 1970: certificates are judged at this time */
    enum attest_profile profile;
    /* Bit i: PCR i must be quoted. 0: as the profile has it, ATTEST_BOOT_PCRS in Azure's, and in any where
     * there is a log: it would prove nothing of what it is about. */
    uint32_t required_pcrs;
    bool require_secure_boot;
    bool allow_quote_only; /* without an event log: trustedQuoteOnly instead of untrusted */

    const struct attest_policy *policy; /* rules.h; NULL: none applies */
    const char *image; /* what the VM was made of, as rules name it; NULL: not known */
    const struct attest_baseline *baseline; /* confirmed golden values of the image; NULL: none */

    /* The AK must be one of these. In PROFILE_TPM they replace the certificate; in the others they
     * are asked for on top of it. None: any AK that chains to an anchor. */
    const struct attest_pin *pins;
    size_t n_pins;

    const struct maa_trust *maa; /* NULL, or no provider: a token is not looked at */

    /* What this AK's last accepted report said. */
    bool has_last;
    uint32_t last_reset_count;
    uint32_t last_restart_count;
    uint64_t last_clock;
};

/* ---- the answer ---- */

/* Verdicts in JSON: trusted trustedQuoteOnly untrusted quarantined indeterminate. */
enum attest_verdict {
    VERDICT_TRUSTED,
    VERDICT_TRUSTED_QUOTE_ONLY,
    VERDICT_UNTRUSTED,
    VERDICT_QUARANTINED,
    VERDICT_INDETERMINATE,
};

#define ATTEST_CHECK_LIST(X)                                                                       \
    X(AK_CHAIN, "ak.chain")                                                                        \
    X(AK_PROFILE, "ak.profile")                                                                    \
    X(AK_ATTRIBUTES, "ak.attributes")                                                              \
    X(AK_BINDING, "ak.binding")                                                                    \
    X(QUOTE_MAGIC, "quote.magic")                                                                  \
    X(QUOTE_TYPE, "quote.type")                                                                    \
    X(QUOTE_NONCE, "quote.nonce")                                                                  \
    X(QUOTE_SELECTION, "quote.selection")                                                          \
    X(QUOTE_PCR_DIGEST, "quote.pcrDigest")                                                         \
    X(QUOTE_SIGNATURE, "quote.signature")                                                          \
    X(QUOTE_SIGNER, "quote.signer")                                                                \
    X(QUOTE_CLOCK, "quote.clock")                                                                  \
    X(LOG_FORMAT, "log.format")                                                                    \
    X(LOG_REPLAY, "log.replay")                                                                    \
    X(LOG_CONTENT, "log.content")                                                                  \
    X(SECURE_BOOT, "secureBoot")                                                                   \
    X(POLICY, "policy")                                                                            \
    X(MAA_TOKEN, "maa.token")

enum attest_check {
#define X(id, name) CHECK_##id,
    ATTEST_CHECK_LIST(X)
#undef X
        CHECK_COUNT
};

enum check_status { STATUS_PASS, STATUS_FAIL, STATUS_SKIP, STATUS_WARN };

#define ATTEST_NO_INDEX (-1)
#define ATTEST_FINDINGS 64

/* One line of the table. A check has at least one; several where several things failed. */
struct attest_finding {
    enum attest_check check;
    enum check_status status;
    const char *reason; /* snake_case, static; NULL for a plain pass */
    int event;          /* index in the event log, or ATTEST_NO_INDEX */
    int pcr;            /* or ATTEST_NO_INDEX */
    /* What should have stood there and what did, as text (hex, a name, a list); NULL: says nothing
     * more than the reason. Static or in the arena of the verification. */
    const char *expected;
    const char *found;
};

struct attest_claims;
struct maa_claims;

struct attest_result {
    enum attest_verdict verdict;
    const char *reason; /* of the verdict: that of the first failed check; NULL where trusted */
    struct attest_finding findings[ATTEST_FINDINGS]; /* in the order of enum attest_check */
    size_t n_findings;
    const struct attest_claims *claims; /* NULL: nothing is proven */
    /* What Azure Attestation says of this VM over this nonce; NULL where no token passed maa.token. */
    const struct maa_claims *maa;

    /* The key that signed the quote. Set where the evidence names a usable key, proven or not. */
    bool has_ak;
    uint8_t ak_spki_sha256[AK_SPKI_SIZE];
    uint8_t ak_name[AK_NAME_MAX]; /* TPM Name; ak_name_len 0 where no public area was sent */
    size_t ak_name_len;
    /* Of the AK certificate, where ak.chain passed: */
    const char *ak_subject;  /* its CN, or NULL */
    const char *ak_policies; /* OIDs of its policies, with spaces between; NULL: none */
    int64_t ak_expires;      /* its end, ms; 0: none */

    /* The quote is over this nonce and its signature is the AK's: who signed it is known. */
    bool quote_authentic;
    /* quote_authentic, and the AK is one of the pins. */
    bool signed_by_pin;

    /* TPMS_CLOCK_INFO; zero unless quote_authentic. */
    uint64_t clock;
    uint32_t reset_count;
    uint32_t restart_count;
    bool clock_safe;

    bool has_event_log;
    struct attest_log *event_log; /* NULL: none; lives as long as the arena of the verification */
};

/*
 * Judge the evidence. OK with *r filled, whatever the verdict; ERR_EVIDENCE_MALFORMED, with every
 * part that is not well-formed in e->fields, where a structure inside it cannot be parsed.
 * *r borrows from the evidence and the arena. Any thread; nothing is kept but the trust's cache.
 */
enum err attest_verify(const struct attest_input *in, struct arena *a, struct attest_result *r,
                       struct err_info *e) MUST_CHECK;

/*
 * Judge in->evidence->maa_token alone, over in->nonce: the one check is maa.token, and the verdict says
 * what became of it. As attest_verify otherwise.
 */
enum err attest_verify_token(const struct attest_input *in, struct arena *a,
                             struct attest_result *r, struct err_info *e) MUST_CHECK;

/* A change of the verdict that only the caller can know of (another VM's AK, a changed pin): adds a
 * failed ak.binding and makes the verdict `quarantined`. */
void attest_result_quarantine(struct attest_result *r, const char *reason);

/* Worst status of a check: fail, warn, skip, pass. */
enum check_status attest_result_status(const struct attest_result *r, enum attest_check c);

const char *attest_verdict_name(enum attest_verdict v);
const char *attest_check_name(enum attest_check c);
const char *attest_status_name(enum check_status s);

/* The values of `checks` (an array) and `claims` (an object, {} where nothing is proven). */
void attest_write_checks(struct jw *w, const struct attest_result *r);
void attest_write_claims(struct jw *w, const struct attest_result *r);
/* The same without resetCount, restartCount and clock: what stays the same while a VM runs. */
void attest_write_lasting_claims(struct jw *w, const struct attest_result *r);
/* TRI_UNSET-like: 1 proven on, 0 proven off, -1 not proven. */
int attest_secure_boot(const struct attest_result *r);

#endif
