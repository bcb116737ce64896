/*
 * From an HTTP exchange to a handler and back: route, credential, role and scope, parameters,
 * media types, body, request id and trace; and for every answer the metrics and the log line.
 */
#ifndef SERVER_DISPATCH_H
#define SERVER_DISPATCH_H

#include "core/limiter.h"
#include "handlers/app.h"
#include "openapi/route.h"
#include "server/auth.h"
#include "server/http.h"

struct dispatch {
    const struct app *app;
    struct auth *auth;
    struct limiter *by_principal;
    struct limiter *by_peer; /* failed credentials */
    const struct route *routes;
    size_t n_routes;
};

/* The functions for http_start; `d` must outlive the server. Declares the metrics. */
struct http_handler dispatch_handler(struct dispatch *d);

#endif
