#include "arm/request.h"

#define HEADER_TEXT_MAX 256

struct arm_request arm_request_copy(struct arena *a, const struct arm_request *q)
{
    char id[UUID_SIZE];
    uuid_v4(id);
    return (struct arm_request){
        .method = q->method,
        .subscription = arena_strdup(a, q->subscription),
        .target = arena_strdup(a, q->target ? q->target : ""),
        .body = arena_copy(a, q->body),
        .client_request_id = arena_strdup(a, q->client_request_id ? q->client_request_id : id),
        .correlation_id = arena_strdup(a, q->correlation_id),
        .traceparent = arena_strdup(a, q->traceparent),
        .if_match = arena_strdup(a, q->if_match),
        .if_none_match = arena_strdup(a, q->if_none_match),
        .poll = q->poll && q->method == ARM_GET,
        .timeout_ms = q->timeout_ms,
    };
}

/* What may stand in a header: absent, or visible ASCII and blanks. */
static bool header_text_ok(const char *s)
{
    size_t n = s ? strnlen(s, HEADER_TEXT_MAX + 1) : 0;
    for (size_t i = 0; i < n; i++)
        if (s[i] < 0x20 || s[i] > 0x7e)
            return false;
    return n <= HEADER_TEXT_MAX;
}

const char *arm_request_url(struct arena *a, const char *endpoint, const struct arm_request *q,
                            const char **why)
{
    const char *url =
        q->target[0] == '/' ? arena_printf(a, "%s%s", endpoint, q->target) : q->target;
    *why = NULL;
    if (!arm_url_host_ok(endpoint, url))
        *why = "the target is not a URL on the configured ARM host";
    else if (!header_text_ok(q->client_request_id) || !header_text_ok(q->correlation_id) ||
             !header_text_ok(q->traceparent) || !header_text_ok(q->if_match) ||
             !header_text_ok(q->if_none_match))
        *why = "a header value is too long or has control bytes";
    else if (q->body.len > ARM_BODY_MAX)
        *why = "the body is too large";
    return *why ? NULL : url;
}

static void add(struct arm_http *h, struct arm_http_call *c, const char *name, const char *value)
{
    if (value)
        arm_http_header(h, c, name, value);
}

void arm_request_headers(struct arm_http *h, struct arm_http_call *c, const struct arm_request *q)
{
    bool sends_body = q->method == ARM_PUT || q->method == ARM_PATCH || q->method == ARM_POST;
    add(h, c, "Accept", "application/json");
    if (sends_body) /* an empty value keeps curl from calling it a form */
        add(h, c, "Content-Type", q->body.len ? "application/json" : "");
    add(h, c, "x-ms-client-request-id", q->client_request_id);
    add(h, c, "x-ms-correlation-request-id", q->correlation_id);
    add(h, c, "traceparent", q->traceparent);
    add(h, c, "If-Match", q->if_match);
    add(h, c, "If-None-Match", q->if_none_match);
}
