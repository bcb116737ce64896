/* The pure half of a job: what a step asks for, and what it makes of each answer. */
#include "core/cleanup.h"
#include "jobs/enrollment.h"
#include "jobs/workflow.h"
#include "openapi/schemas.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SUB      "00000000-0000-0000-0000-000000000001"
#define ENDPOINT "https://arm.test"
#define JOB      "0197a3d2-5c1e-7b44-9a10-0c7d2f6b8e01"
#define OLD_JOB  "0197a3d2-5c1e-7b44-9a10-0c7d2f6b8e00"
#define NOW      INT64_C(1790000000000)
#define SPEC(more)                                                                                 \
    "{\"location\":\"westeurope\",\"size\":\"Standard_D2s_v5\",\"osType\":\"Linux\",\"image\":{"   \
    "\"publisher\":\"Canonical\",\"offer\":\"off\",\"sku\":\"sku\",\"version\":\"1.0.0\"},"        \
    "\"admin\":{\"username\":\"azureuser\",\"password\":\"Canary-Passw0rd-1\"}" more "}"
#define OURS             "\"tags\":{\"Tlgate-Job\":\"" JOB "\"}"
#define ERROR_BODY(code) "{\"error\":{\"code\":\"" code "\",\"message\":\"text\"}}"

static const struct jobs_vm_ref ref = {SUB, "rg", "web-01"};

struct bench {
    struct arena *arena;
    struct job job;
    struct vm_secrets secrets;
    struct work work;
    struct job_step row;
    struct step_vars vars;
    const struct step_def *def;
    struct step_next next;
};

static struct vm_spec *spec_of(struct arena *a, const char *text)
{
    struct vm_spec *spec = ARENA_NEW(a, struct vm_spec);
    struct err_info e = {0};
    enum err err = json_decode_text(BYTES_STR(text), &vm_spec_schema, a, spec, &e);
    if (err)
        print_error("%s %s\n", e.fields[0].pointer, e.fields[0].detail);
    assert_int_equal(err, OK);
    return spec;
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    b->arena = arena_new();
    b->job = (struct job){.id = JOB, .kind = KIND_VM_PUT, .created_at = NOW};
    b->secrets = (struct vm_secrets){.owner = JOB,
                                     .password = "Canary-Passw0rd-1",
                                     .gateway = "https://gateway.test",
                                     .token = "token"};
    b->work = (struct work){.arena = b->arena,
                            .job = &b->job,
                            .plan = vm_plan_of(b->arena, &ref, spec_of(b->arena, SPEC(""))),
                            .secrets = &b->secrets,
                            .vars = {.owner = JOB, .new_vm = true},
                            .endpoint = ENDPOINT,
                            .now = NOW,
                            .random = 7};
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    arena_free(b->arena);
    free(b);
    return 0;
}

static void take(struct bench *b, const char *kind, const char *step)
{
    b->def = workflow_step(workflow_find(kind), step);
    assert_non_null(b->def);
    b->row = (struct job_step){.name = step};
    b->vars = (struct step_vars){0};
}

/* The verb of the next request; its body is checked to be JSON. */
static enum step_verb build(struct bench *b, bool undo, enum arm_method method, const char *part)
{
    struct step_request q;
    step_build(&b->work, b->def, &b->row, &b->vars, undo, &q);
    assert_int_equal(q.method, method);
    assert_non_null(strstr(q.target, part));
    if (q.body.len > 0) {
        AUTO(json) json_t *v = NULL;
        assert_int_equal(json_parse(buf_bytes(&q.body), &v, NULL), OK);
    }
    buf_free(&q.body);
    return q.verb;
}

struct answer {
    int status;
    const char *body;
    const char *async;
    const char *location;
    int64_t retry_after; /* ms; 0: absent */
    enum arm_failure failure;
};

static enum next_kind answer(struct bench *b, bool undo, enum step_verb verb, struct answer a)
{
    struct arm_reply r = ARM_REPLY_INIT;
    r.status = a.status;
    r.failure = a.failure;
    r.async_operation = a.async;
    r.location = a.location;
    if (a.body)
        r.body = BYTES_STR(a.body);
    if (a.retry_after)
        r.retry_after_ms = a.retry_after;
    step_read(&b->work, b->def, &b->row, &b->vars, undo, verb, &r, &b->next);
    return b->next.kind;
}

static void looks_then_sends_then_polls(void **state)
{
    struct bench *b = *state;
    take(b, KIND_VM_PUT, "networkInterface");
    assert_int_equal(build(b, false, ARM_GET, "/networkInterfaces/web-01-nic?"), VERB_LOOK);
    assert_int_equal(
        answer(b, false, VERB_LOOK, (struct answer){404, .body = ERROR_BODY("ResourceNotFound")}),
        NEXT_BUILD);
    assert_int_equal(build(b, false, ARM_PUT, "api-version=" API_NETWORK), VERB_SEND);
    b->row.intent_method = "PUT";
    assert_int_equal(answer(b, false, VERB_SEND,
                            (struct answer){201,
                                            .body = "{\"properties\":{\"provisioningState\":"
                                                    "\"Updating\"}}",
                                            .async = ENDPOINT "/op/1", .retry_after = 3000}),
                     NEXT_WAIT);
    assert_true(b->row.created);
    assert_string_equal(b->row.poll_url, ENDPOINT "/op/1");
    assert_int_equal(b->next.due_at, NOW + 3000);
    assert_int_equal(build(b, false, ARM_GET, "/op/1"), VERB_POLL);
    assert_int_equal(
        answer(b, false, VERB_POLL,
               (struct answer){200, .body = "{\"status\":\"InProgress\"}", .retry_after = 2000}),
        NEXT_WAIT);
    assert_int_equal(b->next.due_at, NOW + 2000);
    assert_int_equal(
        answer(b, false, VERB_POLL, (struct answer){200, .body = "{\"status\":\"Succeeded\"}"}),
        NEXT_DONE);
    assert_null(b->row.poll_url);
}

static void poll_url_of_another_host_is_refused(void **state)
{
    struct bench *b = *state;
    take(b, KIND_VM_PUT, "networkInterface");
    b->vars.absent = true;
    b->row.intent_method = "PUT";
    assert_int_equal(answer(b, false, VERB_SEND,
                            (struct answer){201, .body = "{}", .async = "https://evil.test/op/1"}),
                     NEXT_FAIL);
    assert_null(b->row.poll_url);
}

static void resource_with_our_tag_is_adopted(void **state)
{
    struct bench *b = *state;
    take(b, KIND_VM_PUT, "virtualMachine");
    b->row.intent_method = "PUT";
    b->vars.absent = true;
    assert_int_equal(
        answer(b, false, VERB_LOOK,
               (struct answer){200, .body = "{" OURS ",\"properties\":{\"provisioningState\":"
                                            "\"Succeeded\",\"vmId\":\"v-1\"}}"}),
        NEXT_DONE);
    assert_true(b->row.created);
    assert_string_equal(b->work.vm_id, "v-1");
}

static void unfinished_one_of_ours_is_polled(void **state)
{
    struct bench *b = *state;
    take(b, KIND_VM_PUT, "virtualMachine");
    assert_int_equal(
        answer(b, false, VERB_LOOK,
               (struct answer){
                   200, .body = "{" OURS ",\"properties\":{\"provisioningState\":\"Creating\"}}"}),
        NEXT_WAIT);
    assert_int_equal(build(b, false, ARM_GET, ENDPOINT "/subscriptions/"), VERB_POLL);
    assert_int_equal(
        answer(b, false, VERB_POLL,
               (struct answer){200, .body = "{\"properties\":{\"provisioningState\":\"Succeeded\","
                                            "\"vmId\":\"v-1\"}}"}),
        NEXT_DONE);
    assert_string_equal(b->work.vm_id, "v-1");
}

static void strangers_and_unmarked_ones_are_refused(void **state)
{
    struct bench *b = *state;
    static const char *const bodies[] = {
        "{\"properties\":{}}", "{\"tags\":{\"tlgate-job\":\"" OLD_JOB "\"},\"properties\":{}}",
        "{\"tags\":{\"tlgate-job\":7}}", "[]", "not json"};
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        take(b, KIND_VM_PUT, "virtualMachine");
        assert_int_equal(answer(b, false, VERB_LOOK, (struct answer){200, .body = bodies[i]}),
                         NEXT_FAIL);
        assert_int_equal(b->next.error.code, ERR_RESOURCE_FOREIGN);
        assert_false(b->row.created);
    }
}

static void existing_group_and_named_network_are_used(void **state)
{
    struct bench *b = *state;
    take(b, KIND_VM_PUT, "resourceGroup");
    assert_int_equal(answer(b, false, VERB_LOOK, (struct answer){200, .body = "{}"}), NEXT_DONE);
    assert_false(b->row.created);
    take(b, KIND_VM_PUT, "resourceGroup");
    const char *going = "{\"properties\":{\"provisioningState\":\"Deleting\"}}";
    assert_int_equal(answer(b, false, VERB_LOOK, (struct answer){200, .body = going}), NEXT_WAIT);
    assert_int_equal(build(b, false, ARM_GET, "/resourceGroups/rg?"), VERB_LOOK);
    take(b, KIND_VM_PUT, "virtualNetwork");
    assert_int_equal(answer(b, false, VERB_LOOK, (struct answer){200, .body = "{}"}), NEXT_FAIL);
    b->work.plan = vm_plan_of(
        b->arena, &ref,
        spec_of(b->arena, SPEC(",\"network\":{\"virtualNetwork\":{\"name\":\"shared\"}}")));
    take(b, KIND_VM_PUT, "virtualNetwork");
    assert_int_equal(build(b, false, ARM_GET, "/virtualNetworks/shared?"), VERB_LOOK);
    assert_int_equal(answer(b, false, VERB_LOOK, (struct answer){200, .body = "{}"}), NEXT_DONE);
    assert_false(b->row.created);
}

static void throttle_and_conflict_cost_no_failure(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 100; i++) {
        take(b, KIND_VM_PUT, "networkInterface");
        b->vars.absent = true;
        assert_int_equal(answer(b, false, VERB_SEND,
                                (struct answer){429, .body = ERROR_BODY("TooManyRequests"),
                                                .retry_after = 7000}),
                         NEXT_WAIT);
        assert_true(b->next.due_at >= NOW + 7000);
        assert_true(b->next.throttled);
        assert_int_equal(b->vars.failures, 0);
        assert_int_equal(
            answer(b, false, VERB_SEND,
                   (struct answer){409, .body = ERROR_BODY("AnotherOperationInProgress")}),
            NEXT_WAIT);
        assert_int_equal(b->vars.failures, 0);
    }
}

static void transient_failures_back_off_and_end(void **state)
{
    struct bench *b = *state;
    int64_t last = 0;
    int tries = 0;
    take(b, KIND_VM_PUT, "networkInterface");
    b->vars.absent = true;
    while (answer(b, false, VERB_SEND, (struct answer){503, .body = ERROR_BODY("Busy")}) ==
           NEXT_WAIT) {
        int64_t wait = b->next.due_at - NOW;
        assert_true(wait >= 1000 && wait <= 5 * 60 * 1000);
        b->work.random = 0xfffffff0u; /* the upper end: it grows */
        last = wait;
        assert_true(++tries < 50);
        assert_int_equal(build(b, false, ARM_GET, "web-01-nic"), VERB_LOOK);
    }
    assert_true(tries == 8 && last > 0);
    assert_int_equal(b->next.kind, NEXT_FAIL);
}

static void permanent_errors_fail_at_once(void **state)
{
    struct bench *b = *state;
    static const struct {
        int status;
        const char *body;
        const char *reason;
    } rows[] = {
        {403, ERROR_BODY("RequestDisallowedByPolicy"), "denied_by_policy"},
        {409, ERROR_BODY("QuotaExceeded"), "quota_exceeded"},
        {400,
         "{\"error\":{\"code\":\"BadRequest\",\"message\":\"The VM size 'x' is not supported for "
         "creation of VMs and Virtual Machine Scale Set with 'TrustedLaunch' security type. For "
         "more information, see https://aka.ms/TrustedLaunch-FAQ\"}}",
         "size_not_trusted_launch"},
        {400,
         "{\"error\":{\"code\":\"BadRequest\",\"message\":\"The provided gallery image only "
         "supports creation of VMs and VM Scale Sets with 'TrustedLaunch' security type.\"}}",
         "image_requires_trusted_launch"},
        {400,
         "{\"error\":{\"code\":\"InvalidParameter\",\"message\":\"The value of parameter "
         "securityProfile.securityType is invalid.\"}}",
         "standard_not_registered"},
        {404,
         "{\"error\":{\"code\":\"ArtifactNotFound\",\"message\":\"The VM extension with publisher "
         "'Microsoft.Azure.Security.WindowsAttestation' and type 'GuestAttestation' could not be "
         "found.\"}}",
         "extension_not_available"},
        {409, ERROR_BODY("VMExtensionProvisioningError"), "extension_failed"},
        {409, ERROR_BODY("OSProvisioningTimedOut"), "os_provisioning_failed"},
        {409, ERROR_BODY("ReadOnlyDisabledSubscription"), "subscription_disabled"},
        {409, ERROR_BODY("SubscriptionNotRegistered"), "provider_not_registered"},
        {409, ERROR_BODY("PropertyChangeNotAllowed"), "change_not_supported"},
        {400, ERROR_BODY("PublicIPCountLimitReached"), "quota_exceeded"},
        {400, ERROR_BODY("SubnetIsFull"), "subnet_full"},
        {400, ERROR_BODY("InvalidResourceReference"), "reference_not_found"},
        {400, "{\"error\":{\"code\":\"Riddle\",\"message\":\"text\"}}", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        take(b, KIND_VM_PUT, "virtualMachine");
        b->vars.absent = true;
        enum next_kind kind = NEXT_WAIT;
        for (int n = 0; n < 5 && kind == NEXT_WAIT; n++)
            kind =
                answer(b, false, VERB_SEND, (struct answer){rows[i].status, .body = rows[i].body});
        assert_int_equal(kind, NEXT_FAIL);
        if (rows[i].reason)
            assert_string_equal(b->next.reason, rows[i].reason);
        assert_true(b->next.error.remedy[0] != 0);
    }
}

static void no_capacity_gets_few_tries(void **state)
{
    struct bench *b = *state;
    int tries = 0;
    take(b, KIND_VM_PUT, "virtualMachine");
    b->vars.absent = true;
    while (answer(b, false, VERB_SEND,
                  (struct answer){409, .body = ERROR_BODY("SkuNotAvailable")}) == NEXT_WAIT)
        assert_true(++tries < 10);
    assert_int_equal(tries, 2);
    assert_string_equal(b->next.reason, "no_capacity");
}

static void a_lost_precondition_looks_again(void **state)
{
    struct bench *b = *state;
    struct step_request q;
    take(b, KIND_VM_PUT, "virtualMachine");
    b->vars.absent = true;
    b->vars.go = true;
    step_build(&b->work, b->def, &b->row, &b->vars, false, &q);
    assert_string_equal(q.if_none_match, "*");
    buf_free(&q.body);
    assert_int_equal(
        answer(b, false, VERB_SEND, (struct answer){412, .body = ERROR_BODY("PreconditionFailed")}),
        NEXT_BUILD);
    assert_int_equal(build(b, false, ARM_GET, "/virtualMachines/web-01?"), VERB_LOOK);
}

static void failed_resource_is_sent_again_without_password(void **state)
{
    struct bench *b = *state;
    struct step_request q;
    take(b, KIND_VM_PUT, "virtualMachine");
    b->vars.absent = true;
    b->row.intent_method = "PUT";
    assert_int_equal(
        answer(b, false, VERB_LOOK,
               (struct answer){200, .body = "{" OURS
                                            ",\"properties\":{\"provisioningState\":\"Failed\"}}"}),
        NEXT_BUILD);
    b->secrets.password = NULL; /* as the engine leaves it for one that exists */
    step_build(&b->work, b->def, &b->row, &b->vars, false, &q);
    assert_int_equal(q.verb, VERB_SEND);
    assert_null(q.if_none_match);
    assert_null(strstr(q.body.data, "adminPassword"));
    buf_free(&q.body);
}

static void change_is_a_patch_without_secrets(void **state)
{
    struct bench *b = *state;
    struct step_request q;
    b->work.vars = (struct vm_vars){.owner = OLD_JOB, .changes = CHANGE_TAGS};
    take(b, KIND_VM_PUT, "virtualMachine");
    assert_int_equal(
        answer(b, false, VERB_LOOK,
               (struct answer){
                   200, .body = "{\"tags\":{\"tlgate-job\":\"" OLD_JOB
                                "\"},\"properties\":{\"provisioningState\":\"Succeeded\"}}"}),
        NEXT_BUILD);
    step_build(&b->work, b->def, &b->row, &b->vars, false, &q);
    assert_int_equal(q.method, ARM_PATCH);
    assert_null(strstr(q.body.data, "osProfile"));
    assert_false(b->row.created);
    buf_free(&q.body);
    take(b, KIND_VM_PUT, "networkInterface");
    assert_int_equal(
        answer(b, false, VERB_LOOK,
               (struct answer){200, .body = "{\"tags\":{\"tlgate-job\":\"" OLD_JOB "\"}}"}),
        NEXT_DONE);
}

static void removal_takes_only_ours(void **state)
{
    struct bench *b = *state;
    b->work.vm_id = "v-1";
    take(b, KIND_VM_DELETE, "virtualMachine");
    assert_int_equal(
        answer(b, false, VERB_LOOK,
               (struct answer){200, .body = "{" OURS ",\"properties\":{\"vmId\":\"v-2\"}}"}),
        NEXT_DONE);
    assert_true(b->vars.kept);
    take(b, KIND_VM_DELETE, "networkInterface");
    assert_int_equal(answer(b, false, VERB_LOOK, (struct answer){200, .body = "{}"}), NEXT_DONE);
    assert_true(b->vars.kept);
    take(b, KIND_VM_DELETE, "networkInterface");
    assert_int_equal(answer(b, false, VERB_LOOK, (struct answer){200, .body = "{" OURS "}"}),
                     NEXT_BUILD);
    assert_int_equal(build(b, false, ARM_DELETE, "/networkInterfaces/"), VERB_SEND);
    assert_int_equal(
        answer(b, false, VERB_SEND,
               (struct answer){202, .location = ENDPOINT "/op/2", .retry_after = 1000}),
        NEXT_WAIT);
    assert_int_equal(answer(b, false, VERB_POLL, (struct answer){202, .retry_after = 1000}),
                     NEXT_WAIT);
    assert_int_equal(answer(b, false, VERB_POLL, (struct answer){.status = 204}), NEXT_DONE);
    assert_false(b->vars.kept);
}

static void what_others_use_is_left(void **state)
{
    struct bench *b = *state;
    int tries = 0;
    take(b, KIND_VM_DELETE, "virtualNetwork");
    while (answer(b, false, VERB_SEND,
                  (struct answer){400, .body = ERROR_BODY("InUseSubnetCannotBeDeleted")}) ==
           NEXT_WAIT)
        assert_true(++tries < 10);
    assert_int_equal(b->next.kind, NEXT_DONE);
    assert_true(b->vars.kept);
}

/* Whatever Azure answers: where it tells how long to wait, nothing comes sooner. */
static void what_azure_tells_is_waited_for(void **state)
{
    enum { TOLD_MS = 40 * 60 * 1000 }; /* longer than any wait of its own */
    static const char deleting[] = "{" OURS ",\"properties\":{\"provisioningState\":\"Deleting\"}}";
    static const char updating[] = "{" OURS ",\"properties\":{\"provisioningState\":\"Updating\"}}";
    static const struct {
        bool removes;
        enum step_verb verb;
        struct answer answer;
    } table[] = {
        {true, VERB_SEND, {.status = 400, .body = ERROR_BODY("InUseSubnetCannotBeDeleted")}},
        {true, VERB_SEND, {.status = 409, .body = ERROR_BODY("NicReservedForAnotherVm")}},
        {true, VERB_SEND, {.status = 409, .body = ERROR_BODY("AnotherOperationInProgress")}},
        {true, VERB_SEND, {.status = 503, .body = ERROR_BODY("ServiceUnavailable")}},
        {true, VERB_SEND, {.status = 429, .body = ERROR_BODY("TooManyRequests")}},
        {true, VERB_SEND, {.status = 202, .location = ENDPOINT "/op/2"}},
        {true, VERB_LOOK, {.status = 503}},
        {true, VERB_LOOK, {.status = 429}},
        {true, VERB_LOOK, {.status = 200, .body = deleting}},
        {false, VERB_LOOK, {.status = 503}},
        {false, VERB_LOOK, {.status = 409, .body = ERROR_BODY("Conflict")}},
        {false, VERB_LOOK, {.status = 200, .body = deleting}},
        {false, VERB_LOOK, {.status = 200, .body = updating}},
        {false, VERB_SEND, {.status = 409, .body = ERROR_BODY("Unheard")}},
        {false, VERB_SEND, {.status = 404, .body = ERROR_BODY("ResourceNotFound")}},
        {false, VERB_SEND, {.status = 409, .body = ERROR_BODY("AllocationFailed")}},
        {false, VERB_SEND, {.status = 500}},
        {false, VERB_SEND, {.status = 201, .body = "{}", .async = ENDPOINT "/op/2"}},
        {false, VERB_POLL, {.status = 200, .body = "{\"status\":\"InProgress\"}"}},
        {false, VERB_POLL, {.status = 404}},
        {false, VERB_POLL, {.status = 503}},
        {false, VERB_POLL, {.status = 429}},
        {false, VERB_POLL, {.status = 401}},
        {false, VERB_FETCH, {.status = 503}},
        {false, VERB_FETCH, {.status = 404}},
    };
    struct bench *b = *state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct answer told = table[i].answer;
        told.retry_after = TOLD_MS;
        take(b, table[i].removes ? KIND_VM_DELETE : KIND_VM_PUT, "networkInterface");
        if (table[i].verb == VERB_POLL)
            b->row.poll_url = ENDPOINT "/op/1", b->row.poll_kind = "async";
        if (answer(b, false, table[i].verb, told) != NEXT_WAIT || b->next.due_at < NOW + TOLD_MS ||
            b->row.poll_not_before < NOW + TOLD_MS)
            fail_msg("row %zu: %d, in %lld ms", i, (int)b->next.kind,
                     (long long)(b->next.due_at - NOW));
    }
}

static void undo_empties_no_group(void **state)
{
    struct bench *b = *state;
    take(b, KIND_VM_PUT, "resourceGroup");
    assert_int_equal(answer(b, true, VERB_LOOK, (struct answer){200, .body = "{" OURS "}"}),
                     NEXT_BUILD);
    assert_int_equal(build(b, true, ARM_GET, "/resourceGroups/rg/resources?"), VERB_LIST);
    assert_int_equal(
        answer(b, true, VERB_LIST, (struct answer){200, .body = "{\"value\":[{\"id\":\"x\"}]}"}),
        NEXT_DONE);
    assert_true(b->vars.kept);
    take(b, KIND_VM_PUT, "resourceGroup");
    answer(b, true, VERB_LOOK, (struct answer){200, .body = "{" OURS "}"});
    assert_int_equal(answer(b, true, VERB_LIST, (struct answer){200, .body = "{\"value\":[]}"}),
                     NEXT_BUILD);
    assert_int_equal(build(b, true, ARM_DELETE, "/resourceGroups/rg?"), VERB_SEND);
}

static void undo_knows_what_was_made(void **state)
{
    struct bench *b = *state;
    take(b, KIND_VM_PUT, "networkInterface");
    assert_false(step_needs_undo(&b->work, b->def, &b->row, &b->vars));
    b->row.created = true;
    assert_true(step_needs_undo(&b->work, b->def, &b->row, &b->vars));
    b->row.created = false;
    b->row.intent_method = "PUT"; /* sent, the answer was lost */
    assert_false(step_needs_undo(&b->work, b->def, &b->row, &b->vars));
    b->vars.absent = true;
    assert_true(step_needs_undo(&b->work, b->def, &b->row, &b->vars));
    take(b, KIND_VM_PUT, "guestAttestation");
    b->row.created = true;
    assert_false(step_needs_undo(&b->work, b->def, &b->row, &b->vars));
    b->work.vars.new_vm = false;
    assert_true(step_needs_undo(&b->work, b->def, &b->row, &b->vars));
}

static void a_gone_operation_leads_to_a_look(void **state)
{
    struct bench *b = *state;
    take(b, KIND_VM_PUT, "networkInterface");
    b->row.poll_url = ENDPOINT "/op/1";
    b->row.poll_kind = arm_lro_kind_name(ARM_LRO_ASYNC);
    b->vars.accepted_at = NOW - ARM_POLL_GRACE_MS - 1;
    assert_int_equal(
        answer(b, false, VERB_POLL, (struct answer){404, .body = ERROR_BODY("NotFound")}),
        NEXT_WAIT);
    assert_int_equal(build(b, false, ARM_GET, "web-01-nic?"), VERB_LOOK);
}

/* ---- the plan ---- */

static void specs_survive_storage_without_their_password(void **state)
{
    struct bench *b = *state;
    struct vm_spec *spec = spec_of(b->arena, SPEC(",\"tags\":{\"a\":\"b\"},\"inboundPorts\":[22]"));
    struct buf out = {0};
    struct jw w = jw_over(&out);
    json_encode(&w, &vm_spec_schema, spec);
    assert_null(strstr(out.data, "Canary"));
    struct vm_spec *again = spec_load(b->arena, out.data);
    assert_non_null(again);
    assert_int_equal(vm_changes(b->arena, &ref, out.data, spec), 0);
    assert_true(vm_plan_of(b->arena, &ref, again)->has_password);
    assert_int_equal(vm_changes(b->arena, &ref, out.data, spec_of(b->arena, SPEC(""))),
                     CHANGE_TAGS | CHANGE_PORTS);
    buf_free(&out);
    assert_null(spec_load(b->arena, "{}"));
    assert_null(spec_load(b->arena, NULL));
}

static void security_is_always_explicit(void **state)
{
    struct bench *b = *state;
    static const struct {
        const char *more;
        const char *part;
        bool monitoring;
    } rows[] = {
        {"",
         "\"securityProfile\":{\"securityType\":\"TrustedLaunch\",\"uefiSettings\":{"
         "\"secureBootEnabled\":true,\"vTpmEnabled\":true}}",
         true},
        {",\"trustedLaunch\":{\"secureBoot\":false}",
         "\"uefiSettings\":{\"secureBootEnabled\":false,\"vTpmEnabled\":true}", false},
        {",\"securityType\":\"Standard\"", "\"securityProfile\":{\"securityType\":\"Standard\"}",
         false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out = {0};
        char text[1024];
        snprintf(text, sizeof text, SPEC("%s"), rows[i].more);
        const struct vm_plan *p = vm_plan_of(b->arena, &ref, spec_of(b->arena, text));
        vm_body_vm(p, &b->secrets, &out);
        assert_non_null(strstr(out.data, rows[i].part));
        assert_int_equal(p->monitoring, rows[i].monitoring);
        assert_int_equal(strstr(out.data, "SystemAssigned") != NULL, rows[i].monitoring);
        buf_free(&out);
    }
}

/* ---- enrolment tokens ---- */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void tokens_are_repeatable_and_bound(void **state)
{
    struct bench *b = *state;
    struct keyring *k;
    struct err_info e;
    char one[ENROLLMENT_TOKEN_SIZE];
    char two[ENROLLMENT_TOKEN_SIZE];
    char dir[] = "/tmp/tlgate-token-XXXXXX";
    assert_non_null(mkdtemp(dir));
    assert_int_equal(keyring_open(arena_printf(b->arena, "%s/k", dir), &k, &e), OK);
    uint32_t id = keyring_current(k, KEY_ENROLLMENT);
    assert_int_equal(enrollment_token(k, id, JOB, "/subscriptions/x/VM", one, &e), OK);
    assert_int_equal(enrollment_token(k, id, JOB, "/SUBSCRIPTIONS/X/vm", two, &e), OK);
    assert_string_equal(one, two);
    assert_int_equal(enrollment_check(k, one, "/subscriptions/x/vm", &e), OK);
    assert_int_equal(enrollment_check(k, one, "/subscriptions/x/vm2", &e), ERR_NOT_ENROLLED);
    for (size_t i = 0; one[i]; i++) {
        char bad[ENROLLMENT_TOKEN_SIZE];
        memcpy(bad, one, sizeof bad);
        bad[i] = bad[i] == 'A' ? 'B' : 'A';
        assert_int_equal(enrollment_check(k, bad, "/subscriptions/x/vm", &e), ERR_NOT_ENROLLED);
    }
    assert_int_equal(enrollment_check(k, "", "/subscriptions/x/vm", &e), ERR_NOT_ENROLLED);
    assert_int_equal(enrollment_token(k, id, "no uuid", "/x", two, &e), ERR_INTERNAL);

    /* As the store keeps it: in the order in which the jobs were made, whatever the text. */
    struct arena *a = arena_new();
    const char *last = enrollment_text(a, "no token");
    assert_string_equal(last, enrollment_text(a, "no token"));
    assert_string_not_equal(last, enrollment_text(a, "another"));
    for (int64_t at = 1; at < INT64_C(1) << 44; at *= 3) {
        char uuid[UUID_SIZE];
        uuid_v7(at, uuid);
        assert_int_equal(enrollment_token(k, id, uuid, "/x", two, &e), OK);
        const char *text = enrollment_text(a, two);
        assert_true(strcmp(last, text) < 0 || at == 1);
        assert_string_not_equal(last, text);
        last = text;
    }
    arena_free(a);
    keyring_free(k);
    nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(looks_then_sends_then_polls),
        TEST(poll_url_of_another_host_is_refused),
        TEST(resource_with_our_tag_is_adopted),
        TEST(unfinished_one_of_ours_is_polled),
        TEST(strangers_and_unmarked_ones_are_refused),
        TEST(existing_group_and_named_network_are_used),
        TEST(throttle_and_conflict_cost_no_failure),
        TEST(transient_failures_back_off_and_end),
        TEST(permanent_errors_fail_at_once),
        TEST(no_capacity_gets_few_tries),
        TEST(a_lost_precondition_looks_again),
        TEST(failed_resource_is_sent_again_without_password),
        TEST(change_is_a_patch_without_secrets),
        TEST(removal_takes_only_ours),
        TEST(what_others_use_is_left),
        TEST(what_azure_tells_is_waited_for),
        TEST(undo_empties_no_group),
        TEST(undo_knows_what_was_made),
        TEST(a_gone_operation_leads_to_a_look),
        TEST(specs_survive_storage_without_their_password),
        TEST(security_is_always_explicit),
        TEST(tokens_are_repeatable_and_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
