#include "core/json_quick.h"

#include <inttypes.h>

/* What a text would make: seen before jansson makes it, which recurses up to 2048 levels and takes up to
 * 300 bytes for two of text ("{},"). */
struct shape {
    unsigned depth, deepest;
    size_t values; /* at most so many */
};

static void see(struct shape *s, uint8_t c)
{
    if (c == '{' || c == '[') {
        s->values++;
        if (++s->depth > s->deepest)
            s->deepest = s->depth;
    } else if (c == ',') {
        s->values++;
    } else if ((c == '}' || c == ']') && s->depth > 0) {
        s->depth--;
    }
}

static struct shape shape_of(struct bytes text)
{
    struct shape s = {.values = 1};
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string)
            see(&s, c);
    }
    return s;
}

static enum err parse(struct bytes text, size_t max_values, json_t **out, struct err_info *e)
{
    if (text.len == 0)
        return err_set(e, ERR_BAD_REQUEST, "the body is empty; a JSON object is expected");
    struct shape shape = shape_of(text);
    if (shape.deepest > JSON_DEPTH_MAX)
        return err_set(e, ERR_BAD_REQUEST, "the JSON is nested deeper than %d levels",
                       JSON_DEPTH_MAX);
    if (shape.values > max_values)
        return err_set(e, ERR_BAD_REQUEST, "the JSON has more than %zu values", max_values);
    json_error_t why;
    *out = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &why);
    if (!*out)
        return err_set(e, ERR_BAD_REQUEST, "not valid JSON at line %d, column %d: %s", why.line,
                       why.column, why.text);
    return OK;
}

enum err json_parse(struct bytes text, json_t **out, struct err_info *e)
{
    return parse(text, SIZE_MAX, out, e);
}

/* Where the decoder is: a pointer that is only spelled out when something is wrong. */
struct at {
    const struct at *up;
    const char *key; /* NULL: index */
    size_t index;
};

static void spell(const struct at *at, char *out, size_t size)
{
    if (!at) {
        snprintf(out, size, "#");
        return;
    }
    spell(at->up, out, size);
    size_t n = strlen(out);
    if (!at->key) {
        snprintf(out + n, size - n, "/%zu", at->index);
        return;
    }
    if (n + 1 < size)
        out[n++] = '/';
    /* RFC 6901 section 3 */
    for (const char *k = at->key; *k && n + 3 < size; k++) {
        if (*k == '~' || *k == '/') {
            out[n++] = '~';
            out[n++] = *k == '~' ? '0' : '1';
        } else {
            out[n++] = *k;
        }
    }
    out[n] = 0;
}

struct decoder {
    struct arena *arena;
    struct err_info *err;
    bool bad;
};

#define COMPLAIN(d, at, ...)                                                                       \
    do {                                                                                           \
        char pointer_[128];                                                                        \
        spell(at, pointer_, sizeof pointer_);                                                      \
        (d)->bad = true;                                                                           \
        err_add_field((d)->err, pointer_, __VA_ARGS__);                                            \
    } while (0)

static void decode_object(struct decoder *d, const json_t *v, const struct schema *s, void *out,
                          const struct at *at);

bool json_in_enum(const char *text, const char *const *allowed)
{
    for (; *allowed; allowed++)
        if (strcmp(text, *allowed) == 0)
            return true;
    return false;
}

/* Characters, not bytes: JSON Schema counts code points. */
static int64_t utf8_length(const char *s)
{
    int64_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static const char *check_text(struct decoder *d, const json_t *v, const struct field *f,
                              int64_t min, int64_t max, const struct at *at)
{
    if (!json_is_string(v)) {
        COMPLAIN(d, at, "must be a string");
        return NULL;
    }
    const char *text = json_string_value(v);
    int64_t n = utf8_length(text);
    if (n < min || (max > 0 && n > max)) {
        COMPLAIN(d, at, "must have %" PRId64 " to %" PRId64 " characters, has %" PRId64, min, max,
                 n);
        return NULL;
    }
    if (f->allowed && !json_in_enum(text, f->allowed)) {
        struct buf list = {0};
        for (const char *const *p = f->allowed; *p; p++)
            buf_printf(&list, "%s%s", p == f->allowed ? "" : ", ", *p);
        COMPLAIN(d, at, "must be one of %s", list.data);
        buf_free(&list);
        return NULL;
    }
    const char *why = f->match ? f->match(text) : NULL;
    if (why) {
        COMPLAIN(d, at, "%s", why);
        return NULL;
    }
    return text;
}

static bool check_int(struct decoder *d, const json_t *v, int64_t min, int64_t max,
                      const struct at *at)
{
    if (!json_is_integer(v)) {
        COMPLAIN(d, at, "must be an integer");
        return false;
    }
    int64_t n = json_integer_value(v);
    if (n < min || n > max) {
        COMPLAIN(d, at, "must be between %" PRId64 " and %" PRId64, min, max);
        return false;
    }
    return true;
}

static bool check_count(struct decoder *d, size_t n, const struct field *f, const struct at *at)
{
    if ((int64_t)n >= f->min && (f->max == 0 || (int64_t)n <= f->max))
        return true;
    COMPLAIN(d, at, "must have %" PRId64 " to %" PRId64 " items, has %zu", f->min, f->max, n);
    return false;
}

static void check_unique(struct decoder *d, const json_t *list, const struct at *at)
{
    size_t n = json_array_size(list);
    for (size_t i = 1; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (json_equal(json_array_get(list, i), json_array_get(list, k))) {
                struct at item = {.up = at, .index = i};
                COMPLAIN(d, &item, "repeats item %zu", k);
                return;
            }
}

size_t json_item_width(const struct field *f)
{
    return f->kind == FIELD_OBJ_LIST   ? f->object->size
           : f->kind == FIELD_INT_LIST ? sizeof(int64_t)
                                       : sizeof(char *);
}

static void decode_list(struct decoder *d, const json_t *v, const struct field *f, void *slot,
                        const struct at *at)
{
    if (!json_is_array(v)) {
        COMPLAIN(d, at, "must be an array");
        return;
    }
    size_t n = json_array_size(v);
    if (!check_count(d, n, f, at))
        return;
    size_t width = json_item_width(f);
    struct obj_list *list = slot;
    list->items = arena_array(d->arena, n ? n : 1, width);
    list->n = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(v, i);
        struct at here = {.up = at, .index = i};
        if (f->kind == FIELD_OBJ_LIST) {
            decode_object(d, item, f->object, (char *)list->items + i * width, &here);
        } else if (f->kind == FIELD_INT_LIST) {
            if (check_int(d, item, f->item_min, f->item_max, &here))
                ((int64_t *)list->items)[i] = json_integer_value(item);
        } else {
            const char *text = check_text(d, item, f, f->item_min, f->item_max, &here);
            ((const char **)list->items)[i] = arena_strdup(d->arena, text);
        }
    }
    if (f->unique)
        check_unique(d, v, at);
}

static void decode_map(struct decoder *d, const json_t *v, const struct field *f,
                       struct str_map *map, const struct at *at)
{
    if (!json_is_object(v)) {
        COMPLAIN(d, at, "must be an object");
        return;
    }
    if (!check_count(d, json_object_size(v), f, at))
        return;
    map->items = arena_array(d->arena, json_object_size(v) + 1, sizeof *map->items);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)v, key, value)
    {
        struct at here = {.up = at, .key = key};
        const char *why = f->match_key ? f->match_key(key) : NULL;
        if (why)
            COMPLAIN(d, &here, "%s", why);
        const char *text = check_text(d, value, f, f->item_min, f->item_max, &here);
        map->items[map->n].key = arena_strdup(d->arena, key);
        map->items[map->n++].value = arena_strdup(d->arena, text);
    }
}

static void decode_field(struct decoder *d, const json_t *v, const struct field *f, void *slot,
                         const struct at *at)
{
    switch (f->kind) {
    case FIELD_STR:
        *(const char **)slot = arena_strdup(d->arena, check_text(d, v, f, f->min, f->max, at));
        return;
    case FIELD_SECRET: {
        const char *text = check_text(d, v, f, f->min, f->max, at);
        if (text)
            *(struct secret *)slot = secret_in(d->arena, text, strlen(text));
        return;
    }
    case FIELD_BOOL:
    case FIELD_TRI:
        if (!json_is_boolean(v))
            COMPLAIN(d, at, "must be true or false");
        else if (f->kind == FIELD_BOOL)
            *(bool *)slot = json_is_true(v);
        else
            *(enum tri *)slot = json_is_true(v) ? TRI_TRUE : TRI_FALSE;
        return;
    case FIELD_INT:
        if (check_int(d, v, f->min, f->max, at))
            *(int64_t *)slot = json_integer_value(v);
        return;
    case FIELD_OBJ:
        *(void **)slot = arena_alloc(d->arena, f->object->size);
        decode_object(d, v, f->object, *(void **)slot, at);
        return;
    case FIELD_STR_LIST:
    case FIELD_INT_LIST:
    case FIELD_OBJ_LIST:
        decode_list(d, v, f, slot, at);
        return;
    case FIELD_STR_MAP:
        decode_map(d, v, f, slot, at);
        return;
    }
}

void json_set_absent(const struct field *f, void *slot)
{
    if (f->kind == FIELD_STR)
        *(const char **)slot = f->dflt_str;
    else if (f->kind == FIELD_TRI)
        *(enum tri *)slot = TRI_UNSET;
    else if (f->kind == FIELD_BOOL)
        *(bool *)slot = f->dflt_int != 0;
    else if (f->kind == FIELD_INT)
        *(int64_t *)slot = f->has_dflt ? f->dflt_int : JSON_INT_UNSET;
}

/* An absent object whose default is {}: its members get theirs. */
static void decode_default(struct decoder *d, const struct field *f, void *slot)
{
    AUTO(json) json_t *empty = json_object();
    *(void **)slot = arena_alloc(d->arena, f->object->size);
    decode_object(d, empty, f->object, *(void **)slot, NULL);
}

static const struct field *field_of(const struct schema *s, const char *name)
{
    for (size_t i = 0; i < s->n_fields; i++)
        if (strcmp(s->fields[i].name, name) == 0)
            return &s->fields[i];
    return NULL;
}

static bool has_all(const json_t *v, const char *const *set)
{
    for (; *set; set++)
        if (!json_object_get(v, *set))
            return false;
    return true;
}

static void name_set(struct buf *b, const char *const *set, const char *between)
{
    for (size_t i = 0; set[i]; i++)
        buf_printf(b, "%s%s", i ? between : "", set[i]);
}

static void check_one_of(struct decoder *d, const json_t *v, const struct rule *r,
                         const struct at *at)
{
    size_t n = 0;
    struct buf list = {0};
    for (size_t i = 0; r->sets[i]; i++) {
        n += has_all(v, r->sets[i]);
        buf_add_str(&list, i ? " or " : "");
        name_set(&list, r->sets[i], ", ");
    }
    if (n != 1)
        COMPLAIN(d, at, "must have %s: %s", n ? "only one of" : "one of", list.data);
    buf_free(&list);
}

static void check_rule(struct decoder *d, const json_t *v, const struct rule *r,
                       const struct at *at)
{
    if (r->kind == RULE_ONE_OF) {
        check_one_of(d, v, r, at);
        return;
    }
    const char *const *set = r->sets[0];
    bool all = has_all(v, set);
    bool bad = r->kind == RULE_NOT_ALL ? all : json_object_get(v, set[0]) && !all;
    if (!bad)
        return;
    struct buf list = {0};
    name_set(&list, r->kind == RULE_NOT_ALL ? set : set + 1, ", ");
    if (r->kind == RULE_NOT_ALL)
        COMPLAIN(d, at, "must not have all of %s", list.data);
    else
        COMPLAIN(d, at, "%s asks for %s", set[0], list.data);
    buf_free(&list);
}

static void decode_object(struct decoder *d, const json_t *v, const struct schema *s, void *out,
                          const struct at *at)
{
    memset(out, 0, s->size);
    if (!json_is_object(v)) {
        COMPLAIN(d, at, "must be an object");
        return;
    }
    for (size_t i = 0; i < s->n_fields; i++) {
        const struct field *f = &s->fields[i];
        void *slot = (char *)out + f->offset;
        struct at here = {.up = at, .key = f->name};
        const json_t *member = json_object_get(v, f->name);
        json_set_absent(f, slot);
        if (member)
            decode_field(d, member, f, slot, &here);
        else if (f->required)
            COMPLAIN(d, &here, "is required");
        else if (f->kind == FIELD_OBJ && f->has_dflt)
            decode_default(d, f, slot);
    }
    for (size_t i = 0; i < s->n_rules; i++)
        check_rule(d, v, &s->rules[i], at);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)v, key, value)
    {
        struct at here = {.up = at, .key = key};
        if (!field_of(s, key))
            COMPLAIN(d, &here, "is not a known member");
    }
}

enum err json_decode(const json_t *v, const struct schema *s, struct arena *a, void *out,
                     struct err_info *e)
{
    struct decoder d = {.arena = a, .err = e};
    if (e)
        e->code = OK;
    decode_object(&d, v, s, out, NULL);
    return d.bad ? ERR_VALIDATION : OK;
}

static enum err decode_strictly(struct bytes text, const struct schema *s, struct arena *a,
                                void *out, struct err_info *e)
{
    AUTO(json) json_t *v = NULL;
    enum err err = parse(text, JSON_VALUES_MAX, &v, e);
    if (err)
        return err;
    return json_decode(v, s, a, out, e);
}

/* In test presets the strict decoder must come to the same, wherever a test or a fuzzer has a body. */
static void check_quick(struct bytes text, const struct schema *s, struct arena *a, const void *out)
{
#ifdef TLGATE_FAULTS
    struct buf quick = {0}, strict = {0};
    struct jw one = jw_over(&quick), two = jw_over(&strict);
    void *other = arena_alloc(a, s->size);
    if (decode_strictly(text, s, a, other, NULL))
        abort();
    json_encode(&one, s, out);
    json_encode(&two, s, other);
    if (!bytes_equal(buf_bytes(&quick), buf_bytes(&strict)))
        abort();
    buf_free(&quick);
    buf_free(&strict);
#endif
}

enum err json_decode_text(struct bytes text, const struct schema *s, struct arena *a, void *out,
                          struct err_info *e)
{
    if (!json_quick(text, s, a, out))
        return decode_strictly(text, s, a, out, e);
    check_quick(text, s, a, out);
    if (e)
        e->code = OK;
    return OK;
}

static void encode_list(struct jw *w, const struct field *f, const struct obj_list *list)
{
    if (!list->items)
        return;
    jw_key(w, f->name);
    jw_open(w, '[');
    for (size_t i = 0; i < list->n; i++) {
        if (f->kind == FIELD_OBJ_LIST)
            json_encode(w, f->object, (const char *)list->items + i * f->object->size);
        else if (f->kind == FIELD_INT_LIST)
            jw_int(w, ((const int64_t *)list->items)[i]);
        else
            jw_str(w, ((const char *const *)list->items)[i]);
    }
    jw_close(w, ']');
}

static void encode_map(struct jw *w, const struct field *f, const struct str_map *map)
{
    if (!map->items)
        return;
    jw_key(w, f->name);
    jw_open(w, '{');
    for (size_t i = 0; i < map->n; i++)
        jw_key_str(w, map->items[i].key, map->items[i].value);
    jw_close(w, '}');
}

static void encode_field(struct jw *w, const struct field *f, const void *slot)
{
    switch (f->kind) {
    case FIELD_STR:
        jw_key_str_opt(w, f->name, *(const char *const *)slot);
        return;
    case FIELD_SECRET:
        return;
    case FIELD_BOOL:
        jw_key_bool(w, f->name, *(const bool *)slot);
        return;
    case FIELD_TRI:
        if (*(const enum tri *)slot != TRI_UNSET)
            jw_key_bool(w, f->name, *(const enum tri *)slot == TRI_TRUE);
        return;
    case FIELD_INT:
        if (*(const int64_t *)slot != JSON_INT_UNSET)
            jw_key_int(w, f->name, *(const int64_t *)slot);
        return;
    case FIELD_OBJ:
        if (*(void *const *)slot) {
            jw_key(w, f->name);
            json_encode(w, f->object, *(void *const *)slot);
        }
        return;
    case FIELD_STR_LIST:
    case FIELD_INT_LIST:
    case FIELD_OBJ_LIST:
        encode_list(w, f, slot);
        return;
    case FIELD_STR_MAP:
        encode_map(w, f, slot);
        return;
    }
}

const struct schema json_nothing = {.name = "Nothing", .size = 1};

void json_encode(struct jw *w, const struct schema *s, const void *in)
{
    jw_open(w, '{');
    for (size_t i = 0; i < s->n_fields; i++)
        encode_field(w, &s->fields[i], (const char *)in + s->fields[i].offset);
    jw_close(w, '}');
}

const json_t *json_path(const json_t *v, const char *path)
{
    while (v && *path) {
        size_t n = strcspn(path, "/");
        v = json_object_getn(v, path, n);
        path += n + (path[n] == '/');
    }
    return v;
}

const char *json_path_str(const json_t *v, const char *path)
{
    return json_string_value(json_path(v, path));
}
