/*
 * A decoder for good bodies only, beside the strict one (core/json.c), which knows everything and names what
 * is wrong: most requests are plain, and for them a tree of values costs ten times as much as the struct.
 */
#ifndef CORE_JSON_QUICK_H
#define CORE_JSON_QUICK_H

#include "core/json.h"

/*
 * True: `out` is as the strict decoder would make it, which would find no fault. False: that one decides,
 * and `out` means nothing. So it is for whatever is wrong, and for what is rare: escapes and characters
 * beyond ASCII, fractions, maps.
 */
bool json_quick(struct bytes text, const struct schema *s, struct arena *a, void *out) MUST_CHECK;

/* Shared by both. */
bool json_in_enum(const char *text, const char *const *allowed);
size_t json_item_width(const struct field *f); /* of a list */
/* As the member stands that is not there. */
void json_set_absent(const struct field *f, void *slot);

#endif
