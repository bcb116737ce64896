/* Policies and baselines in the store: versions, scopes, preconditions, learning, and what is bounded. */
#include "tests/store/db_store.h"

#include "db/store_policies.h"

static enum err put_policy(struct fixture *f, const char *name, const char *document,
                           const char *scope, const char *etag, struct policy_stored *out)
{
    const struct policy_put in = {.name = name,
                                  .document = document,
                                  .scopes = &scope,
                                  .n_scopes = scope != NULL,
                                  .if_etag = etag,
                                  .now = T0,
                                  .audit = audit_of("attestation.policy.put", name)};
    return DO(f, store_put_policy, &in, out);
}

static void versions_rise_and_never_change(void **state)
{
    struct fixture *f = *state;
    struct policy_stored first, second, again;
    struct policy p;
    MUST(f, put_policy(f, "Prod", "{\"v\":1}", RG, NULL, &first));
    assert_true(first.created && !first.same);
    MUST(f, put_policy(f, "prod", "{\"v\":2}", RG, first.etag, &second));
    assert_true(!second.created && second.version > first.version);
    assert_int_equal(put_policy(f, "prod", "{\"v\":3}", RG, first.etag, &again),
                     ERR_PRECONDITION_FAILED);
    MUST(f, put_policy(f, "prod", "{\"v\":2}", RG, first.etag, &again));
    assert_true(again.same && again.version == second.version);
    MUST(f, store_get_policy(f->store, f->arena, "PROD", first.version, &p, &f->err));
    assert_string_equal(p.document, "{\"v\":1}");
    MUST(f, store_get_policy(f->store, f->arena, "prod", 0, &p, &f->err));
    assert_string_equal(p.document, "{\"v\":2}");
    assert_string_equal(p.created_by, "portal");
    const struct policy_delete gone = {
        .name = "prod", .now = T0, .audit = audit_of("attestation.policy.delete", "prod")};
    MUST(f, DO(f, store_delete_policy, &gone, NULL));
    assert_int_equal(DO(f, store_delete_policy, &gone, NULL), ERR_NOT_FOUND);
    MUST(f, put_policy(f, "prod", "{\"v\":1}", RG, NULL, &again));
    assert_true(again.created && again.version > second.version);
}

static void a_scope_is_one_policys(void **state)
{
    struct fixture *f = *state;
    struct policy_stored out;
    MUST(f, put_policy(f, "a", "{}", RG, NULL, &out));
    assert_int_equal(
        put_policy(f, "b", "{}", "/SUBSCRIPTIONS/" SUB "/resourcegroups/prod", NULL, &out),
        ERR_INVALID_STATE);
    MUST(f, put_policy(f, "a", "{\"x\":1}", NULL, NULL, &out));
    MUST(f, put_policy(f, "b", "{}", RG, NULL, &out));
}

static void old_versions_go(void **state)
{
    struct fixture *f = *state;
    struct policy_stored out;
    struct policy_list list;
    for (int i = 0; i < POLICY_VERSIONS_MAX + 3; i++)
        MUST(f, put_policy(f, "p", arena_printf(f->arena, "{\"v\":%d}", i), NULL, NULL, &out));
    const struct page page = {.limit = 200};
    MUST(f, store_list_policy_versions(f->store, f->arena, "p", &page, &list, &f->err));
    assert_int_equal(list.n, POLICY_VERSIONS_MAX);
    assert_int_equal(list.items[0].version, out.version);
    assert_int_equal(store_list_policy_versions(f->store, f->arena, "q", &page, &list, &f->err),
                     ERR_NOT_FOUND);
}

static struct baseline_learned learn(struct fixture *f, const char *vm, const char *digest)
{
    char *id = arena_alloc(f->arena, UUID_SIZE);
    uuid_v7(T0, id);
    struct baseline_learned out;
    const struct baseline_learn in = {.id = id,
                                      .image = "Pub:offer:sku:1",
                                      .vm_id = vm,
                                      .set = {.digest = digest,
                                              .bank = "sha256",
                                              .pcrs = "{}",
                                              .events = "{}",
                                              .report_id = "r1"},
                                      .vms_needed = 3,
                                      .now = T0,
                                      .audit = audit_of("attestation.baseline.learn", vm)};
    MUST(f, DO(f, store_learn_baseline, &in, &out));
    return out;
}

static struct baseline the_baseline(struct fixture *f)
{
    struct baseline_list list;
    const struct baseline_filter all = {.image = "pub:OFFER:sku:1", .page = {.limit = 5}};
    MUST(f, store_list_baselines(f->store, f->arena, &all, &list, &f->err));
    assert_int_equal(list.n, 1);
    return list.items[0];
}

static void a_baseline_is_learned_from_different_vms(void **state)
{
    struct fixture *f = *state;
    assert_true(learn(f, "vm1", "aa").changed);
    assert_false(learn(f, "VM1", "bb").changed);
    assert_int_equal(learn(f, "vm2", "aa").state, BASELINE_IS_LEARNING);
    assert_int_equal(learn(f, "vm3", "bb").state, BASELINE_IS_PROPOSED);
    assert_false(learn(f, "vm4", "cc").changed);
    struct baseline b = the_baseline(f);
    assert_int_equal(b.n_sets, 2);
    assert_int_equal(b.sets[0].vms + b.sets[1].vms, 3);
    const char *const keep[] = {"aa"}, *const other[] = {"zz"};
    struct baseline_change change = {.id = b.id,
                                     .keep = other,
                                     .n_keep = 1,
                                     .now = T0,
                                     .audit = audit_of("attestation.baseline.confirm", b.id)};
    assert_int_equal(DO(f, store_confirm_baseline, &change, NULL), ERR_VALIDATION);
    change.keep = keep;
    MUST(f, DO(f, store_confirm_baseline, &change, NULL));
    assert_int_equal(DO(f, store_confirm_baseline, &change, NULL), ERR_INVALID_STATE);
    b = the_baseline(f);
    assert_int_equal(b.state, BASELINE_IS_CONFIRMED);
    assert_int_equal(b.n_sets, 1);
    assert_false(learn(f, "vm5", "dd").changed);
    for (int i = 1; i <= BASELINE_SETS_MAX; i++) {
        const struct baseline_set set = {.digest = arena_printf(f->arena, "set%d", i),
                                         .bank = "sha256",
                                         .pcrs = "{}",
                                         .events = "{}",
                                         .report_id = "r2"};
        change.set = &set;
        enum err err = DO(f, store_accept_baseline, &change, NULL);
        assert_int_equal(err, i < BASELINE_SETS_MAX ? OK : ERR_INVALID_STATE);
    }
    MUST(f, DO(f, store_delete_baseline, &change, NULL));
    assert_int_equal(DO(f, store_delete_baseline, &change, NULL), ERR_NOT_FOUND);
    assert_true(learn(f, "vm1", "aa").changed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(versions_rise_and_never_change),
        STORE_TEST(a_scope_is_one_policys),
        STORE_TEST(old_versions_go),
        STORE_TEST(a_baseline_is_learned_from_different_vms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
