#include "emulator/resource.h"
#include "emulator/operation.h"
#include "emulator/subscription.h"

#include <ctype.h>

#define PAGE_SIZE 50

json_t *resource_record(struct emulator *em, const char *key)
{
    return state_get(em->state, STATE_RESOURCE, key);
}

void resource_save(struct emulator *em, const char *key)
{
    state_save(em->state, STATE_RESOURCE, key);
}

static const struct arm_type *type_of(const json_t *record)
{
    const char *full = arm_text(record, "type");
    const char *slash = strchr(full, '/');
    if (!slash)
        return NULL;
    char ns[64];
    snprintf(ns, sizeof ns, "%.*s", (int)(slash - full), full);
    return arm_type_find(ns, slash + 1);
}

/* ---- who refers to whom ---- */

typedef void reference_fn(void *ctx, const char *target, const char *part);

/* Every member "id" that is not of the resource itself is a reference; `part` is the nearest id of
 * its own around it (an ipConfiguration of a network interface). */
static void each_reference(const json_t *v, const char *own, const char *part, reference_fn *fn,
                           void *ctx)
{
    if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++)
            each_reference(json_array_get(v, i), own, part, fn, ctx);
        return;
    }
    if (!json_is_object(v))
        return;
    const char *id = json_path_str(v, "id");
    size_t n = strlen(own);
    if (id && strncasecmp(id, own, n) == 0 && (!id[n] || id[n] == '/'))
        part = id;
    else if (id && strncasecmp(id, "/subscriptions/", 15) == 0)
        fn(ctx, id, part);
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)v, name, member)
        each_reference(member, own, part, fn, ctx);
}

struct indexing {
    struct emulator *em;
    struct arena *arena;
    const char *source;
    bool add;
};

static void index_one(void *ctx, const char *target, const char *part)
{
    const struct indexing *x = ctx;
    const char *key = arm_lower(x->arena, target);
    json_t *sources = json_object_get(x->em->refs, key);
    if (!x->add) {
        json_object_del(sources, x->source);
        if (sources && json_object_size(sources) == 0)
            json_object_del(x->em->refs, key);
        return;
    }
    if (!sources) {
        sources = json_object();
        json_object_set_new(x->em->refs, key, sources);
    }
    json_object_set_new(sources, x->source, json_string(part));
}

static void index_references(struct emulator *em, const char *key, const json_t *body, bool add)
{
    struct arena *arena = arena_new();
    struct indexing x = {em, arena, key, add};
    each_reference(body, key, arm_text(body, "id"), index_one, &x);
    arena_free(arena);
}

const json_t *resource_referrers(struct emulator *em, const char *id)
{
    struct arena *arena = arena_new();
    const json_t *found = json_object_get(em->refs, arm_lower(arena, id));
    arena_free(arena);
    return found;
}

void resource_open(struct emulator *em)
{
    const char *key;
    json_t *record;
    json_object_foreach(state_all(em->state, STATE_RESOURCE), key, record)
        index_references(em, key, json_object_get(record, "body"), true);
}

/* ---- storing ---- */

static void store(struct emulator *em, const char *key, const char *type_name, json_t *body)
{
    json_t *record = resource_record(em, key);
    if (record) {
        index_references(em, key, json_object_get(record, "body"), false);
        json_object_set_new(record, "body", body);
        resource_save(em, key);
    } else {
        record = json_pack("{ss so}", "type", type_name, "body", body);
        state_put(em->state, STATE_RESOURCE, key, record);
    }
    index_references(em, key, body, true);
}

static const char *full_type(struct arena *a, const struct arm_type *type)
{
    return arena_printf(a, "%s/%s", type->ns, type->path);
}

void resource_store(struct emulator *em, const struct arm_type *type, const char *id, json_t *body)
{
    struct arena *arena = arena_new();
    store(em, arm_lower(arena, id), full_type(arena, type), body);
    arena_free(arena);
}

json_t *resource_keys(struct emulator *em, const char *prefix)
{
    json_t *keys = json_array();
    size_t n = strlen(prefix);
    const char *key;
    json_t *record;
    json_object_foreach(state_all(em->state, STATE_RESOURCE), key, record)
    {
        if (strncmp(key, prefix, n) == 0)
            json_array_append_new(keys, json_string(key));
    }
    return keys;
}

static void remove_one(struct emulator *em, const char *key)
{
    json_t *record = resource_record(em, key);
    if (!record)
        return;
    const struct arm_type *type = type_of(record);
    AUTO(json) json_t *body = json_incref(json_object_get(record, "body"));
    index_references(em, key, body, false);
    state_del(em->state, STATE_RESOURCE, key);
    if (type && type->removed)
        type->removed(em, key, body);
}

void resource_remove(struct emulator *em, const char *key)
{
    char *prefix = NULL;
    char *own = strdup(key);
    if (!own || asprintf(&prefix, "%s/", key) < 0)
        abort();
    AUTO(json) json_t *children = resource_keys(em, prefix);
    for (size_t i = 0; i < json_array_size(children); i++)
        remove_one(em, json_string_value(json_array_get(children, i)));
    remove_one(em, own);
    free(prefix);
    free(own);
}

static json_t *find_element(json_t *parent, const char *array, const char *name)
{
    json_t *list = json_object_get(json_object_get(parent, "properties"), array);
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        if (strcasecmp(arm_text(item, "name"), name) == 0)
            return item;
    }
    return NULL;
}

static json_t *find_body(struct emulator *em, struct arena *a, const struct arm_target *t)
{
    if (!t->type->embedded)
        return json_object_get(resource_record(em, t->key), "body");
    json_t *parent = resource_record(em, arm_lower(a, t->parent));
    return parent ? find_element(json_object_get(parent, "body"), t->type->embedded,
                                 t->names[t->n_names - 1])
                  : NULL;
}

json_t *resource_body(struct emulator *em, const char *id)
{
    struct arena *arena = arena_new();
    struct arm_call c = {.em = em, .arena = arena};
    struct arm_target t;
    json_t *body = arm_target_of_id(&c, id, &t) ? find_body(em, arena, &t) : NULL;
    arena_free(arena);
    return body;
}

/* ---- reading ---- */

json_t *resource_view(struct arm_call *c, const struct arm_type *type, const json_t *body)
{
    json_t *view = shape_show(type->shape, body);
    if (type->show)
        type->show(c, body, view);
    return view;
}

static bool not_found(struct arm_call *c)
{
    const struct arm_target *t = &c->at;
    if (!t->ns)
        return arm_error(c, 404, "ResourceGroupNotFound", "Resource group '%s' could not be found.",
                         t->group);
    if (t->type->embedded)
        return arm_error_inner(c, 404, "NotFound",
                               arena_printf(c->arena, "Resource %s not found.", t->id), "NotFound",
                               "Resource %s not found.", t->id);
    struct buf name = {0};
    for (unsigned i = 0; i < t->n_names; i++)
        buf_printf(&name, "/%s", t->names[i]);
    arm_error(c, 404, "ResourceNotFound",
              "The Resource '%s/%s%s' under resource group '%s' was not found. For more details "
              "please go to https://aka.ms/ARMResourceNotFoundFix",
              t->type->ns, t->type->path, name.data ? name.data : "", t->group);
    buf_free(&name);
    return false;
}

bool resource_group_usable(struct arm_call *c)
{
    const struct arm_target *t = &c->at;
    if (!t->group)
        return true;
    const char *id =
        arena_printf(c->arena, "/subscriptions/%s/resourceGroups/%s", t->subscription, t->group);
    const json_t *record = resource_record(c->em, arm_lower(c->arena, id));
    if (!record)
        return arm_error(c, 404, "ResourceGroupNotFound", "Resource group '%s' could not be found.",
                         t->group);
    bool read = strcmp(c->req->method, "GET") == 0 || strcmp(c->req->method, "DELETE") == 0;
    if (!read && strcmp(arm_text(record, "body/properties/provisioningState"), "Deleting") == 0)
        return arm_error(c, 409, "ResourceGroupBeingDeleted",
                         "The resource group '%s' is in deprovisioning state and cannot perform "
                         "this operation.",
                         t->group);
    return true;
}

static void add_etag_header(struct arm_call *c, const json_t *body)
{
    const char *etag = json_path_str(body, "etag");
    if (etag)
        http_add_header(c->resp, "ETag", "%s", etag);
}

static void get_one(struct arm_call *c)
{
    const json_t *body = find_body(c->em, c->arena, &c->at);
    if (!body) {
        not_found(c);
        if (strcmp(c->req->method, "HEAD") == 0)
            buf_reset(&c->resp->body);
        return;
    }
    if (strcmp(c->req->method, "HEAD") == 0) {
        c->resp->status = 204;
        return;
    }
    add_etag_header(c, body);
    http_reply_json(c->resp, 200, resource_view(c, c->at.type, body));
}

void resource_reply_list(struct arm_call *c, json_t *all)
{
    const char *token = http_query(c->req, "$skiptoken");
    const char *top = http_query(c->req, "$top");
    size_t from = token ? strtoul(token, NULL, 10) : 0;
    size_t size = top ? strtoul(top, NULL, 10) : PAGE_SIZE;
    if (size == 0 || size > PAGE_SIZE)
        size = PAGE_SIZE;
    json_t *page = json_array();
    for (size_t i = from; i < json_array_size(all) && i < from + size; i++)
        json_array_append(page, json_array_get(all, i));
    json_t *body = json_pack("{so}", "value", page);
    if (from + size < json_array_size(all))
        json_object_set_new(body, "nextLink",
                            json_sprintf("%s%s?api-version=%s&%%24skiptoken=%zu%s%s", arm_base(c),
                                         c->req->path, c->api_version, from + size,
                                         top ? "&%24top=" : "", top ? top : ""));
    json_decref(all);
    http_reply_json(c->resp, 200, body);
}

static void list_embedded(struct arm_call *c)
{
    const struct arm_target *t = &c->at;
    const json_t *parent = resource_body(c->em, t->id);
    json_t *all = json_array();
    const json_t *list = json_object_get(json_object_get(parent, "properties"), t->type->embedded);
    for (size_t i = 0; i < json_array_size(list); i++)
        json_array_append_new(all, resource_view(c, t->type, json_array_get(list, i)));
    resource_reply_list(c, all);
}

/* Is `key` an item of the collection: below its parent and of its type? */
static bool listed(const struct arm_call *c, const char *prefix, const char *key,
                   const json_t *record)
{
    if (strncmp(key, prefix, strlen(prefix)) != 0)
        return false;
    const struct arm_type *type = type_of(record);
    return type == c->at.type;
}

static void list(struct arm_call *c)
{
    const struct arm_target *t = &c->at;
    if (t->n_names > 0 && !resource_body(c->em, t->id)) {
        arm_error(c, 404, "ParentResourceNotFound",
                  "Failed to perform 'read' on resource(s) of type '%s/%s', because the parent "
                  "resource '%s' could not be found.",
                  t->type->ns, t->type->path, t->id);
        return;
    }
    if (t->type->embedded) {
        list_embedded(c);
        return;
    }
    const char *prefix = arena_printf(c->arena, "%s/", t->key);
    if (!t->group)
        prefix = arm_lower(c->arena, arena_printf(c->arena, "/subscriptions/%s/", t->subscription));
    json_t *all = json_array();
    const char *key;
    json_t *record;
    json_object_foreach(state_all(c->em->state, STATE_RESOURCE), key, record)
    {
        if (listed(c, prefix, key, record))
            json_array_append_new(all, resource_view(c, t->type, json_object_get(record, "body")));
    }
    resource_reply_list(c, all);
}

/* ---- checks of a write ---- */

static bool name_valid(struct arm_call *c)
{
    const struct arm_target *t = &c->at;
    const char *name = t->ns ? t->names[t->n_names - 1] : t->group;
    size_t n = strlen(name);
    bool ok = n > 0 && n <= t->type->name_max && name[n - 1] != '.';
    for (const char *p = name; ok && *p; p++)
        ok = isalnum((unsigned char)*p) || strchr(t->type->name_extra, *p) != NULL;
    if (ok)
        return true;
    if (!t->ns)
        return arm_error(c, 400, "InvalidResourceGroup",
                         "The provided resource group name '%s' has these invalid characters or "
                         "is longer than %u.",
                         name, t->type->name_max);
    if (strcmp(t->ns, "Microsoft.Network") == 0)
        return arm_error(c, 400, "InvalidResourceName",
                         "Resource name %s is invalid. The name can be up to %u characters long. "
                         "It must begin with a word character, and it must end with a word "
                         "character or with '_'. The name may contain word characters or '.', "
                         "'-', '_'.",
                         name, t->type->name_max);
    return arm_error_at(c, 400, "InvalidParameter", "name",
                        "The entity name 'name' is invalid according to its validation rule: "
                        "%s of at most %u letters, digits and \"%s\".",
                        name, t->type->name_max, t->type->name_extra);
}

/* Where a member stands in the text, as Azure's deserialiser says it. */
static long position(const struct arm_call *c, const char *member)
{
    const char *quoted = arena_printf(c->arena, "\"%s\"", member);
    const char *text = (const char *)c->req->body.data;
    const char *at = memmem(text, c->req->body.len, quoted, strlen(quoted));
    return at ? at - text + (long)strlen(quoted) + 1 : 1;
}

static bool refuse_shape(struct arm_call *c, const struct shape_fault *f)
{
    const char *text = "";
    long pos = position(c, f->member);
    bool top = !strchr(f->path, '.') && !strchr(f->path, '[');
    switch (f->problem) {
    case SHAPE_UNKNOWN_MEMBER:
        text = arena_printf(c->arena,
                            "Could not find member '%s' on object of type '%s'. Path '%s', line 1, "
                            "position %ld.",
                            f->member, top ? "ResourceDefinition" : f->object, f->path, pos);
        break;
    case SHAPE_WRONG_TYPE:
        text = arena_printf(c->arena,
                            "Error converting value \"%s\" to type '%s'. Path '%s', line 1, "
                            "position %ld.",
                            f->value, f->expected, f->path, pos);
        break;
    case SHAPE_MISSING:
        text = arena_printf(c->arena, "Required parameter '%s' is missing (null).",
                            strncmp(f->path, "properties.", 11) == 0 ? f->path + 11 : f->path);
        break;
    case SHAPE_NOT_ALLOWED:
        text = arena_printf(c->arena,
                            "The value '%s' of parameter '%s' is not allowed. Allowed values are "
                            "%s.",
                            f->value, f->path, f->expected);
        break;
    case SHAPE_OK:
        abort();
    }
    if (top && (f->problem == SHAPE_UNKNOWN_MEMBER || f->problem == SHAPE_WRONG_TYPE))
        return arm_error(c, 400, "InvalidRequestContent",
                         "The request content was invalid and could not be deserialized: '%s'.",
                         text);
    if (strcmp(c->at.type->ns, "Microsoft.Network") == 0)
        return arm_error_inner(
            c, 400, "InvalidRequestFormat", "Cannot parse the request.",
            f->problem == SHAPE_MISSING ? "MissingJsonReferenceId" : "InvalidJson", "%s", text);
    bool parameter = f->problem == SHAPE_MISSING || f->problem == SHAPE_NOT_ALLOWED;
    return arm_error_at(c, 400, parameter ? "InvalidParameter" : "BadRequest", f->path, "%s", text);
}

static json_t *read_input(struct arm_call *c, bool partial, bool keep_nulls)
{
    struct shape_fault fault = {0};
    if (!c->body) {
        arm_error(c, 400, "InvalidRequestContent",
                  "The request content was invalid and could not be deserialized: 'The request "
                  "body is empty'.");
        return NULL;
    }
    json_t *in = shape_read(c->at.type->shape, c->body, partial, keep_nulls, &fault);
    if (!in)
        refuse_shape(c, &fault);
    return in;
}

static bool location_fits(struct arm_call *c, const json_t *old, json_t *in)
{
    const struct arm_type *type = c->at.type;
    const char *given = json_path_str(in, "location");
    if (!type->located)
        return true;
    if (!given && old) {
        json_object_set(in, "location", json_object_get(old, "location"));
        return true;
    }
    if (!given)
        return arm_error(c, 400, "LocationRequired",
                         "The location property is required for this definition.");
    const char *known = arm_location(given);
    const char *name = c->at.ns ? c->at.names[c->at.n_names - 1] : c->at.group;
    if (!known)
        return arm_error(c, 400,
                         c->at.ns ? "LocationNotAvailableForResourceType"
                                  : "LocationNotAvailableForResourceGroup",
                         "The provided location '%s' is not available for resource type '%s/%s'. "
                         "List of available regions for the resource type is "
                         "'westeurope,northeurope,eastus,eastus2,westus2,swedencentral,uksouth'.",
                         given, type->ns, type->path);
    if (old && strcmp(known, arm_text(old, "location")) != 0)
        return arm_error(c, 409,
                         c->at.ns ? "InvalidResourceLocation" : "InvalidResourceGroupLocation",
                         "The resource '%s' already exists in location '%s' in resource group "
                         "'%s'. A resource with the same name cannot be created in location '%s'. "
                         "Please select a new resource name.",
                         name, arm_text(old, "location"), c->at.group, known);
    json_object_set_new(in, "location", json_string(known));
    return true;
}

static bool etag_in(const char *header, const char *etag)
{
    return strcmp(header, "*") == 0 || (*etag && strstr(header, etag) != NULL);
}

static bool preconditions_hold(struct arm_call *c, const json_t *old)
{
    const char *none = http_header(c->req, "If-None-Match");
    const char *match = http_header(c->req, "If-Match");
    const char *etag = arm_text(old, "etag");
    bool refused =
        (none && old && etag_in(none, etag)) || (match && !(old && etag_in(match, etag)));
    if (!refused)
        return true;
    return arm_error(c, 412, "PreconditionFailed",
                     "The condition '%s' in the precondition header(s) evaluated to false.",
                     none ? "If-None-Match" : "If-Match");
}

struct ref_check {
    struct arm_call *c;
    const char *own;
    bool good;
};

static void check_reference(void *ctx, const char *target, const char *part)
{
    struct ref_check *x = ctx;
    struct arm_call *c = x->c;
    struct arm_target t;
    if (!x->good || !arm_target_of_id(c, target, &t))
        return;
    const json_t *body = find_body(c->em, c->arena, &t);
    if (!body) {
        x->good = arm_error(c, 400, "InvalidResourceReference",
                            "Resource %s referenced by resource %s was not found. Please make "
                            "sure that the referenced resource exists, and that both resources "
                            "are in the same region.",
                            target, c->at.id);
        return;
    }
    const char *state = arm_text(body, "properties/provisioningState");
    if (*state && strcmp(state, "Succeeded") != 0) {
        http_add_header(c->resp, "Retry-After", "1");
        x->good = arm_error(c, 429, "ReferencedResourceNotProvisioned",
                            "Cannot proceed with operation because resource %s used by resource "
                            "%s is not in Succeeded state. Resource is in %s state.",
                            target, c->at.id, state);
    }
}

/* Of what the caller sent: what Azure adds (an OS disk) comes into being with the resource. */
static bool references_hold(struct arm_call *c, const json_t *body)
{
    struct ref_check x = {c, c->at.id, true};
    const char *owner = c->at.type->embedded ? c->at.parent : c->at.id;
    each_reference(body, owner, c->at.id, check_reference, &x);
    return x.good;
}

/* Another operation holds it: each provider says so in its own way. */
static bool not_busy(struct arm_call *c, const json_t *record)
{
    const char *guid = json_path_str(record, "op");
    if (!guid)
        return true;
    if (strcmp(c->at.type->ns, "Microsoft.Compute") == 0)
        return arm_error(c, 409, "Conflict",
                         "The request failed due to conflict with a concurrent request. To resolve "
                         "it, please refer to https://aka.ms/activitylog to get more details on "
                         "the conflicting requests.");
    http_add_header(c->resp, "Retry-After", "1");
    if (c->at.type->embedded)
        return arm_error(c, 429, "RetryableError",
                         "A retryable error occurred. Another operation (%s) on %s is in "
                         "progress.",
                         guid, c->at.parent);
    return arm_error(c, 429, "AnotherOperationInProgress",
                     "Another operation on this or dependent resource is in progress. To retrieve "
                     "status of the operation use uri: %s/subscriptions/%s/providers/%s/locations/"
                     "%s/operations/%s?api-version=%s.",
                     arm_base(c), c->at.subscription, c->at.type->ns,
                     arm_text(record, "body/location"), guid, c->api_version);
}

/* ---- PUT, PATCH, DELETE ---- */

static json_t *holder_record(struct arm_call *c, const char **key)
{
    const struct arm_target *t = &c->at;
    *key = t->type->embedded ? arm_lower(c->arena, t->parent) : t->key;
    return resource_record(c->em, *key);
}

static bool parent_exists(struct arm_call *c)
{
    const struct arm_target *t = &c->at;
    if (t->n_names < 2 || resource_body(c->em, t->parent))
        return true;
    return arm_error(c, 404, "ParentResourceNotFound",
                     "Failed to perform 'write' on resource(s) of type '%s/%s', because the "
                     "parent resource '%s' could not be found.",
                     t->type->ns, t->type->path, t->parent);
}

static void set_identity(struct arm_call *c, const json_t *old, json_t *body)
{
    const struct arm_target *t = &c->at;
    const char *name = t->ns ? t->names[t->n_names - 1] : t->group;
    json_t *full =
        json_pack("{ss ss ss}", "name", old ? arm_text(old, "name") : name, "id",
                  old ? arm_text(old, "id") : t->id, "type", full_type(c->arena, t->type));
    json_object_update_missing(full, body);
    json_object_clear(body);
    json_object_update(body, full);
    json_decref(full);
    if (!json_object_get(body, "properties"))
        json_object_set_new(body, "properties", json_object());
    if (t->ns && strcmp(t->ns, "Microsoft.Network") == 0) {
        char etag[UUID_SIZE];
        uuid_v4(etag);
        json_object_set_new(body, "etag", json_sprintf("W/\"%s\"", etag));
    }
}

static void put_element(json_t *parent, const char *array, const char *name, json_t *body)
{
    json_t *properties = json_object_get(parent, "properties");
    json_t *list = json_object_get(properties, array);
    if (!list) {
        list = json_array();
        json_object_set_new(properties, array, list);
    }
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        if (strcasecmp(arm_text(item, "name"), name) != 0)
            continue;
        json_array_set_new(list, i, body);
        return;
    }
    json_array_append_new(list, body);
}

/* Stores the new body, under its own key or in its parent's array. */
static void store_body(struct arm_call *c, const char *key, json_t *body)
{
    const struct arm_target *t = &c->at;
    if (!t->type->embedded) {
        store(c->em, key, full_type(c->arena, t->type), body);
        return;
    }
    json_t *record = resource_record(c->em, key);
    json_t *parent = json_deep_copy(json_object_get(record, "body"));
    put_element(parent, t->type->embedded, t->names[t->n_names - 1], body);
    store(c->em, key, arm_text(record, "type"), parent);
}

static const char *location_of(struct arm_call *c, const char *key, const json_t *body)
{
    const char *own = json_path_str(body, "location");
    if (own)
        return own;
    own = json_path_str(resource_record(c->em, key), "body/location");
    return own ? own : json_path_str(resource_body(c->em, c->at.parent), "location");
}

static const char *working_state(const struct arm_type *type, bool created)
{
    return created && strcmp(type->ns, "Microsoft.Compute") == 0 ? "Creating" : "Updating";
}

/* The body is good: store it, start the operation that the row names, answer. */
static void accept_body(struct arm_call *c, json_t *old, json_t *body, enum arm_async async,
                        const char *verb, int status)
{
    const struct arm_type *type = c->at.type;
    const char *key;
    json_t *record = holder_record(c, &key);
    bool created = !old;
    operation_mark(type, body, async == ARM_SYNC ? "Succeeded" : working_state(type, created));
    store_body(c, key, body);
    if (type->embedded)
        json_object_set_new(json_object_get(json_object_get(record, "body"), "properties"),
                            "provisioningState", json_string("Updating"));
    if (type->stored)
        type->stored(c, old, body);
    if (async != ARM_SYNC) {
        const char *location = location_of(c, key, body);
        const char *guid =
            operation_start(c, type, key, type->embedded ? c->at.names[c->at.n_names - 1] : NULL,
                            verb, location ? location : "westeurope");
        operation_headers(c, guid, async);
    } else {
        resource_save(c->em, key);
    }
    add_etag_header(c, body);
    http_reply_json(c->resp, status, resource_view(c, type, body));
}

static void put(struct arm_call *c)
{
    const struct arm_type *type = c->at.type;
    const char *key;
    json_t *record = holder_record(c, &key);
    AUTO(json) json_t *old = json_incref(find_body(c->em, c->arena, &c->at));
    if (!name_valid(c) || !parent_exists(c) || !preconditions_hold(c, old))
        return;
    AUTO(json) json_t *in = read_input(c, type->merges && old, type->merges && old);
    if (!in || !location_fits(c, old, in) || (record && !not_busy(c, record)))
        return;
    AUTO(json) json_t *body = json_deep_copy(type->merges && old ? old : in);
    if (type->merges && old)
        shape_merge(body, in);
    set_identity(c, old, body);
    if ((type->prepare && !type->prepare(c, old, body)) || !references_hold(c, in))
        return;
    accept_body(c, old, TAKE(body), type->put, "put", old ? type->updated : type->created);
}

static void patch(struct arm_call *c)
{
    const struct arm_type *type = c->at.type;
    const char *key;
    json_t *record = holder_record(c, &key);
    AUTO(json) json_t *old = json_incref(find_body(c->em, c->arena, &c->at));
    if (!old) {
        not_found(c);
        return;
    }
    AUTO(json) json_t *in = read_input(c, true, true);
    if (!in || !preconditions_hold(c, old))
        return;
    if (type->tags_only && json_object_size(in) > (json_object_get(in, "tags") ? 1 : 0)) {
        arm_error_inner(c, 400, "InvalidRequestFormat", "Cannot parse the request.", "InvalidJson",
                        "Only 'tags' may be patched on %s.", c->at.id);
        return;
    }
    if (!not_busy(c, record) || !location_fits(c, old, in))
        return;
    AUTO(json) json_t *body = json_deep_copy(old);
    /* Tags of a PATCH replace the old ones as a whole. */
    if (json_object_get(in, "tags"))
        json_object_del(body, "tags");
    shape_merge(body, in);
    set_identity(c, old, body);
    if ((type->prepare && !type->prepare(c, old, body)) || !references_hold(c, in))
        return;
    accept_body(c, old, TAKE(body), type->patch, "patch", 200);
}

static void delete (struct arm_call *c)
{
    const struct arm_type *type = c->at.type;
    const char *key;
    json_t *record = holder_record(c, &key);
    json_t *body = find_body(c->em, c->arena, &c->at);
    if (!body) {
        if (!c->at.ns)
            not_found(c);
        else
            c->resp->status = 204;
        return;
    }
    bool deleting = strcmp(arm_text(body, "properties/provisioningState"), "Deleting") == 0;
    const char *running = json_path_str(record, "op");
    if (deleting && running) {
        operation_headers(c, arena_strdup(c->arena, running), type->del);
        c->resp->status = 202;
        return;
    }
    if (type->may_delete && !type->may_delete(c, body))
        return;
    bool compute = strcmp(type->ns, "Microsoft.Compute") == 0;
    if (running && compute)
        operation_preempt(c->em, arena_strdup(c->arena, running));
    else if (running && !not_busy(c, record))
        return;
    json_object_set_new(json_object_get(body, "properties"), "provisioningState",
                        json_string("Deleting"));
    const char *location = location_of(c, key, body);
    const char *guid =
        operation_start(c, type, key, type->embedded ? c->at.names[c->at.n_names - 1] : NULL,
                        "delete", location ? location : "westeurope");
    operation_headers(c, guid, type->del);
    c->resp->status = 202;
}

/* ---- entry ---- */

static bool version_known(struct arm_call *c)
{
    const struct arm_type *type = c->at.type;
    struct buf all = {0};
    bool known = false;
    for (const char *const *v = type->versions; *v; v++) {
        known = known || strcmp(*v, c->api_version) == 0;
        buf_printf(&all, "%s%s", all.len ? ", " : "", *v);
    }
    if (!known && !c->at.ns)
        arm_error(c, 400, "InvalidApiVersionParameter",
                  "The api-version '%s' is invalid. The supported versions are '%s'.",
                  c->api_version, all.data);
    else if (!known)
        arm_error(c, 400, "NoRegisteredProviderFound",
                  "No registered resource provider found for location '%s' and API version '%s' "
                  "for type '%s'. The supported api-versions are '%s'. The supported locations "
                  "are 'westeurope, northeurope, eastus, eastus2, westus2, swedencentral, "
                  "uksouth'.",
                  arm_text(c->body, "location"), c->api_version, type->path, all.data);
    buf_free(&all);
    return known;
}

static bool type_known(struct arm_call *c)
{
    const struct arm_target *t = &c->at;
    if (t->type && !t->action)
        return true;
    if (t->ns && !t->type && strcasecmp(t->ns, "Microsoft.Compute") != 0 &&
        strcasecmp(t->ns, "Microsoft.Network") != 0)
        return arm_error(c, 404, "InvalidResourceNamespace",
                         "The resource namespace '%s' is invalid.", t->ns);
    if (t->ns)
        return arm_error(c, 400, "InvalidResourceType",
                         "The resource type could not be found in the namespace '%s' for api "
                         "version '%s'.",
                         t->ns, c->api_version);
    return arm_error(c, 404, "NotFound", "The requested path %.200s is not known.", c->req->path);
}

static bool provider_registered(struct arm_call *c)
{
    const struct arm_target *t = &c->at;
    if (!t->ns || subscription_has_provider(c->em, t->subscription, t->ns))
        return true;
    return arm_error(c, 409, "MissingSubscriptionRegistration",
                     "The subscription is not registered to use namespace '%s'. See "
                     "https://aka.ms/rps-not-found for how to register subscriptions.",
                     t->ns);
}

static bool pass_compute_bucket(struct arm_call *c)
{
    const struct arm_target *t = &c->at;
    if (t->type != arm_type_find("Microsoft.Compute", "virtualMachines") &&
        t->type != arm_type_find("Microsoft.Compute", "virtualMachines/extensions"))
        return true;
    const struct bucket_size write = {12, 4.0 / 60};
    const struct bucket_size writes = {1500, 500.0 / 60};
    bool vm = t->n_names == 1;
    const char *m = c->req->method;
    if (t->collection)
        return arm_compute_bucket(c, "HighCostGet", NULL, writes,
                                  (struct bucket_size){900, 300.0 / 60});
    if (strcmp(m, "GET") == 0)
        return arm_compute_bucket(c, "LowCostGet", t->key, (struct bucket_size){36, 12.0 / 60},
                                  (struct bucket_size){24000, 8000.0 / 60});
    const char *policy = "UpdateVM";
    if (vm && strcmp(m, "DELETE") == 0)
        policy = "DeleteVM";
    else if (vm && strcmp(m, "PUT") == 0 && !resource_record(c->em, t->key))
        policy = "PutVM";
    const char *resource = vm ? t->key : arm_lower(c->arena, t->parent);
    return arm_compute_bucket(c, policy, resource, write, writes);
}

void resource_handle(struct arm_call *c)
{
    const struct arm_target *t = &c->at;
    const char *m = c->req->method;
    bool get = strcmp(m, "GET") == 0;
    if (!type_known(c) || !version_known(c) || !provider_registered(c) || !pass_compute_bucket(c))
        return;
    if (t->ns && !resource_group_usable(c))
        return;
    if (t->collection && get)
        list(c);
    else if (t->collection)
        arm_error(c, 405, "MethodNotAllowed",
                  "The requested resource does not support http method '%s'.", m);
    else if (get || strcmp(m, "HEAD") == 0)
        get_one(c);
    else if (strcmp(m, "PUT") == 0)
        put(c);
    else if (strcmp(m, "PATCH") == 0)
        patch(c);
    else if (strcmp(m, "DELETE") == 0)
        delete (c);
    else
        arm_error(c, 405, "MethodNotAllowed",
                  "The requested resource does not support http method '%s'.", m);
}
