#include "handlers/routes.h"

#include "openapi/match.h"
#include "openapi/schemas.h"

#define PRODUCES(...) ((const char *const[]){__VA_ARGS__})
#define PARAM(label, fn, low, high)                                                                \
    {                                                                                              \
        .name = (label), .match = (fn), .min = (low), .max = (high)                                \
    }
#define PARAM_END                                                                                  \
    {                                                                                              \
        .name = NULL                                                                               \
    }
#define PARAMS(...)   ((const struct route_param[]){__VA_ARGS__})
#define STATUSES(...) ((const short[]){__VA_ARGS__})

#define ROUTE(verb, template, name, least, limit, bits, media, made, asked, sent, parts, answers)  \
    {.method = #verb,                                                                              \
     .path = (template),                                                                           \
     .operation = #name,                                                                           \
     .handler = name,                                                                              \
     .role = (least),                                                                              \
     .max_body = (limit),                                                                          \
     .flags = (bits),                                                                              \
     .accepts = (media),                                                                           \
     .produces = made,                                                                             \
     .query = (asked),                                                                             \
     .body = (sent),                                                                               \
     .params = parts,                                                                              \
     .statuses = answers},

const struct route routes[] = {
#include "openapi/routes.def"
};
#undef ROUTE

const size_t routes_count = ARRAY_LEN(routes);
