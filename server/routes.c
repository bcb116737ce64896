#include "server/routes.h"

#include <strings.h>

/* The parameters of `path` in the target; -1 where the template does not fit. */
static int fit(const char *path, const struct target *t, const char *params[ROUTES_PARAMS_MAX])
{
    bool arm = strncmp(path, "/v1/subscriptions/", 18) == 0;
    size_t segment = 0;
    int n = 0;
    for (const char *at = path + 1;; at++) {
        size_t len = strcspn(at, "/");
        if (segment == t->n_segments)
            return -1;
        const char *given = t->segments[segment++];
        if (*at == '{') {
            if (!*given || n == ROUTES_PARAMS_MAX)
                return -1;
            params[n++] = given;
        } else if (strlen(given) != len ||
                   (arm ? strncasecmp(at, given, len) : strncmp(at, given, len))) {
            return -1;
        }
        at += len;
        if (!*at)
            return segment == t->n_segments ? n : -1;
    }
}

static void allow(struct route_match *out, const char *method)
{
    size_t n = strlen(out->allow);
    snprintf(out->allow + n, sizeof out->allow - n, "%s%s", n ? ", " : "", method);
}

void routes_match(const struct route *table, size_t n, const char *method,
                  const struct target *target, struct route_match *out)
{
    int best = ROUTES_PARAMS_MAX + 1;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < n; i++) {
        const char *params[ROUTES_PARAMS_MAX];
        int found = fit(table[i].path, target, params);
        if (found < 0 || found > best)
            continue;
        if (found < best) { /* more literal than what was seen so far */
            memset(out, 0, sizeof *out);
            best = found;
        }
        out->path_found = true;
        allow(out, table[i].method);
        if (strcmp(table[i].method, method) != 0)
            continue;
        out->route = &table[i];
        out->n_params = (size_t)found;
        memcpy(out->params, params, sizeof out->params[0] * (size_t)found);
    }
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
    return arena_printf(a, "/subscriptions/%s%s%s", subscription, group ? "/resourceGroups/" : "",
                        group ? group : "");
}
