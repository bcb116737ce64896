#include "jobs/engine.h"

#include "core/keyring.h"
#include "jobs/preflight.h"
#include "openapi/schemas.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#define IDEMPOTENCY_MS (24 * 60 * 60 * 1000)
#define PLANS_MAX      8
#define MAC_TEXT_SIZE  (2 * KEYRING_MAC_SIZE + 1)

/* ---- specs as they are stored ---- */

/* A stored spec has no password; the schema asks for one where there are no keys. */
static void put_placeholder(json_t *spec)
{
    json_t *admin = json_object_get(spec, "admin");
    if (admin && !json_object_get(admin, "sshPublicKeys"))
        json_object_set_new(admin, "password", json_string("placeholder-password"));
}

struct vm_spec *spec_load(struct arena *a, const char *text)
{
    struct vm_spec *spec = ARENA_NEW(a, struct vm_spec);
    AUTO(json) json_t *v = NULL;
    if (!text || json_parse(BYTES_STR(text), &v, NULL))
        return NULL;
    put_placeholder(v);
    return json_decode(v, &vm_spec_schema, a, spec, NULL) ? NULL : spec;
}

static const char *spec_text(struct arena *a, const struct vm_spec *spec)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    json_encode(&w, &vm_spec_schema, spec);
    const char *text = arena_strndup(a, out.data, out.len);
    buf_free(&out);
    return text;
}

void spec_vm_write(struct arena *a, const struct vm_plan *p, const char *spec, struct vm_write *out)
{
    *out = (struct vm_write){.resource_id = p->vm_id,
                             .set = VM_SET_PLACE | VM_SET_STATE | VM_SET_SPEC | VM_SET_EXPECT |
                                    VM_SET_STATUS,
                             .name = p->name,
                             .location = p->location,
                             .origin = "created",
                             .state = "creating",
                             .spec = spec,
                             .secure_boot = p->secure_boot,
                             .vtpm = p->vtpm,
                             .monitoring = p->attested,
                             .status = p->attested ? VM_UNKNOWN : VM_UNMONITORED,
                             .reasons = p->attested ? "[\"no_report\"]"
                                        : p->vtpm   ? "[\"monitoring_off\"]"
                                                    : "[\"no_vtpm\"]"};
}

/* ---- what makes two requests the same ---- */

/* A MAC, not a hash: the password is part of it. */
static bool fingerprint(struct jobs *j, const struct jobs_origin *o, const char *resource_id,
                        const struct vm_spec *spec, const char *text, char out[MAC_TEXT_SIZE])
{
    char lower[768];
    uint8_t mac[KEYRING_MAC_SIZE];
    size_t n = strlen(resource_id);
    if (n >= sizeof lower)
        return false;
    for (size_t i = 0; i < n; i++)
        lower[i] = (char)tolower((unsigned char)resource_id[i]);
    const char *password = spec && spec->admin->password.text ? spec->admin->password.text : "";
    struct bytes parts[] = {BYTES_STR(o->operation), BYTES(lower, n), BYTES_STR(text),
                            BYTES_STR(password)};
    const struct keyring *k = j->config.keyring;
    if (!keyring_mac(k, KEY_FINGERPRINT, keyring_current(k, KEY_FINGERPRINT), parts,
                     ARRAY_LEN(parts), mac))
        return false;
    hex_encode(BYTES_OF(mac), out);
    return true;
}

/* ---- one submission under way ---- */

struct submission;
typedef enum err plan_fn(struct submission *s, struct err_info *e);

struct submission {
    struct jobs *jobs;
    struct arena *arena;
    plan_fn *plan; /* fills `in` from the registry as it is */
    int plans;
    bool answered; /* by the plan: there is nothing to submit */
    const struct jobs_origin *origin;
    const struct jobs_vm_ref *ref;
    const struct vm_spec *spec;
    const struct jobs_preflight *judged;
    const char *wanted; /* digest of the only plan that may run; NULL: any */
    const char *text;   /* of the spec, once it was needed */
    struct jobs_submitted *out;
    struct store_done *done; /* the caller's, the store's meanwhile: ours ends it */
    void (*then)(struct store_done *done);
    void *user;
    struct job_new in;
    struct job_submitted stored;
    struct job_request request;
    struct idempotency idempotency;
    struct vm_write vm;
    struct job_secret secret;
    char id[UUID_SIZE];
    char mac[MAC_TEXT_SIZE];
    const char *steps[16];
};

static void finish(struct submission *s, enum err err, const struct err_info *e)
{
    struct store_done *done = s->done;
    done->fn = s->then;
    done->user = s->user;
    done->err = err;
    if (err && e != &done->info)
        done->info = *e;
    done->fn(done);
}

static void finish_read(struct submission *s, const char *job_id)
{
    struct err_info e = {0};
    enum err err = store_get_job(s->jobs->config.store, s->arena, job_id, NULL, &s->out->job, &e);
    finish(s, err, &e);
}

/* A new job is known without reading it. */
static void fill_created(struct submission *s)
{
    const struct job_new *in = &s->in;
    struct job *job = &s->out->job;
    *job = (struct job){.id = in->id,
                        .kind = in->kind,
                        .state = JOB_QUEUED,
                        .resource_id = in->resource_id,
                        .subscription_id = in->subscription_id,
                        .created_at = in->now,
                        .updated_at = in->now,
                        .due_at = in->now,
                        .deadline_at = in->deadline_at,
                        .created_by_id = in->audit.principal_id,
                        .created_by = in->audit.principal,
                        .request_id = in->audit.request_id,
                        .traceparent = in->audit.traceparent,
                        .spec = in->spec,
                        .vars = in->vars,
                        .last_event = 1,
                        .n_steps = in->n_steps};
    job->steps = arena_array(s->arena, (size_t)in->n_steps, sizeof *job->steps);
    for (int i = 0; i < in->n_steps; i++)
        job->steps[i] = (struct job_step){.seq = i, .name = in->steps[i]};
}

static void on_submitted(struct store_done *done);

/* The registry is read before the job is queued: what changes it meanwhile (the end of another job, a
 * report) makes the plan void. */
static void plan_and_submit(struct submission *s)
{
    struct err_info *e = &s->done->info;
    err_clear(e);
    s->plans++;
    s->in = (struct job_new){0};
    s->done->fn = on_submitted;
    s->done->user = s;
    enum err err = s->plan(s, e);
    if (err || s->answered)
        finish(s, err, e);
    else
        store_submit_job(s->jobs->config.store, &s->in, &s->stored, s->done);
}

static void on_submitted(struct store_done *done)
{
    struct submission *s = done->user;
    bool stale = done->err == ERR_PRECONDITION_FAILED;
    bool guessed = s->judged && s->judged->guessed;
    if (stale && !guessed && s->plans < PLANS_MAX) {
        plan_and_submit(s);
        return;
    }
    if (stale && !guessed)
        done->err = err_set(&done->info, ERR_UNAVAILABLE, "the VM changes all the time");
    if (done->err) {
        finish(s, done->err, &done->info);
        return;
    }
    s->out->replayed = s->stored.outcome != SUBMIT_CREATED;
    if (s->out->replayed) {
        finish_read(s, arena_strdup(s->arena, s->stored.job_id));
        return;
    }
    fill_created(s);
    finish(s, OK, NULL);
}

static struct submission *submission_of(struct jobs *j, struct arena *a, struct jobs_submitted *out,
                                        struct store_done *done)
{
    struct submission *s = ARENA_NEW(a, struct submission);
    s->jobs = j;
    s->arena = a;
    s->out = out;
    s->done = done;
    s->then = done ? done->fn : NULL;
    s->user = done ? done->user : NULL;
    return s;
}

static struct audit audit_of(const struct jobs_origin *o, const char *action,
                             const char *resource_id)
{
    return (struct audit){.principal_id = o->who->id,
                          .principal = o->who->name,
                          .action = action,
                          .resource_id = resource_id,
                          .request_id = o->request_id,
                          .traceparent = o->traceparent,
                          .peer = o->peer};
}

static void fill_idempotency(struct submission *s, const struct jobs_origin *o, int64_t now)
{
    s->idempotency = (struct idempotency){.principal_id = o->who->id,
                                          .operation = o->operation,
                                          .key = o->idempotency_key,
                                          .fingerprint = s->mac,
                                          .expires_at = now + IDEMPOTENCY_MS};
}

static const char *encode_vars(struct arena *a, const struct vm_vars *vars)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    json_encode(&w, &vm_vars_schema, vars);
    const char *text = arena_strndup(a, out.data, out.len);
    buf_free(&out);
    return text;
}

/* Everything of a job that does not depend on its kind. */
static void fill_job(struct submission *s, const struct jobs_origin *o, const struct work *w,
                     const struct workflow *flow)
{
    struct job_new *in = &s->in;
    int64_t now = engine_now(s->jobs);
    in->id = s->id;
    in->kind = flow->kind;
    in->resource_id = w->plan->vm_id;
    in->subscription_id = w->plan->subscription;
    in->vars = encode_vars(s->arena, &w->vars);
    in->body_hash = s->mac;
    in->steps = s->steps;
    in->now = now;
    in->due_at = now;
    in->deadline_at = now + s->jobs->config.job_deadline_ms;
    in->planned_on_vm = true;
    in->vm_etag = w->vm ? w->vm->etag : NULL;
    in->vm_first = s->judged && s->judged->guessed;
    in->audit = audit_of(o, flow->kind, w->plan->vm_id);
    for (size_t i = 0; i < flow->n_steps; i++)
        if (!flow->steps[i].applies || flow->steps[i].applies(w))
            s->steps[in->n_steps++] = flow->steps[i].name;
    if (!o->idempotency_key)
        return;
    fill_idempotency(s, o, now);
    in->idempotency = &s->idempotency;
}

/* The owner's id marks what belongs to this VM; it is the job that made it first. */
static const char *owner_of(struct arena *a, const struct vm *vm, const char *job_id)
{
    AUTO(json) json_t *v = NULL;
    if (!vm || !vm->made || json_parse(BYTES_STR(vm->made), &v, NULL))
        return job_id;
    const char *owner = json_path_str(v, "owner");
    return owner ? arena_strdup(a, owner) : job_id;
}

static const struct vm *read_vm(struct jobs *j, struct arena *a, const char *resource_id,
                                enum err *err, struct err_info *e)
{
    struct vm *vm = ARENA_NEW(a, struct vm);
    *err = store_get_vm(j->config.store, a, resource_id, vm, e);
    return *err ? NULL : vm;
}

/* ---- of which state a request speaks ---- */

bool jobs_origin_holds(const struct jobs_origin *o, const struct vm *vm)
{
    if (o->only_new && vm)
        return false;
    if (!o->if_etag)
        return true;
    size_t n = vm ? strlen(vm->etag) : 0;
    /* What was read when its report was too old has the same row. */
    return vm && strncmp(o->if_etag, vm->etag, n) == 0 &&
           (!o->if_etag[n] || strcmp(o->if_etag + n, VM_ETAG_OLD) == 0);
}

/* The first request may have made the state that the repetition finds. */
static enum err check_state(struct submission *s, const struct vm *vm, struct err_info *e)
{
    if (jobs_origin_holds(s->origin, vm))
        return OK;
    enum err err = jobs_find_replay(s->jobs, s->arena, s->origin, s->ref, s->spec, &s->answered,
                                    &s->out->job, e);
    s->out->replayed = s->answered;
    if (err || s->answered)
        return err;
    return err_set(e, ERR_PRECONDITION_FAILED, "%s",
                   !vm                   ? "there is no such VM"
                   : s->origin->only_new ? "the VM exists"
                                         : "the VM has changed");
}

/* ---- put ---- */

static void add_password(struct submission *s, const struct vm_spec *spec)
{
    struct secret password = spec->admin->password;
    if (!password.text)
        return;
    s->secret = (struct job_secret){.name = "password",
                                    .sealed = keyring_seal(s->jobs->config.keyring, s->arena,
                                                           BYTES(password.text, password.len),
                                                           BYTES_STR(s->id))};
    s->in.secrets = &s->secret;
    s->in.n_secrets = 1;
}

static void add_vm_row(struct submission *s, const struct work *w)
{
    if (w->vars.new_vm) {
        spec_vm_write(s->arena, w->plan, s->in.spec, &s->vm);
    } else {
        s->vm = (struct vm_write){.resource_id = w->plan->vm_id,
                                  .set = VM_SET_STATE | VM_ONLY_IF_THERE,
                                  .state = "updating"};
    }
    s->in.vm = &s->vm;
}

/* The first plan is of what the preflight found, since the store sees when that is not so any more. */
static enum err find_row(struct submission *s, const char *vm_id, const struct vm **row,
                         struct err_info *e)
{
    enum err err = OK;
    *row = s->judged && s->plans == 1 ? s->judged->row : read_vm(s->jobs, s->arena, vm_id, &err, e);
    return err == ERR_NOT_FOUND ? OK : err;
}

static enum err fill_spec(struct submission *s, const char *vm_id, struct err_info *e)
{
    if (!s->text) {
        s->text = spec_text(s->arena, s->spec);
        if (!fingerprint(s->jobs, s->origin, vm_id, s->spec, s->text, s->mac))
            return err_set(e, ERR_INTERNAL, "no key for fingerprints");
    }
    s->in.spec = s->text;
    return OK;
}

static enum err plan_put(struct submission *s, struct err_info *e)
{
    struct jobs *j = s->jobs;
    const struct jobs_vm_ref *ref = s->ref;
    const struct vm_spec *spec = s->spec;
    struct work w = {.arena = s->arena,
                     .plan = s->judged ? s->judged->plan : vm_plan_of(s->arena, ref, spec)};
    enum err err = find_row(s, w.plan->vm_id, &w.vm, e);
    if (err || (err = check_state(s, w.vm, e)) || s->answered)
        return err;
    uuid_v7(engine_now(j), s->id);
    w.vars = (struct vm_vars){.owner = owner_of(s->arena, w.vm, s->id),
                              .name = ref->name,
                              .resource_group = ref->resource_group,
                              .enrollment_key = keyring_current(j->config.keyring, KEY_ENROLLMENT),
                              .new_vm = !w.vm || !w.vm->vm_id,
                              .changes = w.vm ? vm_changes(s->arena, ref, w.vm->spec, spec) : 0};
    if ((err = fill_spec(s, w.plan->vm_id, e)))
        return err;
    fill_job(s, s->origin, &w, workflow_find(KIND_VM_PUT));
    add_vm_row(s, &w);
    add_password(s, spec);
    return OK;
}

void jobs_submit_vm_put(struct jobs *j, struct arena *a, const struct jobs_origin *origin,
                        const struct jobs_vm_ref *vm, const struct vm_spec *spec,
                        const struct jobs_preflight *judged, struct jobs_submitted *out,
                        struct store_done *done)
{
    struct submission *s = submission_of(j, a, out, done);
    s->plan = plan_put;
    s->origin = origin;
    s->ref = vm;
    s->spec = spec;
    s->judged = judged;
    plan_and_submit(s);
}

/* ---- delete ---- */

static enum err refuse_unknown(struct err_info *e)
{
    return err_set(e, ERR_NOT_FOUND, "no VM of this gateway has that name");
}

/* The repetition of a deletion that has ended finds its job. */
static enum err find_deletion(struct submission *s, struct err_info *e)
{
    enum err err =
        jobs_find_replay(s->jobs, s->arena, s->origin, s->ref, NULL, &s->answered, &s->out->job, e);
    s->out->replayed = s->answered;
    return err || s->answered ? err : refuse_unknown(e);
}

static enum err read_deletion(struct jobs *j, struct arena *a, const struct jobs_vm_ref *ref,
                              struct work *w, struct jobs_preflight *plan, struct err_info *e)
{
    enum err err;
    *w = (struct work){.arena = a, .plan = vm_plan_of(a, ref, NULL)};
    w->vm = read_vm(j, a, w->plan->vm_id, &err, e);
    if (err == ERR_NOT_FOUND)
        return refuse_unknown(e);
    if (err)
        return err;
    w->plan = vm_plan_of(a, ref, spec_load(a, w->vm->spec));
    if (plan)
        preflight_plan_delete(w, plan);
    return OK;
}

enum err jobs_plan_vm_delete(struct jobs *j, struct jobs_preflight *p, struct err_info *e)
{
    struct work w;
    p->observed_at = engine_now(j);
    enum err err = read_deletion(j, p->arena, &p->vm, &w, p, e);
    p->row = err ? NULL : w.vm;
    return err;
}

static enum err plan_delete(struct submission *s, struct err_info *e)
{
    struct jobs *j = s->jobs;
    const struct jobs_vm_ref *ref = s->ref;
    struct jobs_preflight plan;
    struct work w;
    enum err err = read_deletion(j, s->arena, ref, &w, s->wanted ? &plan : NULL, e);
    if (err == ERR_NOT_FOUND)
        return find_deletion(s, e);
    if (err || (err = check_state(s, w.vm, e)) || s->answered)
        return err;
    if (s->wanted && strcasecmp(s->wanted, plan.plan_digest) != 0)
        return err_set(e, ERR_PLAN_STALE, "the plan is by now %s", plan.plan_digest);
    uuid_v7(engine_now(j), s->id);
    w.vars = (struct vm_vars){.owner = owner_of(s->arena, w.vm, s->id),
                              .name = ref->name,
                              .resource_group = ref->resource_group};
    s->in.spec = w.vm->spec ? w.vm->spec : "{}";
    if (!fingerprint(j, s->origin, w.plan->vm_id, NULL, "", s->mac))
        return err_set(e, ERR_INTERNAL, "no key for fingerprints");
    fill_job(s, s->origin, &w, workflow_find(KIND_VM_DELETE));
    s->vm = (struct vm_write){
        .resource_id = w.plan->vm_id, .set = VM_SET_STATE | VM_ONLY_IF_THERE, .state = "deleting"};
    s->in.vm = &s->vm;
    return OK;
}

void jobs_submit_vm_delete(struct jobs *j, struct arena *a, const struct jobs_origin *origin,
                           const struct jobs_vm_ref *vm, const char *plan,
                           struct jobs_submitted *out, struct store_done *done)
{
    struct submission *s = submission_of(j, a, out, done);
    s->plan = plan_delete;
    s->wanted = plan;
    s->origin = origin;
    s->ref = vm;
    plan_and_submit(s);
}

enum err jobs_find_replay(struct jobs *j, struct arena *a, const struct jobs_origin *origin,
                          const struct jobs_vm_ref *vm, const struct vm_spec *spec, bool *found,
                          struct job *out, struct err_info *e)
{
    struct submission *s = submission_of(j, a, NULL, NULL);
    const char *job_id = NULL;
    *found = false;
    if (!origin->idempotency_key)
        return OK;
    const struct vm_plan *p = vm_plan_of(a, vm, NULL);
    if (!fingerprint(j, origin, p->vm_id, spec, spec ? spec_text(a, spec) : "", s->mac))
        return err_set(e, ERR_INTERNAL, "no key for fingerprints");
    int64_t now = engine_now(j);
    fill_idempotency(s, origin, now);
    enum err err = store_find_replay(j->config.store, a, &s->idempotency, now, &job_id, e);
    if (err == ERR_NOT_FOUND)
        return OK;
    if (err)
        return err;
    *found = true;
    return store_get_job(j->config.store, a, job_id, NULL, out, e);
}

/* ---- cancel and retry ---- */

static void on_requested(struct store_done *done)
{
    struct submission *s = done->user;
    if (done->err)
        finish(s, done->err, &done->info);
    else
        finish_read(s, s->request.job_id);
}

static enum err fill_request(struct submission *s, const struct jobs_origin *o, const char *id,
                             const char *action, const char *event, struct job *job,
                             struct err_info *e)
{
    struct jobs *j = s->jobs;
    int64_t now = engine_now(j);
    enum err err = store_get_job(j->config.store, s->arena, id, o->who->scope, job, e);
    if (err)
        return err;
    if (!fingerprint(j, o, job->resource_id, NULL, job->id, s->mac))
        return err_set(e, ERR_INTERNAL, "no key for fingerprints");
    s->request = (struct job_request){.job_id = job->id,
                                      .scope = o->who->scope,
                                      .now = now,
                                      .event = {.type = "state", .data = event},
                                      .audit = audit_of(o, action, job->resource_id)};
    if (o->idempotency_key) {
        fill_idempotency(s, o, now);
        s->request.idempotency = &s->idempotency;
    }
    s->done->fn = on_requested;
    s->done->user = s;
    return OK;
}

void jobs_cancel(struct jobs *j, struct arena *a, const struct jobs_origin *origin, const char *id,
                 struct jobs_submitted *out, struct store_done *done)
{
    struct err_info e = {0};
    struct job job;
    struct submission *s = submission_of(j, a, out, done);
    enum err err = fill_request(s, origin, id, "job.cancel", "{\"state\":\"canceling\"}", &job, &e);
    const struct workflow *flow = err ? NULL : workflow_find(job.kind);
    if (!err && !job_state_terminal(job.state) && (!flow || !flow->cancelable)) {
        err_set(&e, ERR_INVALID_STATE, "a %s cannot be undone", job.kind);
        err = err_remedy(&e, "Wait for its end, then make the VM anew.");
    }
    if (err) {
        finish(s, err, &e);
        return;
    }
    store_cancel_job(j->config.store, &s->request, NULL, s->done);
}

void jobs_retry(struct jobs *j, struct arena *a, const struct jobs_origin *origin, const char *id,
                struct jobs_submitted *out, struct store_done *done)
{
    struct err_info e = {0};
    struct job job;
    struct submission *s = submission_of(j, a, out, done);
    enum err err = fill_request(s, origin, id, "job.retry", "{\"state\":\"queued\"}", &job, &e);
    if (err) {
        finish(s, err, &e);
        return;
    }
    s->request.deadline_at = s->request.now + j->config.job_deadline_ms;
    store_retry_job(j->config.store, &s->request, NULL, s->done);
}
