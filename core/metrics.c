#include "core/metrics.h"

#include <pthread.h>

#define FAMILIES_MAX 64
#define READERS_MAX  8

/* OpenTelemetry's advice for http.server.request.duration, in seconds. */
static const double bounds[] = {.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10};
#define BOUNDS ARRAY_LEN(bounds)

struct series {
    char *labels;
    double value; /* of a histogram: the sum */
    uint64_t counts[BOUNDS + 1];
};

struct family {
    enum metric_kind kind;
    const char *name;
    const char *help;
    struct series *series;
    size_t n;
};

struct metrics {
    pthread_mutex_t lock;
    struct family families[FAMILIES_MAX];
    size_t n;
    struct {
        metrics_read_fn *fn;
        void *ctx;
    } readers[READERS_MAX];
    size_t n_readers;
};

struct metrics *metrics_new(void)
{
    struct metrics *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    for (size_t f = 0; f < m->n; f++) {
        for (size_t i = 0; i < m->families[f].n; i++)
            free(m->families[f].series[i].labels);
        free(m->families[f].series);
    }
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void metrics_declare(struct metrics *m, enum metric_kind kind, const char *name, const char *help)
{
    if (m->n == FAMILIES_MAX)
        abort();
    struct family *f = &m->families[m->n++];
    *f = (struct family){.kind = kind, .name = name, .help = help};
    f->series = calloc(METRICS_SERIES_MAX, sizeof *f->series);
    if (!f->series)
        abort();
}

static struct family *family_of(struct metrics *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->families[i].name == name || strcmp(m->families[i].name, name) == 0)
            return &m->families[i];
    abort();
}

/* NULL where the family is full. With the lock held. */
static struct series *series_of(struct metrics *m, const char *name, const char *labels)
{
    struct family *f = family_of(m, name);
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->series[i].labels, labels ? labels : "") == 0)
            return &f->series[i];
    if (f->n == METRICS_SERIES_MAX)
        return NULL;
    struct series *s = &f->series[f->n++];
    s->labels = strdup(labels ? labels : "");
    if (!s->labels)
        abort();
    return s;
}

void metrics_add(struct metrics *m, const char *name, const char *labels, int64_t n)
{
    pthread_mutex_lock(&m->lock);
    struct series *s = series_of(m, name, labels);
    if (s)
        s->value += (double)n;
    pthread_mutex_unlock(&m->lock);
}

void metrics_set(struct metrics *m, const char *name, const char *labels, double value)
{
    pthread_mutex_lock(&m->lock);
    struct series *s = series_of(m, name, labels);
    if (s)
        s->value = value;
    pthread_mutex_unlock(&m->lock);
}

struct series *metrics_series(struct metrics *m, const char *name, const char *labels)
{
    pthread_mutex_lock(&m->lock);
    struct series *s = series_of(m, name, labels);
    pthread_mutex_unlock(&m->lock);
    return s;
}

void metrics_observe_series(struct metrics *m, struct series *s, double seconds)
{
    size_t i = 0;
    while (i < BOUNDS && seconds > bounds[i])
        i++;
    pthread_mutex_lock(&m->lock);
    if (s) {
        s->value += seconds;
        s->counts[i]++;
    }
    pthread_mutex_unlock(&m->lock);
}

void metrics_observe(struct metrics *m, const char *name, const char *labels, double seconds)
{
    metrics_observe_series(m, metrics_series(m, name, labels), seconds);
}

void metrics_on_write(struct metrics *m, metrics_read_fn *fn, void *ctx)
{
    if (m->n_readers == READERS_MAX)
        abort();
    m->readers[m->n_readers].fn = fn;
    m->readers[m->n_readers++].ctx = ctx;
}

static void write_plain(const struct family *f, const struct series *s, struct buf *out)
{
    const char *open = *s->labels ? "{" : "", *close = *s->labels ? "}" : "";
    buf_printf(out, "%s%s%s%s %.17g\n", f->name, open, s->labels, close, s->value);
}

static void write_histogram(const struct family *f, const struct series *s, struct buf *out)
{
    uint64_t total = 0;
    const char *comma = *s->labels ? "," : "";
    for (size_t i = 0; i < BOUNDS; i++) {
        total += s->counts[i];
        buf_printf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", f->name, s->labels, comma, bounds[i],
                   (unsigned long long)total);
    }
    total += s->counts[BOUNDS];
    buf_printf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", f->name, s->labels, comma,
               (unsigned long long)total);
    const char *open = *s->labels ? "{" : "", *close = *s->labels ? "}" : "";
    buf_printf(out, "%s_sum%s%s%s %.17g\n", f->name, open, s->labels, close, s->value);
    buf_printf(out, "%s_count%s%s%s %llu\n", f->name, open, s->labels, close,
               (unsigned long long)total);
}

void metrics_write(struct metrics *m, struct buf *out)
{
    static const char *const kinds[] = {
        [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_SECONDS] = "histogram"};
    for (size_t i = 0; i < m->n_readers; i++)
        m->readers[i].fn(m, m->readers[i].ctx);
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n; i++) {
        const struct family *f = &m->families[i];
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, kinds[f->kind]);
        for (size_t k = 0; k < f->n; k++) {
            if (f->kind == METRIC_SECONDS)
                write_histogram(f, &f->series[k], out);
            else
                write_plain(f, &f->series[k], out);
        }
    }
    pthread_mutex_unlock(&m->lock);
}

void metrics_label(struct buf *labels, const char *key, const char *value)
{
    if (labels->len)
        buf_add_char(labels, ',');
    buf_add_str(labels, key);
    buf_add(labels, "=\"", 2);
    for (; *value; value++) {
        if (*value == '"' || *value == '\\')
            buf_add_char(labels, '\\');
        if (*value == '\n')
            buf_add(labels, "\\n", 2);
        else
            buf_add_char(labels, *value);
    }
    buf_add_char(labels, '"');
}
