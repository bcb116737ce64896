#include "core/json_quick.h"

#define FIRST_ITEMS 4

struct quick {
    const uint8_t *at;
    const uint8_t *end;
    struct arena *arena;
    size_t values; /* as the strict decoder counts them */
    unsigned depth;
};

static bool quick_object(struct quick *q, const struct schema *s, void *out);

/* ---- tokens ---- */

/* Does the next token begin with this? */
static bool comes(struct quick *q, uint8_t c)
{
    while (q->at < q->end && (*q->at == ' ' || *q->at == '\n' || *q->at == '\r' || *q->at == '\t'))
        q->at++;
    return q->at < q->end && *q->at == c;
}

static bool take(struct quick *q, uint8_t c)
{
    if (!comes(q, c))
        return false;
    q->at++;
    return true;
}

static bool take_open(struct quick *q, uint8_t c)
{
    q->values++;
    return ++q->depth <= JSON_DEPTH_MAX && take(q, c);
}

static bool take_close(struct quick *q, uint8_t c)
{
    q->depth--;
    return take(q, c);
}

static bool take_comma(struct quick *q)
{
    q->values++;
    return take(q, ',');
}

static bool take_word(struct quick *q, const char *word)
{
    size_t n = strlen(word);
    if (!comes(q, (uint8_t)*word) || (size_t)(q->end - q->at) < n || memcmp(q->at, word, n) != 0)
        return false;
    q->at += n;
    return true;
}

static bool is_plain(uint8_t c)
{
    return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

/* How many of the next eight bytes are plain, up to the first that is not: it has its high bit in `odd`, being
 * below 0x20, above 0x7e, or zero in an XOR. What borrows or carries is behind it. */
static unsigned plain_of_eight(const uint8_t *at)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t v = (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 |
                 (uint64_t)at[3] << 24 | (uint64_t)at[4] << 32 | (uint64_t)at[5] << 40 |
                 (uint64_t)at[6] << 48 | (uint64_t)at[7] << 56;
    uint64_t quote = (v ^ ones * '"') - ones, back = (v ^ ones * '\\') - ones;
    uint64_t odd = (v | (v - ones * 0x20) | (v + ones) | quote | back) & ones << 7;
    return odd ? (unsigned)__builtin_ctzll(odd) / 8 : 8;
}

static bool take_string(struct quick *q, struct bytes *out)
{
    if (!take(q, '"'))
        return false;
    const uint8_t *from = q->at;
    unsigned n = 8;
    while (n == 8 && q->end - q->at >= 8)
        q->at += n = plain_of_eight(q->at);
    while (q->at < q->end && is_plain(*q->at))
        q->at++;
    *out = BYTES(from, (size_t)(q->at - from));
    return q->at < q->end && *q->at++ == '"';
}

static bool is_digit(const struct quick *q)
{
    return q->at < q->end && *q->at >= '0' && *q->at <= '9';
}

/* What follows is looked at by who asks: a fraction or another digit is no end of a value. */
static bool take_int(struct quick *q, int64_t min, int64_t max, int64_t *out)
{
    bool minus = take(q, '-');
    const uint8_t *from = q->at;
    int64_t n = 0;
    while (is_digit(q) && q->at - from < 18)
        n = n * 10 + (*q->at++ - '0');
    if (q->at == from || (*from == '0' && (minus || q->at - from > 1)))
        return false;
    *out = minus ? -n : n;
    return *out >= min && *out <= max;
}

/* ---- values ---- */

static const char *quick_text(struct quick *q, const struct field *f, int64_t min, int64_t max)
{
    struct bytes s;
    if (!take_string(q, &s) || (int64_t)s.len < min || (max > 0 && (int64_t)s.len > max))
        return NULL;
    const char *text = arena_strndup(q->arena, (const char *)s.data, s.len);
    if ((f->allowed && !json_in_enum(text, f->allowed)) || (f->match && f->match(text)))
        return NULL;
    return text;
}

static bool quick_bool(struct quick *q, const struct field *f, void *slot)
{
    bool yes = take_word(q, "true");
    if (!yes && !take_word(q, "false"))
        return false;
    if (f->kind == FIELD_BOOL)
        *(bool *)slot = yes;
    else
        *(enum tri *)slot = yes ? TRI_TRUE : TRI_FALSE;
    return true;
}

static bool quick_item(struct quick *q, const struct field *f, void *slot)
{
    if (f->kind == FIELD_OBJ_LIST)
        return quick_object(q, f->object, slot);
    if (f->kind == FIELD_INT_LIST)
        return take_int(q, f->item_min, f->item_max, slot);
    return (*(const char **)slot = quick_text(q, f, f->item_min, f->item_max)) != NULL;
}

static bool is_unique(const struct field *f, const struct obj_list *list)
{
    const char *const *texts = list->items;
    if (list->n > 1 && f->kind != FIELD_STR_LIST)
        return false;
    for (size_t i = 1; i < list->n; i++)
        for (size_t k = 0; k < i; k++)
            if (!strcmp(texts[i], texts[k]))
                return false;
    return true;
}

static bool quick_items(struct quick *q, const struct field *f, struct obj_list *list)
{
    size_t width = json_item_width(f), room = FIRST_ITEMS;
    list->items = arena_array(q->arena, room, width);
    if (comes(q, ']'))
        return true;
    do {
        if (list->n == room) {
            void *more = arena_array(q->arena, room *= 2, width);
            memcpy(more, list->items, list->n * width);
            list->items = more;
        }
        if (!quick_item(q, f, (char *)list->items + list->n++ * width))
            return false;
    } while (take_comma(q));
    return true;
}

static bool quick_list(struct quick *q, const struct field *f, struct obj_list *list)
{
    if (!take_open(q, '[') || !quick_items(q, f, list) || !take_close(q, ']'))
        return false;
    int64_t n = (int64_t)list->n;
    return n >= f->min && (f->max == 0 || n <= f->max) && (!f->unique || is_unique(f, list));
}

static bool quick_field(struct quick *q, const struct field *f, void *slot)
{
    const char *text;
    switch (f->kind) {
    case FIELD_STR:
        return (*(const char **)slot = quick_text(q, f, f->min, f->max)) != NULL;
    case FIELD_SECRET:
        text = quick_text(q, f, f->min, f->max);
        if (text)
            *(struct secret *)slot = (struct secret){text, strlen(text)};
        return text;
    case FIELD_BOOL:
    case FIELD_TRI:
        return quick_bool(q, f, slot);
    case FIELD_INT:
        return take_int(q, f->min, f->max, slot);
    case FIELD_OBJ:
        return quick_object(q, f->object, *(void **)slot = arena_alloc(q->arena, f->object->size));
    case FIELD_STR_LIST:
    case FIELD_INT_LIST:
    case FIELD_OBJ_LIST:
        return quick_list(q, f, slot);
    case FIELD_STR_MAP:
        break;
    }
    return false;
}

/* ---- objects ---- */

/* n_fields where there is none of that name. */
static size_t field_at(const struct schema *s, struct bytes name)
{
    size_t i = 0;
    while (i < s->n_fields && (strncmp(s->fields[i].name, (const char *)name.data, name.len) != 0 ||
                               s->fields[i].name[name.len]))
        i++;
    return i;
}

static bool quick_member(struct quick *q, const struct schema *s, void *out, uint64_t *seen)
{
    struct bytes name;
    if (!take_string(q, &name) || !take(q, ':'))
        return false;
    size_t i = field_at(s, name);
    if (i == s->n_fields || *seen & UINT64_C(1) << i)
        return false;
    *seen |= UINT64_C(1) << i;
    return quick_field(q, &s->fields[i], (char *)out + s->fields[i].offset);
}

/* Members that are not there. */
static bool quick_rest(struct quick *q, const struct schema *s, void *out, uint64_t seen)
{
    for (size_t i = 0; i < s->n_fields; i++) {
        const struct field *f = &s->fields[i];
        void **slot = (void *)((char *)out + f->offset);
        if (seen & UINT64_C(1) << i)
            continue;
        if (f->required)
            return false;
        if (f->kind != FIELD_OBJ || !f->has_dflt)
            continue;
        *slot = arena_alloc(q->arena, f->object->size);
        if (!json_quick(BYTES_STR("{}"), f->object, q->arena, *slot))
            return false;
    }
    return true;
}

static bool has_all(const struct schema *s, uint64_t seen, const char *const *set)
{
    for (; *set; set++) {
        size_t i = field_at(s, BYTES_STR(*set));
        if (i == s->n_fields || !(seen & UINT64_C(1) << i))
            return false;
    }
    return true;
}

static bool keeps(const struct schema *s, uint64_t seen, const struct rule *r)
{
    const char *const first[] = {r->sets[0][0], NULL};
    size_t n = 0;
    switch (r->kind) {
    case RULE_ONE_OF:
        for (size_t i = 0; r->sets[i]; i++)
            n += has_all(s, seen, r->sets[i]);
        return n == 1;
    case RULE_NOT_ALL:
        return !has_all(s, seen, r->sets[0]);
    case RULE_REQUIRES:
        return !has_all(s, seen, first) || has_all(s, seen, r->sets[0]);
    }
    return false;
}

static bool quick_members(struct quick *q, const struct schema *s, void *out, uint64_t *seen)
{
    if (comes(q, '}'))
        return true;
    do {
        if (!quick_member(q, s, out, seen))
            return false;
    } while (take_comma(q));
    return true;
}

static bool quick_object(struct quick *q, const struct schema *s, void *out)
{
    uint64_t seen = 0;
    if (s->n_fields > 64)
        return false;
    memset(out, 0, s->size);
    for (size_t i = 0; i < s->n_fields; i++)
        json_set_absent(&s->fields[i], (char *)out + s->fields[i].offset);
    if (!take_open(q, '{') || !quick_members(q, s, out, &seen) || !take_close(q, '}') ||
        !quick_rest(q, s, out, seen))
        return false;
    for (size_t i = 0; i < s->n_rules; i++)
        if (!keeps(s, seen, &s->rules[i]))
            return false;
    return true;
}

bool json_quick(struct bytes text, const struct schema *s, struct arena *a, void *out)
{
    struct quick q = {.at = text.data, .end = text.data + text.len, .arena = a, .values = 1};
    if (!text.len || !quick_object(&q, s, out))
        return false;
    comes(&q, 0);
    return q.at == q.end && q.values <= JSON_VALUES_MAX;
}
