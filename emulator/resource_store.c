/* Records of resources, and the index of who refers to whom. */
#include "emulator/resource.h"
#include "emulator/resource_parts.h"

json_t *resource_record(struct emulator *em, const char *key)
{
    return state_get(em->state, STATE_RESOURCE, key);
}

void resource_save(struct emulator *em, const char *key)
{
    state_save(em->state, STATE_RESOURCE, key);
}

const struct arm_type *resource_type(const json_t *record)
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

/* Every member "id" that is not of the resource itself is a reference; `part` is the nearest id of
 * its own around it (an ipConfiguration of a network interface). */
void resource_each_reference(const json_t *v, const char *own, const char *part,
                             resource_reference_fn *fn, void *ctx)
{
    if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++)
            resource_each_reference(json_array_get(v, i), own, part, fn, ctx);
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
    json_object_foreach((json_t *)v, name, member)
        resource_each_reference(member, own, part, fn, ctx);
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

/* A child refers to its parent: "/.../virtualMachines/vm/extensions/x" to the VM. */
static void index_parent(struct indexing *x, const char *id)
{
    const char *name = strrchr(id, '/');
    const char *type = name ? memrchr(id, '/', (size_t)(name - id)) : NULL;
    if (type)
        index_one(x, arena_strndup(x->arena, id, (size_t)(type - id)), id);
}

static void index_references(struct emulator *em, const char *key, const json_t *body, bool add)
{
    struct arena *arena = arena_new();
    struct indexing x = {em, arena, key, add};
    const char *id = arm_text(body, "id");
    const char *types = strstr(arm_text(body, "type"), "/");
    resource_each_reference(body, key, id, index_one, &x);
    if (types && strchr(types + 1, '/'))
        index_parent(&x, id);
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

void resource_write(struct emulator *em, const char *key, const char *type_name, json_t *body)
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

const char *resource_type_name(struct arena *a, const struct arm_type *type)
{
    return arena_printf(a, "%s/%s", type->ns, type->path);
}

void resource_store(struct emulator *em, const struct arm_type *type, const char *id, json_t *body)
{
    struct arena *arena = arena_new();
    resource_write(em, arm_lower(arena, id), resource_type_name(arena, type), body);
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
    const struct arm_type *type = resource_type(record);
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

json_t *resource_find(struct emulator *em, struct arena *a, const struct arm_target *t)
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
    json_t *body = arm_target_of_id(&c, id, &t) ? resource_find(em, arena, &t) : NULL;
    arena_free(arena);
    return body;
}
