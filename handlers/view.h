/* Records as the JSON of the contract. Pure writers; any thread. */
#ifndef HANDLERS_VIEW_H
#define HANDLERS_VIEW_H

#include "attest/explain.h"
#include "db/records.h"
#include "jobs/jobs.h"

void view_job(struct jw *w, const struct job *job); /* Job */
void view_vm(struct jw *w, const struct vm *vm);    /* VirtualMachine */
/* BootIntegrity, aged before. Another VM is named only where the caller's scope covers it. pending:
 * something else applies by now than what judged the last report. */
void view_explained_integrity(struct jw *w, const struct vm *vm, const char *scope, bool pending,
                              const struct explain *x, struct arena *a);
void view_integrity(struct jw *w, const struct vm *vm, const char *scope, bool pending);
/* The member `key` (PolicyRef, or BaselineRef for "baseline") of "name@number"; nothing for NULL. */
void view_ref(struct jw *w, const char *key, const char *id);
/* Report; `result` is the signed one or NULL */
void view_report(struct jw *w, const struct report *r, const char *result);
/* Report with its explanation */
void view_explained_report(struct jw *w, const struct report *r, const char *result,
                           const struct explain *x, struct arena *a);
void view_report_summary(struct jw *w, const struct report *r);      /* ReportSummary */
void view_dry_run(struct jw *w, const struct jobs_preflight *p);     /* DryRun */
void view_findings(struct jw *w, const struct finding *f, size_t n); /* the array alone */

#endif
