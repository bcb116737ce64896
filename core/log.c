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

/* Text of a client may be any bytes; a line of the log is always JSON. */
static void add_text(struct jw *w, const struct log_field *f)
{
    size_t n = strlen(f->text);
    if (utf8_valid(BYTES(f->text, n))) {
        jw_key_str(w, f->key, f->text);
        return;
    }
    struct buf ascii = {0};
    for (size_t i = 0; i < n; i++)
        buf_add_char(&ascii, (unsigned char)f->text[i] < 0x80 ? f->text[i] : '?');
    jw_key_str(w, f->key, ascii.data);
    buf_free(&ascii);
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
            add_text(&w, &fields[i]);
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
