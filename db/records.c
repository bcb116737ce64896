#include "db/records.h"

#include <strings.h>

static bool find_text(const char *const *texts, size_t n, const char *text, unsigned *out)
{
    for (size_t i = 0; text && i < n; i++) {
        if (strcmp(texts[i], text) != 0)
            continue;
        *out = (unsigned)i;
        return true;
    }
    return false;
}

#define X(name, text) text,
static const char *const job_states[] = {JOB_STATE_LIST(X)};
static const char *const step_states[] = {STEP_STATE_LIST(X)};
static const char *const vm_statuses[] = {VM_STATUS_LIST(X)};
static const char *const roles[] = {ROLE_LIST(X)};
static const char *const proofs[] = {ENROLL_PROOF_LIST(X)};
#undef X

#define TEXT_OF(kind, type, texts)                                                                 \
    const char *kind##_text(type v)                                                                \
    {                                                                                              \
        return (unsigned)v < ARRAY_LEN(texts) ? texts[(unsigned)v] : "";                           \
    }                                                                                              \
    bool kind##_parse(const char *text, type *out)                                                 \
    {                                                                                              \
        unsigned v = 0;                                                                            \
        if (!find_text(texts, ARRAY_LEN(texts), text, &v))                                         \
            return false;                                                                          \
        *out = (type)v;                                                                            \
        return true;                                                                               \
    }

TEXT_OF(job_state, enum job_state, job_states)
TEXT_OF(step_state, enum step_state, step_states)
TEXT_OF(vm_status, enum vm_status, vm_statuses)
TEXT_OF(role, enum role, roles)

bool job_state_terminal(enum job_state s)
{
    return s == JOB_SUCCEEDED || s == JOB_FAILED || s == JOB_CANCELED;
}

const char *enroll_proof_text(enum enroll_proof p)
{
    return (unsigned)p < ARRAY_LEN(proofs) ? proofs[(unsigned)p] : "";
}

static const struct job_transition transitions[] = {
    {JOB_QUEUED, JOB_RUNNING, JOB_BY_ENGINE, "a step begins"},
    {JOB_QUEUED, JOB_WAITING, JOB_BY_ENGINE, "the first request is throttled or in conflict"},
    {JOB_QUEUED, JOB_SUCCEEDED, JOB_BY_ENGINE, "nothing to do"},
    {JOB_QUEUED, JOB_FAILED, JOB_BY_ENGINE, "deadline or refusal before the first step"},
    {JOB_QUEUED, JOB_CANCELING, JOB_BY_CANCEL, "cancel was asked for"},
    {JOB_RUNNING, JOB_WAITING, JOB_BY_ENGINE, "waits for Azure, a due time or a report"},
    {JOB_RUNNING, JOB_SUCCEEDED, JOB_BY_ENGINE, "the last step is done"},
    {JOB_RUNNING, JOB_FAILED, JOB_BY_ENGINE, "a step failed for good and what was made is undone"},
    {JOB_RUNNING, JOB_CANCELING, JOB_BY_CANCEL, "cancel was asked for"},
    {JOB_WAITING, JOB_RUNNING, JOB_BY_ENGINE, "the wait is over"},
    {JOB_WAITING, JOB_SUCCEEDED, JOB_BY_ENGINE, "the last step is done"},
    {JOB_WAITING, JOB_FAILED, JOB_BY_ENGINE, "a step failed for good or the deadline passed"},
    {JOB_WAITING, JOB_CANCELING, JOB_BY_CANCEL, "cancel was asked for"},
    {JOB_CANCELING, JOB_CANCELED, JOB_BY_ENGINE, "what the job made is undone"},
    {JOB_CANCELING, JOB_FAILED, JOB_BY_ENGINE, "the undoing failed for good"},
    {JOB_CANCELING, JOB_SUCCEEDED, JOB_BY_ENGINE, "the cancel came too late"},
    {JOB_FAILED, JOB_QUEUED, JOB_BY_RETRY, "retry was asked for"},
};

const struct job_transition *job_transitions(size_t *n)
{
    *n = ARRAY_LEN(transitions);
    return transitions;
}

bool job_may_go(enum job_state from, enum job_state to, enum job_actor by)
{
    if (from == to && by == JOB_BY_ENGINE && !job_state_terminal(from))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(transitions); i++) {
        const struct job_transition *t = &transitions[i];
        if (t->from == from && t->to == to && t->by == by)
            return true;
    }
    return false;
}

bool scope_covers(const char *scope, const char *target)
{
    size_t n = strlen(scope);
    while (n && scope[n - 1] == '/')
        n--;
    return !strncasecmp(scope, target, n) && (target[n] == 0 || target[n] == '/');
}

static bool ages(const struct vm *vm)
{
    return vm->status == VM_HEALTHY || vm->status == VM_UNHEALTHY;
}

void vm_apply_age(struct arena *a, struct vm *vm, int64_t fresh_after, int64_t now)
{
    bool stale = vm->stale_at ? vm->stale_at <= now : vm->last_report_at < fresh_after;
    if (!ages(vm) || !stale)
        return;
    vm->status = VM_UNKNOWN;
    vm->reasons = "[\"report_too_old\"]";
    vm->etag = arena_printf(a, "%s" VM_ETAG_OLD, vm->etag);
}

int64_t vm_ages_at(const struct vm *vm, int64_t max_age_ms)
{
    if (!ages(vm))
        return INT64_MAX;
    if (vm->stale_at)
        return vm->stale_at;
    return max_age_ms > 0 ? vm->last_report_at + max_age_ms + 1 : INT64_MAX;
}

/* TPM 2.0 Part 2, 10.11.1 TPMS_CLOCK_INFO: resetCount counts resets, restartCount restarts since
 * the last reset, and clock, of 64 bits without a sign, goes on while neither changes. */
bool vm_clock_regressed(const struct vm *vm, const struct report *r)
{
    if (r->reset_count != vm->reset_count)
        return r->reset_count < vm->reset_count;
    if (r->restart_count != vm->restart_count)
        return r->restart_count < vm->restart_count;
    return (uint64_t)r->clock_ms < (uint64_t)vm->clock_ms;
}

enum vm_binding vm_bind(const struct vm *vm, const struct enroll_claim *claim, bool elsewhere)
{
    if (claim->ak_spki && vm->ak_spki && !strcmp(claim->ak_spki, vm->ak_spki))
        return BINDING_PINNED;
    if (claim->proof == PROOF_NONE)
        return BINDING_NONE;
    if (!claim->ak_spki || !claim->ak_proven)
        return BINDING_UNPROVEN;
    if (elsewhere)
        return BINDING_SHARED;
    if (vm->quarantine.since)
        return BINDING_HELD;
    return vm->ak_spki && !claim->decided ? BINDING_CHANGED : BINDING_ENROLLED;
}

bool vm_token_decides(const struct vm *vm, const struct enrollment *token)
{
    return !token->job_id && token->created_at >= vm->enrolled_at;
}
