/*
 * The client's insides: requests on their way, and the thread that drives them. Inside arm/ only.
 *
 *     arm_send -> inbox -> line -> (waits for a token) -> line -> transfer -> done
 */
#ifndef ARM_CLIENT_H
#define ARM_CLIENT_H

#include "arm/arm.h"
#include "arm/http.h"
#include "arm/identity.h"
#include "arm/throttle.h"

#include <pthread.h>

struct arm_call {
    struct arm_http_call http;
    struct arm_call *next;
    struct arm *arm;
    struct arena *arena; /* holds the call and its copy of the request */
    struct arm_served_identity *identity;
    struct arm_request req;
    const char *url;
    arm_done_fn *done;
    void *ctx;
    int64_t started; /* mono */
    int64_t deadline;
    uint64_t ticket;     /* of its turn in the bucket */
    unsigned generation; /* of the token it was sent with */
    bool repeated;       /* after a 401 */
    bool document;       /* arm_get_document: url, ca_file and body_max instead of req */
    const char *ca_file;
    size_t body_max;
};

struct arm_call_list {
    struct arm_call *head;
    struct arm_call *tail;
    unsigned n;
};

struct arm_served_identity {
    struct arm_identity_token token;
    struct arm_call_list waiting; /* for the token */
};

struct arm {
    struct arena *arena;
    struct arm_config cfg;
    struct arm_throttle *throttle;
    pthread_t thread;

    pthread_mutex_t lock; /* of the next four */
    struct arm_call_list inbox;
    bool stopping;
    struct arm_stats published;
    bool waking; /* a wake is on its way */

    /* The thread's own. */
    struct arm_http *http;
    struct arm_served_identity *identities;
    struct arm_call_list line; /* may go as soon as there is room */
    unsigned in_flight;
    int64_t swept;
    struct arm_stats stats;
};

void arm_call_push(struct arm_call_list *l, struct arm_call *c);

/* The thread: drives requests until arm->stopping, then ends all that are open. ctx is the arm. */
void *arm_loop(void *ctx);
/* A token was fetched, or could not be. */
void arm_loop_token_changed(struct arm_identity_token *t);

#endif
