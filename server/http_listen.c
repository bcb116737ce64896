/* The listening socket: "127.0.0.1:8443", "[::1]:0" or "unix:/run/tlgate.sock". */
#include "server/http_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 1024

static enum err refuse(struct err_info *e, const char *listen, const char *why)
{
    return err_set(e, ERR_CONFIG, "cannot listen on %s: %s", listen, why);
}

static int fail(struct err_info *e, const char *listen, const char *why)
{
    refuse(e, listen, why);
    return -1;
}

/* A socket file that nobody listens on any more is in the way. */
static void remove_stale(const struct sockaddr_un *at)
{
    struct stat st;
    if (lstat(at->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)at, sizeof *at) != 0 && errno == ECONNREFUSED)
        unlink(at->sun_path);
    close(fd);
}

static int listen_unix(struct http *h, const char *path, struct err_info *e)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, path, strlen(path));
    remove_stale(&at);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof at) != 0 ||
        chmod(path, 0660) != 0 || listen(fd, BACKLOG) != 0) {
        int why = errno;
        if (fd >= 0)
            close(fd);
        return fail(e, h->config.listen, strerror(why));
    }
    h->unix_path = strdup(path);
    h->url = strdup(h->config.listen);
    if (!h->unix_path || !h->url)
        abort();
    return fd;
}

static bool is_loopback(const struct sockaddr *at)
{
    if (at->sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)at)->sin6_addr);
    uint32_t ip = ntohl(((const struct sockaddr_in *)(const void *)at)->sin_addr.s_addr);
    return ip >> 24 == 127;
}

/* The address as bound: port 0 has become a real one. */
static void set_url(struct http *h, int fd)
{
    struct sockaddr_storage at = {0};
    socklen_t n = sizeof at;
    char host[INET6_ADDRSTRLEN], port[8];
    if (getsockname(fd, (struct sockaddr *)&at, &n) != 0 ||
        getnameinfo((struct sockaddr *)&at, n, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        abort();
    bool v6 = at.ss_family == AF_INET6;
    if (asprintf(&h->url, "%s://%s%s%s:%s", h->tls ? "https" : "http", v6 ? "[" : "", host,
                 v6 ? "]" : "", port) < 0)
        abort();
}

static int listen_at(struct http *h, const struct addrinfo *at, struct err_info *e)
{
    int on = 1;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int why = errno;
        if (fd >= 0)
            close(fd);
        return fail(e, h->config.listen, strerror(why));
    }
    set_url(h, fd);
    return fd;
}

/* getaddrinfo takes any number and cuts it to 16 bits. */
static bool port_ok(const char *text)
{
    char *end;
    long port = strtol(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && port <= 65535;
}

static enum err resolve(const struct http *h, struct addrinfo **at, struct err_info *e)
{
    const char *listen = h->config.listen;
    char host[64];
    const char *colon = strrchr(listen, ':');
    size_t n = colon ? (size_t)(colon - listen) : 0;
    bool v6 = n > 2 && listen[0] == '[' && listen[n - 1] == ']';
    if (v6) {
        listen++;
        n -= 2;
    }
    if (n == 0 || n >= sizeof host || !port_ok(colon + 1))
        return refuse(e, h->config.listen, "expected ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH");
    snprintf(host, sizeof host, "%.*s", (int)n, listen);
    const struct addrinfo hints = {.ai_family = v6 ? AF_INET6 : AF_INET,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    int why = getaddrinfo(host, colon + 1, &hints, at);
    if (why)
        return refuse(e, h->config.listen, gai_strerror(why));
    if (h->tls || is_loopback((*at)->ai_addr))
        return OK;
    freeaddrinfo(*at);
    return refuse(e, h->config.listen,
                  "plain HTTP is served on loopback and UNIX sockets only; set server.tls_cert and "
                  "server.tls_key");
}

static const char *unix_path(const struct http *h)
{
    return strncmp(h->config.listen, "unix:", 5) == 0 ? h->config.listen + 5 : NULL;
}

static bool path_fits(const char *path)
{
    return strlen(path) < sizeof((struct sockaddr_un *)NULL)->sun_path;
}

enum err http_listen_check(const struct http *h, struct err_info *e)
{
    struct addrinfo *at = NULL;
    if (unix_path(h))
        return path_fits(unix_path(h)) ? OK : refuse(e, h->config.listen, "the path is too long");
    enum err err = resolve(h, &at, e);
    if (!err)
        freeaddrinfo(at);
    return err;
}

int http_listen_open(struct http *h, struct err_info *e)
{
    struct addrinfo *at = NULL;
    if (unix_path(h))
        return http_listen_check(h, e) ? -1 : listen_unix(h, unix_path(h), e);
    if (resolve(h, &at, e) || !at)
        return -1;
    int fd = listen_at(h, at, e);
    freeaddrinfo(at);
    return fd;
}
