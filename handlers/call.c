#include "handlers/call.h"

#include "handlers/etag.h"
#include "handlers/problem.h"
#include "handlers/view.h"

#include <stdarg.h>

/* Seconds until a client may ask again about a job that is under way. */
#define POLL_AFTER_S 1

struct jw *call_json(struct call *c)
{
    buf_reset(&c->out);
    c->jw = jw_over(&c->out);
    return &c->jw;
}

const char *call_trace_id(const struct call *c)
{
    /* version "-" trace-id "-" ...; W3C Trace Context section 3.2 */
    return arena_strndup(c->arena, c->traceparent + 3, 32);
}

static void seconds_header(struct call *c, const char *name, int seconds)
{
    static const char *const few[] = {"0", "1"};
    bool known = seconds >= 0 && (size_t)seconds < ARRAY_LEN(few);
    c->ops->reply_header(c, name, known ? few[seconds] : arena_printf(c->arena, "%d", seconds));
}

static int problem_headers(struct call *c)
{
    enum err code = c->err.code ? c->err.code : ERR_INTERNAL;
    c->content_type = PROBLEM_MEDIA;
    if (code == ERR_UNAUTHENTICATED)
        c->ops->reply_header(c, "WWW-Authenticate", "Bearer");
    if (c->err.retry_after > 0)
        seconds_header(c, "Retry-After", c->err.retry_after);
    return err_http_status(code);
}

const char *call_rate_limit(struct call *c, const char *what)
{
    return arena_printf(c->arena, "\"%s\";r=0;t=%d", what, c->err.retry_after);
}

int call_fail(struct call *c)
{
    problem_write(&c->out, &c->err, c->request_id, call_trace_id(c));
    return problem_headers(c);
}

struct jw *call_problem(struct call *c)
{
    c->jw = problem_open(&c->out, &c->err, c->request_id, call_trace_id(c));
    problem_headers(c);
    return &c->jw;
}

int call_refuse(struct call *c, enum err code, const char *fmt, ...)
{
    char detail[sizeof c->err.detail];
    va_list args;
    va_start(args, fmt);
    vsnprintf(detail, sizeof detail, fmt, args);
    va_end(args);
    c->err = (struct err_info){0};
    err_set(&c->err, code, "%s", detail);
    return call_fail(c);
}

void call_wait(struct call *c, call_fn *then)
{
    c->then = then;
    c->ops->suspend(c);
}

void call_resume(struct call *c)
{
    c->ops->resume(c);
}

static void committed(struct store_done *done)
{
    struct call *c = done->user;
    if (done->err)
        c->err = done->info;
    call_resume(c);
}

struct store_done *call_commit(struct call *c, call_fn *then)
{
    c->done.fn = committed; /* the rest is the store's */
    c->done.user = c;
    err_clear(&c->done.info);
    call_wait(c, then);
    return &c->done;
}

int call_accepted(struct call *c, const struct job *job)
{
    const char *where = arena_concat(c->arena, "/v1/jobs/", job->id, NULL);
    c->ops->reply_header(c, "Location", where);
    c->ops->reply_header(c, "Operation-Location", where);
    seconds_header(c, "Retry-After", job_state_terminal(job->state) ? 0 : POLL_AFTER_S);
    view_job(call_json(c), job);
    return 202;
}

static int tagged(struct call *c, const char *etag, const char *mark, const char *cache)
{
    c->ops->reply_header(c, "ETag", arena_concat(c->arena, mark, "\"", etag, "\"", NULL));
    c->ops->reply_header(c, "Cache-Control", cache);
    if (!etag_listed(c->ops->header(c, "If-None-Match"), etag))
        return 200;
    buf_reset(&c->out);
    return 304;
}

/* A cache may keep it for this client and must ask before each use. */
int call_etag(struct call *c, const char *etag)
{
    return tagged(c, etag, "", "private, no-cache");
}

int call_etag_weak(struct call *c, const char *etag)
{
    return tagged(c, etag, "W/", "private, no-cache");
}

int call_etag_public(struct call *c, int seconds)
{
    char etag[ETAG_SIZE];
    etag_of((struct bytes){(const uint8_t *)c->out.data, c->out.len}, etag);
    return tagged(c, etag, "", arena_printf(c->arena, "public, max-age=%d", seconds));
}

int call_etag_of_body(struct call *c)
{
    char etag[ETAG_SIZE];
    etag_of((struct bytes){(const uint8_t *)c->out.data, c->out.len}, etag);
    return call_etag(c, etag);
}

enum err call_if_match(struct call *c, const char **etag)
{
    const char *field = c->ops->header(c, "If-Match");
    size_t n = field ? strlen(field) : 0;
    *etag = NULL;
    if (!field)
        return OK;
    if (n < 3 || field[0] != '"' || field[n - 1] != '"' || memchr(field + 1, '"', n - 2))
        return err_set(&c->err, ERR_BAD_REQUEST, "If-Match must be one strong ETag");
    *etag = arena_strndup(c->arena, field + 1, n - 2);
    return OK;
}

int call_stream(struct call *c, struct stream *s, const char *content_type)
{
    c->stream = s;
    c->content_type = content_type;
    return 200;
}

struct audit call_audit(const struct call *c, const char *action, const char *resource_id)
{
    return (struct audit){
        .principal_id = c->who ? c->who->id : NULL,
        .principal = c->who ? c->who->name : NULL,
        .action = action,
        .resource_id = resource_id,
        .request_id = c->request_id,
        .traceparent = c->traceparent,
        .peer = c->peer,
    };
}

const char *call_scope(const struct call *c)
{
    return c->who ? c->who->scope : NULL;
}
