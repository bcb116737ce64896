#include "server/gateway.h"

#include "attest/anchors.h"
#include "attest/attest.h"
#include "core/log.h"
#include "core/seen.h"
#include "handlers/app.h"
#include "handlers/policy_book.h"
#include "handlers/routes.h"
#include "jobs/jobs.h"
#include "jobs/maa_keys.h"
#include "server/arm_config.h"
#include "server/control.h"
#include "server/dispatch.h"
#include "server/gauges.h"
#include "server/standing.h"
#include "server/upkeep.h"

#include <errno.h>
#include <sys/stat.h>

#define LIMITER_KEYS 65536
/* For requests to ARM that are on the wire when the server stops, so that their answers are kept. */
#define JOBS_DRAIN_MS 10000

struct gateway {
    const struct settings *settings;
    struct arena *arena;
    atomic_bool draining;
    struct app app;
    struct keyring *keyring;
    struct store *store;
    struct attest_trust *trust;
    struct attest_anchors *document_anchors;
    struct attest_anchors *ek_anchors;
    struct attest_logs *logs;
    struct arm *arm;
    struct jobs *jobs;
    struct maa_keys *maa;
    struct seen *tokens_seen;
    struct metrics *metrics;
    struct auth *auth;
    struct limiter *by_principal, *by_peer, *attest_by_peer, *attest_by_vm;
    struct routes *routes;
    struct traffic *traffic;
    struct dispatch dispatch;
    struct gauges gauges;
    struct admin admin;
    struct control *control;
    struct upkeep *upkeep;
    struct policy_book *book;
    struct standing *standing;
    struct http *http;
};

/* ---- the parts, in the order in which they need each other ---- */

typedef enum err part_fn(struct gateway *g, struct err_info *e);

static enum err open_store(struct gateway *g, struct err_info *e)
{
    const struct settings *s = g->settings;
    if (mkdir(s->data_dir, 0700) != 0 && errno != EEXIST)
        return err_set(e, ERR_CONFIG, "cannot make %s: %s", s->data_dir, strerror(errno));
    const struct store_options options = {.dir = s->data_dir,
                                          .readers = (int)s->store.readers,
                                          .reports_per_vm = s->store.reports_per_vm,
                                          .migrate = true};
    enum err err = store_open(&options, &g->store, e);
    return err ? err : keyring_open(s->keyring_file, &g->keyring, e);
}

static enum err trust_of(const struct settings *s, struct attest_trust **out, struct err_info *e)
{
    const struct attest_trust_options options = {.anchors = s->attestation.trust_anchors.items,
                                                 .n_anchors = s->attestation.trust_anchors.n,
                                                 .trust_dir = s->attestation.trust_dir,
                                                 .legacy_root = s->attestation.legacy_root};
    return attest_trust_open(&options, out, e);
}

static enum err anchors_of(const struct settings *s, const struct str_list *files,
                           struct attest_anchors **out, struct err_info *e)
{
    const struct attest_anchors_options options = {
        .files = files->items, .n_files = files->n, .dir = s->attestation.trust_dir};
    return attest_anchors_open(&options, out, e);
}

static enum err open_anchors(const struct settings *s, struct attest_anchors **document,
                             struct attest_anchors **ek, struct err_info *e)
{
    enum err err = anchors_of(s, &s->attestation.document_anchors, document, e);
    return err ? err : anchors_of(s, &s->attestation.ek_trust_anchors, ek, e);
}

static enum err open_trust(struct gateway *g, struct err_info *e)
{
    enum err err = open_anchors(g->settings, &g->document_anchors, &g->ek_anchors, e);
    if (err)
        return err;
    if (g->settings->attestation.known_logs > 0)
        g->logs = attest_logs_new((size_t)g->settings->attestation.known_logs);
    return trust_of(g->settings, &g->trust, e);
}

static enum err check_public_url(const struct settings *s, struct err_info *e)
{
    if (!s->server.public_url && strncmp(s->server.listen, "unix:", 5) == 0)
        return err_set(e, ERR_CONFIG, "server.public_url is needed with a UNIX socket");
    return OK;
}

static struct http_config http_config_of(const struct settings *s)
{
    return (struct http_config){
        .listen = s->server.listen,
        .tls_cert = s->server.tls_cert,
        .tls_key = s->server.tls_key,
        .threads = (int)s->server.threads,
        .connections_max = (int)s->server.connections,
        .connections_per_ip = (int)s->server.connections_per_address,
        .head_ms = s->server.header_timeout_ms,
        .idle_ms = s->server.idle_timeout_ms,
        .body_grace_ms = s->server.body_grace_ms,
        .body_bytes_per_s = s->server.body_min_rate,
    };
}

static enum err open_listener(struct gateway *g, struct err_info *e)
{
    const struct http_config config = http_config_of(g->settings);
    enum err err = check_public_url(g->settings, e);
    return err ? err : http_open(&config, &g->http, e);
}

enum err gateway_check(const struct settings *s, struct err_info *e)
{
    struct attest_trust *trust = NULL;
    struct attest_anchors *document = NULL, *ek = NULL;
    const struct http_config config = http_config_of(s);
    enum err err;
    if ((err = check_public_url(s, e)) || (err = http_check(&config, e)) ||
        (err = maa_keys_check(s->attestation.maa_issuers.items, s->attestation.maa_issuers.n, e)) ||
        (err = trust_of(s, &trust, e)))
        return err;
    err = open_anchors(s, &document, &ek, e);
    attest_trust_free(trust);
    attest_anchors_free(document);
    attest_anchors_free(ek);
    return err;
}

static const char *public_url(const struct gateway *g)
{
    const char *set = g->settings->server.public_url;
    return set ? set : http_url(g->http);
}

static enum err start_engine(struct gateway *g, struct err_info *e)
{
    const struct settings *s = g->settings;
    const struct arm_config arm = arm_config_from(s, g->arena);
    enum err err = arm_start(&arm, &g->arm, e);
    if (err)
        return err;
    const struct jobs_config jobs = {
        .store = g->store,
        .arm = g->arm,
        .keyring = g->keyring,
        .clock = &clock_system,
        .public_url = public_url(g),
        .job_deadline_ms = s->jobs.deadline_ms,
        .max_age_ms = s->attestation.max_age_ms,
        .lease_ms = s->jobs.lease_ms,
        .query_timeout_ms = s->jobs.query_timeout_ms,
        .query_cache_ms = s->jobs.query_cache_ms,
        .in_flight_max = (unsigned)s->jobs.in_flight,
        .per_subscription_max = (unsigned)s->jobs.per_subscription,
    };
    return jobs_start(&jobs, &g->jobs, e);
}

/* Its first fetches start at once; nothing waits for them. */
static enum err start_attestation(struct gateway *g, struct err_info *e)
{
    const struct settings *s = g->settings;
    const struct maa_keys_config config = {
        .arm = g->arm,
        .clock = &clock_system,
        .issuers = s->attestation.maa_issuers.items,
        .n_issuers = s->attestation.maa_issuers.n,
        .ca_file = s->attestation.maa_ca_file,
        .refresh_ms = s->attestation.maa_refresh_ms,
        .retry_ms = s->attestation.maa_retry_ms,
        .max_age_ms = s->attestation.maa_max_age_ms,
    };
    g->tokens_seen = seen_new();
    return config.n_issuers ? maa_keys_start(&config, &g->maa, e) : OK;
}

static void make_app(struct gateway *g)
{
    const struct settings *s = g->settings;
    g->auth = auth_new(g->store, g->keyring, &clock_system);
    g->by_principal =
        limiter_new(LIMITER_KEYS, s->limits.requests_per_second, s->limits.requests_burst);
    g->by_peer = limiter_new(LIMITER_KEYS, s->limits.failed_logins_per_second,
                             s->limits.failed_logins_burst);
    g->attest_by_peer = limiter_new(LIMITER_KEYS, s->limits.attestation_address_per_second,
                                    s->limits.attestation_address_burst);
    g->attest_by_vm = limiter_new(LIMITER_KEYS, s->limits.attestation_vm_per_second,
                                  s->limits.attestation_vm_burst);
    g->routes = routes_new(routes, routes_count);
    g->traffic = traffic_new(g->metrics, routes_count);
    g->app = (struct app){
        .store = g->store,
        .jobs = g->jobs,
        .keyring = g->keyring,
        .trust = g->trust,
        .document_anchors = g->document_anchors,
        .ek_anchors = g->ek_anchors,
        .logs = g->logs,
        .maa = g->maa,
        .maa_policies = s->attestation.maa_policies.items,
        .n_maa_policies = s->attestation.maa_policies.n,
        .tokens_seen = g->tokens_seen,
        .book = g->book,
        .attest_by_peer = g->attest_by_peer,
        .attest_by_vm = g->attest_by_vm,
        .metrics = g->metrics,
        .draining = &g->draining,
        .clock = &clock_system,
        .public_url = public_url(g),
        .challenge_ttl_ms = s->attestation.challenge_ttl_ms,
        .max_age_ms = s->attestation.max_age_ms,
        .baseline_vms = s->attestation.baseline_vms,
        .result_ttl_ms = s->attestation.result_ttl_ms,
        .sign_at_once = strcmp(s->attestation.result_signing, "always") == 0,
    };
}

/* Control first: whoever reads the URL may ask for a key at once. */
static enum err start_serving(struct gateway *g, struct err_info *e)
{
    g->book = policy_book_new();
    make_app(g);
    g->gauges = (struct gauges){
        .store = g->store, .jobs = g->jobs, .arm = g->arm, .http = g->http, .trust = g->trust};
    gauges_register(&g->gauges, g->metrics);
    g->admin = (struct admin){.store = g->store,
                              .keyring = g->keyring,
                              .auth = g->auth,
                              .clock = &clock_system,
                              .peer = "control.sock"};
    enum err err;
    if ((err = policy_book_load(g->book, g->store, e)) ||
        (err = control_start(g->settings->data_dir, &g->admin, &g->control, e)))
        return err;
    g->upkeep = upkeep_start(g->store, g->auth, g->maa, g->settings);
    g->standing = standing_start(&g->app);
    g->dispatch = (struct dispatch){.app = &g->app,
                                    .auth = g->auth,
                                    .by_principal = g->by_principal,
                                    .by_peer = g->by_peer,
                                    .routes = g->routes,
                                    .traffic = g->traffic};
    const struct http_handler handler = dispatch_handler(&g->dispatch);
    return http_serve(g->http, &handler, e);
}

enum err gateway_start(const struct settings *settings, struct gateway **out, struct err_info *e)
{
    static part_fn *const parts[] = {open_store,   open_trust,        open_listener,
                                     start_engine, start_attestation, start_serving};
    struct gateway *g = calloc(1, sizeof *g);
    if (!g)
        abort();
    g->settings = settings;
    g->arena = arena_new();
    g->metrics = metrics_new();
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        enum err err = parts[i](g, e);
        if (err) {
            gateway_stop(g);
            return err;
        }
    }
    *out = g;
    return OK;
}

const char *gateway_url(const struct gateway *g)
{
    return http_url(g->http);
}

static void reload_anchors(struct attest_anchors *t, const char *whose)
{
    struct err_info why;
    bool changed = false;
    if (attest_anchors_reload(t, &changed, &why))
        log_warn("certificates were not read again", LOG_S("whose", whose),
                 LOG_S("detail", why.detail));
    else if (changed)
        log_info("certificates are other ones now", LOG_S("whose", whose));
}

void gateway_reload(struct gateway *g)
{
    struct err_info why;
    bool changed = false;
    if (attest_trust_reload(g->trust, &changed, &why))
        log_warn("the issuers of AKs were not read again", LOG_S("detail", why.detail));
    else if (changed)
        log_info("the issuers of AKs are other ones now");
    reload_anchors(g->document_anchors, "attested documents");
    reload_anchors(g->ek_anchors, "endorsement keys");
    if (http_reload(g->http, &changed, &why))
        log_warn("the listener's certificate was not read again", LOG_S("detail", why.detail));
    else if (changed)
        log_info("the listener's certificate is another one now");
}

void gateway_not_ready(struct gateway *g)
{
    atomic_store(&g->draining, true);
}

void gateway_drain(struct gateway *g)
{
    http_drain(g->http);
}

int gateway_busy(struct gateway *g)
{
    return http_in_flight(g->http);
}

void gateway_stop(struct gateway *g)
{
    http_stop(g->http);
    control_stop(g->control);
    upkeep_stop(g->upkeep);
    standing_stop(g->standing);
    jobs_stop(g->jobs, JOBS_DRAIN_MS);
    arm_stop(g->arm);
    maa_keys_free(g->maa);
    seen_free(g->tokens_seen);
    store_close(g->store);
    auth_free(g->auth);
    limiter_free(g->by_principal);
    limiter_free(g->by_peer);
    limiter_free(g->attest_by_peer);
    limiter_free(g->attest_by_vm);
    attest_trust_free(g->trust);
    policy_book_free(g->book);
    attest_anchors_free(g->document_anchors);
    attest_anchors_free(g->ek_anchors);
    attest_logs_free(g->logs);
    keyring_free(g->keyring);
    routes_free(g->routes);
    traffic_free(g->traffic);
    metrics_free(g->metrics);
    arena_free(g->arena);
    free(g);
}
