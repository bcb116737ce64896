#include "core/log.h"
#include "core/buf.h"
#include "core/clock.h"

#include <stdatomic.h>
#include <unistd.h>

static _Atomic int least_level = LOG_INFO;

void log_level_set(enum log_level least)
{
    atomic_store(&least_level, (int)least);
}

void log_write(enum log_level level, const char *msg, const struct log_field *fields, int n)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if ((int)level < atomic_load(&least_level))
        return;
    struct buf line = {0};
    struct jw w = jw_over(&line);
    jw_open(&w, '{');
    jw_key_time(&w, "ts", clock_wall(&clock_system));
    jw_key_str(&w, "level", names[level]);
    jw_key_str(&w, "msg", msg);
    for (int i = 0; i < n; i++) {
        if (fields[i].text)
            jw_key_str(&w, fields[i].key, fields[i].text);
        else
            jw_key_int(&w, fields[i].key, fields[i].number);
    }
    jw_close(&w, '}');
    buf_add_char(&line, '\n');
    /* A log that cannot be written must not stop the service. */
    ssize_t written = write(STDERR_FILENO, line.data, line.len);
    (void)written;
    buf_free(&line);
}
