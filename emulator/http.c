#include "emulator/http.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdarg.h>

struct http_listener {
    struct MHD_Daemon *daemon;
    http_handle_fn *handle;
    void *ctx;
};

/* One request while it is received; libmicrohttpd's con_cls. */
struct exchange {
    struct http_request req;
    struct buf body;
};

static void *exchange_new(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct arena *arena = arena_new();
    struct exchange *x = ARENA_NEW(arena, struct exchange);
    x->req.arena = arena;
    x->req.url = arena_strdup(arena, uri);
    x->req.connection = connection;
    return x;
}

static void exchange_done(void *cls, struct MHD_Connection *connection, void **con_cls,
                          enum MHD_RequestTerminationCode why)
{
    struct exchange *x = *con_cls;
    if (!x)
        return;
    buf_free(&x->body);
    arena_free(x->req.arena);
    *con_cls = NULL;
}

static void add_reply_headers(const struct http_response *resp, struct MHD_Response *out)
{
    for (unsigned i = 0; i < resp->n_headers; i++)
        MHD_add_response_header(out, resp->headers[i].name, resp->headers[i].value);
    if (resp->body.len > 0)
        MHD_add_response_header(out, "Content-Type",
                                resp->media ? resp->media : "application/json; charset=utf-8");
}

static enum MHD_Result answer(struct http_listener *l, struct exchange *x)
{
    struct http_response resp = {.arena = x->req.arena};
    l->handle(l->ctx, &x->req, &resp);
    if (resp.drop) {
        buf_free(&resp.body);
        return MHD_NO;
    }
    struct MHD_Response *out =
        MHD_create_response_from_buffer(resp.body.len, resp.body.data, MHD_RESPMEM_MUST_COPY);
    add_reply_headers(&resp, out);
    buf_free(&resp.body);
    enum MHD_Result done = MHD_queue_response(x->req.connection, (unsigned)resp.status, out);
    MHD_destroy_response(out);
    return done;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **con_cls)
{
    struct exchange *x = *con_cls;
    if (!x->req.method) {
        x->req.method = arena_strdup(x->req.arena, method);
        x->req.path = arena_strdup(x->req.arena, url);
        return MHD_YES;
    }
    if (*size > 0) {
        if (x->body.len + *size > HTTP_BODY_MAX)
            x->req.body_too_large = true;
        if (!x->req.body_too_large)
            buf_add(&x->body, data, *size);
        *size = 0;
        return MHD_YES;
    }
    if (!x->req.body_too_large)
        x->req.body = buf_bytes(&x->body);
    return answer(cls, x);
}

/* Loopback only: the emulator gives out tokens to whoever asks. */
static bool parse_address(const char *text, struct sockaddr_in *out)
{
    const char *colon = strrchr(text, ':');
    char host[64];
    if (!colon || (size_t)(colon - text) >= sizeof host)
        return false;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (*end || end == colon + 1 || port > 65535)
        return false;
    *out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &out->sin_addr) !=
        1)
        return false;
    return (ntohl(out->sin_addr.s_addr) >> 24) == 127;
}

enum err http_listen(const struct http_options *o, struct http_listener **out, struct err_info *e)
{
    struct sockaddr_in address;
    if (!parse_address(o->address, &address))
        return err_set(e, ERR_CONFIG, "%s is not a loopback address and port", o->address);
    struct http_listener *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    l->handle = o->handle;
    l->ctx = o->ctx;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL;
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)o->tls_cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)o->tls_key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL},
    };
    struct MHD_OptionItem plain[] = {{MHD_OPTION_END, 0, NULL}};
    if (o->tls_cert)
        flags |= MHD_USE_TLS;
    errno = 0;
    l->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, l, MHD_OPTION_SOCK_ADDR,
                                 &address, MHD_OPTION_URI_LOG_CALLBACK, exchange_new, NULL,
                                 MHD_OPTION_NOTIFY_COMPLETED, exchange_done, NULL,
                                 MHD_OPTION_CONNECTION_LIMIT, 4096u, MHD_OPTION_CONNECTION_TIMEOUT,
                                 300u, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)64 * 1024,
                                 MHD_OPTION_ARRAY, o->tls_cert ? tls : plain, MHD_OPTION_END);
    if (!l->daemon) {
        free(l);
        return err_set(e, ERR_CONFIG, "cannot listen on %s: %s", o->address, strerror(errno));
    }
    *out = l;
    return OK;
}

unsigned http_port(const struct http_listener *l)
{
    return MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
}

void http_close(struct http_listener *l)
{
    if (!l)
        return;
    MHD_stop_daemon(l->daemon);
    free(l);
}

const char *http_header(const struct http_request *req, const char *name)
{
    return MHD_lookup_connection_value(req->connection, MHD_HEADER_KIND, name);
}

const char *http_query(const struct http_request *req, const char *name)
{
    return MHD_lookup_connection_value(req->connection, MHD_GET_ARGUMENT_KIND, name);
}

static enum MHD_Result collect_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                      const char *value)
{
    char lower[128];
    size_t n = 0;
    for (; name[n] && n + 1 < sizeof lower; n++)
        lower[n] = (char)tolower((unsigned char)name[n]);
    lower[n] = 0;
    json_object_set_new(cls, lower, json_string(value ? value : ""));
    return MHD_YES;
}

json_t *http_headers(const struct http_request *req)
{
    json_t *all = json_object();
    MHD_get_connection_values(req->connection, MHD_HEADER_KIND, collect_header, all);
    return all;
}

static void form_decode(char *s)
{
    for (char *p = s; *p; p++)
        if (*p == '+')
            *p = ' ';
    MHD_http_unescape(s);
}

json_t *http_form(const struct http_request *req)
{
    json_t *form = json_object();
    char *rest = arena_strndup(req->arena, (const char *)req->body.data, req->body.len);
    while (rest && *rest) {
        char *pair = strsep(&rest, "&");
        char *value = strchr(pair, '=');
        if (!value)
            continue;
        *value++ = 0;
        form_decode(pair);
        form_decode(value);
        json_object_set_new(form, pair, json_string(value));
    }
    return form;
}

void http_add_header(struct http_response *resp, const char *name, const char *fmt, ...)
{
    if (resp->n_headers == HTTP_HEADERS_MAX)
        return;
    char value[4096];
    va_list va;
    va_start(va, fmt);
    vsnprintf(value, sizeof value, fmt, va);
    va_end(va);
    resp->headers[resp->n_headers].name = name;
    resp->headers[resp->n_headers++].value = arena_strdup(resp->arena, value);
}

void http_reply_json(struct http_response *resp, int status, json_t *body)
{
    resp->status = status;
    buf_reset(&resp->body);
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (!text)
        return;
    buf_add_str(&resp->body, text);
    free(text);
}
