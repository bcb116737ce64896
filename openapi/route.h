/*
 * A row of the route table: everything that dispatch must know of an operation. The rows are in
 * routes.def, which generate.py writes from openapi.yaml:
 *
 *     ROUTE(METHOD, "/path/{name}", operation, role, max_body, flags, accepts, PRODUCES(...),
 *           query schema or NULL, body schema or NULL, PARAMS(...), STATUSES(...))
 *
 * handlers/routes.h makes the prototypes `int operation(struct call *)` of them and
 * handlers/routes.c the table, so that an operation without a handler does not link. Const data;
 * any thread.
 */
#ifndef OPENAPI_ROUTE_H
#define OPENAPI_ROUTE_H

#include "core/json.h"

struct call;

/* Least role of the caller; ROUTE_NONE takes no credential. */
enum route_role { ROUTE_NONE, ROUTE_READER, ROUTE_PROVISIONER, ROUTE_ADMIN };

enum route_flag {
    ROUTE_IDEMPOTENT = 1,    /* Idempotency-Key is honoured */
    ROUTE_RAW_BODY = 2,      /* the handler decodes the body itself */
    ROUTE_BODY_OPTIONAL = 4, /* call->body is NULL where there is none */
};

/* Media types a body may have; 0: the operation takes no body. */
enum route_body { ROUTE_BODY_JSON = 1, ROUTE_BODY_CBOR = 2 };

struct route_param {
    const char *name;      /* NULL ends the list */
    field_match_fn *match; /* of the decoded segment */
    size_t min, max;       /* its length in characters */
};

struct route {
    const char *method;
    const char *path; /* segments; "{name}" stands for one parameter */
    const char *operation;
    int (*handler)(struct call *c);
    enum route_role role;
    size_t max_body;
    unsigned flags;              /* enum route_flag */
    unsigned accepts;            /* enum route_body */
    const char *const *produces; /* media types of the 2xx answers, NULL-terminated */
    const struct schema *query;  /* NULL: takes no query parameter */
    const struct schema *body;   /* NULL where raw or none */
    const struct route_param *params;
    const short *statuses; /* declared, ascending, 0-terminated */
};

#endif
