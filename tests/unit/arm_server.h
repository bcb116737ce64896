/*
 * A small HTTP server for the ARM client's tests: threads, TLS with a certificate made on the spot,
 * answers from a callback, every request kept. For one test program; not a model of Azure.
 */
#ifndef TESTS_UNIT_ARM_SERVER_H
#define TESTS_UNIT_ARM_SERVER_H

#include "core/buf.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERVER_SEEN_MAX 2048
#define SERVER_CONN_MAX 512

struct seen {
    char method[16];
    char target[2048];
    struct buf head; /* request line and headers */
    struct buf body;
};

struct answer {
    struct buf text; /* the whole response; empty: the connection is closed */
    int delay_ms;
};

struct server;
typedef void answer_fn(struct server *s, const struct seen *q, struct answer *a);

struct server {
    answer_fn *answer;
    void *ctx;
    int fd;
    int port;
    char url[64];
    char ca_file[128]; /* empty without TLS */
    SSL_CTX *tls;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    int conns[SERVER_CONN_MAX];
    size_t n_conns; /* open */
    size_t accepted;
    struct seen *seen[SERVER_SEEN_MAX];
    size_t n_seen;
};

struct conn {
    struct server *server;
    int fd;
    SSL *tls;
};

/* ---- certificate ---- */

static EVP_PKEY *server_cert(X509 **out, const char *san)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509V3_CTX ctx;
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, key);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    const int nids[] = {NID_basic_constraints, NID_subject_alt_name};
    const char *values[] = {"critical,CA:TRUE", san};
    for (int i = 0; i < 2; i++) {
        X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nids[i], values[i]);
        X509_add_ext(x, ext, -1);
        X509_EXTENSION_free(ext);
    }
    X509_sign(x, key, EVP_sha256());
    *out = x;
    return key;
}

static void server_tls(struct server *s, const char *san)
{
    X509 *cert;
    EVP_PKEY *key = server_cert(&cert, san);
    const char *dir = getenv("TMPDIR");
    s->tls = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate(s->tls, cert);
    SSL_CTX_use_PrivateKey(s->tls, key);
    snprintf(s->ca_file, sizeof s->ca_file, "%s/arm-test-XXXXXX", dir ? dir : "/tmp");
    FILE *f = fdopen(mkstemp(s->ca_file), "w");
    PEM_write_X509(f, cert);
    fclose(f);
    X509_free(cert);
    EVP_PKEY_free(key);
}

/* ---- one connection ---- */

static int conn_read(struct conn *c, char *to, size_t n)
{
    return c->tls ? SSL_read(c->tls, to, (int)n) : (int)read(c->fd, to, n);
}

static void conn_write(struct conn *c, const char *from, size_t n)
{
    while (n) {
        int got =
            c->tls ? SSL_write(c->tls, from, (int)n) : (int)send(c->fd, from, n, MSG_NOSIGNAL);
        if (got <= 0)
            return;
        from += got;
        n -= (size_t)got;
    }
}

/* The value of a header, up to its line's end, in a static-size copy; "" where absent. */
static void seen_header(const struct seen *q, const char *name, char *out, size_t size)
{
    out[0] = '\0';
    size_t n = strlen(name);
    for (const char *line = strstr(q->head.data, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        const char *at = line + 2;
        if (strncasecmp(at, name, n) != 0 || at[n] != ':')
            continue;
        at += n + 1;
        at += strspn(at, " ");
        snprintf(out, size, "%.*s", (int)strcspn(at, "\r"), at);
        return;
    }
}

static bool conn_request(struct conn *c, struct seen *q)
{
    char byte;
    while (!q->head.len || !strstr(q->head.data, "\r\n\r\n")) {
        if (conn_read(c, &byte, 1) != 1)
            return false;
        buf_add_char(&q->head, byte);
    }
    char length[32];
    sscanf(q->head.data, "%15s %2047s", q->method, q->target);
    seen_header(q, "Content-Length", length, sizeof length);
    buf_add(&q->body, "", 0);
    for (long left = strtol(length, NULL, 10); left > 0;) {
        char part[4096];
        int n = conn_read(c, part, left < 4096 ? (size_t)left : 4096);
        if (n <= 0)
            return false;
        buf_add(&q->body, part, (size_t)n);
        left -= n;
    }
    return true;
}

static void seen_free(struct seen *q)
{
    buf_free(&q->head);
    buf_free(&q->body);
    free(q);
}

static bool conn_exchange(struct conn *c)
{
    struct server *s = c->server;
    struct answer a = {0};
    struct seen *q = calloc(1, sizeof *q);
    if (!conn_request(c, q)) {
        seen_free(q);
        return false;
    }
    pthread_mutex_lock(&s->lock);
    if (s->n_seen == SERVER_SEEN_MAX)
        abort();
    s->seen[s->n_seen++] = q;
    s->answer(s, q, &a);
    pthread_mutex_unlock(&s->lock);
    if (a.delay_ms)
        usleep((unsigned)a.delay_ms * 1000);
    bool more = a.text.len > 0;
    if (more)
        conn_write(c, a.text.data, a.text.len);
    buf_free(&a.text);
    return more;
}

static void *conn_run(void *ctx)
{
    struct conn *c = ctx;
    struct server *s = c->server;
    bool up = !c->tls || SSL_accept(c->tls) == 1;
    while (up && conn_exchange(c))
        ;
    SSL_free(c->tls);
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < SERVER_CONN_MAX; i++)
        if (s->conns[i] == c->fd)
            s->conns[i] = -1;
    close(c->fd);
    s->n_conns--;
    pthread_cond_signal(&s->idle);
    pthread_mutex_unlock(&s->lock);
    free(c);
    return NULL;
}

/* ---- the server ---- */

static void server_accept(struct server *s, int fd)
{
    pthread_t t;
    struct conn *c = calloc(1, sizeof *c);
    c->server = s;
    c->fd = fd;
    if (s->tls) {
        c->tls = SSL_new(s->tls);
        SSL_set_fd(c->tls, fd);
    }
    pthread_mutex_lock(&s->lock);
    size_t i = 0;
    while (i < SERVER_CONN_MAX && s->conns[i] >= 0)
        i++;
    if (i == SERVER_CONN_MAX)
        abort();
    s->conns[i] = fd;
    s->n_conns++;
    s->accepted++;
    pthread_mutex_unlock(&s->lock);
    if (pthread_create(&t, NULL, conn_run, c) != 0)
        abort();
    pthread_detach(t);
}

static void *server_run(void *ctx)
{
    struct server *s = ctx;
    int fd;
    while ((fd = accept(s->fd, NULL, NULL)) >= 0)
        server_accept(s, fd);
    return NULL;
}

/* san NULL: plain HTTP. */
static struct server *server_start(answer_fn *answer, void *ctx, const char *san)
{
    struct server *s = calloc(1, sizeof *s);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    s->answer = answer;
    s->ctx = ctx;
    memset(s->conns, 0xff, sizeof s->conns);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    if (san)
        server_tls(s, san);
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(s->fd, (struct sockaddr *)&at, n) != 0 || listen(s->fd, 256) != 0 ||
        getsockname(s->fd, (struct sockaddr *)&at, &n) != 0)
        abort();
    s->port = ntohs(at.sin_port);
    snprintf(s->url, sizeof s->url, "%s://127.0.0.1:%d", san ? "https" : "http", s->port);
    pthread_create(&s->thread, NULL, server_run, s);
    return s;
}

static void server_stop(struct server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < SERVER_CONN_MAX; i++)
        if (s->conns[i] >= 0)
            shutdown(s->conns[i], SHUT_RDWR);
    while (s->n_conns)
        pthread_cond_wait(&s->idle, &s->lock);
    pthread_mutex_unlock(&s->lock);
    close(s->fd);
    for (size_t i = 0; i < s->n_seen; i++)
        seen_free(s->seen[i]);
    SSL_CTX_free(s->tls);
    if (s->ca_file[0])
        unlink(s->ca_file);
    free(s);
}

/* How many requests were seen whose target starts so. */
static size_t server_count(struct server *s, const char *prefix)
{
    size_t n = 0;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n_seen; i++)
        n += strncmp(s->seen[i]->target, prefix, strlen(prefix)) == 0;
    pthread_mutex_unlock(&s->lock);
    return n;
}

PRINTF(4, 5)
static void answer_json(struct answer *a, int status, const char *headers, const char *fmt, ...)
{
    struct buf body = {0};
    va_list ap;
    char text[4096];
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_add_str(&body, text);
    buf_printf(&a->text,
               "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n%s",
               status, body.len, headers, body.data);
    buf_free(&body);
}

#endif
