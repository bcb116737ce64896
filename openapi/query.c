#include "openapi/query.h"

#include <inttypes.h>

static const struct field *field_of(const struct schema *s, const char *name)
{
    for (size_t i = 0; s && i < s->n_fields; i++)
        if (strcmp(s->fields[i].name, name) == 0)
            return &s->fields[i];
    return NULL;
}

/* "50", "-1"; anything else stays a text, which the codec refuses in its own words. */
static json_t *integer_of(const char *text)
{
    const char *digits = text + (*text == '-');
    size_t n = strlen(digits);
    if (n == 0 || n > 18 || strspn(digits, "0123456789") != n)
        return json_string(text);
    return json_integer(strtoll(text, NULL, 10));
}

static json_t *value_of(const struct field *f, const char *text)
{
    if (f->kind == FIELD_INT)
        return integer_of(text);
    if (f->kind == FIELD_BOOL || f->kind == FIELD_TRI) {
        if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
            return json_boolean(*text == 't');
    }
    return json_string(text);
}

static void complain(struct err_info *e, const char *name, const char *why)
{
    char pointer[sizeof e->fields[0].pointer];
    snprintf(pointer, sizeof pointer, "?%s", name);
    err_add_field(e, pointer, "%s", why);
}

/* The codec points into a body ("#/top"); here the same name is a parameter ("?top"). */
static void rename_pointers(struct err_info *e)
{
    for (unsigned i = 0; i < e->n_fields && i < ERR_FIELDS_MAX; i++) {
        char *p = e->fields[i].pointer;
        if (strncmp(p, "#/", 2) != 0)
            continue;
        *p = '?';
        memmove(p + 1, p + 2, strlen(p + 2) + 1);
    }
}

enum err query_decode(const struct str_pair *pairs, size_t n, const struct schema *s,
                      struct arena *a, void *out, struct err_info *e)
{
    struct err_info local = {0};
    struct err_info *info = e ? e : &local;
    info->code = OK;
    if (!s && n == 0)
        return OK;
    AUTO(json) json_t *object = json_object();
    for (size_t i = 0; i < n; i++) {
        const struct field *f = field_of(s, pairs[i].key);
        if (!f)
            complain(info, pairs[i].key, "is not a known parameter");
        else if (json_object_get(object, pairs[i].key))
            complain(info, pairs[i].key, "is given more than once");
        else if (json_object_set_new(object, pairs[i].key, value_of(f, pairs[i].value)) != 0)
            complain(info, pairs[i].key, "must be UTF-8 text");
    }
    if (info->code)
        return info->code;
    enum err err = s ? json_decode(object, s, a, out, info) : OK;
    if (err)
        rename_pointers(info);
    return err;
}
