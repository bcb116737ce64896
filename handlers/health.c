/* /livez, /readyz, /metrics: the gateway itself. */
#include "handlers/routes.h"
#include "handlers/target.h"

#include <stdatomic.h>

static int healthy(struct call *c)
{
    struct jw *w = call_json(c);
    jw_open(w, '{');
    jw_key_str(w, "status", "ok");
    jw_key_str(w, "version", TLGATE_VERSION);
    jw_close(w, '}');
    c->ops->reply_header(c, "Cache-Control", "no-store");
    return 200;
}

/* That this runs is the answer. */
int get_livez(struct call *c)
{
    return healthy(c);
}

static int not_ready(struct call *c, const char *why)
{
    err_set(&c->err, ERR_UNAVAILABLE, "%s", why);
    c->err.retry_after = 1;
    return call_fail(c);
}

int get_readyz(struct call *c)
{
    if (atomic_load(c->app->draining))
        return not_ready(c, "the gateway is stopping");
    if (store_health(c->app->store, NULL))
        return not_ready(c, "the store takes no writes");
    if (!jobs_ready(c->app->jobs))
        return not_ready(c, "the job engine does not run");
    return healthy(c);
}

int get_metrics(struct call *c)
{
    buf_reset(&c->out);
    metrics_write(c->app->metrics, &c->out);
    c->content_type = "text/plain; version=0.0.4; charset=utf-8";
    c->ops->reply_header(c, "Cache-Control", "no-store");
    return 200;
}
