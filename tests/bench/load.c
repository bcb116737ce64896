/*
 * Sends prepared HTTP requests over keep-alive connections and counts the replies: each request
 * once, in the order of the file, the next one free to whichever connection has its reply.
 *
 *     load PORT CONNECTIONS FILE [BODIES]
 *
 * The file is a sequence of a length (32 bits, host order) and that many bytes: one whole request. The
 * bodies of the replies are written into BODIES in the same form, in the order in which they come.
 * Prints JSON: wall seconds from the first byte to the last, counts by status, the largest and the
 * 99th percentile of the latencies in milliseconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REPLY_MAX (64 * 1024)

struct client {
    int fd;
    const char *out; /* what is not yet sent */
    size_t left;
    size_t got;
    double since;
    char in[REPLY_MAX];
};

static const char *next_request, *end_of_requests;
static long counts[600], answered, taken;
static double *latencies;
static int poll_fd;
static FILE *bodies;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void watch(struct client *c, int op, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};
    if (epoll_ctl(poll_fd, op, c->fd, &ev) != 0)
        die("epoll");
}

static void send_some(struct client *c)
{
    while (c->left > 0) {
        ssize_t n = send(c->fd, c->out, c->left, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        if (n < 0)
            die("send");
        c->out += n;
        c->left -= (size_t)n;
    }
}

/* False where no request is left. */
static bool begin(struct client *c)
{
    uint32_t len;
    if (next_request == end_of_requests)
        return false;
    memcpy(&len, next_request, sizeof len);
    c->out = next_request + sizeof len;
    c->left = len;
    c->got = 0;
    next_request = c->out + len;
    taken++;
    c->since = now();
    send_some(c);
    return true;
}

/* Size of the whole reply; 0 where its head is not complete. */
static size_t reply_size(struct client *c)
{
    c->in[c->got] = 0;
    char *end = strstr(c->in, "\r\n\r\n"), *length = strcasestr(c->in, "\r\ncontent-length:");
    if (!end)
        return 0;
    size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
    return (size_t)(end - c->in) + 4 + body;
}

static void keep_body(const struct client *c, size_t size)
{
    const char *body = strstr(c->in, "\r\n\r\n") + 4;
    uint32_t len = (uint32_t)(c->in + size - body);
    if (fwrite(&len, sizeof len, 1, bodies) != 1 || fwrite(body, 1, len, bodies) != len)
        die("bodies");
}

static void receive(struct client *c)
{
    ssize_t n = recv(c->fd, c->in + c->got, sizeof c->in - 1 - c->got, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        die("the server closed a connection");
    c->got += (size_t)n;
    size_t size = reply_size(c);
    if (size == 0 || c->got < size)
        return;
    unsigned long status = strtoul(c->in + 9, NULL, 10);
    if (status < 200 || status >= 600)
        die("not a reply");
    if (counts[status]++ == 0 && status >= 400)
        fprintf(stderr, "%s\n", c->in);
    latencies[answered++] = now() - c->since;
    if (bodies)
        keep_body(c, size);
    if (!begin(c))
        watch(c, EPOLL_CTL_DEL, 0);
}

static void turn(void)
{
    struct epoll_event events[64];
    int n = epoll_wait(poll_fd, events, 64, 30000);
    if (n == 0) {
        errno = ETIMEDOUT;
        die("no reply");
    }
    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT) {
            watch(c, EPOLL_CTL_MOD, EPOLLIN);
            send_some(c);
        }
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            receive(c);
    }
}

static struct client *open_client(uint16_t port)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    struct client *c = calloc(1, sizeof *c);
    if (!c)
        die("memory");
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&at, sizeof at) != 0)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
    return c;
}

static void map(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        die(path);
    next_request = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (next_request == MAP_FAILED)
        die(path);
    end_of_requests = next_request + st.st_size;
    latencies = calloc((size_t)st.st_size / 16 + 1, sizeof *latencies);
    if (!latencies)
        die("memory");
    close(fd);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 5)
        return 2;
    if (argc == 5 && !(bodies = fopen(argv[4], "wb")))
        die(argv[4]);
    int n = (int)strtol(argv[2], NULL, 10);
    struct client **clients = calloc((size_t)n, sizeof *clients);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || poll_fd < 0)
        die("memory");
    map(argv[3]);
    for (int i = 0; i < n; i++)
        clients[i] = open_client((uint16_t)strtoul(argv[1], NULL, 10));
    double start = now();
    for (int i = 0; i < n; i++)
        begin(clients[i]);
    while (answered < taken)
        turn();
    double took = now() - start;
    if (bodies && fclose(bodies) != 0)
        die("bodies");
    qsort(latencies, (size_t)answered, sizeof *latencies, by_size);
    printf("{\"seconds\": %.4f, \"p99_ms\": %.2f, \"max_ms\": %.2f, \"statuses\": {", took,
           latencies[answered * 99 / 100] * 1e3, latencies[answered - 1] * 1e3);
    const char *comma = "";
    for (int s = 0; s < 600; s++)
        if (counts[s]) {
            printf("%s\"%d\": %ld", comma, s, counts[s]);
            comma = ", ";
        }
    puts("}}");
    return 0;
}
