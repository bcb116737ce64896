/* Conformance: claims, leases, fencing, advancing, wake-ups, recovery. */
#include "db_store.h"

#include <stdatomic.h>

static void claim_leases_and_lease_expires(void **state)
{
    struct fixture *f = *state;
    const char *id = submit_for(f, "web");
    assert_int_equal(claim(f, T0 - 1, 5).n, 0);
    assert_int_equal(claim(f, T0 - 1, 5).next_due, T0);

    struct job_claimed first = claim(f, T0, 5);
    assert_int_equal(first.n, 1);
    assert_string_equal(first.jobs[0].id, id);
    assert_int_equal(first.jobs[0].epoch, 1);
    assert_int_equal(first.jobs[0].state, JOB_QUEUED);
    assert_int_equal(first.jobs[0].n_steps, 3);
    assert_int_equal(first.next_due, T0 + 30000);

    assert_int_equal(claim(f, T0 + 29999, 5).n, 0);
    struct job second = claim_one(f, T0 + 30000);
    assert_int_equal(second.epoch, 2);
    int64_t due = 0;
    MUST(f, store_next_due(f->store, &due, &f->err));
    assert_int_equal(due, T0 + 60000);
}

static void stale_epoch_writes_nothing(void **state)
{
    struct fixture *f = *state;
    const char *id = submit_for(f, "web");
    struct job late = claim_one(f, T0);
    struct job now = claim_one(f, T0 + 30000);
    struct job_step step = late.steps[0];
    step.state = STEP_SUCCEEDED;
    struct event_new event = {"step.succeeded", NULL};
    struct vm_write vm = {.resource_id = VM("web"), .set = VM_SET_STATE, .state = "ready"};
    struct audit audit = audit_of("job.finish", VM("web"));
    struct job_advance in = advance_of(&late, T0 + 30001);
    in.set = JOB_SET_STATE | JOB_SET_VARS;
    in.state = JOB_RUNNING;
    in.vars = "{\"late\":true}";
    in.steps = &step;
    in.n_steps = 1;
    in.events = &event;
    in.n_events = 1;
    in.vms = &vm;
    in.n_vms = 1;
    in.audit = &audit;
    assert_int_equal(DO(f, store_advance_job, &in, NULL), ERR_LEASE_LOST);

    struct job j = get_job(f, id);
    assert_int_equal(j.state, JOB_QUEUED);
    assert_string_equal(j.vars, "{}");
    assert_int_equal(j.steps[0].state, STEP_PENDING);
    assert_int_equal(j.last_event, 1);
    struct vm row;
    assert_int_equal(store_get_vm(f->store, f->arena, VM("web"), &row, &f->err), ERR_NOT_FOUND);
    struct audit_list list;
    MUST(f, store_list_audit(f->store, f->arena, 0, 10, &list, &f->err));
    assert_int_equal(list.n, 1);

    in.epoch = now.epoch;
    MUST(f, DO(f, store_advance_job, &in, NULL));
    assert_string_equal(get_job(f, id).vars, "{\"late\":true}");
}

static void released_job_is_not_written_by_its_former_worker(void **state)
{
    struct fixture *f = *state;
    submit_for(f, "web");
    struct job j = claim_one(f, T0);
    struct job_advance in = advance_of(&j, T0);
    in.set = JOB_RELEASE;
    in.due_at = T0 + 5000;
    MUST(f, DO(f, store_advance_job, &in, NULL));
    assert_int_equal(DO(f, store_advance_job, &in, NULL), ERR_LEASE_LOST);
    assert_int_equal(claim(f, T0 + 4999, 1).n, 0);
    assert_int_equal(claim(f, T0 + 5000, 1).n, 1);
}

static void renewal_keeps_the_lease(void **state)
{
    struct fixture *f = *state;
    submit_for(f, "a");
    submit_for(f, "b");
    struct job_claimed c = claim(f, T0, 2);
    struct job_lease leases[] = {{c.jobs[0].id, c.jobs[0].epoch, false},
                                 {c.jobs[1].id, c.jobs[1].epoch + 1, false}};
    struct job_renew in = {leases, 2, T0 + 90000};
    MUST(f, DO(f, store_renew_jobs, &in, NULL));
    assert_false(leases[0].lost);
    assert_true(leases[1].lost);
    struct job_claimed again = claim(f, T0 + 30000, 2);
    assert_int_equal(again.n, 1);
    assert_string_equal(again.jobs[0].id, c.jobs[1].id);
    assert_int_equal(again.next_due, T0 + 60000);
}

static void step_protocol_is_kept(void **state)
{
    struct fixture *f = *state;
    const char *id = submit_for(f, "web");
    struct job j = claim_one(f, T0);
    struct job_step s = j.steps[1];
    s.state = STEP_RUNNING;
    s.started_at = T0 + 1;
    s.attempts = 2;
    s.intent_method = "PUT";
    s.intent_url = "https://management.azure.com/x";
    s.intent_body_hash = "bh";
    s.intent_request_id = "crid";
    s.intent_at = T0 + 1;
    struct job_advance in = advance_of(&j, T0 + 1);
    in.set = JOB_SET_STATE | JOB_SET_STEP | JOB_SET_LEASE;
    in.state = JOB_RUNNING;
    in.current_step = 1;
    in.lease_until = T0 + 50000;
    in.steps = &s;
    in.n_steps = 1;
    struct job_advanced out;
    MUST(f, DO(f, store_advance_job, &in, &out));
    assert_int_equal(out.state, JOB_RUNNING);
    assert_false(out.cancel_requested);
    assert_false(out.woken);

    s.state = STEP_WAITING;
    s.created = true;
    s.poll_url = "https://management.azure.com/op/1";
    s.poll_kind = "azureAsyncOperation";
    s.poll_not_before = T0 + 2000;
    s.last_status = 201;
    s.vars = "{\"etag\":1}";
    s.detail = "accepted";
    struct event_new events[] = {{"step.waiting", "{\"a\":1}"}, {"job.waiting", NULL}};
    in = advance_of(&j, T0 + 2);
    in.set = JOB_SET_STATE | JOB_RELEASE | JOB_SET_VARS | JOB_SET_ATTEMPT;
    in.state = JOB_WAITING;
    in.due_at = T0 + 2000;
    in.vars = "{\"v\":2}";
    in.attempt = 3;
    in.steps = &s;
    in.n_steps = 1;
    in.events = events;
    in.n_events = 2;
    MUST(f, DO(f, store_advance_job, &in, &out));
    assert_int_equal(out.last_event, 3);

    j = get_job(f, id);
    assert_int_equal(j.state, JOB_WAITING);
    assert_int_equal(j.lease_until, 0);
    assert_int_equal(j.due_at, T0 + 2000);
    assert_int_equal(j.current_step, 1);
    assert_int_equal(j.attempt, 3);
    assert_string_equal(j.vars, "{\"v\":2}");
    assert_int_equal(j.updated_at, T0 + 2);
    const struct job_step *r = &j.steps[1];
    assert_int_equal(r->state, STEP_WAITING);
    assert_int_equal(r->started_at, T0 + 1);
    assert_int_equal(r->attempts, 2);
    assert_true(r->created);
    assert_string_equal(r->name, "nic");
    assert_string_equal(r->intent_method, "PUT");
    assert_string_equal(r->intent_url, s.intent_url);
    assert_string_equal(r->intent_body_hash, "bh");
    assert_string_equal(r->intent_request_id, "crid");
    assert_int_equal(r->intent_at, T0 + 1);
    assert_string_equal(r->poll_url, s.poll_url);
    assert_string_equal(r->poll_kind, s.poll_kind);
    assert_int_equal(r->poll_not_before, T0 + 2000);
    assert_int_equal(r->last_status, 201);
    assert_string_equal(r->vars, "{\"etag\":1}");
    assert_string_equal(r->detail, "accepted");

    struct event_list list;
    MUST(f, store_list_events(f->store, f->arena, id, 1, 10, &list, &f->err));
    assert_int_equal(list.n, 2);
    assert_int_equal(list.items[0].id, 2);
    assert_string_equal(list.items[0].data, "{\"a\":1}");
    assert_int_equal(list.items[1].id, 3);
    MUST(f, store_list_events(f->store, f->arena, id, 1, 1, &list, &f->err));
    assert_int_equal(list.n, 1);
}

static void unknown_step_takes_all_of_the_advance_back(void **state)
{
    struct fixture *f = *state;
    const char *id = submit_for(f, "web");
    struct job j = claim_one(f, T0);
    struct job_step s = {.seq = 3, .state = STEP_RUNNING};
    struct job_advance in = advance_of(&j, T0 + 1);
    in.set = JOB_SET_STATE;
    in.state = JOB_RUNNING;
    in.steps = &s;
    in.n_steps = 1;
    assert_int_equal(DO(f, store_advance_job, &in, NULL), ERR_NOT_FOUND);
    assert_int_equal(get_job(f, id).state, JOB_QUEUED);
}

static void an_enrolment_comes_with_the_move_that_sends_it(void **state)
{
    struct fixture *f = *state;
    const char *id = submit_for(f, "web");
    struct job j = claim_one(f, T0);
    struct enrollment_new token = {"token-hash", T0 + 5000}, later = {"token-hash", T0 + 6000};
    struct enrollment en = {0};
    struct job_advance in = advance_of(&j, T0 + 1);
    in.enrollment = &token;
    in.epoch++;
    assert_int_equal(DO(f, store_advance_job, &in, NULL), ERR_LEASE_LOST);
    assert_int_equal(store_get_enrollment(f->store, f->arena, "token-hash", &en, &f->err),
                     ERR_NOT_FOUND);
    in.epoch--;
    MUST(f, DO(f, store_advance_job, &in, NULL));
    in.enrollment = &later; /* sent again */
    in.now = T0 + 2;
    MUST(f, DO(f, store_advance_job, &in, NULL));
    MUST(f, store_get_enrollment(f->store, f->arena, "token-hash", &en, &f->err));
    assert_string_equal(en.job_id, id);
    assert_string_equal(en.resource_id, VM("web"));
    assert_int_equal(en.created_at, T0 + 1);
    assert_int_equal(en.expires_at, T0 + 5000);
    assert_int_equal(en.used_at, 0);
}

static enum err removes_group(struct fixture *f, const struct job *job, const char *group)
{
    struct job_advance in = advance_of(job, T0 + 1);
    in.set = JOB_SET_STATE;
    in.state = JOB_RUNNING;
    in.unless_vm_below = group;
    return DO(f, store_advance_job, &in, NULL);
}

static void group_is_removed_only_where_no_other_vm_is_known(void **state)
{
    struct fixture *f = *state;
    submit_for(f, "web");
    struct job job = claim_one(f, T0);
    assert_int_equal(removes_group(f, &job, RG), OK);
    struct job_new in_group = job_for(f, "web2");
    struct vm_write vm = {.resource_id = VM("web2"), .set = VM_SET_STATE, .state = "creating"};
    in_group.vm = &vm;
    submit(f, &in_group);
    assert_int_equal(removes_group(f, &job, "/SUBSCRIPTIONS/" SUB "/resourcegroups/PROD"),
                     ERR_OPERATION_IN_PROGRESS);
    assert_int_equal(removes_group(f, &job, "/subscriptions/" SUB "/resourceGroups/Pro"), OK);
    struct job_advance in = advance_of(&job, T0 + 1);
    in.set = JOB_SET_VARS;
    in.vars = "{\"refused\":true}";
    in.unless_vm_below = RG;
    assert_int_equal(DO(f, store_advance_job, &in, NULL), ERR_OPERATION_IN_PROGRESS);
    const char *vars = get_job(f, job.id).vars;
    assert_true(!vars || !strstr(vars, "refused"));
}

static enum err relies_on(struct fixture *f, const struct job *job, const char *maker)
{
    struct job_advance in = advance_of(job, T0 + 1);
    in.set = JOB_SET_STATE;
    in.state = JOB_RUNNING;
    in.unless_taken_back_by = maker;
    return DO(f, store_advance_job, &in, NULL);
}

static void what_is_taken_back_is_not_relied_on(void **state)
{
    struct fixture *f = *state;
    submit_for(f, "web");
    struct job maker = claim_one(f, T0);
    submit_for(f, "web2");
    struct job job = claim_one(f, T0 + 1);
    assert_int_equal(relies_on(f, &job, maker.id), OK);
    assert_int_equal(relies_on(f, &job, "no-such-job"), OK);

    struct job_step step = maker.steps[1];
    step.state = STEP_UNDOING; /* a later one: what the first made is still there */
    struct job_advance in = advance_of(&maker, T0 + 1);
    in.steps = &step;
    in.n_steps = 1;
    MUST(f, DO(f, store_advance_job, &in, NULL));
    assert_int_equal(relies_on(f, &job, maker.id), OK);
    step = maker.steps[0];
    step.state = STEP_UNDOING;
    MUST(f, DO(f, store_advance_job, &in, NULL));
    assert_int_equal(relies_on(f, &job, maker.id), ERR_OPERATION_IN_PROGRESS);

    in.set = JOB_SET_STATE;
    in.state = JOB_FAILED;
    MUST(f, DO(f, store_advance_job, &in, NULL));
    assert_int_equal(relies_on(f, &job, maker.id), OK);
}

static void end_wipes_secrets_and_is_final(void **state)
{
    struct fixture *f = *state;
    struct job_new new = job_for(f, "web");
    struct job_secret secrets[] = {{"a", BYTES_STR("1")}, {"b", BYTES_STR("2")}};
    new.secrets = secrets;
    new.n_secrets = 2;
    const char *id = submit(f, &new);
    struct job j = claim_one(f, T0);
    const char *wipe[] = {"a"};
    struct job_advance in = advance_of(&j, T0 + 1);
    in.wipe = wipe;
    in.n_wipe = 1;
    MUST(f, DO(f, store_advance_job, &in, NULL));
    struct bytes sealed;
    assert_int_equal(store_get_secret(f->store, f->arena, id, "a", &sealed, &f->err),
                     ERR_NOT_FOUND);
    MUST(f, store_get_secret(f->store, f->arena, id, "b", &sealed, &f->err));

    struct audit audit = audit_of("job.succeeded", VM("web"));
    in = advance_of(&j, T0 + 2);
    in.set = JOB_SET_STATE | JOB_SET_RESULT;
    in.state = JOB_SUCCEEDED;
    in.result = "{\"vmId\":\"x\"}";
    in.audit = &audit;
    MUST(f, DO(f, store_advance_job, &in, NULL));
    assert_int_equal(store_get_secret(f->store, f->arena, id, "b", &sealed, &f->err),
                     ERR_NOT_FOUND);
    j = get_job(f, id);
    assert_int_equal(j.state, JOB_SUCCEEDED);
    assert_int_equal(j.ended_at, T0 + 2);
    assert_int_equal(j.lease_until, 0);
    assert_string_equal(j.result, "{\"vmId\":\"x\"}");
    struct audit_list list;
    MUST(f, store_list_audit(f->store, f->arena, 0, 10, &list, &f->err));
    assert_int_equal(list.n, 2);
    assert_string_equal(list.items[1].job_id, id);

    in.set = JOB_SET_STATE;
    in.state = JOB_RUNNING;
    assert_int_equal(DO(f, store_advance_job, &in, NULL), ERR_LEASE_LOST);
    assert_int_equal(claim(f, T0 + 999999, 5).n, 0);
    assert_int_equal(claim(f, T0 + 999999, 5).next_due, 0);
}

static void only_the_tables_transitions_are_written(void **state)
{
    struct fixture *f = *state;
    for (int from = 0; from < JOB_STATES; from++) {
        for (int to = 0; to < JOB_STATES; to++) {
            if (job_state_terminal((enum job_state)from) || from == JOB_CANCELING)
                continue;
            const char *id = submit_for(f, arena_printf(f->arena, "vm-%d-%d", from, to));
            struct job j = claim_one(f, T0);
            assert_string_equal(j.id, id);
            struct job_advance in = advance_of(&j, T0);
            in.set = JOB_SET_STATE;
            in.state = (enum job_state)from;
            MUST(f, DO(f, store_advance_job, &in, NULL));
            in.state = (enum job_state)to;
            bool may = job_may_go((enum job_state)from, (enum job_state)to, JOB_BY_ENGINE);
            assert_int_equal(DO(f, store_advance_job, &in, NULL), may ? OK : ERR_INVALID_STATE);
            assert_int_equal(get_job(f, id).state, may ? to : from);
        }
    }
}

static void cancel_during_a_lease_is_seen_and_kept(void **state)
{
    struct fixture *f = *state;
    const char *id = submit_for(f, "web");
    struct job j = claim_one(f, T0);
    struct job_request cancel = {
        .job_id = id, .now = T0 + 1, .event = {"job.canceling", NULL}, .audit = audit_of("c", "")};
    MUST(f, DO(f, store_cancel_job, &cancel, NULL));
    assert_int_equal(claim(f, T0 + 2, 1).n, 0); /* not taken from its worker */

    struct job_advance in = advance_of(&j, T0 + 3);
    in.set = JOB_SET_STATE | JOB_RELEASE;
    in.state = JOB_WAITING;
    in.due_at = T0 + 60000;
    struct job_advanced out;
    MUST(f, DO(f, store_advance_job, &in, &out));
    assert_int_equal(out.state, JOB_CANCELING);
    assert_true(out.cancel_requested);
    assert_true(out.woken);
    j = claim_one(f, T0 + 3); /* due now, not in a minute */
    assert_int_equal(j.state, JOB_CANCELING);

    in = advance_of(&j, T0 + 4);
    in.set = JOB_SET_STATE | JOB_RELEASE;
    in.state = JOB_RUNNING;
    in.due_at = T0 + 60000;
    MUST(f, DO(f, store_advance_job, &in, &out));
    assert_int_equal(out.state, JOB_CANCELING);
    assert_false(out.woken); /* this claim knew */
    assert_int_equal(claim(f, T0 + 5, 1).n, 0);
}

static void recovery_voids_leases_and_fences(void **state)
{
    struct fixture *f = *state;
    submit_for(f, "a");
    submit_for(f, "b");
    struct job_claimed c = claim(f, T0, 1);
    struct job_recover in = {.now = T0 + 5, .latest = T0 + 5};
    struct job_recovered out;
    MUST(f, DO(f, store_recover_jobs, &in, &out));
    assert_int_equal(out.jobs, 1);
    struct job_advance late = advance_of(&c.jobs[0], T0 + 6);
    assert_int_equal(DO(f, store_advance_job, &late, NULL), ERR_LEASE_LOST);
    assert_int_equal(claim(f, T0 + 5, 5).n, 2);
}

/* What a lease's polls noted holds beyond the process, and no longer than the lease. */
static void recovery_keeps_the_time_of_polls(void **state)
{
    struct fixture *f = *state;
    const int64_t lease = T0 + 7200000;
    for (int i = 0; i < 3; i++)
        submit_for(f, arena_printf(f->arena, "web%d", i));
    struct job_claimed c = claim(f, T0, 3);
    for (int i = 0; i < 3; i++) {
        struct job_advance in = advance_of(&c.jobs[i], T0 + 1);
        in.set = JOB_SET_LEASE;
        in.lease_until = lease;
        in.not_before = i < 2 ? T0 + 30000 : 0;
        MUST(f, DO(f, store_advance_job, &in, NULL));
    }
    struct job_poll polls[] = {{c.jobs[0].id, lease, T0 + 60000},
                               {c.jobs[1].id, lease, T0 + 60000},
                               {c.jobs[2].id, lease, T0 + 9000000},
                               {"gone", lease, T0}};
    struct job_polls in = {polls, 4};
    MUST(f, DO(f, store_note_polls, &in, NULL));
    struct job_advance on = advance_of(&c.jobs[1], T0 + 2);
    on.set = JOB_SET_LEASE;
    on.lease_until = lease + 1; /* it went on: its notes are void */
    MUST(f, DO(f, store_advance_job, &on, NULL));
    struct job_recover recover = {.now = T0 + 5000, .latest = T0 + 100000};
    struct job_recovered out;
    MUST(f, DO(f, store_recover_jobs, &recover, &out));
    assert_int_equal(out.jobs, 3);
    assert_int_equal(get_job(f, c.jobs[0].id).due_at, T0 + 60000);
    assert_int_equal(get_job(f, c.jobs[1].id).due_at, T0 + 5000);
    assert_int_equal(get_job(f, c.jobs[2].id).due_at, T0 + 100000); /* by a clock that was ahead */
}

static void subscriptions_take_turns(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 30; i++) {
        struct job_new in = job_for(f, arena_printf(f->arena, "big%d", i));
        in.subscription_id = "aaaa";
        in.now = T0 - 1000; /* the oldest */
        submit(f, &in);
    }
    for (int i = 0; i < 3; i++) {
        struct job_new in = job_for(f, arena_printf(f->arena, "small%d", i));
        in.subscription_id = i < 2 ? "Bbbb" : "cccc";
        submit(f, &in);
    }
    struct job_claim in = {.now = T0, .lease_until = T0 + 1, .limit = 6, .per_subscription = 4};
    struct job_claimed out = {.arena = f->arena};
    int big = 0, small = 0;
    MUST(f, DO(f, store_claim_jobs, &in, &out));
    for (int i = 0; i < out.n; i++)
        *(strcmp(out.jobs[i].subscription_id, "aaaa") ? &small : &big) += 1;
    assert_int_equal(big, 4);
    assert_int_equal(small, 2);
    assert_int_equal(out.next_due, T0 - 1000);

    /* Without a cap, too, the next claim begins after the one that was served last. */
    in.per_subscription = 0;
    MUST(f, DO(f, store_claim_jobs, &in, &out));
    assert_int_equal(out.n, 6);
    assert_string_equal(out.jobs[0].subscription_id, "cccc");
}

static void job_without_subscription_is_claimed(void **state)
{
    struct fixture *f = *state;
    struct job_new in = job_for(f, "web");
    in.subscription_id = NULL;
    in.resource_id = "";
    in.shared = true;
    const char *id = submit(f, &in);
    assert_string_equal(claim_one(f, T0).id, id);
}

struct claimer {
    struct fixture *f;
    int won;
    int lost_lease;
};

static void *claim_and_finish(void *arg)
{
    struct claimer *c = arg;
    struct fixture own = *c->f;
    own.arena = arena_new();
    for (int idle = 0; idle < 3;) {
        struct job_claim in = {.now = T0, .lease_until = T0 + 1000, .limit = 3};
        struct job_claimed out = {.arena = own.arena};
        struct store_waiter w;
        store_claim_jobs(own.store, &in, &out, store_waiter_init(&w));
        if (store_wait(&w, &own.err))
            break;
        idle = out.n ? 0 : idle + 1;
        for (int i = 0; i < out.n; i++) {
            struct job_advance end = advance_of(&out.jobs[i], T0);
            end.set = JOB_SET_STATE;
            end.state = JOB_SUCCEEDED;
            store_advance_job(own.store, &end, NULL, store_waiter_init(&w));
            *(store_wait(&w, &own.err) ? &c->lost_lease : &c->won) += 1;
        }
    }
    arena_free(own.arena);
    return NULL;
}

static void racing_claimers_never_share_a_job(void **state)
{
    struct fixture *f = *state;
    enum { JOBS = 120, CLAIMERS = 4 };
    for (int i = 0; i < JOBS; i++)
        submit_for(f, arena_printf(f->arena, "vm%d", i));
    pthread_t threads[CLAIMERS];
    struct claimer claimers[CLAIMERS];
    int won = 0;
    for (int i = 0; i < CLAIMERS; i++) {
        claimers[i] = (struct claimer){.f = f};
        assert_int_equal(pthread_create(&threads[i], NULL, claim_and_finish, &claimers[i]), 0);
    }
    for (int i = 0; i < CLAIMERS; i++) {
        pthread_join(threads[i], NULL);
        won += claimers[i].won;
        assert_int_equal(claimers[i].lost_lease, 0);
    }
    assert_int_equal(won, JOBS);
    struct job_counts counts;
    MUST(f, store_count_jobs(f->store, &counts, &f->err));
    assert_int_equal(counts.by_state[JOB_SUCCEEDED], JOBS);
}

struct stress {
    struct fixture *f;
    int first;
    atomic_bool *stop;
};

/* Submits jobs and brings each to its end, with an event for each move. */
static void *drive_jobs(void *arg)
{
    struct stress *s = arg;
    struct fixture own = *s->f;
    own.arena = arena_new();
    for (int i = 0; i < 60; i++) {
        struct job_new in = job_for(&own, arena_printf(own.arena, "vm%d", s->first + i));
        struct vm_write vm = {.resource_id = in.resource_id, .set = VM_SET_STATE, .state = "new"};
        struct job_submitted out;
        in.vm = &vm;
        struct store_waiter w;
        store_submit_job(own.store, &in, &out, store_waiter_init(&w));
        if (store_wait(&w, &own.err))
            abort();
        struct job_claim claim = {.now = T0, .lease_until = T0 + 1000, .limit = 1};
        struct job_claimed claimed = {.arena = own.arena};
        store_claim_jobs(own.store, &claim, &claimed, store_waiter_init(&w));
        if (store_wait(&w, &own.err))
            abort();
        struct event_new events[] = {{"a", NULL}, {"b", NULL}};
        for (int k = 0; k < claimed.n; k++) {
            struct job_advance end = advance_of(&claimed.jobs[k], T0);
            end.set = JOB_SET_STATE;
            end.state = JOB_SUCCEEDED;
            end.events = events;
            end.n_events = 2;
            store_advance_job(own.store, &end, NULL, store_waiter_init(&w));
            if (store_wait(&w, &own.err))
                abort();
        }
        arena_reset(own.arena);
    }
    arena_free(own.arena);
    return NULL;
}

/* What a reader sees of a job is of one moment: state and event count agree. */
static void *watch_jobs(void *arg)
{
    struct stress *s = arg;
    struct arena *a = arena_new();
    while (!atomic_load(s->stop)) {
        struct job_filter all = {.page = {.limit = 20}};
        struct job_list list;
        struct err_info e;
        if (store_list_jobs(s->f->store, a, &all, &list, &e))
            abort();
        for (size_t i = 0; i < list.n; i++) {
            const struct job *j = &list.items[i];
            if (j->n_steps != 3 || j->last_event != (j->state == JOB_SUCCEEDED ? 3 : 1))
                abort();
        }
        arena_reset(a);
    }
    arena_free(a);
    return NULL;
}

static void readers_see_whole_transactions(void **state)
{
    struct fixture *f = *state;
    atomic_bool stop = false;
    struct stress s[] = {{f, 0, &stop}, {f, 1000, &stop}, {f, 0, &stop}, {f, 0, &stop}};
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, i < 2 ? drive_jobs : watch_jobs, &s[i]), 0);
    pthread_join(t[0], NULL);
    pthread_join(t[1], NULL);
    atomic_store(&stop, true);
    pthread_join(t[2], NULL);
    pthread_join(t[3], NULL);
    struct job_counts counts;
    MUST(f, store_count_jobs(f->store, &counts, &f->err));
    assert_int_equal(counts.by_state[JOB_SUCCEEDED] + counts.by_state[JOB_QUEUED], 120);
}

struct seen {
    pthread_mutex_t lock;
    char text[400];
};

static void note_change(void *ctx, const char *job_id, enum job_state state, int64_t due_at)
{
    struct seen *s = ctx;
    pthread_mutex_lock(&s->lock);
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof s->text - n, "%s:%d ", job_state_text(state),
             (int)(due_at ? due_at - T0 : -1));
    pthread_mutex_unlock(&s->lock);
}

static void watcher_is_told_of_each_job_written(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER};
    store_watch(f->store, note_change, &seen);
    submit_for(f, "web");
    struct job_new busy = job_for(f, "web");
    busy.body_hash = "other";
    struct job_submitted out;
    assert_int_equal(DO(f, store_submit_job, &busy, &out), ERR_OPERATION_IN_PROGRESS);
    struct job j = claim_one(f, T0);
    struct job_advance in = advance_of(&j, T0 + 1);
    in.set = JOB_SET_STATE | JOB_RELEASE;
    in.state = JOB_WAITING;
    in.due_at = T0 + 7;
    MUST(f, DO(f, store_advance_job, &in, NULL));
    j = claim_one(f, T0 + 7);
    finish_job(f, &j, JOB_FAILED, T0 + 8);
    store_watch(f->store, NULL, NULL);
    submit_for(f, "db");
    assert_string_equal(seen.text, "queued:0 waiting:7 failed:-1 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(claim_leases_and_lease_expires),
        STORE_TEST(stale_epoch_writes_nothing),
        STORE_TEST(released_job_is_not_written_by_its_former_worker),
        STORE_TEST(renewal_keeps_the_lease),
        STORE_TEST(step_protocol_is_kept),
        STORE_TEST(unknown_step_takes_all_of_the_advance_back),
        STORE_TEST(an_enrolment_comes_with_the_move_that_sends_it),
        STORE_TEST(group_is_removed_only_where_no_other_vm_is_known),
        STORE_TEST(what_is_taken_back_is_not_relied_on),
        STORE_TEST(end_wipes_secrets_and_is_final),
        STORE_TEST(only_the_tables_transitions_are_written),
        STORE_TEST(cancel_during_a_lease_is_seen_and_kept),
        STORE_TEST(recovery_voids_leases_and_fences),
        STORE_TEST(recovery_keeps_the_time_of_polls),
        STORE_TEST(subscriptions_take_turns),
        STORE_TEST(job_without_subscription_is_claimed),
        STORE_TEST(readers_see_whole_transactions),
        STORE_TEST(racing_claimers_never_share_a_job),
        STORE_TEST(watcher_is_told_of_each_job_written),
    };
    return cmocka_run_group_tests_name("store: engine", tests, NULL, NULL);
}
