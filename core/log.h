/*
 * Log: one JSON object a line on stderr. Only server/, the engine loop and the programs log;
 * libraries return errors. Threads do not interleave.
 *
 * A line is one write(2), which is fine for a command and a good part of a request: a server gathers
 * (log_gather_start) and writes many lines at once, at least ten times a second, and at once with a
 * line of LOG_WARN or above. Then what was said in the last 100 ms is lost where the process is killed.
 * Lines that cannot be written are counted, and their number is logged as soon as one can.
 *
 *     log_info("job finished", LOG_S("jobId", id), LOG_I("durationMs", ms));
 *
 * Never pass a secret, a body or a header value that may hold one.
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include "core/attr.h"

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_field {
    const char *key; /* as it stands in a line, with the comma before it and the colon after it */
    size_t key_len;
    const char *text; /* NULL: number */
    int64_t number;
};

/* An absent text is written as "". */
static inline const char *log_text(const char *s)
{
    return s ? s : "";
}

/* `k` is a literal. */
#define LOG_KEY(k)  .key = ",\"" k "\":", .key_len = sizeof(",\"" k "\":") - 1
#define LOG_S(k, v) ((struct log_field){LOG_KEY(k), .text = log_text(v)})
#define LOG_I(k, v) ((struct log_field){LOG_KEY(k), .number = (v)})

void log_level_set(enum log_level least);
/* Once, and stop before the next start; starts a thread. exit(3) writes what was gathered. */
void log_gather_start(void);
void log_gather_stop(void);
/* Writes what was gathered. Any thread. */
void log_flush(void);
/* Lines that could not be written since the start of the process. */
int64_t log_lost(void);

void log_write(enum log_level level, const char *msg, const struct log_field *fields, int n);

#define LOG_AT(level, msg, ...)                                                                    \
    log_write(level, msg, (const struct log_field[]){{0}, ##__VA_ARGS__} + 1,                      \
              (int)ARRAY_LEN(((const struct log_field[]){{0}, ##__VA_ARGS__})) - 1)
#define log_debug(msg, ...) LOG_AT(LOG_DEBUG, msg, ##__VA_ARGS__)
#define log_info(msg, ...)  LOG_AT(LOG_INFO, msg, ##__VA_ARGS__)
#define log_warn(msg, ...)  LOG_AT(LOG_WARN, msg, ##__VA_ARGS__)
#define log_error(msg, ...) LOG_AT(LOG_ERROR, msg, ##__VA_ARGS__)

#endif
