/* The client against a TLS server of the test's own: what goes out, what comes back, what is held. */
#include "arm/arm.h"
#include "core/cleanup.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "tests/unit/arm_server.h"

#define SUB      "00000000-0000-0000-0000-000000000001"
#define SUB2     "00000000-0000-0000-0000-000000000002"
#define SECRET   "client-secret-canary"
#define TOKEN    "token-canary"
#define SAN      "IP:127.0.0.1"
#define RESOURCE "/subscriptions/" SUB "/resourceGroups/rg?api-version=2025-04-01"

AUTO_DEFINE(reply, struct arm_reply *, arm_reply_free)

/* ---- a clock that can be pushed forward ---- */

static _Atomic int64_t clock_ahead;

static int64_t wall_now(void *ctx)
{
    return clock_wall(&clock_system) + atomic_load(&clock_ahead);
}

static int64_t mono_now(void *ctx)
{
    return clock_mono(&clock_system) + atomic_load(&clock_ahead);
}

static const struct clock test_clock = {.wall_ms = wall_now, .mono_ms = mono_now};

/* ---- waiting for replies ---- */

struct inbox {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct arm_reply *replies[512];
    size_t n;
};

static void inbox_add(void *ctx, struct arm_reply *r)
{
    struct inbox *in = ctx;
    pthread_mutex_lock(&in->lock);
    in->replies[in->n++] = r;
    pthread_cond_signal(&in->more);
    pthread_mutex_unlock(&in->lock);
}

static void inbox_wait(struct inbox *in, size_t n)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 30;
    pthread_mutex_lock(&in->lock);
    while (in->n < n)
        assert_int_equal(pthread_cond_timedwait(&in->more, &in->lock, &until), 0);
    pthread_mutex_unlock(&in->lock);
}

static void inbox_init(struct inbox *in)
{
    memset(in, 0, sizeof *in);
    pthread_mutex_init(&in->lock, NULL);
    pthread_cond_init(&in->more, NULL);
}

/* All tests run twice: the second time GETs go as polls do. */
static bool as_polls;

static struct arm_reply *call(struct arm *arm, const struct arm_request *q)
{
    struct inbox in;
    struct arm_request req = *q;
    req.poll = as_polls;
    inbox_init(&in);
    arm_send(arm, &req, inbox_add, &in);
    inbox_wait(&in, 1);
    return in.replies[0];
}

static struct arm_reply *get(struct arm *arm, const char *subscription, const char *target)
{
    return call(arm, &(struct arm_request){
                         .method = ARM_GET, .subscription = subscription, .target = target});
}

/* ---- the server's side ---- */

struct script {
    unsigned tokens; /* given so far */
    int64_t token_ttl;
    const char *arm_headers;
    int arm_status;
    const char *arm_body;
    int delay_ms;
    unsigned token_errors; /* answer this many token requests with token_error */
    int token_error_status;
    const char *token_error;
    unsigned refuse_tokens; /* 401 for tokens up to this number */
    unsigned throttle;      /* answer this many ARM requests with 429 */
    const char *throttle_headers;
    int bucket; /* with has_bucket: writes left, told with every answer */
    bool has_bucket;
    int64_t blocked_until;
    unsigned early; /* calls before Retry-After was over */
};

static void answer_token(struct script *p, struct answer *a, bool imds)
{
    if (p->token_errors) {
        p->token_errors--;
        answer_json(a, p->token_error_status, "", "%s", p->token_error);
        return;
    }
    p->tokens++;
    answer_json(a, 200, "",
                imds ? "{\"access_token\":\"" TOKEN "-%u\",\"expires_in\":\"%lld\","
                       "\"expires_on\":\"1\",\"token_type\":\"Bearer\",\"resource\":\"r\"}"
                     : "{\"token_type\":\"Bearer\",\"access_token\":\"" TOKEN
                       "-%u\",\"expires_in\":%lld,\"ext_expires_in\":3599}",
                p->tokens, (long long)(p->token_ttl ? p->token_ttl : 3600));
}

/* A bucket that is not refilled: when it is empty it says so once, for 30 s. */
static void answer_from_bucket(struct script *p, struct answer *a)
{
    char left[80];
    int64_t now = clock_mono(&test_clock);
    p->early += now < p->blocked_until;
    if (p->bucket > 0) {
        snprintf(left, sizeof left, "x-ms-ratelimit-remaining-subscription-writes: %d\r\n",
                 --p->bucket);
        answer_json(a, 200, left, "{}");
        return;
    }
    p->blocked_until = now + 30000;
    answer_json(a, 429, "Retry-After: 30\r\n", "{}");
}

static void answer_arm(struct script *p, const struct seen *q, struct answer *a)
{
    char bearer[128];
    unsigned token = 0;
    seen_header(q, "Authorization", bearer, sizeof bearer);
    if (sscanf(bearer, "Bearer " TOKEN "-%u", &token) != 1 || token <= p->refuse_tokens) {
        answer_json(
            a, 401, "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n",
            "{\"error\":{\"code\":\"ExpiredAuthenticationToken\",\"message\":\"expired\"}}");
        return;
    }
    if (p->throttle) {
        p->throttle--;
        answer_json(
            a, 429, p->throttle_headers ? p->throttle_headers : "",
            "{\"error\":{\"code\":\"SubscriptionRequestsThrottled\",\"message\":\"slow\"}}");
        return;
    }
    a->delay_ms = p->delay_ms;
    if (p->has_bucket) {
        answer_from_bucket(p, a);
        return;
    }
    answer_json(a, p->arm_status ? p->arm_status : 200, p->arm_headers ? p->arm_headers : "", "%s",
                p->arm_body ? p->arm_body : "{\"name\":\"rg\"}");
}

static void answer(struct server *s, const struct seen *q, struct answer *a)
{
    struct script *p = s->ctx;
    bool imds = strncmp(q->target, "/metadata/", 10) == 0;
    if (strstr(q->target, "/oauth2/v2.0/token") || imds)
        answer_token(p, a, imds);
    else if (strstr(q->target, "drop"))
        return;
    else if (strstr(q->target, "chunked"))
        buf_add_str(&a->text, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nRetry-After: 3\r\n"
                              "\r\n4;x=y\r\n{\"a\"\r\n3\r\n:1}\r\n0\r\nTrailer: t\r\n\r\n");
    else if (strstr(q->target, "huge"))
        buf_printf(&a->text, "HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n%05000000d", 0);
    else
        answer_arm(p, q, a);
}

/* ---- one server and one client per test ---- */

struct bench {
    struct script script;
    struct server *server;
    struct arm *arm;
    struct arm_identity identity;
    struct arm_config config;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    atomic_store(&clock_ahead, 0);
    b->server = server_start(answer, &b->script, SAN);
    b->identity = (struct arm_identity){
        .name = "main",
        .kind = ARM_CLIENT_SECRET,
        .tenant_id = "tenant-a",
        .client_id = "client-a",
        .client_secret = {SECRET, strlen(SECRET)},
        .endpoint = b->server->url,
        .authority = b->server->url,
    };
    b->config = (struct arm_config){
        .identities = &b->identity,
        .n_identities = 1,
        .ca_file = b->server->ca_file,
        .proxy = "",
        .clock = &test_clock,
    };
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    arm_stop(b->arm);
    server_stop(b->server);
    free(b);
    return 0;
}

static struct arm *start(struct bench *b)
{
    struct err_info e = {0};
    if (arm_start(&b->config, &b->arm, &e) != OK)
        fail_msg("arm_start: %s", e.detail);
    return b->arm;
}

static const struct seen *last_seen(struct bench *b)
{
    return b->server->seen[b->server->n_seen - 1];
}

/* The nth request to that target, from 1 on. */
static const struct seen *seen_nth(struct server *s, const char *target, int n)
{
    const struct seen *found = NULL;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n_seen && n; i++)
        if (strcmp(s->seen[i]->target, target) == 0 && !--n)
            found = s->seen[i];
    pthread_mutex_unlock(&s->lock);
    assert_non_null(found);
    return found;
}

static void expect_header(const struct seen *q, const char *name, const char *want)
{
    char got[512];
    seen_header(q, name, got, sizeof got);
    if (strcmp(got, want) != 0)
        fail_msg("header %s is \"%s\", not \"%s\"", name, got, want);
}

/* ---- requests and replies ---- */

static void test_get(void **state)
{
    struct bench *b = *state;
    b->script.arm_headers = "Azure-AsyncOperation: https://x/op\r\nLocation: https://x/loc\r\n"
                            "Retry-After: 7\r\nx-ms-request-id: req-1\r\nETag: \"e1\"\r\n"
                            "x-ms-ratelimit-remaining-subscription-reads: 249\r\n"
                            "x-ms-ratelimit-remaining-subscription-global-reads: 3749\r\n";
    AUTO(reply) struct arm_reply *r = get(start(b), SUB, RESOURCE);
    assert_int_equal(r->failure, ARM_FAIL_NONE);
    assert_int_equal(r->status, 200);
    assert_string_equal((const char *)r->body.data, "{\"name\":\"rg\"}");
    assert_string_equal(r->async_operation, "https://x/op");
    assert_string_equal(r->location, "https://x/loc");
    assert_string_equal(r->request_id, "req-1");
    assert_string_equal(r->etag, "\"e1\"");
    assert_string_equal(r->content_type, "application/json");
    assert_int_equal(r->retry_after_ms, 7000);
    assert_int_equal(r->remaining_reads, 249);
    assert_int_equal(r->remaining_writes, -1);
    struct arm_bucket bucket;
    assert_int_equal(arm_buckets(b->arm, &bucket, 1), 1);
    assert_string_equal(bucket.subscription, SUB);
    assert_int_equal(bucket.remaining[ARM_OP_READ], 249);
    assert_int_equal(bucket.remaining[ARM_OP_WRITE], -1);
}

static void test_token_request(void **state)
{
    struct bench *b = *state;
    b->identity.client_secret = (struct secret){"a+b&c=d /~", 10};
    AUTO(reply) struct arm_reply *r = get(start(b), SUB, RESOURCE);
    const struct seen *q = b->server->seen[0];
    assert_string_equal(q->method, "POST");
    assert_string_equal(q->target, "/tenant-a/oauth2/v2.0/token");
    expect_header(q, "Content-Type", "application/x-www-form-urlencoded");
    assert_string_equal(q->body.data,
                        "client_id=client-a&scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
                        "&grant_type=client_credentials&client_secret=a%2Bb%26c%3Dd%20%2F~");
    assert_int_equal(r->status, 200);
}

static void test_put(void **state)
{
    struct bench *b = *state;
    const char *body = "{\"location\":\"westeurope\"}";
    const struct arm_request q = {
        .method = ARM_PUT,
        .subscription = SUB,
        .target = RESOURCE,
        .body = BYTES_STR(body),
        .client_request_id = "id-1",
        .correlation_id = "corr-1",
        .traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        .if_none_match = "*",
    };
    b->script.arm_status = 201;
    AUTO(reply) struct arm_reply *r = call(start(b), &q);
    assert_int_equal(r->status, 201);
    const struct seen *got = last_seen(b);
    assert_string_equal(got->method, "PUT");
    assert_string_equal(got->target, RESOURCE);
    assert_string_equal(got->body.data, body);
    expect_header(got, "Authorization", "Bearer " TOKEN "-1");
    expect_header(got, "Content-Type", "application/json");
    expect_header(got, "Accept", "application/json");
    expect_header(got, "x-ms-client-request-id", "id-1");
    expect_header(got, "x-ms-correlation-request-id", "corr-1");
    expect_header(got, "traceparent", q.traceparent);
    expect_header(got, "If-None-Match", "*");
    expect_header(got, "If-Match", "");
    expect_header(got, "Expect", "");
}

static void test_methods_without_body(void **state)
{
    static const struct {
        enum arm_method method;
        const char *name;
        const char *length;
    } rows[] = {{ARM_POST, "POST", "0"},
                {ARM_PUT, "PUT", "0"},
                {ARM_DELETE, "DELETE", ""},
                {ARM_GET, "GET", ""}};
    struct bench *b = *state;
    char id[64];
    start(b);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(reply)
        struct arm_reply *r =
            call(b->arm, &(struct arm_request){
                             .method = rows[i].method, .subscription = SUB, .target = RESOURCE});
        assert_int_equal(r->status, 200);
        assert_string_equal(last_seen(b)->method, rows[i].name);
        expect_header(last_seen(b), "Content-Length", rows[i].length);
        expect_header(last_seen(b), "Content-Type", "");
        seen_header(last_seen(b), "x-ms-client-request-id", id, sizeof id);
        assert_true(uuid_valid(id));
    }
}

static void test_poll_url_goes_out_as_given(void **state)
{
    struct bench *b = *state;
    char url[256];
    snprintf(url, sizeof url, "%s/subscriptions/x/../y//op%%2F1?monitor=true&c=a%%20b&t=638",
             b->server->url);
    AUTO(reply) struct arm_reply *r = get(start(b), SUB, url);
    assert_int_equal(r->status, 200);
    assert_string_equal(last_seen(b)->target, strstr(url, "/subscriptions"));
}

static void test_redirect_is_not_followed(void **state)
{
    struct bench *b = *state;
    b->script.arm_status = 307;
    b->script.arm_headers = "Location: /elsewhere\r\n";
    AUTO(reply) struct arm_reply *r = get(start(b), SUB, RESOURCE);
    assert_int_equal(r->status, 307);
    assert_int_equal(server_count(b->server, "/elsewhere"), 0);
}

static void test_refused_targets(void **state)
{
    struct bench *b = *state;
    char other_port[128];
    char plain[128];
    snprintf(other_port, sizeof other_port, "https://127.0.0.1:%d/x", b->server->port + 1);
    snprintf(plain, sizeof plain, "http://127.0.0.1:%d/x", b->server->port);
    const char *const targets[] = {
        "https://evil.example/x", other_port,      plain, "", "x", "/a b", "/a\r\nX: y",
        "@evil.example/",         ".evil.example/"};
    start(b);
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        AUTO(reply) struct arm_reply *r = get(b->arm, SUB, targets[i]);
        assert_int_equal(r->failure, ARM_FAIL_REFUSED);
    }
    AUTO(reply)
    struct arm_reply *r = call(b->arm, &(struct arm_request){.target = RESOURCE,
                                                             .subscription = SUB,
                                                             .client_request_id = "a\r\nX: y"});
    assert_int_equal(r->failure, ARM_FAIL_REFUSED);
    assert_int_equal(b->server->accepted, 0);
}

/* ---- failures ---- */

static void test_body_cap(void **state)
{
    struct bench *b = *state;
    AUTO(reply) struct arm_reply *r = get(start(b), SUB, "/huge");
    assert_int_equal(r->failure, ARM_FAIL_TOO_LARGE);
    assert_int_equal(r->status, 0);
}

static void test_dropped(void **state)
{
    struct bench *b = *state;
    start(b);
    AUTO(reply) struct arm_reply *r = get(b->arm, SUB, "/drop");
    assert_int_equal(r->failure, ARM_FAIL_BROKEN);
    /* On a connection that was used before, a PUT may be repeated by curl, a POST must not be. */
    AUTO(reply) struct arm_reply *ok = get(b->arm, SUB, RESOURCE);
    assert_int_equal(ok->status, 200);
    AUTO(reply)
    struct arm_reply *post = call(
        b->arm,
        &(struct arm_request){.method = ARM_POST, .subscription = SUB, .target = "/drop-post"});
    assert_int_equal(post->failure, ARM_FAIL_BROKEN);
    assert_int_equal(server_count(b->server, "/drop-post"), 1);
}

static void close_connections(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < SERVER_CONN_MAX; i++)
        if (s->conns[i] >= 0)
            shutdown(s->conns[i], SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
}

/* A connection is kept from one poll to the next; one that the server has closed since costs nothing but
 * a new one. */
static void test_kept_connection(void **state)
{
    struct bench *b = *state;
    start(b);
    for (int i = 0; i < 5; i++) {
        AUTO(reply) struct arm_reply *r = get(b->arm, SUB, RESOURCE);
        assert_int_equal(r->status, 200);
    }
    struct arm_stats s;
    arm_stats(b->arm, &s);
    assert_true(s.connections <= 2); /* the token's, and this */
    close_connections(b->server);
    AUTO(reply) struct arm_reply *again = get(b->arm, SUB, RESOURCE);
    assert_int_equal(again->status, 200);
    assert_int_equal(server_count(b->server, RESOURCE), 6);
}

static void test_chunks(void **state)
{
    struct bench *b = *state;
    AUTO(reply) struct arm_reply *r = get(start(b), SUB, "/chunked");
    assert_int_equal(r->status, 200);
    assert_string_equal((const char *)r->body.data, "{\"a\":1}");
    assert_int_equal(r->retry_after_ms, 3000);
}

static void test_timeout(void **state)
{
    struct bench *b = *state;
    b->script.delay_ms = 1500;
    start(b);
    AUTO(reply)
    struct arm_reply *r = call(
        b->arm, &(struct arm_request){.target = RESOURCE, .subscription = SUB, .timeout_ms = 300});
    assert_int_equal(r->failure, ARM_FAIL_TIMEOUT);
    assert_true(r->duration_ms >= 300 && r->duration_ms < 1400);
}

static void test_no_listener(void **state)
{
    struct bench *b = *state;
    AUTO(reply) struct arm_reply *ok = get(start(b), SUB, RESOURCE);
    struct server *gone = server_start(answer, &b->script, SAN);
    char url[64];
    snprintf(url, sizeof url, "%s", gone->url);
    server_stop(gone);
    arm_stop(b->arm);
    b->identity.endpoint = url;
    AUTO(reply) struct arm_reply *r = get(start(b), SUB, RESOURCE);
    assert_int_equal(ok->status, 200);
    assert_int_equal(r->failure, ARM_FAIL_CONNECT);
}

static void expect_tls_failure(struct bench *b, const char *ca_file, const char *endpoint)
{
    b->config.ca_file = ca_file;
    b->identity.endpoint = endpoint;
    AUTO(reply) struct arm_reply *r = get(start(b), SUB, RESOURCE);
    assert_int_equal(r->failure, ARM_FAIL_TLS);
    arm_stop(b->arm);
    b->arm = NULL;
}

static void test_tls_is_verified(void **state)
{
    struct bench *b = *state;
    struct server *other = server_start(answer, &b->script, "DNS:other.example");
    struct server *unknown = server_start(answer, &b->script, SAN);
    char bundle[160];
    snprintf(bundle, sizeof bundle, "%s.both", other->ca_file);
    FILE *out = fopen(bundle, "w");
    const char *const files[] = {b->server->ca_file, other->ca_file};
    for (size_t i = 0; i < 2; i++) {
        FILE *in = fopen(files[i], "r");
        for (int c; (c = fgetc(in)) != EOF;)
            fputc(c, out);
        fclose(in);
    }
    fclose(out);
    expect_tls_failure(b, b->server->ca_file, unknown->url); /* an unknown issuer */
    expect_tls_failure(b, bundle, other->url);               /* known, but another host's */
    assert_int_equal(server_count(other, "/") + server_count(unknown, "/"), 0);
    unlink(bundle);
    server_stop(unknown);
    server_stop(other);
}

/* ---- tokens ---- */

static void test_one_token_for_many(void **state)
{
    struct bench *b = *state;
    struct inbox in;
    inbox_init(&in);
    b->config.max_in_flight = 8;
    b->script.delay_ms = 5;
    start(b);
    const struct arm_request q = {.subscription = SUB, .target = RESOURCE};
    for (int i = 0; i < 200; i++)
        arm_send(b->arm, &q, inbox_add, &in);
    inbox_wait(&in, 200);
    for (size_t i = 0; i < 200; i++) {
        assert_int_equal(in.replies[i]->status, 200);
        arm_reply_free(in.replies[i]);
    }
    assert_int_equal(b->script.tokens, 1);
    assert_int_equal(server_count(b->server, "/subscriptions"), 200);
    assert_in_range(b->server->accepted, 1, 9); /* connections are kept: 8 and the token's */
}

static void test_401_drops_the_token_once(void **state)
{
    struct bench *b = *state;
    b->script.refuse_tokens = 1;
    AUTO(reply) struct arm_reply *r = get(start(b), SUB, RESOURCE);
    assert_int_equal(r->status, 200);
    assert_int_equal(b->script.tokens, 2);
    assert_int_equal(server_count(b->server, "/subscriptions"), 2);
}

static void test_401_again_is_the_answer(void **state)
{
    struct bench *b = *state;
    b->script.refuse_tokens = 100;
    AUTO(reply) struct arm_reply *r = get(start(b), SUB, RESOURCE);
    assert_int_equal(r->status, 401);
    assert_int_equal(server_count(b->server, "/subscriptions"), 2);
    struct arm_outcome o;
    arm_classify(r, &o);
    assert_int_equal(o.class, ARM_CLASS_AUTH);
    assert_string_equal(o.code, "ExpiredAuthenticationToken");
}

static void test_refresh_ahead(void **state)
{
    struct bench *b = *state;
    AUTO(reply) struct arm_reply *first = get(start(b), SUB, RESOURCE);
    atomic_store(&clock_ahead, 3000 * 1000); /* 83 % of an hour: still valid, time to refresh */
    AUTO(reply) struct arm_reply *second = get(b->arm, SUB, RESOURCE);
    expect_header(seen_nth(b->server, RESOURCE, 2), "Authorization", "Bearer " TOKEN "-1");
    for (int i = 0; i < 200 && server_count(b->server, "/tenant-a") < 2; i++)
        usleep(20000);
    usleep(200000);
    AUTO(reply) struct arm_reply *third = get(b->arm, SUB, RESOURCE);
    expect_header(last_seen(b), "Authorization", "Bearer " TOKEN "-2");
    assert_int_equal(b->script.tokens, 2);
    assert_int_equal(first->status + second->status + third->status, 600);
}

static void test_expired_token_is_not_sent(void **state)
{
    struct bench *b = *state;
    AUTO(reply) struct arm_reply *first = get(start(b), SUB, RESOURCE);
    atomic_store(&clock_ahead, 3600 * 1000);
    AUTO(reply) struct arm_reply *second = get(b->arm, SUB, RESOURCE);
    expect_header(last_seen(b), "Authorization", "Bearer " TOKEN "-2");
    assert_int_equal(first->status + second->status, 400);
}

static void test_wrong_secret(void **state)
{
    struct bench *b = *state;
    b->script.token_errors = 1000;
    b->script.token_error_status = 401;
    b->script.token_error =
        "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: Invalid client "
        "secret provided.\\r\\nTrace ID: 1\\r\\nTimestamp: 2\",\"error_codes\":[7000215]}";
    start(b);
    for (int i = 0; i < 20; i++) {
        AUTO(reply) struct arm_reply *r = get(b->arm, SUB, RESOURCE);
        assert_int_equal(r->failure, ARM_FAIL_TOKEN);
        assert_string_equal(r->failure_code, "AADSTS7000215");
        assert_non_null(strstr(r->detail, "Invalid client secret provided."));
        assert_null(strstr(r->detail, "Trace"));
        assert_null(strstr(r->detail, SECRET));
        struct arm_outcome o;
        struct err_info e = {0};
        arm_classify(r, &o);
        assert_int_equal(o.class, ARM_CLASS_AUTH);
        assert_int_equal(arm_outcome_err(&o, &e), ERR_UPSTREAM_FORBIDDEN);
        assert_non_null(strstr(e.remedy, "secret"));
    }
    assert_int_equal(b->server->n_seen, 1); /* Entra is not asked for each of them */
    b->script.token_errors = 0;
    atomic_store(&clock_ahead, 6000);
    AUTO(reply) struct arm_reply *r = get(b->arm, SUB, RESOURCE);
    assert_int_equal(r->status, 200); /* the secret was put right */
}

static void test_busy_token_endpoint(void **state)
{
    struct bench *b = *state;
    b->script.token_errors = 1;
    b->script.token_error_status = 503;
    b->script.token_error = "{\"error\":\"temporarily_unavailable\"}";
    AUTO(reply) struct arm_reply *r = get(start(b), SUB, RESOURCE);
    assert_int_equal(r->status, 200);
    assert_int_equal(server_count(b->server, "/tenant-a"), 2);
    struct arm_stats s;
    arm_stats(b->arm, &s);
    assert_int_equal(s.token_fails, 1);
}

static void test_token_wait_ends_with_the_request(void **state)
{
    struct bench *b = *state;
    b->script.token_errors = 1000;
    b->script.token_error_status = 500;
    b->script.token_error = "oops";
    start(b);
    AUTO(reply)
    struct arm_reply *r = call(
        b->arm, &(struct arm_request){.subscription = SUB, .target = RESOURCE, .timeout_ms = 600});
    assert_int_equal(r->failure, ARM_FAIL_TOKEN_RETRY);
    assert_true(r->duration_ms < 2000);
    assert_non_null(strstr(r->detail, "500"));
}

static void test_managed_identity(void **state)
{
    struct bench *b = *state;
    struct server *imds = server_start(answer, &b->script, NULL);
    b->identity = (struct arm_identity){.name = "vm",
                                        .kind = ARM_MANAGED_IDENTITY,
                                        .client_id = "user-assigned",
                                        .endpoint = b->server->url};
    b->config.imds_endpoint = imds->url;
    b->config.proxy = "http://127.0.0.1:9"; /* IMDS is never asked through a proxy */
    b->script.token_errors = 1;
    b->script.token_error_status = 404;
    b->script.token_error = "{\"error\":\"not_found\"}";
    struct arm *arm = start(b);
    AUTO(reply) struct arm_reply *through_proxy = get(arm, SUB, RESOURCE);
    assert_int_equal(through_proxy->failure, ARM_FAIL_CONNECT);
    assert_int_equal(server_count(imds, "/metadata/identity/oauth2/token"), 2);
    const struct seen *q = imds->seen[1];
    assert_string_equal(q->method, "GET");
    assert_string_equal(q->target,
                        "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A"
                        "%2F%2Fmanagement.azure.com&client_id=user-assigned");
    expect_header(q, "Metadata", "true");
    arm_stop(arm);
    b->config.proxy = "";
    AUTO(reply) struct arm_reply *r = get(start(b), SUB, RESOURCE);
    assert_int_equal(r->status, 200);
    server_stop(imds);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
}

static void test_workload_identity(void **state)
{
    struct bench *b = *state;
    char path[160];
    snprintf(path, sizeof path, "%s.jwt", b->server->ca_file);
    write_file(path, "assertion-1\n");
    b->identity = (struct arm_identity){
        .name = "pod",
        .kind = ARM_WORKLOAD_IDENTITY,
        .tenant_id = "tenant-w",
        .client_id = "client-w",
        .federated_token_file = path,
        .endpoint = b->server->url,
        .authority = b->server->url,
    };
    b->script.token_ttl = 100;
    AUTO(reply) struct arm_reply *first = get(start(b), SUB, RESOURCE);
    assert_string_equal(
        b->server->seen[0]->body.data,
        "client_id=client-w&scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
        "&grant_type=client_credentials&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3A"
        "client-assertion-type%3Ajwt-bearer&client_assertion=assertion-1");
    write_file(path, "assertion-2"); /* the kubelet rotates it */
    atomic_store(&clock_ahead, 101 * 1000);
    AUTO(reply) struct arm_reply *second = get(b->arm, SUB, RESOURCE);
    assert_non_null(strstr(b->server->seen[2]->body.data, "client_assertion=assertion-2"));
    unlink(path);
    atomic_store(&clock_ahead, 300 * 1000);
    AUTO(reply) struct arm_reply *third = get(b->arm, SUB, RESOURCE);
    assert_int_equal(first->status + second->status, 400);
    assert_int_equal(third->failure, ARM_FAIL_TOKEN);
    assert_non_null(strstr(third->detail, path));
}

static void test_identity_by_subscription(void **state)
{
    struct bench *b = *state;
    struct arm_identity ids[2] = {b->identity, b->identity};
    ids[1].name = "second";
    ids[1].tenant_id = "tenant-b";
    ids[1].cloud = "usgov";
    const struct arm_subscription map[] = {{SUB2, "second"}};
    b->config.identities = ids;
    b->config.n_identities = 2;
    b->config.subscriptions = map;
    b->config.n_subscriptions = 1;
    b->config.default_identity = "";
    start(b);
    AUTO(reply) struct arm_reply *r = get(b->arm, SUB2, RESOURCE);
    assert_int_equal(r->status, 200);
    assert_string_equal(b->server->seen[0]->target, "/tenant-b/oauth2/v2.0/token");
    assert_non_null(strstr(b->server->seen[0]->body.data, "management.usgovcloudapi.net"));
    AUTO(reply) struct arm_reply *none = get(b->arm, SUB, RESOURCE);
    assert_int_equal(none->failure, ARM_FAIL_REFUSED);
    assert_string_equal(arm_endpoint(b->arm, SUB2), b->server->url);
    assert_null(arm_endpoint(b->arm, SUB));
}

/* ---- throttling ---- */

static struct arm_reply *put(struct arm *arm, const char *subscription)
{
    return call(arm, &(struct arm_request){.method = ARM_PUT,
                                           .subscription = subscription,
                                           .target = RESOURCE,
                                           .body = BYTES_STR("{}")});
}

static void test_retry_after_holds_back(void **state)
{
    struct bench *b = *state;
    b->script.throttle = 1;
    b->script.throttle_headers = "Retry-After: 20\r\n";
    start(b);
    AUTO(reply) struct arm_reply *r = put(b->arm, SUB);
    assert_int_equal(r->status, 429);
    assert_int_equal(r->retry_after_ms, 20000);
    size_t before = b->server->n_seen;
    int64_t until = arm_not_before(b->arm, SUB, ARM_OP_WRITE) - clock_wall(&test_clock);
    assert_in_range(until, 15000, 20000);
    AUTO(reply) struct arm_reply *held = put(b->arm, SUB);
    assert_int_equal(held->failure, ARM_FAIL_HELD);
    assert_in_range(held->retry_after_ms, 15000, 20000);
    assert_int_equal(b->server->n_seen, before); /* nothing went out */
    struct arm_outcome o;
    arm_classify(held, &o);
    assert_int_equal(o.class, ARM_CLASS_THROTTLED);
    assert_false(o.sent);
    /* Other kinds and other subscriptions have buckets of their own. */
    assert_int_equal(arm_not_before(b->arm, SUB, ARM_OP_READ), 0);
    assert_int_equal(arm_not_before(b->arm, SUB2, ARM_OP_WRITE), 0);
    AUTO(reply) struct arm_reply *read_ok = get(b->arm, SUB, RESOURCE);
    AUTO(reply) struct arm_reply *other_ok = put(b->arm, SUB2);
    assert_int_equal(read_ok->status + other_ok->status, 400);
    atomic_store(&clock_ahead, 20001);
    AUTO(reply) struct arm_reply *after = put(b->arm, SUB);
    assert_int_equal(after->status, 200);
}

static void test_429_without_retry_after(void **state)
{
    struct bench *b = *state;
    b->script.throttle = 3;
    start(b);
    int64_t want = 1000;
    for (int i = 0; i < 3; i++, want *= 2) {
        AUTO(reply) struct arm_reply *r = put(b->arm, SUB);
        assert_int_equal(r->status, 429);
        assert_int_equal(r->retry_after_ms, want);
        atomic_fetch_add(&clock_ahead, want + 1);
    }
    AUTO(reply) struct arm_reply *r = put(b->arm, SUB);
    assert_int_equal(r->status, 200);
}

static void test_bucket_is_not_overrun(void **state)
{
    struct bench *b = *state;
    struct inbox in;
    unsigned done = 0, throttled = 0, held = 0;
    inbox_init(&in);
    b->script.has_bucket = true;
    b->script.bucket = 30;
    b->script.delay_ms = 5;
    start(b);
    const struct arm_request q = {.method = ARM_PUT, .subscription = SUB, .target = RESOURCE};
    for (int i = 0; i < 60; i++)
        arm_send(b->arm, &q, inbox_add, &in);
    inbox_wait(&in, 60);
    for (size_t i = 0; i < 60; i++) {
        done += in.replies[i]->status == 200;
        throttled += in.replies[i]->status == 429;
        held += in.replies[i]->failure == ARM_FAIL_HELD;
        arm_reply_free(in.replies[i]);
    }
    assert_int_equal(done, 30);
    assert_int_equal(throttled, 1); /* the one that found it empty */
    assert_int_equal(held, 29);
    assert_int_equal(b->script.early, 0);
    assert_true(b->server->accepted > 3); /* and yet they went side by side */
}

static void test_line(void **state)
{
    struct bench *b = *state;
    struct inbox in;
    inbox_init(&in);
    b->config.max_in_flight = 1;
    b->script.delay_ms = 700;
    start(b);
    AUTO(reply) struct arm_reply *warm = get(b->arm, SUB, RESOURCE);
    const struct arm_request q = {.subscription = SUB, .target = RESOURCE, .timeout_ms = 1000};
    for (int i = 0; i < 5; i++)
        arm_send(b->arm, &q, inbox_add, &in);
    inbox_wait(&in, 5);
    unsigned held = 0;
    for (size_t i = 0; i < 5; i++) {
        held += in.replies[i]->failure == ARM_FAIL_HELD;
        arm_reply_free(in.replies[i]);
    }
    assert_int_equal(warm->status, 200);
    assert_int_equal(held, 3); /* one was answered, one timed out on the way */
}

/* ---- the end ---- */

static void send_again(void *ctx, struct arm_reply *r)
{
    struct bench *b = ctx;
    static atomic_int rounds;
    assert_int_equal(r->failure, ARM_FAIL_STOPPED);
    arm_reply_free(r);
    const struct arm_request q = {.subscription = SUB, .target = RESOURCE};
    if (atomic_fetch_add(&rounds, 1) < 3)
        arm_send(b->arm, &q, send_again, b);
}

static void test_stop(void **state)
{
    struct bench *b = *state;
    struct inbox in;
    inbox_init(&in);
    b->script.delay_ms = 300;
    b->config.max_in_flight = 4;
    start(b);
    AUTO(reply) struct arm_reply *warm = get(b->arm, SUB, RESOURCE);
    assert_int_equal(warm->status, 200);
    const struct arm_request q = {.subscription = SUB, .target = RESOURCE};
    for (int i = 0; i < 20; i++)
        arm_send(b->arm, &q, inbox_add, &in);
    arm_send(b->arm, &q, send_again, b);
    usleep(50000);
    struct arm *arm = b->arm;
    arm_stop(arm);
    b->arm = NULL;
    assert_int_equal(in.n, 20); /* each exactly once, before arm_stop returned */
    for (size_t i = 0; i < in.n; i++) {
        assert_int_equal(in.replies[i]->failure, ARM_FAIL_STOPPED);
        arm_reply_free(in.replies[i]);
    }
}

static void test_stats(void **state)
{
    struct bench *b = *state;
    struct arm_stats s;
    start(b);
    for (int i = 0; i < 3; i++)
        arm_reply_free(get(b->arm, SUB, RESOURCE));
    arm_reply_free(get(b->arm, SUB, "bad"));
    for (int i = 0; i < 100; i++) {
        arm_stats(b->arm, &s);
        if (s.replies[0] == 1 && s.in_flight == 0)
            break;
        usleep(10000);
    }
    assert_int_equal(s.replies[2], 3);
    assert_int_equal(s.replies[0], 1);
    assert_int_equal(s.tokens, 1);
    assert_true(s.connections >= 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_get),
        TEST(test_token_request),
        TEST(test_put),
        TEST(test_methods_without_body),
        TEST(test_poll_url_goes_out_as_given),
        TEST(test_redirect_is_not_followed),
        TEST(test_refused_targets),
        TEST(test_body_cap),
        TEST(test_dropped),
        TEST(test_kept_connection),
        TEST(test_chunks),
        TEST(test_timeout),
        TEST(test_no_listener),
        TEST(test_tls_is_verified),
        TEST(test_one_token_for_many),
        TEST(test_401_drops_the_token_once),
        TEST(test_401_again_is_the_answer),
        TEST(test_refresh_ahead),
        TEST(test_expired_token_is_not_sent),
        TEST(test_wrong_secret),
        TEST(test_busy_token_endpoint),
        TEST(test_token_wait_ends_with_the_request),
        TEST(test_managed_identity),
        TEST(test_workload_identity),
        TEST(test_identity_by_subscription),
        TEST(test_retry_after_holds_back),
        TEST(test_429_without_retry_after),
        TEST(test_bucket_is_not_overrun),
        TEST(test_line),
        TEST(test_stop),
        TEST(test_stats),
    };
    signal(SIGPIPE, SIG_IGN);
    int failed = cmocka_run_group_tests_name("transfers", tests, NULL, NULL);
    as_polls = true;
    return failed + cmocka_run_group_tests_name("polls", tests, NULL, NULL);
}
