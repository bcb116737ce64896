#include "handlers/wait.h"

#include "jobs/jobs.h"

struct waiting {
    struct jobs_watch watch;
    wait_reply_fn *reply;
};

static void ended(struct jobs_watch *w, enum watch_event event)
{
    call_resume(w->ctx);
}

static int waited(struct call *c)
{
    struct waiting *state = c->state;
    struct job job;
    if (store_get_job(c->app->store, c->arena, state->watch.job_id, call_scope(c), &job, &c->err))
        return call_fail(c);
    return state->reply(c, &job);
}

int wait_for_job(struct call *c, const struct job *job, wait_reply_fn *reply)
{
    if (c->prefer_wait_s <= 0)
        return reply(c, job);
    int seconds = c->prefer_wait_s < WAIT_MAX_S ? c->prefer_wait_s : WAIT_MAX_S;
    c->ops->reply_header(c, "Preference-Applied", arena_printf(c->arena, "wait=%d", seconds));
    if (job_state_terminal(job->state))
        return reply(c, job);

    struct waiting *state = ARENA_NEW(c->arena, struct waiting);
    state->reply = reply;
    state->watch = (struct jobs_watch){
        .job_id = job->id,
        .once = true,
        .until_ms = clock_mono(c->app->clock) + (int64_t)seconds * 1000,
        .fn = ended,
        .ctx = c,
    };
    c->state = state;
    call_wait(c, waited);
    jobs_watch(c->app->jobs, &state->watch);
    return CALL_PENDING;
}
