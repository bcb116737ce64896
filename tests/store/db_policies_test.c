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

static struct baseline_learned learn_of(struct fixture *f, const char *vm, const char *digest,
                                        int64_t vms_needed)
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
                                      .vms_needed = vms_needed,
                                      .now = T0,
                                      .audit = audit_of("attestation.baseline.learn", vm)};
    MUST(f, DO(f, store_learn_baseline, &in, &out));
    return out;
}

static struct baseline_learned learn(struct fixture *f, const char *vm, const char *digest)
{
    return learn_of(f, vm, digest, 3);
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

/* An operator who takes one boot as good says nothing of others that were learned meanwhile. */
static void accepting_a_boot_confirms_no_other(void **state)
{
    struct fixture *f = *state;
    static const int before[] = {1, 3}; /* learning, proposed */
    for (size_t i = 0; i < ARRAY_LEN(before); i++) {
        for (int vm = 0; vm < before[i]; vm++)
            learn(f, arena_printf(f->arena, "vm%d", vm), vm ? "bb" : "aa");
        const struct baseline_set set = {.digest = before[i] == 1 ? "cc" : "bb",
                                         .bank = "sha256",
                                         .pcrs = "{}",
                                         .events = "{}",
                                         .report_id = "r3"};
        struct baseline b = the_baseline(f);
        struct baseline_change change = {.id = b.id,
                                         .set = &set,
                                         .now = T0,
                                         .audit = audit_of("attestation.baseline.accept", b.id)};
        MUST(f, DO(f, store_accept_baseline, &change, NULL));
        b = the_baseline(f);
        assert_int_equal(b.state, BASELINE_IS_CONFIRMED);
        assert_int_equal(b.n_sets, 1);
        assert_string_equal(b.sets[0].digest, set.digest);
        assert_string_equal(b.sets[0].report_id, "r3");
        MUST(f, DO(f, store_delete_baseline, &change, NULL));
    }
}

/* Where every VM boots in a way of its own, somebody must look at it: it does not stay open for ever. */
static void a_full_baseline_is_proposed(void **state)
{
    struct fixture *f = *state;
    for (int i = 1; i <= BASELINE_SETS_MAX; i++) {
        const struct baseline_learned out = learn_of(f, arena_printf(f->arena, "vm%d", i),
                                                     arena_printf(f->arena, "set%d", i), 1000);
        assert_int_equal(out.state,
                         i < BASELINE_SETS_MAX ? BASELINE_IS_LEARNING : BASELINE_IS_PROPOSED);
    }
    assert_int_equal(the_baseline(f).n_sets, BASELINE_SETS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(versions_rise_and_never_change),
        STORE_TEST(a_scope_is_one_policys),
        STORE_TEST(old_versions_go),
        STORE_TEST(a_baseline_is_learned_from_different_vms),
        STORE_TEST(accepting_a_boot_confirms_no_other),
        STORE_TEST(a_full_baseline_is_proposed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
