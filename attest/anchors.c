#include "attest/anchors.h"

#include "attest/pem.h"
#include "attest/x509path.h"

#include <dirent.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

AUTO_DEFINE(bio, BIO *, BIO_free)
AUTO_DEFINE(x509_ptr, X509 *, X509_free)
AUTO_DEFINE(dir, DIR *, closedir)

struct attest_anchors {
    STACK_OF(X509) * anchors;
    STACK_OF(X509) * intermediates;
};

static STACK_OF(X509) * new_stack(void)
{
    STACK_OF(X509) *s = sk_X509_new_null();
    if (!s)
        abort();
    return s;
}

static int load_pem(STACK_OF(X509) * into, BIO *in)
{
    int n = 0;
    for (;; n++) {
        AUTO(x509_ptr) X509 *x = PEM_read_bio_X509(in, NULL, pem_no_passphrase, NULL);
        if (!x)
            break;
        /* OpenSSL works the extensions out at their first use: now, before threads share them. */
        (void)X509_get_extension_flags(x);
        if (sk_X509_push(into, x) <= 0)
            abort();
        x = NULL;
    }
    ERR_clear_error();
    return n;
}

static enum err load_file(STACK_OF(X509) * into, const char *path, struct err_info *e)
{
    AUTO(bio) BIO *in = BIO_new_file(path, "rb");
    if (!in)
        return err_set(e, ERR_CONFIG, "cannot read the certificate file %s", path);
    if (load_pem(into, in) == 0)
        return err_set(e, ERR_CONFIG, "%s holds no certificate", path);
    return OK;
}

static bool is_pem(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && (!strcmp(name + n - 4, ".pem") || !strcmp(name + n - 4, ".crt"));
}

/* Only material to build with: a file that holds none is another's business. */
static enum err load_dir(STACK_OF(X509) * into, const char *path, struct err_info *e)
{
    AUTO(dir) DIR *dir = opendir(path);
    if (!dir)
        return err_set(e, ERR_CONFIG, "cannot read the directory %s", path);
    for (struct dirent *d = readdir(dir); d; d = readdir(dir)) {
        char file[4096];
        int n = snprintf(file, sizeof file, "%s/%s", path, d->d_name);
        if (!is_pem(d->d_name) || n >= (int)sizeof file)
            continue;
        AUTO(bio) BIO *in = BIO_new_file(file, "rb");
        if (in)
            load_pem(into, in);
    }
    return OK;
}

enum err attest_anchors_open(const struct attest_anchors_options *o, struct attest_anchors **out,
                             struct err_info *e)
{
    struct attest_anchors *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->anchors = new_stack();
    t->intermediates = new_stack();
    enum err err = OK;
    for (size_t i = 0; i < o->n_files && !err; i++)
        err = load_file(t->anchors, o->files[i], e);
    if (!err && o->dir && o->n_files)
        err = load_dir(t->intermediates, o->dir, e);
    if (err) {
        attest_anchors_free(t);
        return err;
    }
    *out = t;
    return OK;
}

void attest_anchors_free(struct attest_anchors *t)
{
    if (!t)
        return;
    sk_X509_pop_free(t->anchors, X509_free);
    sk_X509_pop_free(t->intermediates, X509_free);
    free(t);
}

bool attest_anchors_any(const struct attest_anchors *t)
{
    return t && sk_X509_num(t->anchors) > 0;
}

static void add_all(STACK_OF(X509) * to, const STACK_OF(X509) * from)
{
    for (int i = 0; i < sk_X509_num(from); i++)
        if (sk_X509_push(to, sk_X509_value(from, i)) <= 0)
            abort();
}

enum anchors_path attest_anchors_check(const struct attest_anchors *t, X509 *leaf,
                                       const STACK_OF(X509) * sent, int64_t at)
{
    STACK_OF(X509) *untrusted = new_stack();
    add_all(untrusted, t->intermediates);
    add_all(untrusted, sent);
    const struct x509path path = {.trusted = t->anchors, .untrusted = untrusted, .at = at};
    AUTO(store_ctx) X509_STORE_CTX *ctx = x509path_begin(&path, leaf);
    bool good = X509_verify_cert(ctx) == 1;
    int why = X509_STORE_CTX_get_error(ctx);
    sk_X509_free(untrusted);
    ERR_clear_error();
    if (good)
        return ANCHORS_TRUSTED;
    bool time = why == X509_V_ERR_CERT_HAS_EXPIRED || why == X509_V_ERR_CERT_NOT_YET_VALID;
    return time ? ANCHORS_EXPIRED : ANCHORS_NONE;
}
