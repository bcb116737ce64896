/*
 * Metrics of requests: durations by method, route and status, problems by code. Any thread.
 */
#ifndef SERVER_TRAFFIC_H
#define SERVER_TRAFFIC_H

#include "core/err.h"
#include "core/metrics.h"
#include "openapi/route.h"

struct traffic;

/* Declares the families; the registry must outlive it. The caller frees. */
struct traffic *traffic_new(struct metrics *m, size_t n_routes);
void traffic_free(struct traffic *t); /* NULL is fine */

struct traffic_request {
    const char *method;        /* as it came; NULL where there was none */
    const struct route *route; /* NULL: none was found */
    size_t index;              /* of the route, below n_routes */
    int status;                /* 0: the client was gone before there was an answer */
    enum err code;
    int64_t ms;
};

void traffic_count(struct traffic *t, const struct traffic_request *r);
/* The HTTP parser refused a request. */
void traffic_count_unparsed(struct traffic *t);

#endif
