/* Conformance: submitting, idempotency, busy resources, cancel, retry, reading. */
#include "db_store.h"

static struct idempotency idempotency_of(const char *principal, const char *key, const char *print)
{
    return (struct idempotency){.principal_id = principal,
                                .operation = "putVirtualMachine",
                                .key = key,
                                .fingerprint = print,
                                .expires_at = T0 + 1000};
}

static void submitted_job_is_complete(void **state)
{
    struct fixture *f = *state;
    struct job_new in = job_for(f, "web");
    struct vm_write vm = {.resource_id = VM("web"),
                          .set = VM_SET_STATE | VM_SET_EXPECT | VM_SET_PLACE | VM_SET_STATUS,
                          .name = "web",
                          .origin = "created",
                          .state = "creating",
                          .vtpm = true,
                          .status = VM_UNKNOWN};
    struct job_secret secret = {"adminPassword", BYTES_STR("sealed-bytes")};
    in.vm = &vm;
    in.secrets = &secret;
    in.n_secrets = 1;
    in.deadline_at = T0 + 9000;
    const char *id = submit(f, &in);

    struct job j = get_job(f, id);
    assert_string_equal(j.kind, "vm.create");
    assert_int_equal(j.state, JOB_QUEUED);
    assert_string_equal(j.resource_id, VM("web"));
    assert_string_equal(j.created_by, "portal");
    assert_string_equal(j.spec, in.spec);
    assert_int_equal(j.due_at, T0);
    assert_int_equal(j.deadline_at, T0 + 9000);
    assert_int_equal(j.epoch, 0);
    assert_int_equal(j.last_event, 1);
    assert_int_equal(j.n_steps, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(j.steps[i].seq, i);
        assert_string_equal(j.steps[i].name, three_steps[i]);
        assert_int_equal(j.steps[i].state, STEP_PENDING);
        assert_null(j.steps[i].intent_method);
    }

    struct vm row = get_vm(f, VM("WEB"));
    assert_string_equal(row.job_id, id);
    assert_string_equal(row.state, "creating");
    assert_true(row.vtpm);
    assert_false(row.secure_boot);

    struct bytes sealed;
    MUST(f, store_get_secret(f->store, f->arena, id, "adminPassword", &sealed, &f->err));
    assert_true(bytes_equal(sealed, BYTES_STR("sealed-bytes")));

    struct event_list events;
    MUST(f, store_list_events(f->store, f->arena, id, 0, 10, &events, &f->err));
    assert_int_equal(events.n, 1);
    assert_int_equal(events.items[0].id, 1);
    assert_int_equal(events.items[0].at, T0);
    assert_string_equal(events.items[0].type, "state");
    assert_string_equal(events.items[0].data, "{\"state\":\"queued\"}");
    MUST(f, store_list_events(f->store, f->arena, id, 1, 10, &events, &f->err));
    assert_int_equal(events.n, 0);

    struct audit_list audit;
    MUST(f, store_list_audit(f->store, f->arena, 0, 10, &audit, &f->err));
    assert_int_equal(audit.n, 1);
    assert_string_equal(audit.items[0].job_id, id);
    assert_string_equal(audit.items[0].a.action, "job.submit");
    assert_string_equal(audit.items[0].a.request_id, "req-1");
}

static struct vm_list list_all(struct fixture *f)
{
    struct vm_list list;
    struct vm_filter all = {.page = {.limit = 10}};
    MUST(f, store_list_vms(f->store, f->arena, &all, &list, &f->err));
    return list;
}

/* It stands with the job alone until that has ended, however it ends, and is its VM's from then on. */
static void a_vm_has_its_jobs_spec(void **state)
{
    struct fixture *f = *state;
    struct job_new in = job_for(f, "web");
    struct vm_write vm = {.resource_id = VM("web"),
                          .set = VM_SET_STATE | VM_SET_PLACE | VM_SET_SPEC,
                          .name = "web",
                          .state = "creating",
                          .spec = arena_strdup(f->arena, in.spec)};
    in.vm = &vm;
    submit(f, &in);
    assert_string_equal(get_vm(f, VM("web")).spec, in.spec);
    assert_string_equal(list_all(f).items[0].spec, in.spec);

    struct job j = claim_one(f, T0);
    finish_job(f, &j, JOB_FAILED, T0 + 1);
    assert_string_equal(get_vm(f, VM("web")).spec, in.spec);
    struct store_prune prune = {.now = T0 + 1000, .jobs_ms = 1, .limit = 10};
    struct store_pruned pruned;
    MUST(f, DO(f, store_prune, &prune, &pruned));
    assert_int_equal(pruned.jobs, 1);
    assert_string_equal(get_vm(f, VM("web")).spec, in.spec);
    assert_string_equal(list_all(f).items[0].spec, in.spec);

    /* What its job made of it stays. */
    struct job_new other = job_for(f, "db");
    vm.resource_id = VM("db");
    other.vm = &vm;
    submit(f, &other);
    j = claim_one(f, T0);
    struct vm_write changed = {
        .resource_id = VM("db"), .set = VM_SET_SPEC | VM_ONLY_IF_THERE, .spec = "{\"new\":1}"};
    struct job_advance end = advance_of(&j, T0 + 2);
    end.set = JOB_SET_STATE;
    end.state = JOB_SUCCEEDED;
    end.vms = &changed;
    end.n_vms = 1;
    MUST(f, DO(f, store_advance_job, &end, NULL));
    assert_string_equal(get_vm(f, VM("db")).spec, changed.spec);
}

static void same_key_same_request_is_replayed(void **state)
{
    struct fixture *f = *state;
    struct job_new first = job_for(f, "web");
    struct idempotency key = idempotency_of("key1", "abc", "print-1");
    first.idempotency = &key;
    const char *id = submit(f, &first);

    /* Another body hash: it is the key that is found, before the busy resource. */
    struct job_new again = job_for(f, "web");
    again.idempotency = &key;
    again.body_hash = "hash-b";
    struct job_submitted out = {0};
    MUST(f, DO(f, store_submit_job, &again, &out));
    assert_int_equal(out.outcome, SUBMIT_REPLAYED);
    assert_string_equal(out.job_id, id);

    /* Also when the job is over. */
    struct job j = claim_one(f, T0);
    finish_job(f, &j, JOB_SUCCEEDED, T0 + 1);
    MUST(f, DO(f, store_submit_job, &again, &out));
    assert_int_equal(out.outcome, SUBMIT_REPLAYED);

    struct job_list jobs;
    struct job_filter all = {.page = {.limit = 10}};
    MUST(f, store_list_jobs(f->store, f->arena, &all, &jobs, &f->err));
    assert_int_equal(jobs.n, 1);
}

/* A request that comes again was planned anew, on a VM that the first one has made meanwhile. */
static void a_replay_is_found_before_a_changed_vm(void **state)
{
    struct fixture *f = *state;
    struct job_new in = job_for(f, "web");
    struct vm_write vm = {.resource_id = VM("web"), .set = VM_SET_STATE, .state = "creating"};
    struct idempotency key = idempotency_of("key1", "abc", "print-1");
    in.vm = &vm;
    in.planned_on_vm = true;
    in.idempotency = &key;
    const char *id = submit(f, &in);
    struct job j = claim_one(f, T0);
    finish_job(f, &j, JOB_SUCCEEDED, T0 + 1);
    struct job_submitted out;
    MUST(f, DO(f, store_submit_job, &in, &out));
    assert_int_equal(out.outcome, SUBMIT_REPLAYED);
    assert_string_equal(out.job_id, id);

    /* Who is refused has not used the key up. */
    struct job_new other = job_for(f, "web");
    struct idempotency fresh = idempotency_of("key1", "def", "print-1");
    other.vm = &vm;
    other.planned_on_vm = true;
    other.idempotency = &fresh;
    assert_int_equal(DO(f, store_submit_job, &other, &out), ERR_PRECONDITION_FAILED);
    assert_int_equal(f->err.code, ERR_PRECONDITION_FAILED);
    other.vm_etag = get_vm(f, VM("web")).etag;
    submit(f, &other);
}

static void same_key_other_request_is_refused(void **state)
{
    struct fixture *f = *state;
    struct job_new first = job_for(f, "web");
    struct idempotency key = idempotency_of("key1", "abc", "print-1");
    first.idempotency = &key;
    submit(f, &first);

    struct job_new other = job_for(f, "db");
    struct idempotency reused = idempotency_of("key1", "abc", "print-2");
    other.idempotency = &reused;
    struct job_submitted out;
    assert_int_equal(DO(f, store_submit_job, &other, &out), ERR_IDEMPOTENCY_KEY_REUSED);
    assert_int_equal(f->err.code, ERR_IDEMPOTENCY_KEY_REUSED);

    /* The key of another principal is another key. */
    struct idempotency foreign = idempotency_of("key2", "abc", "print-2");
    other.idempotency = &foreign;
    submit(f, &other);
}

static void expired_key_is_new(void **state)
{
    struct fixture *f = *state;
    struct job_new first = job_for(f, "web");
    struct idempotency key = idempotency_of("key1", "abc", "print-1");
    first.idempotency = &key;
    submit(f, &first);

    struct job_new later = job_for(f, "db");
    struct idempotency fresh = idempotency_of("key1", "abc", "print-2");
    fresh.expires_at = T0 + 9000;
    later.idempotency = &fresh;
    later.now = T0 + 1000;
    const char *id = submit(f, &later);

    const char *found = NULL;
    MUST(f, store_find_replay(f->store, f->arena, &fresh, T0 + 2000, &found, &f->err));
    assert_string_equal(found, id);
    assert_int_equal(store_find_replay(f->store, f->arena, &fresh, T0 + 9000, &found, &f->err),
                     ERR_NOT_FOUND);
}

static void busy_resource_is_refused_or_shared(void **state)
{
    struct fixture *f = *state;
    const char *id = submit_for(f, "web");

    struct job_new same = job_for(f, "WEB"); /* ARM ids have no case */
    struct job_submitted out = {0};
    MUST(f, DO(f, store_submit_job, &same, &out));
    assert_int_equal(out.outcome, SUBMIT_SAME);
    assert_string_equal(out.job_id, id);

    struct job_new other = job_for(f, "web");
    other.body_hash = "hash-b";
    assert_int_equal(DO(f, store_submit_job, &other, &out), ERR_OPERATION_IN_PROGRESS);
    assert_string_equal(f->err.job_id, id);

    struct job_new kind = job_for(f, "web");
    kind.kind = "vm.delete";
    assert_int_equal(DO(f, store_submit_job, &kind, &out), ERR_OPERATION_IN_PROGRESS);

    struct job_new beside = job_for(f, "web");
    beside.shared = true;
    submit(f, &beside);

    struct job j = claim(f, T0, 2).jobs[0];
    finish_job(f, &j, JOB_SUCCEEDED, T0 + 1);
    submit(f, &other);
}

static void refused_submission_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    submit_for(f, "web");
    struct job_new other = job_for(f, "web");
    struct idempotency key = idempotency_of("key1", "abc", "print-1");
    struct vm_write vm = {.resource_id = VM("web"), .set = VM_SET_STATE, .state = "creating"};
    other.body_hash = "hash-b";
    other.idempotency = &key;
    other.vm = &vm;
    struct job_submitted out;
    assert_int_equal(DO(f, store_submit_job, &other, &out), ERR_OPERATION_IN_PROGRESS);

    struct job j;
    assert_int_equal(store_get_job(f->store, f->arena, other.id, NULL, &j, &f->err), ERR_NOT_FOUND);
    const char *found;
    assert_int_equal(store_find_replay(f->store, f->arena, &key, T0, &found, &f->err),
                     ERR_NOT_FOUND);
    struct vm row;
    assert_int_equal(store_get_vm(f->store, f->arena, VM("web"), &row, &f->err), ERR_NOT_FOUND);
    struct audit_list audit;
    MUST(f, store_list_audit(f->store, f->arena, 0, 10, &audit, &f->err));
    assert_int_equal(audit.n, 1);
}

/* A statement that fails late in one write must take back that write, and only that. */
static void failing_write_does_not_sink_its_batch(void **state)
{
    struct fixture *f = *state;
    enum { N = 9 };
    struct job_new in[N];
    struct job_submitted out[N];
    struct store_waiter w[N];
    const struct job_secret twice[] = {{"same", BYTES_STR("a")}, {"same", BYTES_STR("b")}};
    for (int i = 0; i < N; i++) {
        in[i] = job_for(f, arena_printf(f->arena, "vm%d", i));
        in[i].secrets = twice;
        in[i].n_secrets = i == 5 ? 2 : 1;
    }
    for (int i = 0; i < N; i++)
        store_submit_job(f->store, &in[i], &out[i], store_waiter_init(&w[i]));
    for (int i = 0; i < N; i++)
        assert_int_equal(store_wait(&w[i], &f->err), i == 5 ? ERR_INTERNAL : OK);
    for (int i = 0; i < N; i++) {
        struct job j;
        assert_int_equal(store_get_job(f->store, f->arena, in[i].id, NULL, &j, &f->err),
                         i == 5 ? ERR_NOT_FOUND : OK);
    }
    assert_int_equal(store_health(f->store, &f->err), OK);
    struct audit_list audit;
    MUST(f, store_list_audit(f->store, f->arena, 0, 20, &audit, &f->err));
    assert_int_equal(audit.n, N - 1);
    for (size_t i = 0; i < audit.n; i++)
        assert_int_equal(audit.items[i].id, (int64_t)i + 1);
}

static struct job_request request_for(const char *id, const char *action, int64_t now)
{
    return (struct job_request){
        .job_id = id, .now = now, .event = {action, NULL}, .audit = audit_of(action, NULL)};
}

static void cancel_wakes_a_waiting_job(void **state)
{
    struct fixture *f = *state;
    const char *id = submit_for(f, "web");
    struct job j = claim_one(f, T0);
    struct job_advance wait = advance_of(&j, T0);
    wait.set = JOB_SET_STATE | JOB_RELEASE;
    wait.state = JOB_WAITING;
    wait.due_at = T0 + 60000;
    MUST(f, DO(f, store_advance_job, &wait, NULL));
    assert_int_equal(claim(f, T0 + 10, 1).n, 0);

    struct job_request cancel = request_for(id, "job.cancel", T0 + 20);
    MUST(f, DO(f, store_cancel_job, &cancel, NULL));
    MUST(f, DO(f, store_cancel_job, &cancel, NULL)); /* again: nothing */
    j = claim_one(f, T0 + 20);
    assert_int_equal(j.state, JOB_CANCELING);
    assert_int_equal(j.cancel_requested_at, T0 + 20);
    assert_int_equal(j.last_event, 2);

    struct job_new same = job_for(f, "web"); /* what is being undone is not "that job" */
    struct job_submitted out;
    assert_int_equal(DO(f, store_submit_job, &same, &out), ERR_OPERATION_IN_PROGRESS);

    finish_job(f, &j, JOB_CANCELED, T0 + 30);
    MUST(f, DO(f, store_cancel_job, &cancel, NULL));
    assert_int_equal(get_job(f, id).state, JOB_CANCELED);
}

static void cancel_of_an_ended_job_is_refused(void **state)
{
    struct fixture *f = *state;
    const char *id = submit_for(f, "web");
    struct job j = claim_one(f, T0);
    finish_job(f, &j, JOB_SUCCEEDED, T0 + 1);
    struct job_request cancel = request_for(id, "job.cancel", T0 + 2);
    assert_int_equal(DO(f, store_cancel_job, &cancel, NULL), ERR_INVALID_STATE);
    cancel.job_id = "00000000-0000-7000-8000-000000000000";
    assert_int_equal(DO(f, store_cancel_job, &cancel, NULL), ERR_NOT_FOUND);
}

static void requests_respect_the_scope(void **state)
{
    struct fixture *f = *state;
    const char *id = submit_for(f, "web");
    struct job_request cancel = request_for(id, "job.cancel", T0 + 2);
    cancel.scope = "/subscriptions/" SUB "/resourceGroups/Pro";
    assert_int_equal(DO(f, store_cancel_job, &cancel, NULL), ERR_NOT_FOUND);
    struct job j;
    assert_int_equal(store_get_job(f->store, f->arena, id, cancel.scope, &j, &f->err),
                     ERR_NOT_FOUND);
    cancel.scope = "/SUBSCRIPTIONS/" SUB "/resourcegroups/PROD";
    MUST(f, store_get_job(f->store, f->arena, id, cancel.scope, &j, &f->err));
    MUST(f, DO(f, store_cancel_job, &cancel, NULL));
}

static void fail_with_one_step_done(struct fixture *f, int64_t now)
{
    struct job j = claim_one(f, now);
    j.steps[0].state = STEP_SUCCEEDED;
    j.steps[1].state = STEP_FAILED;
    j.steps[1].started_at = now;
    j.steps[1].intent_method = "PUT";
    j.steps[1].intent_request_id = "client-1";
    j.steps[1].poll_url = "https://arm/poll";
    struct job_advance in = advance_of(&j, now + 1);
    in.set = JOB_SET_STATE | JOB_SET_ERROR | JOB_SET_UNDOING | JOB_SET_ATTEMPT | JOB_SET_STEP;
    in.state = JOB_FAILED;
    in.error = "{\"code\":\"upstream_rejected\"}";
    in.undoing = true;
    in.attempt = 4;
    in.current_step = 1;
    in.steps = j.steps;
    in.n_steps = 2;
    MUST(f, DO(f, store_advance_job, &in, NULL));
}

static void failed_job_is_retried_at_its_failed_step(void **state)
{
    struct fixture *f = *state;
    struct job_new in = job_for(f, "web");
    struct job_secret secret = {"adminPassword", BYTES_STR("sealed")};
    in.secrets = &secret;
    in.n_secrets = 1;
    const char *id = submit(f, &in);
    struct job_request retry = request_for(id, "job.retry", T0 + 50);
    assert_int_equal(DO(f, store_retry_job, &retry, NULL), ERR_INVALID_STATE);

    fail_with_one_step_done(f, T0);
    struct bytes sealed;
    assert_int_equal(store_get_secret(f->store, f->arena, id, "adminPassword", &sealed, &f->err),
                     ERR_NOT_FOUND);
    retry.deadline_at = T0 + 7000;
    MUST(f, DO(f, store_retry_job, &retry, NULL));
    struct job j = claim_one(f, T0 + 50);
    assert_int_equal(j.state, JOB_QUEUED);
    assert_null(j.error);
    assert_false(j.undoing);
    assert_int_equal(j.attempt, 0);
    assert_int_equal(j.current_step, 1);
    assert_int_equal(j.deadline_at, T0 + 7000);
    assert_int_equal(j.steps[0].state, STEP_SUCCEEDED);
    assert_int_equal(j.steps[1].state, STEP_PENDING);
    assert_int_equal(j.steps[1].started_at, 0);
    assert_string_equal(j.steps[1].intent_request_id, "client-1");
    assert_null(j.steps[1].poll_url);
}

static void retry_is_idempotent_and_respects_busy(void **state)
{
    struct fixture *f = *state;
    const char *id = submit_for(f, "web");
    fail_with_one_step_done(f, T0);
    struct idempotency key = idempotency_of("key1", "again", "print");
    struct job_request retry = request_for(id, "job.retry", T0 + 50);
    retry.idempotency = &key;
    MUST(f, DO(f, store_retry_job, &retry, NULL));
    fail_with_one_step_done(f, T0 + 60);
    MUST(f, DO(f, store_retry_job, &retry, NULL)); /* the same request: nothing */
    assert_int_equal(get_job(f, id).state, JOB_FAILED);

    const char *other = submit_for(f, "web");
    retry.idempotency = NULL;
    assert_int_equal(DO(f, store_retry_job, &retry, NULL), ERR_OPERATION_IN_PROGRESS);
    assert_string_equal(f->err.job_id, other);
}

static void retry_is_refused_once_a_later_job_worked(void **state)
{
    struct fixture *f = *state;
    const char *id = submit_for(f, "web");
    fail_with_one_step_done(f, T0);
    const char *elsewhere = submit_for(f, "other");
    struct job j = claim_one(f, T0 + 10);
    assert_string_equal(j.id, elsewhere);
    finish_job(f, &j, JOB_SUCCEEDED, T0 + 11);
    const char *later = submit_for(f, "web");
    j = claim_one(f, T0 + 20);
    assert_string_equal(j.id, later);
    finish_job(f, &j, JOB_FAILED, T0 + 21);

    struct job_request retry = request_for(id, "job.retry", T0 + 50);
    assert_int_equal(DO(f, store_retry_job, &retry, NULL), ERR_INVALID_STATE);
    assert_non_null(strstr(f->err.detail, later));
    retry.job_id = later;
    MUST(f, DO(f, store_retry_job, &retry, NULL));
}

/* A job that was planned on another state of the VM is not taken. */
static void plan_must_fit_the_vm(void **state)
{
    struct fixture *f = *state;
    struct job_new in = job_for(f, "web");
    in.planned_on_vm = true;
    in.vm_etag = "of-a-row";
    assert_int_equal(DO(f, store_submit_job, &in, &(struct job_submitted){0}),
                     ERR_PRECONDITION_FAILED);
    in.vm_etag = NULL;
    submit(f, &in);

    put_vm(f, VM("db"), "db");
    in = job_for(f, "db");
    in.planned_on_vm = true;
    assert_int_equal(DO(f, store_submit_job, &in, &(struct job_submitted){0}),
                     ERR_PRECONDITION_FAILED);
    in.vm_etag = get_vm(f, VM("db")).etag;
    submit(f, &in);

    /* Which of the two is told, where the resource is busy as well. */
    in = job_for(f, "db");
    in.body_hash = "hash-b";
    in.planned_on_vm = true;
    assert_int_equal(DO(f, store_submit_job, &in, &(struct job_submitted){0}),
                     ERR_OPERATION_IN_PROGRESS);
    in.vm_first = true;
    assert_int_equal(DO(f, store_submit_job, &in, &(struct job_submitted){0}),
                     ERR_PRECONDITION_FAILED);
    in.vm_etag = get_vm(f, VM("db")).etag;
    assert_int_equal(DO(f, store_submit_job, &in, &(struct job_submitted){0}),
                     ERR_OPERATION_IN_PROGRESS);
}

static size_t count_jobs(struct fixture *f, struct job_filter filter)
{
    struct job_list list;
    filter.page.limit = 100;
    MUST(f, store_list_jobs(f->store, f->arena, &filter, &list, &f->err));
    return list.n;
}

static void list_filters(void **state)
{
    struct fixture *f = *state;
    submit_for(f, "a");
    submit_for(f, "b");
    struct job_new other = job_for(f, "c");
    other.kind = "vm.delete";
    other.subscription_id = "99999999-2222-3333-4444-555555555555";
    other.resource_id = "/subscriptions/99999999-2222-3333-4444-555555555555/resourceGroups/x";
    submit(f, &other);
    struct job j = claim(f, T0, 1).jobs[0];
    finish_job(f, &j, JOB_FAILED, T0 + 1);

    enum job_state failed = JOB_FAILED, queued = JOB_QUEUED;
    assert_int_equal(count_jobs(f, (struct job_filter){0}), 3);
    assert_int_equal(count_jobs(f, (struct job_filter){.state = &failed}), 1);
    assert_int_equal(count_jobs(f, (struct job_filter){.state = &queued}), 2);
    assert_int_equal(count_jobs(f, (struct job_filter){.kind = "vm.delete"}), 1);
    assert_int_equal(count_jobs(f, (struct job_filter){.resource_id = VM("B")}), 1);
    assert_int_equal(count_jobs(f, (struct job_filter){.scope = "/"}), 3);
    assert_int_equal(count_jobs(f, (struct job_filter){.scope = RG}), 2);
    assert_int_equal(count_jobs(f, (struct job_filter){.scope = "/subscriptions/" SUB "/"}), 2);
    assert_int_equal(count_jobs(f, (struct job_filter){.scope = "/subscriptions/1111"}), 0);
    assert_int_equal(count_jobs(f, (struct job_filter){.scope = other.resource_id}), 1);
    assert_int_equal(count_jobs(f, (struct job_filter){.scope = "/", .within = RG}), 2);
    assert_int_equal(count_jobs(f, (struct job_filter){.scope = other.resource_id, .within = RG}),
                     0);

    struct job_counts counts;
    MUST(f, store_count_jobs(f->store, &counts, &f->err));
    assert_int_equal(counts.by_state[JOB_FAILED], 1);
    assert_int_equal(counts.by_state[JOB_QUEUED], 2);

    j = claim(f, T0, 1).jobs[0];
    struct job_advance begin = advance_of(&j, T0 + 2);
    begin.set = JOB_SET_STATE;
    begin.state = JOB_RUNNING;
    MUST(f, DO(f, store_advance_job, &begin, NULL));
    enum job_state running = JOB_RUNNING;
    assert_int_equal(count_jobs(f, (struct job_filter){.state = &running}), 1);
    assert_int_equal(count_jobs(f, (struct job_filter){.state = &queued}), 1);
    assert_int_equal(
        count_jobs(f, (struct job_filter){.state = &queued, .resource_id = j.resource_id}), 0);
    MUST(f, store_count_jobs(f->store, &counts, &f->err));
    assert_int_equal(counts.by_state[JOB_RUNNING], 1);
    assert_int_equal(counts.by_state[JOB_QUEUED], 1);
}

/* Pages stay stable while newer jobs come in. */
static void pages_are_stable_under_insertion(void **state)
{
    struct fixture *f = *state;
    enum { N = 25 };
    const char *ids[N];
    for (int i = 0; i < N; i++) {
        struct job_new in = job_for(f, arena_printf(f->arena, "vm%d", i));
        in.id = ids[i] = arena_printf(f->arena, "0190000000%02d-7000", i);
        submit(f, &in);
    }
    struct job_filter filter = {.page = {.limit = 10}};
    int seen = 0;
    for (bool more = true; more;) {
        struct job_list page;
        MUST(f, store_list_jobs(f->store, f->arena, &filter, &page, &f->err));
        for (size_t i = 0; i < page.n; i++)
            assert_string_equal(page.items[i].id, ids[N - 1 - seen++]);
        assert_int_equal(page.items[0].n_steps, 3);
        more = page.more;
        filter.page.after = page.items[page.n - 1].id;
        struct job_new newer = job_for(f, arena_printf(f->arena, "newer%d", seen));
        newer.id = arena_printf(f->arena, "0190000001%02d-7000", seen);
        submit(f, &newer);
    }
    assert_int_equal(seen, N);
}

static void exact_page_has_no_more(void **state)
{
    struct fixture *f = *state;
    submit_for(f, "a");
    submit_for(f, "b");
    struct job_filter filter = {.page = {.limit = 2}};
    struct job_list page;
    MUST(f, store_list_jobs(f->store, f->arena, &filter, &page, &f->err));
    assert_int_equal(page.n, 2);
    assert_false(page.more);
    filter.page.limit = 1;
    MUST(f, store_list_jobs(f->store, f->arena, &filter, &page, &f->err));
    assert_int_equal(page.n, 1);
    assert_true(page.more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(submitted_job_is_complete),
        STORE_TEST(a_vm_has_its_jobs_spec),
        STORE_TEST(same_key_same_request_is_replayed),
        STORE_TEST(a_replay_is_found_before_a_changed_vm),
        STORE_TEST(same_key_other_request_is_refused),
        STORE_TEST(expired_key_is_new),
        STORE_TEST(busy_resource_is_refused_or_shared),
        STORE_TEST(refused_submission_leaves_nothing),
        STORE_TEST(failing_write_does_not_sink_its_batch),
        STORE_TEST(cancel_wakes_a_waiting_job),
        STORE_TEST(cancel_of_an_ended_job_is_refused),
        STORE_TEST(requests_respect_the_scope),
        STORE_TEST(failed_job_is_retried_at_its_failed_step),
        STORE_TEST(retry_is_idempotent_and_respects_busy),
        STORE_TEST(retry_is_refused_once_a_later_job_worked),
        STORE_TEST(plan_must_fit_the_vm),
        STORE_TEST(list_filters),
        STORE_TEST(pages_are_stable_under_insertion),
        STORE_TEST(exact_page_has_no_more),
    };
    return cmocka_run_group_tests_name("store: jobs", tests, NULL, NULL);
}
