/*
 * A verdict in words: for each check that did not pass what it looks at, what was seen, where, what
 * stood against what, and what helps (reasons.h). For people, so it costs what it costs; pure.
 */
#ifndef ATTEST_EXPLAIN_H
#define ATTEST_EXPLAIN_H

#include "attest/attest.h"
#include "attest/eventlog.h"
#include "core/json.h"

struct explain {
    const char *verdict; /* "untrusted" */
    const struct attest_finding *findings;
    size_t n_findings;
    const struct event_log *log; /* to name the events by; NULL: not at hand */
};

/*
 * The findings of a stored report: the text that attest_write_checks wrote. What it says of checks
 * that this version does not know is left out. ERR_BAD_REQUEST, ERR_VALIDATION: it is no such text.
 */
enum err explain_read(struct bytes checks, struct arena *a, struct explain *out,
                      struct err_info *e) MUST_CHECK;

/* What a check looks at, in half a sentence. */
const char *explain_title(enum attest_check c);

/* An object: {"summary", "problems": [...], "passed": [...], "skipped": [...], "text"}. */
void explain_write(struct jw *w, const struct explain *x, struct arena *a);
/* The same as lines of at most 80 columns. */
void explain_text(struct buf *out, const struct explain *x, struct arena *a);

#endif
