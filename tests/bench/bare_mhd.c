/*
 * The yardstick for polls: libmicrohttpd with the gateway's daemon flags and nothing else. Every
 * request gets the same reply, read from a file: status line, header lines, an empty line, body.
 *
 *     bare_mhd PORT REPLY fresh|cached [CERT KEY]
 *
 * "fresh" makes a response for each request, which any reply with a header of its own needs;
 * "cached" queues one response object again and again.
 */
#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEADERS_MAX 32

struct reply {
    unsigned status;
    size_t n;
    const char *names[HEADERS_MAX];
    const char *values[HEADERS_MAX];
    char *body;
    size_t body_len;
    struct MHD_Response *cached;
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static char *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0)
        die(path);
    *len = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(*len + 1);
    if (!text || fread(text, 1, *len, f) != *len)
        die(path);
    text[*len] = 0;
    fclose(f);
    return text;
}

/* Cuts the line at `at` off; NULL where it is the empty one. */
static char *take_line(char **at)
{
    char *line = *at, *end = strstr(line, "\r\n");
    if (!end)
        die("the reply has no end of its head");
    *end = 0;
    *at = end + 2;
    return *line ? line : NULL;
}

static void parse_reply(char *text, size_t len, struct reply *out)
{
    char *at = text, *line = take_line(&at);
    out->status = (unsigned)strtoul(line + strcspn(line, " "), NULL, 10);
    while ((line = take_line(&at))) {
        char *colon = strstr(line, ": ");
        if (!colon || out->n == HEADERS_MAX)
            die("the reply's head");
        *colon = 0;
        out->names[out->n] = line;
        out->values[out->n++] = colon + 2;
    }
    out->body = at;
    out->body_len = len - (size_t)(at - text);
}

static struct MHD_Response *make_response(const struct reply *r)
{
    struct MHD_Response *m =
        MHD_create_response_from_buffer(r->body_len, r->body, MHD_RESPMEM_PERSISTENT);
    if (!m)
        die("response");
    for (size_t i = 0; i < r->n; i++)
        if (MHD_add_response_header(m, r->names[i], r->values[i]) != MHD_YES)
            die(r->names[i]);
    return m;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **con_cls)
{
    static int seen;
    const struct reply *r = cls;
    if (!*con_cls) {
        *con_cls = &seen;
        return MHD_YES;
    }
    struct MHD_Response *m = r->cached ? r->cached : make_response(r);
    enum MHD_Result queued = MHD_queue_response(c, r->status, m);
    if (!r->cached)
        MHD_destroy_response(m);
    return queued;
}

int main(int argc, char **argv)
{
    struct reply reply = {0};
    size_t len = 0;
    if (argc != 4 && argc != 6)
        return 2;
    bool tls = argc == 6;
    char *text = read_file(argv[2], &len);
    parse_reply(text, len, &reply);
    if (strcmp(argv[3], "cached") == 0)
        reply.cached = make_response(&reply);
    struct MHD_OptionItem secure[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, tls ? read_file(argv[4], &len) : NULL},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, tls ? read_file(argv[5], &len) : NULL},
        {MHD_OPTION_HTTPS_PRIORITIES, 0,
         (void *)(uintptr_t) "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL}};
    if (!tls)
        secure[0].option = MHD_OPTION_END;
    /* As server/http.c starts its daemon. */
    struct MHD_Daemon *d = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
            (tls ? MHD_USE_TLS : 0u),
        (uint16_t)strtoul(argv[1], NULL, 10), NULL, NULL, on_request, &reply,
        MHD_OPTION_THREAD_POOL_SIZE, 2u, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)32 * 1024,
        MHD_OPTION_CONNECTION_LIMIT, 16384u, MHD_OPTION_PER_IP_CONNECTION_LIMIT, 4096u,
        MHD_OPTION_CONNECTION_TIMEOUT, 60u, MHD_OPTION_ARRAY, secure, MHD_OPTION_END);
    if (!d)
        die("daemon");
    puts("ready");
    fflush(stdout);
    pause();
    return 0;
}
