#include "attest/ak.h"
#include "attest/attest.h"
#include "attest/pem.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

AUTO_DEFINE(bio, BIO *, BIO_free)

static EVP_PKEY *read_pem(struct bytes file)
{
    AUTO(bio) BIO *in = BIO_new_mem_buf(file.data, (int)file.len);
    return in ? PEM_read_bio_PUBKEY(in, NULL, pem_no_passphrase, NULL) : NULL;
}

enum err attest_pin_read(struct bytes file, struct arena *a, struct attest_pin *out,
                         struct err_info *e)
{
    *out = (struct attest_pin){0};
    if (file.len == 0 || file.len > EVIDENCE_CERT_MAX)
        return err_set(e, ERR_VALIDATION, "not a TPMT_PUBLIC, TPM2B_PUBLIC or PEM public key");
    struct ak_key key;
    struct tpm_public public;
    const char *why = NULL;
    if (!tpm_parse_public(file, &public)) {
        out->public_area = arena_copy(a, public.area);
        why = ak_key_of_public(&public, &key);
    } else {
        AUTO(pkey) EVP_PKEY *pkey = read_pem(file);
        why =
            pkey ? ak_key_of_pkey(pkey, &key) : "not a TPMT_PUBLIC, TPM2B_PUBLIC or PEM public key";
        ERR_clear_error();
    }
    if (why)
        return err_set(e, ERR_VALIDATION, "%s", why);
    out->spki = ak_key_spki(&key, a);
    ak_key_spki_sha256(&key, out->spki_sha256);
    return OK;
}
