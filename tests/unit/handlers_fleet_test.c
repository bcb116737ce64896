/* Reading handlers and enrolment tokens over a real database. */
#include "handlers_fake.h"

#include "attest/rollover.h"
#include "handlers/applied.h"
#include "handlers/routes.h"
#include "jobs/enrollment.h"
#include "openapi/schemas.h"
#include "tests/unit/folder.h"

#define SUB     "00000000-0000-0000-0000-000000000001"
#define OTHER   "00000000-0000-0000-0000-000000000002"
#define GROUP   "rg1"
#define MAX_AGE 60000
#define NOW     1000000

static struct keyring *keys;
static struct store *store;
static char dir[64];

static int start(void **state)
{
    struct err_info e = {0};
    keys = fake_keyring();
    snprintf(dir, sizeof dir, "/tmp/tlgate-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    const struct store_options o = {.dir = dir, .migrate = true};
    if (store_open(&o, &store, &e))
        fail_msg("%s", e.detail);
    return 0;
}

static int end(void **state)
{
    store_close(store);
    keyring_free(keys);
    return folder_remove(dir);
}

/* ---- rows ---- */

static const char *vm_path(struct arena *a, const char *sub, const char *name)
{
    return arena_printf(a,
                        "/subscriptions/%s/resourceGroups/" GROUP
                        "/providers/Microsoft.Compute/virtualMachines/%s",
                        sub, name);
}

static void put_vm(const char *sub, const char *name, const char *vm_id)
{
    struct arena *a = arena_new();
    struct store_waiter w;
    struct err_info e = {0};
    const struct vm_put put = {
        .vm = {.resource_id = vm_path(a, sub, name),
               .set = VM_SET_VM_ID | VM_SET_STATE | VM_SET_SPEC | VM_SET_EXPECT | VM_SET_STATUS |
                      VM_SET_PLACE,
               .vm_id = vm_id,
               .name = name,
               .location = "westeurope",
               .origin = "created",
               .state = "ready",
               .spec = "{\"size\":\"Standard_D2s_v5\"}",
               .secure_boot = true,
               .vtpm = true,
               .monitoring = true,
               .status = VM_UNKNOWN,
               .reasons = "[\"no_report\"]"},
        .now = NOW,
        .audit = {.principal_id = "t", .principal = "t", .action = "test"},
    };
    store_put_vm(store, &put, NULL, store_waiter_init(&w));
    if (store_wait(&w, &e))
        fail_msg("%s", e.detail);
    arena_free(a);
}

/* What the next report's log shows of Microsoft's certificates; 0: nothing. */
static uint32_t certificates;
/* maxAge of the policy that judges the next report, in ms; 0: no policy says. */
static int64_t policy_age;

/* A report of a VM that an enrolment lets in. */
static void put_report(const char *name, const char *vm_id, const char *id, int64_t at)
{
    struct arena *a = arena_new();
    struct store_waiter w;
    struct err_info e = {0};
    const char *hash = arena_printf(a, "hash-%s", id);
    const struct enrollment_put enrollment = {
        .hash = hash,
        .resource_id = vm_path(a, SUB, name),
        .expires_at = at + 1000,
        .now = at,
        .audit = {.principal_id = "t", .principal = "t", .action = "test"}};
    store_put_enrollment(store, &enrollment, NULL, store_waiter_init(&w));
    assert_int_equal(store_wait(&w, &e), OK);
    const struct report_new report = {
        .report = {.id = id,
                   .vm_id = vm_id,
                   .received_at = at,
                   .verdict = "trusted",
                   .checks = "[{\"name\":\"policy\",\"status\":\"pass\"}]",
                   .claims = "{\"secureBoot\":true}",
                   .evidence_hash = "00"},
        .challenge_hash = id,
        .challenge_expires_at = at + 1000,
        .enrollment_hash = hash,
        .status = VM_HEALTHY,
        .reasons = "[]",
        .stale_at = applied_stale_at(&(struct applied_terms){.max_age_ms = policy_age}, at),
        .certificates = certificates,
        .certificates_state = rollover_state_name(rollover_state_of(certificates)),
        .certificates_log = certificates ? id : NULL,
        .vm_claims = "{\"secureBoot\":true}",
        .vm_claims_counted = true,
    };
    struct report_stored stored;
    store_put_report(store, &report, &stored, store_waiter_init(&w));
    if (store_wait(&w, &e))
        fail_msg("%s", e.detail);
    arena_free(a);
}

/* ---- calls ---- */

static const struct principal admin = {.id = "a", .name = "a", .role = ROLE_ADMIN, .scope = "/"};

static const struct get_boot_integrity_query plain_integrity;

static void begin(struct fake *f, const struct principal *who, const char *sub, const char *name)
{
    fake_open(f);
    f->app.store = store;
    f->app.keyring = keys;
    f->app.max_age_ms = MAX_AGE;
    f->call.now = NOW;
    f->call.who = who;
    f->call.params[0] = sub;
    f->call.params[1] = sub ? GROUP : NULL;
    f->call.params[2] = name;
    f->call.query = &plain_integrity; /* of what takes one; other operations have their own */
}

static void an_unknown_vm_is_404(void **state)
{
    struct fake f;
    begin(&f, &admin, SUB, "nobody");
    assert_int_equal(get_virtual_machine(&f.call), 404);
    fake_close(&f);
    begin(&f, &admin, SUB, "nobody");
    assert_int_equal(get_boot_integrity(&f.call), 404);
    fake_close(&f);
    begin(&f, &admin, SUB, "nobody");
    assert_int_equal(fake_finish(&f, create_enrollment_token(&f.call)), 404);
    fake_close(&f);
}

static void a_vm_is_what_is_known_of_it(void **state)
{
    struct fake f;
    put_vm(SUB, "Web", "10000000-0000-4000-8000-000000000001");
    begin(&f, &admin, SUB, "web"); /* ARM ids have no case */
    assert_int_equal(get_virtual_machine(&f.call), 200);
    AUTO(json) json_t *v = fake_body(&f);
    assert_string_equal(json_path_str(v, "name"), "Web");
    assert_string_equal(json_path_str(v, "spec/size"), "Standard_D2s_v5");
    assert_string_equal(json_path_str(v, "bootIntegrity"), "unknown");
    const char *etag = fake_header(&f, "ETag");
    struct fake again;
    begin(&again, &admin, SUB, "web");
    again.if_none_match = etag;
    assert_int_equal(get_virtual_machine(&again.call), 304);
    fake_close(&again);
    fake_close(&f);
}

static void a_status_grows_old(void **state)
{
    struct fake young, old;
    put_vm(SUB, "aging", "10000000-0000-4000-8000-000000000002");
    put_report("aging", "10000000-0000-4000-8000-000000000002", "r-aging", NOW);

    begin(&young, &admin, SUB, "aging");
    young.call.now = NOW + MAX_AGE - 1;
    assert_int_equal(get_boot_integrity(&young.call), 200);
    AUTO(json) json_t *v = fake_body(&young);
    assert_string_equal(json_path_str(v, "status"), "healthy");
    assert_true(json_is_true(json_path(v, "claims/secureBoot")));
    assert_string_equal(json_path_str(v, "lastReportId"), "r-aging");

    begin(&old, &admin, SUB, "aging");
    old.call.now = NOW + MAX_AGE + 1;
    old.if_none_match = fake_header(&young, "ETag");
    assert_int_equal(get_boot_integrity(&old.call), 200);
    AUTO(json) json_t *w = fake_body(&old);
    assert_string_equal(json_path_str(w, "status"), "unknown");
    assert_int_equal(json_array_size(json_path(w, "reasons")), 1);
    fake_close(&young);
    fake_close(&old);
}

static void history_is_newest_first_and_has_pages(void **state)
{
    static const char vm_id[] = "10000000-0000-4000-8000-000000000003";
    struct fake f;
    put_vm(SUB, "busy", vm_id);
    put_report("busy", vm_id, "r-1", NOW + 1);
    put_report("busy", vm_id, "r-2", NOW + 2);
    put_report("busy", vm_id, "r-3", NOW + 3);
    struct list_boot_integrity_history_query query = {.top = 2};
    begin(&f, &admin, SUB, "busy");
    f.call.query = &query;
    assert_int_equal(list_boot_integrity_history(&f.call), 200);
    AUTO(json) json_t *v = fake_body(&f);
    const json_t *value = json_path(v, "value");
    assert_int_equal(json_array_size(value), 2);
    assert_string_equal(json_path_str(json_array_get(value, 0), "reportId"), "r-3");
    const char *link = json_path_str(v, "nextLink");
    assert_non_null(link);

    struct fake rest;
    begin(&rest, &admin, SUB, "busy");
    query.cursor = strstr(link, "cursor=") + strlen("cursor=");
    rest.call.query = &query;
    assert_int_equal(list_boot_integrity_history(&rest.call), 200);
    AUTO(json) json_t *w = fake_body(&rest);
    assert_int_equal(json_array_size(json_path(w, "value")), 1);
    assert_string_equal(json_path_str(json_array_get(json_path(w, "value"), 0), "reportId"), "r-1");
    assert_null(json_path(w, "nextLink"));
    fake_close(&rest);
    fake_close(&f);
}

/* How many names a walk over all pages finds. */
static size_t walk(const struct principal *who, const char *sub, int64_t top)
{
    size_t n = 0;
    char cursor[1024] = "";
    do {
        struct fake f;
        const struct list_subscription_virtual_machines_query query = {
            .top = top, .cursor = *cursor ? cursor : NULL};
        begin(&f, who, sub, NULL);
        f.call.params[1] = NULL;
        f.call.query = &query;
        assert_int_equal(list_subscription_virtual_machines(&f.call), 200);
        AUTO(json) json_t *v = fake_body(&f);
        n += json_array_size(json_path(v, "value"));
        assert_true(json_array_size(json_path(v, "value")) <= (size_t)top);
        const char *link = json_path_str(v, "nextLink");
        snprintf(cursor, sizeof cursor, "%s", link ? strstr(link, "cursor=") + 7 : "");
        fake_close(&f);
    } while (*cursor);
    return n;
}

static void pages_hold_every_vm_once(void **state)
{
    for (int i = 0; i < 7; i++) {
        char name[16], id[UUID_SIZE];
        snprintf(name, sizeof name, "page%d", i);
        uuid_v4(id);
        put_vm(OTHER, name, id);
    }
    const struct principal narrow = {.role = ROLE_READER, .scope = "/subscriptions/" OTHER};
    const struct principal blind = {.role = ROLE_READER, .scope = "/subscriptions/" SUB};
    assert_int_equal(walk(&admin, OTHER, 3), 7);
    assert_int_equal(walk(&admin, OTHER, 7), 7);
    assert_int_equal(walk(&narrow, OTHER, 1), 7);
    assert_int_equal(walk(&blind, OTHER, 3), 0);
}

static void the_fleet_is_counted_in_scope(void **state)
{
    struct fake f;
    const struct principal narrow = {.role = ROLE_READER, .scope = "/subscriptions/" OTHER};
    struct get_boot_integrity_summary_query query = {0};
    begin(&f, &narrow, NULL, NULL);
    f.call.query = &query;
    assert_int_equal(get_boot_integrity_summary(&f.call), 200);
    AUTO(json) json_t *v = fake_body(&f);
    assert_int_equal(json_integer_value(json_path(v, "total")), 7);
    assert_int_equal(json_integer_value(json_path(v, "unknown")), 7);
    assert_int_equal(json_integer_value(json_path(v, "healthy")), 0);
    fake_close(&f);
    /* a filter narrows, and never widens, what the caller may see */
    query.scope = "/subscriptions/" SUB;
    begin(&f, &narrow, NULL, NULL);
    f.call.query = &query;
    assert_int_equal(get_boot_integrity_summary(&f.call), 200);
    AUTO(json) json_t *w = fake_body(&f);
    assert_int_equal(json_integer_value(json_path(w, "total")), 0);
    fake_close(&f);
}

static int64_t number_at(const json_t *v, const char *path)
{
    assert_non_null(json_path(v, path));
    return json_integer_value(json_path(v, path));
}

static void certificates_are_told_for_one_and_for_all(void **state)
{
    static const char old[] = "10000000-0000-4000-8000-0000000000c1";
    static const char new[] = "10000000-0000-4000-8000-0000000000c2";
    put_vm(SUB, "certold", old);
    put_vm(SUB, "certnew", new);
    put_vm(SUB, "certnone", "10000000-0000-4000-8000-0000000000c3");
    certificates = ROLLOVER_KNOWN | rollover_bit(ROLLOVER_IN_DB, ROLLOVER_UEFI_2011) |
                   rollover_bit(ROLLOVER_AUTHORITY, ROLLOVER_UEFI_2011);
    put_report("certold", old, "c-1", NOW + 1);
    put_report("certnew", new, "c-2", NOW + 1);
    certificates |= rollover_bit(ROLLOVER_IN_DB, ROLLOVER_UEFI_2023); /* it was updated */
    put_report("certnew", new, "c-3", NOW + 2);
    certificates = 0;
    put_report("certnew", new, "c-4", NOW + 3); /* without a log: what was known stays */

    struct fake f;
    begin(&f, &admin, SUB, "certnew");
    assert_int_equal(get_secure_boot_certificates(&f.call), 200);
    AUTO(json) json_t *one = fake_body(&f);
    assert_string_equal(json_path_str(one, "state"), "ready");
    assert_int_equal(json_array_size(json_path(one, "db")), 2);
    fake_close(&f);

    const struct list_secure_boot_certificates_query query = {.top = 50, .state = "atRisk"};
    begin(&f, &admin, NULL, NULL);
    f.call.query = &query;
    assert_int_equal(list_secure_boot_certificates(&f.call), 200);
    AUTO(json) json_t *list = fake_body(&f);
    assert_int_equal(json_array_size(json_path(list, "value")), 1);
    const json_t *item = json_array_get(json_path(list, "value"), 0);
    assert_non_null(strstr(json_path_str(item, "resourceId"), "certold"));
    fake_close(&f);

    const struct get_secure_boot_certificates_summary_query all = {0};
    begin(&f, &admin, NULL, NULL);
    f.call.query = &all;
    assert_int_equal(get_secure_boot_certificates_summary(&f.call), 200);
    AUTO(json) json_t *v = fake_body(&f);
    assert_int_equal(number_at(v, "byState/ready"), 1);
    assert_int_equal(number_at(v, "byState/atRisk"), 1);
    assert_true(number_at(v, "byState/unknown") >= 1);
    assert_int_equal(number_at(v, "certificates/db/uefiCa2011"), 2);
    assert_int_equal(number_at(v, "certificates/db/uefiCa2023"), 1);
    assert_int_equal(number_at(v, "certificates/kek/kek2kCa2023"), 0);
    fake_close(&f);

    const struct principal blind = {.role = ROLE_READER, .scope = "/subscriptions/" OTHER};
    begin(&f, &blind, NULL, NULL);
    f.call.query = &all;
    assert_int_equal(get_secure_boot_certificates_summary(&f.call), 200);
    AUTO(json) json_t *none = fake_body(&f);
    assert_int_equal(number_at(none, "certificates/db/uefiCa2011"), 0);
    fake_close(&f);
}

static void the_fleet_is_filtered_by_status(void **state)
{
    struct fake f;
    const struct list_boot_integrity_query query = {.top = 50, .status = "healthy"};
    begin(&f, &admin, NULL, NULL);
    f.call.query = &query;
    assert_int_equal(list_boot_integrity(&f.call), 200);
    AUTO(json) json_t *v = fake_body(&f);
    assert_int_equal(json_array_size(json_path(v, "value")), 2); /* aging, busy */
    fake_close(&f);
}

static const struct get_report_query plain_report;

static void a_report_outside_the_scope_is_404(void **state)
{
    const struct principal blind = {.role = ROLE_ADMIN, .scope = "/subscriptions/" OTHER};
    struct fake f;
    begin(&f, &admin, NULL, NULL);
    f.call.params[0] = "r-1";
    f.call.query = &plain_report;
    assert_int_equal(get_report(&f.call), 200);
    AUTO(json) json_t *v = fake_body(&f);
    assert_string_equal(json_path_str(v, "verdict"), "trusted");
    fake_close(&f);
    begin(&f, &blind, NULL, NULL);
    f.call.params[0] = "r-1";
    f.call.query = &plain_report;
    assert_int_equal(get_report(&f.call), 404);
    fake_close(&f);
}

/* The pinned AK signed it for another challenge: kept, and nothing of the VM changes. */
static void a_stale_report_is_history_and_no_more(void **state)
{
    static const char vm_id[] = "10000000-0000-4000-8000-000000000004";
    struct store_waiter w;
    struct report_new report = {
        .report = {.id = "s-1",
                   .vm_id = vm_id,
                   .received_at = NOW + 1,
                   .verdict = "trusted",
                   .checks = "[]",
                   .claims = "{}",
                   .evidence_hash = "00",
                   .ak_spki = "aa"},
        .challenge_hash = "s-1",
        .challenge_expires_at = NOW + 1000,
        .enrollment_hash = "hash-r-stale",
        .pin_allowed = true,
        .status = VM_HEALTHY,
        .reasons = "[]",
    };
    struct report_stored stored;
    put_vm(SUB, "stale", vm_id);
    put_report("stale", vm_id, "r-stale", NOW);
    store_put_report(store, &report, &stored, store_waiter_init(&w));
    assert_int_equal(store_wait(&w, NULL), OK);
    assert_true(stored.enrolled);

    struct fake before, after;
    begin(&before, &admin, SUB, "stale");
    assert_int_equal(get_boot_integrity(&before.call), 200);
    report.report.id = report.challenge_hash = "s-2";
    report.report.verdict = "untrusted";
    report.enrollment_hash = NULL;
    report.history_only = true;
    report.status = VM_UNHEALTHY;
    store_put_report(store, &report, &stored, store_waiter_init(&w));
    assert_int_equal(store_wait(&w, NULL), OK);
    begin(&after, &admin, SUB, "stale");
    after.if_none_match = fake_header(&before, "ETag");
    assert_int_equal(get_boot_integrity(&after.call), 304);
    fake_close(&after);
    fake_close(&before);

    struct fake read;
    begin(&read, &admin, NULL, NULL);
    read.call.params[0] = "s-2";
    read.call.query = &plain_report;
    assert_int_equal(get_report(&read.call), 200);
    fake_close(&read);
    /* only the pinned AK gets in this way */
    report.report.id = report.challenge_hash = "s-3";
    report.report.ak_spki = "bb";
    store_put_report(store, &report, &stored, store_waiter_init(&w));
    assert_int_equal(store_wait(&w, NULL), ERR_NOT_ENROLLED);
}

static void a_token_is_shown_once_and_kept_as_a_hash(void **state)
{
    struct fake f;
    struct enrollment row;
    begin(&f, &admin, SUB, "web");
    assert_int_equal(fake_finish(&f, create_enrollment_token(&f.call)), 201);
    AUTO(json) json_t *v = fake_body(&f);
    const char *token = json_path_str(v, "token");
    const char *id = vm_path(f.call.arena, SUB, "web");
    assert_int_equal(enrollment_check(keys, token, id, NULL), OK);
    assert_int_equal(enrollment_check(keys, token, vm_path(f.call.arena, SUB, "busy"), NULL),
                     ERR_NOT_ENROLLED);
    assert_int_equal(
        store_get_enrollment(store, f.call.arena, enrollment_text(f.call.arena, token), &row, NULL),
        OK);
    assert_int_equal(row.used_at, 0);
    assert_int_equal(row.expires_at, NOW + ENROLLMENT_MS);
    assert_string_equal(fake_header(&f, "Cache-Control"), "no-store");
    fake_close(&f);
}

/* ---- the age that a policy allows ---- */

static const char *status_at(int64_t now, const char **etag, const char *if_none_match)
{
    struct fake f;
    begin(&f, &admin, SUB, "policed");
    f.call.now = now;
    f.if_none_match = if_none_match;
    assert_int_equal(get_boot_integrity(&f.call), 200);
    AUTO(json) json_t *v = fake_body(&f);
    static char status[16], tag[100];
    snprintf(status, sizeof status, "%s", json_path_str(v, "status"));
    snprintf(tag, sizeof tag, "%s", fake_header(&f, "ETag"));
    if (etag)
        *etag = tag;
    if (strcmp(status, "unknown") == 0)
        assert_string_equal(json_string_value(json_array_get(json_path(v, "reasons"), 0)),
                            "report_too_old");
    fake_close(&f);
    return status;
}

/* In the fleet's list (by its status) and in its counts. */
static size_t counted_at(int64_t now, const char *status)
{
    struct fake f;
    const char *scope = "/subscriptions/" SUB "/resourceGroups/" GROUP;
    const struct list_boot_integrity_query query = {.top = 200, .status = status, .scope = scope};
    begin(&f, &admin, NULL, NULL);
    f.call.now = now;
    f.call.query = &query;
    assert_int_equal(list_boot_integrity(&f.call), 200);
    AUTO(json) json_t *v = fake_body(&f);
    size_t n = json_array_size(json_path(v, "value"));
    fake_close(&f);
    const struct get_boot_integrity_summary_query all = {.scope = scope};
    begin(&f, &admin, NULL, NULL);
    f.call.now = now;
    f.call.query = &all;
    assert_int_equal(get_boot_integrity_summary(&f.call), 200);
    AUTO(json) json_t *w = fake_body(&f);
    assert_int_equal(json_integer_value(json_path(w, status)), (json_int_t)n);
    fake_close(&f);
    return n;
}

static void a_policys_age_turns_the_status(void **state)
{
    const int64_t ages[] = {MAX_AGE / 2, MAX_AGE * 2}; /* sooner than the gateway's, and later */
    put_vm(SUB, "policed", "10000000-0000-4000-8000-000000000077");
    for (size_t i = 0; i < ARRAY_LEN(ages); i++) {
        int64_t at = NOW + 10 * MAX_AGE * (int64_t)(i + 1), end = at + ages[i];
        const char *etag;
        policy_age = ages[i];
        put_report("policed", "10000000-0000-4000-8000-000000000077", i ? "r-late" : "r-soon", at);
        assert_string_equal(status_at(end - 1, &etag, NULL), "healthy");
        size_t healthy = counted_at(end - 1, "healthy"), unknown = counted_at(end - 1, "unknown");
        assert_string_equal(status_at(end, NULL, etag),
                            "unknown"); /* no 304 for what was healthy */
        assert_int_equal(counted_at(end, "healthy"), healthy - 1);
        assert_int_equal(counted_at(end, "unknown"), unknown + 1);
    }
    policy_age = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_vm_is_404),
        cmocka_unit_test(a_vm_is_what_is_known_of_it),
        cmocka_unit_test(a_status_grows_old),
        cmocka_unit_test(history_is_newest_first_and_has_pages),
        cmocka_unit_test(pages_hold_every_vm_once),
        cmocka_unit_test(the_fleet_is_counted_in_scope),
        cmocka_unit_test(the_fleet_is_filtered_by_status),
        cmocka_unit_test(certificates_are_told_for_one_and_for_all),
        cmocka_unit_test(a_report_outside_the_scope_is_404),
        cmocka_unit_test(a_stale_report_is_history_and_no_more),
        cmocka_unit_test(a_token_is_shown_once_and_kept_as_a_hash),
        cmocka_unit_test(a_policys_age_turns_the_status),
    };
    return cmocka_run_group_tests(tests, start, end);
}
