#include "emulator/shape.h"

struct reader {
    bool partial;
    bool keep_nulls;
    struct shape_fault *fault;
};

/* Where the reader is; spelled out only when something is wrong. */
struct place {
    const struct place *up;
    const char *name; /* NULL: index */
    size_t index;
};

static void spell(const struct place *at, struct buf *out)
{
    if (!at)
        return;
    spell(at->up, out);
    if (!at->name)
        buf_printf(out, "[%zu]", at->index);
    else
        buf_printf(out, "%s%s", out->len ? "." : "", at->name);
}

static json_t *complain(struct reader *r, enum shape_problem problem, const struct shape *s,
                        const struct place *at, const char *member, const json_t *value,
                        const char *expected)
{
    struct shape_fault *f = r->fault;
    struct buf path = {0};
    spell(at, &path);
    f->problem = problem;
    snprintf(f->path, sizeof f->path, "%s", path.len ? path.data : "");
    buf_free(&path);
    snprintf(f->object, sizeof f->object, "%s", s->name);
    snprintf(f->member, sizeof f->member, "%s", member);
    f->expected = expected;
    AUTO(free) char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    snprintf(f->value, sizeof f->value, "%s",
             json_is_string(value) ? json_string_value(value)
             : text                ? text
                                   : "");
    return NULL;
}

static const struct prop *find_prop(const struct shape *s, const char *name)
{
    for (const struct prop *p = s->props; p->kind != PROP_END; p++)
        if (strcasecmp(p->name, name) == 0)
            return p;
    return NULL;
}

/* The value in the case of the list, or NULL. */
static json_t *match_allowed(const char *allowed, const char *text)
{
    size_t n = strlen(text);
    for (const char *p = allowed; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (strncasecmp(p, text, n) == 0 && (p[n] == ',' || p[n] == 0))
            return json_stringn(p, n);
    return NULL;
}

static json_t *read_object(struct reader *r, const struct shape *s, const json_t *in,
                           const struct place *at);

static json_t *read_str(struct reader *r, const struct shape *s, const struct prop *p,
                        const json_t *v, const struct place *at)
{
    if (!json_is_string(v))
        return complain(r, SHAPE_WRONG_TYPE, s, at, p->name, v, "System.String");
    if (!p->allowed)
        return json_copy((json_t *)v);
    json_t *known = match_allowed(p->allowed, json_string_value(v));
    return known ? known : complain(r, SHAPE_NOT_ALLOWED, s, at, p->name, v, p->allowed);
}

/* Azure's deserialiser takes "true" and "7" for true and 7. */
static json_t *read_bool(struct reader *r, const struct shape *s, const struct prop *p,
                         const json_t *v, const struct place *at)
{
    if (json_is_boolean(v))
        return json_boolean(json_is_true(v));
    const char *text = json_string_value(v);
    if (text && strcasecmp(text, "true") == 0)
        return json_true();
    if (text && strcasecmp(text, "false") == 0)
        return json_false();
    return complain(r, SHAPE_WRONG_TYPE, s, at, p->name, v, "System.Nullable`1[System.Boolean]");
}

static json_t *read_int(struct reader *r, const struct shape *s, const struct prop *p,
                        const json_t *v, const struct place *at)
{
    if (json_is_integer(v))
        return json_integer(json_integer_value(v));
    const char *text = json_string_value(v);
    char *end;
    long long n = text && *text ? strtoll(text, &end, 10) : 0;
    if (text && *text && !*end)
        return json_integer(n);
    return complain(r, SHAPE_WRONG_TYPE, s, at, p->name, v, "System.Nullable`1[System.Int32]");
}

static json_t *read_value(struct reader *r, const struct shape *s, const struct prop *p,
                          const json_t *v, const struct place *at);

static json_t *read_array(struct reader *r, const struct shape *s, const struct prop *p,
                          const json_t *v, const struct place *at)
{
    if (!json_is_array(v))
        return complain(r, SHAPE_WRONG_TYPE, s, at, p->name, v,
                        "System.Collections.Generic.List`1[System.Object]");
    const struct prop item = {p->name, p->kind == PROP_OBJS ? PROP_OBJ : PROP_STR, 0, p->shape,
                              p->allowed};
    AUTO(json) json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(v); i++) {
        const struct place here = {at, NULL, i};
        json_t *one = read_value(r, s, &item, json_array_get(v, i), &here);
        if (!one)
            return NULL;
        json_array_append_new(out, one);
    }
    return TAKE(out);
}

static json_t *read_map(struct reader *r, const struct shape *s, const struct prop *p,
                        const json_t *v, const struct place *at)
{
    if (!json_is_object(v))
        return complain(r, SHAPE_WRONG_TYPE, s, at, p->name, v,
                        "System.Collections.Generic.Dictionary`2[System.String,System.String]");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)v, key, value)
    {
        if (!json_is_string(value) && !json_is_null(value))
            return complain(r, SHAPE_WRONG_TYPE, s, at, key, value, "System.String");
    }
    return json_deep_copy(v);
}

static json_t *read_value(struct reader *r, const struct shape *s, const struct prop *p,
                          const json_t *v, const struct place *at)
{
    switch (p->kind) {
    case PROP_STR:
        return read_str(r, s, p, v, at);
    case PROP_BOOL:
        return read_bool(r, s, p, v, at);
    case PROP_INT:
        return read_int(r, s, p, v, at);
    case PROP_OBJ:
        if (!json_is_object(v))
            return complain(r, SHAPE_WRONG_TYPE, s, at, p->name, v, p->shape->name);
        return read_object(r, p->shape, v, at);
    case PROP_OBJS:
    case PROP_STRS:
        return read_array(r, s, p, v, at);
    case PROP_MAP:
        return read_map(r, s, p, v, at);
    case PROP_ANY:
        return json_deep_copy(v);
    case PROP_END:
        break;
    }
    abort();
}

static bool read_members(struct reader *r, const struct shape *s, const json_t *in,
                         const struct place *at, json_t *out)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)in, key, v)
    {
        const struct prop *p = find_prop(s, key);
        const struct place here = {at, p ? p->name : key, 0};
        if (!p) {
            complain(r, SHAPE_UNKNOWN_MEMBER, s, &here, key, v, NULL);
            return false;
        }
        if (p->flags & PROP_READ_ONLY)
            continue;
        if (json_is_null(v)) {
            if (r->keep_nulls)
                json_object_set_new(out, p->name, json_null());
            continue;
        }
        json_t *one = read_value(r, s, p, v, &here);
        if (!one)
            return false;
        json_object_set_new(out, p->name, one);
    }
    return true;
}

static json_t *read_object(struct reader *r, const struct shape *s, const json_t *in,
                           const struct place *at)
{
    AUTO(json) json_t *out = json_object();
    if (!read_members(r, s, in, at, out))
        return NULL;
    for (const struct prop *p = s->props; p->kind != PROP_END; p++) {
        const struct place here = {at, p->name, 0};
        json_t *v = json_object_get(out, p->name);
        if ((p->flags & PROP_REQUIRED) && !r->partial && (!v || json_is_null(v)))
            return complain(r, SHAPE_MISSING, s, &here, p->name, NULL, NULL);
        if (p->flags & PROP_SECRET)
            json_object_del(out, p->name);
    }
    return TAKE(out);
}

json_t *shape_read(const struct shape *s, const json_t *in, bool partial, bool keep_nulls,
                   struct shape_fault *fault)
{
    struct reader r = {partial, keep_nulls, fault};
    return read_object(&r, s, in, NULL);
}

static json_t *show_value(const struct prop *p, const json_t *v)
{
    if (p && p->kind == PROP_OBJ && json_is_object(v))
        return shape_show(p->shape, v);
    if (!p || p->kind != PROP_OBJS || !json_is_array(v))
        return json_deep_copy(v);
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(v); i++)
        json_array_append_new(out, shape_show(p->shape, json_array_get(v, i)));
    return out;
}

json_t *shape_show(const struct shape *s, const json_t *stored)
{
    json_t *out = json_object();
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)stored, key, v)
    {
        const struct prop *p = find_prop(s, key);
        if (p && (p->flags & PROP_HIDDEN))
            continue;
        json_object_set_new(out, key, show_value(p, v));
    }
    return out;
}

void shape_merge(json_t *onto, const json_t *change)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)change, key, v)
    {
        json_t *old = json_object_get(onto, key);
        if (json_is_null(v))
            json_object_del(onto, key);
        else if (json_is_object(v) && json_is_object(old))
            shape_merge(old, v);
        else
            json_object_set_new(onto, key, json_deep_copy(v));
    }
}
