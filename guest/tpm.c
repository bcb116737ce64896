#include "guest/tpm.h"

#include "core/attr.h"
#include "core/cleanup.h"
#include "guest/credential.h"

#include <openssl/evp.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

#define NO_SESSION     ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE
#define BUSY_TRIES     20
#define BUSY_WAIT_US   50000
#define QUOTE_TRIES    8
#define NV_CHUNK_LEAST 64u
#define NV_CHUNK_MOST  1024u

struct guest_tpm {
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
AUTO_DEFINE(pcr_selection, TPML_PCR_SELECTION *, release_esys)
AUTO_DEFINE(digests, TPML_DIGEST *, release_esys)
AUTO_DEFINE(tpm_attest, TPM2B_ATTEST *, release_esys)
AUTO_DEFINE(tpm_signature, TPMT_SIGNATURE *, release_esys)
AUTO_DEFINE(tpm_digest, TPM2B_DIGEST *, release_esys)

/* Answers that say "again, later": Part 2, 6.6.3. From the TPM itself or a resource manager. */
static bool is_busy(TSS2_RC rc)
{
    switch (rc & ~(TSS2_RC)TSS2_RC_LAYER_MASK) {
    case TPM2_RC_RETRY:
    case TPM2_RC_YIELDED:
    case TPM2_RC_TESTING:
    case TPM2_RC_NV_RATE:
    case TPM2_RC_NV_UNAVAILABLE:
    case TPM2_RC_OBJECT_MEMORY:
    case TPM2_RC_SESSION_MEMORY:
        return true;
    default:
        return false;
    }
}

#define WHILE_BUSY(call)                                                                           \
    ({                                                                                             \
        TSS2_RC rc_ = (call);                                                                      \
        for (int n_ = 0; n_ < BUSY_TRIES && is_busy(rc_); n_++) {                                  \
            usleep(BUSY_WAIT_US);                                                                  \
            rc_ = (call);                                                                          \
        }                                                                                          \
        rc_;                                                                                       \
    })

static enum err refused(struct err_info *e, const char *command, TSS2_RC rc)
{
    return err_set(e, ERR_UNAVAILABLE, "TPM: %s: %s (0x%x)", command, Tss2_RC_Decode(rc), rc);
}

enum err guest_tpm_open(const char *tcti, struct guest_tpm **out, struct err_info *e)
{
    struct guest_tpm *t = calloc(1, sizeof(*t));
    if (!t)
        abort();
    TSS2_RC rc = Tss2_TctiLdr_Initialize(tcti, &t->tcti);
    if (rc == TSS2_RC_SUCCESS)
        rc = Esys_Initialize(&t->esys, t->tcti, NULL);
    if (rc != TSS2_RC_SUCCESS) {
        guest_tpm_close(t);
        return err_set(e, ERR_UNAVAILABLE, "TPM: %s cannot be opened: %s", tcti,
                       Tss2_RC_Decode(rc));
    }
    *out = t;
    return OK;
}

void guest_tpm_close(struct guest_tpm *t)
{
    if (!t)
        return;
    if (t->esys)
        Esys_Finalize(&t->esys);
    if (t->tcti)
        Tss2_TctiLdr_Finalize(&t->tcti);
    free(t);
}

/* A handle's metadata; ERR_NOT_FOUND where the TPM has no such handle. */
static enum err open_handle(struct guest_tpm *t, TPM2_HANDLE handle, const char *what, ESYS_TR *out,
                            struct err_info *e)
{
    AUTO(capability) TPMS_CAPABILITY_DATA *cap = NULL;
    TPMI_YES_NO more;
    TSS2_RC rc = WHILE_BUSY(
        Esys_GetCapability(t->esys, NO_SESSION, TPM2_CAP_HANDLES, handle, 1, &more, &cap));
    if (rc != TSS2_RC_SUCCESS)
        return refused(e, "GetCapability", rc);
    if (cap->data.handles.count != 1 || cap->data.handles.handle[0] != handle)
        return err_set(e, ERR_NOT_FOUND, "TPM: no %s at 0x%08x", what, handle);
    rc = WHILE_BUSY(Esys_TR_FromTPMPublic(t->esys, handle, NO_SESSION, out));
    return rc == TSS2_RC_SUCCESS ? OK : refused(e, what, rc);
}

static enum err open_ak(struct guest_tpm *t, ESYS_TR *out, struct err_info *e)
{
    return open_handle(t, GUEST_AK_HANDLE, "attestation key", out, e);
}

enum err guest_tpm_read_ak(struct guest_tpm *t, struct arena *a, struct bytes *out,
                           struct err_info *e)
{
    ESYS_TR ak = ESYS_TR_NONE;
    enum err err = open_ak(t, &ak, e);
    if (err != OK)
        return err;
    AUTO(tpm_public) TPM2B_PUBLIC *public = NULL;
    TSS2_RC rc = WHILE_BUSY(Esys_ReadPublic(t->esys, ak, NO_SESSION, &public, NULL, NULL));
    (void)Esys_TR_Close(t->esys, &ak);
    if (rc != TSS2_RC_SUCCESS)
        return refused(e, "ReadPublic", rc);
    uint8_t *raw = arena_alloc(a, sizeof(*public));
    size_t len = 0;
    rc = Tss2_MU_TPM2B_PUBLIC_Marshal(public, raw, sizeof(*public), &len);
    if (rc != TSS2_RC_SUCCESS)
        return refused(e, "encoding the key", rc);
    *out = BYTES(raw, len);
    return OK;
}

static uint16_t nv_chunk(struct guest_tpm *t)
{
    AUTO(capability) TPMS_CAPABILITY_DATA *cap = NULL;
    TPMI_YES_NO more;
    TSS2_RC rc = WHILE_BUSY(Esys_GetCapability(t->esys, NO_SESSION, TPM2_CAP_TPM_PROPERTIES,
                                               TPM2_PT_NV_BUFFER_MAX, 1, &more, &cap));
    if (rc != TSS2_RC_SUCCESS || cap->data.tpmProperties.count != 1 ||
        cap->data.tpmProperties.tpmProperty[0].property != TPM2_PT_NV_BUFFER_MAX)
        return NV_CHUNK_LEAST;
    uint32_t most = cap->data.tpmProperties.tpmProperty[0].value;
    if (most < NV_CHUNK_LEAST)
        return NV_CHUNK_LEAST;
    return (uint16_t)(most < NV_CHUNK_MOST ? most : NV_CHUNK_MOST);
}

static enum err read_index(struct guest_tpm *t, ESYS_TR index, ESYS_TR auth, uint16_t size,
                           uint8_t *out, struct err_info *e)
{
    uint16_t chunk = nv_chunk(t);
    for (uint16_t at = 0; at < size;) {
        AUTO(nv_buffer) TPM2B_MAX_NV_BUFFER *part = NULL;
        uint16_t want = (uint16_t)(size - at < chunk ? size - at : chunk);
        TSS2_RC rc = WHILE_BUSY(Esys_NV_Read(t->esys, auth, index, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                             ESYS_TR_NONE, want, at, &part));
        if (rc != TSS2_RC_SUCCESS || !part->size || part->size > want)
            return refused(e, "NV_Read", rc);
        memcpy(out + at, part->buffer, part->size);
        at = (uint16_t)(at + part->size);
    }
    return OK;
}

static enum err read_certificate(struct guest_tpm *t, ESYS_TR index, struct arena *a,
                                 struct bytes *out, struct err_info *e)
{
    AUTO(nv_public) TPM2B_NV_PUBLIC *info = NULL;
    TSS2_RC rc = WHILE_BUSY(Esys_NV_ReadPublic(t->esys, index, NO_SESSION, &info, NULL));
    if (rc != TSS2_RC_SUCCESS)
        return refused(e, "NV_ReadPublic", rc);
    uint16_t size = info->nvPublic.dataSize;
    if (!(info->nvPublic.attributes & TPMA_NV_WRITTEN))
        return err_set(e, ERR_NOT_FOUND, "TPM: the certificate's index was never written");
    if (!size || size > GUEST_AK_CERT_MAX)
        return err_set(e, ERR_UNAVAILABLE, "TPM: the certificate's index has %u bytes", size);
    uint8_t *data = arena_alloc(a, size);
    enum err err = ERR_UNAVAILABLE;
    /* The index's own (empty) authorization first: somebody may have set an owner password. */
    if (info->nvPublic.attributes & TPMA_NV_AUTHREAD)
        err = read_index(t, index, index, size, data, e);
    if (err != OK)
        err = read_index(t, index, ESYS_TR_RH_OWNER, size, data, e);
    *out = BYTES(data, size);
    return err;
}

static enum err read_certificate_at(struct guest_tpm *t, TPM2_HANDLE handle, const char *what,
                                    struct arena *a, struct bytes *out, struct err_info *e)
{
    ESYS_TR index = ESYS_TR_NONE;
    enum err err = open_handle(t, handle, what, &index, e);
    if (err != OK)
        return err;
    err = read_certificate(t, index, a, out, e);
    (void)Esys_TR_Close(t->esys, &index);
    return err;
}

enum err guest_tpm_read_certificate(struct guest_tpm *t, struct arena *a, struct bytes *out,
                                    struct err_info *e)
{
    return read_certificate_at(t, GUEST_AK_CERT_INDEX, "AK certificate", a, out, e);
}

enum err guest_tpm_read_ek(struct guest_tpm *t, struct arena *a, struct guest_ek *out,
                           struct err_info *e)
{
    static const TPM2_HANDLE at[] = {[GUEST_EK_RSA] = GUEST_EK_CERT_INDEX_RSA,
                                     [GUEST_EK_P256] = GUEST_EK_CERT_INDEX_P256,
                                     [GUEST_EK_P384] = GUEST_EK_CERT_INDEX_P384};
    enum err err = ERR_NOT_FOUND;
    *out = (struct guest_ek){0};
    for (size_t i = 0; i < ARRAY_LEN(at) && err == ERR_NOT_FOUND; i++) {
        out->kind = (enum guest_ek_kind)i;
        err = read_certificate_at(t, at[i], "EK certificate", a, &out->certificate, e);
    }
    return err;
}

/* ---- credential activation ---- */

/* TCG EK Credential Profile 2.5, B.3: PolicyA, which is PolicySecret of the endorsement hierarchy; and B.4:
 * PolicyB with SHA-384, which the owner of the hierarchy need not satisfy: userWithAuth is set there. */
static const uint8_t policy_low[] = {
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa};
static const uint8_t policy_high[] = {
    0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a, 0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a,
    0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3, 0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca,
    0xcb, 0x47, 0xba, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12};

/* Templates L-1, L-2 and H-3. In the low range `unique` is zeros of the key's size, in the high one empty. */
static TPM2B_PUBLIC ek_template(enum guest_ek_kind kind)
{
    bool high = kind == GUEST_EK_P384;
    const struct bytes policy = high ? BYTES_OF(policy_high) : BYTES_OF(policy_low);
    const TPMT_SYM_DEF_OBJECT cipher = {
        .algorithm = TPM2_ALG_AES, .keyBits.aes = high ? 256 : 128, .mode.aes = TPM2_ALG_CFB};
    TPM2B_PUBLIC out = {0};
    TPMT_PUBLIC *p = &out.publicArea;
    p->type = kind == GUEST_EK_RSA ? TPM2_ALG_RSA : TPM2_ALG_ECC;
    p->nameAlg = high ? TPM2_ALG_SHA384 : TPM2_ALG_SHA256;
    p->objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                          TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_ADMINWITHPOLICY |
                          TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT |
                          (high ? TPMA_OBJECT_USERWITHAUTH : 0);
    p->authPolicy.size = (uint16_t)policy.len;
    memcpy(p->authPolicy.buffer, policy.data, policy.len);
    if (kind == GUEST_EK_RSA) {
        p->parameters.rsaDetail =
            (TPMS_RSA_PARMS){.symmetric = cipher, .scheme.scheme = TPM2_ALG_NULL, .keyBits = 2048};
        p->unique.rsa.size = 256;
    } else {
        p->parameters.eccDetail =
            (TPMS_ECC_PARMS){.symmetric = cipher,
                             .scheme.scheme = TPM2_ALG_NULL,
                             .curveID = high ? TPM2_ECC_NIST_P384 : TPM2_ECC_NIST_P256,
                             .kdf.scheme = TPM2_ALG_NULL};
        p->unique.ecc.x.size = p->unique.ecc.y.size = high ? 0 : 32;
    }
    return out;
}

/* The persisted EK, which is the RSA one, or the same made anew from the endorsement seed: then *made. */
static enum err open_ek(struct guest_tpm *t, enum guest_ek_kind kind, ESYS_TR *ek, bool *made,
                        struct err_info *e)
{
    struct err_info why = {0};
    *made =
        kind != GUEST_EK_RSA || open_handle(t, GUEST_EK_HANDLE, "endorsement key", ek, &why) != OK;
    if (!*made)
        return OK;
    const TPM2B_SENSITIVE_CREATE sensitive = {0};
    const TPM2B_PUBLIC template = ek_template(kind);
    const TPM2B_DATA outside = {0};
    const TPML_PCR_SELECTION pcrs = {0};
    TSS2_RC rc = WHILE_BUSY(Esys_CreatePrimary(t->esys, ESYS_TR_RH_ENDORSEMENT, ESYS_TR_PASSWORD,
                                               ESYS_TR_NONE, ESYS_TR_NONE, &sensitive, &template,
                                               &outside, &pcrs, ek, NULL, NULL, NULL, NULL));
    return rc == TSS2_RC_SUCCESS ? OK : refused(e, "CreatePrimary of the endorsement key", rc);
}

/* The use of an EK of the low range takes the endorsement hierarchy's (empty) authorization, by policy. */
static enum err open_policy(struct guest_tpm *t, ESYS_TR *session, struct err_info *e)
{
    const TPMT_SYM_DEF none = {.algorithm = TPM2_ALG_NULL};
    TSS2_RC rc =
        WHILE_BUSY(Esys_StartAuthSession(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, NO_SESSION, NULL,
                                         TPM2_SE_POLICY, &none, TPM2_ALG_SHA256, session));
    if (rc != TSS2_RC_SUCCESS)
        return refused(e, "StartAuthSession", rc);
    rc = WHILE_BUSY(Esys_PolicySecret(t->esys, ESYS_TR_RH_ENDORSEMENT, *session, ESYS_TR_PASSWORD,
                                      ESYS_TR_NONE, ESYS_TR_NONE, NULL, NULL, NULL, 0, NULL, NULL));
    return rc == TSS2_RC_SUCCESS ? OK : refused(e, "PolicySecret", rc);
}

static enum err activate(struct guest_tpm *t, ESYS_TR ak, ESYS_TR ek, ESYS_TR session,
                         const struct guest_tpm_credential *c, struct arena *a, struct bytes *out,
                         struct err_info *e)
{
    AUTO(tpm_digest) TPM2B_DIGEST *found = NULL;
    TSS2_RC rc = WHILE_BUSY(Esys_ActivateCredential(t->esys, ak, ek, ESYS_TR_PASSWORD, session,
                                                    ESYS_TR_NONE, &c->blob, &c->secret, &found));
    if (rc != TSS2_RC_SUCCESS)
        return refused(e, "ActivateCredential", rc);
    *out = arena_copy(a, BYTES(found->buffer, found->size));
    return OK;
}

enum err guest_tpm_activate(struct guest_tpm *t, const struct guest_ek *key, struct bytes blob,
                            struct bytes secret, struct arena *a, struct bytes *out,
                            struct err_info *e)
{
    struct guest_tpm_credential c;
    ESYS_TR ak = ESYS_TR_NONE, ek = ESYS_TR_NONE, session = ESYS_TR_NONE;
    bool made = false;
    if (!guest_credential_read(blob, secret, &c))
        return err_set(e, ERR_UPSTREAM, "the gateway's credential is not a TPM's");
    enum err err = open_ak(t, &ak, e);
    if (err == OK)
        err = open_ek(t, key->kind, &ek, &made, e);
    if (err == OK && key->kind != GUEST_EK_P384)
        err = open_policy(t, &session, e);
    if (err == OK)
        err = activate(t, ak, ek, session != ESYS_TR_NONE ? session : ESYS_TR_PASSWORD, &c, a, out,
                       e);
    if (session != ESYS_TR_NONE)
        (void)Esys_FlushContext(t->esys, session);
    if (ek != ESYS_TR_NONE && made)
        (void)Esys_FlushContext(t->esys, ek);
    else if (ek != ESYS_TR_NONE)
        (void)Esys_TR_Close(t->esys, &ek);
    if (ak != ESYS_TR_NONE)
        (void)Esys_TR_Close(t->esys, &ak);
    return err;
}

/* ---- quote ---- */

static TPML_PCR_SELECTION selection_of(enum pcr_bank bank, uint32_t mask)
{
    return (TPML_PCR_SELECTION){
        .count = 1,
        .pcrSelections[0] = {
            .hash = pcr_banks[bank].alg,
            .sizeofSelect = 3,
            .pcrSelect = {(uint8_t)mask, (uint8_t)(mask >> 8), (uint8_t)(mask >> 16)}}};
}

static uint32_t mask_of(const TPML_PCR_SELECTION *s)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; s->count == 1 && i < s->pcrSelections[0].sizeofSelect && i < 3; i++)
        mask |= (uint32_t)s->pcrSelections[0].pcrSelect[i] << (8 * i);
    return mask;
}

/* TPM2_PCR_Read gives as many as fit (8): asks until every PCR of the mask was read. */
static enum err read_pcrs(struct guest_tpm *t, struct arena *a, enum pcr_bank bank, uint32_t mask,
                          struct evidence_bank *out, struct err_info *e)
{
    *out = (struct evidence_bank){0};
    while (out->present != mask) {
        AUTO(pcr_selection) TPML_PCR_SELECTION *got = NULL;
        AUTO(digests) TPML_DIGEST *values = NULL;
        const TPML_PCR_SELECTION want = selection_of(bank, mask & ~out->present);
        TSS2_RC rc = WHILE_BUSY(Esys_PCR_Read(t->esys, NO_SESSION, &want, NULL, &got, &values));
        if (rc != TSS2_RC_SUCCESS)
            return refused(e, "PCR_Read", rc);
        uint32_t k = 0, more = mask_of(got) & mask & ~out->present;
        for (uint32_t i = 0; i < EVIDENCE_PCRS && k < values->count; i++) {
            if (!(more >> i & 1))
                continue;
            const TPM2B_DIGEST *d = &values->digests[k++];
            if (d->size != pcr_banks[bank].size)
                return err_set(e, ERR_UNAVAILABLE, "TPM: PCR %u has %u bytes", i, d->size);
            out->value[i] = arena_copy(a, BYTES(d->buffer, d->size));
            out->present |= 1u << i;
        }
        if (!k)
            return err_set(e, ERR_UNAVAILABLE, "TPM: bank %s is not allocated",
                           pcr_banks[bank].name);
    }
    return OK;
}

static const EVP_MD *hash_of(TPMI_ALG_HASH alg)
{
    switch (alg) {
    case TPM2_ALG_SHA1:
        return EVP_sha1();
    case TPM2_ALG_SHA256:
        return EVP_sha256();
    case TPM2_ALG_SHA384:
        return EVP_sha384();
    case TPM2_ALG_SHA512:
        return EVP_sha512();
    default:
        return NULL;
    }
}

/* pcrDigest is over the values in ascending order, by the signing scheme's hash (Part 3, 18.4). */
static bool covers(const TPM2B_ATTEST *attest, const TPMT_SIGNATURE *signature,
                   const struct evidence_bank *values)
{
    TPMS_ATTEST a;
    size_t offset = 0;
    const EVP_MD *md = hash_of(signature->signature.any.hashAlg);
    if (!md || Tss2_MU_TPMS_ATTEST_Unmarshal(attest->attestationData, attest->size, &offset, &a) !=
                   TSS2_RC_SUCCESS)
        return false;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    EVP_DigestInit_ex(ctx, md, NULL);
    for (uint32_t i = 0; i < EVIDENCE_PCRS; i++) {
        if (values->present >> i & 1)
            EVP_DigestUpdate(ctx, values->value[i].data, values->value[i].len);
    }
    EVP_DigestFinal_ex(ctx, digest, &len);
    EVP_MD_CTX_free(ctx);
    const TPM2B_DIGEST *said = &a.attested.quote.pcrDigest;
    return a.type == TPM2_ST_ATTEST_QUOTE &&
           bytes_equal(BYTES(digest, len), BYTES(said->buffer, said->size));
}

static enum err quote_once(struct guest_tpm *t, struct arena *a, ESYS_TR ak,
                           const TPM2B_DATA *nonce, const TPML_PCR_SELECTION *selection,
                           const struct evidence_bank *values, struct guest_quote *out,
                           struct err_info *e)
{
    AUTO(tpm_attest) TPM2B_ATTEST *attest = NULL;
    AUTO(tpm_signature) TPMT_SIGNATURE *signature = NULL;
    const TPMT_SIG_SCHEME own = {.scheme = TPM2_ALG_NULL}; /* the key's scheme */
    TSS2_RC rc = WHILE_BUSY(Esys_Quote(t->esys, ak, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                                       nonce, &own, selection, &attest, &signature));
    if (rc != TSS2_RC_SUCCESS)
        return refused(e, "Quote", rc);
    if (!covers(attest, signature, values))
        return err_set(e, ERR_UPSTREAM_CONFLICT, "TPM: PCRs keep changing");
    uint8_t *raw = arena_alloc(a, sizeof(*signature));
    size_t len = 0;
    rc = Tss2_MU_TPMT_SIGNATURE_Marshal(signature, raw, sizeof(*signature), &len);
    if (rc != TSS2_RC_SUCCESS)
        return refused(e, "encoding the signature", rc);
    out->message = arena_copy(a, BYTES(attest->attestationData, attest->size));
    out->signature = BYTES(raw, len);
    out->values = *values;
    return OK;
}

enum err guest_tpm_quote(struct guest_tpm *t, struct arena *a, struct bytes nonce,
                         enum pcr_bank bank, uint32_t mask, struct guest_quote *out,
                         struct err_info *e)
{
    TPM2B_DATA data = {.size = (uint16_t)nonce.len};
    if (nonce.len > GUEST_NONCE_MAX || !mask || mask >> EVIDENCE_PCRS)
        return err_set(e, ERR_BAD_REQUEST, "the challenge cannot be quoted");
    memcpy(data.buffer, nonce.data, nonce.len);
    const TPML_PCR_SELECTION selection = selection_of(bank, mask);
    ESYS_TR ak = ESYS_TR_NONE;
    enum err rc = open_ak(t, &ak, e);
    if (rc != OK)
        return rc;
    for (int i = 0; i < QUOTE_TRIES; i++) {
        struct evidence_bank values;
        rc = read_pcrs(t, a, bank, mask, &values, e);
        if (rc == OK)
            rc = quote_once(t, a, ak, &data, &selection, &values, out, e);
        if (rc != ERR_UPSTREAM_CONFLICT)
            break;
    }
    (void)Esys_TR_Close(t->esys, &ak);
    return rc;
}
