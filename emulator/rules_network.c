/*
 * What Azure asks of network resources beyond their shape, what it adds, and when they may go. What
 * embeds others gives each its id, etag and provisioningState.
 */
#include "emulator/rules_network.h"
#include "emulator/resource.h"

static void set_text(json_t *properties, const char *name, const char *value)
{
    json_object_set_new(properties, name, json_string(value));
}

void rules_network_guid(json_t *properties, const json_t *old)
{
    const char *before = arm_text(old, "properties/resourceGuid");
    char fresh[UUID_SIZE];
    uuid_v4(fresh);
    set_text(properties, "resourceGuid", *before ? before : fresh);
}

/* An embedded resource's own id, type and etag. False: it has no name. */
static bool complete_child(struct arm_call *c, json_t *child, const char *owner, const char *array,
                           const char *type, const json_t *etag)
{
    const char *name = arm_text(child, "name");
    if (!*name)
        return arm_error_inner(c, 400, "InvalidRequestFormat", "Cannot parse the request.",
                               "MissingJsonReferenceId",
                               "Value for name is missing. Path properties.%s.", array);
    json_object_set_new(child, "id", json_sprintf("%s/%s/%s", owner, array, name));
    json_object_set_new(child, "type", json_string(type));
    json_object_set(child, "etag", (json_t *)etag);
    arm_default(child, "properties", json_object());
    return true;
}

bool rules_network_children(struct arm_call *c, json_t *body, const char *array, const char *type)
{
    json_t *list = json_object_get(json_object_get(body, "properties"), array);
    size_t i;
    json_t *child;
    json_array_foreach(list, i, child)
    {
        if (!complete_child(c, child, arm_text(body, "id"), array, type,
                            json_object_get(body, "etag")))
            return false;
    }
    return true;
}

/* The first resource that refers to `id`; "" where none does. */
const char *rules_network_referrer(struct emulator *em, const char *id)
{
    const json_t *all = resource_referrers(em, id);
    void *at = json_object_iter((json_t *)all);
    return at ? json_string_value(json_object_iter_value(at)) : "";
}

/* The ids of those referring parts that hold `word`, as [{"id"}], or NULL where there is none. */
json_t *rules_network_referrers(struct emulator *em, const char *id, const char *word)
{
    json_t *list = json_array();
    const char *key;
    json_t *part;
    json_object_foreach((json_t *)resource_referrers(em, id), key, part)
    {
        if (strcasestr(json_string_value(part), word))
            json_array_append_new(list, json_pack("{sO}", "id", part));
    }
    if (json_array_size(list) > 0)
        return list;
    json_decref(list);
    return NULL;
}

void rules_network_add_list(json_t *view, const char *name, json_t *list)
{
    if (list)
        json_object_set_new(json_object_get(view, "properties"), name, list);
}

/* ---- virtual networks ---- */

static bool prefix_parse(const char *text, uint32_t *net, unsigned *bits)
{
    unsigned a, b, c, d;
    char rest;
    if (sscanf(text, "%3u.%3u.%3u.%3u/%2u%c", &a, &b, &c, &d, bits, &rest) != 5)
        return false;
    if (a > 255 || b > 255 || c > 255 || d > 255 || *bits > 32)
        return false;
    *net = a << 24 | b << 16 | c << 8 | d;
    uint32_t mask = *bits ? ~0u << (32 - *bits) : 0;
    return (*net & ~mask) == 0;
}

static bool prefix_holds(const char *outer, const char *inner)
{
    uint32_t a, b;
    unsigned n, m;
    if (!prefix_parse(outer, &a, &n) || !prefix_parse(inner, &b, &m) || m < n)
        return false;
    return n == 0 || (a >> (32 - n)) == (b >> (32 - n));
}

static bool prefixes_overlap(const char *a, const char *b)
{
    return prefix_holds(a, b) || prefix_holds(b, a);
}

static const char *subnet_prefix(const json_t *item)
{
    const char *one = arm_text(item, "properties/addressPrefix");
    if (*one)
        return one;
    const char *first =
        json_string_value(json_array_get(json_path(item, "properties/addressPrefixes"), 0));
    return first ? first : "";
}

static bool subnet_fits(struct arm_call *c, const json_t *space, const json_t *item)
{
    const char *prefix = subnet_prefix(item);
    uint32_t net;
    unsigned bits;
    if (!prefix_parse(prefix, &net, &bits))
        return arm_error(c, 400, "InvalidCIDRNotation",
                         "The address prefix %s in resource %s is invalid.", prefix,
                         arm_text(item, "id"));
    for (size_t i = 0; i < json_array_size(space); i++)
        if (prefix_holds(json_string_value(json_array_get(space, i)), prefix))
            return true;
    return arm_error(c, 400, "NetcfgSubnetRangeOutsideVnet",
                     "Subnet '%s' is not valid because its IP address range is outside the IP "
                     "address range of virtual network '%s'.",
                     arm_text(item, "name"), arm_text(c->body, "name"));
}

static bool subnets_fit(struct arm_call *c, const json_t *space, const json_t *subnets)
{
    for (size_t i = 0; i < json_array_size(subnets); i++) {
        const json_t *a = json_array_get(subnets, i);
        if (!subnet_fits(c, space, a))
            return false;
        for (size_t k = 0; k < i; k++) {
            const json_t *b = json_array_get(subnets, k);
            if (prefixes_overlap(subnet_prefix(a), subnet_prefix(b)))
                return arm_error(c, 400, "NetcfgSubnetRangesOverlap",
                                 "Subnet '%s' is not valid because its IP address range overlaps "
                                 "with that of an existing subnet in virtual network '%s'.",
                                 arm_text(a, "name"), arm_text(b, "name"));
        }
    }
    return true;
}

static bool subnet_in_use(struct arm_call *c, const char *id, const char *name)
{
    const char *by = rules_network_referrer(c->em, id);
    if (!*by)
        return false;
    arm_error(c, 400, "InUseSubnetCannotBeDeleted",
              "Subnet %s is in use by %s and cannot be deleted. In order to delete the subnet, "
              "delete all the resources within the subnet. See aka.ms/deletesubnet.",
              name, by);
    return true;
}

/* A PUT without a subnet deletes it, if it can. */
static bool dropped_subnets_free(struct arm_call *c, const json_t *old, const json_t *subnets)
{
    const json_t *before = json_path(old, "properties/subnets");
    for (size_t i = 0; i < json_array_size(before); i++) {
        const char *name = arm_text(json_array_get(before, i), "name");
        bool kept = false;
        for (size_t k = 0; k < json_array_size(subnets); k++)
            kept = kept || strcasecmp(arm_text(json_array_get(subnets, k), "name"), name) == 0;
        if (!kept && subnet_in_use(c, arm_text(json_array_get(before, i), "id"), name))
            return false;
    }
    return true;
}

bool rules_network_prepare_network(struct arm_call *c, const json_t *old, json_t *body)
{
    json_t *p = json_object_get(body, "properties");
    const json_t *space = json_path(body, "properties/addressSpace/addressPrefixes");
    if (json_array_size(space) == 0)
        return arm_error_inner(c, 400, "InvalidRequestFormat", "Cannot parse the request.",
                               "MissingJsonReferenceId",
                               "Value for addressSpace is missing. Path properties.");
    for (size_t i = 0; i < json_array_size(space); i++) {
        uint32_t net;
        unsigned bits;
        const char *prefix = json_string_value(json_array_get(space, i));
        if (!prefix_parse(prefix, &net, &bits))
            return arm_error(c, 400, "InvalidCIDRNotation",
                             "The address prefix %s in resource %s is invalid.", prefix, c->at.id);
    }
    arm_default(p, "subnets", json_array());
    arm_default(p, "virtualNetworkPeerings", json_array());
    arm_default(p, "enableDdosProtection", json_false());
    rules_network_guid(p, old);
    json_t *subnets = json_object_get(p, "subnets");
    return rules_network_children(c, body, "subnets",
                                  "Microsoft.Network/virtualNetworks/subnets") &&
           subnets_fit(c, space, subnets) && dropped_subnets_free(c, old, subnets);
}

bool rules_network_prepare_subnet(struct arm_call *c, const json_t *old, json_t *body)
{
    const json_t *parent = resource_body(c->em, c->at.parent);
    const json_t *siblings = json_path(parent, "properties/subnets");
    AUTO(json) json_t *all = json_array();
    for (size_t i = 0; i < json_array_size(siblings); i++) {
        json_t *one = json_array_get(siblings, i);
        if (strcasecmp(arm_text(one, "name"), arm_text(body, "name")) != 0)
            json_array_append(all, one);
    }
    json_array_append(all, body);
    return subnets_fit(c, json_path(parent, "properties/addressSpace/addressPrefixes"), all);
}

void rules_network_show_subnet(struct arm_call *c, const json_t *body, json_t *view)
{
    json_t *p = json_object_get(view, "properties");
    rules_network_add_list(
        view, "ipConfigurations",
        rules_network_referrers(c->em, arm_text(body, "id"), "/ipConfigurations/"));
    arm_default(p, "delegations", json_array());
    arm_default(p, "privateEndpointNetworkPolicies", json_string("Disabled"));
    arm_default(p, "privateLinkServiceNetworkPolicies", json_string("Enabled"));
}

void rules_network_show_network(struct arm_call *c, const json_t *body, json_t *view)
{
    json_t *subnets = json_object_get(json_object_get(view, "properties"), "subnets");
    size_t i;
    json_t *item;
    json_array_foreach(subnets, i, item) rules_network_show_subnet(c, item, item);
}

bool rules_network_may_delete_subnet(struct arm_call *c, const json_t *body)
{
    return !subnet_in_use(c, arm_text(body, "id"), arm_text(body, "name"));
}

bool rules_network_may_delete_network(struct arm_call *c, const json_t *body)
{
    const json_t *subnets = json_path(body, "properties/subnets");
    for (size_t i = 0; i < json_array_size(subnets); i++)
        if (!rules_network_may_delete_subnet(c, json_array_get(subnets, i)))
            return false;
    return true;
}

/* ---- public addresses ---- */

bool rules_network_prepare_address(struct arm_call *c, const json_t *old, json_t *body)
{
    json_t *p = json_object_get(body, "properties");
    arm_default(body, "sku", json_object());
    json_t *sku = json_object_get(body, "sku");
    arm_default(sku, "name", json_string("Basic"));
    arm_default(sku, "tier", json_string("Regional"));
    arm_default(p, "publicIPAddressVersion", json_string("IPv4"));
    arm_default(p, "publicIPAllocationMethod", json_string("Dynamic"));
    arm_default(p, "idleTimeoutInMinutes", json_integer(4));
    arm_default(p, "ipTags", json_array());
    rules_network_guid(p, old);
    const char *name = arm_text(sku, "name");
    bool is_static = strcmp(arm_text(p, "publicIPAllocationMethod"), "Static") == 0;
    if (strcmp(name, "Standard") == 0 && !is_static)
        return arm_error(c, 400, "StandardSkuPublicIPAddressMustBeStatic",
                         "Standard sku publicIp %s must have AllocationMethod set to Static.",
                         c->at.id);
    if (strcmp(name, "Basic") == 0 && !old)
        return arm_error(c, 400, "IPv4BasicSkuPublicIpCountLimitReached",
                         "Cannot create more than 0 IPv4 Basic SKU public IP addresses for this "
                         "subscription in this region.");
    const char *before = arm_text(old, "properties/ipAddress");
    uint8_t r[2];
    random_bytes(r, sizeof r);
    /* 198.18.0.0/15 is set aside for tests (RFC 2544). */
    if (*before)
        set_text(p, "ipAddress", before);
    else
        json_object_set_new(p, "ipAddress", json_sprintf("198.18.%u.%u", r[0], r[1]));
    return true;
}

void rules_network_show_address(struct arm_call *c, const json_t *body, json_t *view)
{
    const char *by = rules_network_referrer(c->em, arm_text(body, "id"));
    if (*by)
        json_object_set_new(json_object_get(view, "properties"), "ipConfiguration",
                            json_pack("{ss}", "id", by));
}

bool rules_network_may_delete_address(struct arm_call *c, const json_t *body)
{
    const char *by = rules_network_referrer(c->em, arm_text(body, "id"));
    if (!*by)
        return true;
    return arm_error(c, 400, "PublicIPAddressCannotBeDeleted",
                     "Public IP address %s can not be deleted since it is still allocated to "
                     "resource %s. In order to delete the public IP, disassociate/detach the "
                     "Public IP address from the resource. To learn how to do this, see "
                     "aka.ms/deletepublicip.",
                     arm_text(body, "id"), by);
}

/* ---- network interfaces ---- */

/* The private addresses that interfaces have in the subnet, as keys of a new object. */
static json_t *taken_addresses(struct arm_call *c, const char *subnet_id)
{
    json_t *taken = json_object();
    const char *key;
    json_t *part;
    json_object_foreach((json_t *)resource_referrers(c->em, subnet_id), key, part)
    {
        const json_t *list =
            json_path(resource_record(c->em, key), "body/properties/ipConfigurations");
        for (size_t i = 0; i < json_array_size(list); i++)
            json_object_set_new(taken,
                                arm_text(json_array_get(list, i), "properties/privateIPAddress"),
                                json_true());
    }
    return taken;
}

/* The lowest address of the subnet that no interface has; Azure keeps the first four. */
static json_t *free_address(struct arm_call *c, const char *subnet_id)
{
    const json_t *body = resource_body(c->em, subnet_id);
    uint32_t net = 0;
    unsigned bits = 0;
    if (!body || !prefix_parse(subnet_prefix(body), &net, &bits))
        return json_string("10.0.0.4");
    AUTO(json) json_t *taken = taken_addresses(c, subnet_id);
    uint32_t last = bits > 30 || bits == 0 ? 0 : (1u << (32 - bits)) - 1;
    for (uint32_t host = 4; host < last; host++) {
        uint32_t a = net + host;
        char text[20];
        snprintf(text, sizeof text, "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
        if (!json_object_get(taken, text))
            return json_string(text);
    }
    return NULL;
}

static bool address_taken(struct arm_call *c, const char *address_id)
{
    const char *by = rules_network_referrer(c->em, address_id);
    size_t n = strlen(c->at.id);
    if (!*by || (strncasecmp(by, c->at.id, n) == 0 && by[n] == '/'))
        return false;
    arm_error(c, 400, "PublicIPAddressInUse",
              "Resource %s is referencing public IP address %s that is already allocated to "
              "resource %s.",
              c->at.id, address_id, by);
    return true;
}

static bool prepare_ip(struct arm_call *c, const json_t *old, json_t *item)
{
    json_t *p = json_object_get(item, "properties");
    const char *subnet_id = arm_text(p, "subnet/id");
    if (!*subnet_id)
        return arm_error_inner(c, 400, "InvalidRequestFormat", "Cannot parse the request.",
                               "MissingJsonReferenceId",
                               "Value for reference id is missing. Path "
                               "properties.ipConfigurations[0].properties.subnet.");
    arm_default(p, "privateIPAllocationMethod", json_string("Dynamic"));
    arm_default(p, "privateIPAddressVersion", json_string("IPv4"));
    const char *public_id = arm_text(p, "publicIPAddress/id");
    if (*public_id && address_taken(c, public_id))
        return false;
    const json_t *before = json_path(old, "properties/ipConfigurations");
    for (size_t i = 0; i < json_array_size(before); i++) {
        const json_t *was = json_array_get(before, i);
        if (strcasecmp(arm_text(was, "name"), arm_text(item, "name")) == 0 &&
            strcasecmp(arm_text(was, "properties/subnet/id"), subnet_id) == 0)
            arm_default(p, "privateIPAddress",
                        json_incref(json_object_get(json_object_get(was, "properties"),
                                                    "privateIPAddress")));
    }
    if (json_object_get(p, "privateIPAddress"))
        return true;
    json_t *address = free_address(c, subnet_id);
    if (!address)
        return arm_error(c, 400, "SubnetIsFull",
                         "Subnet %s does not have enough capacity for 1 IP addresses.", subnet_id);
    json_object_set_new(p, "privateIPAddress", address);
    return true;
}

bool rules_network_prepare_nic(struct arm_call *c, const json_t *old, json_t *body)
{
    json_t *p = json_object_get(body, "properties");
    json_t *list = json_object_get(p, "ipConfigurations");
    if (json_array_size(list) == 0)
        return arm_error(c, 400, "NetworkInterfaceMustHaveAtLeastOneIpConfiguration",
                         "Network interface %s must have at least one IP configuration.", c->at.id);
    if (!rules_network_children(c, body, "ipConfigurations",
                                "Microsoft.Network/networkInterfaces/ipConfigurations"))
        return false;
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        arm_default(json_object_get(item, "properties"), "primary", json_boolean(i == 0));
        if (!prepare_ip(c, old, item))
            return false;
    }
    arm_default(p, "enableAcceleratedNetworking", json_false());
    arm_default(p, "enableIPForwarding", json_false());
    arm_default(p, "disableTcpStateTracking", json_false());
    arm_default(p, "dnsSettings", json_pack("{s[]}", "dnsServers"));
    arm_default(p, "nicType", json_string("Standard"));
    rules_network_guid(p, old);
    return true;
}

void rules_network_show_nic(struct arm_call *c, const json_t *body, json_t *view)
{
    json_t *p = json_object_get(view, "properties");
    const char *by = rules_network_referrer(c->em, arm_text(body, "id"));
    arm_default(p, "tapConfigurations", json_array());
    arm_default(p, "hostedWorkloads", json_array());
    if (!*by)
        return;
    json_object_set_new(p, "virtualMachine", json_pack("{ss}", "id", by));
    json_object_set_new(p, "primary", json_true());
    const char *guid = arm_text(p, "resourceGuid");
    json_object_set_new(p, "macAddress",
                        json_sprintf("00-0D-3A-%.2s-%.2s-%.2s", guid, guid + 2, guid + 4));
}

bool rules_network_may_delete_nic(struct arm_call *c, const json_t *body)
{
    const char *by = rules_network_referrer(c->em, arm_text(body, "id"));
    if (!*by)
        return true;
    return arm_error(c, 400, "NicInUse",
                     "Network Interface %s is used by existing resource %s. In order to delete the "
                     "network interface, it must be dissociated from the resource. To learn more, "
                     "see aka.ms/deletenic.",
                     arm_text(body, "id"), by);
}
