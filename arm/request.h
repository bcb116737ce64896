/* Requests on their way from the caller to a transfer. Inside arm/ only. */
#ifndef ARM_REQUEST_H
#define ARM_REQUEST_H

#include "arm/arm.h"
#include "arm/http.h"

/* A copy in the arena; a missing client_request_id becomes a new UUID. */
struct arm_request arm_request_copy(struct arena *a, const struct arm_request *q);
/* The absolute URL on `endpoint`, or NULL and why the request must not be sent. */
const char *arm_request_url(struct arena *a, const char *endpoint, const struct arm_request *q,
                            const char **why);
/* All headers but Authorization. */
void arm_request_headers(struct arm_http *h, struct arm_http_call *c, const struct arm_request *q);

#endif
