#include "attest/policy.h"

#include "attest/rules.h"

/* It was off: where the log says so. */
static void tell_secure_boot(const struct attest_input *in, const struct log_claims *log,
                             struct attest_result *r)
{
    const struct attest_finding f = {.check = CHECK_SECURE_BOOT,
                                     .status = in->require_secure_boot ? STATUS_FAIL : STATUS_WARN,
                                     .reason = claims_secure_boot_off(log),
                                     .event = claims_secure_boot_event(log),
                                     .pcr = 7,
                                     .expected = "on",
                                     .found = "off"};
    result_put(r, &f);
}

static void check_secure_boot(const struct attest_input *in, const struct policy_facts *f,
                              struct attest_result *r)
{
    if (!f->log_sent) {
        if (in->require_secure_boot && !in->allow_quote_only)
            result_fail(r, CHECK_SECURE_BOOT, "no_event_log");
        else
            result_skip(r, CHECK_SECURE_BOOT, "no_event_log");
        return;
    }
    if (!f->claims || !f->claims->has_log) {
        /* Whatever stands in the way has failed under its own name. */
        result_skip(r, CHECK_SECURE_BOOT, "not_proven");
        return;
    }
    const struct log_claims *log = f->claims->log;
    enum tri state = claims_secure_boot(log);
    if (state == TRI_TRUE)
        result_pass(r, CHECK_SECURE_BOOT);
    else if (state == TRI_FALSE)
        tell_secure_boot(in, log, r);
    else if (in->require_secure_boot)
        result_fail(r, CHECK_SECURE_BOOT, "not_proven");
    else
        result_skip(r, CHECK_SECURE_BOOT, "not_proven");
}

static bool quote_holds(const struct policy_facts *f)
{
    return f->ak && f->quote && ak_key_equal(trusted_ak_key(f->ak), quote_signer(f->quote));
}

/* What the caller says holds where the policy does not speak. */
static bool quote_only_allowed(const struct attest_input *in)
{
    return in->policy ? attest_policy_quote_only(in->policy) != TRI_FALSE && in->allow_quote_only
                      : in->allow_quote_only;
}

static void check_policy(const struct attest_input *in, const struct policy_facts *f,
                         struct arena *a, struct attest_result *r)
{
    if (!quote_holds(f) || (f->log_sent && !f->log)) {
        result_skip(r, CHECK_POLICY, "not_proven");
        return;
    }
    if (!f->log_sent && !quote_only_allowed(in))
        result_fail(r, CHECK_POLICY, "no_event_log");
    if (in->policy)
        policy_check_rules(in, f, a, r);
    /* What the rules were judged by is in part a log that lies: where none of them fails, that is no pass. */
    if (result_has_failed(r, CHECK_LOG_CONTENT) && !result_has_failed(r, CHECK_POLICY))
        result_skip(r, CHECK_POLICY, "not_proven");
    result_pass(r, CHECK_POLICY);
}

static bool is_because(const struct attest_finding *f, enum attest_check c, const char *reason)
{
    return f->check == c && f->reason && strcmp(f->reason, reason) == 0;
}

/* A certificate that nobody sent, or keys that cannot be had, prove nothing either way, unless
 * something else is wrong. */
static bool is_undecided(const struct attest_finding *f)
{
    return is_because(f, CHECK_AK_CHAIN, "issuer_missing") ||
           is_because(f, CHECK_MAA_TOKEN, "token_keys_unavailable");
}

static enum attest_verdict verdict_of_failures(struct attest_result *r)
{
    enum attest_verdict v = VERDICT_INDETERMINATE;
    r->reason = NULL;
    for (size_t i = 0; i < r->n_findings; i++) {
        const struct attest_finding *f = &r->findings[i];
        if (f->status != STATUS_FAIL)
            continue;
        bool decides = v == VERDICT_INDETERMINATE && !is_undecided(f);
        if (decides || !r->reason)
            r->reason = f->reason;
        if (decides)
            v = VERDICT_UNTRUSTED;
    }
    return v;
}

static bool any_failed(const struct attest_result *r)
{
    for (size_t i = 0; i < r->n_findings; i++)
        if (r->findings[i].status == STATUS_FAIL)
            return true;
    return false;
}

static void decide(const struct policy_facts *f, struct attest_result *r)
{
    if (any_failed(r)) {
        r->verdict = verdict_of_failures(r);
        return;
    }
    if (!quote_holds(f) || (f->log_sent && !f->log)) {
        r->verdict = VERDICT_UNTRUSTED;
        r->reason = "not_proven";
        return;
    }
    r->verdict = f->log ? VERDICT_TRUSTED : VERDICT_TRUSTED_QUOTE_ONLY;
    r->reason = f->log ? NULL : "no_event_log";
}

void policy_decide(const struct attest_input *in, const struct policy_facts *f, struct arena *a,
                   struct attest_result *r)
{
    check_secure_boot(in, f, r);
    check_policy(in, f, a, r);
    result_sort(r);
    decide(f, r);
}
