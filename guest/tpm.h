/*
 * The VM's TPM as the agent needs it: attestation key, its certificate, and a quote whose PCR values
 * are those it covers. Over tpm2-tss ESYS with any TCTI; nothing is left in the TPM.
 *
 * One connection, one thread. Results live in the arena. Errors: ERR_UNAVAILABLE with the TPM's
 * reason, ERR_NOT_FOUND where the key or index does not exist.
 */
#ifndef GUEST_TPM_H
#define GUEST_TPM_H

#include "attest/wire.h"

/* Where Azure puts them. */
#define GUEST_AK_HANDLE     0x81000003u
#define GUEST_AK_CERT_INDEX 0x01c101d0u
#define GUEST_AK_CERT_MAX   4096u
/* TCG EK Credential Profile 2.5, 2.2.1.4 and 2.2.1.5: EKs of the low range, the P-384 one of the high; and
 * where the RSA one is persisted. */
#define GUEST_EK_CERT_INDEX_RSA  0x01c00002u
#define GUEST_EK_CERT_INDEX_P256 0x01c0000au
#define GUEST_EK_CERT_INDEX_P384 0x01c00016u
#define GUEST_EK_HANDLE          0x81010001u
#define GUEST_NONCE_MAX          64u /* TPM2B_DATA of a TPM with SHA-512 */

struct guest_tpm;

/* `tcti` as tpm2-tools take it ("device:/dev/tpmrm0"). The caller closes. */
enum err guest_tpm_open(const char *tcti, struct guest_tpm **out, struct err_info *e) MUST_CHECK;
void guest_tpm_close(struct guest_tpm *t); /* NULL is fine */

/* TPM2B_PUBLIC of the attestation key. */
enum err guest_tpm_read_ak(struct guest_tpm *t, struct arena *a, struct bytes *out,
                           struct err_info *e) MUST_CHECK;
/* The whole index that holds its certificate; padding is the verifier's to judge. */
enum err guest_tpm_read_certificate(struct guest_tpm *t, struct arena *a, struct bytes *out,
                                    struct err_info *e) MUST_CHECK;

/* An EK that the TPM's maker certified: the first of these. */
enum guest_ek_kind { GUEST_EK_RSA, GUEST_EK_P256, GUEST_EK_P384 };
struct guest_ek {
    struct bytes certificate;
    enum guest_ek_kind kind;
};
enum err guest_tpm_read_ek(struct guest_tpm *t, struct arena *a, struct guest_ek *out,
                           struct err_info *e) MUST_CHECK;

/* TPM2_ActivateCredential (Part 3, 12.5): the secret in a credential that was made for the AK and this
 * EK; `blob` is a TPM2B_ID_OBJECT, `secret` a TPM2B_ENCRYPTED_SECRET. */
enum err guest_tpm_activate(struct guest_tpm *t, const struct guest_ek *ek, struct bytes blob,
                            struct bytes secret, struct arena *a, struct bytes *out,
                            struct err_info *e) MUST_CHECK;

struct guest_quote {
    struct bytes message;   /* TPMS_ATTEST */
    struct bytes signature; /* TPMT_SIGNATURE */
    struct evidence_bank values;
};

/*
 * Quotes the PCRs of `mask` (bit i: PCR i) of one bank over `nonce`. PCRs may move between reading
 * and quoting; both are repeated, a few times, until the values are those of the quote's digest.
 */
enum err guest_tpm_quote(struct guest_tpm *t, struct arena *a, struct bytes nonce,
                         enum pcr_bank bank, uint32_t mask, struct guest_quote *out,
                         struct err_info *e) MUST_CHECK;

#endif
