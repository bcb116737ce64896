/*
 * What a check's reason means and what helps: the words of attest/reasons.def. Static data; any thread.
 */
#ifndef ATTEST_REASONS_H
#define ATTEST_REASONS_H

#include <stddef.h>

struct attest_remedy {
    const char *code; /* snake_case, stable */
    const char *text; /* what to do */
};

struct attest_reason {
    const char *name; /* as in a finding */
    const struct attest_remedy *remedy;
    const char *text; /* what it means */
};

/* NULL where the reason is not known, as in a stored report of another version. */
const struct attest_reason *attest_reason_find(const char *name);
/* All of them; *n gets their number. */
const struct attest_reason *attest_reason_list(size_t *n);

#endif
