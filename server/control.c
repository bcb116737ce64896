#include "server/control.h"

#include "core/json.h"
#include "core/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_MAX_BYTES 65536
#define NO_ROOM_MS     200
#define TIMEOUT_S      5
#define REPLY_S        300 /* a backup takes its time */

struct control {
    const struct admin *admin;
    pthread_t thread;
    int fd;
    int stop;
    struct sockaddr_un at;
};

static bool address(const char *data_dir, struct sockaddr_un *at)
{
    *at = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n = snprintf(at->sun_path, sizeof at->sun_path, "%s/control.sock", data_dir);
    return n > 0 && (size_t)n < sizeof at->sun_path;
}

static void set_timeout(int fd, int option, int seconds)
{
    const struct timeval limit = {.tv_sec = seconds};
    setsockopt(fd, SOL_SOCKET, option, &limit, sizeof limit);
}

/* Up to the line's end, which is left out. */
static bool read_line(int fd, struct buf *out)
{
    while (out->len < LINE_MAX_BYTES * 16) {
        ssize_t n = read(fd, buf_reserve(out, 4096), 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        out->len += (size_t)n;
        if (out->data[out->len - 1] != '\n')
            continue;
        out->len--;
        return true;
    }
    return false;
}

static bool write_line(int fd, struct buf *line)
{
    buf_add_char(line, '\n');
    for (size_t at = 0; at < line->len;) {
        ssize_t n = send(fd, line->data + at, line->len - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

/* ---- the server ---- */

static bool peer_allowed(int fd)
{
    struct ucred peer;
    socklen_t n = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

static void answer(const struct admin *admin, struct bytes request, struct buf *line)
{
    struct err_info why = {0};
    struct buf result = {0};
    struct jw w = jw_over(line);
    enum err err = admin_run(admin, request, &result, &why);
    jw_open(&w, '{');
    jw_key_bool(&w, "ok", err == OK);
    if (err) {
        jw_key_str(&w, "code", err_code(err));
        jw_key_str(&w, "detail", why.detail);
    } else {
        jw_key_raw_opt(&w, "result", result.data);
    }
    jw_close(&w, '}');
    buf_free(&result);
}

static void serve_peer(const struct admin *admin, int fd)
{
    struct buf request = {0}, line = {0};
    set_timeout(fd, SO_RCVTIMEO, TIMEOUT_S);
    set_timeout(fd, SO_SNDTIMEO, TIMEOUT_S);
    if (!peer_allowed(fd)) {
        log_warn("control: a peer of another user was refused");
    } else if (read_line(fd, &request)) {
        answer(admin, buf_bytes(&request), &line);
        if (!write_line(fd, &line))
            log_warn("control: the answer could not be sent");
    }
    buf_free(&request);
    buf_free(&line);
}

static void *listen_loop(void *arg)
{
    struct control *c = arg;
    for (;;) {
        struct pollfd fds[] = {{.fd = c->stop, .events = POLLIN}, {.fd = c->fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return NULL;
        if (fds[0].revents)
            return NULL;
        int fd = fds[1].revents ? accept4(c->fd, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd < 0 && fds[1].revents && errno != EAGAIN && errno != EINTR)
            poll(fds, 1, NO_ROOM_MS); /* no descriptor is free: the peer waits, and would wake us */
        if (fd < 0)
            continue;
        serve_peer(c->admin, fd);
        close(fd);
    }
}

enum err control_start(const char *data_dir, const struct admin *admin, struct control **out,
                       struct err_info *e)
{
    struct control *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->admin = admin;
    if (!address(data_dir, &c->at)) {
        free(c);
        return err_set(e, ERR_CONFIG, "data_dir is too long a path for control.sock");
    }
    /* The store's lock is ours: whoever made this file is gone. */
    unlink(c->at.sun_path);
    c->stop = eventfd(0, EFD_CLOEXEC);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t before = umask(0177);
    bool ok = c->fd >= 0 && c->stop >= 0 &&
              bind(c->fd, (const struct sockaddr *)&c->at, sizeof c->at) == 0;
    umask(before);
    if (!ok || listen(c->fd, 8) != 0) {
        err_set(e, ERR_CONFIG, "cannot listen on %s: %s", c->at.sun_path, strerror(errno));
        close(c->fd);
        close(c->stop);
        free(c);
        return ERR_CONFIG;
    }
    if (pthread_create(&c->thread, NULL, listen_loop, c) != 0)
        abort();
    *out = c;
    return OK;
}

void control_stop(struct control *c)
{
    if (!c)
        return;
    const uint64_t one = 1;
    if (write(c->stop, &one, sizeof one) != sizeof one)
        abort();
    pthread_join(c->thread, NULL);
    unlink(c->at.sun_path);
    close(c->fd);
    close(c->stop);
    free(c);
}

/* ---- the client ---- */

static enum err read_answer(struct bytes line, struct buf *out, struct err_info *e)
{
    AUTO(json) json_t *v = NULL;
    if (json_parse(line, &v, e))
        return err_set(e, ERR_INTERNAL, "the server's answer is not well-formed");
    if (!json_is_true(json_path(v, "ok"))) {
        const char *code = json_path_str(v, "code"), *detail = json_path_str(v, "detail");
        return err_set(e, err_from_code(code ? code : ""), "%s", detail ? detail : "refused");
    }
    char *text = json_dumps(json_path(v, "result"), JSON_COMPACT);
    if (!text)
        return err_set(e, ERR_INTERNAL, "the server's answer has no result");
    struct secret result = {.text = text, .len = strlen(text)};
    buf_add(out, result.text, result.len);
    explicit_bzero(text, result.len);
    free(text);
    return OK;
}

enum err control_ask(const char *data_dir, struct bytes request, struct buf *out, bool *reached,
                     struct err_info *e)
{
    struct sockaddr_un at;
    *reached = false;
    if (!address(data_dir, &at))
        return err_set(e, ERR_CONFIG, "data_dir is too long a path for control.sock");
    AUTO(fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set(e, ERR_UNAVAILABLE, "no socket: %s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&at, sizeof at) != 0) {
        if (errno == ENOENT || errno == ECONNREFUSED)
            return OK;
        return err_set(e, ERR_UNAVAILABLE, "cannot reach %s: %s", at.sun_path, strerror(errno));
    }
    *reached = true;
    struct buf line = {0}, reply = {0};
    set_timeout(fd, SO_RCVTIMEO, REPLY_S);
    buf_add(&line, request.data, request.len);
    enum err err = OK;
    if (!write_line(fd, &line) || !read_line(fd, &reply))
        err = err_set(e, ERR_UNAVAILABLE, "the server did not answer on %s", at.sun_path);
    if (!err)
        err = read_answer(buf_bytes(&reply), out, e);
    buf_free(&line);
    buf_free(&reply);
    return err;
}
