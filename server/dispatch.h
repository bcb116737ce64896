/*
 * From an HTTP exchange to a handler and back: route, credential, role and scope, parameters,
 * media types, body, request id and trace; and for every answer the metrics and the log line.
 */
#ifndef SERVER_DISPATCH_H
#define SERVER_DISPATCH_H

#include "core/limiter.h"
#include "handlers/app.h"
#include "server/auth.h"
#include "server/http.h"
#include "server/routes.h"
#include "server/traffic.h"

struct dispatch {
    const struct app *app;
    struct auth *auth;
    struct limiter *by_principal;
    struct limiter *by_peer; /* failed credentials */
    const struct routes *routes;
    struct traffic *traffic;
};

/* The functions for http_serve; `d` must outlive the server. */
struct http_handler dispatch_handler(struct dispatch *d);

#endif
