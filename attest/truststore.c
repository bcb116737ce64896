#include "attest/truststore.h"

#include "attest/hash.h"

#include <dirent.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>

#define CACHE_SLOTS   4096
#define CACHE_ISSUERS 32
#define PATH_DEPTH    EVIDENCE_CHAIN_MAX
#define AUTH_LEVEL    2 /* 112 bits: RSA-2048, SHA-2 */

AUTO_DEFINE(bio, BIO *, BIO_free)
AUTO_DEFINE(store_ctx, X509_STORE_CTX *, X509_STORE_CTX_free)
AUTO_DEFINE(dir, DIR *, closedir)

/*
 * Azure's root of vTPM certificates, by SHA-256 of its DER: "Azure Virtual TPM Root Certificate
 * Authority 2023", to 2048-06-01. The AME root of older tools has expired, and "Microsoft RSA Devices
 * Root CA 2021" signs more than vTPMs: whoever needs it names it as an anchor.
 */
static const uint8_t azure_roots[][32] = {
    {0xe6, 0xc5, 0x96, 0xb1, 0x7f, 0x8f, 0xfe, 0xfb, 0xa5, 0xc3, 0x00,
     0xf7, 0x14, 0xcf, 0xb1, 0x26, 0x0c, 0x60, 0x28, 0x70, 0x4e, 0xcf,
     0x7b, 0xec, 0xc4, 0xab, 0x50, 0x18, 0xef, 0xb0, 0x0e, 0x95},
};

/* From when to when a verified path holds (ms since 1970). */
struct window {
    int64_t from, to;
};

struct known_issuer {
    X509 *ca;
    struct window window;
};

struct slot {
    struct ak_cert *leaf;
    struct window window;
};

struct attest_trust {
    STACK_OF(X509) * anchors;
    STACK_OF(X509) * intermediates;
    int64_t expires;

    pthread_mutex_t lock; /* over what follows */
    struct slot slots[CACHE_SLOTS];
    struct known_issuer issuers[CACHE_ISSUERS];
    size_t n_issuers;
};

static bool in_window(struct window w, int64_t at)
{
    return at >= w.from && at <= w.to;
}

static struct slot *slot_of(struct attest_trust *t, const uint8_t sha256[32])
{
    return &t->slots[((size_t)sha256[0] << 8 | sha256[1]) % CACHE_SLOTS];
}

struct ak_cert *truststore_find(struct attest_trust *t, const uint8_t sha256[32])
{
    struct ak_cert *found = NULL;
    pthread_mutex_lock(&t->lock);
    struct slot *s = slot_of(t, sha256);
    if (s->leaf && memcmp(s->leaf->sha256, sha256, 32) == 0)
        found = akcert_hold(s->leaf);
    pthread_mutex_unlock(&t->lock);
    return found;
}

static bool known_path(struct attest_trust *t, const struct ak_cert *leaf, int64_t at)
{
    pthread_mutex_lock(&t->lock);
    const struct slot *s = slot_of(t, leaf->sha256);
    bool known =
        s->leaf && memcmp(s->leaf->sha256, leaf->sha256, 32) == 0 && in_window(s->window, at);
    pthread_mutex_unlock(&t->lock);
    return known;
}

static void remember_leaf(struct attest_trust *t, struct ak_cert *leaf, struct window w)
{
    pthread_mutex_lock(&t->lock);
    struct slot *s = slot_of(t, leaf->sha256);
    akcert_release(s->leaf);
    *s = (struct slot){akcert_hold(leaf), w};
    pthread_mutex_unlock(&t->lock);
}

/* Constraints on names below it are not looked at on the short way, so such a CA stays out. */
static void remember_issuer(struct attest_trust *t, X509 *ca, struct window w)
{
    if (X509_get_ext_by_NID(ca, NID_name_constraints, -1) >= 0)
        return;
    pthread_mutex_lock(&t->lock);
    bool known = t->n_issuers == CACHE_ISSUERS;
    for (size_t i = 0; i < t->n_issuers && !known; i++)
        known = X509_cmp(t->issuers[i].ca, ca) == 0;
    if (!known && X509_up_ref(ca) == 1)
        t->issuers[t->n_issuers++] = (struct known_issuer){ca, w};
    pthread_mutex_unlock(&t->lock);
}

/* The short way: an issuer whose own path was verified before. The caller frees. */
static X509 *find_issuer(struct attest_trust *t, X509 *leaf, int64_t at, struct window *w)
{
    X509 *found = NULL;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->n_issuers && !found; i++) {
        struct known_issuer *k = &t->issuers[i];
        if (in_window(k->window, at) && X509_check_issued(k->ca, leaf) == X509_V_OK &&
            X509_up_ref(k->ca) == 1) {
            found = k->ca;
            *w = k->window;
        }
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

static struct window narrow(struct window w, const X509 *x)
{
    int64_t from = x509_not_before(x), to = x509_not_after(x);
    return (struct window){from > w.from ? from : w.from, to < w.to ? to : w.to};
}

static bool is_azure_root(const X509 *x)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (X509_digest(x, hash_md(BANK_SHA256), digest, &n) != 1)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(azure_roots); i++)
        if (memcmp(azure_roots[i], digest, 32) == 0)
            return true;
    return false;
}

static void push(STACK_OF(X509) * stack, X509 *x)
{
    if (X509_up_ref(x) != 1 || sk_X509_push(stack, x) <= 0)
        abort();
}

static void free_stack(STACK_OF(X509) * stack)
{
    sk_X509_pop_free(stack, X509_free);
}

static STACK_OF(X509) * copy_stack(STACK_OF(X509) * from)
{
    STACK_OF(X509) *to = sk_X509_new_null();
    if (!to)
        abort();
    for (int i = 0; i < sk_X509_num(from); i++)
        push(to, sk_X509_value(from, i));
    return to;
}

static const char *reason_of(int error, int depth)
{
    switch (error) {
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return "issuer_missing";
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        return "anchor_unknown";
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        return "signature_invalid";
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return depth == 0 ? "leaf_refused" : "issuer_expired";
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return depth == 0 ? "leaf_refused" : "issuer_not_yet_valid";
    case X509_V_ERR_EE_KEY_TOO_SMALL:
    case X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION:
        return "leaf_refused";
    case X509_V_ERR_CA_KEY_TOO_SMALL:
    case X509_V_ERR_CA_MD_TOO_WEAK:
        return "weak_issuer";
    case X509_V_ERR_CERT_CHAIN_TOO_LONG:
        return "chain_too_long";
    default:
        return "chain_invalid";
    }
}

/* An issuer is there, but only one that the path goes through already. */
static bool goes_in_circles(X509_STORE_CTX *ctx, STACK_OF(X509) * untrusted)
{
    STACK_OF(X509) *path = X509_STORE_CTX_get0_chain(ctx);
    int n = sk_X509_num(path);
    if (n <= 0)
        return false;
    X509 *last = sk_X509_value(path, n - 1);
    for (int i = 0; i < sk_X509_num(untrusted); i++)
        if (X509_check_issued(sk_X509_value(untrusted, i), last) == X509_V_OK)
            return true;
    return false;
}

static void keep_path(struct attest_trust *t, struct ak_cert *leaf, STACK_OF(X509) * path)
{
    struct window w = {INT64_MIN, INT64_MAX};
    int n = sk_X509_num(path);
    for (int i = n - 1; i > 0; i--)
        w = narrow(w, sk_X509_value(path, i));
    if (n >= 2)
        remember_issuer(t, sk_X509_value(path, 1), w);
    remember_leaf(t, leaf, narrow(w, leaf->x509));
}

static const char *verify_path(struct attest_trust *t, struct ak_cert *leaf,
                               STACK_OF(X509) * trusted, STACK_OF(X509) * untrusted, int64_t at)
{
    AUTO(store_ctx) X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    if (!ctx || X509_STORE_CTX_init(ctx, NULL, leaf->x509, untrusted) != 1)
        abort();
    X509_STORE_CTX_set0_trusted_stack(ctx, trusted);
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_time(param, (time_t)(at / 1000));
    X509_VERIFY_PARAM_set_depth(param, PATH_DEPTH);
    X509_VERIFY_PARAM_set_auth_level(param, AUTH_LEVEL);
    /* The AK's only usage is 2.23.133.8.3, which no built-in purpose knows: akcert.c checks it. An
     * anchor that an operator names may be an intermediate. */
    X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_ANY);
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
    if (X509_verify_cert(ctx) == 1) {
        keep_path(t, leaf, X509_STORE_CTX_get0_chain(ctx));
        return NULL;
    }
    const char *why = reason_of(X509_STORE_CTX_get_error(ctx), X509_STORE_CTX_get_error_depth(ctx));
    if (strcmp(why, "issuer_missing") == 0 && goes_in_circles(ctx, untrusted))
        return "chain_loop";
    return why;
}

/* A leaf under an issuer that is known: one signature. False: the long way must say. */
static bool verify_short(struct attest_trust *t, struct ak_cert *leaf, int64_t at)
{
    struct window w;
    AUTO(x509) X509 *ca = find_issuer(t, leaf->x509, at, &w);
    EVP_PKEY *key = ca ? X509_get0_pubkey(ca) : NULL;
    if (!key || leaf->n_problems > 0 || at < leaf->not_before || at > leaf->not_after ||
        X509_verify(leaf->x509, key) != 1)
        return false;
    remember_leaf(t, leaf, narrow(w, leaf->x509));
    return true;
}

const char *truststore_check_path(struct attest_trust *t, struct ak_cert *leaf,
                                  const struct evidence *ev, int64_t at)
{
    if (known_path(t, leaf, at) || verify_short(t, leaf, at))
        return NULL;
    STACK_OF(X509) *trusted = copy_stack(t->anchors);
    STACK_OF(X509) *untrusted = copy_stack(t->intermediates);
    const char *why = NULL;
    for (size_t i = 0; i < ev->n_chain && !why; i++) {
        AUTO(x509) X509 *x = x509_parse(ev->chain[i]);
        if (!x) {
            why = "chain_invalid";
            break;
        }
        push(untrusted, x);
        if (is_azure_root(x))
            push(trusted, x);
    }
    if (!why)
        why = verify_path(t, leaf, trusted, untrusted, at);
    free_stack(trusted);
    free_stack(untrusted);
    return why;
}

/* ---- loading ---- */

static void keep(struct attest_trust *t, X509 *x, bool anchor)
{
    /* OpenSSL works the extensions out at their first use: now, before threads share them. */
    (void)X509_get_extension_flags(x);
    push(anchor || is_azure_root(x) ? t->anchors : t->intermediates, x);
    int64_t end = x509_not_after(x);
    if (end < t->expires)
        t->expires = end;
}

static int load_pem(struct attest_trust *t, BIO *in, bool anchor)
{
    int n = 0;
    for (;;) {
        AUTO(x509) X509 *x = PEM_read_bio_X509(in, NULL, NULL, NULL);
        if (!x)
            break;
        keep(t, x, anchor);
        n++;
    }
    return n;
}

static enum err load_file(struct attest_trust *t, const char *path, bool anchor, struct err_info *e)
{
    AUTO(bio) BIO *in = BIO_new_file(path, "rb");
    if (!in)
        return err_set(e, ERR_CONFIG, "cannot read the certificate file %s", path);
    if (load_pem(t, in, anchor) > 0)
        return OK;
    if (BIO_reset(in) != 0)
        return err_set(e, ERR_CONFIG, "cannot read the certificate file %s", path);
    AUTO(x509) X509 *x = d2i_X509_bio(in, NULL);
    if (!x)
        return err_set(e, ERR_CONFIG, "%s holds no certificate", path);
    keep(t, x, anchor);
    return OK;
}

static bool is_certificate_file(const char *name)
{
    static const char *const endings[] = {".pem", ".crt", ".cer", ".der"};
    size_t n = strlen(name);
    for (size_t i = 0; i < ARRAY_LEN(endings); i++)
        if (n > 4 && strcmp(name + n - 4, endings[i]) == 0)
            return true;
    return false;
}

static enum err load_dir(struct attest_trust *t, const char *path, struct err_info *e)
{
    AUTO(dir) DIR *dir = opendir(path);
    if (!dir)
        return err_set(e, ERR_CONFIG, "cannot read the directory %s", path);
    for (struct dirent *d = readdir(dir); d; d = readdir(dir)) {
        if (!is_certificate_file(d->d_name))
            continue;
        struct buf file = {0};
        buf_printf(&file, "%s/%s", path, d->d_name);
        enum err err = load_file(t, file.data, false, e);
        buf_free(&file);
        if (err)
            return err;
    }
    return OK;
}

enum err attest_trust_open(const struct attest_trust_options *o, struct attest_trust **out,
                           struct err_info *e)
{
    struct attest_trust *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    pthread_mutex_init(&t->lock, NULL);
    t->expires = INT64_MAX;
    t->anchors = copy_stack(NULL);
    t->intermediates = copy_stack(NULL);
    enum err err = OK;
    for (size_t i = 0; i < o->n_anchors && !err; i++)
        err = load_file(t, o->anchors[i], true, e);
    if (!err && o->trust_dir)
        err = load_dir(t, o->trust_dir, e);
    if (err) {
        attest_trust_free(t);
        return err;
    }
    *out = t;
    return OK;
}

void attest_trust_free(struct attest_trust *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < CACHE_SLOTS; i++)
        akcert_release(t->slots[i].leaf);
    for (size_t i = 0; i < t->n_issuers; i++)
        X509_free(t->issuers[i].ca);
    free_stack(t->anchors);
    free_stack(t->intermediates);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

int64_t attest_trust_expires(const struct attest_trust *t)
{
    return t->expires;
}
