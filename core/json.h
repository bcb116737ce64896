/*
 * JSON in: a strict parser (jansson) and a field codec.
 *
 * A schema is a const table of fields over a struct: it decodes request bodies, stores and reads
 * job arguments, and encodes them again. openapi/generate.py writes the tables for the contract's
 * schemas; other tables stand beside their struct.
 *
 * Decoding refuses unknown members, and names every bad member at once (err_info.fields).
 * Everything decoded lives in the arena. Absent optional members are NULL, TRI_UNSET,
 * JSON_INT_UNSET or empty.
 */
#ifndef CORE_JSON_H
#define CORE_JSON_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/cleanup.h"
#include "core/err.h"
#include "core/secret.h"

#include <jansson.h>

AUTO_DEFINE(json, json_t *, json_decref)

#define JSON_DEPTH_MAX  32
#define JSON_VALUES_MAX 8192 /* of a request */
#define JSON_INT_UNSET  INT64_MIN

/* A boolean that may be absent. */
enum tri { TRI_UNSET = -1, TRI_FALSE = 0, TRI_TRUE = 1 };

struct str_list {
    const char **items;
    size_t n;
};
struct int_list {
    int64_t *items;
    size_t n;
};
/* Layout of every generated list of objects: items point to an array of the item's struct. */
struct obj_list {
    void *items;
    size_t n;
};
struct str_pair {
    const char *key;
    const char *value;
};
struct str_map {
    struct str_pair *items;
    size_t n;
};

enum field_kind {
    FIELD_STR,      /* const char * */
    FIELD_SECRET,   /* struct secret; never encoded */
    FIELD_BOOL,     /* bool */
    FIELD_TRI,      /* enum tri */
    FIELD_INT,      /* int64_t */
    FIELD_OBJ,      /* struct of `object` behind a pointer */
    FIELD_STR_LIST, /* struct str_list */
    FIELD_INT_LIST, /* struct int_list */
    FIELD_OBJ_LIST, /* struct obj_list of `object` */
    FIELD_STR_MAP,  /* struct str_map */
};

/* Says why the text is not of the pattern, or NULL where it is. */
typedef const char *field_match_fn(const char *text);

struct schema;

struct field {
    const char *name;
    enum field_kind kind;
    bool required;
    size_t offset;
    int64_t min; /* length of a string, value of an integer, items of a list or map */
    int64_t max;
    int64_t item_min; /* the same for the items of a list, the values of a map */
    int64_t item_max;
    field_match_fn *match;      /* of a string, of each item, of each value */
    field_match_fn *match_key;  /* of a map's keys */
    const char *const *allowed; /* NULL-terminated enum */
    const struct schema *object;
    bool unique;          /* uniqueItems */
    const char *dflt_str; /* defaults of absent members; FIELD_INT: dflt_int where has_dflt */
    int64_t dflt_int;
    bool has_dflt; /* FIELD_OBJ: an absent object is decoded as an empty one */
};

/* What members of an object may stand together. */
enum rule_kind {
    RULE_ONE_OF,   /* sets of members; exactly one set is complete */
    RULE_NOT_ALL,  /* one set, which must not be complete */
    RULE_REQUIRES, /* one set: its first member asks for all others */
};
struct rule {
    enum rule_kind kind;
    const char *const *const *sets; /* NULL-terminated list of NULL-terminated sets */
};

struct schema {
    const char *name;
    size_t size; /* sizeof the struct */
    const struct field *fields;
    size_t n_fields;
    const struct rule *rules;
    size_t n_rules;
};

/* Of an object without members. */
extern const struct schema json_nothing;

/*
 * UTF-8 JSON text to a tree: duplicate keys, trailing bytes, NUL, lone surrogates, numbers out of
 * range and more than JSON_DEPTH_MAX levels are ERR_BAD_REQUEST. The caller owns *out (AUTO(json)).
 */
enum err json_parse(struct bytes text, json_t **out, struct err_info *e) MUST_CHECK;

/* Decode an object into `out` (schema->size bytes, zeroed first). ERR_VALIDATION with every field.
 */
enum err json_decode(const json_t *v, const struct schema *s, struct arena *a, void *out,
                     struct err_info *e) MUST_CHECK;

/* json_parse and json_decode; nothing of the tree is left. For what strangers send: more than
 * JSON_VALUES_MAX values are ERR_BAD_REQUEST before any of them is made. */
enum err json_decode_text(struct bytes text, const struct schema *s, struct arena *a, void *out,
                          struct err_info *e) MUST_CHECK;

/* The struct as a JSON object; absent members and secrets are left out. */
void json_encode(struct jw *w, const struct schema *s, const void *in);

/* Member by path ("properties/provisioningState") of a foreign document, or NULL. */
const char *json_path_str(const json_t *v, const char *path);
const json_t *json_path(const json_t *v, const char *path);

#endif
