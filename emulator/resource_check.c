/* What every write is checked for, whatever its type. */
#include "emulator/resource.h"
#include "emulator/resource_parts.h"

#include <ctype.h>

bool resource_name_valid(struct arm_call *c)
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

json_t *resource_input(struct arm_call *c, bool partial, bool keep_nulls)
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

bool resource_location_fits(struct arm_call *c, const json_t *old, json_t *in)
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

bool resource_preconditions_hold(struct arm_call *c, const json_t *old)
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
    const char *location; /* of what refers */
    bool good;
};

/* Network resources meet within one region; a subnet has its network's. */
static bool same_region(struct arm_call *c, const struct arm_target *t, const json_t *body,
                        const char *location)
{
    if (strcmp(t->type->ns, "Microsoft.Network") != 0)
        return true;
    if (t->type->embedded)
        body = resource_body(c->em, t->parent);
    return strcmp(arm_text(body, "location"), location) == 0;
}

static void check_reference(void *ctx, const char *target, const char *part)
{
    struct ref_check *x = ctx;
    struct arm_call *c = x->c;
    struct arm_target t;
    if (!x->good || !arm_target_of_id(c, target, &t))
        return;
    const json_t *body = resource_find(c->em, c->arena, &t);
    if (!body || !same_region(c, &t, body, x->location)) {
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

bool resource_references_hold(struct arm_call *c, const json_t *body)
{
    bool embedded = c->at.type->embedded != NULL;
    const char *owner = embedded ? c->at.parent : c->at.id;
    const char *location = json_path_str(body, "location");
    if (embedded)
        location = arm_text(resource_body(c->em, owner), "location");
    struct ref_check x = {c, location ? location : "", true};
    resource_each_reference(body, owner, c->at.id, check_reference, &x);
    return x.good;
}

/* Another operation holds it: each provider says so in its own way. */
bool resource_not_busy(struct arm_call *c, const json_t *record)
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
