/* /v1/jobs/{id}/events: a job's events as server-sent events. */
#include "handlers/routes.h"
#include "handlers/target.h"
#include "jobs/jobs.h"

#define EVENTS_AT_ONCE 64
#define HEARTBEAT_MS   15000
#define RECONNECT_MS   3000

struct feed {
    struct stream stream;
    struct jobs_watch watch;
    const struct app *app;
    const char *scope;
    struct arena *scratch; /* of one call of next */
    int64_t last;          /* id of the event that was sent last */
    bool greeted;
};

static void job_changed(struct jobs_watch *w, enum watch_event event)
{
    struct feed *feed = w->ctx;
    stream_wake(&feed->stream);
}

/* JSON has no raw line breaks, so one data line holds it (HTML 9.2.6). */
static void add_event(struct buf *out, const struct job_event *event)
{
    buf_printf(out, "id: %lld\nevent: %s\ndata: %s\n\n", (long long)event->id, event->type,
               event->data ? event->data : "{}");
}

static enum stream_next add_news(struct feed *feed, struct buf *out)
{
    struct err_info e = {0};
    struct job job;
    struct event_list events;
    /* The state before the events: what came in between is seen with the next wake-up. */
    if (store_get_job(feed->app->store, feed->scratch, feed->watch.job_id, feed->scope, &job, &e) ||
        store_list_events(feed->app->store, feed->scratch, feed->watch.job_id, feed->last,
                          EVENTS_AT_ONCE, &events, &e))
        return STREAM_END; /* the client comes again with Last-Event-ID */
    for (size_t i = 0; i < events.n; i++)
        add_event(out, &events.items[i]);
    if (events.n)
        feed->last = events.items[events.n - 1].id;
    if (events.n == EVENTS_AT_ONCE)
        return STREAM_MORE;
    if (!job_state_terminal(job.state))
        return STREAM_WAIT;
    buf_printf(out, "event: end\ndata: {\"state\":\"%s\"}\n\n", job_state_text(job.state));
    return STREAM_END;
}

static enum stream_next feed_next(struct stream *s, struct buf *out, bool heartbeat)
{
    struct feed *feed = CONTAINER_OF(s, struct feed, stream);
    if (!feed->greeted)
        buf_printf(out, "retry: %d\n\n", RECONNECT_MS);
    else if (heartbeat)
        buf_add_str(out, ": still here\n\n");
    feed->greeted = true;
    arena_reset(feed->scratch);
    return add_news(feed, out);
}

static void feed_done(struct stream *s)
{
    struct feed *feed = CONTAINER_OF(s, struct feed, stream);
    jobs_unwatch(feed->app->jobs, &feed->watch);
    arena_free(feed->scratch);
}

/* "" and absence start at the beginning (HTML 9.2.4). */
static bool parse_event_id(const char *text, int64_t *out)
{
    *out = 0;
    if (!text || !*text)
        return true;
    size_t n = strlen(text);
    if (n > 18 || strspn(text, "0123456789") != n)
        return false;
    *out = strtoll(text, NULL, 10);
    return true;
}

int stream_job_events(struct call *c)
{
    int64_t last;
    struct job job;
    if (!parse_event_id(c->ops->header(c, "Last-Event-ID"), &last))
        return call_refuse(c, ERR_BAD_REQUEST, "Last-Event-ID is not the id of an event");
    if (store_get_job(c->app->store, c->arena, c->params[0], call_scope(c), &job, &c->err))
        return call_fail(c);
    struct feed *feed = ARENA_NEW(c->arena, struct feed);
    *feed = (struct feed){
        .stream = {.next = feed_next, .done = feed_done, .heartbeat_ms = HEARTBEAT_MS},
        .watch = {.job_id = job.id, .fn = job_changed, .ctx = feed},
        .app = c->app,
        .scope = call_scope(c),
        .scratch = arena_new(),
        .last = last,
    };
    /* Proxies must not hold events back. */
    c->ops->reply_header(c, "X-Accel-Buffering", "no");
    c->ops->reply_header(c, "Cache-Control", "no-store");
    int status = call_stream(c, &feed->stream, "text/event-stream");
    jobs_watch(c->app->jobs, &feed->watch);
    return status;
}
