#include "emulator/reqlog.h"

#include <errno.h>
#include <fcntl.h>

static void path_of(const struct emulator *em, char *out, size_t size)
{
    snprintf(out, size, "%s/requests.jsonl", em->dir);
}

static enum err open_file(struct emulator *em, int flags, struct err_info *e)
{
    char path[sizeof em->dir + 32];
    path_of(em, path, sizeof path);
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | flags, 0600);
    em->request_log = fd >= 0 ? fdopen(fd, "a+") : NULL;
    if (!em->request_log)
        return err_set(e, ERR_CONFIG, "cannot write %s: %s", path, strerror(errno));
    return OK;
}

enum err reqlog_open(struct emulator *em, struct err_info *e)
{
    return open_file(em, 0, e);
}

void reqlog_close(struct emulator *em)
{
    if (em->request_log)
        fclose(em->request_log);
    em->request_log = NULL;
}

void reqlog_note(struct arm_call *c, const char *note)
{
    c->note = note;
}

static json_t *logged_body(const struct arm_call *c)
{
    struct bytes raw = c->req->body;
    if (raw.len == 0)
        return json_null();
    json_t *parsed = json_loadb((const char *)raw.data, raw.len, JSON_DECODE_ANY, NULL);
    if (parsed)
        return parsed;
    json_t *text = json_stringn((const char *)raw.data, raw.len);
    return text ? text : json_string("(not UTF-8)");
}

void reqlog_write(struct arm_call *c)
{
    char now[TIME_TEXT_SIZE];
    time_format(c->now, now);
    json_t *line =
        json_pack("{ss ss so so so ss}", "method", c->req->method, "url", c->req->url, "headers",
                  http_headers(c->req), "body", logged_body(c), "status",
                  c->resp->status ? json_integer(c->resp->status) : json_null(), "time", now);
    if (c->resp->drop)
        json_object_set_new(line, "dropped", json_true());
    if (c->retry_after > 0)
        json_object_set_new(line, "retryAfter", json_integer(c->retry_after));
    if (c->note)
        json_object_set_new(line, "note", json_string(c->note));
    char *text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    if (!text)
        return;
    fprintf(c->em->request_log, "%s\n", text);
    fflush(c->em->request_log);
    free(text);
}

void reqlog_reply(struct emulator *em, struct http_response *resp)
{
    resp->status = 200;
    buf_add_str(&resp->body, "{\"value\":[");
    rewind(em->request_log);
    AUTO(free) char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    for (bool first = true; (n = getline(&line, &cap, em->request_log)) > 0; first = false) {
        if (!first)
            buf_add_char(&resp->body, ',');
        buf_add(&resp->body, line, (size_t)n - 1);
    }
    buf_add_str(&resp->body, "]}");
}

void reqlog_clear(struct emulator *em)
{
    /* Opened for appending: what is written next goes to the new end. */
    if (ftruncate(fileno(em->request_log), 0) != 0)
        abort();
}
