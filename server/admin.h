/*
 * What an administrator on this machine may do: API keys, backup, migration. A request and its
 * answer are JSON objects, so that the same code serves the control socket of a running server and
 * a command that has opened the database itself.
 */
#ifndef SERVER_ADMIN_H
#define SERVER_ADMIN_H

#include "core/buf.h"
#include "server/auth.h"

struct admin {
    struct store *store;
    struct keyring *keyring;
    struct auth *auth; /* NULL: no server runs */
    const struct clock *clock;
    const char *peer; /* for the audit: "control.sock", "command" */
};

/*
 *     {"command":"key.create","name":N,"role":R,"scope":S} -> {"id","key"}
 *     {"command":"key.list"}                               -> {"keys":[{"id","name","role",...}]}
 *     {"command":"key.revoke","id":ID}                     -> {"id"}
 *     {"command":"key.rotate","purpose":P}                 -> {"purpose","id"}, P of the keyring
 *     {"command":"backup","file":ABSOLUTE}                 -> {"file"}
 *     {"command":"migrate"}                                -> {"schema":N}
 *
 * Blocks on the store. `out` may hold a key afterwards: buf_free it soon.
 */
enum err admin_run(const struct admin *a, struct bytes request, struct buf *out,
                   struct err_info *e) MUST_CHECK;

#endif
