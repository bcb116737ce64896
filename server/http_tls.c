/*
 * The listener's certificate. It is looked up at each handshake, so that a renewed one counts without a
 * restart. The library's callback has no argument for us, hence the one variable of this file.
 */
#include "server/http_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <unistd.h>

#define PEM_MAX   (1024 * 1024)
#define CHAIN_MAX 16

/* Handshakes under way may still use the former ones, so each stays until the end: there are as many as the
 * operator put certificates in place since the start. */
struct http_tls {
    struct http_tls *former;
    struct buf cert, key; /* the files as they were read */
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned n;
    gnutls_privkey_t private;
};

static struct http_tls *_Atomic current;

static int retrieve(gnutls_session_t session, const gnutls_datum_t *cas, int n_cas,
                    const gnutls_pk_algorithm_t *algorithms, int n_algorithms,
                    gnutls_pcert_st **chain, unsigned *n, gnutls_privkey_t *private)
{
    struct http_tls *t = atomic_load(&current);
    *chain = t->chain;
    *n = t->n;
    *private = t->private;
    return 0;
}

void *http_tls_retrieve(void)
{
    union {
        gnutls_certificate_retrieve_function2 *fn;
        void *any;
    } as = {.fn = retrieve};
    return as.any;
}

static enum err read_pem(const char *path, struct buf *out, struct err_info *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : 1;
    while (n > 0 && out->len < PEM_MAX) {
        n = read(fd, buf_reserve(out, 4096), 4096);
        out->len += n > 0 ? (size_t)n : 0;
    }
    int why = errno;
    if (fd >= 0)
        close(fd);
    if (n > 0)
        return err_set(e, ERR_CONFIG, "cannot read %s: it is too large", path);
    return n < 0 ? err_set(e, ERR_CONFIG, "cannot read %s: %s", path, strerror(why)) : OK;
}

static gnutls_datum_t datum(const struct buf *b)
{
    return (gnutls_datum_t){(unsigned char *)b->data, (unsigned)b->len};
}

/* That the key is the certificate's is looked at by what takes both. */
static int match(const gnutls_datum_t *cert, const gnutls_datum_t *key)
{
    gnutls_certificate_credentials_t both;
    int err = gnutls_certificate_allocate_credentials(&both);
    if (err < 0)
        return err;
    err = gnutls_certificate_set_x509_key_mem(both, cert, key, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(both);
    return err;
}

static int take(struct http_tls *t)
{
    const gnutls_datum_t cert = datum(&t->cert), key = datum(&t->key);
    unsigned n = CHAIN_MAX;
    int err = match(&cert, &key);
    if (err < 0)
        return err;
    if ((err = gnutls_pcert_list_import_x509_raw(t->chain, &n, &cert, GNUTLS_X509_FMT_PEM, 0)) < 0)
        return err;
    t->n = n;
    if ((err = gnutls_privkey_init(&t->private)) < 0)
        return err;
    return gnutls_privkey_import_x509_raw(t->private, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
}

static void tls_free(struct http_tls *t)
{
    for (unsigned i = 0; i < t->n; i++)
        gnutls_pcert_deinit(&t->chain[i]);
    if (t->private)
        gnutls_privkey_deinit(t->private);
    buf_free(&t->cert);
    buf_free(&t->key);
    free(t);
}

static enum err tls_new(const struct http_config *c, struct http_tls **out, struct err_info *e)
{
    struct http_tls *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    enum err err = read_pem(c->tls_cert, &t->cert, e);
    if (!err)
        err = read_pem(c->tls_key, &t->key, e);
    int why = err ? 0 : take(t);
    if (why < 0)
        err = err_set(e, ERR_CONFIG, "%s and %s are no certificate and key: %s", c->tls_cert,
                      c->tls_key, gnutls_strerror(why));
    if (err)
        tls_free(t);
    else
        *out = t;
    return err;
}

enum err http_tls_open(struct http *h, struct err_info *e)
{
    const struct http_config *c = &h->config;
    if (!c->tls_cert != !c->tls_key)
        return err_set(e, ERR_CONFIG, "server.tls_cert and server.tls_key belong together");
    h->tls = c->tls_cert != NULL;
    return h->tls ? tls_new(c, &h->pair, e) : OK;
}

void http_tls_use(struct http *h)
{
    atomic_store(&current, h->pair);
}

static bool same(const struct buf *a, const struct buf *b)
{
    return a->data && b->data && a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

enum err http_reload(struct http *h, bool *changed, struct err_info *e)
{
    struct http_tls *t = NULL;
    *changed = false;
    if (!h->tls)
        return OK;
    enum err err = tls_new(&h->config, &t, e);
    if (err)
        return err;
    if (same(&t->cert, &h->pair->cert) && same(&t->key, &h->pair->key)) {
        tls_free(t);
        return OK;
    }
    t->former = h->pair;
    h->pair = t;
    http_tls_use(h);
    *changed = true;
    return OK;
}

void http_tls_close(struct http *h)
{
    while (h->pair) {
        struct http_tls *t = h->pair;
        h->pair = t->former;
        tls_free(t);
    }
}
