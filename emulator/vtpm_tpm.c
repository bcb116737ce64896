#include "emulator/vtpm_tpm.h"

#include "core/attr.h"
#include "core/cleanup.h"

#include <tss2/tss2_esys.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

#define AK_HANDLE     0x81000003u
#define AK_CERT_INDEX 0x01c101d0u
#define AK_ATTRIBUTES 0x00050472u
#define NV_CHUNK      1024u /* TPM2_PT_NV_BUFFER_MAX of swtpm */

#define NO_SESSION ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE

struct vtpm_tpm {
    TSS2_TCTI_CONTEXT *tcti;
    ESYS_CONTEXT *esys;
};

static void release_esys(void *p)
{
    Esys_Free(p);
}

AUTO_DEFINE(capability, TPMS_CAPABILITY_DATA *, release_esys)
AUTO_DEFINE(tpm_public, TPM2B_PUBLIC *, release_esys)
AUTO_DEFINE(nv_public, TPM2B_NV_PUBLIC *, release_esys)
AUTO_DEFINE(nv_buffer, TPM2B_MAX_NV_BUFFER *, release_esys)

static enum err refused(struct err_info *e, const char *command, TSS2_RC rc)
{
    return err_set(e, ERR_UNAVAILABLE, "vTPM: %s: %s (0x%x)", command, Tss2_RC_Decode(rc), rc);
}

enum err vtpm_tpm_open(const char *tcti, struct vtpm_tpm **out, struct err_info *e)
{
    struct vtpm_tpm *t = calloc(1, sizeof(*t));
    if (!t)
        abort();
    TSS2_RC rc = Tss2_TctiLdr_Initialize(tcti, &t->tcti);
    if (rc == TSS2_RC_SUCCESS)
        rc = Esys_Initialize(&t->esys, t->tcti, NULL);
    if (rc != TSS2_RC_SUCCESS) {
        vtpm_tpm_close(t);
        return refused(e, "connecting", rc);
    }
    *out = t;
    return OK;
}

void vtpm_tpm_close(struct vtpm_tpm *t)
{
    if (!t)
        return;
    if (t->esys)
        Esys_Finalize(&t->esys);
    if (t->tcti)
        Tss2_TctiLdr_Finalize(&t->tcti);
    free(t);
}

/* True where a handle of this number exists: asking first keeps expected refusals out of the way.
 */
static enum err has_handle(struct vtpm_tpm *t, TPM2_HANDLE handle, bool *has, struct err_info *e)
{
    AUTO(capability) TPMS_CAPABILITY_DATA *cap = NULL;
    TPMI_YES_NO more;
    TSS2_RC rc = Esys_GetCapability(t->esys, NO_SESSION, TPM2_CAP_HANDLES, handle, 1, &more, &cap);
    if (rc != TSS2_RC_SUCCESS)
        return refused(e, "GetCapability", rc);
    *has = cap->data.handles.count == 1 && cap->data.handles.handle[0] == handle;
    return OK;
}

static enum err create_ak(struct vtpm_tpm *t, ESYS_TR *out, struct err_info *e)
{
    const TPM2B_SENSITIVE_CREATE sensitive = {0};
    const TPM2B_DATA outside = {0};
    const TPML_PCR_SELECTION no_pcrs = {0};
    const TPM2B_PUBLIC template = {
        .publicArea = {
            .type = TPM2_ALG_RSA,
            .nameAlg = TPM2_ALG_SHA256,
            .objectAttributes = AK_ATTRIBUTES,
            .parameters.rsaDetail = {
                .symmetric.algorithm = TPM2_ALG_NULL,
                .scheme = {.scheme = TPM2_ALG_RSASSA, .details.rsassa.hashAlg = TPM2_ALG_SHA256},
                .keyBits = 8 * VTPM_MODULUS_SIZE,
            }}};
    ESYS_TR key = ESYS_TR_NONE;
    TSS2_RC rc = Esys_CreatePrimary(t->esys, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                    ESYS_TR_NONE, &sensitive, &template, &outside, &no_pcrs, &key,
                                    NULL, NULL, NULL, NULL);
    if (rc != TSS2_RC_SUCCESS)
        return refused(e, "CreatePrimary", rc);
    rc = Esys_EvictControl(t->esys, ESYS_TR_RH_OWNER, key, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                           ESYS_TR_NONE, AK_HANDLE, out);
    (void)Esys_FlushContext(t->esys, key);
    return rc == TSS2_RC_SUCCESS ? OK : refused(e, "EvictControl", rc);
}

static enum err find_ak(struct vtpm_tpm *t, ESYS_TR *out, struct err_info *e)
{
    bool has = false;
    enum err err = has_handle(t, AK_HANDLE, &has, e);
    if (err != OK)
        return err;
    if (!has)
        return create_ak(t, out, e);
    TSS2_RC rc = Esys_TR_FromTPMPublic(t->esys, AK_HANDLE, NO_SESSION, out);
    return rc == TSS2_RC_SUCCESS ? OK : refused(e, "ReadPublic", rc);
}

enum err vtpm_tpm_ak(struct vtpm_tpm *t, struct vtpm_ak *out, struct err_info *e)
{
    ESYS_TR ak = ESYS_TR_NONE;
    enum err err = find_ak(t, &ak, e);
    if (err != OK)
        return err;
    AUTO(tpm_public) TPM2B_PUBLIC *public = NULL;
    TSS2_RC rc = Esys_ReadPublic(t->esys, ak, NO_SESSION, &public, NULL, NULL);
    (void)Esys_TR_Close(t->esys, &ak);
    if (rc != TSS2_RC_SUCCESS)
        return refused(e, "ReadPublic", rc);
    const TPMT_PUBLIC *area = &public->publicArea;
    out->genuine = area->type == TPM2_ALG_RSA && area->objectAttributes == AK_ATTRIBUTES &&
                   area->unique.rsa.size == VTPM_MODULUS_SIZE;
    if (out->genuine)
        memcpy(out->modulus, area->unique.rsa.buffer, VTPM_MODULUS_SIZE);
    return OK;
}

/* ESYS_TR_NONE where the index is not defined. */
static enum err find_index(struct vtpm_tpm *t, ESYS_TR *out, struct err_info *e)
{
    bool has = false;
    *out = ESYS_TR_NONE;
    enum err err = has_handle(t, AK_CERT_INDEX, &has, e);
    if (err != OK || !has)
        return err;
    TSS2_RC rc = Esys_TR_FromTPMPublic(t->esys, AK_CERT_INDEX, NO_SESSION, out);
    return rc == TSS2_RC_SUCCESS ? OK : refused(e, "NV_ReadPublic", rc);
}

static enum err read_index(struct vtpm_tpm *t, ESYS_TR index, struct buf *out, struct err_info *e)
{
    AUTO(nv_public) TPM2B_NV_PUBLIC *info = NULL;
    TSS2_RC rc = Esys_NV_ReadPublic(t->esys, index, NO_SESSION, &info, NULL);
    if (rc != TSS2_RC_SUCCESS)
        return refused(e, "NV_ReadPublic", rc);
    if (!(info->nvPublic.attributes & TPMA_NV_WRITTEN))
        return OK;
    for (uint16_t at = 0; at < info->nvPublic.dataSize;) {
        AUTO(nv_buffer) TPM2B_MAX_NV_BUFFER *part = NULL;
        unsigned left = (unsigned)(info->nvPublic.dataSize - at);
        uint16_t want = (uint16_t)(left < NV_CHUNK ? left : NV_CHUNK);
        rc = Esys_NV_Read(t->esys, ESYS_TR_RH_OWNER, index, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                          ESYS_TR_NONE, want, at, &part);
        if (rc != TSS2_RC_SUCCESS || !part->size)
            return refused(e, "NV_Read", rc);
        buf_add(out, part->buffer, part->size);
        at = (uint16_t)(at + part->size);
    }
    return OK;
}

enum err vtpm_tpm_read_cert(struct vtpm_tpm *t, struct buf *out, struct err_info *e)
{
    ESYS_TR index = ESYS_TR_NONE;
    enum err err = find_index(t, &index, e);
    if (err != OK || index == ESYS_TR_NONE)
        return err;
    err = read_index(t, index, out, e);
    (void)Esys_TR_Close(t->esys, &index);
    return err;
}

static enum err define_index(struct vtpm_tpm *t, size_t size, ESYS_TR *out, struct err_info *e)
{
    ESYS_TR old = ESYS_TR_NONE;
    enum err err = find_index(t, &old, e);
    if (err != OK)
        return err;
    TSS2_RC rc = TSS2_RC_SUCCESS;
    if (old != ESYS_TR_NONE)
        rc = Esys_NV_UndefineSpace(t->esys, ESYS_TR_RH_OWNER, old, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                   ESYS_TR_NONE);
    if (rc != TSS2_RC_SUCCESS)
        return refused(e, "NV_UndefineSpace", rc);
    const TPM2B_AUTH no_auth = {0};
    const TPM2B_NV_PUBLIC info = {.nvPublic = {.nvIndex = AK_CERT_INDEX,
                                               .nameAlg = TPM2_ALG_SHA256,
                                               .attributes = TPMA_NV_OWNERREAD |
                                                             TPMA_NV_OWNERWRITE | TPMA_NV_AUTHREAD |
                                                             TPMA_NV_AUTHWRITE,
                                               .dataSize = (uint16_t)size}};
    rc = Esys_NV_DefineSpace(t->esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                             ESYS_TR_NONE, &no_auth, &info, out);
    return rc == TSS2_RC_SUCCESS ? OK : refused(e, "NV_DefineSpace", rc);
}

enum err vtpm_tpm_write_cert(struct vtpm_tpm *t, struct bytes der, struct err_info *e)
{
    ESYS_TR index = ESYS_TR_NONE;
    enum err err = define_index(t, der.len, &index, e);
    if (err != OK)
        return err;
    TSS2_RC rc = TSS2_RC_SUCCESS;
    for (size_t at = 0; at < der.len && rc == TSS2_RC_SUCCESS;) {
        TPM2B_MAX_NV_BUFFER part = {0};
        part.size = (uint16_t)(der.len - at < NV_CHUNK ? der.len - at : NV_CHUNK);
        memcpy(part.buffer, der.data + at, part.size);
        rc = Esys_NV_Write(t->esys, ESYS_TR_RH_OWNER, index, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                           ESYS_TR_NONE, &part, (uint16_t)at);
        at += part.size;
    }
    (void)Esys_TR_Close(t->esys, &index);
    return rc == TSS2_RC_SUCCESS ? OK : refused(e, "NV_Write", rc);
}

static bool has_pcrs(const TPMS_PCR_SELECTION *s)
{
    for (size_t i = 0; i < s->sizeofSelect; i++) {
        if (s->pcrSelect[i])
            return true;
    }
    return false;
}

enum err vtpm_tpm_banks(struct vtpm_tpm *t, uint16_t out[BOOTLOG_BANKS_MAX], size_t *n,
                        struct err_info *e)
{
    AUTO(capability) TPMS_CAPABILITY_DATA *cap = NULL;
    TPMI_YES_NO more;
    TSS2_RC rc = Esys_GetCapability(t->esys, NO_SESSION, TPM2_CAP_PCRS, 0, 1, &more, &cap);
    if (rc != TSS2_RC_SUCCESS)
        return refused(e, "GetCapability", rc);
    const TPML_PCR_SELECTION *all = &cap->data.assignedPCR;
    *n = 0;
    for (size_t i = 0; i < all->count; i++) {
        if (!has_pcrs(&all->pcrSelections[i]))
            continue;
        if (*n == BOOTLOG_BANKS_MAX)
            return err_set(e, ERR_UNAVAILABLE, "vTPM: more than %d PCR banks", BOOTLOG_BANKS_MAX);
        out[(*n)++] = all->pcrSelections[i].hash;
    }
    return OK;
}

enum err vtpm_tpm_extend(void *tpm, uint32_t pcr, const struct bootlog_digests *d,
                         struct err_info *e)
{
    struct vtpm_tpm *t = tpm;
    TPML_DIGEST_VALUES values = {.count = (uint32_t)d->n};
    for (size_t i = 0; i < d->n; i++) {
        values.digests[i].hashAlg = d->bank[i].alg;
        memcpy(&values.digests[i].digest, d->bank[i].value, d->bank[i].size);
    }
    TSS2_RC rc = Esys_PCR_Extend(t->esys, ESYS_TR_PCR0 + pcr, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                 ESYS_TR_NONE, &values);
    return rc == TSS2_RC_SUCCESS ? OK : refused(e, "PCR_Extend", rc);
}

void vtpm_tpm_shutdown(struct vtpm_tpm *t)
{
    (void)Esys_Shutdown(t->esys, NO_SESSION, TPM2_SU_CLEAR);
}
