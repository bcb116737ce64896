/*
 * The commands that manufacture and boot a TPM, over tpm2-tss ESYS. One connection, one thread at a
 * time. A refused command is ERR_UNAVAILABLE with the TPM's reason. Transient objects are flushed.
 */
#ifndef EMULATOR_VTPM_TPM_H
#define EMULATOR_VTPM_TPM_H

#include "core/buf.h"
#include "core/err.h"
#include "emulator/bootlog.h"

#define VTPM_MODULUS_SIZE 256

struct vtpm_tpm;

enum err vtpm_tpm_open(const char *tcti, struct vtpm_tpm **out, struct err_info *e) MUST_CHECK;
void vtpm_tpm_close(struct vtpm_tpm *t); /* NULL is fine */

struct vtpm_ak {
    uint8_t modulus[VTPM_MODULUS_SIZE];
    bool genuine; /* attributes and size are those the platform made; a guest may put its own there
                   */
};

/* The key at 0x81000003, made and persisted where there is none. */
enum err vtpm_tpm_ak(struct vtpm_tpm *t, struct vtpm_ak *out, struct err_info *e) MUST_CHECK;

/* Appends the AK certificate's index (0x01C101D0); nothing where it was never written whole. */
enum err vtpm_tpm_read_cert(struct vtpm_tpm *t, struct buf *out, struct err_info *e) MUST_CHECK;
/* Replaces the index; owner and auth may read it. */
enum err vtpm_tpm_write_cert(struct vtpm_tpm *t, struct bytes der, struct err_info *e) MUST_CHECK;

/* TPM_ALG_IDs of the banks that have PCRs allocated. */
enum err vtpm_tpm_banks(struct vtpm_tpm *t, uint16_t out[BOOTLOG_BANKS_MAX], size_t *n,
                        struct err_info *e) MUST_CHECK;
/* bootlog_extend_fn over a struct vtpm_tpm. */
enum err vtpm_tpm_extend(void *tpm, uint32_t pcr, const struct bootlog_digests *d,
                         struct err_info *e);

/* Orderly TPM2_Shutdown(CLEAR), so that the next clock reading is marked safe. */
void vtpm_tpm_shutdown(struct vtpm_tpm *t);

#endif
