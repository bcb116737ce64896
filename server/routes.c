#include "server/routes.h"

#include <strings.h>

/* One segment of a template. */
struct piece {
    const char *text; /* NULL: a parameter */
    size_t len;
};

struct template
{
    const struct route *route;
    size_t n_params;
    bool arm; /* literal segments are compared without case */
    struct piece pieces[TARGET_SEGMENTS_MAX];
};

struct routes {
    const struct route *table;
    struct {
        struct template *items; /* in the order of the table */
        size_t n;
    } by_segments[TARGET_SEGMENTS_MAX + 1];
};

/* Segments of the path; more than a target may have: a defect of the contract, aborts. */
static size_t cut(const struct route *route, struct template *out)
{
    size_t n = 0;
    *out = (struct template){.route = route,
                             .arm = strncmp(route->path, "/v1/subscriptions/", 18) == 0};
    for (const char *at = route->path; *at;) {
        size_t len = strcspn(++at, "/");
        bool param = *at == '{';
        if (n == TARGET_SEGMENTS_MAX || (param && out->n_params == ROUTES_PARAMS_MAX))
            abort();
        out->n_params += param;
        out->pieces[n++] = (struct piece){.text = param ? NULL : at, .len = len};
        at += len;
    }
    return n;
}

struct routes *routes_new(const struct route *table, size_t n)
{
    struct routes *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    r->table = table;
    for (size_t i = 0; i < n; i++) {
        struct template t;
        size_t segments = cut(&table[i], &t);
        struct template **items = &r->by_segments[segments].items;
        size_t had = r->by_segments[segments].n++;
        *items = reallocarray(*items, had + 1, sizeof **items);
        if (!*items)
            abort();
        (*items)[had] = t;
    }
    return r;
}

void routes_free(struct routes *r)
{
    for (size_t i = 0; r && i < ARRAY_LEN(r->by_segments); i++)
        free(r->by_segments[i].items);
    free(r);
}

/* From the end: that is where templates differ. */
static bool fits(const struct template *p, const struct target *t)
{
    for (size_t i = t->n_segments; i-- > 0;) {
        const struct piece *piece = &p->pieces[i];
        const char *given = t->segments[i];
        if (!piece->text && !*given)
            return false;
        if (piece->text && (strncmp(piece->text, given, piece->len) || given[piece->len]) &&
            (!p->arm || strncasecmp(piece->text, given, piece->len) || given[piece->len]))
            return false;
    }
    return true;
}

static void take_params(const struct template *p, const struct target *t, struct route_match *out)
{
    for (size_t i = 0; i < t->n_segments; i++)
        if (!p->pieces[i].text)
            out->params[out->n_params++] = t->segments[i];
}

/* Whatever can be read answers HEAD as well (RFC 9110 section 9.1); the library leaves the body out. */
static bool serves(const struct route *route, const char *method)
{
    return strcmp(route->method, strcmp(method, "HEAD") == 0 ? "GET" : method) == 0;
}

static void allow(struct route_match *out, const char *method)
{
    size_t n = strlen(out->allow);
    snprintf(out->allow + n, sizeof out->allow - n, "%s%s%s", n ? ", " : "", method,
             strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

/* The first of those that fit with the fewest parameters. */
static const struct template *best_of(const struct template *items, size_t n,
                                      const struct target *t)
{
    const struct template *best = NULL;
    for (size_t i = 0; i < n; i++)
        if ((!best || items[i].n_params < best->n_params) && fits(&items[i], t))
            best = &items[i];
    return best;
}

void routes_match(const struct routes *r, const char *method, const struct target *t,
                  struct route_match *out)
{
    const struct template *items = r->by_segments[t->n_segments].items;
    size_t n = r->by_segments[t->n_segments].n;
    const struct template *best = best_of(items, n, t);
    out->path_found = best != NULL;
    for (const struct template *p = best; p && p < items + n && !out->route; p++)
        if (p->n_params == best->n_params && serves(p->route, method) && fits(p, t)) {
            out->route = p->route;
            out->index = (size_t)(p->route - r->table);
            take_params(p, t, out);
        }
    for (const struct template *p = best; p && p < items + n && !out->route; p++)
        if (p->n_params == best->n_params && fits(p, t))
            allow(out, p->route->method);
    if (best && !out->route)
        allow(out, "OPTIONS");
}

/* Characters, as the contract counts them. */
static size_t length(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

enum err routes_check_params(const struct route_match *m, struct err_info *e)
{
    bool bad = false;
    for (size_t i = 0; i < m->n_params; i++) {
        const struct route_param *p = &m->route->params[i];
        char pointer[64];
        size_t n = length(m->params[i]);
        const char *why = p->match ? p->match(m->params[i]) : NULL;
        if (n < p->min || (p->max && n > p->max))
            why = "has a wrong length";
        if (!why)
            continue;
        snprintf(pointer, sizeof pointer, "{%s}", p->name);
        err_add_field(e, pointer, "%s", why);
        bad = true;
    }
    return bad ? ERR_VALIDATION : OK;
}

static const char *param(const struct route_match *m, const char *name)
{
    for (size_t i = 0; i < m->n_params; i++)
        if (strcmp(m->route->params[i].name, name) == 0)
            return m->params[i];
    return NULL;
}

const char *routes_scope(const struct route_match *m, struct arena *a)
{
    const char *subscription = param(m, "subscriptionId"), *group = param(m, "resourceGroup");
    if (!subscription)
        return NULL;
    return arena_concat(a, "/subscriptions/", subscription, group ? "/resourceGroups/" : "",
                        group ? group : "", NULL);
}
