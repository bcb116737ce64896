#include "core/log.h"
#include "core/buf.h"
#include "core/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

/* So much waits for the flusher's clock (to wake it up costs as much as ten lines), and so much at all:
 * beyond, who logs writes itself. */
#define GATHER_FULL (256 * 1024)
#define GATHER_MAX  (1024 * 1024)
#define GATHER_MS   100
/* How long a descriptor that does not block may refuse, before lines are given up. */
#define STUCK_MS 1000

static _Atomic int least_level = LOG_INFO;
static atomic_bool gathering;

/* `out` is held by whoever writes, so that lines keep their order; `lock` only to add or to take. */
static struct {
    pthread_mutex_t out, lock;
    pthread_cond_t wake;
    pthread_t flusher;
    bool stopping; /* under `lock`, as `lines` */
    struct buf lines;
    struct buf taken; /* under `out`, as all below */
    int64_t lost, told;
    bool cut; /* the last line that was written has no end */
} g = {.out = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER};

void log_level_set(enum log_level least)
{
    atomic_store(&least_level, (int)least);
}

/* ---- a line ---- */

static pthread_key_t room_key;

static void free_room(void *room)
{
    buf_free(room);
}

static void make_key(void)
{
    if (pthread_key_create(&room_key, free_room) != 0)
        abort();
}

/* Where this thread formats, kept from line to line. */
static struct buf *room(void)
{
    static _Thread_local struct buf own;
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!own.data) {
        pthread_once(&once, make_key);
        pthread_setspecific(room_key, &own);
    }
    buf_reset(&own);
    return &own;
}

/* Text of a client may be any bytes; a line of the log is always JSON. */
static void add_odd_text(struct buf *line, const char *text, size_t n)
{
    struct jw w = jw_over(line);
    if (utf8_valid(BYTES(text, n))) {
        jw_strn(&w, text, n);
        return;
    }
    struct buf ascii = {0};
    for (size_t i = 0; i < n; i++)
        buf_add_char(&ascii, (unsigned char)text[i] < 0x80 ? text[i] : '?');
    jw_str(&w, ascii.data);
    buf_free(&ascii);
}

static void add_text(struct buf *line, const char *text)
{
    size_t n = strlen(text);
    if (!jw_plain(text, n)) {
        add_odd_text(line, text, n);
        return;
    }
    char *at = buf_reserve(line, n + 2);
    at[0] = '"';
    memcpy(at + 1, text, n);
    at[n + 1] = '"';
    line->len += n + 2;
}

/* Every request has a line: most of it are keys as they are in the program, and plain texts. */
static void format(struct buf *line, enum log_level level, const char *msg,
                   const struct log_field *fields, int n)
{
    static const char *const levels[] = {
        "\",\"level\":\"debug\",\"msg\":", "\",\"level\":\"info\",\"msg\":",
        "\",\"level\":\"warn\",\"msg\":", "\",\"level\":\"error\",\"msg\":"};
    char ts[TIME_TEXT_SIZE];
    time_format(clock_wall(&clock_system), ts);
    buf_add_str(line, "{\"ts\":\"");
    buf_add(line, ts, sizeof ts - 1);
    buf_add_str(line, levels[level]);
    add_text(line, msg);
    for (int i = 0; i < n; i++) {
        buf_add(line, fields[i].key, fields[i].key_len);
        if (fields[i].text)
            add_text(line, fields[i].text);
        else
            buf_add_int(line, fields[i].number);
    }
    buf_add(line, "}\n", 2);
}

/* ---- writing, with `out` held ---- */

/* What was written of it; less where the descriptor fails or stays full. */
static size_t write_some(const char *data, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = write(STDERR_FILENO, data + done, len - done);
        if (n >= 0) {
            done += (size_t)n;
            continue;
        }
        struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
        if (errno != EINTR && (errno != EAGAIN || poll(&room, 1, STUCK_MS) <= 0))
            break;
    }
    return done;
}

static int64_t count_lines(const char *at, const char *end)
{
    int64_t n = 0;
    while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
        n++;
        at++;
    }
    return n;
}

/* A log that cannot be written must not stop the service; but what is missing is counted and, once
 * it can be written again, told. */
static void write_lines(const char *data, size_t len)
{
    if (g.cut && write_some("\n", 1) == 1)
        g.cut = false;
    size_t done = g.cut ? 0 : write_some(data, len);
    if (done < len) {
        g.cut = g.cut || (done > 0 && data[done - 1] != '\n');
        g.lost += count_lines(data + done, data + len);
        return;
    }
    if (g.lost == g.told)
        return;
    struct buf line = {0};
    const struct log_field lines = LOG_I("lines", g.lost - g.told);
    format(&line, LOG_WARN, "lines of the log are lost: they could not be written", &lines, 1);
    if (write_some(line.data, line.len) == line.len)
        g.told = g.lost;
    buf_free(&line);
}

void log_flush(void)
{
    pthread_mutex_lock(&g.out);
    pthread_mutex_lock(&g.lock);
    struct buf full = g.lines;
    g.lines = g.taken;
    g.taken = full;
    pthread_mutex_unlock(&g.lock);
    if (g.taken.len)
        write_lines(g.taken.data, g.taken.len);
    g.taken.len = 0;
    pthread_mutex_unlock(&g.out);
}

/* ---- gathering ---- */

/* False: nobody gathers (any more). */
static bool gather(const struct buf *line, bool now)
{
    pthread_mutex_lock(&g.lock);
    bool taken = atomic_load(&gathering);
    size_t before = g.lines.len, after = before + line->len;
    if (taken)
        buf_add(&g.lines, line->data, line->len);
    if (taken && (!before || (before < GATHER_FULL && after >= GATHER_FULL)))
        pthread_cond_signal(&g.wake);
    pthread_mutex_unlock(&g.lock);
    if (taken && (now || after >= GATHER_MAX))
        log_flush();
    return taken;
}

void log_write(enum log_level level, const char *msg, const struct log_field *fields, int n)
{
    if ((int)level < atomic_load_explicit(&least_level, memory_order_relaxed))
        return;
    struct buf *line = room();
    format(line, level, msg, fields, n);
    if (atomic_load(&gathering) && gather(line, level >= LOG_WARN))
        return;
    pthread_mutex_lock(&g.out);
    write_lines(line->data, line->len);
    pthread_mutex_unlock(&g.out);
}

static struct timespec in_ms(int64_t ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t ns = t.tv_nsec + ms * 1000000;
    return (struct timespec){.tv_sec = t.tv_sec + ns / 1000000000, .tv_nsec = ns % 1000000000};
}

static void *flush_now_and_then(void *arg)
{
    bool stopping = false;
    while (!stopping) {
        pthread_mutex_lock(&g.lock);
        while (!g.lines.len && !g.stopping)
            pthread_cond_wait(&g.wake, &g.lock);
        const struct timespec until = in_ms(GATHER_MS);
        int waited = 0;
        while (g.lines.len < GATHER_FULL && !g.stopping && waited == 0)
            waited = pthread_cond_timedwait(&g.wake, &g.lock, &until);
        stopping = g.stopping;
        pthread_mutex_unlock(&g.lock);
        log_flush();
    }
    return NULL;
}

void log_gather_start(void)
{
    static bool at_exit;
    pthread_condattr_t mono;
    pthread_condattr_init(&mono);
    pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
    pthread_cond_init(&g.wake, &mono);
    pthread_condattr_destroy(&mono);
    g.stopping = false;
    if (!at_exit)
        atexit(log_flush);
    at_exit = true;
    if (pthread_create(&g.flusher, NULL, flush_now_and_then, NULL) == 0)
        atomic_store(&gathering, true);
}

void log_gather_stop(void)
{
    if (!atomic_load(&gathering))
        return;
    pthread_mutex_lock(&g.lock);
    atomic_store(&gathering, false);
    g.stopping = true;
    pthread_cond_signal(&g.wake);
    pthread_mutex_unlock(&g.lock);
    pthread_join(g.flusher, NULL);
    pthread_cond_destroy(&g.wake);
    pthread_mutex_lock(&g.out);
    buf_free(&g.lines);
    buf_free(&g.taken);
    pthread_mutex_unlock(&g.out);
}

int64_t log_lost(void)
{
    pthread_mutex_lock(&g.out);
    int64_t lost = g.lost;
    pthread_mutex_unlock(&g.out);
    return lost;
}
