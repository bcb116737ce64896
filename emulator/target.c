#include "emulator/arm.h"

#include <ctype.h>

const struct arm_type *arm_type_find(const char *ns, const char *path)
{
    for (size_t i = 0; i < arm_n_types; i++)
        if (strcasecmp(arm_types[i]->ns, ns) == 0 && strcasecmp(arm_types[i]->path, path) == 0)
            return arm_types[i];
    return NULL;
}

char *arm_lower(struct arena *a, const char *s)
{
    char *out = arena_strdup(a, s);
    for (char *p = out; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return out;
}

static bool is(const char *segment, const char *word)
{
    return segment && strcasecmp(segment, word) == 0;
}

/* Empty segments vanish: the JS SDK sends "//subscriptions/..." for a scope that begins with '/'. */
static unsigned split(struct arena *a, const char *path, char **out, unsigned max)
{
    char *rest = arena_strdup(a, path);
    unsigned n = 0;
    while (rest) {
        char *segment = strsep(&rest, "/");
        if (!*segment)
            continue;
        if (n == max)
            return max + 1;
        out[n++] = segment;
    }
    return n;
}

/* ".../providers/ns/t1/n1/t2/n2": the row's own spelling of the types, the caller's of the names. */
static void spell_id(struct arena *a, struct arm_target *t)
{
    struct buf id = {0};
    buf_printf(&id, "/subscriptions/%s", t->subscription);
    if (t->group)
        buf_printf(&id, "/resourceGroups/%s", t->group);
    t->parent = arena_strndup(a, id.data, id.len);
    if (t->type && t->ns) {
        buf_printf(&id, "/providers/%s", t->type->ns);
        char *types = arena_strdup(a, t->type->path);
        for (unsigned i = 0; i < t->n_names; i++) {
            if (i > 0)
                t->parent = arena_strndup(a, id.data, id.len);
            buf_printf(&id, "/%s/%s", strsep(&types, "/"), t->names[i]);
        }
    }
    t->id = arena_strndup(a, id.data, id.len);
    t->key = arm_lower(a, t->id);
    buf_free(&id);
}

/* Behind "providers/ns": pairs of type and name; a word that is left is a collection or an action. */
static const char *read_pairs(struct arena *a, struct arm_target *t, char **segments, unsigned n)
{
    struct buf types = {0};
    const struct arm_type *row = NULL;
    unsigned i = 0;
    for (; i + 1 < n && t->n_names < ARM_NAMES_MAX; i += 2) {
        buf_printf(&types, "%s%s", types.len ? "/" : "", segments[i]);
        row = arm_type_find(t->ns, types.data);
        if (!row)
            break;
        t->type = row;
        t->names[t->n_names++] = segments[i + 1];
    }
    char *all = arena_strdup(a, types.data ? types.data : "");
    if (i < n && i + 1 == n) {
        buf_printf(&types, "%s%s", types.len ? "/" : "", segments[i]);
        row = arm_type_find(t->ns, types.data);
        all = arena_strdup(a, types.data);
        if (row) {
            t->type = row;
            t->collection = true;
        } else if (t->type) {
            t->action = segments[i];
            row = t->type;
        }
    }
    buf_free(&types);
    return row ? NULL : all;
}

static const char *recognise(struct arena *a, struct arm_target *t)
{
    char **s = t->segments;
    unsigned n = t->n_segments;
    unsigned at = 2;
    const char *unknown = NULL;
    t->subscription = n > 1 ? s[1] : NULL;
    if (at < n && is(s[at], "resourceGroups")) {
        t->type = arm_type_find("Microsoft.Resources", "resourceGroups");
        t->collection = n == 3;
        t->group = n > 3 ? s[3] : NULL;
        at = 4;
        if (n == 5)
            t->action = s[4];
    }
    if (at + 1 < n && is(s[at], "providers")) {
        t->action = NULL;
        t->type = NULL;
        t->ns = s[at + 1];
        unknown = read_pairs(a, t, s + at + 2, n - at - 2);
    }
    spell_id(a, t);
    return unknown;
}

bool arm_target_parse(struct arm_call *c)
{
    struct arm_target *t = &c->at;
    t->n_segments = split(c->arena, c->req->path, t->segments, (unsigned)ARRAY_LEN(t->segments));
    if (t->n_segments == 0 || t->n_segments > ARRAY_LEN(t->segments) ||
        !is(t->segments[0], "subscriptions"))
        return arm_error(c, 404, "NotFound", "The requested path %.200s is not known.",
                         c->req->path);
    if (t->n_segments > 2 && is(t->segments[2], "providers"))
        t->group = NULL;
    recognise(c->arena, t);
    return true;
}

bool arm_target_of_id(struct arm_call *c, const char *id, struct arm_target *out)
{
    *out = (struct arm_target){0};
    out->n_segments = split(c->arena, id, out->segments, (unsigned)ARRAY_LEN(out->segments));
    if (out->n_segments < 7 || out->n_segments > ARRAY_LEN(out->segments) ||
        !is(out->segments[0], "subscriptions"))
        return false;
    return !recognise(c->arena, out) && out->type && out->ns && !out->collection && !out->action;
}
