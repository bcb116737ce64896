/* /v1/jobs: read, list, cancel and retry jobs. */
#include "handlers/page.h"
#include "handlers/routes.h"
#include "handlers/target.h"
#include "handlers/view.h"
#include "handlers/wait.h"

#include "openapi/schemas.h"

static int reply_job(struct call *c, const struct job *job)
{
    view_job(call_json(c), job);
    if (!job_state_terminal(job->state))
        c->ops->reply_header(c, "Retry-After", "1");
    return call_etag_of_body(c);
}

int get_job(struct call *c)
{
    struct job job;
    if (store_get_job(c->app->store, c->arena, c->params[0], call_scope(c), &job, &c->err))
        return call_fail(c);
    return wait_for_job(c, &job, reply_job);
}

int list_jobs(struct call *c)
{
    const struct list_jobs_query *query = c->query;
    const struct page_of list = {
        .path = "/v1/jobs",
        .filters = {{"state", query->state},
                    {"kind", query->kind},
                    {"resourceId", query->resource_id},
                    {"scope", query->scope}},
        .top = query->top,
        .cursor = query->cursor,
    };
    struct job_filter filter = {.scope = call_scope(c),
                                .within = query->scope,
                                .kind = query->kind,
                                .resource_id = query->resource_id};
    enum job_state state;
    if (query->state && job_state_parse(query->state, &state))
        filter.state = &state;

    struct job_list jobs;
    if (page_open(c, &list, &filter.page) ||
        store_list_jobs(c->app->store, c->arena, &filter, &jobs, &c->err))
        return call_fail(c);
    struct jw *w = page_begin(c);
    for (size_t i = 0; i < jobs.n; i++)
        view_job(w, &jobs.items[i]);
    return page_end(c, &list, jobs.more ? jobs.items[jobs.n - 1].id : NULL);
}

/* ---- cancel, retry ---- */

struct action {
    struct jobs_origin origin;
    struct jobs_submitted submitted;
};

static int acted(struct call *c)
{
    struct action *action = c->state;
    if (c->done.err)
        return call_fail(c);
    return wait_for_job(c, &action->submitted.job, call_accepted);
}

typedef void act_fn(struct jobs *j, struct arena *a, const struct jobs_origin *origin,
                    const char *id, struct jobs_submitted *out, struct store_done *done);

static int act(struct call *c, act_fn *fn)
{
    struct job job;
    if (store_get_job(c->app->store, c->arena, c->params[0], call_scope(c), &job, &c->err))
        return call_fail(c);
    struct action *action = ARENA_NEW(c->arena, struct action);
    action->origin = target_origin(c);
    c->state = action;
    fn(c->app->jobs, c->arena, &action->origin, job.id, &action->submitted, call_commit(c, acted));
    return CALL_PENDING;
}

int cancel_job(struct call *c)
{
    return act(c, jobs_cancel);
}

int retry_job(struct call *c)
{
    return act(c, jobs_retry);
}
