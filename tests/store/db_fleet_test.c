/* Conformance: fleet lists and summary, API keys, retention. */
#include "db_store.h"

/* VM number n of a resource group; its status is as if it had reported at `at`. */
static void put_fleet_vm(struct fixture *f, const char *group, int n, enum vm_status status,
                         int64_t at)
{
    const char *id = arena_printf(
        f->arena, "/subscriptions/" SUB "/resourceGroups/%s/providers/x/virtualMachines/vm%02d",
        group, n);
    const char *vm_id = arena_printf(f->arena, "%s-%d", group, n);
    put_vm(f, id, vm_id);
    if (status == VM_UNKNOWN || status == VM_UNMONITORED) {
        struct vm_put in = {
            .vm = {.resource_id = id, .set = VM_SET_STATUS, .status = status, .reasons = "[]"},
            .now = T0,
            .audit = audit_of("vm.status", id)};
        MUST(f, DO(f, store_put_vm, &in, NULL));
        return;
    }
    const char *token = arena_printf(f->arena, "token-%s", vm_id);
    struct enrollment_put en = {.hash = token,
                                .resource_id = id,
                                .expires_at = T0 + 60000,
                                .now = T0,
                                .audit = audit_of("enrollment.create", id)};
    MUST(f, DO(f, store_put_enrollment, &en, NULL));
    struct report_new in = {.report = {.id = arena_printf(f->arena, "r-%s", vm_id),
                                       .vm_id = vm_id,
                                       .received_at = at,
                                       .verdict = "trusted",
                                       .ak_spki = vm_id},
                            .challenge_hash = token,
                            .challenge_expires_at = at + 1000,
                            .pin_allowed = true,
                            .enrollment_hash = token,
                            .status = status,
                            .reasons = "[]"};
    struct report_stored out;
    MUST(f, DO(f, store_put_report, &in, &out));
}

static void make_fleet(struct fixture *f)
{
    put_fleet_vm(f, "prod", 1, VM_HEALTHY, T0 + 500);
    put_fleet_vm(f, "Prod", 2, VM_HEALTHY, T0 + 100);
    put_fleet_vm(f, "prod", 3, VM_UNHEALTHY, T0 + 500);
    put_fleet_vm(f, "prod", 4, VM_UNHEALTHY, T0 + 100);
    put_fleet_vm(f, "prod", 5, VM_QUARANTINED, T0 + 100);
    put_fleet_vm(f, "prod-2", 6, VM_UNMONITORED, 0);
    put_fleet_vm(f, "prod-2", 7, VM_UNKNOWN, 0);
    put_fleet_vm(f, "test", 8, VM_HEALTHY, T0 + 500);
}

static const char *names(struct fixture *f, struct vm_filter in)
{
    struct vm_list list;
    const char *text = "";
    in.page.limit = 50;
    MUST(f, store_list_vms(f->store, f->arena, &in, &list, &f->err));
    for (size_t i = 0; i < list.n; i++)
        text = arena_printf(f->arena, "%s%s ", text, list.items[i].name + 3);
    return text;
}

#define GROUP(g) "/subscriptions/" SUB "/resourceGroups/" g

static void lists_filter_by_scope_and_status(void **state)
{
    struct fixture *f = *state;
    make_fleet(f);
    enum vm_status healthy = VM_HEALTHY, unknown = VM_UNKNOWN, quarantined = VM_QUARANTINED;
    assert_string_equal(names(f, (struct vm_filter){0}), "6 7 1 2 3 4 5 8 ");
    assert_string_equal(names(f, (struct vm_filter){.scope = "/"}), "6 7 1 2 3 4 5 8 ");
    assert_string_equal(names(f, (struct vm_filter){.scope = GROUP("PROD")}), "1 2 3 4 5 ");
    assert_string_equal(
        names(f, (struct vm_filter){.scope = GROUP("prod"), .within = GROUP("test")}), "");
    assert_string_equal(names(f, (struct vm_filter){.within = GROUP("prod-2")}), "6 7 ");
    assert_string_equal(names(f, (struct vm_filter){.status = &healthy}), "1 2 8 ");
    assert_string_equal(names(f, (struct vm_filter){.status = &unknown}), "7 ");
    assert_string_equal(names(f, (struct vm_filter){.status = &quarantined}), "5 ");
    assert_string_equal(names(f, (struct vm_filter){.origin = "imported"}), "");

    int64_t old = T0 + 300;
    assert_string_equal(names(f, (struct vm_filter){.status = &healthy, .fresh_after = old}),
                        "1 8 ");
    assert_string_equal(names(f, (struct vm_filter){.status = &unknown, .fresh_after = old}),
                        "7 2 4 ");
    assert_string_equal(names(f, (struct vm_filter){.status = &quarantined, .fresh_after = old}),
                        "5 ");
}

static void old_reports_make_a_status_unknown(void **state)
{
    struct fixture *f = *state;
    make_fleet(f);
    struct vm vm = get_vm(f, GROUP("prod") "/providers/x/virtualMachines/vm02");
    const char *etag = vm.etag;
    vm_apply_age(f->arena, &vm, T0 + 100, 0);
    assert_int_equal(vm.status, VM_HEALTHY);
    assert_string_equal(vm.etag, etag);
    vm_apply_age(f->arena, &vm, T0 + 101, 0);
    assert_int_equal(vm.status, VM_UNKNOWN);
    assert_string_equal(vm.reasons, "[\"report_too_old\"]");
    assert_string_not_equal(vm.etag, etag);
}

static void summary_counts(void **state)
{
    struct fixture *f = *state;
    make_fleet(f);
    struct vm_summary s;
    struct vm_filter in = {.scope = "/"};
    MUST(f, store_count_vms(f->store, &in, &s, &f->err));
    assert_int_equal(s.total, 8);
    assert_int_equal(s.by_status[VM_HEALTHY], 3);
    assert_int_equal(s.by_status[VM_UNHEALTHY], 2);
    assert_int_equal(s.by_status[VM_QUARANTINED], 1);
    assert_int_equal(s.by_status[VM_UNMONITORED], 1);
    assert_int_equal(s.by_status[VM_UNKNOWN], 1);
    in = (struct vm_filter){.scope = GROUP("prod"), .fresh_after = T0 + 300};
    MUST(f, store_count_vms(f->store, &in, &s, &f->err));
    assert_int_equal(s.total, 5);
    assert_int_equal(s.by_status[VM_HEALTHY], 1);
    assert_int_equal(s.by_status[VM_UNHEALTHY], 1);
    assert_int_equal(s.by_status[VM_QUARANTINED], 1);
    assert_int_equal(s.by_status[VM_UNKNOWN], 2);
}

static void vm_pages_are_stable_under_insertion(void **state)
{
    struct fixture *f = *state;
    enum { N = 20 };
    for (int i = 0; i < N; i++)
        put_fleet_vm(f, "prod", i, VM_UNKNOWN, 0);
    struct vm_filter in = {.page = {.limit = 6}};
    int seen = 0;
    for (bool more = true; more;) {
        struct vm_list page;
        MUST(f, store_list_vms(f->store, f->arena, &in, &page, &f->err));
        for (size_t i = 0; i < page.n; i++, seen++)
            assert_string_equal(page.items[i].name, arena_printf(f->arena, "vm%02d", seen));
        more = page.more;
        in.page.after = page.items[page.n - 1].resource_id;
        put_fleet_vm(f, "aaa", seen, VM_UNKNOWN, 0); /* before the cursor */
    }
    assert_int_equal(seen, N);
}

static struct api_key_put key_of(const char *id, int64_t at)
{
    return (struct api_key_put){.key = {.id = id,
                                        .name = "portal",
                                        .hash = "not the key",
                                        .role = ROLE_PROVISIONER,
                                        .scope = RG,
                                        .created_at = at},
                                .audit = audit_of("key.create", NULL)};
}

static void api_keys(void **state)
{
    struct fixture *f = *state;
    struct api_key_put one = key_of("k1", T0), two = key_of("k0", T0 + 1);
    MUST(f, DO(f, store_put_api_key, &one, NULL));
    MUST(f, DO(f, store_put_api_key, &two, NULL));
    assert_int_equal(DO(f, store_put_api_key, &two, NULL), ERR_INTERNAL);
    struct api_key k;
    MUST(f, store_get_api_key(f->store, f->arena, "k1", &k, &f->err));
    assert_string_equal(k.hash, "not the key");
    assert_int_equal(k.role, ROLE_PROVISIONER);
    assert_string_equal(k.scope, RG);
    assert_int_equal(k.revoked_at, 0);

    struct api_key_use uses[] = {{"k1", T0 + 50}, {"nobody", T0 + 50}};
    struct api_key_uses in = {uses, 2};
    MUST(f, DO(f, store_touch_api_keys, &in, NULL));
    uses[0].at = T0 + 40;
    MUST(f, DO(f, store_touch_api_keys, &in, NULL));
    struct api_key_revoke revoke = {"k1", T0 + 60, audit_of("key.revoke", NULL)};
    MUST(f, DO(f, store_revoke_api_key, &revoke, NULL));
    revoke.now = T0 + 70;
    MUST(f, DO(f, store_revoke_api_key, &revoke, NULL));
    revoke.id = "k9";
    assert_int_equal(DO(f, store_revoke_api_key, &revoke, NULL), ERR_NOT_FOUND);

    struct api_key_list list;
    MUST(f, store_list_api_keys(f->store, f->arena, &list, &f->err));
    assert_int_equal(list.n, 2);
    assert_string_equal(list.items[0].id, "k1");
    assert_int_equal(list.items[0].last_used_at, T0 + 50);
    assert_int_equal(list.items[0].revoked_at, T0 + 60);
    assert_string_equal(list.items[1].id, "k0");
    assert_int_equal(store_get_api_key(f->store, f->arena, "k9", &k, &f->err), ERR_NOT_FOUND);
}

static struct store_pruned prune(struct fixture *f, struct store_prune in)
{
    struct store_pruned out;
    MUST(f, DO(f, store_prune, &in, &out));
    return out;
}

static void prune_takes_old_jobs_only(void **state)
{
    struct fixture *f = *state;
    struct job_new new = job_for(f, "old");
    struct idempotency key = {"key1", "putVirtualMachine", "abc", "print", T0 + 400};
    new.idempotency = &key;
    const char *old = submit(f, &new);
    struct job j = claim_one(f, T0);
    finish_job(f, &j, JOB_SUCCEEDED, T0 + 10);
    const char *young = submit_for(f, "young");
    j = claim_one(f, T0);
    finish_job(f, &j, JOB_FAILED, T0 + 100);
    const char *open = submit_for(f, "open");

    struct store_prune in = {.now = T0 + 300, .jobs_ms = 250, .limit = 100};
    struct store_pruned out = prune(f, in);
    assert_int_equal(out.jobs, 1);
    assert_int_equal(out.idempotency, 0);
    assert_int_equal(out.audit, 0);
    assert_false(out.more);
    assert_int_equal(store_get_job(f->store, f->arena, old, NULL, &j, &f->err), ERR_NOT_FOUND);
    struct event_list events;
    MUST(f, store_list_events(f->store, f->arena, old, 0, 10, &events, &f->err));
    assert_int_equal(events.n, 0);
    MUST(f, store_get_job(f->store, f->arena, young, NULL, &j, &f->err));

    /* Its key no longer points anywhere: the request is new. */
    struct job_new again = job_for(f, "old");
    again.idempotency = &key;
    again.now = T0 + 300;
    submit(f, &again);
    in.now = T0 + 1000000;
    out = prune(f, in);
    assert_int_equal(out.jobs, 1);
    assert_int_equal(out.idempotency, 1);
    MUST(f, store_get_job(f->store, f->arena, open, NULL, &j, &f->err));
    assert_int_equal(j.n_steps, 3);
}

static void prune_works_in_bounded_batches(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 12; i++)
        put_fleet_vm(f, "prod", i, VM_HEALTHY, T0 + i);
    struct audit_list audit;
    MUST(f, store_list_audit(f->store, f->arena, 0, 100, &audit, &f->err));
    assert_int_equal(audit.n, 24);
    struct store_prune in = {
        .now = T0 + 1000005, .reports_ms = 1000000, .audit_ms = 1000000, .limit = 4};
    struct store_pruned out, sum = {0};
    int rounds = 0;
    do {
        out = prune(f, in);
        assert_true(out.reports <= 4 && out.audit <= 4 && out.challenges <= 4);
        sum.reports += out.reports;
        sum.audit += out.audit;
        sum.challenges += out.challenges;
        sum.enrollments += out.enrollments;
    } while (out.more && ++rounds < 50);
    assert_int_equal(sum.reports, 5);
    assert_int_equal(sum.audit, 23);
    assert_int_equal(sum.challenges, 12);
    assert_int_equal(sum.enrollments, 12);
    /* Ids go on where they were, since the newest row stays: what was pruned is never mistaken for new. */
    put_vm(f, VM("next"), "next");
    MUST(f, store_list_audit(f->store, f->arena, 0, 100, &audit, &f->err));
    assert_int_equal(audit.n, 2);
    assert_int_equal(audit.items[0].id, 24);
    assert_int_equal(audit.items[1].id, 25);
}

/* What was judged in time may be committed late: the use of its challenge is remembered longer. */
static void used_challenges_outlive_their_expiry(void **state)
{
    struct fixture *f = *state;
    put_fleet_vm(f, "prod", 1, VM_HEALTHY, T0);
    struct store_prune in = {.now = T0 + 1000 + 60000, .limit = 10};
    assert_int_equal(prune(f, in).challenges, 0);
    in.now++;
    assert_int_equal(prune(f, in).challenges, 1);
}

static void prune_keeps_everything_without_windows(void **state)
{
    struct fixture *f = *state;
    make_fleet(f);
    submit_for(f, "web");
    struct job j = claim_one(f, T0);
    finish_job(f, &j, JOB_SUCCEEDED, T0);
    struct store_pruned out = prune(f, (struct store_prune){.now = T0 * 2, .limit = 10});
    assert_int_equal(out.jobs + out.reports + out.logs + out.audit, 0);
    struct audit_list audit;
    MUST(f, store_list_audit(f->store, f->arena, 0, 100, &audit, &f->err));
    assert_true(audit.n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(lists_filter_by_scope_and_status),
        STORE_TEST(old_reports_make_a_status_unknown),
        STORE_TEST(summary_counts),
        STORE_TEST(vm_pages_are_stable_under_insertion),
        STORE_TEST(api_keys),
        STORE_TEST(prune_takes_old_jobs_only),
        STORE_TEST(prune_works_in_bounded_batches),
        STORE_TEST(used_challenges_outlive_their_expiry),
        STORE_TEST(prune_keeps_everything_without_windows),
    };
    return cmocka_run_group_tests_name("store: fleet, keys, retention", tests, NULL, NULL);
}
