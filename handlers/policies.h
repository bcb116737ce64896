/* What the handlers of policies, baselines and boot integrity share. */
#ifndef HANDLERS_POLICIES_H
#define HANDLERS_POLICIES_H

#include "handlers/call.h"
#include "handlers/page.h"
#include "handlers/policy_book.h"

/* AttestationPolicy */
enum err policies_write(struct call *c, struct jw *w, const struct book_policy *p) MUST_CHECK;
/* AttestationEvaluation: a page of the VMs whose last report the candidate, in the place of the policy
 * of its name, would judge otherwise. Returns the status. */
int policies_evaluate(struct call *c, const struct page_of *page,
                      const struct book_policy *candidate);

#endif
