/* /v1/attestation/policies: what must hold of a guest, as versioned data. */
#include "handlers/applied.h"
#include "handlers/etag.h"
#include "handlers/page.h"
#include "handlers/policies.h"
#include "handlers/routes.h"
#include "handlers/target.h"
#include "handlers/view.h"

#include "openapi/schemas.h"

#include <strings.h>

/* ---- who may ---- */

/* An image is used everywhere, and so is what holds for it: its policies are those of "/". */
static bool scope_is_image(const char *scope)
{
    return *scope != '/' || strcasestr(scope, "/providers/Microsoft.Compute/galleries/");
}

static enum err may_write(struct call *c, const struct str_list *scopes)
{
    for (size_t i = 0; i < scopes->n; i++) {
        const char *target = scope_is_image(scopes->items[i]) ? "/" : scopes->items[i];
        if (!scope_covers(call_scope(c), target))
            return err_set(&c->err, ERR_FORBIDDEN, "the credential does not cover the scope %s",
                           scopes->items[i]);
    }
    if (scopes->n == 0 && !scope_covers(call_scope(c), "/"))
        return err_set(&c->err, ERR_FORBIDDEN, "a policy without scopes needs a credential for /");
    return OK;
}

/* Whoever is under the policy may see it, and whoever is above it. */
static bool may_see(struct call *c, const struct str_list *scopes)
{
    const char *own = call_scope(c);
    for (size_t i = 0; i < scopes->n; i++)
        if (scope_is_image(scopes->items[i]) || scope_covers(own, scopes->items[i]) ||
            scope_covers(scopes->items[i], own))
            return true;
    return scope_covers(own, "/");
}

/* ---- out ---- */

static enum err decode(struct call *c, const char *document, struct attestation_policy_spec *out)
{
    return json_decode_text(BYTES_STR(document), &attestation_policy_spec_schema, c->arena, out,
                            &c->err);
}

static void write_policy(struct jw *w, const struct policy *p,
                         const struct attestation_policy_spec *spec)
{
    jw_open(w, '{');
    jw_key_str(w, "name", p->name);
    jw_key_int(w, "version", p->version);
    jw_key_str_opt(w, "description", spec->description);
    jw_key(w, "scopes");
    jw_open(w, '[');
    for (size_t i = 0; i < spec->scopes.n; i++)
        jw_str(w, spec->scopes.items[i]);
    jw_close(w, ']');
    jw_key(w, "rules");
    json_encode(w, &attestation_rules_schema, spec->rules);
    jw_key_time(w, "createdAt", p->created_at);
    jw_key_str(w, "createdBy", p->created_by);
    jw_close(w, '}');
}

enum err policies_write(struct call *c, struct jw *w, const struct book_policy *p)
{
    struct attestation_policy_spec spec;
    const struct policy row = {.name = p->name,
                               .version = p->version,
                               .created_at = p->created_at,
                               .created_by = p->created_by};
    enum err err = decode(c, p->document, &spec);
    if (!err)
        write_policy(w, &row, &spec);
    return err;
}

/* ---- GET ---- */

/* The policy of the path, where the caller may see it. */
static enum err find(struct call *c, int64_t version, struct policy *out,
                     struct attestation_policy_spec *spec)
{
    enum err err = store_get_policy(c->app->store, c->arena, c->params[0], version, out, &c->err);
    if (err || (err = decode(c, out->document, spec)))
        return err;
    return may_see(c, &spec->scopes) ? OK : err_set(&c->err, ERR_NOT_FOUND, "no such policy");
}

int get_attestation_policy(struct call *c)
{
    const struct get_attestation_policy_query *query = c->query;
    struct policy p;
    struct attestation_policy_spec spec;
    int64_t version = query->version == JSON_INT_UNSET ? 0 : query->version;
    if (find(c, version, &p, &spec))
        return call_fail(c);
    write_policy(call_json(c), &p, &spec);
    /* A former version never changes. */
    return version ? call_etag_of_body(c) : call_etag(c, p.etag);
}

int evaluate_attestation_policy(struct call *c)
{
    const struct evaluate_attestation_policy_query *query = c->query;
    struct policy p;
    struct attestation_policy_spec spec;
    if (find(c, 0, &p, &spec))
        return call_fail(c);
    const struct page_of page_of = {
        .path = arena_printf(c->arena, "/v1/attestation/policies/%s/evaluate", c->params[0]),
        .top = query->top,
        .cursor = query->cursor};
    const struct book_view *view = policy_book_take(c->app->book);
    const struct book_policy *policy = book_find_policy(view, p.name);
    int status = policy ? policies_evaluate(c, &page_of, policy)
                        : call_refuse(c, ERR_NOT_FOUND, "no such policy");
    policy_book_drop(view);
    return status;
}

/* next: how the last row of the list is named in a cursor. */
static int reply_list(struct call *c, const struct page_of *page, const struct policy_list *list,
                      const char *next)
{
    struct jw *w = page_begin(c);
    for (size_t i = 0; i < list->n; i++) {
        struct attestation_policy_spec spec;
        if (decode(c, list->items[i].document, &spec))
            return call_fail(c);
        if (may_see(c, &spec.scopes))
            write_policy(w, &list->items[i], &spec);
    }
    return page_end(c, page, list->more ? next : NULL);
}

int list_attestation_policies(struct call *c)
{
    const struct list_attestation_policies_query *query = c->query;
    const struct page_of page_of = {
        .path = "/v1/attestation/policies", .top = query->top, .cursor = query->cursor};
    struct page page;
    struct policy_list list;
    if (page_open(c, &page_of, &page) ||
        store_list_policies(c->app->store, c->arena, &page, &list, &c->err))
        return call_fail(c);
    return reply_list(c, &page_of, &list, list.n ? list.items[list.n - 1].name : NULL);
}

int list_attestation_policy_versions(struct call *c)
{
    const struct list_attestation_policy_versions_query *query = c->query;
    const struct page_of page_of = {
        .path = arena_printf(c->arena, "/v1/attestation/policies/%s/versions", c->params[0]),
        .top = query->top,
        .cursor = query->cursor};
    struct page page;
    struct policy present;
    struct attestation_policy_spec spec;
    struct policy_list list;
    if (find(c, 0, &present, &spec) || page_open(c, &page_of, &page) ||
        store_list_policy_versions(c->app->store, c->arena, c->params[0], &page, &list, &c->err))
        return call_fail(c);
    int64_t last = list.n ? list.items[list.n - 1].version : 0;
    return reply_list(c, &page_of, &list, arena_printf(c->arena, "%lld", (long long)last));
}

int get_vm_attestation_policy(struct call *c)
{
    struct vm vm;
    if (target_read_vm(c, &vm))
        return call_fail(c);
    const struct book_view *view = policy_book_take(c->app->book);
    const struct book_match m = book_match_vm(view, vm.resource_id, vm.image);
    struct jw *w = call_json(c);
    jw_open(w, '{');
    jw_key_str(w, "resourceId", vm.resource_id);
    jw_key_str_opt(w, "image", vm.image);
    jw_key_str_opt(w, "scope", m.scope);
    enum err err = OK;
    if (m.policy) {
        jw_key(w, "policy");
        err = policies_write(c, w, m.policy);
    }
    view_ref(w, "baseline", m.baseline ? m.baseline->ref : NULL);
    view_ref(w, "judgedBy", vm.policy);
    jw_key_bool(w, "pending", book_is_pending(view, &vm));
    jw_close(w, '}');
    policy_book_drop(view);
    return err ? call_fail(c) : call_etag_of_body(c);
}

/* ---- PUT, DELETE ---- */

struct putting {
    struct policy_put put;
    struct policy_stored stored;
    struct policy_delete delete;
    struct policy row; /* delete: what goes */
    struct attestation_policy_spec spec;
};

static const char *encode(struct call *c, const struct attestation_policy_spec *spec)
{
    struct buf out = {0};
    struct jw w = jw_over(&out);
    json_encode(&w, &attestation_policy_spec_schema, spec);
    const char *text = arena_strndup(c->arena, out.data, out.len);
    buf_free(&out);
    return text;
}

static int put_loaded(struct call *c)
{
    struct putting *p = c->state;
    if (!p->stored.same && policy_book_load(c->app->book, c->app->store, &c->err))
        return call_fail(c);
    struct policy row;
    if (store_get_policy(c->app->store, c->arena, p->put.name, p->stored.version, &row, &c->err))
        return call_fail(c);
    write_policy(call_json(c), &row, &p->spec);
    c->ops->reply_header(c, "ETag", arena_printf(c->arena, "\"%s\"", p->stored.etag));
    return p->stored.created ? 201 : 200;
}

static int put_done(struct call *c)
{
    return c->done.err ? call_fail(c) : put_loaded(c);
}

/* A name that the caller cannot see may be taken by somebody else's policy: it must not be replaced. */
static enum err check_former(struct call *c)
{
    struct policy former;
    struct attestation_policy_spec spec;
    enum err err = store_get_policy(c->app->store, c->arena, c->params[0], 0, &former, &c->err);
    if (err == ERR_NOT_FOUND) {
        c->err = (struct err_info){0};
        return OK;
    }
    return err || (err = decode(c, former.document, &spec)) ? err : may_write(c, &spec.scopes);
}

static enum err check_scopes(struct call *c, const struct str_list *scopes)
{
    for (size_t i = 1; i < scopes->n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcasecmp(scopes->items[i], scopes->items[k]) == 0)
                return err_add_field(&c->err, arena_printf(c->arena, "#/scopes/%zu", i),
                                     "repeats item %zu", k);
    return OK;
}

/* What the store would say to the write. */
static enum err check_taken(struct call *c, const struct str_list *scopes)
{
    const struct book_view *view = policy_book_take(c->app->book);
    enum err err = OK;
    for (size_t i = 0; i < scopes->n && !err; i++)
        for (size_t k = 0; k < view->n_scopes && !err; k++)
            if (strcasecmp(view->scopes[k].key, scopes->items[i]) == 0 &&
                strcasecmp(view->scopes[k].policy->name, c->params[0]) != 0)
                err = err_set(&c->err, ERR_INVALID_STATE, "the scope %s has the policy %s",
                              scopes->items[i], view->scopes[k].policy->name);
    policy_book_drop(view);
    return err;
}

static int dry_run(struct call *c, struct attest_policy *compiled)
{
    const struct put_attestation_policy_query *query = c->query;
    if (check_taken(c, &attest_policy_document(compiled)->scopes))
        return call_fail(c);
    const struct book_policy candidate = {
        .name = c->params[0], .id = "the body@0", .policy = compiled};
    const struct page_of page_of = {
        .path = arena_printf(c->arena, "/v1/attestation/policies/%s", c->params[0]),
        .filters = {{"dryRun", "true"}},
        .top = query->top,
        .cursor = query->cursor};
    return policies_evaluate(c, &page_of, &candidate);
}

int put_attestation_policy(struct call *c)
{
    const struct put_attestation_policy_query *query = c->query;
    struct putting *p = ARENA_NEW(c->arena, struct putting);
    struct attest_policy *compiled = NULL;
    p->spec = *(const struct attestation_policy_spec *)c->body;
    const char *none_match = c->ops->header(c, "If-None-Match");
    p->put = (struct policy_put){
        .name = c->params[0],
        .document = encode(c, &p->spec),
        .scopes = p->spec.scopes.items,
        .n_scopes = p->spec.scopes.n,
        .only_new = none_match && strcmp(none_match, "*") == 0,
        .now = c->now,
        .audit = call_audit(c, "attestation.policy.put",
                            arena_printf(c->arena, "/attestation/policies/%s", c->params[0])),
    };
    c->state = p;
    if (call_if_match(c, &p->put.if_etag) || check_scopes(c, &p->spec.scopes) ||
        attest_policy_compile(BYTES_STR(p->put.document), &compiled, &c->err) ||
        may_write(c, &p->spec.scopes) || check_former(c)) {
        attest_policy_unref(compiled);
        return call_fail(c);
    }
    int status = query->dry_run ? dry_run(c, compiled) : CALL_PENDING;
    attest_policy_unref(compiled);
    if (!query->dry_run)
        store_put_policy(c->app->store, &p->put, &p->stored, call_commit(c, put_done));
    return status;
}

static int delete_done(struct call *c)
{
    struct putting *p = c->state;
    if (c->done.err || policy_book_load(c->app->book, c->app->store, &c->err))
        return call_fail(c);
    write_policy(call_json(c), &p->row, &p->spec);
    return 200;
}

int delete_attestation_policy(struct call *c)
{
    struct putting *p = ARENA_NEW(c->arena, struct putting);
    c->state = p;
    if (find(c, 0, &p->row, &p->spec) || may_write(c, &p->spec.scopes) ||
        call_if_match(c, &p->delete.if_etag))
        return call_fail(c);
    p->delete.name = p->row.name;
    p->delete.now = c->now;
    p->delete.audit = call_audit(c, "attestation.policy.delete",
                                 arena_printf(c->arena, "/attestation/policies/%s", p->row.name));
    store_delete_policy(c->app->store, &p->delete, NULL, call_commit(c, delete_done));
    return CALL_PENDING;
}
