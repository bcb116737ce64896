#include "emulator/keys.h"
#include "core/bytes.h"
#include "core/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

AUTO_DEFINE(pkey, EVP_PKEY *, EVP_PKEY_free)
AUTO_DEFINE(x509, X509 *, X509_free)
AUTO_DEFINE(bio, BIO *, BIO_free_all)

#define PATH_SIZE 4096
#define DAY_S     (24L * 60 * 60)

enum err keys_write_file(const char *dir, const char *name, const char *text, bool secret,
                         struct err_info *e)
{
    char path[PATH_SIZE];
    char fresh[PATH_SIZE + 8];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    AUTO(fd) int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, secret ? 0600 : 0644);
    size_t n = strlen(text);
    if (fd < 0 || write(fd, text, n) != (ssize_t)n || rename(fresh, path) != 0)
        return err_set(e, ERR_CONFIG, "cannot write %s: %s", path, strerror(errno));
    return OK;
}

static char *bio_text(BIO *b)
{
    char *data;
    long n = BIO_get_mem_data(b, &data);
    char *text = strndup(data, (size_t)n);
    if (!text)
        abort();
    return text;
}

static char *key_pem(EVP_PKEY *key)
{
    AUTO(bio) BIO *b = BIO_new(BIO_s_mem());
    if (!b || PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) != 1)
        abort();
    return bio_text(b);
}

static EVP_PKEY *read_key(const char *path)
{
    AUTO(file) FILE *f = fopen(path, "re");
    return f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
}

/* The key in dir/name, made where there is none. */
static enum err load_key(const char *dir, const char *name, bool rsa, EVP_PKEY **out,
                         struct err_info *e)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    *out = read_key(path);
    if (*out)
        return OK;
    if (access(path, F_OK) == 0)
        return err_set(e, ERR_CONFIG, "%s is not a private key", path);
    *out = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    if (!*out)
        abort();
    AUTO(free) char *pem = key_pem(*out);
    return keys_write_file(dir, name, pem, true, e);
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *x = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    if (!x || X509_add_ext(cert, x, -1) != 1)
        abort();
    X509_EXTENSION_free(x);
}

/* A certificate with subject and validity, not yet signed. */
static X509 *new_cert(EVP_PKEY *key, const char *cn, time_t from, long days)
{
    X509 *cert = X509_new();
    uint8_t serial[16];
    random_bytes(serial, sizeof serial);
    serial[0] &= 0x7f;
    BIGNUM *number = BN_bin2bn(serial, sizeof serial, NULL);
    if (!cert || !number || X509_set_version(cert, X509_VERSION_3) != 1)
        abort();
    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
    BN_free(number);
    X509_NAME *name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"azure-emulator", -1,
                               -1, 0);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
    time_t start = from - DAY_S;
    time_t end = from + days * DAY_S;
    ASN1_TIME_set(X509_getm_notBefore(cert), start);
    ASN1_TIME_set(X509_getm_notAfter(cert), end);
    X509_set_pubkey(cert, key);
    return cert;
}

static X509 *make_ca(EVP_PKEY *key, time_t now)
{
    X509 *ca = new_cert(key, "azure-emulator development CA", now, 3650);
    X509_set_issuer_name(ca, X509_get_subject_name(ca));
    add_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
    add_extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign");
    add_extension(ca, ca, NID_subject_key_identifier, "hash");
    if (X509_sign(ca, key, EVP_sha256()) == 0)
        abort();
    return ca;
}

static X509 *make_server(EVP_PKEY *key, const char *cn, const char *names, X509 *ca,
                         EVP_PKEY *ca_key, time_t now)
{
    X509 *cert = new_cert(key, cn, now, 365);
    X509_set_issuer_name(cert, X509_get_subject_name(ca));
    add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE");
    add_extension(cert, ca, NID_key_usage, "critical,digitalSignature");
    add_extension(cert, ca, NID_ext_key_usage, "serverAuth");
    add_extension(cert, ca, NID_subject_alt_name, names);
    add_extension(cert, ca, NID_authority_key_identifier, "keyid");
    if (X509_sign(cert, ca_key, EVP_sha256()) == 0)
        abort();
    return cert;
}

static char *certs_pem(X509 *first, X509 *second)
{
    AUTO(bio) BIO *b = BIO_new(BIO_s_mem());
    if (!b || PEM_write_bio_X509(b, first) != 1 || (second && PEM_write_bio_X509(b, second) != 1))
        abort();
    return bio_text(b);
}

static enum err load_ca(const char *dir, time_t now, X509 **cert, EVP_PKEY **key,
                        struct err_info *e)
{
    enum err err = load_key(dir, "ca.key", false, key, e);
    if (err)
        return err;
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/ca.pem", dir);
    AUTO(file) FILE *f = fopen(path, "re");
    *cert = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
    if (*cert && X509_check_private_key(*cert, *key) == 1)
        return OK;
    X509_free(*cert);
    *cert = make_ca(*key, now);
    AUTO(free) char *pem = certs_pem(*cert, NULL);
    return keys_write_file(dir, "ca.pem", pem, false, e);
}

static void key_id(EVP_PKEY *key, char out[44])
{
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(key, &der);
    uint8_t digest[32];
    if (n <= 0 || !EVP_Digest(der, (size_t)n, digest, NULL, EVP_sha256(), NULL))
        abort();
    OPENSSL_free(der);
    base64url_encode(BYTES_OF(digest), out);
}

enum err keys_open(const char *dir, const struct clock *clock, struct keys *out, struct err_info *e)
{
    *out = (struct keys){0};
    time_t now = (time_t)(clock_wall(clock) / 1000);
    AUTO(x509) X509 *ca = NULL;
    AUTO(pkey) EVP_PKEY *ca_key = NULL;
    enum err err = load_ca(dir, now, &ca, &ca_key, e);
    if (!err)
        err = load_key(dir, "token.key", true, &out->token, e);
    if (!err)
        err = load_key(dir, "federated.key", true, &out->federated, e);
    if (!err)
        err = load_key(dir, "metadata.key", true, &out->metadata, e);
    if (err) {
        keys_close(out);
        return err;
    }
    AUTO(pkey) EVP_PKEY *server_key = EVP_EC_gen("P-256");
    if (!server_key)
        abort();
    AUTO(x509)
    X509 *server =
        make_server(server_key, "localhost", "IP:127.0.0.1,DNS:localhost", ca, ca_key, now);
    out->metadata_cert =
        make_server(out->metadata, "metadata.azure.com",
                    "DNS:metadata.azure.com,DNS:westeurope.metadata.azure.com", ca, ca_key, now);
    out->server_cert = certs_pem(server, ca);
    out->server_key = key_pem(server_key);
    key_id(out->token, out->token_kid);
    key_id(out->federated, out->federated_kid);
    ERR_clear_error();
    return OK;
}

void keys_close(struct keys *k)
{
    free(k->server_cert);
    free(k->server_key);
    EVP_PKEY_free(k->token);
    EVP_PKEY_free(k->federated);
    EVP_PKEY_free(k->metadata);
    X509_free(k->metadata_cert);
    *k = (struct keys){0};
}
