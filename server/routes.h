/*
 * Which row of the contract's table a request means. Literal segments below /v1/subscriptions are
 * compared without case, as ARM does; all others exactly. A template with fewer parameters wins.
 * The templates are cut once, for each number of segments; a target is compared with those of its
 * number only. Any thread.
 */
#ifndef SERVER_ROUTES_H
#define SERVER_ROUTES_H

#include "core/arena.h"
#include "openapi/route.h"
#include "server/target.h"

#define ROUTES_PARAMS_MAX 8

struct routes;

/* `table` must outlive it. */
struct routes *routes_new(const struct route *table, size_t n);
void routes_free(struct routes *r); /* NULL is fine */

struct route_match {
    const struct route *route; /* NULL: no path, or (path_found) not with this method */
    bool path_found;
    size_t index;                          /* of the route in the table */
    char allow[64];                        /* methods of the path, for 405 */
    const char *params[ROUTES_PARAMS_MAX]; /* in the order of the path */
    size_t n_params;
};

/* *out is all zeros before. */
void routes_match(const struct routes *r, const char *method, const struct target *target,
                  struct route_match *out);

/* Checks the parameters with their predicates; ERR_VALIDATION names each bad one as "{name}". */
enum err routes_check_params(const struct route_match *m, struct err_info *e) MUST_CHECK;

/* The ARM scope that the path addresses, in the arena, or NULL where it names no subscription. */
const char *routes_scope(const struct route_match *m, struct arena *a);

#endif
