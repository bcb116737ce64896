/* Short spellings for the rows of shape tables; included by the types_*.c files only. */
#ifndef EMULATOR_PROPS_H
#define EMULATOR_PROPS_H

#include "emulator/shape.h"

#define STR(name)                                                                                  \
    {                                                                                              \
        name, PROP_STR, 0, NULL, NULL                                                              \
    }
#define STR_REQ(name)                                                                              \
    {                                                                                              \
        name, PROP_STR, PROP_REQUIRED, NULL, NULL                                                  \
    }
#define ENUM(name, allowed)                                                                        \
    {                                                                                              \
        name, PROP_STR, 0, NULL, allowed                                                           \
    }
#define ENUM_REQ(name, list)                                                                       \
    {                                                                                              \
        name, PROP_STR, PROP_REQUIRED, NULL, list                                                  \
    }
#define BOOLEAN(name)                                                                              \
    {                                                                                              \
        name, PROP_BOOL, 0, NULL, NULL                                                             \
    }
#define INTEGER(name)                                                                              \
    {                                                                                              \
        name, PROP_INT, 0, NULL, NULL                                                              \
    }
#define INTEGER_REQ(name)                                                                          \
    {                                                                                              \
        name, PROP_INT, PROP_REQUIRED, NULL, NULL                                                  \
    }
#define OBJ(name, of)                                                                              \
    {                                                                                              \
        name, PROP_OBJ, 0, &of, NULL                                                               \
    }
#define OBJ_REQ(name, of)                                                                          \
    {                                                                                              \
        name, PROP_OBJ, PROP_REQUIRED, &of, NULL                                                   \
    }
#define OBJS(name, of)                                                                             \
    {                                                                                              \
        name, PROP_OBJS, 0, &of, NULL                                                              \
    }
#define STRS(name)                                                                                 \
    {                                                                                              \
        name, PROP_STRS, 0, NULL, NULL                                                             \
    }
#define MAP(name)                                                                                  \
    {                                                                                              \
        name, PROP_MAP, 0, NULL, NULL                                                              \
    }
#define ANY(name)                                                                                  \
    {                                                                                              \
        name, PROP_ANY, 0, NULL, NULL                                                              \
    }
#define READ_ONLY(name)                                                                            \
    {                                                                                              \
        name, PROP_ANY, PROP_READ_ONLY, NULL, NULL                                                 \
    }
#define SECRET(name)                                                                               \
    {                                                                                              \
        name, PROP_STR, PROP_SECRET, NULL, NULL                                                    \
    }
#define HIDDEN(name)                                                                               \
    {                                                                                              \
        name, PROP_STR, PROP_HIDDEN, NULL, NULL                                                    \
    }
#define LAST                                                                                       \
    {                                                                                              \
        NULL, PROP_END, 0, NULL, NULL                                                              \
    }

/* struct shape `var`, named `type` in errors, of the rows that follow. */
#define SHAPE(var, type, ...)                                                                      \
    static const struct prop var##_props[] = {__VA_ARGS__, LAST};                                  \
    static const struct shape var = {type, var##_props}

/* What every tracked resource has at its top. */
#define TOP_LEVEL                                                                                  \
    READ_ONLY("id"), READ_ONLY("name"), READ_ONLY("type"), READ_ONLY("etag"),                      \
        READ_ONLY("systemData"), STR("location"), MAP("tags")

#endif
