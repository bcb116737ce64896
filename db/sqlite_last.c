#include "db/sqlite_last.h"

#include "core/ways.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS     1024
#define TEXTS_MAX (16 * 1024)
#define HOUR_MAX  128

struct slot {
    char *key; /* NULL: free; the texts follow it in one block */
    char hour_verdicts[HOUR_MAX];
    struct last_report report;
};

struct last_reports {
    struct slot slots[SLOTS];
    unsigned turn;
};

struct last_reports *last_reports_new(void)
{
    struct last_reports *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    return l;
}

void last_reports_free(struct last_reports *l)
{
    if (l)
        last_reports_forget_all(l);
    free(l);
}

static bool is_of(const struct slot *s, const char *vm_key)
{
    return s->key && strcmp(s->key, vm_key) == 0;
}

static struct slot *find(struct last_reports *l, const char *vm_key)
{
    struct slot *set = &l->slots[ways_first(ways_hash(vm_key), SLOTS)];
    for (size_t i = 0; i < WAYS; i++)
        if (is_of(&set[i], vm_key))
            return &set[i];
    return NULL;
}

/* Where it is, or a free one, or one whose turn it is to go. */
static struct slot *room_for(struct last_reports *l, const char *vm_key)
{
    struct slot *at = find(l, vm_key);
    struct slot *set = &l->slots[ways_first(ways_hash(vm_key), SLOTS)];
    for (size_t i = 0; i < WAYS && !at; i++)
        at = set[i].key ? NULL : &set[i];
    return at ? at : &set[l->turn++ % WAYS];
}

static void clear(struct slot *s)
{
    free(s->key);
    s->key = NULL;
}

const struct last_report *last_reports_find(struct last_reports *l, const char *vm_key)
{
    const struct slot *s = find(l, vm_key);
    return s ? &s->report : NULL;
}

static size_t size_of(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static const char *append(char **at, const char *text)
{
    char *copy = *at;
    size_t n = size_of(text);
    if (!n)
        return NULL;
    memcpy(copy, text, n);
    *at += n;
    return copy;
}

/* False: too large. */
static bool keep_texts(struct slot *s, const char *vm_key, const char *const texts[CONTENT_TEXTS])
{
    size_t n = size_of(vm_key);
    for (size_t i = 0; i < CONTENT_TEXTS; i++)
        n += size_of(texts[i]);
    clear(s);
    if (n > TEXTS_MAX)
        return false;
    char *at = s->key = malloc(n);
    if (!at)
        abort();
    append(&at, vm_key);
    for (size_t i = 0; i < CONTENT_TEXTS; i++)
        s->report.texts[i] = append(&at, texts[i]);
    return true;
}

void last_reports_put(struct last_reports *l, const char *vm_key, const struct last_report *r,
                      bool same)
{
    struct slot *s = room_for(l, vm_key);
    if (strlen(r->hour_verdicts) >= HOUR_MAX) {
        last_reports_forget(l, vm_key);
        return;
    }
    if (!(same && is_of(s, vm_key)) && !keep_texts(s, vm_key, r->texts))
        return;
    s->report.n = r->n;
    s->report.received_at = r->received_at;
    s->report.log_used_at = r->log_used_at;
    memcpy(s->report.content, r->content, CONTENT_SIZE);
    if (r->hour_verdicts != s->hour_verdicts)
        memcpy(s->hour_verdicts, r->hour_verdicts, strlen(r->hour_verdicts) + 1);
    s->report.hour_verdicts = s->hour_verdicts;
}

void last_reports_forget(struct last_reports *l, const char *vm_key)
{
    struct slot *s = find(l, vm_key);
    if (s)
        clear(s);
}

void last_reports_forget_all(struct last_reports *l)
{
    for (size_t i = 0; i < SLOTS; i++)
        clear(&l->slots[i]);
}
