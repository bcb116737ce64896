#include "server/traffic.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

static const char requests[] = "tlgate_http_request_duration_seconds";
static const char problems[] = "tlgate_http_problems_total";
static const char refused_by_parser[] = "tlgate_http_unparsed_total";

/* A route answers with few statuses; what does not fit is found by its labels each time. */
#define KNOWN_MAX 8

struct known {
    _Atomic int status; /* 0: free, set after the series */
    struct series *series;
};

struct traffic {
    struct metrics *metrics;
    pthread_mutex_t lock; /* to add to `routes` */
    struct known (*routes)[KNOWN_MAX];
};

struct traffic *traffic_new(struct metrics *m, size_t n_routes)
{
    struct traffic *t = calloc(1, sizeof *t);
    if (!t || !(t->routes = calloc(n_routes ? n_routes : 1, sizeof *t->routes)))
        abort();
    t->metrics = m;
    pthread_mutex_init(&t->lock, NULL);
    metrics_declare(m, METRIC_SECONDS, requests, "Time from request line to reply, by route");
    metrics_declare(m, METRIC_COUNTER, problems, "Problem replies by code");
    metrics_declare(m, METRIC_COUNTER, refused_by_parser, "Requests the HTTP parser refused");
    return t;
}

void traffic_free(struct traffic *t)
{
    if (!t)
        return;
    pthread_mutex_destroy(&t->lock);
    free(t->routes);
    free(t);
}

static const char *known_method(const char *method)
{
    static const char *const known[] = {"GET",    "PUT",  "POST",    "PATCH",
                                        "DELETE", "HEAD", "OPTIONS", NULL};
    for (const char *const *m = known; method && *m; m++)
        if (strcmp(*m, method) == 0)
            return *m;
    return "_OTHER";
}

static struct series *by_labels(struct traffic *t, const struct traffic_request *r)
{
    char status[16];
    struct buf labels = {0};
    snprintf(status, sizeof status, "%d", r->status);
    metrics_label(&labels, "method", known_method(r->method));
    metrics_label(&labels, "route", r->route ? r->route->path : "");
    metrics_label(&labels, "status", status);
    struct series *s = metrics_series(t->metrics, requests, labels.data);
    buf_free(&labels);
    return s;
}

static void remember(struct traffic *t, const struct traffic_request *r, struct series *s)
{
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < KNOWN_MAX; i++) {
        struct known *k = &t->routes[r->index][i];
        int status = atomic_load(&k->status);
        if (status == r->status)
            break;
        if (status)
            continue;
        k->series = s;
        atomic_store(&k->status, r->status);
        break;
    }
    pthread_mutex_unlock(&t->lock);
}

/* Of a request with the route's own method (a HEAD is none), index and status are the labels. */
static struct series *series_of(struct traffic *t, const struct traffic_request *r)
{
    bool plain = r->route && r->status && strcmp(r->method, r->route->method) == 0;
    for (size_t i = 0; plain && i < KNOWN_MAX; i++) {
        const struct known *k = &t->routes[r->index][i];
        if (atomic_load_explicit(&k->status, memory_order_acquire) == r->status)
            return k->series;
    }
    struct series *s = by_labels(t, r);
    if (plain && s)
        remember(t, r, s);
    return s;
}

void traffic_count(struct traffic *t, const struct traffic_request *r)
{
    metrics_observe_series(t->metrics, series_of(t, r), (double)r->ms / 1000);
    if (r->code == OK)
        return;
    struct buf labels = {0};
    metrics_label(&labels, "code", err_code(r->code));
    metrics_add(t->metrics, problems, labels.data, 1);
    buf_free(&labels);
}

void traffic_count_unparsed(struct traffic *t)
{
    metrics_add(t->metrics, refused_by_parser, NULL, 1);
}
