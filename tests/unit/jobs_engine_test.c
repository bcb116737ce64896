/* The engine on a real store and a real ARM client: what is sent, resumed, adopted, refused, undone. */
#include "arm/arm.h"
#include "core/cleanup.h"
#include "core/keyring.h"
#include "jobs/jobs.h"
#include "jobs/polls.h"
#include "jobs/workflow.h"
#include "openapi/schemas.h"

#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "tests/unit/jobs_cloud.h"

#define WAIT_MS  30000
#define PASSWORD "S3cret-Canary-Passw0rd"
#define SPEC(more)                                                                                 \
    "{\"location\":\"westeurope\",\"size\":\"Standard_D2s_v5\",\"osType\":\"Linux\",\"image\":{"   \
    "\"publisher\":\"Canonical\",\"offer\":\"off\",\"sku\":\"sku\",\"version\":\"1.0.0\"},"        \
    "\"admin\":{\"username\":\"azureuser\",\"password\":\"" PASSWORD "\"},"                        \
    "\"inboundPorts\":[22],\"createResourceGroup\":true" more "}"

/* A clock that can be set back and forth, and in which nothing takes long. */
#define RATE 20
static _Atomic int64_t wall_shift;
static int64_t wall_start, mono_start;

static int64_t mono_now(void *ctx)
{
    return mono_start + RATE * (clock_mono(&clock_system) - mono_start);
}

static int64_t wall_now(void *ctx)
{
    return wall_start + (mono_now(NULL) - mono_start) + atomic_load(&wall_shift);
}

static const struct clock test_clock = {.wall_ms = wall_now, .mono_ms = mono_now, .rate = RATE};

struct bench {
    char dir[64];
    struct cloud cloud;
    struct server *server;
    struct arm *arm;
    struct store *store;
    struct keyring *keyring;
    struct jobs *jobs;
    struct arena *arena;
    struct arm_identity identity;
    struct principal who;
    struct jobs_origin origin;
    struct err_info e;
};

static const struct jobs_vm_ref ref = {SUB, "rg", "web-01"};

#define MAX_AGE_MS (24 * 60 * 60 * 1000)

/* ---- bench ---- */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static void open_all(struct bench *b)
{
    struct store_options so = {.dir = b->dir, .migrate = true};
    struct arm_config ac = {.identities = &b->identity,
                            .n_identities = 1,
                            .ca_file = b->server->ca_file,
                            .proxy = "",
                            .clock = &test_clock};
    assert_int_equal(store_open(&so, &b->store, &b->e), OK);
    assert_int_equal(arm_start(&ac, &b->arm, &b->e), OK);
    struct jobs_config jc = {.store = b->store,
                             .arm = b->arm,
                             .keyring = b->keyring,
                             .clock = &test_clock,
                             .query_timeout_ms = RATE * 10000,
                             .max_age_ms = MAX_AGE_MS,
                             .public_url = "https://gateway.test"};
    assert_int_equal(jobs_start(&jc, &b->jobs, &b->e), OK);
}

/* drain 0: what is on the wire is forgotten, as in a kill. */
static void close_all(struct bench *b, int64_t drain_ms)
{
    jobs_stop(b->jobs, drain_ms);
    arm_stop(b->arm);
    store_close(b->store);
}

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    const char *base = getenv("TMPDIR");
    snprintf(b->dir, sizeof b->dir, "%s/tlgate-jobs-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(b->dir));
    b->arena = arena_new();
    atomic_store(&wall_shift, 0);
    b->cloud.clock = &test_clock;
    b->cloud.resources = json_object();
    b->cloud.operations = json_object();
    b->cloud.lro_polls = 1;
    b->server = server_start(cloud_answer, &b->cloud, "IP:127.0.0.1");
    b->identity = (struct arm_identity){.name = "main",
                                        .kind = ARM_CLIENT_SECRET,
                                        .tenant_id = "tenant",
                                        .client_id = "client",
                                        .client_secret = {"secret", 6},
                                        .endpoint = b->server->url,
                                        .authority = b->server->url};
    b->who = (struct principal){.id = "key-1", .name = "tester", .role = ROLE_ADMIN, .scope = "/"};
    b->origin = (struct jobs_origin){.who = &b->who,
                                     .operation = "put_virtual_machine",
                                     .request_id = "r1",
                                     .peer = "127.0.0.1"};
    assert_int_equal(keyring_open(arena_printf(b->arena, "%s/keyring", b->dir), &b->keyring, &b->e),
                     OK);
    open_all(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    close_all(b, 5000);
    server_stop(b->server);
    keyring_free(b->keyring);
    json_decref(b->cloud.resources);
    json_decref(b->cloud.operations);
    arena_free(b->arena);
    nftw(b->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(b);
    return 0;
}

static enum err submit_to(struct bench *b, const struct jobs_vm_ref *to, const char *spec_text,
                          struct jobs_submitted *out)
{
    struct store_waiter w;
    struct vm_spec *spec = ARENA_NEW(b->arena, struct vm_spec);
    assert_int_equal(json_decode_text(BYTES_STR(spec_text), &vm_spec_schema, b->arena, spec, &b->e),
                     OK);
    jobs_submit_vm_put(b->jobs, b->arena, &b->origin, to, spec, NULL, out, store_waiter_init(&w));
    return store_wait(&w, &b->e);
}

static enum err submit(struct bench *b, const char *spec_text, struct jobs_submitted *out)
{
    return submit_to(b, &ref, spec_text, out);
}

static enum err submit_delete(struct bench *b, struct jobs_submitted *out)
{
    struct store_waiter w;
    struct jobs_origin o = b->origin;
    o.operation = "delete_virtual_machine";
    jobs_submit_vm_delete(b->jobs, b->arena, &o, &ref, NULL, out, store_waiter_init(&w));
    return store_wait(&w, &b->e);
}

static struct job read_job(struct bench *b, const char *id)
{
    struct job job;
    assert_int_equal(store_get_job(b->store, b->arena, id, NULL, &job, &b->e), OK);
    return job;
}

struct ending {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool over;
    enum watch_event event;
};

static void on_end(struct jobs_watch *w, enum watch_event event)
{
    struct ending *n = w->ctx;
    pthread_mutex_lock(&n->lock);
    n->event = event;
    n->over = true;
    pthread_cond_signal(&n->cond);
    pthread_mutex_unlock(&n->lock);
}

static struct job finished(struct bench *b, const char *id)
{
    struct ending n = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, WATCH_CHANGED};
    struct jobs_watch w = {.job_id = id,
                           .once = true,
                           .until_ms = clock_mono(&test_clock) + RATE * WAIT_MS,
                           .fn = on_end,
                           .ctx = &n};
    jobs_watch(b->jobs, &w);
    pthread_mutex_lock(&n.lock);
    while (!n.over)
        pthread_cond_wait(&n.cond, &n.lock);
    pthread_mutex_unlock(&n.lock);
    struct job job = read_job(b, id);
    if (n.event != WATCH_ENDED)
        for (int i = 0; i < job.n_steps; i++)
            print_error("%s: %s %s\n", job.steps[i].name, step_state_text(job.steps[i].state),
                        job.steps[i].detail ? job.steps[i].detail : "");
    assert_int_equal(n.event, WATCH_ENDED);
    return job;
}

static void must_end(struct bench *b, const char *id, enum job_state state)
{
    struct job job = finished(b, id);
    if (job.state != state)
        print_error("%s: %s\n", job_state_text(job.state), job.error ? job.error : "");
    assert_int_equal(job.state, state);
}

static const char *error_of(struct bench *b, const char *id)
{
    struct job job = read_job(b, id);
    json_t *v = NULL;
    assert_non_null(job.error);
    assert_int_equal(json_parse(BYTES_STR(job.error), &v, NULL), OK);
    const char *code = arena_strdup(b->arena, json_path_str(v, "code"));
    json_decref(v);
    return code;
}

static json_t *resource(struct bench *b, const char *path)
{
    return json_object_get(b->cloud.resources, cloud_key(path));
}

static void wait_for_step(struct bench *b, const char *id, int seq, enum step_state state)
{
    for (int i = 0; i < 2000; i++) {
        if (read_job(b, id).steps[seq].state == state)
            return;
        usleep(5000);
    }
    fail_msg("step %d never came to state %s", seq, step_state_text(state));
}

/* ---- tests ---- */

static void create_makes_everything_and_marks_it(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    assert_false(s.replayed);
    must_end(b, s.job.id, JOB_SUCCEEDED);
    static const char *const ids[] = {RG,
                                      NET "networkSecurityGroups/web-01-nsg",
                                      NET "virtualNetworks/web-01-vnet",
                                      NET "networkInterfaces/web-01-nic",
                                      VM_ID,
                                      VM_ID "/extensions/GuestAttestation"};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        assert_non_null(resource(b, ids[i]));
        assert_string_equal(json_path_str(resource(b, ids[i]), "tags/tlgate-job"), s.job.id);
    }
    assert_int_equal(b->cloud.creates, 6);
    assert_int_equal(b->cloud.writes, 6);
    assert_int_equal(server_count(b->server, "/tenant/oauth2/"), 1);
    assert_string_equal(json_path_str(resource(b, VM_ID), "properties/osProfile/adminPassword"),
                        PASSWORD);
    struct vm vm;
    assert_int_equal(store_get_vm(b->store, b->arena, VM_ID, &vm, &b->e), OK);
    assert_string_equal(vm.vm_id, VMS_VMID);
    assert_string_equal(vm.state, "ready");
    assert_null(strstr(vm.spec, PASSWORD));
    assert_null(strstr(vm.made, "/extensions/") ? NULL : "no extension among what was made");
    struct job job = read_job(b, s.job.id);
    assert_non_null(strstr(job.result, VMS_VMID));
    struct bytes sealed;
    assert_int_equal(store_get_secret(b->store, b->arena, job.id, "password", &sealed, &b->e),
                     ERR_NOT_FOUND);
}

static void events_have_no_gap(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    struct event_list l;
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    must_end(b, s.job.id, JOB_SUCCEEDED);
    assert_int_equal(store_list_events(b->store, b->arena, s.job.id, 0, 1000, &l, &b->e), OK);
    assert_true(l.n > 12);
    for (size_t i = 0; i < l.n; i++)
        assert_int_equal(l.items[i].id, (int64_t)i + 1);
    assert_string_equal(l.items[l.n - 1].data, "{\"state\":\"succeeded\"}");
}

static void put_equal_to_the_present_writes_nothing(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    must_end(b, s.job.id, JOB_SUCCEEDED);
    int writes = b->cloud.writes;
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    assert_false(s.replayed);
    must_end(b, s.job.id, JOB_SUCCEEDED);
    assert_int_equal(b->cloud.writes, writes);
}

static void change_writes_only_what_differs(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    must_end(b, s.job.id, JOB_SUCCEEDED);
    int writes = b->cloud.writes;
    const char *owner = s.job.id;
    assert_int_equal(submit(b, SPEC(",\"tags\":{\"team\":\"blue\"}"), &s), OK);
    must_end(b, s.job.id, JOB_SUCCEEDED);
    assert_int_equal(b->cloud.writes, writes + 2); /* NSG by PUT, VM by PATCH */
    assert_string_equal(json_path_str(resource(b, VM_ID), "tags/team"), "blue");
    assert_string_equal(json_path_str(resource(b, VM_ID), "tags/tlgate-job"), owner);
}

static void what_vanished_is_made_again(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    must_end(b, s.job.id, JOB_SUCCEEDED);
    int creates = b->cloud.creates;
    json_object_del(b->cloud.resources, cloud_key(VM_ID "/extensions/GuestAttestation"));
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    must_end(b, s.job.id, JOB_SUCCEEDED);
    assert_int_equal(b->cloud.creates, creates + 1);
}

static void delete_removes_what_was_made(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    struct vm vm;
    assert_int_equal(submit(b, SPEC(",\"network\":{\"publicIp\":true}"), &s), OK);
    must_end(b, s.job.id, JOB_SUCCEEDED);
    json_object_del(b->cloud.resources, cloud_key(VM_ID "/extensions/GuestAttestation"));
    assert_int_equal(submit_delete(b, &s), OK);
    must_end(b, s.job.id, JOB_SUCCEEDED);
    assert_int_equal(json_object_size(b->cloud.resources), 1);
    assert_non_null(resource(b, RG));
    assert_int_equal(store_get_vm(b->store, b->arena, VM_ID, &vm, &b->e), ERR_NOT_FOUND);
    assert_int_equal(submit_delete(b, &s), ERR_NOT_FOUND);
}

static void strangers_resource_is_refused_and_ours_undone(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    json_object_set_new(b->cloud.resources, cloud_key(NET "networkInterfaces/web-01-nic"),
                        json_pack("{s{ss}s{}}", "tags", "owner", "somebody", "properties"));
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    must_end(b, s.job.id, JOB_FAILED);
    assert_string_equal(error_of(b, s.job.id), "resource_exists");
    assert_int_equal(json_object_size(b->cloud.resources), 2); /* the group is not empty */
    struct vm vm;
    assert_int_equal(store_get_vm(b->store, b->arena, VM_ID, &vm, &b->e), ERR_NOT_FOUND);
}

static void failed_vm_is_undone_in_reverse(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    b->cloud.bends[0] =
        (struct bend){.method = "PUT",
                      .part = "virtualMachines/web-01?",
                      .times = 9,
                      .status = 400,
                      .body = "{\"error\":{\"code\":\"BadRequest\",\"message\":\"Use "
                              "of TrustedLaunch setting is not supported for the "
                              "provided image. Please select\"}}"};
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    must_end(b, s.job.id, JOB_FAILED);
    assert_string_equal(error_of(b, s.job.id), "image_not_trusted_launch");
    assert_int_equal(json_object_size(b->cloud.resources), 0);
    struct job job = read_job(b, s.job.id);
    assert_int_equal(job.steps[0].state, STEP_UNDONE);
    assert_int_equal(job.steps[4].state, STEP_FAILED);
}

static void retry_makes_it_all_again(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    struct store_waiter w;
    b->cloud.bends[0] =
        (struct bend){.method = "PUT", .part = "networkInterfaces", .times = 1, .status = 403};
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    must_end(b, s.job.id, JOB_FAILED);
    assert_int_equal(json_object_size(b->cloud.resources), 0);
    jobs_retry(b->jobs, b->arena, &b->origin, s.job.id, &s, store_waiter_init(&w));
    assert_int_equal(store_wait(&w, &b->e), OK);
    /* The password went with the failure: the job says so instead of making a VM without. */
    must_end(b, s.job.id, JOB_FAILED);
    assert_string_equal(error_of(b, s.job.id), "invalid_state");
    assert_int_equal(json_object_size(b->cloud.resources), 0);
}

/* What a later job made is that job's: to try the former one again must not touch it. */
static void retry_is_refused_after_a_later_job(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s, later;
    struct store_waiter w;
    struct vm vm;
    b->cloud.bends[0] =
        (struct bend){.method = "PUT", .part = "networkInterfaces", .times = 1, .status = 403};
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    must_end(b, s.job.id, JOB_FAILED);
    assert_int_equal(submit(b, SPEC(",\"tags\":{\"team\":\"blue\"}"), &later), OK);
    must_end(b, later.job.id, JOB_SUCCEEDED);
    struct jobs_submitted again;
    jobs_retry(b->jobs, b->arena, &b->origin, s.job.id, &again, store_waiter_init(&w));
    enum err err = store_wait(&w, &b->e);
    if (!err)
        finished(b, s.job.id);
    assert_int_equal(store_get_vm(b->store, b->arena, VM_ID, &vm, &b->e), OK);
    assert_string_equal(vm.vm_id, VMS_VMID);
    assert_non_null(strstr(vm.made, later.job.id));
    assert_int_equal(err, ERR_INVALID_STATE);
}

static void lost_answers_never_make_two(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    b->cloud.bends[0] = (struct bend){
        .method = "PUT", .part = "virtualMachines/web-01?", .times = 1, .after = true};
    b->cloud.bends[1] =
        (struct bend){.method = "PUT", .part = "virtualNetworks", .times = 1, .after = true};
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    must_end(b, s.job.id, JOB_SUCCEEDED);
    assert_int_equal(b->cloud.creates, 6);
}

static void throttling_is_obeyed_and_costs_no_attempt(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    b->cloud.bends[0] = (struct bend){.method = "PUT",
                                      .part = "/providers/",
                                      .times = 3,
                                      .status = 429,
                                      .headers = "Retry-After: 1\r\n",
                                      .body = "{\"error\":{\"code\":\"SubscriptionRequestsThrottled"
                                              "\",\"message\":\"slow\"}}"};
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    must_end(b, s.job.id, JOB_SUCCEEDED);
    struct jobs_counts n;
    jobs_counts(b->jobs, &n);
    assert_true(n.arm_throttled >= 3);
    assert_int_equal(n.arm_retries, 0);
}

static void failed_operation_tells_why(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    b->cloud.bends[0] = (struct bend){
        .method = "PUT", .part = "virtualMachines/web-01?", .times = 9, .lro = "QuotaExceeded"};
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    must_end(b, s.job.id, JOB_FAILED);
    assert_string_equal(error_of(b, s.job.id), "quota_exceeded");
    assert_int_equal(json_object_size(b->cloud.resources), 0);
}

static void cancel_undoes(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    struct store_waiter w;
    b->cloud.lro_polls = 1000000;
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    for (int i = 0; i < 500 && b->cloud.writes < 2; i++)
        usleep(10000);
    b->cloud.lro_polls = 0;
    jobs_cancel(b->jobs, b->arena, &b->origin, s.job.id, &s, store_waiter_init(&w));
    assert_int_equal(store_wait(&w, &b->e), OK);
    assert_int_equal(s.job.state, JOB_CANCELING);
    must_end(b, s.job.id, JOB_CANCELED);
    assert_string_equal(error_of(b, s.job.id), "canceled");
    assert_int_equal(json_object_size(b->cloud.resources), 0);
}

/* ---- what several VMs use ---- */

static const struct jobs_vm_ref other = {SUB, "rg", "web-02"};

#define OTHER_NIC NET "networkInterfaces/web-02-nic"
#define BUSY      "{\"error\":{\"code\":\"AnotherOperationInProgress\",\"message\":\"busy\"}}"
#define NO_GROUP  "{\"error\":{\"code\":\"ResourceGroupNotFound\",\"message\":\"no such group\"}}"
#define NO_SUBNET "{\"error\":{\"code\":\"InvalidResourceReference\",\"message\":\"no subnet\"}}"
#define FOREVER   1000000

static void cancel(struct bench *b, const char *id)
{
    struct jobs_submitted s;
    struct store_waiter w;
    jobs_cancel(b->jobs, b->arena, &b->origin, id, &s, store_waiter_init(&w));
    assert_int_equal(store_wait(&w, &b->e), OK);
}

/* The group is empty for Azure and for whoever made it; another job counts on it. */
static void undo_leaves_a_group_that_another_job_uses(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted first, second;
    struct vm vm;
    b->cloud.bends[0] = (struct bend){.method = "PUT",
                                      .part = "networkSecurityGroups",
                                      .times = FOREVER,
                                      .status = 409,
                                      .body = BUSY};
    assert_int_equal(submit(b, SPEC(""), &first), OK);
    wait_for_step(b, first.job.id, 1, STEP_WAITING);
    assert_int_equal(submit_to(b, &other, SPEC(""), &second), OK);
    wait_for_step(b, second.job.id, 1, STEP_WAITING);
    assert_string_equal(read_job(b, second.job.id).steps[0].detail, "the existing one is used");
    cancel(b, first.job.id);
    must_end(b, first.job.id, JOB_CANCELED);
    struct job job = read_job(b, first.job.id);
    assert_int_equal(job.steps[0].state, STEP_UNDONE);
    assert_non_null(strstr(job.steps[0].detail, "left in place: another VM"));
    assert_non_null(resource(b, RG));
    /* The group is no part of the VM: there is nothing left of that to be deleted. */
    assert_int_equal(store_get_vm(b->store, b->arena, VM_ID, &vm, &b->e), ERR_NOT_FOUND);
    b->cloud.bends[0].times = 0;
    must_end(b, second.job.id, JOB_SUCCEEDED);
    assert_string_equal(json_path_str(resource(b, RG), "tags/tlgate-job"), first.job.id);
}

/* The deletion may be on its way: who comes now must not build on what is about to go. */
static void a_group_that_is_being_removed_is_waited_for(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted first, second;
    b->cloud.bends[0] = (struct bend){.method = "PUT",
                                      .part = "networkSecurityGroups",
                                      .times = FOREVER,
                                      .status = 409,
                                      .body = BUSY};
    /* Azure took the deletion and does not come to its end. */
    b->cloud.bends[1] = (struct bend){
        .method = "GET", .part = "/operations/", .times = FOREVER, .status = 202, .body = "{}"};
    assert_int_equal(submit(b, SPEC(""), &first), OK);
    wait_for_step(b, first.job.id, 1, STEP_WAITING);
    cancel(b, first.job.id);
    wait_for_step(b, first.job.id, 0, STEP_UNDOING);
    assert_int_equal(submit_to(b, &other, SPEC(""), &second), OK);
    wait_for_step(b, second.job.id, 0, STEP_WAITING);
    assert_non_null(
        strstr(read_job(b, second.job.id).steps[0].detail,
               arena_printf(b->arena, "tries again: job %s is removing it", first.job.id)));
    b->cloud.bends[0].times = b->cloud.bends[1].times = 0;
    must_end(b, first.job.id, JOB_CANCELED);
    must_end(b, second.job.id, JOB_SUCCEEDED);
    assert_string_equal(json_path_str(resource(b, RG), "tags/tlgate-job"), second.job.id);
}

static void what_it_builds_on_is_made_again(struct bench *b, const char *spec, struct bend bend)
{
    struct jobs_submitted first, second;
    assert_int_equal(submit(b, spec, &first), OK);
    must_end(b, first.job.id, JOB_SUCCEEDED);
    int creates = b->cloud.creates;
    b->cloud.bends[0] = bend;
    assert_int_equal(submit_to(b, &other, spec, &second), OK);
    must_end(b, second.job.id, JOB_SUCCEEDED);
    assert_non_null(resource(b, bend.removes));
    assert_string_equal(json_path_str(resource(b, bend.removes), "tags/tlgate-job"), second.job.id);
    assert_non_null(resource(b, OTHER_NIC));
    assert_true(b->cloud.creates > creates);
}

static void a_group_that_vanishes_is_made_again(void **state)
{
    what_it_builds_on_is_made_again(*state, SPEC(""),
                                    (struct bend){.method = "PUT",
                                                  .part = "web-02-nic",
                                                  .times = 1,
                                                  .status = 404,
                                                  .body = NO_GROUP,
                                                  .removes = RG});
}

static void a_network_that_vanishes_is_made_again(void **state)
{
    what_it_builds_on_is_made_again(*state,
                                    SPEC(",\"network\":{\"virtualNetwork\":{\"name\":\"shared\"}}"),
                                    (struct bend){.method = "PUT",
                                                  .part = "web-02-nic",
                                                  .times = 1,
                                                  .status = 400,
                                                  .body = NO_SUBNET,
                                                  .removes = NET "virtualNetworks/shared"});
}

static void a_group_that_keeps_vanishing_ends_the_job(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    b->cloud.bends[0] = (struct bend){.method = "PUT",
                                      .part = "web-01-nsg",
                                      .times = FOREVER,
                                      .status = 404,
                                      .body = NO_GROUP,
                                      .removes = RG};
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    must_end(b, s.job.id, JOB_FAILED);
    assert_string_equal(error_of(b, s.job.id), "resource_group_not_found");
    struct job job = read_job(b, s.job.id);
    assert_non_null(strstr(job.error, "Somebody removed the group"));
    assert_true(job.steps[0].attempts == 3);
}

/* Stop without waiting at many moments: the end is always the same. */
static void restarts_resume(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    for (int i = 0; i < 40; i++) {
        usleep((unsigned)(1000 + i * 700));
        close_all(b, 0);
        open_all(b);
        if (job_state_terminal(read_job(b, s.job.id).state))
            break;
    }
    must_end(b, s.job.id, JOB_SUCCEEDED);
    assert_int_equal(b->cloud.creates, 6);
}

static void a_clock_that_jumps_stalls_nothing(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    b->cloud.lro_polls = 3;
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    for (int i = 0; i < 500 && b->cloud.writes < 2; i++)
        usleep(5000);
    atomic_store(&wall_shift, -3600 * 1000);
    for (int i = 0; i < 500 && b->cloud.writes < 4; i++)
        usleep(5000);
    assert_true(b->cloud.writes >= 4);
    atomic_store(&wall_shift, 3600 * 1000);
    must_end(b, s.job.id, JOB_SUCCEEDED);
    assert_int_equal(b->cloud.creates, 6);
}

static void wait_for_polls(struct bench *b, int n)
{
    for (int i = 0; i < 3000 && b->cloud.polls < n; i++)
        usleep(5000);
    assert_true(b->cloud.polls >= n);
}

/* A job that only waits is kept in memory: neither a clock that jumps nor a process that ends makes it ask
 * before its time, and a cancel request reaches it. */
static void polls_keep_the_time_they_are_told(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    struct store_waiter w;
    b->cloud.lro_polls = 1000000;
    b->cloud.retry_after = 4;
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    wait_for_polls(b, 3);
    struct job job = read_job(b, s.job.id);
    assert_int_equal(job.state, JOB_WAITING);
    assert_true(job.lease_until > wall_now(NULL)); /* it is kept */
    atomic_store(&wall_shift, 3600 * 1000);
    wait_for_polls(b, 5);
    atomic_store(&wall_shift, 1800 * 1000);
    wait_for_polls(b, 7);
    atomic_store(&wall_shift, 3600 * 1000);
    for (int i = 0; i < 3; i++) {
        usleep((unsigned)(i * 30000));
        close_all(b, 0);
        open_all(b);
        wait_for_polls(b, b->cloud.polls + 2); /* by the second it is kept again */
    }
    assert_int_equal(b->cloud.soon, 0);
    b->cloud.retry_after = 0;
    b->cloud.lro_polls = 0;
    jobs_cancel(b->jobs, b->arena, &b->origin, s.job.id, &s, store_waiter_init(&w));
    assert_int_equal(store_wait(&w, &b->e), OK);
    must_end(b, s.job.id, JOB_CANCELED);
    assert_int_equal(json_object_size(b->cloud.resources), 0);
}

static void kept_polls_end(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    b->cloud.lro_polls = 2;
    b->cloud.retry_after = 3;
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    must_end(b, s.job.id, JOB_SUCCEEDED);
    assert_int_equal(b->cloud.creates, 6);
    assert_int_equal(b->cloud.soon, 0);
}

/* Together, but never before its time and not much after it. */
static void waits_are_rounded_up_a_little(void **state)
{
    for (int64_t wait = 0; wait < 700000; wait = wait * 5 / 4 + 1) {
        for (int64_t now = 1000000; now < 1003000; now += 7) {
            int64_t due = polls_together(now + wait, now);
            assert_true(due >= now + wait);
            assert_true(due <= now + wait + wait / 20 && due < now + wait + 1000 + (wait == 0));
        }
    }
    assert_int_equal(polls_together(1060300, 1000300), polls_together(1060001, 1000001));
}

static void busy_resource_answers_with_its_job(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    struct jobs_submitted t;
    b->cloud.lro_polls = 5;
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    assert_int_equal(submit(b, SPEC(""), &t), OK);
    assert_true(t.replayed);
    assert_string_equal(s.job.id, t.job.id);
    assert_int_equal(submit(b, SPEC(",\"tags\":{\"a\":\"b\"}"), &t), ERR_OPERATION_IN_PROGRESS);
    assert_string_equal(b->e.job_id, s.job.id);
    assert_int_equal(submit_delete(b, &t), ERR_OPERATION_IN_PROGRESS);
    must_end(b, s.job.id, JOB_SUCCEEDED);
}

static void idempotency_key_replays(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    struct jobs_submitted t;
    b->origin.idempotency_key = "order-17";
    assert_int_equal(submit(b, SPEC(""), &s), OK);
    must_end(b, s.job.id, JOB_SUCCEEDED);
    assert_int_equal(submit(b, SPEC(""), &t), OK);
    assert_true(t.replayed);
    assert_string_equal(s.job.id, t.job.id);
    assert_int_equal(submit(b, SPEC(",\"tags\":{\"a\":\"b\"}"), &t), ERR_IDEMPOTENCY_KEY_REUSED);
}

/* Holds the store's writer, as a long batch does, until it is let go. */
struct hold {
    struct store_done done;
    atomic_bool held, go;
};

static void hold_writer(struct store_done *done)
{
    struct hold *h = done->user;
    atomic_store(&h->held, true);
    while (!atomic_load(&h->go))
        usleep(1000);
}

/* The registry as it was read may have changed until the job is written. */
static void job_is_planned_on_the_registry_as_it_is(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    struct store_waiter put_w, submit_w;
    struct hold h = {.done = {.fn = hold_writer, .user = &h}};
    const struct api_key_uses none = {.n = 0};
    const struct vm_put put = {.vm = {.resource_id = VM_ID,
                                      .set = VM_SET_VM_ID | VM_SET_STATE | VM_SET_STATUS,
                                      .vm_id = VMS_VMID,
                                      .state = "ready",
                                      .status = VM_HEALTHY},
                               .now = clock_wall(&test_clock),
                               .audit = {.action = "test"}};
    store_touch_api_keys(b->store, &none, NULL, &h.done);
    while (!atomic_load(&h.held))
        usleep(1000);
    store_put_vm(b->store, &put, NULL, store_waiter_init(&put_w));
    struct vm_spec *spec = ARENA_NEW(b->arena, struct vm_spec);
    assert_int_equal(json_decode_text(BYTES_STR(SPEC("")), &vm_spec_schema, b->arena, spec, &b->e),
                     OK);
    jobs_submit_vm_put(b->jobs, b->arena, &b->origin, &ref, spec, NULL, &s,
                       store_waiter_init(&submit_w));
    atomic_store(&h.go, true);
    assert_int_equal(store_wait(&put_w, &b->e), OK);
    assert_int_equal(store_wait(&submit_w, &b->e), OK);
    assert_null(strstr(s.job.vars, "\"newVm\":true"));
    struct vm vm;
    assert_int_equal(store_get_vm(b->store, b->arena, VM_ID, &vm, &b->e), OK);
    assert_int_equal(vm.status, VM_HEALTHY);
    finished(b, s.job.id);
}

/* ---- attestation ---- */

static void report(struct bench *b, enum vm_status status, const char *verdict)
{
    static int n;
    struct store_waiter w;
    struct report_stored out;
    struct enrollment_put put = {.hash = arena_printf(b->arena, "%064d", ++n),
                                 .resource_id = VM_ID,
                                 .expires_at = clock_wall(&test_clock) + 60000,
                                 .now = clock_wall(&test_clock),
                                 .audit = {.action = "test"}};
    char id[UUID_SIZE];
    uuid_v7(clock_wall(&test_clock), id);
    store_put_enrollment(b->store, &put, NULL, store_waiter_init(&w));
    assert_int_equal(store_wait(&w, &b->e), OK);
    struct report_new in = {.report = {.id = id,
                                       .vm_id = VMS_VMID,
                                       .received_at = clock_wall(&test_clock),
                                       .verdict = verdict,
                                       .checks = "[]",
                                       .claims = "{}",
                                       .evidence_hash = "00",
                                       .ak_spki = arena_printf(b->arena, "%064d", 7),
                                       .reset_count = 1},
                            .challenge_hash = arena_printf(b->arena, "c%d", n),
                            .challenge_expires_at = clock_wall(&test_clock) + 60000,
                            .ak_name = "00",
                            .enrollment_hash = put.hash,
                            .pin_allowed = true,
                            .status = status,
                            .reasons = "[]",
                            .wake_key = jobs_wake_key(b->arena, VMS_VMID)};
    store_put_report(b->store, &in, &out, store_waiter_init(&w));
    enum err err = store_wait(&w, &b->e);
    if (err)
        print_error("%s\n", b->e.detail);
    assert_int_equal(err, OK);
}

static void trusted_report_ends_the_wait(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    assert_int_equal(submit(b, SPEC(",\"waitForAttestation\":true"), &s), OK);
    wait_for_step(b, s.job.id, 6, STEP_WAITING);
    report(b, VM_HEALTHY, "trusted");
    must_end(b, s.job.id, JOB_SUCCEEDED);
    assert_non_null(strstr(read_job(b, s.job.id).result, "\"verdict\":\"trusted\""));
}

static void report_that_is_too_old_does_not_end_the_wait(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(submit(b, SPEC(",\"waitForAttestation\":true"), &s), OK);
        wait_for_step(b, s.job.id, 6, STEP_WAITING);
        report(b, VM_HEALTHY, "trusted");
        must_end(b, s.job.id, JOB_SUCCEEDED);
        atomic_fetch_add(&wall_shift, MAX_AGE_MS);
    }
    atomic_fetch_sub(&wall_shift, MAX_AGE_MS); /* while it counts it is enough */
    assert_int_equal(submit(b, SPEC(",\"waitForAttestation\":true"), &s), OK);
    must_end(b, s.job.id, JOB_SUCCEEDED);
}

static void untrusted_report_fails_and_keeps_the_vm(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    struct store_waiter w;
    assert_int_equal(submit(b, SPEC(",\"waitForAttestation\":true"), &s), OK);
    wait_for_step(b, s.job.id, 6, STEP_WAITING);
    report(b, VM_UNHEALTHY, "untrusted");
    must_end(b, s.job.id, JOB_FAILED);
    assert_string_equal(error_of(b, s.job.id), "attestation_failed");
    assert_non_null(resource(b, VM_ID));
    jobs_retry(b->jobs, b->arena, &b->origin, s.job.id, &s, store_waiter_init(&w));
    assert_int_equal(store_wait(&w, &b->e), OK);
    wait_for_step(b, s.job.id, 6, STEP_WAITING);
    report(b, VM_HEALTHY, "trusted");
    must_end(b, s.job.id, JOB_SUCCEEDED);
}

/* "Retry the job to wait again": the whole time once more. */
static void retry_after_the_wait_waits_again(void **state)
{
    struct bench *b = *state;
    struct jobs_submitted s;
    struct store_waiter w;
    assert_int_equal(
        submit(b, SPEC(",\"waitForAttestation\":true,\"attestationTimeout\":\"PT2S\""), &s), OK);
    must_end(b, s.job.id, JOB_FAILED);
    assert_string_equal(error_of(b, s.job.id), "attestation_timeout");
    jobs_retry(b->jobs, b->arena, &b->origin, s.job.id, &s, store_waiter_init(&w));
    assert_int_equal(store_wait(&w, &b->e), OK);
    wait_for_step(b, s.job.id, 6, STEP_WAITING);
    report(b, VM_HEALTHY, "trusted");
    must_end(b, s.job.id, JOB_SUCCEEDED);
}

int main(void)
{
    mono_start = clock_mono(&clock_system);
    wall_start = clock_wall(&clock_system);
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        TEST(create_makes_everything_and_marks_it),
        TEST(events_have_no_gap),
        TEST(put_equal_to_the_present_writes_nothing),
        TEST(change_writes_only_what_differs),
        TEST(what_vanished_is_made_again),
        TEST(delete_removes_what_was_made),
        TEST(strangers_resource_is_refused_and_ours_undone),
        TEST(failed_vm_is_undone_in_reverse),
        TEST(retry_makes_it_all_again),
        TEST(retry_is_refused_after_a_later_job),
        TEST(lost_answers_never_make_two),
        TEST(throttling_is_obeyed_and_costs_no_attempt),
        TEST(failed_operation_tells_why),
        TEST(cancel_undoes),
        TEST(undo_leaves_a_group_that_another_job_uses),
        TEST(a_group_that_is_being_removed_is_waited_for),
        TEST(a_group_that_vanishes_is_made_again),
        TEST(a_network_that_vanishes_is_made_again),
        TEST(a_group_that_keeps_vanishing_ends_the_job),
        TEST(restarts_resume),
        TEST(a_clock_that_jumps_stalls_nothing),
        TEST(polls_keep_the_time_they_are_told),
        TEST(kept_polls_end),
        cmocka_unit_test(waits_are_rounded_up_a_little),
        TEST(busy_resource_answers_with_its_job),
        TEST(idempotency_key_replays),
        TEST(job_is_planned_on_the_registry_as_it_is),
        TEST(trusted_report_ends_the_wait),
        TEST(report_that_is_too_old_does_not_end_the_wait),
        TEST(untrusted_report_fails_and_keeps_the_vm),
        TEST(retry_after_the_wait_waits_again),
    };
    signal(SIGPIPE, SIG_IGN);
    if (getenv("CMOCKA_TEST_FILTER"))
        cmocka_set_test_filter(getenv("CMOCKA_TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
