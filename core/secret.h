/*
 * Secrets have a type of their own: nothing prints it, the field codec does not encode it, and it is
 * wiped at the end of the arena that holds it.
 */
#ifndef CORE_SECRET_H
#define CORE_SECRET_H

#include "core/arena.h"

struct secret {
    const char *text; /* NUL-terminated; NULL where absent */
    size_t len;
};

/* A copy in the arena, which wipes it. */
struct secret secret_in(struct arena *a, const char *text, size_t len);
bool secret_equal(struct secret a, struct secret b);
/* Makes malloc'd blocks that jansson frees wiped first; call once at the start of a program. */
void secret_wipe_json(void);
/* No core dumps, no ptrace by peers: RLIMIT_CORE 0 and PR_SET_DUMPABLE 0. False where refused. */
bool secret_protect_process(void);

#endif
