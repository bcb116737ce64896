/* /v1/attestation/baselines: golden values of an image, learned from its first trusted boots. */
#include "handlers/baselines.h"

#include "attest/diff.h"
#include "handlers/applied.h"
#include "handlers/page.h"
#include "handlers/routes.h"
#include "handlers/target.h"
#include "handlers/view.h"

#include "openapi/schemas.h"

#include <strings.h>

/* ---- out ---- */

static void write_set(struct jw *w, const struct baseline_set *s)
{
    jw_open(w, '{');
    jw_key_str(w, "digest", s->digest);
    jw_key_str(w, "bank", s->bank);
    jw_key_raw_opt(w, "pcrs", s->pcrs);
    jw_key_str(w, "reportId", s->report_id);
    jw_key_time(w, "addedAt", s->added_at);
    jw_key_str(w, "addedBy", s->added_by);
    if (s->vms)
        jw_key_int(w, "vms", s->vms);
    jw_key_raw_opt(w, "boot", s->events);
    jw_close(w, '}');
}

static void write_baseline(struct jw *w, const struct baseline *b)
{
    jw_open(w, '{');
    jw_key_str(w, "id", b->id);
    jw_key_str(w, "image", b->image);
    jw_key_str(w, "state", baseline_state_text(b->state));
    jw_key_int(w, "revision", b->revision);
    jw_key_time(w, "createdAt", b->created_at);
    jw_key_time(w, "updatedAt", b->updated_at);
    jw_key(w, "sets");
    jw_open(w, '[');
    for (size_t i = 0; i < b->n_sets; i++)
        write_set(w, &b->sets[i]);
    jw_close(w, ']');
    jw_close(w, '}');
}

int list_baselines(struct call *c)
{
    const struct list_baselines_query *query = c->query;
    const struct page_of page_of = {.path = "/v1/attestation/baselines",
                                    .filters = {{"image", query->image}, {"state", query->state}},
                                    .top = query->top,
                                    .cursor = query->cursor};
    struct baseline_filter filter = {.image = query->image};
    struct baseline_list list;
    enum baseline_state state;
    if (query->state && baseline_state_parse(query->state, &state))
        filter.state = &state;
    if (page_open(c, &page_of, &filter.page) ||
        store_list_baselines(c->app->store, c->arena, &filter, &list, &c->err))
        return call_fail(c);
    struct jw *w = page_begin(c);
    for (size_t i = 0; i < list.n; i++)
        write_baseline(w, &list.items[i]);
    return page_end(c, &page_of, list.more ? list.items[list.n - 1].id : NULL);
}

/* The revision rises with every change of what is seen. */
static const char *etag_text(struct call *c, const struct baseline *b)
{
    return arena_printf(c->arena, "%lld", (long long)b->revision);
}

int get_baseline(struct call *c)
{
    struct baseline b;
    if (store_get_baseline(c->app->store, c->arena, c->params[0], &b, &c->err))
        return call_fail(c);
    write_baseline(call_json(c), &b);
    return call_etag(c, etag_text(c, &b));
}

/* ---- changes ---- */

struct changing {
    struct baseline_change change;
    struct baseline former; /* delete: what goes */
    struct baseline_set set;
};

/* A baseline is the image's, whoever uses it. */
static enum err may_change(struct call *c)
{
    return scope_covers(call_scope(c), "/")
               ? OK
               : err_set(&c->err, ERR_FORBIDDEN, "a baseline is changed with a credential for /");
}

/* A tag that get_baseline never gave is of no revision. */
static enum err read_revision(struct call *c, int64_t *revision)
{
    const char *etag = NULL;
    enum err err = call_if_match(c, &etag);
    *revision = 0;
    if (err || !etag)
        return err;
    bool number = strspn(etag, "0123456789") == strlen(etag) && strlen(etag) < 19;
    *revision = number ? strtoll(etag, NULL, 10) : 0;
    return *revision ? OK : err_set(&c->err, ERR_PRECONDITION_FAILED, "the baseline has changed");
}

static struct changing *begin(struct call *c, const char *action)
{
    struct changing *g = ARENA_NEW(c->arena, struct changing);
    c->state = g;
    g->change = (struct baseline_change){
        .id = c->params[0],
        .now = c->now,
        .audit = call_audit(c, action,
                            arena_printf(c->arena, "/attestation/baselines/%s", c->params[0])),
    };
    return g;
}

static int changed(struct call *c)
{
    struct baseline b;
    if (c->done.err || policy_book_load(c->app->book, c->app->store, &c->err) ||
        store_get_baseline(c->app->store, c->arena, c->params[0], &b, &c->err))
        return call_fail(c);
    write_baseline(call_json(c), &b);
    c->ops->reply_header(c, "ETag", arena_printf(c->arena, "\"%s\"", etag_text(c, &b)));
    return 200;
}

int confirm_baseline(struct call *c)
{
    const struct baseline_confirmation *body = c->body;
    struct changing *g = begin(c, "attestation.baseline.confirm");
    if (may_change(c) || read_revision(c, &g->change.if_revision))
        return call_fail(c);
    g->change.keep = body->sets.n ? body->sets.items : NULL;
    g->change.n_keep = body->sets.n;
    store_confirm_baseline(c->app->store, &g->change, NULL, call_commit(c, changed));
    return CALL_PENDING;
}

static int removed(struct call *c)
{
    struct changing *g = c->state;
    if (c->done.err || policy_book_load(c->app->book, c->app->store, &c->err))
        return call_fail(c);
    write_baseline(call_json(c), &g->former);
    return 200;
}

int delete_baseline(struct call *c)
{
    struct changing *g = begin(c, "attestation.baseline.delete");
    if (may_change(c) || read_revision(c, &g->change.if_revision) ||
        store_get_baseline(c->app->store, c->arena, c->params[0], &g->former, &c->err))
        return call_fail(c);
    store_delete_baseline(c->app->store, &g->change, NULL, call_commit(c, removed));
    return CALL_PENDING;
}

static void fill_set(const struct boot_set *boot, const char *report_id, struct baseline_set *out)
{
    *out = (struct baseline_set){.digest = boot->digest,
                                 .bank = boot->bank,
                                 .pcrs = boot->pcrs,
                                 .events = boot->events,
                                 .report_id = report_id};
}

static enum err not_acceptable(struct call *c, const char *why)
{
    err_set(&c->err, ERR_INVALID_STATE, "%s", why);
    return err_remedy(&c->err,
                      "Name a newer report of a VM of that image, with its event log, that is "
                      "trusted but for its policy.");
}

/* The boot of a kept report, judged without any policy. With an image: only one that a baseline of the
 * image may be made of. */
static enum err read_boot(struct call *c, const char *report_id, const char *image,
                          struct boot_set *out)
{
    struct report report;
    struct vm vm;
    struct applied_review review;
    const struct book_match none = {0};
    enum err err;
    if ((err = store_get_report(c->app->store, c->arena, report_id, call_scope(c), &report,
                                &c->err)) ||
        (err = store_get_vm(c->app->store, c->arena, report.resource_id, &vm, &c->err)))
        return err;
    vm.last_report_id = report_id;
    if (image && (!vm.image || strcasecmp(vm.image, image) != 0))
        return not_acceptable(c, "the report is of a VM of another image");
    if (!vm.vm_id || strcasecmp(vm.vm_id, report.vm_id) != 0)
        return not_acceptable(
            c, "the report is of a former VM of this name, whose image is not known");
    if ((err = applied_review_vm(c->app, c->arena, &vm, &none, &review, &c->err)))
        return err;
    if (!review.judged)
        return not_acceptable(c, "the event log of the report is not kept any more");
    if (image && review.result.verdict != VERDICT_TRUSTED)
        return not_acceptable(c, "the report fails other checks than the policy's");
    const char *why = boot_set_of(&review.result, c->arena, out);
    return why ? not_acceptable(c, why) : OK;
}

int accept_baseline(struct call *c)
{
    const struct baseline_acceptance *body = c->body;
    struct changing *g = begin(c, "attestation.baseline.accept");
    struct boot_set boot = {0};
    if (may_change(c) || read_revision(c, &g->change.if_revision) ||
        store_get_baseline(c->app->store, c->arena, c->params[0], &g->former, &c->err) ||
        read_boot(c, body->report_id, g->former.image, &boot))
        return call_fail(c);
    fill_set(&boot, body->report_id, &g->set);
    g->change.set = &g->set;
    g->change.audit.detail =
        arena_printf(c->arena, "{\"report\":\"%s\",\"set\":\"%s\"}", body->report_id, boot.digest);
    store_accept_baseline(c->app->store, &g->change, NULL, call_commit(c, changed));
    return CALL_PENDING;
}

/* ---- learning ---- */

struct learning {
    struct baseline_learn learn;
    struct baseline_learned learned;
    char id[UUID_SIZE];
    call_fn *then;
    void *state;
};

static int learned(struct call *c)
{
    struct learning *l = c->state;
    enum err err = c->done.err;
    if (!err && l->learned.changed)
        err = policy_book_load(c->app->book, c->app->store, &c->err);
    if (err) /* no reason to fail the report, which is stored */
        c->err = (struct err_info){0};
    c->state = l->state;
    return l->then(c);
}

bool baselines_learn(struct call *c, const struct vm *vm, const struct attest_result *r,
                     const char *report_id, call_fn *then)
{
    struct boot_set boot;
    /* A boot without Secure Boot may be what was asked for; nobody's model it is. */
    if (c->app->baseline_vms <= 0 || r->verdict != VERDICT_TRUSTED || !vm->image ||
        attest_secure_boot(r) != 1)
        return false;
    const struct book_view *view = policy_book_take(c->app->book);
    const struct book_baseline *known = book_find_baseline(view, vm->image);
    bool open = known ? known->state == BASELINE_IS_LEARNING : view->n_baselines < BASELINES_MAX;
    policy_book_drop(view);
    if (!open || !policy_book_may_learn(c->app->book, vm->vm_id) || boot_set_of(r, c->arena, &boot))
        return false;
    struct learning *l = ARENA_NEW(c->arena, struct learning);
    uuid_v7(c->now, l->id);
    l->then = then;
    l->state = c->state;
    l->learn = (struct baseline_learn){
        .id = l->id,
        .image = vm->image,
        .vm_id = vm->vm_id,
        .vms_needed = c->app->baseline_vms,
        .now = c->now,
        .audit = call_audit(c, "attestation.baseline.learn", vm->resource_id),
    };
    l->learn.audit.principal_id = vm->vm_id;
    l->learn.audit.principal = "guest";
    fill_set(&boot, report_id, &l->learn.set);
    c->state = l;
    store_learn_baseline(c->app->store, &l->learn, &l->learned, call_commit(c, learned));
    return true;
}

/* ---- differences ---- */

struct nearest {
    const struct baseline_set *set;
    struct boot_differences differences;
    bool matches;
};

static uint32_t mask_of(const json_t *values)
{
    uint32_t mask = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)values, key, value)
    {
        unsigned long pcr = strtoul(key, NULL, 10);
        if (pcr < EVIDENCE_PCRS)
            mask |= 1u << pcr;
    }
    return mask;
}

/* Adds what differs of whole PCRs and is no event's difference. True where every value of the set is one of the
 * boot, which may have quoted more. */
static bool compare_values(struct call *c, const json_t *want, const json_t *have,
                           struct boot_differences *d)
{
    bool same = true;
    for (unsigned i = 0; i < EVIDENCE_PCRS; i++) {
        const json_t *wanted = json_object_get(want, pcr_names[i]);
        const json_t *found = json_object_get(have, pcr_names[i]);
        if (!wanted || (found && json_equal(wanted, found)))
            continue;
        same = false;
        if (!found)
            boot_differences_add(
                d, "notQuoted", i,
                arena_printf(c->arena,
                             "PCR %u is not quoted: nothing says what it holds, and "
                             "to accept this boot is to ask nothing of it",
                             i),
                c->arena);
        else if (!boot_differences_has(d, i))
            boot_differences_add(d, "value", i,
                                 arena_printf(c->arena,
                                              "PCR %u has the same events and another value: it "
                                              "started from another one (StartupLocality)",
                                              i),
                                 c->arena);
    }
    return same;
}

/* Events are compared of PCRs that both have. */
static enum err compare_set(struct call *c, const struct baseline_set *set,
                            const struct boot_set *boot, const struct attest_policy *names,
                            struct nearest *best)
{
    struct boot_events expected, found;
    AUTO(json) json_t *want = NULL;
    AUTO(json) json_t *have = NULL;
    enum err err;
    if (!set->events || !boot->events)
        return err_set(&c->err, ERR_INTERNAL, "a boot is kept without its events");
    if (strcmp(set->bank, boot->bank) != 0)
        return OK; /* not one value could be compared */
    if ((err = json_parse(BYTES_STR(set->pcrs), &want, &c->err)) ||
        (err = json_parse(BYTES_STR(boot->pcrs), &have, &c->err)) ||
        (err = json_decode_text(BYTES_STR(set->events), &boot_events_schema, c->arena, &expected,
                                &c->err)) ||
        (err = json_decode_text(BYTES_STR(boot->events), &boot_events_schema, c->arena, &found,
                                &c->err)))
        return err;
    boot_events_keep(&expected, mask_of(want) & boot->pcrs_mask);
    boot_events_keep(&found, mask_of(want) & boot->pcrs_mask);
    struct boot_differences d = boot_compare(&expected, &found, names, c->arena);
    bool matches = compare_values(c, want, have, &d);
    if (!best->set || (!best->matches && (matches || d.n < best->differences.n)))
        *best = (struct nearest){set, d, matches};
    return OK;
}

static void write_diff(struct jw *w, const struct vm *vm, const struct baseline *b,
                       const struct nearest *best)
{
    jw_open(w, '{');
    jw_key_str(w, "resourceId", vm->resource_id);
    jw_key_str(w, "image", vm->image);
    jw_key(w, "baseline");
    jw_open(w, '{');
    jw_key_str(w, "id", b->id);
    jw_key_int(w, "revision", b->revision);
    jw_close(w, '}');
    jw_key_str(w, "state", baseline_state_text(b->state));
    jw_key_str(w, "reportId", vm->last_report_id);
    jw_key_str(w, "set", best->set->digest);
    jw_key_bool(w, "matches", best->matches);
    jw_key(w, "differences");
    boot_differences_write(w, &best->differences);
    jw_close(w, '}');
}

static enum err find_baseline(struct call *c, const struct vm *vm, struct baseline *out)
{
    const struct book_view *view = policy_book_take(c->app->book);
    const struct book_baseline *known = book_find_baseline(view, vm->image);
    const char *id = known ? arena_strdup(c->arena, known->id) : NULL;
    policy_book_drop(view);
    if (!vm->last_report_id) {
        err_set(&c->err, ERR_NOT_FOUND, "the VM has no report");
        return err_remedy(&c->err, "Wait for the first report of tlgate-agent in the VM.");
    }
    if (!id) {
        err_set(&c->err, ERR_NOT_FOUND, "the VM has no baseline of its image");
        return err_remedy(&c->err, "Its image's baseline is learned from trusted boots with Secure "
                                   "Boot on: see what its reports say.");
    }
    return store_get_baseline(c->app->store, c->arena, id, out, &c->err);
}

int get_boot_integrity_diff(struct call *c)
{
    struct vm vm;
    struct baseline b = {0};
    struct boot_set boot = {0};
    struct nearest best = {0};
    enum err err;
    if (target_read_vm(c, &vm) || find_baseline(c, &vm, &b) ||
        read_boot(c, vm.last_report_id, NULL, &boot))
        return call_fail(c);
    const struct book_view *view = policy_book_take(c->app->book);
    const struct book_match m = book_match_vm(view, vm.resource_id, vm.image);
    err = OK;
    for (size_t i = 0; i < b.n_sets && !err; i++)
        err = compare_set(c, &b.sets[i], &boot, m.policy ? m.policy->policy : NULL, &best);
    if (!err && best.set)
        write_diff(call_json(c), &vm, &b, &best);
    policy_book_drop(view);
    if (!err && !best.set)
        return call_refuse(c, ERR_NOT_FOUND,
                           "the baseline has no golden set of the PCR bank that was quoted");
    return err ? call_fail(c) : call_etag_of_body(c);
}
