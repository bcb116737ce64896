/*
 * What applies to a VM by the book, and what comes of it: for reports as they arrive, and for kept
 * reports that are judged again (dry runs, changes of policy).
 */
#ifndef HANDLERS_APPLIED_H
#define HANDLERS_APPLIED_H

#include "attest/attest.h"
#include "handlers/app.h"
#include "handlers/policy_book.h"

/* What of a policy counts after the verdict, in the arena. */
struct applied_terms {
    const char *policy;   /* "name@version"; NULL: none applies */
    const char *baseline; /* "id@revision"; NULL: none was compared with */
    int64_t max_age_ms;   /* 0: as the gateway is configured */
    enum tri quote_only;
};
struct applied_terms applied_terms_of(const struct book_match *m, struct arena *a);
/* When the report stops to count (see struct vm). */
int64_t applied_stale_at(const struct applied_terms *t, int64_t received_at);

/* Puts the policy, the image and the baseline into the question. The match's view is to be held until
 * the answer is there. */
void applied_fill(const struct book_match *m, const struct vm *vm, struct attest_input *in);

/* A VM's last report, judged again. */
struct applied_review {
    bool judged;
    const char *unknown; /* why it was not, snake_case: no_report, report_gone, event_log_gone */
    struct attest_result result;
    struct bytes event_log; /* in the arena; empty: none was sent */
    const char *report_id;
    enum vm_status status;
    const char *reasons; /* JSON array */
    struct applied_terms terms;
    int64_t stale_at;
};
/* Reads the report and its log. The result borrows from the arena. */
enum err applied_review_vm(const struct app *app, struct arena *a, const struct vm *vm,
                           const struct book_match *m, struct applied_review *out,
                           struct err_info *e) MUST_CHECK;

/* The sweep behind a change of policy: looks at up to `limit` VMs behind *after (NULL: from the first)
 * and judges those again whose last report something else has judged than what applies now. *after is the
 * last one looked at, in the arena; NULL: there are no more. *judged counts those that were written.
 * Waits for its writes: not for a server thread. */
enum err applied_sweep(const struct app *app, struct arena *a, const char **after, int limit,
                       int64_t *judged, struct err_info *e) MUST_CHECK;

#endif
