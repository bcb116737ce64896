/* Which reads a preflight needs, and what their answers say. */
#include "jobs/preflight.h"

#include "openapi/schemas.h"

#include <string.h>
#include <strings.h>

/* ---- what to read ---- */

static bool is_latest(const struct vm_plan *p)
{
    return strcasecmp(p->version, "latest") == 0;
}

static const char *versions_path(const struct preflight_facts *f)
{
    const struct vm_plan *p = f->plan;
    return arena_concat(f->arena, "/subscriptions/", p->subscription,
                        "/providers/Microsoft.Compute/locations/", p->location, "/publishers/",
                        p->publisher, "/artifacttypes/vmimage/offers/", p->offer, "/skus/", p->sku,
                        "/versions", NULL);
}

/* "1.10.0" comes after "1.9.0". */
static int compare_versions(const char *a, const char *b)
{
    while (*a && *b) {
        char *end_a;
        char *end_b;
        unsigned long long x = strtoull(a, &end_a, 10);
        unsigned long long y = strtoull(b, &end_b, 10);
        if (x != y)
            return x < y ? -1 : 1;
        if (end_a == a || end_b == b)
            return strcmp(a, b);
        a = end_a + (*end_a == '.');
        b = end_b + (*end_b == '.');
    }
    return (*a != 0) - (*b != 0);
}

static const char *version_name(const json_t *version)
{
    return json_string_value(json_object_get(version, "name"));
}

static json_t *newest_of(const json_t *list)
{
    json_t *newest = NULL;
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        const char *name = version_name(item);
        if (name && (!newest || compare_versions(version_name(newest), name) < 0))
            newest = item;
    }
    return newest;
}

static const char *newest_version(const json_t *list)
{
    return version_name(newest_of(list));
}

static const char *image_target(const struct preflight_facts *f)
{
    const char *version = f->plan->version;
    if (is_latest(f->plan)) {
        const struct read_answer *versions = &f->read[READ_VERSIONS];
        version = versions->exists ? newest_version(versions->body) : NULL;
    }
    if (!version)
        return NULL;
    return arena_concat(f->arena, versions_path(f), "/", version, "?api-version=" API_COMPUTE,
                        NULL);
}

static const char *gallery_target(const struct preflight_facts *f, bool definition)
{
    const char *id = f->plan->gallery_version;
    const char *below = strcasestr(id, "/versions/");
    size_t n = definition && below ? (size_t)(below - id) : strlen(id);
    return arena_printf(f->arena, "%.*s?api-version=%s", (int)n, id, API_GALLERY);
}

/* A list tells of many names at once that nothing has them. It does not show what a VM is, and may
 * be older than what the registry knows. */
static bool wants_list(const struct preflight_facts *f)
{
    return f->crowded && f->spec && (!f->vm || !f->vm->vm_id);
}

#define CUT_OFF "/" /* in no name */

static char *lower(struct arena *a, const char *text)
{
    char *out = arena_strdup(a, text);
    for (char *s = out; *s; s++)
        if (*s >= 'A' && *s <= 'Z')
            *s = (char)(*s - 'A' + 'a');
    return out;
}

static bool is_missing_in_list(const struct preflight_facts *f)
{
    const struct read_answer *list = &f->read[READ_VMS];
    return list->known && !json_object_get(list->body, CUT_OFF) &&
           !json_object_get(list->body, lower(f->arena, f->plan->name));
}

static const char *vm_target(const struct preflight_facts *f)
{
    if (wants_list(f) && (!f->read[READ_VMS].known || is_missing_in_list(f)))
        return NULL;
    return arena_concat(f->arena, f->plan->vm_id, "?api-version=" API_COMPUTE, NULL);
}

static const char *list_target(const struct preflight_facts *f)
{
    if (!wants_list(f))
        return NULL;
    return arena_concat(f->arena, f->plan->group_id,
                        "/providers/Microsoft.Compute/virtualMachines?api-version=" API_COMPUTE,
                        NULL);
}

const char *preflight_target(const struct preflight_facts *f, enum read_kind kind)
{
    const struct vm_plan *p = f->plan;
    struct arena *a = f->arena;
    if (!f->spec && kind != READ_VM)
        return NULL;
    switch (kind) {
    case READ_SIZES:
        return arena_concat(a, "/subscriptions/", p->subscription,
                            "/providers/Microsoft.Compute/skus?api-version=" API_SKUS
                            "&%24filter=location%20eq%20%27",
                            p->location, "%27", NULL);
    case READ_VERSIONS:
        if (p->gallery_version || !is_latest(p))
            return NULL;
        return arena_concat(a, versions_path(f), "?api-version=" API_COMPUTE, NULL);
    case READ_IMAGE:
        return p->gallery_version ? NULL : image_target(f);
    case READ_DEFINITION:
        return p->gallery_version ? gallery_target(f, true) : NULL;
    case READ_IMAGE_VERSION:
        return p->gallery_version ? gallery_target(f, false) : NULL;
    case READ_GROUP:
        return arena_concat(a, p->group_id, "?api-version=" API_RESOURCES, NULL);
    case READ_SUBNET:
        return p->makes_vnet ? NULL
                             : arena_concat(a, p->subnet_id, "?api-version=" API_NETWORK, NULL);
    case READ_FEATURE:
        if (p->trusted)
            return NULL;
        return arena_concat(a, "/subscriptions/", p->subscription,
                            "/providers/Microsoft.Features/providers/Microsoft.Compute/features/"
                            "UseStandardSecurityType?api-version=" API_FEATURES,
                            NULL);
    case READ_VMS:
        return list_target(f);
    case READ_VM:
        return vm_target(f);
    case READ_KINDS:
        break;
    }
    return NULL;
}

bool preflight_is_missing(enum read_kind kind, const char *code)
{
    return (kind == READ_VERSIONS || kind == READ_IMAGE) &&
           strcasecmp(code, "NoRegisteredProviderFound") == 0;
}

enum read_life preflight_life(enum read_kind kind)
{
    switch (kind) {
    case READ_SIZES:
    case READ_VERSIONS:
    case READ_IMAGE:
    case READ_DEFINITION:
    case READ_IMAGE_VERSION:
        return READ_LONG;
    case READ_GROUP:
    case READ_SUBNET:
    case READ_FEATURE:
    case READ_VMS:
        return READ_BRIEFLY;
    case READ_VM:
    case READ_KINDS:
        break;
    }
    return READ_ONCE;
}

/* ---- what is kept ---- */

static const char *capability(const json_t *sku, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(sku, "capabilities"), i, item)
    {
        const char *n = json_string_value(json_object_get(item, "name"));
        if (n && strcasecmp(n, name) == 0)
            return json_string_value(json_object_get(item, "value"));
    }
    return NULL;
}

static const char *restriction(const json_t *sku)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(sku, "restrictions"), i, item)
    {
        const char *type = json_string_value(json_object_get(item, "type"));
        const char *reason = json_string_value(json_object_get(item, "reasonCode"));
        if (type && strcasecmp(type, "Location") == 0)
            return reason ? reason : "restricted";
    }
    return NULL;
}

static void set_text(json_t *o, const char *key, const char *value)
{
    if (value)
        json_object_set_new(o, key, json_string(value));
}

/* Azure compares names without case. Takes the value over. */
static void set_by_name(json_t *o, const char *name, json_t *value)
{
    char key[80];
    size_t n = strlen(name) < sizeof key ? strlen(name) : sizeof key - 1;
    for (size_t k = 0; k < n; k++)
        key[k] = (char)(name[k] >= 'A' && name[k] <= 'Z' ? name[k] - 'A' + 'a' : name[k]);
    json_object_setn_new(o, key, n, value);
}

static json_t *digest_sizes(json_t *body)
{
    json_t *out = json_object();
    size_t i;
    json_t *sku;
    json_array_foreach(json_object_get(body, "value"), i, sku)
    {
        const char *type = json_string_value(json_object_get(sku, "resourceType"));
        const char *name = json_string_value(json_object_get(sku, "name"));
        if (!type || !name || strcasecmp(type, "virtualMachines") != 0)
            continue;
        json_t *size = json_object();
        set_text(size, "generations", capability(sku, "HyperVGenerations"));
        set_text(size, "trustedLaunchDisabled", capability(sku, "TrustedLaunchDisabled"));
        set_text(size, "architecture", capability(sku, "CpuArchitectureType"));
        set_text(size, "restriction", restriction(sku));
        set_by_name(out, name, size);
    }
    return out;
}

static json_t *digest_names(json_t *body)
{
    json_t *out = json_object();
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(body, "value"), i, item)
    {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name)
            set_by_name(out, name, json_true());
    }
    return out;
}

/* A list that has the newest only, which each submission looks for. */
static json_t *digest_versions(const json_t *body)
{
    json_t *out = json_array();
    json_t *newest = newest_of(body);
    if (newest)
        json_array_append(out, newest);
    return out;
}

json_t *preflight_digest(enum read_kind kind, json_t *body)
{
    if (kind == READ_VERSIONS)
        return digest_versions(body);
    if (kind == READ_SIZES)
        return digest_sizes(body);
    return kind == READ_VMS ? digest_names(body) : json_incref(body);
}

void preflight_cut_off(enum read_kind kind, json_t *digest)
{
    if (kind == READ_VMS)
        json_object_set_new(digest, CUT_OFF, json_true());
}

/* ---- what the answers say ---- */

static const json_t *find_size(const struct preflight_facts *f)
{
    return json_object_get(f->read[READ_SIZES].body, lower(f->arena, f->plan->size));
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* Azure sells sizes in every location that it has; the catalogue of a made-up one is empty. */
static bool is_nowhere(const struct preflight_facts *f)
{
    return f->read[READ_SIZES].known && json_object_size(f->read[READ_SIZES].body) == 0;
}

static void check_location(const struct preflight_facts *f, struct findings *out)
{
    if (is_nowhere(f))
        findings_add(
            out, FINDING_ERROR, "location_not_found", "#/location",
            arena_printf(f->arena, "%s is no location of this subscription", f->plan->location),
            "Choose an Azure location, such as westeurope.");
}

static void check_size(const struct preflight_facts *f, struct findings *out)
{
    if (!f->read[READ_SIZES].known || is_nowhere(f))
        return;
    const json_t *size = find_size(f);
    if (!size) {
        findings_add(
            out, FINDING_ERROR, "size_not_found", "#/size",
            arena_printf(f->arena, "%s does not exist in %s", f->plan->size, f->plan->location),
            "Choose a size of that location.");
        return;
    }
    if (*text_of(size, "restriction"))
        findings_add(out, FINDING_ERROR, "size_restricted", "#/size",
                     arena_printf(f->arena, "%s cannot be used in %s: %s", f->plan->size,
                                  f->plan->location, text_of(size, "restriction")),
                     "Choose another size or location, or ask Azure support for access.");
    if (!f->plan->trusted)
        return;
    if (!strcasestr(text_of(size, "generations"), "V2"))
        findings_add(out, FINDING_ERROR, "size_not_generation2", "#/size",
                     "the size has no generation 2, which Trusted Launch needs",
                     "Choose a size with generation 2.");
    else if (strcasecmp(text_of(size, "trustedLaunchDisabled"), "True") == 0)
        findings_add(out, FINDING_ERROR, "size_not_trusted_launch", "#/size",
                     "the size does not support Trusted Launch", "Choose another size.");
}

/* Value of the feature SecurityType; an image without it is "". */
static const char *security_feature(const json_t *features)
{
    size_t i;
    json_t *item;
    json_array_foreach(features, i, item) if (strcasecmp(text_of(item, "name"), "SecurityType") ==
                                              0) return text_of(item, "value");
    return "";
}

struct image {
    const char *pointer;
    const char *generation;
    const char *security;
    const char *os;
    const char *architecture;
};

static void check_image_security(const struct preflight_facts *f, const struct image *i,
                                 struct findings *out)
{
    if (!f->plan->trusted) {
        if (strcasecmp(i->security, "TrustedLaunch") == 0)
            findings_add(out, FINDING_ERROR, "image_requires_trusted_launch", i->pointer,
                         "the image makes Trusted Launch VMs only", "Leave securityType out.");
        return;
    }
    if (strcasecmp(i->generation, "V2") != 0)
        findings_add(out, FINDING_ERROR, "image_not_generation2", i->pointer,
                     "the image is of generation 1; Trusted Launch needs generation 2",
                     "Choose the image's generation 2 sku.");
    else if (!strcasestr(i->security, "TrustedLaunch"))
        findings_add(out, FINDING_ERROR, "image_not_trusted_launch", i->pointer,
                     "the image does not say that it supports Trusted Launch",
                     "Choose an image whose SecurityType feature names TrustedLaunch.");
}

static void check_image(const struct preflight_facts *f, const struct image *i,
                        struct findings *out)
{
    check_image_security(f, i, out);
    if (*i->os && strcasecmp(i->os, f->spec->os_type) != 0)
        findings_add(out, FINDING_ERROR, "os_mismatch", "#/osType",
                     arena_printf(f->arena, "the image is %s", i->os), "Correct osType or image.");
    const json_t *size = f->read[READ_SIZES].known ? find_size(f) : NULL;
    const char *cpu = size ? text_of(size, "architecture") : "";
    if (*cpu && *i->architecture && strcasecmp(cpu, i->architecture) != 0)
        findings_add(out, FINDING_ERROR, "architecture_mismatch", "#/size",
                     arena_printf(f->arena, "the size is %s, the image %s", cpu, i->architecture),
                     "Choose size and image of one architecture.");
}

static void check_marketplace(const struct preflight_facts *f, struct findings *out)
{
    const struct read_answer *image = &f->read[READ_IMAGE];
    const struct read_answer *versions = &f->read[READ_VERSIONS];
    bool none = versions->known && (!versions->exists || !newest_version(versions->body));
    if (is_nowhere(f))
        return;
    if (none || (image->known && !image->exists)) {
        findings_add(out, FINDING_ERROR, "image_not_found", "#/image",
                     arena_printf(f->arena, "%s:%s:%s:%s does not exist in %s", f->plan->publisher,
                                  f->plan->offer, f->plan->sku, f->plan->version,
                                  f->plan->location),
                     "Choose an image of that location.");
        return;
    }
    if (!image->known)
        return;
    const json_t *p = json_object_get(image->body, "properties");
    struct image i = {
        .pointer = "#/image",
        .generation = text_of(p, "hyperVGeneration"),
        .security = security_feature(json_object_get(p, "features")),
        .os = text_of(json_object_get(p, "osDiskImage"), "operatingSystem"),
        .architecture = text_of(p, "architecture"),
    };
    check_image(f, &i, out);
    if (json_is_object(json_object_get(p, "plan")))
        findings_add(out, FINDING_ERROR, "image_needs_plan", "#/image",
                     "the image has a purchase plan, which this gateway cannot accept for you",
                     "Choose an image without plan.");
}

static void check_gallery(const struct preflight_facts *f, struct findings *out)
{
    const struct read_answer *definition = &f->read[READ_DEFINITION];
    const struct read_answer *version = &f->read[READ_IMAGE_VERSION];
    const char *pointer = "#/image/galleryImageVersionId";
    if ((definition->known && !definition->exists) || (version->known && !version->exists)) {
        findings_add(out, FINDING_ERROR, "image_not_found", pointer,
                     "the gallery image version does not exist, or the gateway may not read it",
                     "Correct the id, or share the gallery with the gateway's identity.");
        return;
    }
    if (!definition->known)
        return;
    const json_t *p = json_object_get(definition->body, "properties");
    struct image i = {
        .pointer = pointer,
        .generation = text_of(p, "hyperVGeneration"),
        .security = security_feature(json_object_get(p, "features")),
        .os = text_of(p, "osType"),
        .architecture = text_of(p, "architecture"),
    };
    check_image(f, &i, out);
    if (strcasecmp(text_of(p, "osState"), "Specialized") == 0)
        findings_add(out, FINDING_ERROR, "image_specialized", pointer,
                     "a specialized image brings its own accounts and takes no admin",
                     "Choose a generalized image.");
}

static void check_place(const struct preflight_facts *f, struct findings *out)
{
    const struct read_answer *group = &f->read[READ_GROUP];
    const struct read_answer *subnet = &f->read[READ_SUBNET];
    const struct read_answer *feature = &f->read[READ_FEATURE];
    if (group->known && !group->exists && !f->plan->make_group)
        findings_add(
            out, FINDING_ERROR, "resource_group_not_found", "#/createResourceGroup",
            arena_printf(f->arena, "resource group %s does not exist", f->plan->resource_group),
            "Create it, or set createResourceGroup.");
    if (subnet->known && !subnet->exists)
        findings_add(out, FINDING_ERROR, "subnet_not_found", "#/network/subnetId",
                     "the subnet does not exist, or the gateway may not read it",
                     "Correct the id, or leave network out to have one made.");
    if (!feature->known)
        return;
    const json_t *p = json_object_get(feature->body, "properties");
    if (!feature->exists || strcasecmp(text_of(p, "state"), "Registered") != 0)
        findings_add(out, FINDING_ERROR, "standard_not_registered", "#/securityType",
                     "the subscription may not opt out of Trusted Launch",
                     "Register the feature Microsoft.Compute/UseStandardSecurityType.");
}

/* ---- an existing VM ---- */

static bool same(const char *a, const char *b)
{
    return a && b ? strcasecmp(a, b) == 0 : a == b;
}

static void refuse_change(const struct preflight_facts *f, struct findings *out,
                          const char *pointer, const char *what)
{
    findings_add(out, FINDING_ERROR, "change_not_supported", pointer,
                 arena_printf(f->arena, "%s of an existing VM cannot be changed here", what),
                 "Delete the VM and make it anew, or leave this as it is.");
}

static void check_changes(const struct preflight_facts *f, struct findings *out)
{
    const struct vm_spec *was = f->vm ? spec_load(f->arena, f->vm->spec) : NULL;
    if (!was)
        return;
    const struct vm_plan *o = vm_plan_of(f->arena, f->ref, was);
    const struct vm_plan *n = f->plan;
    if (!same(o->location, n->location))
        refuse_change(f, out, "#/location", "location");
    if (!same(o->size, n->size))
        refuse_change(f, out, "#/size", "size");
    if (o->windows != n->windows)
        refuse_change(f, out, "#/osType", "osType");
    if (!same(o->gallery_version, n->gallery_version) || !same(o->publisher, n->publisher) ||
        !same(o->offer, n->offer) || !same(o->sku, n->sku) || !same(o->version, n->version))
        refuse_change(f, out, "#/image", "image");
    if (o->trusted != n->trusted)
        refuse_change(f, out, "#/securityType", "securityType");
    if (o->secure_boot != n->secure_boot || o->vtpm != n->vtpm)
        refuse_change(f, out, "#/trustedLaunch", "secureBoot or vTpm");
    if (o->attested && !n->attested && o->vtpm == n->vtpm)
        refuse_change(f, out, "#/trustedLaunch/integrityMonitoring",
                      "integrityMonitoring (from on to off)");
    if (!same(o->admin, n->admin) || o->ssh_keys.n != n->ssh_keys.n)
        refuse_change(f, out, "#/admin", "admin");
    if (!same(o->subnet_id, n->subnet_id) || o->ip_public != n->ip_public ||
        !same(o->vnet_prefix, n->vnet_prefix))
        refuse_change(f, out, "#/network", "network");
}

void preflight_check_reads(const struct preflight_facts *f, struct findings *out)
{
    if (f->no_subscription) {
        findings_add(
            out, FINDING_ERROR, "subscription_not_found", "#",
            arena_printf(f->arena, "Azure knows no subscription %s, or hides it from the gateway",
                         f->plan->subscription),
            "Correct the path, or give the gateway's identity a role in the subscription.");
        return;
    }
    check_location(f, out);
    check_size(f, out);
    if (f->plan->gallery_version)
        check_gallery(f, out);
    else
        check_marketplace(f, out);
    check_place(f, out);
    check_changes(f, out);
}
