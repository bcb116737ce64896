/*
 * Evidence on the wire: what a guest sends, as JSON or as CBOR (the two carry the same structure).
 *
 * The decoders are strict: unknown and repeated members, indefinite or non-minimal CBOR lengths,
 * non-canonical base64, bytes after the end and sizes beyond the limits below are refused, before
 * anything of that size is allocated. They check form only; what the evidence is worth is
 * attest.h's.
 *
 * Everything decoded is a view into the input or lives in the arena, so the input must outlive the
 * evidence. All functions are pure and may run on any thread.
 */
#ifndef ATTEST_WIRE_H
#define ATTEST_WIRE_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/err.h"
#include "core/secret.h"

#define EVIDENCE_BODY_MAX       ((size_t)256 * 1024)
#define EVIDENCE_LOG_MAX        ((size_t)128 * 1024)
#define EVIDENCE_CHAIN_MAX      6
#define EVIDENCE_CERT_MAX       ((size_t)8 * 1024)
#define EVIDENCE_TOKEN_MAX      ((size_t)16 * 1024)
#define EVIDENCE_DOCUMENT_MAX   ((size_t)16 * 1024)
#define EVIDENCE_ACTIVATION_MAX 1024 /* characters of its id */
#define EVIDENCE_SECRET_MAX     64
#define EVIDENCE_PCRS           24

/* A PCR bank. The order is that of evidence_banks[]. */
enum pcr_bank { BANK_SHA1, BANK_SHA256, BANK_SHA384, BANK_SHA512, BANK_COUNT };

/* Name in JSON and CBOR ("sha256"), digest size in bytes, TPM_ALG_ID. */
struct pcr_bank_info {
    const char *name;
    size_t size;
    uint16_t alg;
};
extern const struct pcr_bank_info pcr_banks[BANK_COUNT];

/* "0" to "23", as members of JSON are named. */
extern const char *const pcr_names[EVIDENCE_PCRS];

/* Values of one bank, each of the bank's digest size. */
struct evidence_bank {
    uint32_t present; /* bit i: value[i] was sent */
    struct bytes value[EVIDENCE_PCRS];
};

/* An absent member is NULL or empty. */
struct evidence {
    const char *challenge_id;
    const char *vm_id; /* GUID of either case */
    struct secret enrollment_token;
    struct bytes attested_document; /* DER: PKCS#7 from IMDS */
    const char *activation_id;      /* with activation_secret, or neither */
    struct bytes activation_secret;
    struct bytes quote_message;   /* TPMS_ATTEST or TPM2B_ATTEST */
    struct bytes quote_signature; /* TPMT_SIGNATURE */
    struct evidence_bank banks[BANK_COUNT];
    struct bytes ak_public;      /* TPM2B_PUBLIC or TPMT_PUBLIC */
    struct bytes ak_certificate; /* DER, or the zero-padded NV index */
    struct bytes chain[EVIDENCE_CHAIN_MAX];
    size_t n_chain;
    struct bytes event_log;
    struct bytes event_log_digest; /* SHA-256 of a log that the gateway holds; excludes event_log */
    struct bytes maa_token;        /* a JWT, as text */
};

/* What must be there: offline evidence needs neither challengeId nor vmId. */
enum wire_need { WIRE_OFFLINE, WIRE_REPORT };

/*
 * Both fill *out (zeroed first). ERR_EVIDENCE_MALFORMED with the bad members in e->fields.
 * JSON: the large base64 strings are decoded in place in `text`, which is overwritten.
 */
enum err wire_decode_json(char *text, size_t len, enum wire_need need, struct arena *a,
                          struct evidence *out, struct err_info *e) MUST_CHECK;
enum err wire_decode_cbor(struct bytes body, enum wire_need need, struct arena *a,
                          struct evidence *out, struct err_info *e) MUST_CHECK;

/* Everything but the event log is copied into the arena: it points no more into what was decoded. */
void wire_own(struct evidence *ev, struct arena *a);

/* Adds one bad member to *e (may be NULL) and makes it ERR_EVIDENCE_MALFORMED, which it returns. */
enum err wire_malformed(struct err_info *e, const char *pointer, const char *why);

/*
 * The nonce that IMDS is to put into an attested document for a challenge: it takes ten digits, so the
 * first 8 bytes of SHA-256 over "tlgate attested document" and the challenge's nonce, big-endian,
 * modulo 10^10, with leading zeros.
 */
#define WIRE_DOCUMENT_NONCE_SIZE 11
void wire_document_nonce(struct bytes challenge_nonce, char out[WIRE_DOCUMENT_NONCE_SIZE]);

/* Appends the CBOR form of `in`, which must hold to the limits above. */
void wire_encode_cbor(const struct evidence *in, struct buf *out);
/*
 * What names a piece of evidence, however it came: SHA-256 of its CBOR form as wire_encode_cbor writes
 * it, without the enrolment token and the activation (secrets), and with eventLogDigest in the place
 * of eventLog, whose SHA-256 is given (ignored where there is no log), so that the log is not hashed
 * again.
 */
void wire_evidence_digest(const struct evidence *in, struct bytes log_sha256, uint8_t out[32]);
/* Appends the JSON form. */
void wire_encode_json(const struct evidence *in, struct buf *out);

#endif
