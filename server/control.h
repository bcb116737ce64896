/*
 * control.sock in data_dir: how the commands speak to a running server. One request a connection, a
 * line of JSON; the answer is a line too, `{"ok":true,"result":{...}}` or
 * `{"ok":false,"code","detail"}`. Mode 0600, and the peer must be this user or root.
 */
#ifndef SERVER_CONTROL_H
#define SERVER_CONTROL_H

#include "server/admin.h"

struct control;

/* Listens on its own thread; `admin` must outlive it. ERR_CONFIG. */
enum err control_start(const char *data_dir, const struct admin *admin, struct control **out,
                       struct err_info *e) MUST_CHECK;
void control_stop(struct control *c); /* NULL is fine */

/*
 * The client: sends `request` (one line of JSON without its end) and gives the member `result` as
 * text. *reached is false where no server listens there; then the result is OK and `out` empty.
 */
enum err control_ask(const char *data_dir, struct bytes request, struct buf *out, bool *reached,
                     struct err_info *e) MUST_CHECK;

#endif
