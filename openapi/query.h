/*
 * The query string's parameters to the struct of their schema: texts become what the field's kind
 * asks for, and everything else is the codec's work. Bad, unknown and repeated parameters are
 * ERR_VALIDATION with pointers "?name". Pure; any thread.
 */
#ifndef OPENAPI_QUERY_H
#define OPENAPI_QUERY_H

#include "core/json.h"

/* `pairs` are decoded. A NULL schema takes no parameter and leaves `out` alone. */
enum err query_decode(const struct str_pair *pairs, size_t n, const struct schema *s,
                      struct arena *a, void *out, struct err_info *e) MUST_CHECK;

#endif
