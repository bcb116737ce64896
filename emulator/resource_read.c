/* GET, HEAD and lists. */
#include "emulator/resource.h"
#include "emulator/resource_parts.h"

#define PAGE_SIZE 50 /* small, so that clients meet a nextLink */

json_t *resource_view(struct arm_call *c, const struct arm_type *type, const json_t *body)
{
    json_t *view = shape_show(type->shape, body);
    if (type->show)
        type->show(c, body, view);
    return view;
}

bool resource_not_found(struct arm_call *c)
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

void resource_etag_header(struct arm_call *c, const json_t *body)
{
    const char *etag = json_path_str(body, "etag");
    if (etag)
        http_add_header(c->resp, "ETag", "%s", etag);
}

void resource_get(struct arm_call *c)
{
    const json_t *body = resource_find(c->em, c->arena, &c->at);
    if (!body) {
        resource_not_found(c);
        if (strcmp(c->req->method, "HEAD") == 0)
            buf_reset(&c->resp->body);
        return;
    }
    if (strcmp(c->req->method, "HEAD") == 0) {
        c->resp->status = 204;
        return;
    }
    resource_etag_header(c, body);
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
    const struct arm_type *type = resource_type(record);
    return type == c->at.type;
}

void resource_list(struct arm_call *c)
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

/* A type whose instances stand in resource lists: what has a location of its own. */
static json_t *brief(const json_t *record)
{
    const struct arm_type *type = resource_type(record);
    const json_t *body = json_object_get(record, "body");
    static const char *const members[] = {"id",   "name", "type",      "location",
                                          "tags", "sku",  "managedBy", "identity"};
    if (!type || !type->located || strcmp(type->path, "resourceGroups") == 0)
        return NULL;
    json_t *out = json_object();
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        json_t *v = json_object_get(body, members[i]);
        if (v)
            json_object_set(out, members[i], v);
    }
    return out;
}

bool resource_list_all(struct arm_call *c)
{
    const struct arm_target *t = &c->at;
    unsigned n = t->n_segments;
    bool all_of_it = n == 3 || (n == 5 && t->group);
    if (!all_of_it || strcasecmp(t->segments[n - 1], "resources") != 0 ||
        strcmp(c->req->method, "GET") != 0)
        return false;
    if (!resource_group_usable(c))
        return true;
    const char *prefix = arena_printf(c->arena, "%s/", t->key);
    json_t *all = json_array();
    const char *key;
    json_t *record;
    json_object_foreach(state_all(c->em->state, STATE_RESOURCE), key, record)
    {
        json_t *one = strncmp(key, prefix, strlen(prefix)) == 0 ? brief(record) : NULL;
        if (one)
            json_array_append_new(all, one);
    }
    resource_reply_list(c, all);
    return true;
}
