#include "attest/truststore.h"

#include "attest/words.h"
#include "attest/x509path.h"
#include "core/ways.h"

#include <openssl/x509v3.h>

static bool in_window(struct trust_window w, int64_t at)
{
    return at >= w.from && at <= w.to;
}

/* The last bytes: as good as a digest's, since a certificate ends with its signature, and a modulus or a
 * point is as good as random. */
static uint64_t tail_of(const uint8_t *data, size_t n)
{
    uint64_t tail = 0;
    for (size_t i = 0; i < 4 && i < n; i++)
        tail = tail << 8 | data[n - 1 - i];
    return tail;
}

/* Only certificates of an issuer under an anchor are kept. NULL: it is not. */
static struct known_leaf *find_leaf(struct attest_trust *t, struct bytes der)
{
    struct known_leaf *set = &t->slots[ways_first(tail_of(der.data, der.len), TRUST_CACHE_SLOTS)];
    for (size_t i = 0; i < WAYS; i++)
        if (set[i].leaf && bytes_equal(set[i].leaf->der, der))
            return &set[i];
    return NULL;
}

/* Where it is, or a free one, or one whose turn it is to go. */
static struct known_leaf *room_for_leaf(struct attest_trust *t, struct bytes der)
{
    struct known_leaf *at = find_leaf(t, der);
    struct known_leaf *set = &t->slots[ways_first(tail_of(der.data, der.len), TRUST_CACHE_SLOTS)];
    for (size_t i = 0; i < WAYS && !at; i++)
        at = set[i].leaf ? NULL : &set[i];
    return at ? at : &set[t->turn++ % WAYS];
}

struct ak_cert *truststore_find(struct attest_trust *t, struct bytes der)
{
    pthread_mutex_lock(&t->lock);
    const struct known_leaf *s = find_leaf(t, der);
    struct ak_cert *found = s ? akcert_hold(s->leaf) : NULL;
    pthread_mutex_unlock(&t->lock);
    return found;
}

static struct ak_loaded **find_key(struct attest_trust *t, const struct ak_key *key)
{
    struct ak_loaded **set = &t->keys[ways_first(tail_of(key->n, key->n_len), TRUST_CACHE_SLOTS)];
    for (size_t i = 0; i < WAYS; i++)
        if (set[i] && ak_key_equal(&set[i]->key, key))
            return &set[i];
    return NULL;
}

static struct ak_loaded **room_for_key(struct attest_trust *t, const struct ak_key *key)
{
    struct ak_loaded **at = find_key(t, key);
    struct ak_loaded **set = &t->keys[ways_first(tail_of(key->n, key->n_len), TRUST_CACHE_SLOTS)];
    for (size_t i = 0; i < WAYS && !at; i++)
        at = set[i] ? NULL : &set[i];
    return at ? at : &set[t->turn++ % WAYS];
}

struct ak_loaded *truststore_find_key(struct attest_trust *t, const struct ak_key *key)
{
    pthread_mutex_lock(&t->lock);
    struct ak_loaded **k = find_key(t, key);
    struct ak_loaded *found = k ? ak_loaded_hold(*k) : NULL;
    pthread_mutex_unlock(&t->lock);
    return found;
}

void truststore_keep_key(struct attest_trust *t, struct ak_loaded *k)
{
    pthread_mutex_lock(&t->lock);
    struct ak_loaded **slot = room_for_key(t, &k->key), *before = *slot;
    *slot = before == k ? before : ak_loaded_hold(k);
    pthread_mutex_unlock(&t->lock);
    if (before != k)
        ak_loaded_release(before);
}

static bool is_sent(const struct known_chain *k, const struct evidence *ev)
{
    for (size_t i = 0; i < ev->n_chain && i < k->n; i++)
        if (!bytes_equal(k->parts[i], ev->chain[i]))
            return false;
    return k->n == ev->n_chain;
}

/* With the lock held. */
static bool find_chain(const struct attest_trust *t, const struct evidence *ev, size_t *out)
{
    for (size_t i = 0; i < t->n_chains; i++) {
        if (!is_sent(&t->chains[i], ev))
            continue;
        *out = i;
        return true;
    }
    return false;
}

static struct known_chain copy_chain(const struct evidence *ev)
{
    struct known_chain k = {.n = ev->n_chain};
    size_t size = 0;
    for (size_t i = 0; i < k.n; i++)
        size += ev->chain[i].len;
    uint8_t *at = k.block = malloc(size + 1);
    if (!at)
        abort();
    for (size_t i = 0; i < k.n; i++) {
        k.parts[i] = BYTES(at, ev->chain[i].len);
        memcpy(at, ev->chain[i].data, ev->chain[i].len);
        at += ev->chain[i].len;
    }
    return k;
}

/* With the lock held. What sends so many chains is no fleet of Azure's: then all begins anew. */
static size_t keep_chain(struct attest_trust *t, const struct evidence *ev)
{
    size_t at;
    if (find_chain(t, ev, &at))
        return at;
    if (t->n_chains == TRUST_CACHE_CHAINS)
        truststore_forget(t);
    t->chains[t->n_chains] = copy_chain(ev);
    return t->n_chains++;
}

/* A verification under way. */
struct checking {
    struct attest_trust *t;
    const struct trust_set *set;
    const struct evidence *ev;
    struct ak_cert *leaf;
    int64_t at;
};

static bool known_path(const struct attest_input *in, const struct ak_cert *leaf, int64_t at)
{
    struct attest_trust *t = in->trust;
    pthread_mutex_lock(&t->lock);
    const struct known_leaf *s = find_leaf(t, leaf->der);
    bool known = s && in_window(s->window, at) && is_sent(&t->chains[s->chain], in->evidence);
    pthread_mutex_unlock(&t->lock);
    return known;
}

/* What was verified with a set that was replaced meanwhile says nothing about the new one. */
static void remember_leaf(const struct checking *c, struct trust_window w)
{
    struct attest_trust *t = c->t;
    pthread_mutex_lock(&t->lock);
    if (t->set == c->set) {
        size_t chain = keep_chain(t, c->ev);
        struct known_leaf *s = room_for_leaf(t, c->leaf->der);
        akcert_release(s->leaf);
        *s = (struct known_leaf){akcert_hold(c->leaf), w, chain};
    }
    pthread_mutex_unlock(&t->lock);
}

static void remember_issuer(const struct checking *c, X509 *ca, struct trust_window w)
{
    struct attest_trust *t = c->t;
    pthread_mutex_lock(&t->lock);
    size_t chain = t->set == c->set ? keep_chain(t, c->ev) : 0;
    bool known = t->set != c->set || t->n_issuers == TRUST_CACHE_ISSUERS;
    for (size_t i = 0; i < t->n_issuers && !known; i++)
        known = t->issuers[i].chain == chain && X509_cmp(t->issuers[i].ca, ca) == 0;
    if (!known && X509_up_ref(ca) == 1)
        t->issuers[t->n_issuers++] = (struct known_issuer){ca, w, chain};
    pthread_mutex_unlock(&t->lock);
}

void truststore_forget(struct attest_trust *t)
{
    for (size_t i = 0; i < TRUST_CACHE_SLOTS; i++) {
        akcert_release(t->slots[i].leaf);
        t->slots[i].leaf = NULL;
    }
    for (size_t i = 0; i < t->n_issuers; i++)
        X509_free(t->issuers[i].ca);
    t->n_issuers = 0;
    for (size_t i = 0; i < t->n_chains; i++)
        free(t->chains[i].block);
    t->n_chains = 0;
}

/* The short way: an issuer whose own path was verified before, with what is sent now. The caller frees. */
static X509 *find_issuer(const struct checking *c, struct trust_window *w)
{
    struct attest_trust *t = c->t;
    X509 *found = NULL;
    size_t chain;
    pthread_mutex_lock(&t->lock);
    size_t n = find_chain(t, c->ev, &chain) ? t->n_issuers : 0;
    for (size_t i = 0; i < n && !found; i++) {
        struct known_issuer *k = &t->issuers[i];
        if (k->chain == chain && in_window(k->window, c->at) &&
            X509_check_issued(k->ca, c->leaf->x509) == X509_V_OK && X509_up_ref(k->ca) == 1) {
            found = k->ca;
            *w = k->window;
        }
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

static struct trust_window narrow(struct trust_window w, const X509 *x)
{
    int64_t from = x509_not_before(x), to = x509_not_after(x);
    return (struct trust_window){from > w.from ? from : w.from, to < w.to ? to : w.to};
}

/* ---- what went wrong, in words ---- */

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
    case X509_V_ERR_CA_MD_TOO_WEAK: /* of the signature on the certificate at this depth */
        return depth == 0 ? "leaf_refused" : "weak_issuer";
    case X509_V_ERR_CERT_CHAIN_TOO_LONG:
        return "chain_too_long";
    case X509_V_ERR_CERT_REVOKED:
        return "revoked";
    default:
        return "chain_invalid";
    }
}

static const char *subject_of(struct arena *a, const X509 *x)
{
    return words_name(a, X509_get_subject_name(x));
}

static const char *text_fingerprint(struct arena *a, const X509 *x)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (X509_digest(x, EVP_sha256(), digest, &n) != 1)
        return "unknown";
    return words_hex(a, BYTES(digest, n));
}

static void describe_time(struct path_fault *f, const X509 *x, int64_t at, struct arena *a)
{
    f->expected = arena_printf(a, "valid at %s", words_time(a, at));
    f->found = arena_printf(a, "%s: %s to %s", subject_of(a, x), words_time(a, x509_not_before(x)),
                            words_time(a, x509_not_after(x)));
}

static struct path_fault describe(X509_STORE_CTX *ctx, int64_t at, struct arena *a)
{
    int error = X509_STORE_CTX_get_error(ctx);
    const X509 *x = X509_STORE_CTX_get_current_cert(ctx);
    struct path_fault f = {.reason = reason_of(error, X509_STORE_CTX_get_error_depth(ctx))};
    if (!x)
        return f;
    const char *issuer = words_name(a, X509_get_issuer_name(x));
    if (strcmp(f.reason, "issuer_missing") == 0) {
        f.expected = arena_printf(a, "the certificate of %s", issuer);
    } else if (strcmp(f.reason, "anchor_unknown") == 0) {
        f.expected = "a pinned anchor";
        f.found = arena_printf(a, "%s, SHA-256 %s", subject_of(a, x), text_fingerprint(a, x));
    } else if (strcmp(f.reason, "signature_invalid") == 0) {
        f.expected = arena_printf(a, "%s signed by %s", subject_of(a, x), issuer);
    } else if (error == X509_V_ERR_CERT_HAS_EXPIRED || error == X509_V_ERR_CERT_NOT_YET_VALID) {
        describe_time(&f, x, at, a);
    } else if (strcmp(f.reason, "chain_too_long") == 0) {
        f.expected = arena_printf(a, "at most %d issuers", X509PATH_ISSUERS);
    } else {
        f.found = arena_printf(a, "%s: %s", subject_of(a, x), X509_verify_cert_error_string(error));
    }
    return f;
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

/* ---- paths ---- */

/* What a path is built from: the set's, and room for what somebody sent. */
static struct x509path material_of(const struct trust_set *set, int64_t at)
{
    return (struct x509path){truststore_copy(set->anchors), truststore_copy(set->intermediates),
                             set->crls, at};
}

static void material_free(struct x509path *m)
{
    truststore_free_stack(m->trusted);
    truststore_free_stack(m->untrusted);
}

static struct path_fault run(X509_STORE_CTX *ctx, const struct x509path *m, struct arena *a)
{
    if (X509_verify_cert(ctx) == 1)
        return (struct path_fault){0};
    struct path_fault f = describe(ctx, m->at, a);
    if (strcmp(f.reason, "issuer_missing") == 0 && goes_in_circles(ctx, m->untrusted))
        f.reason = "chain_loop";
    return f;
}

/* Constraints on names bind all that is below (RFC 5280, 4.2.1.10) and are not looked at on the short way. */
static bool constrains_names(STACK_OF(X509) * path)
{
    for (int i = 1; i < sk_X509_num(path); i++)
        if (X509_get_ext_by_NID(sk_X509_value(path, i), NID_name_constraints, -1) >= 0)
            return true;
    return false;
}

static void keep_path(const struct checking *c, STACK_OF(X509) * path)
{
    struct trust_window w = {INT64_MIN, INT64_MAX};
    int n = sk_X509_num(path);
    for (int i = n - 1; i > 0; i--)
        w = narrow(w, sk_X509_value(path, i));
    if (n >= 2 && !constrains_names(path))
        remember_issuer(c, sk_X509_value(path, 1), w);
    remember_leaf(c, narrow(w, c->leaf->x509));
}

/* A proxy certificate (RFC 3820), or one whose resources its issuer must have (RFC 3779). */
static bool asks_for_more(X509 *leaf)
{
    return X509_get_extension_flags(leaf) & EXFLAG_PROXY ||
           X509_get_ext_by_NID(leaf, NID_sbgp_ipAddrBlock, -1) >= 0 ||
           X509_get_ext_by_NID(leaf, NID_sbgp_autonomousSysNum, -1) >= 0;
}

/* A leaf under an issuer that is known: one signature. False: the long way must say. */
static bool verify_short(const struct checking *c)
{
    const struct ak_cert *leaf = c->leaf;
    struct trust_window w;
    /* it may be on one of the CRLs */
    if (sk_X509_CRL_num(c->set->crls) > 0 || asks_for_more(leaf->x509))
        return false;
    AUTO(x509) X509 *ca = find_issuer(c, &w);
    EVP_PKEY *key = ca ? X509_get0_pubkey(ca) : NULL;
    if (!key || leaf->n_problems > 0 || c->at < leaf->not_before || c->at > leaf->not_after ||
        X509_verify(leaf->x509, key) != 1)
        return false;
    remember_leaf(c, narrow(w, leaf->x509));
    return true;
}

/* What the guest sent is material to build with; only a pinned root in it is an anchor. */
static bool add_sent(const struct attest_trust *t, const struct evidence *ev,
                     const struct x509path *m)
{
    for (size_t i = 0; i < ev->n_chain; i++) {
        AUTO(x509) X509 *x = x509_parse(ev->chain[i]);
        if (!x)
            return false;
        truststore_push(m->untrusted, x);
        if (truststore_is_pinned(t, x))
            truststore_push(m->trusted, x);
    }
    return true;
}

static struct path_fault check_long(const struct checking *c, bool keep, struct arena *a)
{
    struct x509path m = material_of(c->set, c->at);
    struct path_fault f = {.reason = "chain_invalid", .found = "a part is no certificate"};
    if (add_sent(c->t, c->ev, &m)) {
        AUTO(store_ctx) X509_STORE_CTX *ctx = x509path_begin(&m, c->leaf->x509);
        f = run(ctx, &m, a);
        if (!f.reason && keep)
            keep_path(c, X509_STORE_CTX_get0_chain(ctx));
    }
    material_free(&m);
    return f;
}

struct path_fault truststore_check_path(const struct attest_input *in, struct ak_cert *leaf,
                                        int64_t at, struct arena *a)
{
    if (!in->afresh && known_path(in, leaf, at))
        return (struct path_fault){0};
    AUTO(trust_set) struct trust_set *set = truststore_hold(in->trust);
    const struct checking c = {in->trust, set, in->evidence, leaf, at};
    if (!in->afresh && verify_short(&c))
        return (struct path_fault){0};
    return check_long(&c, !in->afresh, a);
}

static const char *text_path(X509_STORE_CTX *ctx, struct arena *a)
{
    STACK_OF(X509) *path = X509_STORE_CTX_get0_chain(ctx);
    const char *text = subject_of(a, sk_X509_value(path, 0));
    for (int i = 1; i < sk_X509_num(path); i++)
        text = arena_printf(a, "%s <- %s", text, subject_of(a, sk_X509_value(path, i)));
    return text;
}

struct path_fault truststore_verify(struct attest_trust *t, const struct trust_set *set, X509 *x,
                                    STACK_OF(X509) * untrusted, int64_t at, struct arena *a,
                                    const char **path)
{
    struct x509path m = material_of(set, at);
    for (int i = 0; i < sk_X509_num(untrusted); i++)
        truststore_push(m.untrusted, sk_X509_value(untrusted, i));
    for (int i = 0; i < sk_X509_num(m.untrusted); i++)
        if (truststore_is_pinned(t, sk_X509_value(m.untrusted, i)))
            truststore_push(m.trusted, sk_X509_value(m.untrusted, i));
    struct path_fault f;
    {
        AUTO(store_ctx) X509_STORE_CTX *ctx = x509path_begin(&m, x);
        f = run(ctx, &m, a);
        if (!f.reason && path)
            *path = text_path(ctx, a);
    }
    material_free(&m);
    return f;
}
