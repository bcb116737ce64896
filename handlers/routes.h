/*
 * Every operation of the contract: the prototypes of the handlers and the route table. A handler
 * that is missing fails to link; one that no row names fails to compile (-Wmissing-prototypes).
 */
#ifndef HANDLERS_ROUTES_H
#define HANDLERS_ROUTES_H

#include "openapi/route.h"

#define ROUTE(method, path, operation, ...) int operation(struct call *c);
#include "openapi/routes.def"
#undef ROUTE

extern const struct route routes[];
extern const size_t routes_count;

#endif
