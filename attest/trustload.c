/* Where the certificates of a trust come from: files, read at the start and again at each reload. */
#include "attest/pem.h"
#include "attest/truststore.h"

#include <dirent.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

AUTO_DEFINE(bio, BIO *, BIO_free)
AUTO_DEFINE(dir, DIR *, closedir)

/*
 * The roots of Azure's vTPM certificates, by SHA-256 of their DER: "Azure Virtual TPM Root Certificate
 * Authority 2023", to 2048-06-01; and, only where it is asked for, "Microsoft RSA Devices Root CA 2021",
 * which signs more than vTPMs. The AME root of older tools has expired.
 */
static const struct {
    uint8_t sha256[32];
    bool legacy;
} pinned[] = {
    {{0xe6, 0xc5, 0x96, 0xb1, 0x7f, 0x8f, 0xfe, 0xfb, 0xa5, 0xc3, 0x00,
      0xf7, 0x14, 0xcf, 0xb1, 0x26, 0x0c, 0x60, 0x28, 0x70, 0x4e, 0xcf,
      0x7b, 0xec, 0xc4, 0xab, 0x50, 0x18, 0xef, 0xb0, 0x0e, 0x95},
     false},
    {{0x8c, 0x2b, 0xb9, 0x14, 0x4d, 0x49, 0x70, 0xc9, 0x4f, 0xb8, 0x10,
      0x5c, 0xc5, 0xd8, 0x60, 0xa5, 0x8e, 0x2e, 0x67, 0x5e, 0xb3, 0x60,
      0xfd, 0xd8, 0xc1, 0x4b, 0x30, 0x83, 0x3a, 0xaa, 0xec, 0x1d},
     true},
};

bool truststore_is_pinned(const struct attest_trust *t, const X509 *x)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (t->options.only_named || X509_digest(x, EVP_sha256(), digest, &n) != 1)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(pinned); i++)
        if (memcmp(pinned[i].sha256, digest, sizeof pinned[i].sha256) == 0)
            return !pinned[i].legacy || t->options.legacy_root;
    return false;
}

void truststore_push(STACK_OF(X509) * stack, X509 *x)
{
    if (X509_up_ref(x) != 1 || sk_X509_push(stack, x) <= 0)
        abort();
}

void truststore_free_stack(STACK_OF(X509) * stack)
{
    sk_X509_pop_free(stack, X509_free);
}

STACK_OF(X509) * truststore_copy(STACK_OF(X509) * from)
{
    STACK_OF(X509) *to = sk_X509_new_null();
    if (!to)
        abort();
    for (int i = 0; i < sk_X509_num(from); i++)
        truststore_push(to, sk_X509_value(from, i));
    return to;
}

/* ---- the set ---- */

static struct trust_set *new_set(void)
{
    struct trust_set *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->refs = 1;
    s->expires = INT64_MAX;
    s->anchors = truststore_copy(NULL);
    s->intermediates = truststore_copy(NULL);
    s->crls = sk_X509_CRL_new_null();
    if (!s->crls)
        abort();
    return s;
}

void truststore_release(struct trust_set *s)
{
    if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    truststore_free_stack(s->anchors);
    truststore_free_stack(s->intermediates);
    sk_X509_CRL_pop_free(s->crls, X509_CRL_free);
    free(s);
}

struct trust_set *truststore_hold(struct attest_trust *t)
{
    pthread_mutex_lock(&t->lock);
    struct trust_set *s = t->set;
    __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&t->lock);
    return s;
}

/* The sum of all digests is the same in any order of the files. */
static void add_digest(struct trust_set *s, const uint8_t *digest, uint8_t salt)
{
    s->digest[0] ^= salt;
    for (size_t i = 0; i < sizeof s->digest; i++)
        s->digest[i] = (uint8_t)(s->digest[i] + digest[i]);
}

static bool holds(STACK_OF(X509) * stack, X509 *x)
{
    for (int i = 0; i < sk_X509_num(stack); i++)
        if (X509_cmp(sk_X509_value(stack, i), x) == 0)
            return true;
    return false;
}

static void keep(struct attest_trust *t, struct trust_set *s, X509 *x, bool anchor)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    STACK_OF(X509) *stack = anchor || truststore_is_pinned(t, x) ? s->anchors : s->intermediates;
    if (holds(stack, x) || X509_digest(x, EVP_sha256(), digest, &n) != 1)
        return;
    /* OpenSSL works the extensions out at their first use: now, before threads share them. */
    (void)X509_get_extension_flags(x);
    truststore_push(stack, x);
    add_digest(s, digest, stack == s->anchors);
    int64_t end = x509_not_after(x);
    if (end < s->expires)
        s->expires = end;
}

static bool keep_crl(struct trust_set *s, X509_CRL *crl)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (X509_CRL_digest(crl, EVP_sha256(), digest, &n) != 1 || X509_CRL_up_ref(crl) != 1)
        return false;
    if (sk_X509_CRL_push(s->crls, crl) <= 0)
        abort();
    add_digest(s, digest, 2);
    return true;
}

/* ---- files ---- */

static enum err load_file(struct attest_trust *t, struct trust_set *s, const char *path,
                          bool anchor, struct err_info *e)
{
    AUTO(bio) BIO *in = BIO_new_file(path, "rb");
    if (!in)
        return err_set(e, ERR_CONFIG, "cannot read the certificate file %s", path);
    int n = 0;
    for (;; n++) {
        AUTO(x509) X509 *x = PEM_read_bio_X509(in, NULL, pem_no_passphrase, NULL);
        if (!x)
            break;
        keep(t, s, x, anchor);
    }
    if (n > 0)
        return OK;
    if (BIO_reset(in) != 0)
        return err_set(e, ERR_CONFIG, "cannot read the certificate file %s", path);
    AUTO(x509) X509 *x = d2i_X509_bio(in, NULL);
    if (!x)
        return err_set(e, ERR_CONFIG, "%s holds no certificate", path);
    keep(t, s, x, anchor);
    return OK;
}

static enum err load_crl(struct trust_set *s, const char *path, struct err_info *e)
{
    AUTO(bio) BIO *in = BIO_new_file(path, "rb");
    if (!in)
        return err_set(e, ERR_CONFIG, "cannot read the CRL %s", path);
    AUTO(crl) X509_CRL *crl = d2i_X509_CRL_bio(in, NULL);
    if (!crl && BIO_reset(in) == 0)
        crl = PEM_read_bio_X509_CRL(in, NULL, pem_no_passphrase, NULL);
    if (!crl || !keep_crl(s, crl))
        return err_set(e, ERR_CONFIG, "%s holds no CRL", path);
    return OK;
}

static bool ends_in(const char *name, const char *ending)
{
    size_t n = strlen(name), k = strlen(ending);
    return n > k && strcmp(name + n - k, ending) == 0;
}

static bool is_certificate_file(const char *name)
{
    static const char *const endings[] = {".pem", ".crt", ".cer", ".der"};
    for (size_t i = 0; i < ARRAY_LEN(endings); i++)
        if (ends_in(name, endings[i]))
            return true;
    return false;
}

static enum err load_entry(struct attest_trust *t, struct trust_set *s, const char *dir,
                           const char *name, struct err_info *e)
{
    bool crl = ends_in(name, ".crl");
    if (name[0] == '.' || (!crl && !is_certificate_file(name)))
        return OK; /* a dot: being written */
    struct buf file = {0};
    buf_printf(&file, "%s/%s", dir, name);
    enum err err = crl ? load_crl(s, file.data, e) : load_file(t, s, file.data, false, e);
    buf_free(&file);
    return err;
}

static enum err load_dir(struct attest_trust *t, struct trust_set *s, struct err_info *e)
{
    const char *path = t->options.trust_dir;
    AUTO(dir) DIR *dir = opendir(path);
    if (!dir)
        return err_set(e, ERR_CONFIG, "cannot read the directory %s", path);
    enum err err = OK;
    for (struct dirent *d = readdir(dir); d && !err; d = readdir(dir))
        err = load_entry(t, s, path, d->d_name, e);
    return err;
}

static enum err load(struct attest_trust *t, struct trust_set *s, struct err_info *e)
{
    enum err err = OK;
    for (size_t i = 0; i < t->options.n_anchors && !err; i++)
        err = load_file(t, s, t->options.anchors[i], true, e);
    if (!err && t->options.trust_dir)
        err = load_dir(t, s, e);
    ERR_clear_error(); /* the end of a PEM file is one */
    return err;
}

/* ---- the trust ---- */

static char *copy_text(const char *s)
{
    char *copy = s ? strdup(s) : NULL;
    if (s && !copy)
        abort();
    return copy;
}

static void copy_options(struct attest_trust *t, const struct attest_trust_options *o)
{
    const char **anchors = calloc(o->n_anchors + 1, sizeof *anchors);
    if (!anchors)
        abort();
    for (size_t i = 0; i < o->n_anchors; i++)
        anchors[i] = copy_text(o->anchors[i]);
    t->options = *o;
    t->options.anchors = anchors;
    t->options.trust_dir = copy_text(o->trust_dir);
}

enum err attest_trust_open(const struct attest_trust_options *o, struct attest_trust **out,
                           struct err_info *e)
{
    struct attest_trust *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    pthread_mutex_init(&t->lock, NULL);
    copy_options(t, o);
    t->set = new_set();
    enum err err = load(t, t->set, e);
    if (err) {
        attest_trust_free(t);
        return err;
    }
    *out = t;
    return OK;
}

enum err attest_trust_reload(struct attest_trust *t, bool *changed, struct err_info *e)
{
    struct trust_set *next = new_set();
    *changed = false;
    enum err err = load(t, next, e);
    if (err) {
        truststore_release(next);
        return err;
    }
    pthread_mutex_lock(&t->lock);
    struct trust_set *old = t->set;
    *changed = memcmp(old->digest, next->digest, sizeof old->digest) != 0;
    if (*changed) {
        t->set = next;
        truststore_forget(t);
    }
    pthread_mutex_unlock(&t->lock);
    truststore_release(*changed ? old : next);
    return OK;
}

void attest_trust_free(struct attest_trust *t)
{
    if (!t)
        return;
    truststore_forget(t);
    for (size_t i = 0; i < TRUST_CACHE_SLOTS; i++)
        ak_loaded_release(t->keys[i]);
    truststore_release(t->set);
    for (size_t i = 0; i < t->options.n_anchors; i++)
        free((void *)(uintptr_t)t->options.anchors[i]);
    free((void *)(uintptr_t)t->options.anchors);
    free((void *)(uintptr_t)t->options.trust_dir);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

int64_t attest_trust_expires(struct attest_trust *t)
{
    AUTO(trust_set) struct trust_set *set = truststore_hold(t);
    return set->expires;
}
