/* The metrics that are read at each scrape: store, jobs, ARM, connections, build. */
#ifndef SERVER_GAUGES_H
#define SERVER_GAUGES_H

#include "core/metrics.h"

struct arm;
struct attest_trust;
struct http;
struct jobs;
struct store;

/* Must outlive the registry. */
struct gauges {
    struct store *store;
    struct jobs *jobs;
    struct arm *arm;
    struct http *http;
    struct attest_trust *trust;
};

/* Declares the families, those that handlers count in included. */
void gauges_register(const struct gauges *g, struct metrics *m);

#endif
