/*
 * The request log: every ARM request with its answer's status, a file of JSON lines. By contract it
 * holds what was sent, secrets included (0600). The caller holds the lock.
 */
#ifndef EMULATOR_REQLOG_H
#define EMULATOR_REQLOG_H

#include "emulator/arm.h"

enum err reqlog_open(struct emulator *em, struct err_info *e) MUST_CHECK;
void reqlog_close(struct emulator *em);
/* A word about this call that its line shall carry: "throttled" or "early" (before a Retry-After it was sent). */
void reqlog_note(struct arm_call *c, const char *note);
void reqlog_write(struct arm_call *c);
/* {"value":[...]} */
void reqlog_reply(struct emulator *em, struct http_response *resp);
void reqlog_clear(struct emulator *em);

#endif
