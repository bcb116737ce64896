#include "db/sqlite.h"

/*
 * What a report leaves in its VM's row. The row is wide, its texts fill more than a page and an index
 * has its times; and a VM that runs on says the same in each report, but for the counters. So of such
 * a report a narrow row beside it (vm_echo) has id, time and counters, and the row itself takes them
 * over once in an hour or where something else changes. Its times are never later than those beside it,
 * so whoever asks which rows are too old need only look there for those that seem to be.
 */

#define SETTLE_MS INT64_C(3600000)

static bool same(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

static bool says_the_same(const struct vm *vm, const struct report_new *in)
{
    return in->vm_claims_counted && vm->said.counted && vm->status == in->status &&
           same(vm->last_verdict, in->report.verdict) && same(vm->claims, in->vm_claims) &&
           same(vm->reasons, in->reasons) && same(vm->policy, in->report.policy) &&
           same(vm->baseline, in->baseline);
}

static bool is_echo(const struct vm_report *r)
{
    const struct vm_settled *row = &r->vm->settled;
    int64_t at = r->in->report.received_at, stale_at = r->in->stale_at;
    return r->binding == BINDING_PINNED && !r->in->clock_regressed && !r->in->certificates_log &&
           says_the_same(r->vm, r->in) && at >= row->last_report_at &&
           at < row->last_report_at + SETTLE_MS && !stale_at == !row->stale_at &&
           stale_at >= row->stale_at;
}

/* The row as it is after the report. */
static struct vm row_after(const struct vm_report *r)
{
    struct vm vm = *r->vm;
    const struct report *report = &r->in->report;
    vm.updated_at = report->received_at > vm.updated_at ? report->received_at : vm.updated_at;
    vm.last_report_id = report->id;
    vm.last_report_at = report->received_at;
    vm.stale_at = r->in->stale_at;
    vm.said = (struct vm_said){.counted = r->in->vm_claims_counted,
                               .reset_count = report->reset_count,
                               .restart_count = report->restart_count,
                               .clock_ms = report->clock_ms};
    if (r->binding == BINDING_ENROLLED ||
        (r->binding == BINDING_PINNED && !r->in->clock_regressed)) {
        vm.reset_count = report->reset_count;
        vm.restart_count = report->restart_count;
        vm.clock_ms = report->clock_ms;
    }
    return vm;
}

static enum err put_echo(struct write *w, const struct vm *vm, struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(
        w->conn, "INSERT INTO vm_echo (echo_vm, " VM_ECHO_COLUMNS ") VALUES ($1,$2,$3,$4,$5,$6,$7,"
                 "$8) ON CONFLICT (echo_vm) DO UPDATE SET echo_n = excluded.echo_n,"
                 " echo_report_id = excluded.echo_report_id, echo_at = excluded.echo_at,"
                 " echo_reset = excluded.echo_reset, echo_restart = excluded.echo_restart,"
                 " echo_clock = excluded.echo_clock, echo_stale_at = excluded.echo_stale_at");
    q_int(&q, vm->settled.rowid);
    q_int(&q, vm->settled.echoes);
    q_text(&q, vm->last_report_id);
    q_int(&q, vm->last_report_at);
    q_int(&q, vm->said.reset_count);
    q_int(&q, vm->said.restart_count);
    q_int(&q, vm->said.clock_ms);
    q_int(&q, vm->stale_at);
    return q_run(&q, e);
}

static enum err echo(struct write *w, struct vm *vm, struct err_info *e)
{
    size_t stem = strcspn(vm->etag, ".");
    vm->settled.echoes++;
    vm->etag = db_vm_etag(w->arena, arena_strndup(w->arena, vm->etag, stem), vm->settled.echoes);
    vm_cache_note(w->store->vms, vm->settled.rowid);
    return put_echo(w, vm, e);
}

static enum err put_row(struct write *w, const char *vm_key, const struct vm *vm,
                        struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(
        w->conn, "UPDATE vm SET updated_at = $1, etag = $2, status = $3, reasons = $4, claims = $5,"
                 " said_counted = $6, said_reset = $7, said_restart = $8, said_clock = $9,"
                 " last_report_id = $10, last_verdict = $11, last_report_at = $12,"
                 " reset_count = $13, restart_count = $14, clock_ms = $15, policy = $16,"
                 " baseline = $17, stale_at = $18 WHERE vm_key = $19");
    q_int(&q, vm->updated_at);
    q_text(&q, vm->etag);
    q_text(&q, vm_status_text(vm->status));
    q_text(&q, vm->reasons);
    q_text(&q, vm->claims);
    q_int(&q, vm->said.counted);
    q_int(&q, vm->said.reset_count);
    q_int(&q, vm->said.restart_count);
    q_int(&q, vm->said.clock_ms);
    q_text(&q, vm->last_report_id);
    q_text(&q, vm->last_verdict);
    q_int(&q, vm->last_report_at);
    q_int(&q, vm->reset_count);
    q_int(&q, vm->restart_count);
    q_int(&q, vm->clock_ms);
    q_text(&q, vm->policy);
    q_text(&q, vm->baseline);
    q_int(&q, vm->stale_at);
    q_text(&q, vm_key);
    return q_run(&q, e);
}

static enum err settle(struct write *w, const struct vm_report *r, struct vm *vm,
                       struct err_info *e)
{
    enum err err = vm->settled.echoes ? db_vm_forget_echo(w, r->vm_key, e) : OK;
    vm->etag = db_etag_new(w->arena);
    vm->status = r->in->status;
    vm->reasons = r->in->reasons;
    vm->claims = r->in->vm_claims;
    vm->last_verdict = r->in->report.verdict;
    vm->policy = r->in->report.policy;
    vm->baseline = r->in->baseline;
    vm->settled.last_report_at = vm->last_report_at;
    vm->settled.stale_at = vm->stale_at;
    vm->settled.echoes = 0;
    return err ? err : put_row(w, r->vm_key, vm, e);
}

enum err db_vm_report(struct write *w, const struct vm_report *r, struct err_info *e)
{
    struct vm vm = row_after(r);
    enum err err = is_echo(r) ? echo(w, &vm, e) : settle(w, r, &vm, e);
    if (!err)
        vm_cache_offer(w->store->vms, w->arena, r->vm_key, &vm);
    return err;
}

enum err db_vm_forget_echo(struct write *w, const char *vm_key, struct err_info *e)
{
    AUTO(query)
    struct query q = conn_query(w->conn, "DELETE FROM vm_echo WHERE echo_vm = (SELECT id FROM vm"
                                         " WHERE vm_key = $1)");
    q_text(&q, vm_key);
    return q_run(&q, e);
}

static enum err run_with_key(struct write *w, const char *sql, const char *key, struct err_info *e)
{
    AUTO(query) struct query q = conn_query(w->conn, sql);
    q_text(&q, key);
    return q_run(&q, e);
}

enum err db_vm_settle(struct write *w, const char *resource_key, struct err_info *e)
{
    static const char take_over[] =
        "UPDATE vm SET (last_report_id, last_report_at, updated_at, reset_count, restart_count,"
        " clock_ms, said_counted, said_reset, said_restart, said_clock, stale_at) = (SELECT"
        " echo_report_id, echo_at, CASE WHEN echo_at > updated_at THEN echo_at ELSE updated_at END,"
        " echo_reset, echo_restart, echo_clock, 1, echo_reset, echo_restart, echo_clock,"
        " echo_stale_at FROM vm_echo WHERE echo_vm = vm.id) WHERE resource_key = $1"
        " AND EXISTS (SELECT 1 FROM vm_echo WHERE echo_vm = vm.id)";
    static const char forget[] = "DELETE FROM vm_echo WHERE echo_vm = (SELECT id FROM vm"
                                 " WHERE resource_key = $1)";
    enum err err = run_with_key(w, take_over, resource_key, e);
    return err ? err : run_with_key(w, forget, resource_key, e);
}
