/* Conformance: VM registry, reports, enrolment, pins, event logs. */
#include "db_store.h"

#define ID_A "0AAAAAAA-0000-4000-8000-00000000000a"
#define ID_B "0bbbbbbb-0000-4000-8000-00000000000b"
#define AK_A "aa01"
#define AK_B "bb02"

static void put_token_at(struct fixture *f, const char *hash, const char *resource_id, int64_t now)
{
    struct enrollment_put in = {.hash = hash,
                                .resource_id = resource_id,
                                .expires_at = T0 + 60000,
                                .now = now,
                                .audit = audit_of("enrollment.create", resource_id)};
    MUST(f, DO(f, store_put_enrollment, &in, NULL));
}

static void put_token(struct fixture *f, const char *hash, const char *resource_id)
{
    put_token_at(f, hash, resource_id, T0);
}

/* A good report of A's AK; each has its own id and challenge. */
static struct report_new report_of(struct fixture *f, int n)
{
    return (struct report_new){
        .report = {.id = arena_printf(f->arena, "0190-%04d", n),
                   .vm_id = ID_A,
                   .received_at = T0 + n,
                   .verdict = "trusted",
                   .checks = "[{\"name\":\"quote.nonce\",\"status\":\"pass\"}]",
                   .claims = "{\"secureBoot\":true}",
                   .evidence_hash = "eh",
                   .log_digest = "d1",
                   .ak_spki = AK_A,
                   .reset_count = 3,
                   .restart_count = 1,
                   .clock_ms = 1000 + n},
        .challenge_hash = arena_printf(f->arena, "challenge-%d", n),
        .challenge_expires_at = T0 + 5000,
        .log = BYTES_STR("the event log"),
        .ak_name = "000B01",
        .pin_allowed = true,
        .status = VM_HEALTHY,
        .reasons = "[]",
        .vm_claims = "{\"secureBoot\":true}",
        .vm_claims_counted = true,
    };
}

static struct report_stored put_report(struct fixture *f, const struct report_new *in)
{
    struct report_stored out = {0};
    MUST(f, DO(f, store_put_report, in, &out));
    return out;
}

/* VM A, enrolled by report 1. */
static void enroll_a(struct fixture *f)
{
    put_vm(f, VM("a"), ID_A);
    put_token(f, "token-a", VM("a"));
    struct report_new in = report_of(f, 1);
    in.enrollment_hash = "token-a";
    assert_true(put_report(f, &in).enrolled);
}

static void enrolment_pins_and_is_used_up(void **state)
{
    struct fixture *f = *state;
    enroll_a(f);
    struct vm vm = get_vm(f, VM("A"));
    assert_string_equal(vm.ak_spki, AK_A);
    assert_string_equal(vm.ak_name, "000b01");
    assert_int_equal(vm.enrolled_at, T0 + 1);
    assert_int_equal(vm.status, VM_HEALTHY);
    assert_string_equal(vm.reasons, "[]");
    assert_string_equal(vm.claims, "{\"secureBoot\":true}");
    assert_string_equal(vm.last_report_id, "0190-0001");
    assert_string_equal(vm.last_verdict, "trusted");
    assert_int_equal(vm.last_report_at, T0 + 1);
    assert_int_equal(vm.reset_count, 3);
    assert_int_equal(vm.clock_ms, 1001);

    struct enrollment en;
    MUST(f, store_get_enrollment(f->store, f->arena, "token-a", &en, &f->err));
    assert_int_equal(en.used_at, T0 + 1);
    struct vm by;
    MUST(f, store_get_vm_by_id(f->store, f->arena, "0aaaaaaa-0000-4000-8000-00000000000A", &by,
                               &f->err));
    assert_string_equal(by.resource_id, VM("a"));
    MUST(f, store_get_vm_by_ak(f->store, f->arena, AK_A, &by, &f->err));
    assert_string_equal(by.resource_id, VM("a"));

    struct report r;
    MUST(f, store_get_report(f->store, f->arena, "0190-0001", RG, &r, &f->err));
    assert_string_equal(r.resource_id, VM("a"));
    assert_string_equal(r.vm_id, ID_A);
    assert_string_equal(r.verdict, "trusted");
    assert_string_equal(r.log_digest, "d1");
    assert_int_equal(r.received_at, T0 + 1);
    assert_int_equal(
        store_get_report(f->store, f->arena, "0190-0001", "/subscriptions/other", &r, &f->err),
        ERR_NOT_FOUND);

    struct report_new second = report_of(f, 2); /* no token needed any more */
    assert_false(put_report(f, &second).enrolled);
}

/* Everything that must not let a stranger in. The VM's row stays as it was, byte for byte. */
static void strangers_change_nothing(void **state)
{
    struct fixture *f = *state;
    enroll_a(f);
    put_vm(f, VM("b"), ID_B);
    put_token(f, "token-b", VM("b"));
    put_token(f, "token-old", VM("a"));
    const char *etag_a = get_vm(f, VM("a")).etag, *etag_b = get_vm(f, VM("b")).etag;
    static const struct {
        const char *name, *vm_id, *ak, *token;
        int at;
    } rows[] = {
        {"unknown vmId", "0ccccccc-0000-4000-8000-00000000000c", AK_A, NULL, 0},
        {"another AK without enrolment", ID_A, AK_B, NULL, 0},
        {"never enrolled", ID_B, AK_B, NULL, 0},
        {"pinned AK of another VM", ID_B, AK_A, NULL, 0},
        {"used token", ID_A, AK_B, "token-a", 0},
        {"another VM's token", ID_A, AK_B, "token-b", 0},
        {"made-up token", ID_A, AK_B, "token-x", 0},
        {"expired token", ID_A, AK_B, "token-old", 60000},
        {"no AK at all", ID_B, NULL, NULL, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct report_new in = report_of(f, 50);
        in.report.vm_id = rows[i].vm_id;
        in.report.ak_spki = rows[i].ak;
        in.report.received_at += rows[i].at;
        in.enrollment_hash = rows[i].token;
        struct report_stored out;
        enum err err = DO(f, store_put_report, &in, &out);
        if (err != ERR_NOT_ENROLLED)
            print_error("%s: %s\n", rows[i].name, err_code(err));
        assert_int_equal(err, ERR_NOT_ENROLLED);
    }
    assert_string_equal(get_vm(f, VM("a")).etag, etag_a);
    assert_string_equal(get_vm(f, VM("b")).etag, etag_b);
    struct enrollment en;
    MUST(f, store_get_enrollment(f->store, f->arena, "token-b", &en, &f->err));
    assert_int_equal(en.used_at, 0);
    struct report r;
    assert_int_equal(store_get_report(f->store, f->arena, "0190-0050", NULL, &r, &f->err),
                     ERR_NOT_FOUND);
    struct report_new good = report_of(f, 50); /* nobody used up its challenge */
    put_report(f, &good);
}

static void challenge_is_used_once(void **state)
{
    struct fixture *f = *state;
    enroll_a(f);
    struct report_new in = report_of(f, 2);
    in.challenge_hash = "challenge-1";
    struct report_stored out;
    assert_int_equal(DO(f, store_put_report, &in, &out), ERR_CHALLENGE_USED);
    assert_string_equal(get_vm(f, VM("a")).last_report_id, "0190-0001");
}

/* The same challenge in one batch: exactly one wins. */
static void racing_reports_share_no_challenge(void **state)
{
    struct fixture *f = *state;
    enroll_a(f);
    enum { N = 8 };
    struct report_new in[N];
    struct report_stored out[N];
    struct store_waiter w[N];
    for (int i = 0; i < N; i++) {
        in[i] = report_of(f, 10 + i);
        in[i].challenge_hash = "challenge-race";
    }
    for (int i = 0; i < N; i++)
        store_put_report(f->store, &in[i], &out[i], store_waiter_init(&w[i]));
    int won = 0;
    for (int i = 0; i < N; i++) {
        enum err err = store_wait(&w[i], &f->err);
        won += err == OK;
        assert_true(err == OK || err == ERR_CHALLENGE_USED);
    }
    assert_int_equal(won, 1);
}

static void failing_evidence_with_a_token_pins_nothing(void **state)
{
    struct fixture *f = *state;
    put_vm(f, VM("a"), ID_A);
    put_token(f, "token-a", VM("a"));
    struct report_new in = report_of(f, 1);
    in.enrollment_hash = "token-a";
    in.pin_allowed = false;
    in.report.verdict = "untrusted";
    in.status = VM_UNHEALTHY;
    in.reasons = "[\"quote.signature\"]";
    assert_false(put_report(f, &in).enrolled);
    struct vm vm = get_vm(f, VM("a"));
    assert_null(vm.ak_spki);
    assert_int_equal(vm.status, VM_UNHEALTHY);
    assert_int_equal(vm.reset_count, 0);
    struct enrollment en;
    MUST(f, store_get_enrollment(f->store, f->arena, "token-a", &en, &f->err));
    assert_int_equal(en.used_at, 0);

    struct report_new good = report_of(f, 2);
    good.enrollment_hash = "token-a";
    assert_true(put_report(f, &good).enrolled);
}

static void another_enrolment_replaces_the_pin(void **state)
{
    struct fixture *f = *state;
    enroll_a(f);
    put_token_at(f, "token-2", VM("a"), T0 + 2);
    struct report_new in = report_of(f, 3);
    in.report.ak_spki = AK_B;
    in.report.reset_count = 0; /* a new TPM counts from the start */
    in.report.clock_ms = 5;
    in.enrollment_hash = "token-2";
    assert_true(put_report(f, &in).enrolled);
    struct vm vm = get_vm(f, VM("a"));
    assert_string_equal(vm.ak_spki, AK_B);
    assert_int_equal(vm.reset_count, 0);
    assert_int_equal(vm.clock_ms, 5);
}

/* ---- quarantine ---- */

static struct report_new quarantined_report(struct fixture *f, int n, const char *vm_id)
{
    struct report_new in = report_of(f, n);
    in.report.vm_id = vm_id;
    in.report.verdict = "quarantined";
    in.status = VM_QUARANTINED;
    in.quarantined = true;
    in.reasons = "[\"why\"]";
    in.reason = "why";
    in.other_reason = "ak_on_another_vm";
    in.other_reasons = "[\"ak_on_another_vm\"]";
    return in;
}

static bool requalify_vm(struct fixture *f, const char *id, enum requalify_decision d,
                         const char *ak, enum err expected)
{
    struct requalify in = {.resource_id = id,
                           .decision = d,
                           .ak_spki = ak,
                           .reasons = "[\"requalified\"]",
                           .now = T0 + 500,
                           .audit = audit_of("vm.requalify", id)};
    bool changed = false;
    assert_int_equal(DO(f, store_requalify, &in, &changed), expected);
    return changed;
}

/* B proves its vmId and shows A's AK: a copy, and nobody knows which. */
static void a_shared_ak_quarantines_both(void **state)
{
    struct fixture *f = *state;
    enroll_a(f);
    put_vm(f, VM("b"), ID_B);
    put_token(f, "token-b", VM("b"));
    struct report_new in = report_of(f, 2);
    struct report_stored out;
    in.report.vm_id = ID_B;
    in.enrollment_hash = "token-b";
    assert_int_equal(DO(f, store_put_report, &in, &out), ERR_PRECONDITION_FAILED);
    in = quarantined_report(f, 2, ID_B);
    in.enrollment_hash = "token-b";
    assert_false(put_report(f, &in).enrolled);
    struct vm a = get_vm(f, VM("a")), b = get_vm(f, VM("b"));
    assert_int_equal(a.status, VM_QUARANTINED);
    assert_string_equal(a.reasons, "[\"ak_on_another_vm\"]");
    assert_string_equal(a.quarantine.reason, "ak_on_another_vm");
    assert_string_equal(a.quarantine.other, VM("b"));
    assert_null(a.quarantine.ak_spki);
    assert_string_equal(a.ak_spki, AK_A);
    assert_int_equal(b.status, VM_QUARANTINED);
    assert_string_equal(b.quarantine.other, VM("a"));
    assert_string_equal(b.quarantine.ak_spki, AK_A);
    assert_string_equal(b.quarantine.proof, "token");
    assert_null(b.ak_spki);

    /* A's own good report does not end it, and one judged before it began is judged again. */
    struct report_new own = report_of(f, 3);
    assert_int_equal(DO(f, store_put_report, &own, &out), ERR_PRECONDITION_FAILED);
    own = quarantined_report(f, 3, ID_A);
    put_report(f, &own);
    assert_int_equal(get_vm(f, VM("a")).status, VM_QUARANTINED);

    /* The AK is A's as long as A has it; then B may have it, by the same token or a decision. */
    requalify_vm(f, VM("b"), REQUALIFY_ACCEPT, AK_A, ERR_INVALID_STATE);
    assert_true(requalify_vm(f, VM("a"), REQUALIFY_REBUILD, NULL, OK));
    assert_null(get_vm(f, VM("a")).ak_spki);
    assert_true(requalify_vm(f, VM("b"), REQUALIFY_ACCEPT, AK_A, OK));
    b = get_vm(f, VM("b"));
    assert_string_equal(b.ak_spki, AK_A);
    assert_string_equal(b.enrolled_by, "token");
    assert_int_equal(b.status, VM_UNKNOWN);
    assert_int_equal(b.quarantine.since, 0);
    assert_null(b.quarantine.reason);
}

static void a_changed_ak_waits_for_a_decision(void **state)
{
    struct fixture *f = *state;
    enroll_a(f);
    struct report_new in = quarantined_report(f, 2, ID_A);
    in.report.ak_spki = AK_B;
    in.report.reset_count = 0;
    in.proof = PROOF_ATTESTED_DOCUMENT;
    put_report(f, &in);
    struct vm vm = get_vm(f, VM("a"));
    assert_string_equal(vm.ak_spki, AK_A);
    assert_int_equal(vm.reset_count, 3);
    assert_string_equal(vm.quarantine.ak_spki, AK_B);
    assert_string_equal(vm.quarantine.proof, "attestedDocument");
    assert_string_equal(vm.quarantine.report_id, "0190-0002");

    /* Not even a token made now replaces the pin: the alarm has rung. */
    put_token_at(f, "token-2", VM("a"), T0 + 3);
    in = quarantined_report(f, 3, ID_A);
    in.report.ak_spki = AK_B;
    in.enrollment_hash = "token-2";
    assert_false(put_report(f, &in).enrolled);
    assert_int_equal(get_vm(f, VM("a")).quarantine.since, T0 + 2);

    requalify_vm(f, VM("a"), REQUALIFY_ACCEPT, "cc03", ERR_AK_MISMATCH);
    requalify_vm(f, VM("a"), REQUALIFY_DISMISS, "cc03", ERR_AK_MISMATCH);
    assert_int_equal(get_vm(f, VM("a")).status, VM_QUARANTINED);
    assert_true(requalify_vm(f, VM("a"), REQUALIFY_DISMISS, "BB02", OK));
    assert_false(requalify_vm(f, VM("a"), REQUALIFY_DISMISS, NULL, OK));
    vm = get_vm(f, VM("a"));
    assert_string_equal(vm.ak_spki, AK_A);
    assert_null(vm.quarantine.ak_spki);
    requalify_vm(f, VM("a"), REQUALIFY_ACCEPT, AK_B, ERR_INVALID_STATE);

    in = report_of(f, 4);
    put_report(f, &in);
    assert_int_equal(get_vm(f, VM("a")).status, VM_HEALTHY);
}

/* A report was judged by the pin, and its token lets it in where there is none any more: yet it proves
 * no AK without the pin. */
static void what_a_former_pin_vouched_for_is_judged_again(void **state)
{
    struct fixture *f = *state;
    enroll_a(f);
    put_token(f, "token-2", VM("a"));
    struct report_new in = report_of(f, 2);
    struct report_stored out;
    in.by_pin = true;
    in.pin_allowed = false;
    in.enrollment_hash = "token-2";
    assert_true(requalify_vm(f, VM("a"), REQUALIFY_REBUILD, NULL, OK));
    assert_int_equal(DO(f, store_put_report, &in, &out), ERR_PRECONDITION_FAILED);
    assert_int_equal(get_vm(f, VM("a")).status, VM_UNKNOWN);
    in.enrollment_hash = NULL;
    assert_int_equal(DO(f, store_put_report, &in, &out), ERR_NOT_ENROLLED);
}

/* A token was made for the key that then had to wait. To dismiss that key is the newer word. */
static void a_dismissed_key_has_no_token_left(void **state)
{
    struct fixture *f = *state;
    enroll_a(f);
    put_vm(f, VM("b"), ID_B);
    put_token(f, "token-b", VM("b"));
    struct report_new in = quarantined_report(f, 2, ID_A);
    in.report.ak_spki = AK_B;
    in.proof = PROOF_ATTESTED_DOCUMENT;
    put_report(f, &in);
    put_token_at(f, "token-2", VM("a"), T0 + 3);
    assert_true(requalify_vm(f, VM("a"), REQUALIFY_DISMISS, NULL, OK));
    in = report_of(f, 4);
    in.report.ak_spki = AK_B;
    in.enrollment_hash = "token-2";
    struct report_stored out;
    assert_int_equal(DO(f, store_put_report, &in, &out), ERR_NOT_ENROLLED);
    assert_string_equal(get_vm(f, VM("a")).ak_spki, AK_A);
    /* One that is made after it is newer still; another VM's is none of its business. */
    put_token_at(f, "token-3", VM("a"), T0 + 600);
    in.enrollment_hash = "token-3";
    assert_true(put_report(f, &in).enrolled);
    struct enrollment of_b;
    MUST(f, store_get_enrollment(f->store, f->arena, "token-b", &of_b, &f->err));
}

static void a_job_s_token_never_replaces_a_pin(void **state)
{
    struct fixture *f = *state;
    enroll_a(f);
    const struct vm vm = get_vm(f, VM("a"));
    const struct enrollment made_by_job = {.job_id = "job", .created_at = T0 + 9},
                            before = {.created_at = T0}, after = {.created_at = T0 + 1};
    assert_false(vm_token_decides(&vm, &made_by_job));
    assert_false(vm_token_decides(&vm, &before));
    assert_true(vm_token_decides(&vm, &after));
    requalify_vm(f, VM("none"), REQUALIFY_REBUILD, NULL, ERR_NOT_FOUND);
}

/* One TPM, two VMs: its EK tells where its AKs do not. */
static void a_shared_ek_quarantines_both(void **state)
{
    struct fixture *f = *state;
    put_vm(f, VM("a"), ID_A);
    put_vm(f, VM("b"), ID_B);
    struct report_new in = report_of(f, 1);
    in.proof = PROOF_ACTIVATION;
    in.ek_spki = "EE01";
    in.ak_profile = "tpm";
    in.activation_hash = "activation-1";
    in.activation_expires_at = T0 + 5000;
    assert_true(put_report(f, &in).enrolled);
    struct vm vm;
    MUST(f, store_get_vm_by_ek(f->store, f->arena, "ee01", &vm, &f->err));
    assert_string_equal(vm.ak_profile, "tpm");
    assert_string_equal(vm.enrolled_by, "activation");

    in = quarantined_report(f, 2, ID_B);
    in.report.ak_spki = AK_B;
    in.proof = PROOF_ACTIVATION;
    in.ek_spki = "ee01";
    in.activation_hash = "activation-1";
    in.activation_expires_at = T0 + 5000;
    struct report_stored out;
    assert_int_equal(DO(f, store_put_report, &in, &out), ERR_ACTIVATION_USED);
    in.activation_hash = "activation-2";
    put_report(f, &in);
    assert_int_equal(get_vm(f, VM("a")).status, VM_QUARANTINED);
    assert_string_equal(get_vm(f, VM("b")).quarantine.ek_spki, "ee01");
    requalify_vm(f, VM("b"), REQUALIFY_ACCEPT, AK_B, ERR_INVALID_STATE);
}

static void clock_is_decided_again(void **state)
{
    struct fixture *f = *state;
    enroll_a(f);
    struct report_new old = report_of(f, 2);
    old.report.reset_count = 2;
    struct report_stored out;
    assert_int_equal(DO(f, store_put_report, &old, &out), ERR_PRECONDITION_FAILED);

    old.clock_regressed = true; /* with the same challenge */
    old.report.verdict = "untrusted";
    old.status = VM_UNHEALTHY;
    put_report(f, &old);
    struct vm vm = get_vm(f, VM("a"));
    assert_int_equal(vm.status, VM_UNHEALTHY);
    assert_int_equal(vm.reset_count, 3); /* not turned back */

    struct report_new next = report_of(f, 3); /* a reboot */
    next.report.reset_count = 4;
    next.report.restart_count = 0;
    next.report.clock_ms = 1;
    next.clock_regressed = true;
    assert_int_equal(DO(f, store_put_report, &next, &out), ERR_PRECONDITION_FAILED);
    next.clock_regressed = false;
    put_report(f, &next);
    assert_int_equal(get_vm(f, VM("a")).reset_count, 4);
}

static void event_log_is_stored_once_per_vm(void **state)
{
    struct fixture *f = *state;
    enroll_a(f);
    struct bytes log;
    MUST(f, store_get_log(f->store, f->arena, "0aaaaaaa-0000-4000-8000-00000000000a", "d1", &log,
                          &f->err));
    assert_true(bytes_equal(log, BYTES_STR("the event log")));

    struct report_new by_digest = report_of(f, 2);
    by_digest.log = (struct bytes){0};
    put_report(f, &by_digest);

    struct report_new unknown = report_of(f, 3);
    unknown.log = (struct bytes){0};
    unknown.report.log_digest = "d2";
    struct report_stored out;
    assert_int_equal(DO(f, store_put_report, &unknown, &out), ERR_EVENT_LOG_REQUIRED);
    unknown.log = BYTES_STR("another log");
    put_report(f, &unknown);

    /* A digest that another VM holds is not held for this one. */
    put_vm(f, VM("b"), ID_B);
    put_token(f, "token-b", VM("b"));
    struct report_new other = report_of(f, 4);
    other.report.vm_id = ID_B;
    other.report.ak_spki = AK_B;
    other.enrollment_hash = "token-b";
    other.log = (struct bytes){0};
    assert_int_equal(DO(f, store_put_report, &other, &out), ERR_EVENT_LOG_REQUIRED);

    struct report_new without = report_of(f, 5);
    without.log = (struct bytes){0};
    without.report.log_digest = NULL;
    put_report(f, &without);
    struct report r;
    MUST(f, store_get_report(f->store, f->arena, "0190-0005", NULL, &r, &f->err));
    assert_null(r.log_digest);
}

/* A guest can make a new log for each report; the VM's honest ones are few. */
static void event_logs_of_one_vm_are_bounded(void **state)
{
    struct fixture *f = *state;
    enroll_a(f);
    struct bytes log;
    for (int i = 0; i < LOGS_PER_VM + 3; i++) {
        struct report_new r = report_of(f, 10 + i);
        r.report.received_at = T0 + 1000 + i;
        r.report.log_digest = arena_printf(f->arena, "digest-%d", i);
        put_report(f, &r);
        /* the one at hand is never the one that goes */
        MUST(f, store_get_log(f->store, f->arena, ID_A, r.report.log_digest, &log, &f->err));
    }
    int held = 0;
    for (int i = 0; i < LOGS_PER_VM + 3; i++)
        held += store_get_log(f->store, f->arena, ID_A, arena_printf(f->arena, "digest-%d", i),
                              &log, &f->err) == OK;
    assert_int_equal(held, LOGS_PER_VM);
    assert_int_equal(store_get_log(f->store, f->arena, ID_A, "digest-2", &log, &f->err),
                     ERR_NOT_FOUND);
}

/* A log is kept as long as it is used, and is asked for again when it is gone. */
static void unused_event_log_is_pruned(void **state)
{
    struct fixture *f = *state;
    const int64_t day = INT64_C(86400000);
    enroll_a(f);
    struct report_new later = report_of(f, 2);
    later.report.received_at = T0 + 3 * day;
    later.log = (struct bytes){0};
    put_report(f, &later);
    struct store_prune in = {.now = T0 + 4 * day, .reports_ms = 2 * day, .limit = 10};
    struct store_pruned out;
    MUST(f, DO(f, store_prune, &in, &out));
    assert_int_equal(out.reports, 1);
    assert_int_equal(out.logs, 0);
    in.now = T0 + 6 * day;
    MUST(f, DO(f, store_prune, &in, &out));
    assert_int_equal(out.reports, 1);
    assert_int_equal(out.logs, 1);
    struct bytes log;
    assert_int_equal(store_get_log(f->store, f->arena, ID_A, "d1", &log, &f->err), ERR_NOT_FOUND);
    struct report_new last = report_of(f, 3);
    struct report_stored stored;
    last.log = (struct bytes){0};
    assert_int_equal(DO(f, store_put_report, &last, &stored), ERR_EVENT_LOG_REQUIRED);
    last.log = BYTES_STR("the event log");
    put_report(f, &last);
}

static void report_wakes_the_waiting_job(void **state)
{
    struct fixture *f = *state;
    put_vm(f, VM("a"), ID_A);
    put_token(f, "token-a", VM("a"));
    submit_for(f, "a");
    struct job j = claim_one(f, T0);
    struct job_advance in = advance_of(&j, T0);
    in.set = JOB_SET_STATE | JOB_SET_WAKE | JOB_RELEASE;
    in.state = JOB_WAITING;
    in.wake_key = "vm:" ID_A;
    in.due_at = T0 + 1800000;
    MUST(f, DO(f, store_advance_job, &in, NULL));

    struct report_new report = report_of(f, 1);
    report.enrollment_hash = "token-a";
    report.wake_key = "vm:" ID_A;
    assert_int_equal(put_report(f, &report).woken, 1);
    j = claim_one(f, T0 + 1);
    assert_string_equal(j.wake_key, "vm:" ID_A);

    /* While it is leased: not taken away, but due at its release. */
    report = report_of(f, 2);
    report.wake_key = "vm:" ID_A;
    assert_int_equal(put_report(f, &report).woken, 1);
    assert_int_equal(claim(f, T0 + 3, 1).n, 0);
    in = advance_of(&j, T0 + 4);
    in.set = JOB_RELEASE;
    in.due_at = T0 + 1800000;
    struct job_advanced out;
    MUST(f, DO(f, store_advance_job, &in, &out));
    assert_true(out.woken);
    j = claim_one(f, T0 + 4);
    finish_job(f, &j, JOB_SUCCEEDED, T0 + 5);
    report = report_of(f, 3);
    report.wake_key = "vm:" ID_A;
    assert_int_equal(put_report(f, &report).woken, 0);
}

static void new_vm_id_drops_what_belonged_to_the_old_one(void **state)
{
    struct fixture *f = *state;
    enroll_a(f);
    put_vm(f, VM("a"), ID_A); /* the same one again: kept */
    assert_string_equal(get_vm(f, VM("a")).ak_spki, AK_A);
    put_vm(f, VM("a"), ID_B);
    struct vm vm = get_vm(f, VM("a"));
    assert_string_equal(vm.vm_id, ID_B);
    assert_null(vm.ak_spki);
    assert_null(vm.claims);
    assert_null(vm.last_report_id);
    assert_int_equal(vm.last_report_at, 0);
    assert_int_equal(vm.status, VM_UNKNOWN);

    /* A vmId that turns up elsewhere has moved. */
    put_vm(f, VM("moved"), ID_B);
    assert_null(get_vm(f, VM("a")).vm_id);
    assert_string_equal(get_vm(f, VM("moved")).vm_id, ID_B);
}

static void registry_writes(void **state)
{
    struct fixture *f = *state;
    put_vm(f, VM("a"), ID_A);
    struct vm before = get_vm(f, VM("a"));
    struct vm_put in = {.vm = {.resource_id = VM("A"), .set = VM_SET_STATE, .state = "deleting"},
                        .if_etag = "stale",
                        .now = T0 + 9,
                        .audit = audit_of("vm.change", VM("a"))};
    assert_int_equal(DO(f, store_put_vm, &in, NULL), ERR_PRECONDITION_FAILED);
    in.if_etag = before.etag;
    MUST(f, DO(f, store_put_vm, &in, NULL));
    struct vm after = get_vm(f, VM("a"));
    assert_string_equal(after.state, "deleting");
    assert_string_equal(after.vm_id, ID_A); /* what was not set is kept */
    assert_true(after.secure_boot);
    assert_string_equal(after.location, "westeurope");
    assert_string_equal(after.resource_id, VM("a"));
    assert_int_equal(after.created_at, T0);
    assert_int_equal(after.updated_at, T0 + 9);
    assert_string_not_equal(after.etag, before.etag);

    put_token(f, "token-a", VM("a"));
    in.if_etag = NULL;
    in.vm.set = VM_DELETE;
    MUST(f, DO(f, store_put_vm, &in, NULL));
    assert_int_equal(store_get_vm(f->store, f->arena, VM("a"), &after, &f->err), ERR_NOT_FOUND);
    struct enrollment en;
    assert_int_equal(store_get_enrollment(f->store, f->arena, "token-a", &en, &f->err),
                     ERR_NOT_FOUND);
    assert_int_equal(DO(f, store_put_vm, &in, NULL), ERR_NOT_FOUND);
    in.vm.set = VM_SET_STATE | VM_ONLY_IF_THERE;
    assert_int_equal(DO(f, store_put_vm, &in, NULL), ERR_NOT_FOUND);
    struct enrollment_put none = {.hash = "x", .resource_id = VM("a"), .audit = audit_of("e", "")};
    assert_int_equal(DO(f, store_put_enrollment, &none, NULL), ERR_NOT_FOUND);

    put_vm(f, VM("a"), ID_A);
    assert_string_not_equal(get_vm(f, VM("a")).etag, before.etag);
}

static void history_is_paged_newest_first(void **state)
{
    struct fixture *f = *state;
    enroll_a(f);
    for (int i = 2; i <= 7; i++) {
        struct report_new in = report_of(f, i);
        put_report(f, &in);
    }
    struct page page = {.limit = 3};
    int next = 7;
    for (bool more = true; more;) {
        struct report_list list;
        MUST(f, store_list_reports(f->store, f->arena, ID_A, &page, &list, &f->err));
        for (size_t i = 0; i < list.n; i++)
            assert_string_equal(list.items[i].id, arena_printf(f->arena, "0190-%04d", next--));
        more = list.more;
        page.after = list.items[list.n - 1].id;
        struct report_new newer = report_of(f, 100 - next);
        put_report(f, &newer);
    }
    assert_int_equal(next, 0);
    struct report_list none;
    MUST(f, store_list_reports(f->store, f->arena, ID_B, &page, &none, &f->err));
    assert_int_equal(none.n, 0);
}

/* ---- reports that say the same ---- */

static void assert_report(struct fixture *f, int n, const char *checks, const char *digest)
{
    struct report r;
    const char *id = arena_printf(f->arena, "0190-%04d", n);
    MUST(f, store_get_report(f->store, f->arena, id, RG, &r, &f->err));
    assert_string_equal(r.id, id);
    assert_string_equal(r.checks, checks);
    assert_string_equal(r.claims, "{\"secureBoot\":true}");
    assert_string_equal(r.log_digest, digest);
    assert_string_equal(r.resource_id, VM("a"));
    assert_string_equal(r.vm_id, ID_A);
    assert_string_equal(r.ak_spki, AK_A);
    assert_int_equal(r.clock_ms, 1000 + n);
    assert_int_equal(r.received_at, T0 + n);
}

static bool is_gone(struct fixture *f, int n)
{
    struct report r;
    const char *id = arena_printf(f->arena, "0190-%04d", n);
    return store_get_report(f->store, f->arena, id, NULL, &r, &f->err) == ERR_NOT_FOUND;
}

static struct report_new report_saying(struct fixture *f, int n, const char *checks,
                                       const char *digest)
{
    struct report_new in = report_of(f, n);
    in.report.checks = checks;
    in.report.log_digest = digest;
    return in;
}

#define SAME    "[{\"name\":\"quote.nonce\",\"status\":\"pass\"}]"
#define ANOTHER "[]"

static const struct {
    const char *checks, *digest;
} said[] = {{SAME, "d1"},    {SAME, "d1"}, {SAME, "d1"}, {ANOTHER, "d1"},
            {ANOTHER, "d2"}, {SAME, "d1"}, {SAME, "d1"}, {SAME, "d1"}};
enum { SAID = ARRAY_LEN(said) };

static void put_all_said(struct fixture *f)
{
    enroll_a(f);
    for (int n = 2; n <= SAID; n++) {
        struct report_new in = report_saying(f, n, said[n - 1].checks, said[n - 1].digest);
        put_report(f, &in);
    }
}

/* Those below `left` are gone. */
static void assert_left(struct fixture *f, int left)
{
    for (int n = 1; n < left; n++)
        assert_true(is_gone(f, n));
    for (int n = left; n <= SAID; n++)
        assert_report(f, n, said[n - 1].checks, said[n - 1].digest);
}

static void prune_below(struct fixture *f, int left, int count)
{
    struct store_prune in = {.now = T0 + 1000 + left, .reports_ms = 1000, .limit = 10};
    struct store_pruned out;
    MUST(f, DO(f, store_prune, &in, &out));
    assert_int_equal(out.reports, count);
}

/* Each report says what it said, whatever stood before it is deleted. */
static void a_report_keeps_what_it_said(void **state)
{
    struct fixture *f = *state;
    put_all_said(f);
    for (int left = 1; left <= SAID; left++) {
        assert_left(f, left);
        prune_below(f, left + 1, 1);
    }
}

static void many_deleted_at_once_hand_on_what_they_said(void **state)
{
    struct fixture *f = *state;
    static const int lefts[] = {3, 5, 8};
    put_all_said(f);
    for (size_t i = 0; i < ARRAY_LEN(lefts); i++) {
        prune_below(f, lefts[i], lefts[i] - (i ? lefts[i - 1] : 1));
        assert_left(f, lefts[i]);
    }
}

/* A guest may report as often as it likes: the newest stay, and of each hour one with each verdict. */
static void reports_of_one_vm_are_bounded(void **state)
{
    struct fixture *f = *state;
    enum { HELD = 4, SENT = 20, BAD = 3 };
    fixture_stop(f);
    struct store_options o = {.dir = f->dir, .migrate = true, .reports_per_vm = HELD};
    MUST(f, store_open(&o, &f->store, &f->err));
    enroll_a(f); /* the first trusted one of its hour */
    static const struct audit audit = {.action = "attestation.report"};
    for (int n = 2; n <= SENT; n++) {
        struct report_new in = report_of(f, n);
        in.audit = &audit;
        in.report.verdict = n == BAD || n == BAD + 2 ? "untrusted" : "trusted";
        put_report(f, &in);
    }
    for (int n = 1; n <= SENT; n++) {
        bool kept = n == 1 || n == BAD || n > SENT - HELD;
        if (kept)
            assert_report(f, n, SAME, "d1");
        assert_int_equal(is_gone(f, n), !kept);
    }
    struct audit_list list;
    size_t rows = 0;
    MUST(f, store_list_audit(f->store, f->arena, 0, 100, &list, &f->err));
    for (size_t i = 0; i < list.n; i++)
        rows += strcmp(list.items[i].a.action, "attestation.report") == 0;
    assert_int_equal(rows, HELD + 1); /* the enrolling report has none in this test */

    struct report_new next = report_of(f, SENT + 1); /* another hour: its first one stays, too */
    next.report.received_at += 3600000;
    put_report(f, &next);
    for (int n = 0; n < HELD; n++) {
        struct report_new in = report_of(f, SENT + 2 + n);
        in.report.received_at += 3600000;
        put_report(f, &in);
    }
    assert_false(is_gone(f, SENT + 1));
    assert_true(is_gone(f, SENT));
    assert_report(f, BAD, SAME, "d1");
}

/* Surplus goes by lots, and what those said that a kept or a newer one stands on stays. */
static void surplus_goes_by_lots(void **state)
{
    struct fixture *f = *state;
    enum { HELD = 96, LOT = 3, SENT = 150, ODD = 40, BAD = 20 };
    fixture_stop(f);
    struct store_options o = {.dir = f->dir, .migrate = true, .reports_per_vm = HELD};
    MUST(f, store_open(&o, &f->store, &f->err));
    enroll_a(f);
    for (int n = 2; n <= SENT; n++) {
        struct report_new in = report_saying(f, n, n < ODD ? SAME : ANOTHER, "d1");
        in.report.verdict = n == BAD ? "untrusted" : "trusted"; /* the first: kept */
        put_report(f, &in);
        int gone = (n - HELD) / LOT * LOT;
        assert_int_equal(is_gone(f, 2), gone >= 2);
        if (gone > 2) {
            assert_true(is_gone(f, gone == BAD ? gone - 1 : gone));
            assert_report(f, gone + 1, gone + 1 < ODD ? SAME : ANOTHER, "d1");
        }
        assert_report(f, 1, SAME, "d1");
        if (n >= BAD)
            assert_report(f, BAD, SAME, "d1");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(enrolment_pins_and_is_used_up),
        STORE_TEST(strangers_change_nothing),
        STORE_TEST(challenge_is_used_once),
        STORE_TEST(racing_reports_share_no_challenge),
        STORE_TEST(failing_evidence_with_a_token_pins_nothing),
        STORE_TEST(another_enrolment_replaces_the_pin),
        STORE_TEST(a_shared_ak_quarantines_both),
        STORE_TEST(a_changed_ak_waits_for_a_decision),
        STORE_TEST(what_a_former_pin_vouched_for_is_judged_again),
        STORE_TEST(a_dismissed_key_has_no_token_left),
        STORE_TEST(a_job_s_token_never_replaces_a_pin),
        STORE_TEST(a_shared_ek_quarantines_both),
        STORE_TEST(clock_is_decided_again),
        STORE_TEST(event_log_is_stored_once_per_vm),
        STORE_TEST(event_logs_of_one_vm_are_bounded),
        STORE_TEST(unused_event_log_is_pruned),
        STORE_TEST(report_wakes_the_waiting_job),
        STORE_TEST(new_vm_id_drops_what_belonged_to_the_old_one),
        STORE_TEST(registry_writes),
        STORE_TEST(history_is_paged_newest_first),
        STORE_TEST(a_report_keeps_what_it_said),
        STORE_TEST(many_deleted_at_once_hand_on_what_they_said),
        STORE_TEST(surplus_goes_by_lots),
        STORE_TEST(reports_of_one_vm_are_bounded),
    };
    return cmocka_run_group_tests_name("store: attestation", tests, NULL, NULL);
}
