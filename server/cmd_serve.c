/* tlgate serve, and the commands that only look: check-config, version. */
#include "server/commands.h"

#include "core/clock.h"
#include "core/log.h"
#include "server/gateway.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TICK_MS   20
#define RELOAD_MS (10 * 60 * 1000)

/* sd_notify(3): one datagram to $NOTIFY_SOCKET. Nobody listens outside systemd. */
static void notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof at.sun_path)
        return;
    memcpy(at.sun_path, path, strlen(path));
    if (*path == '@')
        at.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&at, n);
    close(fd);
}

static enum log_level level_of(const char *name)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], name) == 0)
            return (enum log_level)i;
    return LOG_INFO;
}

/* A connection is a descriptor: take as many as we may. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Blocked in every thread, so that only the main one takes them. */
static sigset_t block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    sigdelset(&set, SIGHUP); /* taken by serve_until_stopped only */
    signal(SIGPIPE, SIG_IGN);
    return set;
}

static void stop_at_once(void)
{
    log_warn("stopped at once; unfinished requests are lost, jobs go on at the next start");
    _exit(1);
}

/* Waits for a signal up to ms; true where one came. */
static bool wait_signal(const sigset_t *set, int64_t ms)
{
    const struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    return sigtimedwait(set, NULL, &limit) > 0;
}

/* SIGHUP and the passing of time have certificates read again. */
static void serve_until_stopped(struct gateway *g, const sigset_t *stop)
{
    const struct timespec every = {.tv_sec = RELOAD_MS / 1000};
    sigset_t all = *stop;
    sigaddset(&all, SIGHUP);
    for (;;) {
        int got = sigtimedwait(&all, NULL, &every);
        if (got == SIGTERM || got == SIGINT)
            return;
        if (got == SIGHUP || errno == EAGAIN)
            gateway_reload(g);
    }
}

/* What gateway.h offers, in the order of a graceful stop; a second signal cuts it short. */
static void shut_down(struct gateway *g, const struct settings *s, const sigset_t *set)
{
    notify("STOPPING=1");
    log_info("stopping", LOG_I("requests", gateway_busy(g)));
    gateway_not_ready(g);
    if (s->server.drain_delay_ms && wait_signal(set, s->server.drain_delay_ms))
        stop_at_once();
    gateway_drain(g);
    int64_t until = clock_mono(&clock_system) + s->server.drain_timeout_ms;
    while (gateway_busy(g) > 0 && clock_mono(&clock_system) < until)
        if (wait_signal(set, TICK_MS))
            stop_at_once();
    if (gateway_busy(g) > 0) {
        /* They wait for something that holds parts of us: leave the taking apart to the kernel.
         * What was answered is durable, and leases of a former process are void. */
        log_warn("stopped with requests under way", LOG_I("requests", gateway_busy(g)));
        _exit(0);
    }
    gateway_stop(g);
    log_info("stopped");
}

/* The threads wake each other many times for a request: a commit answers some sixty of them. Of this class
 * (sched(7)) a thread goes on until its turn ends, instead of giving its core to each that it wakes. Threads
 * take it over from the first; where it is not allowed, all goes on as before. */
static void schedule_in_turns(void)
{
    const struct sched_param none = {0};
    if (sched_setscheduler(0, SCHED_BATCH, &none))
        log_debug("threads are not scheduled in turns", LOG_S("error", strerror(errno)));
}

static int serve(const struct settings *s)
{
    struct err_info why = {0};
    struct gateway *g = NULL;
    log_level_set(level_of(s->log_level));
    raise_descriptors();
    schedule_in_turns();
    sigset_t set = block_signals();
    if (!secret_protect_process())
        log_warn("core dumps of this process cannot be ruled out");
    if (gateway_start(s, &g, &why))
        return command_fail(&why);
    log_gather_start();
    printf("%s\n", gateway_url(g));
    fflush(stdout);
    log_info("serving", LOG_S("url", gateway_url(g)), LOG_S("version", TLGATE_VERSION));
    notify("READY=1");
    serve_until_stopped(g, &set);
    shut_down(g, s, &set);
    log_gather_stop();
    return 0;
}

int cmd_serve(int argc, char **argv)
{
    static const char *const names[] = {"config", NULL};
    const char *values[ARRAY_LEN(names)] = {0};
    if (!command_options(&argc, argv, names, values) || argc != 0)
        return command_usage("serve [--config FILE]");
    struct arena *arena = arena_new();
    struct settings s;
    struct err_info why = {0};
    int status = command_settings(values[0], arena, &s, &why) ? command_fail(&why) : serve(&s);
    arena_free(arena);
    return status;
}

int cmd_check_config(int argc, char **argv)
{
    static const char *const names[] = {"config", NULL};
    const char *values[ARRAY_LEN(names)] = {0};
    if (!command_options(&argc, argv, names, values) || argc != 0)
        return command_usage("check-config [--config FILE]");
    struct arena *arena = arena_new();
    struct settings s;
    struct err_info why = {0};
    enum err err = command_settings(values[0], arena, &s, &why);
    if (!err)
        err = gateway_check(&s, &why);
    if (!err) {
        struct buf out = {0};
        config_dump(&settings_table, &s, &out);
        fputs(out.data, stdout);
        buf_free(&out);
    }
    int status = err ? command_fail(&why) : 0;
    arena_free(arena);
    return status;
}

int cmd_version(int argc, char **argv)
{
    printf("tlgate %s\n", TLGATE_VERSION);
    return argc == 0 ? 0 : command_usage("version");
}
