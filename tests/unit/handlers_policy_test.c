/* Policies between contract and verifier: the two field tables, the book, and which policy applies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "attest/rules.h"
#include "handlers/policy_book.h"
#include "openapi/schemas.h"

#include <cmocka.h>

/* ---- the contract's table against the verifier's ---- */

static void compare_schemas(const struct schema *a, const struct schema *b);

static bool same_words(const char *const *a, const char *const *b)
{
    if (!a || !b)
        return a == b;
    for (; *a && *b; a++, b++)
        if (strcmp(*a, *b) != 0)
            return false;
    return !*a && !*b;
}

static void compare_fields(const struct field *a, const struct field *b)
{
    bool good = strcmp(a->name, b->name) == 0 && a->kind == b->kind && a->required == b->required &&
                a->min == b->min && a->max == b->max && a->unique == b->unique &&
                a->has_dflt == b->has_dflt && a->dflt_int == b->dflt_int &&
                a->item_min == b->item_min && a->item_max == b->item_max &&
                same_words(a->allowed, b->allowed) && !a->dflt_str == !b->dflt_str &&
                (!a->dflt_str || strcmp(a->dflt_str, b->dflt_str) == 0) && !a->object == !b->object;
    if (!good)
        print_error("the tables differ at %s / %s\n", a->name, b->name);
    assert_true(good);
    if (a->object)
        compare_schemas(a->object, b->object);
}

static void compare_schemas(const struct schema *a, const struct schema *b)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->n_fields, b->n_fields);
    for (size_t i = 0; i < a->n_fields; i++)
        compare_fields(&a->fields[i], &b->fields[i]);
}

static void the_contract_is_what_the_verifier_reads(void **state)
{
    compare_schemas(&attest_policy_schema, &attestation_policy_spec_schema);
}

/* ---- which policy applies ---- */

#define SUB   "/subscriptions/11111111-2222-3333-4444-555555555555"
#define RG    SUB "/resourceGroups/Prod"
#define VM    RG "/providers/Microsoft.Compute/virtualMachines/web"
#define IMAGE "Canonical:ubuntu:22_04:22.04.1"

static struct book_policy made[8];
static struct book_scope scopes[8];

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct book_scope *)a)->key, ((const struct book_scope *)b)->key);
}

static struct book_view view_of(const char *const *keys, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct err_info e = {0};
        made[i] = (struct book_policy){.name = keys[i], .id = keys[i]};
        assert_int_equal(
            attest_policy_compile(BYTES_STR("{\"scopes\":[],\"rules\":{}}"), &made[i].policy, &e),
            OK);
        scopes[i] = (struct book_scope){keys[i], keys[i], &made[i]};
    }
    qsort(scopes, n, sizeof *scopes, by_key);
    return (struct book_view){.policies = made, .n_policies = n, .scopes = scopes, .n_scopes = n};
}

static void drop_policies(size_t n)
{
    for (size_t i = 0; i < n; i++)
        attest_policy_unref(made[i].policy);
}

static void the_most_specific_scope_decides(void **state)
{
    static const char *const keys[] = {
        "/",
        "/subscriptions/11111111-2222-3333-4444-555555555555",
        "/subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/prod",
        "canonical:ubuntu:22_04:*",
        "canonical:ubuntu:22_04:22.04.1",
        "/subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/prod/providers/"
        "microsoft.compute/virtualmachines/web",
    };
    for (size_t n = ARRAY_LEN(keys); n > 0; n--) {
        struct book_view v = view_of(keys, n);
        struct book_match m = book_match_vm(&v, VM, IMAGE);
        assert_string_equal(m.policy->name, keys[n - 1]);
        drop_policies(n);
    }
    struct book_view v = view_of(keys, 0);
    assert_null(book_match_vm(&v, VM, IMAGE).policy);
}

static void what_is_beside_does_not_apply(void **state)
{
    static const char *const keys[] = {
        "/subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/pro",
        "/subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/prod/providers/"
        "microsoft.compute/virtualmachines/we",
        "canonical:ubuntu:22_04:22.04.2",
        "canonical:ubuntu:*",
    };
    struct book_view v = view_of(keys, ARRAY_LEN(keys));
    assert_null(book_match_vm(&v, VM, IMAGE).policy);
    assert_null(book_match_vm(&v, VM, NULL).policy);
    drop_policies(ARRAY_LEN(keys));
}

static void a_candidate_takes_the_place_of_its_name(void **state)
{
    static const char *const keys[] = {
        "/subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/prod",
        "/",
    };
    struct book_view v = view_of(keys, ARRAY_LEN(keys));
    struct err_info e = {0};
    /* It moves from the group to the VM of another name: this one falls back to "/". */
    struct book_policy candidate = {.name = keys[0]};
    assert_int_equal(attest_policy_compile(BYTES_STR("{\"scopes\":[\"" VM "2\"],\"rules\":{}}"),
                                           &candidate.policy, &e),
                     OK);
    assert_ptr_equal(book_match_with(&v, &candidate, VM, NULL).policy, &made[1]);
    assert_ptr_equal(book_match_with(&v, &candidate, VM "2", NULL).policy, &candidate);
    attest_policy_unref(candidate.policy);
    drop_policies(ARRAY_LEN(keys));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_contract_is_what_the_verifier_reads),
        cmocka_unit_test(the_most_specific_scope_decides),
        cmocka_unit_test(what_is_beside_does_not_apply),
        cmocka_unit_test(a_candidate_takes_the_place_of_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
