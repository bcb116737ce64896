#include "emulator/vtpm_ca.h"

#include "core/attr.h"
#include "core/cleanup.h"
#include "emulator/vtpm.h"
#include "emulator/vtpm_file.h"

#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

AUTO_DEFINE(bio, BIO *, BIO_free_all)
AUTO_DEFINE(pkey, EVP_PKEY *, EVP_PKEY_free)
AUTO_DEFINE(pkey_ctx, EVP_PKEY_CTX *, EVP_PKEY_CTX_free)
AUTO_DEFINE(x509, X509 *, X509_free)
AUTO_DEFINE(x509_ext, X509_EXTENSION *, X509_EXTENSION_free)
AUTO_DEFINE(bignum, BIGNUM *, BN_free)
AUTO_DEFINE(param_bld, OSSL_PARAM_BLD *, OSSL_PARAM_BLD_free)
AUTO_DEFINE(params, OSSL_PARAM *, OSSL_PARAM_free)

#define DAY           86400L
#define CA_DAYS       3650L
#define LEAF_DAYS     365L
#define RENEW_SECONDS (30L * DAY)

enum firmware_cert { FW_PK, FW_KEK, FW_DB_OS, FW_DB_CA, FW_VENDOR, FW_COUNT };

static const struct {
    const char *file;
    const char *cn;
} firmware[FW_COUNT] = {
    [FW_PK] = {"pk.der", "Emulated Platform Key"},
    [FW_KEK] = {"kek.der", "Emulated UEFI Key Exchange Key"},
    [FW_DB_OS] = {"db-os.der", "Emulated Windows Production CA"},
    [FW_DB_CA] = {"db-ca.der", "Emulated UEFI Third-Party CA"},
    [FW_VENDOR] = {"vendor.der", "Emulated Linux Vendor Secure Boot Signing"},
};

struct vtpm_ca {
    const struct clock *clock;
    X509 *cert;
    EVP_PKEY *key;
    struct buf der[FW_COUNT];
    struct bootlog_keys keys;
};

/* One extension of a certificate, in OpenSSL's configuration syntax. */
struct extension {
    int nid;
    const char *value;
};

static const struct extension root_extensions[] = {
    {NID_basic_constraints, "critical,CA:TRUE,pathlen:1"},
    {NID_key_usage, "critical,keyCertSign,cRLSign"},
    {NID_subject_key_identifier, "hash"},
};
/* As "Global Virtual TPM CA - 03": EKU tcg-kp-EKCertificate and tcg-kp-AIKCertificate. */
static const struct extension issuer_extensions[] = {
    {NID_basic_constraints, "critical,CA:TRUE,pathlen:0"}, {NID_key_usage, "critical,keyCertSign"},
    {NID_ext_key_usage, "2.23.133.8.1,2.23.133.8.3"},      {NID_subject_key_identifier, "hash"},
    {NID_authority_key_identifier, "keyid:always"},
};
/* As a Trusted Launch VM's AK certificate, without the issuing machine's enrolment attributes. */
static const struct extension ak_extensions[] = {
    {NID_key_usage, "critical,digitalSignature"},
    {NID_certificate_policies, "DER:300c300a06082b0601040182376c"}, /* 1.3.6.1.4.1.311.108 */
    {NID_ext_key_usage, "1.3.6.1.4.1.311.10.3.12,2.23.133.8.3"},
    {NID_subject_key_identifier, "hash"},
    {NID_authority_key_identifier, "keyid:always"},
};
static const struct extension firmware_extensions[] = {
    {NID_basic_constraints, "critical,CA:TRUE"},
    {NID_key_usage, "critical,keyCertSign,cRLSign,digitalSignature"},
    {NID_subject_key_identifier, "hash"},
};

static bool add_extensions(X509 *cert, X509 *issuer, const struct extension *ext, size_t n)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    for (size_t i = 0; i < n; i++) {
        AUTO(x509_ext)
        X509_EXTENSION *made = X509V3_EXT_conf_nid(NULL, &ctx, ext[i].nid, ext[i].value);
        if (!made || !X509_add_ext(cert, made, -1))
            return false;
    }
    return true;
}

static bool set_serial(X509 *cert)
{
    uint8_t raw[16];
    random_bytes(raw, sizeof(raw));
    raw[0] = (uint8_t)((raw[0] & 0x7f) | 0x40);
    AUTO(bignum) BIGNUM *bn = BN_bin2bn(raw, sizeof(raw), NULL);
    return bn && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert));
}

static bool set_subject(X509 *cert, const char *org, const char *cn)
{
    X509_NAME *name = X509_get_subject_name(cert);
    if (org &&
        !X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)org, -1, -1, 0))
        return false;
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1,
                                      0);
}

struct cert_spec {
    const char *org;
    const char *cn;
    long days;
    EVP_PKEY *key;
    X509 *issuer; /* NULL: self-signed */
    EVP_PKEY *issuer_key;
    const struct extension *ext;
    size_t n_ext;
};

/* NULL where OpenSSL refuses. The caller frees. */
static X509 *make_cert(const struct clock *clock, const struct cert_spec *s)
{
    AUTO(x509) X509 *cert = X509_new();
    time_t now = (time_t)(clock_wall(clock) / 1000);
    X509 *issuer = s->issuer ? s->issuer : cert;
    if (!cert || !X509_set_version(cert, X509_VERSION_3) || !set_serial(cert) ||
        !set_subject(cert, s->org, s->cn) ||
        !X509_set_issuer_name(cert, X509_get_subject_name(issuer)) ||
        !X509_time_adj(X509_getm_notBefore(cert), -DAY, &now) ||
        !X509_time_adj(X509_getm_notAfter(cert), s->days * DAY, &now) ||
        !X509_set_pubkey(cert, s->key) || !add_extensions(cert, issuer, s->ext, s->n_ext) ||
        !X509_sign(cert, s->issuer_key, EVP_sha256()))
        return NULL;
    return TAKE(cert);
}

static enum err put_der(X509 *cert, struct buf *out)
{
    unsigned char *der = NULL;
    int n = i2d_X509(cert, &der);
    if (n <= 0)
        return ERR_INTERNAL;
    buf_add(out, der, (size_t)n);
    OPENSSL_free(der);
    return OK;
}

static enum err write_bio(const char *dir, const char *name, BIO *bio, mode_t mode,
                          struct err_info *e)
{
    char path[VTPM_PATH_SIZE];
    vtpm_file_path(path, "%s/%s", dir, name);
    char *data = NULL;
    long n = BIO_get_mem_data(bio, &data);
    return vtpm_file_write(path, BYTES(data, (size_t)n), mode, e);
}

static enum err write_pem(const char *dir, const char *name, X509 *cert, struct err_info *e)
{
    AUTO(bio) BIO *bio = BIO_new(BIO_s_mem());
    if (!bio || !PEM_write_bio_X509(bio, cert))
        return err_set(e, ERR_INTERNAL, "encoding %s", name);
    return write_bio(dir, name, bio, 0644, e);
}

static enum err make_firmware(const char *state_dir, const struct clock *clock, struct err_info *e)
{
    for (size_t i = 0; i < FW_COUNT; i++) {
        AUTO(pkey) EVP_PKEY *key = EVP_RSA_gen(2048);
        struct cert_spec spec = {.org = "azure-emulator",
                                 .cn = firmware[i].cn,
                                 .days = CA_DAYS,
                                 .key = key,
                                 .issuer_key = key,
                                 .ext = firmware_extensions,
                                 .n_ext = ARRAY_LEN(firmware_extensions)};
        AUTO(x509) X509 *cert = key ? make_cert(clock, &spec) : NULL;
        struct buf der = {0};
        if (!cert || put_der(cert, &der) != OK)
            return err_set(e, ERR_INTERNAL, "making %s", firmware[i].cn);
        char path[VTPM_PATH_SIZE];
        vtpm_file_path(path, "%s/firmware/%s", state_dir, firmware[i].file);
        enum err rc = vtpm_file_write(path, buf_bytes(&der), 0644, e);
        buf_free(&der);
        if (rc != OK)
            return rc;
    }
    return OK;
}

/* The key is written last: it says that the set is complete. */
static enum err make_hierarchy(const char *state_dir, const struct clock *clock, struct err_info *e)
{
    AUTO(pkey) EVP_PKEY *root_key = EVP_RSA_gen(2048);
    AUTO(pkey) EVP_PKEY *ca_key = EVP_RSA_gen(2048);
    if (!root_key || !ca_key)
        return err_set(e, ERR_INTERNAL, "making the vTPM CA's keys");
    struct cert_spec root_spec = {.org = "azure-emulator",
                                  .cn = "Emulated Virtual TPM Root Certificate Authority",
                                  .days = CA_DAYS,
                                  .key = root_key,
                                  .issuer_key = root_key,
                                  .ext = root_extensions,
                                  .n_ext = ARRAY_LEN(root_extensions)};
    AUTO(x509) X509 *root = make_cert(clock, &root_spec);
    struct cert_spec ca_spec = {.cn = "Emulated Virtual TPM CA - 01",
                                .days = CA_DAYS,
                                .key = ca_key,
                                .issuer = root,
                                .issuer_key = root_key,
                                .ext = issuer_extensions,
                                .n_ext = ARRAY_LEN(issuer_extensions)};
    AUTO(x509) X509 *ca = root ? make_cert(clock, &ca_spec) : NULL;
    AUTO(bio) BIO *bio = BIO_new(BIO_s_secmem());
    if (!ca || !bio || !PEM_write_bio_PrivateKey(bio, ca_key, NULL, NULL, 0, NULL, NULL))
        return err_set(e, ERR_INTERNAL, "making the vTPM CA");
    char trust[VTPM_PATH_SIZE];
    vtpm_file_path(trust, "%s/trust", state_dir);
    enum err rc = write_pem(trust, "vtpm-root.pem", root, e);
    if (rc == OK)
        rc = write_pem(trust, "vtpm-ca.pem", ca, e);
    if (rc == OK)
        rc = write_bio(state_dir, "vtpm-ca.key", bio, 0600, e);
    return rc;
}

static enum err make_all(const char *state_dir, const struct clock *clock, struct err_info *e)
{
    char path[VTPM_PATH_SIZE];
    vtpm_file_path(path, "%s/trust", state_dir);
    enum err rc = vtpm_file_mkdir(path, e);
    vtpm_file_path(path, "%s/firmware", state_dir);
    if (rc == OK)
        rc = vtpm_file_mkdir(path, e);
    if (rc == OK)
        rc = make_firmware(state_dir, clock, e);
    if (rc == OK)
        rc = make_hierarchy(state_dir, clock, e);
    return rc;
}

static BIO *open_bio(const char *state_dir, const char *name)
{
    char path[VTPM_PATH_SIZE];
    vtpm_file_path(path, "%s/%s", state_dir, name);
    return BIO_new_file(path, "r");
}

/* True where every file is there and the key is the CA's. */
static bool load_all(struct vtpm_ca *ca, const char *state_dir)
{
    for (size_t i = 0; i < FW_COUNT; i++) {
        char path[VTPM_PATH_SIZE];
        vtpm_file_path(path, "%s/firmware/%s", state_dir, firmware[i].file);
        buf_reset(&ca->der[i]);
        if (vtpm_file_read(path, &ca->der[i], NULL) != OK)
            return false;
    }
    AUTO(bio) BIO *root = open_bio(state_dir, "trust/vtpm-root.pem");
    AUTO(bio) BIO *cert = open_bio(state_dir, "trust/vtpm-ca.pem");
    AUTO(bio) BIO *key = open_bio(state_dir, "vtpm-ca.key");
    if (!root || !cert || !key)
        return false;
    ca->cert = PEM_read_bio_X509(cert, NULL, NULL, NULL);
    ca->key = PEM_read_bio_PrivateKey(key, NULL, NULL, NULL);
    if (!ca->cert || !ca->key || !X509_check_private_key(ca->cert, ca->key))
        return false;
    ca->keys = (struct bootlog_keys){.pk = buf_bytes(&ca->der[FW_PK]),
                                     .kek = buf_bytes(&ca->der[FW_KEK]),
                                     .db_os = buf_bytes(&ca->der[FW_DB_OS]),
                                     .db_ca = buf_bytes(&ca->der[FW_DB_CA]),
                                     .vendor = buf_bytes(&ca->der[FW_VENDOR])};
    return true;
}

static void release_keys(struct vtpm_ca *ca)
{
    X509_free(ca->cert);
    EVP_PKEY_free(ca->key);
    ca->cert = NULL;
    ca->key = NULL;
}

enum err vtpm_ca_open(const char *state_dir, const struct clock *clock, struct vtpm_ca **out,
                      struct err_info *e)
{
    struct vtpm_ca *ca = calloc(1, sizeof(*ca));
    if (!ca)
        abort();
    ca->clock = clock;
    enum err rc = OK;
    if (!load_all(ca, state_dir)) {
        release_keys(ca);
        rc = make_all(state_dir, clock, e);
        if (rc == OK && !load_all(ca, state_dir))
            rc = err_set(e, ERR_CONFIG, "%s: the vTPM CA cannot be read back", state_dir);
    }
    if (rc != OK) {
        vtpm_ca_free(ca);
        return rc;
    }
    *out = ca;
    return OK;
}

void vtpm_ca_free(struct vtpm_ca *ca)
{
    if (!ca)
        return;
    release_keys(ca);
    for (size_t i = 0; i < FW_COUNT; i++)
        buf_free(&ca->der[i]);
    free(ca);
}

const struct bootlog_keys *vtpm_ca_keys(const struct vtpm_ca *ca)
{
    return &ca->keys;
}

static EVP_PKEY *public_key(struct bytes modulus)
{
    AUTO(bignum) BIGNUM *n = BN_bin2bn(modulus.data, (int)modulus.len, NULL);
    AUTO(param_bld) OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    AUTO(pkey_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    if (!n || !bld || !ctx || !OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) ||
        !OSSL_PARAM_BLD_push_ulong(bld, OSSL_PKEY_PARAM_RSA_E, 65537))
        return NULL;
    AUTO(params) OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY *key = NULL;
    if (!params || EVP_PKEY_fromdata_init(ctx) <= 0 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        return NULL;
    return key;
}

enum err vtpm_ca_issue(const struct vtpm_ca *ca, const char *vm_id, struct bytes modulus,
                       struct buf *der, struct err_info *e)
{
    /* How Azure comes to the 12 digits is not known; they name the VM and stay the same. */
    uint8_t h[32];
    EVP_Digest(vm_id, strlen(vm_id), h, NULL, EVP_sha256(), NULL);
    char digits[13], cn[64];
    hex_encode(BYTES(h, 6), digits);
    snprintf(cn, sizeof(cn), "%s.TrustedVM.Azure.windows.net", digits);

    AUTO(pkey) EVP_PKEY *key = public_key(modulus);
    struct cert_spec spec = {.cn = cn,
                             .days = LEAF_DAYS,
                             .key = key,
                             .issuer = ca->cert,
                             .issuer_key = ca->key,
                             .ext = ak_extensions,
                             .n_ext = ARRAY_LEN(ak_extensions)};
    AUTO(x509) X509 *cert = key ? make_cert(ca->clock, &spec) : NULL;
    if (!cert || put_der(cert, der) != OK)
        return err_set(e, ERR_INTERNAL, "issuing the AK certificate of %s", vm_id);
    return OK;
}

bool vtpm_ca_holds(const struct vtpm_ca *ca, struct bytes der, struct bytes modulus)
{
    const unsigned char *at = der.data;
    AUTO(x509) X509 *cert = d2i_X509(NULL, &at, (long)der.len);
    AUTO(pkey) EVP_PKEY *key = public_key(modulus);
    time_t renew = (time_t)(clock_wall(ca->clock) / 1000 + RENEW_SECONDS);
    return cert && key && at == der.data + der.len &&
           EVP_PKEY_eq(X509_get0_pubkey(cert), key) == 1 && X509_verify(cert, ca->key) == 1 &&
           X509_cmp_time(X509_get0_notAfter(cert), &renew) > 0;
}
