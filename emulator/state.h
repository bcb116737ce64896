/*
 * State: JSON values by kind and key, kept in memory and in an append-only journal.
 *
 * Every change is one line of state.journal before the call returns, so that a kill loses nothing
 * that was answered (the page cache survives the process; a power cut may cost the last lines). A
 * torn last line is dropped at the start. The journal is written anew when it is opened and when it
 * has grown to several times what is alive.
 *
 * The caller holds one lock around every call.
 */
#ifndef EMULATOR_STATE_H
#define EMULATOR_STATE_H

#include "core/err.h"
#include "core/json.h"

enum state_kind {
    STATE_RESOURCE,  /* lower-case ARM id -> {"type","body","hidden","op"} */
    STATE_OPERATION, /* guid -> see operation.h */
    STATE_VM,        /* vmId -> {"resource","powerState","boots","tpm"} */
    STATE_MISC,      /* settings, faults, registered providers, ids */
    STATE_KINDS
};

struct state;

/* Opens or makes <dir>/state.journal. ERR_CONFIG where it cannot be read or written. */
enum err state_open(const char *dir, struct state **out, struct err_info *e) MUST_CHECK;
void state_close(struct state *s); /* NULL is fine */

/* Borrowed; the caller may change it and then calls state_save. NULL where absent. */
json_t *state_get(struct state *s, enum state_kind kind, const char *key);
/* Takes `value`. */
void state_put(struct state *s, enum state_kind kind, const char *key, json_t *value);
void state_save(struct state *s, enum state_kind kind, const char *key);
void state_del(struct state *s, enum state_kind kind, const char *key);
/* Every value of a kind by key, in order of insertion; borrowed, not to be changed in a loop. */
json_t *state_all(struct state *s, enum state_kind kind);

#endif
