#include "db/sqlite.h"

#include <assert.h>

void filter_add(struct filter *f, const char *sql)
{
    size_t n = strlen(sql);
    assert(f->len + n < sizeof f->sql);
    memcpy(f->sql + f->len, sql, n + 1);
    f->len += n;
}

struct filter filter_of(const char *select)
{
    struct filter f = {.n = 0};
    filter_add(&f, select);
    return f;
}

static void add_parameter(struct filter *f, const char *condition, const char *text, int64_t number)
{
    assert(f->n < FILTER_MAX);
    f->values[f->n].text = text;
    f->values[f->n].number = number;
    f->n++;
    char name[16];
    snprintf(name, sizeof name, "$%d", f->n);
    filter_add(f, condition);
    filter_add(f, name);
}

void filter_text(struct filter *f, const char *condition, const char *value)
{
    if (value)
        add_parameter(f, condition, value, 0);
}

void filter_int(struct filter *f, const char *condition, int64_t value)
{
    add_parameter(f, condition, NULL, value);
}

/* Length without trailing slashes; 0: "/", which is everything. */
static int scope_length(const char *scope)
{
    int n = scope ? (int)strlen(scope) : 0;
    while (n && scope[n - 1] == '/')
        n--;
    return n;
}

/* Below "/a" is what lies between "/a/" and "/a0": '0' is the byte after '/'. */
void filter_below(struct filter *f, struct arena *a, const char *column, const char *scope)
{
    const char *key = db_key_of(a, scope);
    int n = scope_length(key);
    if (!n)
        return;
    filter_text(f, arena_printf(a, " AND %s >= ", column), arena_printf(a, "%.*s/", n, key));
    filter_text(f, arena_printf(a, " AND %s < ", column), arena_printf(a, "%.*s0", n, key));
}

void filter_scope(struct filter *f, struct arena *a, const char *column, const char *scope)
{
    const char *key = db_key_of(a, scope);
    int n = scope_length(key);
    if (!n)
        return;
    filter_text(f, arena_printf(a, " AND (%s = ", column), arena_printf(a, "%.*s", n, key));
    filter_add(f, " OR (1 = 1");
    filter_below(f, a, column, scope);
    filter_add(f, "))");
}

struct query filter_query(const struct filter *f, struct conn *c)
{
    struct query q = conn_query_text(c, f->sql);
    for (int i = 0; i < f->n; i++) {
        if (f->values[i].text)
            q_text(&q, f->values[i].text);
        else
            q_int(&q, f->values[i].number);
    }
    return q;
}
