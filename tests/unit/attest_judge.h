/*
 * Judging evidence made here, for the tests of attest_verify.
 */
#ifndef TESTS_UNIT_ATTEST_JUDGE_H
#define TESTS_UNIT_ATTEST_JUDGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "core/json.h"
#include "attest/reasons.h"
#include "tests/unit/attest_make.h"

#include <cmocka.h>

static struct make *m;

static inline int setup(void **state)
{
    m = make_new();
    return 0;
}

static inline int teardown(void **state)
{
    make_free(m);
    return 0;
}

static struct attest_result result;
static struct err_info error;

/* Whatever the verdict, its reasons can be explained. */
static inline enum err judge(void)
{
    error = (struct err_info){0};
    enum err err = attest_verify(&m->in, m->arena, &result, &error);
    for (size_t i = 0; i < result.n_findings; i++)
        if (result.findings[i].reason)
            assert_non_null(attest_reason_find(result.findings[i].reason));
    return err;
}

static inline const struct attest_finding *find(enum attest_check c, enum check_status s)
{
    for (size_t i = 0; i < result.n_findings; i++)
        if (result.findings[i].check == c && result.findings[i].status == s)
            return &result.findings[i];
    return NULL;
}

static inline bool has(enum attest_check c, enum check_status s, const char *reason)
{
    for (size_t i = 0; i < result.n_findings; i++) {
        const struct attest_finding *f = &result.findings[i];
        if (f->check == c && f->status == s && f->reason && strcmp(f->reason, reason) == 0)
            return true;
    }
    return false;
}

static inline void dump(void)
{
    for (size_t i = 0; i < result.n_findings; i++) {
        const struct attest_finding *f = &result.findings[i];
        print_message("    %s %s %s event %d pcr %d\n", attest_check_name(f->check),
                      attest_status_name(f->status), f->reason ? f->reason : "", f->event, f->pcr);
    }
}

static inline struct bytes edited(struct bytes b, size_t at, uint8_t value)
{
    struct bytes copy = arena_copy(m->arena, b);
    ((uint8_t *)copy.data)[at] = value;
    return copy;
}

#endif
