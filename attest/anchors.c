#include "attest/anchors.h"

#include "attest/truststore.h"
#include "attest/x509path.h"

#include <openssl/err.h>

struct attest_anchors {
    struct attest_trust *trust;
    bool any;
};

enum err attest_anchors_open(const struct attest_anchors_options *o, struct attest_anchors **out,
                             struct err_info *e)
{
    struct attest_anchors *t = calloc(1, sizeof *t);
    const struct attest_trust_options options = {.anchors = o->files,
                                                 .n_anchors = o->n_files,
                                                 .trust_dir = o->n_files ? o->dir : NULL,
                                                 .only_named = true};
    if (!t)
        abort();
    t->any = o->n_files > 0;
    enum err err = attest_trust_open(&options, &t->trust, e);
    if (err) {
        attest_anchors_free(t);
        return err;
    }
    *out = t;
    return OK;
}

enum err attest_anchors_reload(struct attest_anchors *t, bool *changed, struct err_info *e)
{
    return attest_trust_reload(t->trust, changed, e);
}

void attest_anchors_free(struct attest_anchors *t)
{
    if (!t)
        return;
    attest_trust_free(t->trust);
    free(t);
}

bool attest_anchors_any(const struct attest_anchors *t)
{
    return t && t->any;
}

static enum anchors_path path_of(const struct x509path *path, X509 *leaf)
{
    AUTO(store_ctx) X509_STORE_CTX *ctx = x509path_begin(path, leaf);
    if (X509_verify_cert(ctx) == 1)
        return ANCHORS_TRUSTED;
    int why = X509_STORE_CTX_get_error(ctx);
    bool time = why == X509_V_ERR_CERT_HAS_EXPIRED || why == X509_V_ERR_CERT_NOT_YET_VALID;
    return time ? ANCHORS_EXPIRED : ANCHORS_NONE;
}

enum anchors_path attest_anchors_check(const struct attest_anchors *t, X509 *leaf,
                                       const STACK_OF(X509) * sent, int64_t at)
{
    AUTO(trust_set) struct trust_set *set = truststore_hold(t->trust);
    STACK_OF(X509) *untrusted = truststore_copy(set->intermediates);
    for (int i = 0; i < sk_X509_num(sent); i++)
        truststore_push(untrusted, sk_X509_value(sent, i));
    const struct x509path path = {
        .trusted = set->anchors, .untrusted = untrusted, .crls = set->crls, .at = at};
    enum anchors_path found = path_of(&path, leaf);
    truststore_free_stack(untrusted);
    ERR_clear_error();
    return found;
}
