/*
 * Metrics: counters, gauges and histograms in the Prometheus text format 0.0.4.
 *
 * A family is declared once with its name and help; its series are made when they are first used.
 * Labels are given as they are printed, `route="/livez",status="200"` (metrics_label escapes a
 * value), NULL for none. Never label with an id or anything else that grows: a family holds at most
 * METRICS_SERIES_MAX series, what is beyond that is not counted.
 *
 * All functions may be called by any thread.
 */
#ifndef CORE_METRICS_H
#define CORE_METRICS_H

#include "core/buf.h"

#define METRICS_SERIES_MAX 512

struct metrics;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m); /* NULL is fine */

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_SECONDS /* histogram of durations */ };

/* `name` and `help` must outlive the registry. Declare before the first use, one thread. */
void metrics_declare(struct metrics *m, enum metric_kind kind, const char *name, const char *help);

/* Of a family that was declared with that name; anything else is a defect and aborts. */
void metrics_add(struct metrics *m, const char *name, const char *labels, int64_t n);
void metrics_set(struct metrics *m, const char *name, const char *labels, double value);
void metrics_observe(struct metrics *m, const char *name, const char *labels, double seconds);

/*
 * A series that is used so often that finding it by its labels would show: found once, it stays for
 * the registry's life. NULL where the family is full; metrics_observe_series takes that, too.
 */
struct series;
struct series *metrics_series(struct metrics *m, const char *name, const char *labels);
void metrics_observe_series(struct metrics *m, struct series *s, double seconds);

/* Called at each metrics_write, before anything is printed: to set what is read elsewhere. */
typedef void metrics_read_fn(struct metrics *m, void *ctx);
void metrics_on_write(struct metrics *m, metrics_read_fn *fn, void *ctx);

void metrics_write(struct metrics *m, struct buf *out);

/* Appends `key="value"` with the value escaped, and a comma where something is there already. */
void metrics_label(struct buf *labels, const char *key, const char *value);

#endif
