#include "emulator/subscription.h"
#include "emulator/resource.h"

#define SUBSCRIPTIONS "subscriptions"
#define PROVIDERS     "providers"
#define FEATURES      "features"

static const struct {
    const char *name;
    const char *display;
} locations[] = {
    {"westeurope", "West Europe"}, {"northeurope", "North Europe"},
    {"eastus", "East US"},         {"eastus2", "East US 2"},
    {"westus2", "West US 2"},      {"swedencentral", "Sweden Central"},
    {"uksouth", "UK South"},
};

static const struct {
    const char *ns;
    bool from_the_start; /* registered without being asked */
    const char *types[12];
} providers[] = {
    {"Microsoft.Resources", true, {"subscriptions", "resourceGroups"}},
    {"Microsoft.Compute",
     true,
     {"virtualMachines", "virtualMachines/extensions", "disks", "galleries", "galleries/images",
      "galleries/images/versions", "locations", "skus"}},
    {"Microsoft.Network",
     true,
     {"virtualNetworks", "networkSecurityGroups", "publicIPAddresses", "networkInterfaces",
      "locations"}},
    {"Microsoft.Security", false, {"pricings", "assessments"}},
    {"Microsoft.Attestation", false, {"attestationProviders"}},
    {"Microsoft.GuestConfiguration", false, {"guestConfigurationAssignments"}},
    {"Microsoft.PolicyInsights", false, {"remediations", "policyStates"}},
    {"Microsoft.Authorization", true, {"policyAssignments", "roleAssignments"}},
    {"Microsoft.ManagedIdentity", false, {"userAssignedIdentities"}},
};

/* Preview features that this product's callers look at. */
static const char *const features[][2] = {
    {"Microsoft.Compute", "UseStandardSecurityType"},
    {"Microsoft.Compute", "TrustedLaunchByDefaultPreview"},
    {"Microsoft.Compute", "EncryptionAtHost"},
    {"Microsoft.Network", "AllowBringYourOwnPublicIpAddress"},
};

const char *arm_location(const char *text)
{
    char squeezed[64];
    size_t n = 0;
    for (const char *p = text; *p && n + 1 < sizeof squeezed; p++)
        if (*p != ' ')
            squeezed[n++] = *p;
    squeezed[n] = 0;
    for (size_t i = 0; i < ARRAY_LEN(locations); i++)
        if (strcasecmp(locations[i].name, squeezed) == 0)
            return locations[i].name;
    return NULL;
}

/* A set of names under one key of the state. */
static bool set_has(struct emulator *em, const char *set, const char *name)
{
    const char *key;
    json_t *v;
    json_object_foreach(state_get(em->state, STATE_MISC, set), key, v)
    {
        if (strcasecmp(key, name) == 0)
            return json_is_true(v);
    }
    return false;
}

static void set_put(struct emulator *em, const char *set, const char *name, bool in)
{
    if (!state_get(em->state, STATE_MISC, set))
        state_put(em->state, STATE_MISC, set, json_object());
    json_object_set_new(state_get(em->state, STATE_MISC, set), name, json_boolean(in));
    state_save(em->state, STATE_MISC, set);
}

bool subscription_exists(struct emulator *em, const char *id)
{
    return set_has(em, SUBSCRIPTIONS, id);
}

void subscription_open(struct emulator *em, const char *const *ids, size_t n)
{
    if (!subscription_exists(em, EMULATOR_SUBSCRIPTION))
        set_put(em, SUBSCRIPTIONS, EMULATOR_SUBSCRIPTION, true);
    for (size_t i = 0; i < n; i++)
        if (!subscription_exists(em, ids[i]))
            set_put(em, SUBSCRIPTIONS, ids[i], true);
}

static int provider_index(const char *ns)
{
    for (size_t i = 0; i < ARRAY_LEN(providers); i++)
        if (strcasecmp(providers[i].ns, ns) == 0)
            return (int)i;
    return -1;
}

static bool registered(struct emulator *em, const char *sub, int provider)
{
    char name[256];
    snprintf(name, sizeof name, "%s/%s", sub, providers[provider].ns);
    const json_t *set = state_get(em->state, STATE_MISC, PROVIDERS);
    const json_t *said = json_object_get(set, name);
    return said ? json_is_true(said) : providers[provider].from_the_start;
}

bool subscription_has_provider(struct emulator *em, const char *subscription, const char *ns)
{
    int i = provider_index(ns);
    return i >= 0 && registered(em, subscription, i);
}

bool subscription_has_feature(struct emulator *em, const char *subscription, const char *ns,
                              const char *feature)
{
    char name[512];
    snprintf(name, sizeof name, "%s/%s/%s", subscription, ns, feature);
    return set_has(em, FEATURES, name);
}

static json_t *subscription_json(const char *id)
{
    return json_pack("{so ss ss ss ss s{ss ss ss}}", "id", json_sprintf("/subscriptions/%s", id),
                     "subscriptionId", id, "tenantId", EMULATOR_TENANT, "displayName", "Emulated",
                     "state", "Enabled", "subscriptionPolicies", "locationPlacementId",
                     "Public_2014-09-01", "quotaId", "EnterpriseAgreement_2014-09-01",
                     "spendingLimit", "Off");
}

static void list_subscriptions(struct arm_call *c)
{
    json_t *all = json_array();
    const char *id;
    json_t *v;
    json_object_foreach(state_get(c->em->state, STATE_MISC, SUBSCRIPTIONS), id, v)
        json_array_append_new(all, subscription_json(id));
    resource_reply_list(c, all);
}

static void list_locations(struct arm_call *c)
{
    json_t *all = json_array();
    for (size_t i = 0; i < ARRAY_LEN(locations); i++)
        json_array_append_new(all,
                              json_pack("{so so ss ss ss s{ss ss}}", "id",
                                        json_sprintf("/subscriptions/%s/locations/%s",
                                                     c->at.subscription, locations[i].name),
                                        "subscriptionId", json_string(c->at.subscription), "name",
                                        locations[i].name, "displayName", locations[i].display,
                                        "regionalDisplayName", locations[i].display, "metadata",
                                        "regionType", "Physical", "regionCategory", "Recommended"));
    http_reply_json(c->resp, 200, json_pack("{so}", "value", all));
}

static json_t *provider_json(struct arm_call *c, int i)
{
    json_t *types = json_array();
    for (size_t t = 0; t < ARRAY_LEN(providers[i].types) && providers[i].types[t]; t++) {
        const struct arm_type *row = arm_type_find(providers[i].ns, providers[i].types[t]);
        json_t *versions = json_array();
        json_t *places = json_array();
        for (const char *const *v = row ? row->versions : NULL; v && *v; v++)
            json_array_insert_new(versions, 0, json_string(*v));
        for (size_t l = 0; l < ARRAY_LEN(locations); l++)
            json_array_append_new(places, json_string(locations[l].display));
        json_array_append_new(types,
                              json_pack("{ss so so ss}", "resourceType", providers[i].types[t],
                                        "locations", places, "apiVersions", versions,
                                        "capabilities", "SupportsTags, SupportsLocation"));
    }
    return json_pack(
        "{so ss so ss ss}", "id",
        json_sprintf("/subscriptions/%s/providers/%s", c->at.subscription, providers[i].ns),
        "namespace", providers[i].ns, "resourceTypes", types, "registrationState",
        registered(c->em, c->at.subscription, i) ? "Registered" : "NotRegistered",
        "registrationPolicy", "RegistrationRequired");
}

static void serve_provider(struct arm_call *c, const char *ns, const char *action)
{
    int i = provider_index(ns);
    if (i < 0) {
        arm_error(c, 404, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.",
                  ns);
        return;
    }
    if (action)
        set_put(c->em, PROVIDERS,
                arena_printf(c->arena, "%s/%s", c->at.subscription, providers[i].ns),
                strcasecmp(action, "register") == 0);
    http_reply_json(c->resp, 200, provider_json(c, i));
}

static void list_providers(struct arm_call *c)
{
    json_t *all = json_array();
    for (int i = 0; i < (int)ARRAY_LEN(providers); i++)
        json_array_append_new(all, provider_json(c, i));
    resource_reply_list(c, all);
}

/* .../providers/Microsoft.Features/providers/{ns}/features/{name}[/register|/unregister] */
static void serve_feature(struct arm_call *c, const char *ns, const char *name, const char *action)
{
    for (size_t i = 0; i < ARRAY_LEN(features); i++) {
        if (strcasecmp(features[i][0], ns) != 0 || strcasecmp(features[i][1], name) != 0)
            continue;
        const char *key =
            arena_printf(c->arena, "%s/%s/%s", c->at.subscription, features[i][0], features[i][1]);
        if (action)
            set_put(c->em, FEATURES, key, strcasecmp(action, "register") == 0);
        bool on =
            subscription_has_feature(c->em, c->at.subscription, features[i][0], features[i][1]);
        http_reply_json(
            c->resp, 200,
            json_pack("{so so ss s{ss}}", "id",
                      json_sprintf("/subscriptions/%s/providers/Microsoft.Features/providers/%s/"
                                   "features/%s",
                                   c->at.subscription, features[i][0], features[i][1]),
                      "name", json_sprintf("%s/%s", features[i][0], features[i][1]), "type",
                      "Microsoft.Features/providers/features", "properties", "state",
                      on ? "Registered" : "NotRegistered"));
        return;
    }
    arm_error(c, 404, "FeatureNotFound", "The feature '%s' could not be found.", name);
}

static bool word(const struct arm_call *c, unsigned i, const char *text)
{
    return i < c->at.n_segments && strcasecmp(c->at.segments[i], text) == 0;
}

static bool serve_get(struct arm_call *c)
{
    unsigned n = c->at.n_segments;
    char **s = c->at.segments;
    if (n == 1)
        list_subscriptions(c);
    else if (n == 2)
        http_reply_json(c->resp, 200, subscription_json(s[1]));
    else if (n == 3 && word(c, 2, "locations"))
        list_locations(c);
    else if (n == 3 && word(c, 2, "providers"))
        list_providers(c);
    else if (n == 4 && word(c, 2, "providers"))
        serve_provider(c, s[3], NULL);
    else if (n == 8 && word(c, 3, "Microsoft.Features") && word(c, 6, "features"))
        serve_feature(c, s[5], s[7], NULL);
    else
        return false;
    return true;
}

static bool serve_post(struct arm_call *c)
{
    unsigned n = c->at.n_segments;
    char **s = c->at.segments;
    bool on = word(c, n - 1, "register");
    if (!on && !word(c, n - 1, "unregister"))
        return false;
    if (n == 5 && word(c, 2, "providers"))
        serve_provider(c, s[3], s[4]);
    else if (n == 9 && word(c, 3, "Microsoft.Features") && word(c, 6, "features"))
        serve_feature(c, s[5], s[7], s[8]);
    else
        return false;
    return true;
}

bool subscription_handle(struct arm_call *c)
{
    if (strcmp(c->req->method, "GET") == 0)
        return serve_get(c);
    return strcmp(c->req->method, "POST") == 0 && serve_post(c);
}
