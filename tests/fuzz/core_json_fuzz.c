/*
 * The JSON codec: parse, decode with a schema of every kind of field, encode, decode again. What
 * was accepted once must be accepted again and encode to the same text.
 */
#include "core/json.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct part {
    const char *text;
    int64_t number;
};

struct whole {
    const char *text;
    struct secret secret;
    bool flag;
    enum tri tri;
    int64_t number;
    struct part *part;
    struct str_list texts;
    struct int_list numbers;
    struct obj_list parts;
    struct str_map map;
};

static const char *const allowed[] = {"a", "b", NULL};

static const char *no_blank(const char *s)
{
    return strchr(s, ' ') ? "must not have blanks" : NULL;
}

#define PART(m) offsetof(struct part, m)
static const struct field part_fields[] = {
    {.name = "text",
     .kind = FIELD_STR,
     .offset = PART(text),
     .allowed = allowed,
     .required = true,
     .max = 8},
    {.name = "number", .kind = FIELD_INT, .offset = PART(number), .min = -5, .max = 5},
};
static const struct schema part = {
    .name = "part", .size = sizeof(struct part), .fields = part_fields, .n_fields = 2};

#define AT(m) offsetof(struct whole, m)
static const struct field fields[] = {
    {.name = "text",
     .kind = FIELD_STR,
     .offset = AT(text),
     .max = 20,
     .match = no_blank,
     .dflt_str = "none"},
    {.name = "secret", .kind = FIELD_SECRET, .offset = AT(secret), .max = 20},
    {.name = "flag", .kind = FIELD_BOOL, .offset = AT(flag)},
    {.name = "tri", .kind = FIELD_TRI, .offset = AT(tri)},
    {.name = "number", .kind = FIELD_INT, .offset = AT(number), .min = INT64_MIN, .max = INT64_MAX},
    {.name = "part", .kind = FIELD_OBJ, .offset = AT(part), .object = &part},
    {.name = "texts",
     .kind = FIELD_STR_LIST,
     .offset = AT(texts),
     .max = 4,
     .item_max = 5,
     .unique = true},
    {.name = "numbers", .kind = FIELD_INT_LIST, .offset = AT(numbers), .max = 4, .item_max = 9},
    {.name = "parts", .kind = FIELD_OBJ_LIST, .offset = AT(parts), .max = 3, .object = &part},
    {.name = "m/~p",
     .kind = FIELD_STR_MAP,
     .offset = AT(map),
     .max = 3,
     .item_max = 5,
     .match_key = no_blank},
};
static const struct schema whole = {
    .name = "whole", .size = sizeof(struct whole), .fields = fields, .n_fields = ARRAY_LEN(fields)};

static void encode(const struct whole *w, struct buf *out)
{
    struct jw jw = jw_over(out);
    json_encode(&jw, &whole, w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *a = arena_new();
    struct err_info why = {0};
    struct whole one, two;
    struct buf first = {0}, second = {0};
    enum err err = json_decode_text(BYTES(data, size), &whole, a, &one, &why);
    if (err) {
        assert(err == ERR_BAD_REQUEST || err == ERR_VALIDATION);
        assert(err != ERR_VALIDATION || why.n_fields > 0);
    } else {
        encode(&one, &first);
        if (json_decode_text(buf_bytes(&first), &whole, a, &two, &why))
            abort();
        encode(&two, &second);
        assert(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    }
    buf_free(&first);
    buf_free(&second);
    arena_free(a);
    return 0;
}
