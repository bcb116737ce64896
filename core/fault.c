#include "core/fault.h"

#ifdef TLGATE_FAULTS

#include "core/attr.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

/* The one list of points. "before" and "after" are as seen from what the name says. */
#define POINT_LIST(X)                                                                              \
    X("store.migrate")                                                                             \
    X("store.batch.begin")                                                                         \
    X("store.commit.before")                                                                       \
    X("store.commit.after")                                                                        \
    X("store.work.before")                                                                         \
    X("store.work.after")                                                                          \
    X("store.complete.after")                                                                      \
    X("store.checkpoint.before")                                                                   \
    X("store.checkpoint.after")                                                                    \
    X("arm.send.before")                                                                           \
    X("arm.send.after")                                                                            \
    X("arm.reply.after")

enum action { ACTION_NONE, ACTION_KILL, ACTION_EIO, ACTION_DELAY, ACTION_STOP };

struct point {
    const char *name;
    atomic_long passes;
    enum action action;
    long nth;
    long ms;
};

static struct point points[] = {
#define X(n) {.name = (n)},
    POINT_LIST(X)
#undef X
};

#define LINE_SIZE 48 /* fixed, so that a pass rewrites its own line only */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int count_fd = -1;

COLD static void die(const char *what, const char *value)
{
    fprintf(stderr, "fault points: %s: %s\n", what, value);
    abort();
}

static struct point *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(points); i++)
        if (!strcmp(points[i].name, name))
            return &points[i];
    die("no such point", name);
    return NULL;
}

static enum action parse_action(const char *text)
{
    static const char *const names[] = {"", "kill", "eio", "delay", "stop"};
    for (size_t i = 1; i < ARRAY_LEN(names); i++)
        if (!strcmp(names[i], text))
            return (enum action)i;
    die("no such action", text);
    return ACTION_NONE;
}

/* The next field of "a:b:c"; NULL at the end. */
static char *field(char **rest)
{
    return strtok_r(NULL, ":", rest);
}

static long number(const char *text)
{
    char *end = NULL;
    long v = strtol(text, &end, 10);
    if (end == text || *end || v < 0)
        die("not a number", text);
    return v;
}

static void arm_point(char *text)
{
    char *rest = NULL;
    struct point *p = find(strtok_r(text, ":", &rest));
    const char *nth = field(&rest), *action = field(&rest), *ms = field(&rest);
    if (!nth || !action)
        die("TLGATE_FAULT is not name:n:action", p->name);
    p->action = parse_action(action);
    p->nth = number(nth);
    p->ms = ms ? number(ms) : 200;
}

static void write_count(const struct point *p, long passes)
{
    char line[LINE_SIZE + 1];
    snprintf(line, sizeof line, "%-36s %10ld\n", p->name, passes);
    if (pwrite(count_fd, line, LINE_SIZE, (p - points) * LINE_SIZE) != LINE_SIZE)
        die("TLGATE_FAULT_COUNT", "write failed");
}

static void parse_spec(const char *spec)
{
    char *copy = strdup(spec), *save = NULL;
    if (!copy)
        abort();
    for (char *item = strtok_r(copy, ",", &save); item; item = strtok_r(NULL, ",", &save))
        arm_point(item);
    free(copy);
}

static void start(void)
{
    const char *spec = getenv("TLGATE_FAULT");
    if (spec)
        parse_spec(spec);
    const char *file = getenv("TLGATE_FAULT_COUNT");
    if (!file)
        return;
    count_fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (count_fd < 0)
        die("TLGATE_FAULT_COUNT cannot be opened", file);
    for (size_t i = 0; i < ARRAY_LEN(points); i++)
        write_count(&points[i], 0);
}

static int act(const struct point *p)
{
    switch (p->action) {
    case ACTION_KILL:
        kill(getpid(), SIGKILL);
        for (;;)
            pause();
    case ACTION_STOP:
        raise(SIGSTOP);
        return 0;
    case ACTION_EIO:
        return EIO;
    case ACTION_DELAY: {
        struct timespec t = {.tv_sec = p->ms / 1000, .tv_nsec = p->ms % 1000 * 1000000};
        nanosleep(&t, NULL);
        return 0;
    }
    case ACTION_NONE:
        break;
    }
    return 0;
}

int fault_pass(const char *name)
{
    pthread_once(&once, start);
    struct point *p = find(name);
    long passes = atomic_fetch_add(&p->passes, 1) + 1;
    if (count_fd >= 0)
        write_count(p, passes);
    bool here = p->action != ACTION_NONE && (p->nth == 0 || p->nth == passes);
    return here ? act(p) : 0;
}

#endif
