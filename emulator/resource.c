#include "emulator/resource.h"
#include "emulator/operation.h"
#include "emulator/resource_parts.h"
#include "emulator/subscription.h"

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
                  old ? arm_text(old, "id") : t->id, "type", resource_type_name(c->arena, t->type));
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
        resource_write(c->em, key, resource_type_name(c->arena, t->type), body);
        return;
    }
    json_t *record = resource_record(c->em, key);
    json_t *parent = json_deep_copy(json_object_get(record, "body"));
    put_element(parent, t->type->embedded, t->names[t->n_names - 1], body);
    resource_write(c->em, key, arm_text(record, "type"), parent);
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
    resource_etag_header(c, body);
    http_reply_json(c->resp, status, resource_view(c, type, body));
}

static void put(struct arm_call *c)
{
    const struct arm_type *type = c->at.type;
    const char *key;
    json_t *record = holder_record(c, &key);
    AUTO(json) json_t *old = json_incref(resource_find(c->em, c->arena, &c->at));
    if (!resource_name_valid(c) || !parent_exists(c) || !resource_preconditions_hold(c, old))
        return;
    AUTO(json) json_t *in = resource_input(c, type->merges && old, type->merges && old);
    if (!in || !resource_location_fits(c, old, in) || (record && !resource_not_busy(c, record)))
        return;
    AUTO(json) json_t *body = json_deep_copy(type->merges && old ? old : in);
    if (type->merges && old)
        shape_merge(body, in);
    set_identity(c, old, body);
    if ((type->prepare && !type->prepare(c, old, body)) || !resource_references_hold(c, in))
        return;
    accept_body(c, old, TAKE(body), type->put, "put", old ? type->updated : type->created);
}

static void patch(struct arm_call *c)
{
    const struct arm_type *type = c->at.type;
    const char *key;
    json_t *record = holder_record(c, &key);
    AUTO(json) json_t *old = json_incref(resource_find(c->em, c->arena, &c->at));
    if (!old) {
        resource_not_found(c);
        return;
    }
    AUTO(json) json_t *in = resource_input(c, true, true);
    if (!in || !resource_preconditions_hold(c, old))
        return;
    if (type->tags_only && json_object_size(in) > (json_object_get(in, "tags") ? 1 : 0)) {
        arm_error_inner(c, 400, "InvalidRequestFormat", "Cannot parse the request.", "InvalidJson",
                        "Only 'tags' may be patched on %s.", c->at.id);
        return;
    }
    if (!resource_not_busy(c, record) || !resource_location_fits(c, old, in))
        return;
    AUTO(json) json_t *body = json_deep_copy(old);
    /* Tags of a PATCH replace the old ones as a whole. */
    if (json_object_get(in, "tags"))
        json_object_del(body, "tags");
    shape_merge(body, in);
    set_identity(c, old, body);
    if ((type->prepare && !type->prepare(c, old, body)) || !resource_references_hold(c, in))
        return;
    accept_body(c, old, TAKE(body), type->patch, "patch", 200);
}

static void erase(struct arm_call *c)
{
    const struct arm_type *type = c->at.type;
    const char *key;
    json_t *record = holder_record(c, &key);
    json_t *body = resource_find(c->em, c->arena, &c->at);
    if (!body) {
        if (!c->at.ns)
            resource_not_found(c);
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
    else if (running && !resource_not_busy(c, record))
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

static void serve(struct arm_call *c)
{
    static const struct {
        const char *method;
        void (*one)(struct arm_call *c);
        void (*collection)(struct arm_call *c);
    } verbs[] = {
        {"GET", resource_get, resource_list},
        {"HEAD", resource_get, NULL},
        {"PUT", put, NULL},
        {"PATCH", patch, NULL},
        {"DELETE", erase, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        void (*run)(struct arm_call *) = c->at.collection ? verbs[i].collection : verbs[i].one;
        if (!run || strcmp(verbs[i].method, c->req->method) != 0)
            continue;
        run(c);
        return;
    }
    arm_error(c, 405, "MethodNotAllowed",
              "The requested resource does not support http method '%s'.", c->req->method);
}

void resource_handle(struct arm_call *c)
{
    const struct arm_target *t = &c->at;
    if (!type_known(c) || !version_known(c) || !provider_registered(c) || !pass_compute_bucket(c))
        return;
    bool inside = t->ns || (t->group && resource_record(c->em, t->key));
    if (inside && !resource_group_usable(c))
        return;
    serve(c);
}
