/*
 * Shapes: what members a resource's body may have, as const tables.
 *
 * Azure refuses members it does not know, takes names and enum values in any case, ignores read-only
 * members that are sent back, and never shows secrets again. A shape says which member is which.
 */
#ifndef EMULATOR_SHAPE_H
#define EMULATOR_SHAPE_H

#include "core/json.h"

enum prop_kind {
    PROP_END,
    PROP_STR,
    PROP_BOOL,
    PROP_INT,
    PROP_OBJ,  /* object of `shape` */
    PROP_OBJS, /* array of them */
    PROP_STRS,
    PROP_MAP, /* object of strings */
    PROP_ANY,
};

enum prop_flags {
    PROP_REQUIRED = 1,
    PROP_READ_ONLY = 2, /* accepted and ignored */
    PROP_SECRET = 4,    /* accepted and not kept */
    PROP_HIDDEN = 8,    /* kept, shown only where it is asked for */
};

struct shape;

struct prop {
    const char *name;
    enum prop_kind kind;
    unsigned flags;
    const struct shape *shape;
    const char *allowed; /* "A,B,C" in the case that is answered; NULL: any */
};

struct shape {
    const char *name; /* as Azure names the object in its errors */
    const struct prop *props;
};

enum shape_problem {
    SHAPE_OK,
    SHAPE_UNKNOWN_MEMBER,
    SHAPE_WRONG_TYPE,
    SHAPE_MISSING,
    SHAPE_NOT_ALLOWED,
};

struct shape_fault {
    enum shape_problem problem;
    char path[256]; /* "properties.storageProfile.osDisk.caching" */
    char object[64];
    char member[128];
    char value[128];
    const char *expected; /* type or allowed values */
};

/*
 * A checked copy: members in the table's case, read-only and secret ones left out, nulls kept where
 * `keep_nulls` (a merge needs them). NULL with the fault where it does not fit. `partial` does not
 * ask for required members.
 */
json_t *shape_read(const struct shape *s, const json_t *in, bool partial, bool keep_nulls,
                   struct shape_fault *fault);

/* A copy without hidden members. */
json_t *shape_show(const struct shape *s, const json_t *stored);

/* RFC 7396: `change` over `onto`, in place. */
void shape_merge(json_t *onto, const json_t *change);

#endif
